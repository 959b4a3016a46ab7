"""The sidecar ``<whole file name>.prov.json``: a signed statement about one picture file.

It is an in-toto Statement v1 (in-toto.io/Statement/v1) in a DSSE envelope (see ``dsse``). Two subjects:

* the file: its name, digest ``sha256``;
* its pixels: the name with ``#pixels``, digest ``pgPixels1`` = ``pictures.pixel_sha256`` of the file when decoded.

The predicate (type ``PREDICATE_TYPE``) holds ``profile``, ``software``, and:

* profile ``full``: the record's public form, and the openings of all its private fields (see ``redaction``);
* profile ``redacted``: the public form, and openings only of the fields that were chosen;
* profile ``proof-only``: the record's id and time alone.

``ledger`` is whatever the ledger gave as proof. ``full`` is the default: the sidecar is the creator's own evidence, lies beside
the picture and never travels inside it. To hand it out, write a redacted one (``redacted_statement``): its commitments are those
of the full one, so fields can be opened later. It does not name the file either, because file names often hold the prompt. In
every profile folders are taken off paths.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from provenance_guard import __version__, files, pictures
from provenance_guard.errors import PictureError, SidecarError
from provenance_guard.json_types import Json
from provenance_guard.provenance.dsse import Envelope, read_envelope, seal_envelope
from provenance_guard.provenance.record import SCHEMA, Record, bare_name
from provenance_guard.provenance.redaction import disclose, redact, restore
from provenance_guard.signing import Signer, key_id

SUFFIX = ".prov.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:provenance-guard:record:v1"
FILE_DIGEST = "sha256"
PIXEL_DIGEST = "pgPixels1"
MAX_BYTES = 64 << 20

Profile = Literal["full", "redacted", "proof-only"]
Sealed = tuple[Mapping[str, Json], tuple[str, ...]]

_NO_NAME = "picture"
_ASK_AGAIN = "Get the sidecar again from the creator, or from a backup."


@dataclass(frozen=True)
class SidecarCheck:
    """What a sidecar's check found, each answer for itself. None means that it could not be looked at (see ``notes``).

    ``signature``: one key signed exactly these bytes; ``key_id`` names it; ``signer`` is whose key it is, by the names the
    caller knows, else None. ``file`` and ``pixels``: the picture beside it has the stated bytes, the stated pixels.
    ``openings``: the opened fields fit their commitments.
    """

    signature: bool
    key_id: str | None
    signer: str | None
    file: bool | None
    pixels: bool | None
    openings: bool
    notes: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether the statement is intact and speaks of this picture's bytes. Says nothing about who signed."""
        return self.signature and self.openings and self.file is True


@dataclass(frozen=True)
class Sidecar:
    """A sidecar that was read; nothing in it is believed before ``verify``."""

    path: Path
    envelope: Envelope
    file_name: str
    file_sha256: str
    pixel_sha256: str | None
    profile: Profile
    predicate: Mapping[str, Any] = field(repr=False)

    @property
    def record(self) -> Record:
        """The record as far as it is opened; sealed fields have their default values.

        Raises SidecarError when the profile is ``proof-only``, or an opening does not fit.
        """
        public, openings = self.sealed
        try:
            return Record.from_json(restore(public, openings))
        except ValueError as error:
            raise _damaged(self.path, str(error)) from error

    @property
    def record_id(self) -> str:
        """The id of the record, in every profile."""
        holder = self.predicate.get("record", self.predicate)
        return str(holder.get("id", ""))

    @property
    def sealed(self) -> Sealed:
        """The record's public form and the openings that come with it. Raises SidecarError when it is ``proof-only``."""
        if self.profile == "proof-only":
            raise SidecarError(
                f"{self.path.name} holds only proofs, not the record.",
                next_step="Ask the creator for the full or the redacted sidecar.",
            )
        return self.predicate["record"], tuple(self.predicate["openings"])

    @property
    def ledger_proof(self) -> Mapping[str, Any] | None:
        """What the ledger gave as proof, or None."""
        return self.predicate.get("ledger")

    def verify(self, public_keys: Mapping[str, bytes] | None = None, *, picture: Path | None = None) -> SidecarCheck:
        """Check the signature, and the picture beside the sidecar (or ``picture``, wherever it is now).

        ``public_keys`` are the raw keys that the caller knows, by their owners' names. Never raises for what is in the files.
        """
        known = {key: name for name, key in (public_keys or {}).items()}
        key = self.envelope.signing_key(known)
        notes: list[str] = []
        file, pixels = self._compare(picture or picture_path(self.path), notes)
        return SidecarCheck(
            signature=key is not None,
            key_id=key_id(key) if key else None,
            signer=known.get(key) if key else None,
            file=file,
            pixels=pixels,
            openings=self._openings_fit(notes),
            notes=tuple(notes),
        )

    def _compare(self, picture: Path, notes: list[str]) -> tuple[bool | None, bool | None]:
        try:
            file = files.sha256_file(picture) == self.file_sha256
        except OSError as error:
            notes.append(f"{picture.name} cannot be read ({error.strerror or error}).")
            return None, None
        if self.pixel_sha256 is None:
            return file, None
        try:
            decoded = pictures.open_picture(picture, animated="first").image
        except PictureError as error:
            notes.append(error.message)
            return file, None
        return file, pictures.pixel_sha256(decoded) == self.pixel_sha256

    def _openings_fit(self, notes: list[str]) -> bool:
        if self.profile == "proof-only":
            return True
        try:
            restore(*self.sealed)
        except SidecarError as error:
            notes.append(error.message)
            return False
        return True


