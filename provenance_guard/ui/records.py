"""What the ledger says about pictures, in the form that the page shows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from provenance_guard.errors import LedgerError
from provenance_guard.guard import LEDGER_FILE, Guard
from provenance_guard.ledger import Event, Ledger
from provenance_guard.ledger.events import PICTURE_SAVED
from provenance_guard.review.records import RECORD_EVENTS, complete_record_id, opened_body

PAGE_SIZE = 25
ERASED = "(erased)"


@dataclass(frozen=True)
class Entry:
    """One picture in the list. ``level`` and ``action`` are empty when the screen or the gate did not run;
    ``failures`` is how many steps failed."""

    record_id: str
    time: str
    name: str
    level: str
    action: str
    mark: str
    failures: int


@dataclass(frozen=True)
class Page:
    """A page of the list, newest first. ``first`` is the position of its first entry, from 1; ``more`` says that older ones
    follow."""

    entries: tuple[Entry, ...]
    first: int
    more: bool


@dataclass(frozen=True)
class Story:
    """All that the ledger holds about one picture: its record, its events in order, and how an outsider can check it."""

    record_id: str
    record: Mapping[str, Any]
    file_name: str
    events: tuple[Event, ...]
    proof: str


def open_ledger(guard: Guard) -> Ledger | None:
    """The ledger for reading only, None when nothing was recorded yet. Raises LedgerError. The caller closes it."""
    path = guard.config.data_directory / LEDGER_FILE
    return Ledger.open_read_only(path) if path.exists() else None


def list_entries(guard: Guard, *, number: int = 0, text: str = "", action: str = "") -> Page | None:
    """Page ``number`` (from 0) of the pictures whose record contains ``text`` (any case) and has that decision.

    None when nothing was recorded at all. Goes through the ledger from its newest event, so that later pages and rare texts take
    longer. Raises LedgerError.
    """
    ledger = open_ledger(guard)
    if ledger is None:
        return None
    start = number * PAGE_SIZE
    with ledger:
        found = list(islice(_matching(ledger, text.strip().casefold(), action), start, start + PAGE_SIZE + 1))
        if not found and not (number or text.strip() or action):
            return None
    return Page(tuple(found[:PAGE_SIZE]), start + 1, len(found) > PAGE_SIZE)


def read_story(guard: Guard, prefix: str) -> Story:
    """Everything about the record whose id begins with ``prefix``. Raises LedgerError when there is not exactly one."""
    ledger = open_ledger(guard)
    if ledger is None:
        raise LedgerError("Nothing is recorded yet.", next_step="Guard a picture first.")
    with ledger:
        record_id = complete_record_id(ledger, prefix)
        events = tuple(ledger.events(record_id=record_id))
        passed = next((event for event in events if event.type in RECORD_EVENTS), events[0])
        saved = next((event for event in reversed(events) if event.type == PICTURE_SAVED), None)
        return Story(
            record_id=record_id,
            record=_record(passed),
            file_name=str(saved.body.get("file_name", "")) if saved else "",
            events=events,
            proof=_describe_proof(ledger, passed.seq),
        )


def _matching(ledger: Ledger, text: str, action: str) -> Iterator[Entry]:
    names: dict[str, str] = {}  # A picture is saved after it passed, so its name comes first in this direction.
    for event in ledger.events(newest_first=True):
        if event.record_id is None:
            continue
        if event.type == PICTURE_SAVED:
            names.setdefault(event.record_id, str(event.body.get("file_name", "")))
        elif event.type in RECORD_EVENTS:
            record = _record(event)
            entry = _entry(event, record, names.pop(event.record_id, ""))
            if action in ("", entry.action) and text in _searchable(entry, record):
                yield entry


def _entry(event: Event, record: Mapping[str, Any], saved_name: str) -> Entry:
    context = record.get("context") or {}
    decision = record.get("decision") or {}
    return Entry(
        record_id=event.record_id or "",
        time=str(record.get("time") or event.time),
        name=saved_name or context.get("source_name") or (ERASED if event.erased else "(no file)"),
        level=(record.get("verdict") or {}).get("level", ""),
        action=decision.get("action", ""),
        mark=describe_mark(record.get("mark")),
        failures=len(texts(record.get("failures"))),
    )


def texts(value: Any) -> list[str]:
    """A list of texts as it is kept in a record; one entry when it was erased."""
    if not value:
        return []
    return [value] if isinstance(value, str) else [str(entry) for entry in value]


def describe_mark(mark: Mapping[str, Any] | None) -> str:
    """``yes``, ``weak`` or ``none``: whether the picture carries the invisible mark."""
    if not mark or not mark.get("present"):
        return "none"
    return "weak" if mark.get("weak") else "yes"


def _record(event: Event) -> Mapping[str, Any]:
    return _without_commitments(opened_body(event).get("record") or {})


def _without_commitments(value: Any) -> Any:
    """A private value whose opening was erased is told as such, not as a hash."""
    if isinstance(value, Mapping):
        if value.keys() == {"commitment"}:
            return ERASED
        return {name: _without_commitments(entry) for name, entry in value.items()}
    return [_without_commitments(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _searchable(entry: Entry, record: Mapping[str, Any]) -> str:
    return f"{entry.name}\n{entry.record_id}\n{json.dumps(record, ensure_ascii=False)}".casefold()


def _describe_proof(ledger: Ledger, seq: int) -> str:
    try:
        proof = ledger.proof(seq)
    except LedgerError as error:
        return error.message
    size = len(json.dumps(proof, separators=(",", ":")))
    return f"An outsider can check event {seq} with {size:,} bytes of proof, without the rest of the ledger."
