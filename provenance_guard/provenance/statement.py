"""The signed statement in a sidecar: what is said about one picture file, as the bytes that are signed.

It is an in-toto Statement v1 (in-toto.io/Statement/v1) with two subjects:

* the file: digest ``sha256``;
* its pixels: digest ``pgPixels1`` = ``pictures.pixel_sha256`` of the file when decoded.

The predicate (type ``PREDICATE_TYPE``) holds ``profile``, ``software``, ``ledger`` and ``file_ledger`` (what the ledger gave as
proof that it holds the record, and that it names the file), and in profile ``redacted`` the record's public form and a commitment to the file's name; in ``proof-only`` the record's id and time
alone. No statement holds a private value: file names often hold the prompt, so the subjects have none. What opens the
commitments travels beside the statement (see ``sidecar``), so one signature serves whoever may see much and whoever may see little.

Statements of profile ``full`` were written by the first versions: they hold the openings and the file's name themselves.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Literal

from provenance_guard import __version__
from provenance_guard.json_types import Json
from provenance_guard.provenance.record import bare_name
from provenance_guard.provenance.redaction import SALT_BYTES, commitment_to, write_opening

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:provenance-guard:record:v1"
FILE_DIGEST = "sha256"
PIXEL_DIGEST = "pgPixels1"
FILE_NAME = "file_name"
LEDGER = "ledger"
FILE_LEDGER = "file_ledger"
NO_NAME = "picture"

Profile = Literal["full", "redacted", "proof-only"]


def seal_file_name(name: str, *, make_salt: Callable[[int], bytes] = secrets.token_bytes) -> tuple[Json, str]:
    """What stands for a file's name in public forms, and the opening of it. Folders are taken off."""
    opening = write_opening(f"/{FILE_NAME}", bare_name(name), make_salt(SALT_BYTES))
    return {"commitment": commitment_to(opening)}, opening


def build_statement(
    public: Mapping[str, Json],
    file_sha256: str,
    pixel_sha256: str | None = None,
    *,
    file_name: Json = None,
    profile: Literal["redacted", "proof-only"] = "redacted",
    ledger_proof: Mapping[str, Json] | None = None,
    file_proof: Mapping[str, Json] | None = None,
) -> bytes:
    """The statement about a saved picture, as the bytes that are to be signed.

    ``public`` is the record's public form, the same as in the ledger (``redaction.redact``). ``pixel_sha256`` is of the decoded
    file; it defaults to the record's own, which is right for lossless formats only. ``file_name`` is from ``seal_file_name``.
    """
    predicate: dict[str, Any] = {"profile": profile, "software": f"provenance-guard {__version__}"}
    if profile == "proof-only":
        predicate |= {"id": public["id"], "time": public["time"]}
    else:
        predicate |= {"record": public, "openings": []}
        if file_name is not None:
            predicate[FILE_NAME] = file_name
    for member, proof in ((LEDGER, ledger_proof), (FILE_LEDGER, file_proof)):
        if proof is not None:
            predicate[member] = _without_event(proof) if profile == "proof-only" else proof
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": _subjects(file_sha256, pixel_sha256 or public.get("pixel_sha256")),
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }
    return json.dumps(statement, separators=(",", ":"), allow_nan=False).encode("ascii")


def read_subjects(subjects: Any) -> dict[str, tuple[str, str]]:
    """Name and digest of each subject, by the digest's algorithm; what is not of that form is left out."""
    found: dict[str, tuple[str, str]] = {}
    for subject in subjects if isinstance(subjects, list) else ():
        name, digest = (subject.get("name"), subject.get("digest")) if isinstance(subject, dict) else (None, None)
        if isinstance(name, str) and isinstance(digest, dict):
            found.update({kind: (name, value) for kind, value in digest.items() if isinstance(value, str)})
    return found


def _without_event(proof: Mapping[str, Json]) -> dict[str, Json]:
    """What the event says is more than that it is there."""
    return {name: value for name, value in proof.items() if name != "event"}


def _subjects(file_sha256: str, pixel_sha256: Json) -> list[dict[str, Any]]:
    subjects: list[dict[str, Any]] = [{"name": NO_NAME, "digest": {FILE_DIGEST: file_sha256}}]
    if pixel_sha256 is not None:
        subjects.append({"name": f"{NO_NAME}#pixels", "digest": {PIXEL_DIGEST: pixel_sha256}})
    return subjects