def sidecar_path(picture: Path) -> Path:
    """Where the sidecar of a picture lies: named by the whole file name, so that ``a.png`` and ``a.jpg`` have one each."""
    return picture.with_name(picture.name + SUFFIX)


def picture_path(sidecar: Path) -> Path:
    """The picture that a sidecar lies beside."""
    return sidecar.with_name(sidecar.name.removesuffix(SUFFIX))


def build_statement(
    record: Record,
    file_name: str,
    file_sha256: str,
    pixel_sha256: str | None = None,
    *,
    profile: Profile = "full",
    ledger_proof: Mapping[str, Json] | None = None,
    sealed: Sealed | None = None,
) -> bytes:
    """The statement about a saved picture, as the bytes that are to be signed.

    ``pixel_sha256`` is of the decoded file; it defaults to the record's own, which is right for lossless formats only.
    ``sealed`` is the record's public form and its openings when they were made before (``redaction.redact``), so that ledger
    and sidecar share their commitments.
    """
    public, openings = sealed or redact(record.to_json())
    name = bare_name(file_name) if profile == "full" else _NO_NAME
    subjects = _subjects(name, file_sha256, pixel_sha256 or record.pixel_sha256)
    return _write_statement(subjects, profile, public, openings if profile == "full" else (), ledger_proof)


def redacted_statement(
    source: Sidecar, *, profile: Literal["redacted", "proof-only"] = "redacted", fields: Iterable[str] = ()
) -> bytes:
    """A statement to hand out, made from a full sidecar: only the chosen private ``fields`` are opened (``prompt``, ``seed``).

    Raises UsageError for a field that is not sealed there, SidecarError when ``source`` has no record, or was changed after it
    was signed: that must not get a new signature. Whose key signed it is for the caller to check.
    """
    public, openings = source.sealed
    if source.envelope.signing_key() is None:
        raise _damaged(source.path, "its signature does not hold")
    source.record  # noqa: B018 - raises when the record does not fit itself.
    chosen = disclose(public, openings, fields) if profile == "redacted" else ()
    subjects = _subjects(_NO_NAME, source.file_sha256, source.pixel_sha256)
    return _write_statement(subjects, profile, public, chosen, source.ledger_proof)


def sign_envelope(payload: bytes, signer: Signer) -> bytes:
    """The sidecar's file content: a statement's bytes, signed as they are."""
    return seal_envelope(PAYLOAD_TYPE, payload, signer)


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar file; signature and picture are checked by ``Sidecar.verify``.

    Raises SidecarError: missing, unreadable, damaged, not one of ours, or from a newer version.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SidecarError(
            f"There is no sidecar {path.name}.", next_step=f"Put it beside the picture, as {path}."
        ) from None
    except OSError as error:
        raise SidecarError(
            f"{path.name} cannot be read ({error.strerror or error}).", next_step="Check the permissions."
        ) from error
    if len(content) > MAX_BYTES:
        raise _foreign(path, "it is far too large")
    return parse_sidecar(content, path)


