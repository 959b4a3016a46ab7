"""The sidecar ``<whole file name>.prov.json``: a signed statement about one picture file, and what opens its private fields.

The statement (see ``statement``) holds the record's public form, in a signed DSSE envelope (see ``dsse``). Beside the signed
bytes, as a member ``openings`` of the envelope, lie the openings: all of them in the creator's own sidecar (profile ``full``),
only those of chosen fields in one that is handed out (``redacted``). They prove themselves, because the statement holds a
commitment to each. So all of these are one statement with one signature, and fields can be opened later without a new one.
A ``proof-only`` sidecar is a statement of its own that says no more than that there is a record. In every profile folders are
taken off paths.

A second member, ``outside``, holds time tokens and cosignatures on the ledger's checkpoint, when there are any: they come after the
signature, and are put in later (``with_outside``).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from provenance_guard import files, pictures
from provenance_guard.errors import PictureError, SidecarError
from provenance_guard.json_types import Json
from provenance_guard.provenance.dsse import Envelope, read_envelope, seal_envelope, write_envelope
from provenance_guard.provenance.record import SCHEMA, Record
from provenance_guard.provenance.redaction import Opening, disclose, read_opening, restore, sealed_fields
from provenance_guard.provenance.statement import (
    FILE_DIGEST,
    FILE_LEDGER,
    FILE_NAME,
    LEDGER,
    PAYLOAD_TYPE,
    PIXEL_DIGEST,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    Profile,
    build_statement,
    read_subjects,
)
from provenance_guard.signing import Signer, key_id

SUFFIX = ".prov.json"
OPENINGS = "openings"
OUTSIDE = "outside"
MAX_BYTES = 64 << 20

Sealed = tuple[Mapping[str, Json], tuple[str, ...]]

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
    """A sidecar that was read; nothing in it is believed before ``verify``.

    ``file_name`` is empty while nobody has opened it. ``newer``: a newer version wrote it, so that only signature and hashes can
    be checked here; ``profile`` is then ``proof-only``.
    """

    path: Path
    envelope: Envelope
    file_name: str
    file_sha256: str
    pixel_sha256: str | None
    profile: Profile
    predicate: Mapping[str, Any] = field(repr=False)
    openings: tuple[str, ...] = field(default=(), repr=False)
    newer: bool = False

    @property
    def record(self) -> Record:
        """The record as far as it is opened; sealed fields have their default values.

        Raises SidecarError when the profile is ``proof-only``, an opening does not fit, or the record is of a newer version.
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
        return str(holder.get("id", "")) if isinstance(holder, Mapping) else ""

    @property
    def sealed(self) -> Sealed:
        """The record's public form and the openings that come with it, but for that of the file's name.

        Raises SidecarError when it is ``proof-only``, or of a newer version.
        """
        if self.newer:
            raise _newer(self.path)
        if self.profile == "proof-only":
            raise SidecarError(
                f"{self.path.name} holds only proofs, not the record.",
                next_step="Ask the creator for the full or the redacted sidecar.",
            )
        return self.predicate["record"], tuple(text for text in self.openings if not _is_of_file_name(text))

    @property
    def ledger_proof(self) -> Mapping[str, Any] | None:
        """What the ledger gave as proof that the record is in it, or None."""
        return self.predicate.get(LEDGER)

    @property
    def file_proof(self) -> Mapping[str, Any] | None:
        """What the ledger gave as proof that it names this file, or None."""
        proof = self.predicate.get(FILE_LEDGER)
        return proof if isinstance(proof, Mapping) else None

    @property
    def outside(self) -> Any:
        """What shows that outsiders know of it (see ``with_outside``), unchecked; None when nothing does."""
        return self.envelope.beside.get(OUTSIDE)

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
        if self.newer:
            notes.append(f"{_newer(self.path)} Its signature and the picture's hashes were checked.")
            return True
        if self.profile == "proof-only":
            return True
        try:
            restore(_with_file_name(self.predicate), self.openings)
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


def sign_envelope(payload: bytes, signer: Signer, openings: Iterable[str] = ()) -> bytes:
    """The sidecar's file content: a statement's bytes, signed as they are, and what opens its private fields beside them."""
    texts: list[Json] = [*openings]
    return seal_envelope(PAYLOAD_TYPE, payload, signer, {OPENINGS: texts} if texts else None)


def redact_sidecar(source: Sidecar, *, fields: Iterable[str] = (), signer: Signer | None = None) -> bytes:
    """The content of a sidecar to hand out: only the chosen private ``fields`` are opened (``prompt``, ``seed``).

    Statement and signature are those of ``source``; nothing is signed anew. But the first version kept the openings inside the
    statement: to take them out of one of those, ``signer`` has to sign what remains.
    Raises UsageError for a field that is not sealed there, SidecarError when ``source`` has no record, was changed after it was
    signed, or needs a signer. Whose key signed it is for the caller to check.
    """
    _check_sound(source)
    public = _with_file_name(source.predicate)
    chosen = disclose(public, source.openings, fields)
    if not source.predicate.get(OPENINGS) and FILE_NAME in source.predicate:
        return _with_openings(source.envelope, chosen)
    if signer is None:
        raise SidecarError(
            f"{source.path.name} was written by the first version: what remains of its statement must be signed.",
            next_step="Export it where the signing key is.",
        )
    payload = build_statement(
        source.predicate["record"],
        source.file_sha256,
        source.pixel_sha256,
        ledger_proof=source.ledger_proof,
        file_proof=source.file_proof,
    )
    return sign_envelope(payload, signer, chosen)


