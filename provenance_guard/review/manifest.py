"""The manifest of a dossier: which files it has, with their hashes, and what they are. Format 1, see docs/dossier.md.

It is an in-toto statement whose subjects are all files of the dossier but the manifest itself, in a signed DSSE envelope.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from provenance_guard import __version__
from provenance_guard.errors import SidecarError
from provenance_guard.ledger import Event
from provenance_guard.provenance.dsse import Envelope, read_envelope
from provenance_guard.provenance.sidecar import SUFFIX, Sidecar
from provenance_guard.provenance.statement import STATEMENT_TYPE, Profile

MANIFEST = "dossier.json"
PREDICATE_TYPE = "urn:provenance-guard:dossier:v1"

Role = Literal["subject", "ancestor", "child"]

_PART = ("record", "role", "picture", "original", "sidecar", "events")
_FILES = ("picture", "sidecar", "events")


@dataclass(frozen=True)
class Part:
    """One picture of a dossier, as it is told there. ``picture`` is the name of the file in it, None when it is not at hand;
    ``original``: that file has the very bytes that were sealed, not only the pixels."""

    role: Role
    record_id: str
    sidecar: Sidecar | None = None
    picture: str | None = None
    original: bool = False
    events: tuple[Event, ...] = ()

    @property
    def sidecar_name(self) -> str:
        """Where the sidecar lies in the dossier: beside the picture, also when that is not there."""
        return f"{self.picture or f'pictures/{self.record_id}'}{SUFFIX}"

    @property
    def events_name(self) -> str:
        """Where the events lie in the dossier."""
        return f"events/{self.record_id}.json"


def write_manifest(content: Mapping[str, bytes], parts: Sequence[Part], *, profile: Profile, created: str) -> bytes:
    """The statement that lists every file with its hash, and says what each record's files are; the bytes that are signed."""
    predicate = {
        "software": f"provenance-guard {__version__}",
        "created": created,
        "profile": profile,
        "record": parts[0].record_id,
        "parts": [
            {
                "record": part.record_id,
                "role": part.role,
                "picture": part.picture,
                "original": part.original,
                "sidecar": part.sidecar_name if part.sidecar_name in content else None,
                "events": part.events_name if part.events_name in content else None,
            }
            for part in parts
        ],
    }
    subjects = [
        {"name": name, "digest": {"sha256": hashlib.sha256(content[name]).hexdigest()}} for name in sorted(content)
    ]
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }
    return json.dumps(statement, separators=(",", ":")).encode("ascii")


def read_manifest(path: Path) -> tuple[Envelope, dict[str, Any]]:
    """The envelope of a manifest, and the statement in it, whose form is checked; who signed it is for the caller to check.

    Raises SidecarError when it is missing, damaged, foreign or of a newer version.
    """
    try:
        envelope = read_envelope(path.read_bytes())
        statement = json.loads(envelope.payload)
    except FileNotFoundError:
        raise not_a_dossier("it has no manifest") from None
    except OSError as error:
        raise not_a_dossier(str(error.strerror or error)) from error
    except (ValueError, RecursionError) as error:
        raise not_a_dossier("its manifest is damaged") from error
    kind = statement.get("predicateType") if isinstance(statement, dict) else None
    if not isinstance(kind, str) or statement.get("_type") != STATEMENT_TYPE:
        raise not_a_dossier("its manifest is no in-toto statement")
    if kind != PREDICATE_TYPE and kind.startswith(PREDICATE_TYPE.rpartition(":")[0] + ":v"):
        raise SidecarError(
            "The dossier was written by a newer version of Provenance Guard.",
            next_step="Update Provenance Guard, or run the verify.py inside it.",
        )
    if kind != PREDICATE_TYPE:
        raise not_a_dossier(f"its manifest states {kind}")
    if not _is_well_formed(statement):
        raise not_a_dossier("its manifest is damaged")
    return envelope, statement


def is_inside(name: object) -> bool:
    """Whether a file's name stays inside the dossier's folder, on every system."""
    if not isinstance(name, str) or any(character in name for character in "\\:\0"):
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and name not in ("", ".")


def not_a_dossier(reason: str) -> SidecarError:
    """The error for what is no dossier."""
    return SidecarError(
        f"This is not a dossier of Provenance Guard: {reason}.", next_step="Get it again from the sender."
    )


def _is_well_formed(statement: dict[str, Any]) -> bool:
    try:
        subjects, predicate = statement["subject"], statement["predicate"]
        named = [subject["name"] for subject in subjects]
        digests = [subject["digest"]["sha256"] for subject in subjects]
        for part in predicate["parts"]:
            named += [part[name] for name in _FILES if part[name] is not None]
        whole = all(set(_PART) <= set(part) and isinstance(part["record"], str) for part in predicate["parts"])
    except (KeyError, TypeError):
        return False
    return whole and all(map(is_inside, named)) and all(isinstance(digest, str) for digest in digests)
