"""One ledger entry and its stored bytes (leaf format 1, see docs/ledger.md).

The stored bytes are what is hashed: they are written once and never serialised again. An event's leaf hash is
SHA-256(0x00 || stored bytes), and every event holds the leaf hash of the one before it.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from provenance_guard.errors import LedgerError
from provenance_guard.json_types import Json
from provenance_guard.ledger.merkle import is_hash, leaf_hash

LEAF_VERSION = 1
FIRST_PREVIOUS = "0" * 64
MAX_SEQ = 1 << 62

# Types in use. The set grows; a reader must accept a type that it does not know.
SESSION_STARTED = "session.started"  # a program began to work: versions, settings
SESSION_ALIVE = "session.alive"  # it still works: written now and then, so that the end of a killed one is known
SESSION_ENDED = "session.ended"  # it ended in order
GAP_FOUND = "gap.found"  # what was made while no session ran: since, until, generations, pictures (names private)
RUN_QUEUED = "run.queued"  # a generation was asked for, written before it runs
PICTURE_RELEASED = "picture.released"  # a picture passed the door: its record
PICTURE_BLOCKED = "picture.blocked"  # a picture did not pass: its record
PICTURE_WITHHELD = "picture.withheld"  # a released picture was taken back, because its file could not be finished
QUARANTINE_RELEASED = "quarantine.released"  # a reviewer let a kept picture go: released_as; who and why are private
QUARANTINE_DESTROYED = "quarantine.destroyed"  # a reviewer destroyed a kept picture; who and why are private
PICTURE_SAVED = "picture.saved"  # the file as it lies on disk: file_name, file_sha256, pixel_sha256
PICTURE_IMPORTED = "picture.imported"  # a picture made elsewhere or earlier; its times are claims
PICTURE_SELECTED = "picture.selected"  # a person chose this attempt
PICTURE_REJECTED = "picture.rejected"  # a person discarded this attempt
NOTE_ADDED = "note.added"  # a person's words
KEY_ADDED = "key.added"  # a key that signs checkpoints from here on: origin, public_key (hex)
TIMESTAMP_ATTACHED = "timestamp.attached"  # an outsider dated a checkpoint: kind, size, authority, time, reply_sha256
LEDGER_RESTORED = "ledger.restored"  # a backup was put back: events_before (null when unknown), events_restored
EVENT_ERASED = "event.erased"  # content of earlier events was removed: seqs, what ("private" or "whole"), reason

# Body keys that are indexed, so that a picture is found by its hash: at the top level, or else inside "record".
PIXEL_KEY = "pixel_sha256"
FILE_KEY = "file_sha256"
RECORD_KEY = "record"

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_FIELDS = {"version", "seq", "previous", "time", "type", "record", "salt", "body"}
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class NewEvent:
    """An event to append. ``openings`` are texts whose SHA-256 (hex) occurs in ``body``: private values that can be erased
    later without touching the tree."""

    type: str
    body: Mapping[str, Json]
    record_id: str | None = None
    openings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """An event of the ledger. ``seq`` counts from 0 and is the leaf's index in the tree; ``time`` is UTC, RFC 3339, by the
    clock of the machine that wrote it. An erased event has empty ``stored`` bytes and ``body``; its leaf hash remains."""

    seq: int
    time: str
    type: str
    record_id: str | None
    body: Mapping[str, Any] = field(repr=False)
    stored: bytes = field(repr=False)
    leaf_hash: bytes = field(repr=False)
    previous: str
    openings: tuple[str, ...] = ()

    @property
    def erased(self) -> bool:
        """Whether the content was removed on request."""
        return not self.stored


def new_salt() -> str:
    """128 random bits: without them, the hash of an erased event could be matched against guesses."""
    return secrets.token_hex(16)


def write_event(seq: int, previous: str, time: str, new: NewEvent) -> Event:
    """Make the bytes of an event. Raises LedgerError for a bad name, a body that is not JSON, or an opening without commitment."""
    for name in (new.type, *([] if new.record_id is None else [new.record_id])):
        if not _NAME.fullmatch(name):
            raise LedgerError(
                f"{name!r} is no event type or record id.", next_step="Use 1 to 64 letters, digits, dots and hyphens."
            )
    document = {
        "version": LEAF_VERSION,
        "seq": seq,
        "previous": previous,
        "time": time,
        "type": new.type,
        "record": new.record_id,
        "salt": new_salt(),
        "body": new.body,
    }
    stored = to_bytes(document)
    check_openings(stored, new.openings)
    return Event(seq, time, new.type, new.record_id, new.body, stored, leaf_hash(stored), previous, tuple(new.openings))


def read_event(stored: bytes, openings: Sequence[str] = ()) -> Event:
    """Read stored bytes. Raises LedgerError when they are no leaf of this or an older version."""
    document = _parse(stored)
    if not document.keys() >= _FIELDS:
        raise _not_a_leaf("fields are missing: " + ", ".join(sorted(_FIELDS - document.keys())))
    if not _is_count(document["version"]) or document["version"] == 0:
        raise _not_a_leaf("its version is no number")
    if document["version"] > LEAF_VERSION:
        raise LedgerError(
            f"An event has leaf version {document['version']}, and this program knows {LEAF_VERSION}.",
            next_step="Update Provenance Guard to read it.",
        )
    texts = [document["previous"], document["time"], document["type"], document["salt"]]
    if document["record"] is not None:
        texts.append(document["record"])
    fits = all(isinstance(text, str) for text in texts) and isinstance(document["body"], dict)
    if not fits or not _is_count(document["seq"]):
        raise _not_a_leaf("a field has the wrong kind of value")
    return Event(
        seq=document["seq"],
        time=document["time"],
        type=document["type"],
        record_id=document["record"],
        body=document["body"],
        stored=stored,
        leaf_hash=leaf_hash(stored),
        previous=document["previous"],
        openings=tuple(openings),
    )


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """JSON as UTF-8 without blanks. A lone surrogate (a damaged file name, say) stays as its JSON escape."""
    try:
        text = _ENCODER.encode(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise LedgerError(
            f"The event cannot be written as JSON ({error}).",
            next_step="Give plain values: texts, numbers, lists, mappings, true, false and null.",
        ) from error
    return text.encode("utf-8", "backslashreplace")


def check_openings(stored: bytes, openings: Sequence[str]) -> None:
    """Raise LedgerError unless the SHA-256 of every opening occurs in the stored bytes."""
    for opening in openings:
        if commitment(opening).encode("ascii") not in stored:
            raise LedgerError(
                "A private value does not belong to its event: no commitment to it is in the body.",
                next_step="Put the commitment into the body, or leave the opening out.",
            )


def commitment(opening: str) -> str:
    """SHA-256 of an opening's UTF-8 bytes, as 64 hex digits."""
    return hashlib.sha256(opening.encode("utf-8", "backslashreplace")).hexdigest()


def indexed_digest(body: Mapping[str, Any], key: str) -> str | None:
    """The ``pixel_sha256`` or ``file_sha256`` of a body, or else of the record in it, when it is 64 lower-case hex digits."""
    value = body.get(key)
    if value is None:
        record = body.get(RECORD_KEY)
        value = record.get(key) if isinstance(record, dict) else None
    return value if is_hash(value) else None


def _parse(stored: bytes) -> dict[str, Any]:
    try:
        document = json.loads(stored.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise _not_a_leaf(str(error)) from error
    if not isinstance(document, dict):
        raise _not_a_leaf("no JSON object")
    return document


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name occurs twice")
    return values


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_SEQ


def _not_a_leaf(reason: str) -> LedgerError:
    return LedgerError(f"An event of the ledger cannot be read ({reason}).", next_step="Verify the ledger.")