def parse_sidecar(content: bytes, path: Path) -> Sidecar:
    """Read a sidecar's bytes; ``path`` is where it lies, or would lie. Raises SidecarError."""
    try:
        envelope = read_envelope(content)
    except UnicodeDecodeError as error:
        raise _foreign(path, "it is no text") from error
    except json.JSONDecodeError as error:
        raise _damaged(path, f"no JSON at line {error.lineno}, column {error.colno}") from error
    except ValueError as error:
        raise _foreign(path, str(error)) from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise _foreign(path, f"it holds {envelope.payload_type}")
    try:
        statement = json.loads(envelope.payload)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "the statement is no JSON") from error
    return _read_statement(statement, envelope, path)


def _read_statement(statement: Any, envelope: Envelope, path: Path) -> Sidecar:
    kind = statement.get("predicateType") if isinstance(statement, dict) else None
    if not isinstance(kind, str) or statement.get("_type") != STATEMENT_TYPE:
        raise _foreign(path, "it is no in-toto statement")
    if kind != PREDICATE_TYPE:
        family = PREDICATE_TYPE.rpartition(":")[0]
        raise _newer(path) if kind.startswith(f"{family}:v") else _foreign(path, f"it states {kind}")
    predicate, digests = statement.get("predicate"), _read_subjects(statement.get("subject"))
    if not isinstance(predicate, dict) or FILE_DIGEST not in digests:
        raise _damaged(path, "subject or predicate is missing")
    if predicate.get("profile") not in get_args(Profile):
        raise _damaged(path, "the profile is unknown")
    if not isinstance(predicate.get("ledger"), (dict, type(None))):
        raise _damaged(path, "the ledger proof is no object")
    if predicate["profile"] != "proof-only":
        _check_record(predicate, path)
    file_name, file_sha256 = digests[FILE_DIGEST]
    pixel_sha256 = digests[PIXEL_DIGEST][1] if PIXEL_DIGEST in digests else None
    return Sidecar(path, envelope, file_name, file_sha256, pixel_sha256, predicate["profile"], predicate)


def _check_record(predicate: dict[str, Any], path: Path) -> None:
    record, openings = predicate.get("record"), predicate.get("openings")
    if not isinstance(record, dict) or not isinstance(openings, list):
        raise _damaged(path, "the record is missing")
    if not all(isinstance(opening, str) for opening in openings):
        raise _damaged(path, "an opening is no text")
    if isinstance(record.get("schema"), int) and record["schema"] > SCHEMA:
        raise _newer(path)


def _read_subjects(subjects: Any) -> dict[str, tuple[str, str]]:
    """Name and digest of each subject, by the digest's algorithm."""
    found: dict[str, tuple[str, str]] = {}
    for subject in subjects if isinstance(subjects, list) else ():
        name, digest = (subject.get("name"), subject.get("digest")) if isinstance(subject, dict) else (None, None)
        if isinstance(name, str) and isinstance(digest, dict):
            found.update({kind: (name, value) for kind, value in digest.items() if isinstance(value, str)})
    return found


def _subjects(name: str, file_sha256: str, pixel_sha256: str | None) -> list[dict[str, Any]]:
    subjects: list[dict[str, Any]] = [{"name": name, "digest": {FILE_DIGEST: file_sha256}}]
    if pixel_sha256 is not None:
        subjects.append({"name": f"{name}#pixels", "digest": {PIXEL_DIGEST: pixel_sha256}})
    return subjects


def _write_statement(
    subjects: list[dict[str, Any]],
    profile: Profile,
    public: Mapping[str, Json],
    openings: Iterable[str],
    ledger_proof: Mapping[str, Json] | None,
) -> bytes:
    predicate: dict[str, Any] = {"profile": profile, "software": f"provenance-guard {__version__}"}
    if profile == "proof-only":
        predicate |= {"id": public["id"], "time": public["time"]}
    else:
        predicate |= {"record": public, "openings": list(openings)}
    if ledger_proof is not None:
        predicate["ledger"] = ledger_proof
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }
    return json.dumps(statement, separators=(",", ":"), allow_nan=False).encode("ascii")


def _foreign(path: Path, reason: str) -> SidecarError:
    return SidecarError(
        f"{path.name} is not a sidecar of Provenance Guard: {reason}.",
        next_step=f"Name the picture's own {SUFFIX} file.",
    )


def _damaged(path: Path, reason: str) -> SidecarError:
    return SidecarError(f"The sidecar {path.name} is damaged: {reason}.", next_step=_ASK_AGAIN)


def _newer(path: Path) -> SidecarError:
    return SidecarError(
        f"The sidecar {path.name} was written by a newer version of Provenance Guard.",
        next_step="Update Provenance Guard to read it.",
    )