def open_sidecar(source: Sidecar, openings: Iterable[str]) -> bytes:
    """The content of ``source`` with more openings beside its statement. Raises SidecarError when one does not fit."""
    together = tuple(dict.fromkeys((*source.openings, *openings)))
    restore(_with_file_name(source.predicate), together)
    inside = source.predicate.get(OPENINGS, ())
    return _with_openings(source.envelope, tuple(text for text in together if text not in inside))


def with_outside(source: Sidecar, evidence: Mapping[str, Json]) -> bytes:
    """The content of ``source`` with evidence from outside beside its statement: time tokens and cosignatures, which prove
    themselves and often come long after the signature. What was there before is replaced."""
    beside = {**source.envelope.beside, OUTSIDE: evidence}
    return write_envelope(dataclasses.replace(source.envelope, beside=beside))


def proof_only_sidecar(source: Sidecar, signer: Signer) -> bytes:
    """The content of a sidecar that says no more than that there is a record of this file: a statement of its own.

    Raises SidecarError when ``source`` was changed after it was signed: that must not get a new signature.
    """
    _check_sound(source)
    payload = build_statement(
        source.predicate["record"],
        source.file_sha256,
        source.pixel_sha256,
        profile="proof-only",
        ledger_proof=source.ledger_proof,
        file_proof=source.file_proof,
    )
    content = sign_envelope(payload, signer)
    return content if source.outside is None else with_outside(parse_sidecar(content, source.path), source.outside)


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
    if kind != PREDICATE_TYPE and not kind.startswith(f"{PREDICATE_TYPE.rpartition(':')[0]}:v"):
        raise _foreign(path, f"it states {kind}")
    predicate, digests = statement.get("predicate"), read_subjects(statement.get("subject"))
    if not isinstance(predicate, dict) or FILE_DIGEST not in digests:
        raise _damaged(path, "subject or predicate is missing")
    file_name, file_sha256 = digests[FILE_DIGEST]
    pixel_sha256 = digests[PIXEL_DIGEST][1] if PIXEL_DIGEST in digests else None
    if kind != PREDICATE_TYPE or _is_newer(predicate.get("record")):
        return Sidecar(path, envelope, "", file_sha256, pixel_sha256, "proof-only", predicate, newer=True)
    if predicate.get("profile") not in get_args(Profile):
        raise _damaged(path, "the profile is unknown")
    if not isinstance(predicate.get("ledger"), (dict, type(None))):
        raise _damaged(path, "the ledger proof is no object")
    read = Sidecar(path, envelope, file_name, file_sha256, pixel_sha256, predicate["profile"], predicate)
    return read if read.profile == "proof-only" else _with_openings_read(read)


def _with_openings_read(read: Sidecar) -> Sidecar:
    """A sidecar with the openings found in it, and what follows from them."""
    predicate, beside = read.predicate, read.envelope.beside.get(OPENINGS, [])
    if not isinstance(predicate.get("record"), dict) or not isinstance(predicate.get(OPENINGS), list):
        raise _damaged(read.path, "the record is missing")
    if not isinstance(beside, list):
        raise _damaged(read.path, "the openings are no list")
    if not all(isinstance(opening, str) for opening in (*predicate[OPENINGS], *beside)):
        raise _damaged(read.path, "an opening is no text")
    openings = tuple(dict.fromkeys((*predicate[OPENINGS], *beside)))
    if FILE_NAME not in predicate:  # the first version named the file in the statement
        return dataclasses.replace(read, openings=openings)
    opened = {opening.pointer: opening.value for opening in map(_opening, openings) if opening}
    everything = set(sealed_fields(_with_file_name(predicate)))
    return dataclasses.replace(
        read,
        openings=openings,
        file_name=str(opened.get(f"/{FILE_NAME}", "")),
        profile="full" if everything <= opened.keys() else "redacted",
    )


def _with_file_name(predicate: Mapping[str, Any]) -> dict[str, Json]:
    """The record's public form with the file's name, which a statement keeps beside the record."""
    named = {FILE_NAME: predicate[FILE_NAME]} if FILE_NAME in predicate else {}
    return {**predicate["record"], **named}


def _with_openings(envelope: Envelope, openings: tuple[str, ...]) -> bytes:
    beside = {name: value for name, value in envelope.beside.items() if name != OPENINGS}
    return write_envelope(
        dataclasses.replace(envelope, beside={**beside, **({OPENINGS: [*openings]} if openings else {})})
    )


def _check_sound(source: Sidecar) -> None:
    if source.envelope.signing_key() is None:
        raise _damaged(source.path, "its signature does not hold")
    source.record  # noqa: B018 - raises when there is none, or it does not fit itself.


def _opening(text: str) -> Opening | None:
    try:
        return read_opening(text)
    except SidecarError:
        return None


def _is_of_file_name(text: str) -> bool:
    opening = _opening(text)
    return opening is not None and opening.pointer == f"/{FILE_NAME}"


def _is_newer(record: object) -> bool:
    schema = record.get("schema") if isinstance(record, dict) else None
    return isinstance(schema, int) and schema > SCHEMA


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
