"""What the ledger says about pictures, in the form that the page shows."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from provenance_guard.errors import LedgerError
from provenance_guard.guard import Guard
from provenance_guard.ledger import Event, Ledger
from provenance_guard.ledger.opening import opened_body
from provenance_guard.review.records import (
    FILE_EVENTS,
    RECORD_EVENTS,
    complete_record_id,
    describe_mark,
    find_file_event,
    find_release,
)

PAGE_SIZE = 25
MOST_HITS = 2000
"""How many events a search by words may find; more than that is no search."""

ERASED = "(erased)"


@dataclass(frozen=True)
class Entry:
    """One picture in the list. ``level`` is empty when there was nothing to compare with or the screen did not run, ``action``
    when the gate did not; ``failures`` is how many steps failed."""

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
    path = guard.config.ledger_path
    return Ledger.open_read_only(path) if path.exists() else None


def list_entries(guard: Guard, *, number: int = 0, text: str = "", action: str = "") -> Page | None:
    """Page ``number`` (from 0) of the pictures that have every word of ``text`` (see ``Ledger.search``) and that decision.

    None when nothing was recorded at all. Raises LedgerError.
    """
    ledger = open_ledger(guard)
    if ledger is None:
        return None
    start = number * PAGE_SIZE
    with ledger:
        releases = _search(ledger, text) if text.strip() else _newest_first(ledger)
        wanted = (event for event in releases if not action or _action(_record(event)) == action)
        found = list(islice(wanted, start, start + PAGE_SIZE + 1))
        if not found and not (number or text.strip() or action):
            return None
        entries = tuple(_entry(event, _saved_name(ledger, event)) for event in found[:PAGE_SIZE])
    return Page(entries, start + 1, len(found) > PAGE_SIZE)


def read_story(guard: Guard, prefix: str) -> Story:
    """Everything about the record whose id begins with ``prefix``. Raises LedgerError when there is not exactly one."""
    ledger = open_ledger(guard)
    if ledger is None:
        raise LedgerError("Nothing is recorded yet.", next_step="Guard a picture first.")
    with ledger:
        record_id = complete_record_id(ledger, prefix)
        events = tuple(ledger.events(record_id=record_id))
        passed = next((event for event in events if event.type in RECORD_EVENTS), events[0])
        saved = next((event for event in reversed(events) if event.type in FILE_EVENTS), None)
        return Story(
            record_id=record_id,
            record=_record(passed),
            file_name=str(opened_body(saved).get("file_name", "")) if saved else "",
            events=events,
            proof=_describe_proof(ledger, passed.seq),
        )


def _newest_first(ledger: Ledger) -> Iterable[Event]:
    kinds = (ledger.events(type=kind, newest_first=True) for kind in RECORD_EVENTS)
    return heapq.merge(*kinds, key=lambda event: event.seq, reverse=True)


def _search(ledger: Ledger, text: str) -> Iterator[Event]:
    """The releases of the pictures of which any event was found, the newest hit first."""
    seen: set[str] = set()
    for hit in islice(ledger.search_all(text), MOST_HITS):
        if hit.record_id and hit.record_id not in seen:
            seen.add(hit.record_id)
            if (release := find_release(ledger, hit.record_id)) is not None:
                yield release


def _saved_name(ledger: Ledger, release: Event) -> str:
    saved = find_file_event(ledger, release.record_id or "")
    return str(opened_body(saved).get("file_name", "")) if saved else ""


def _entry(event: Event, saved_name: str) -> Entry:
    record = _record(event)
    source = (record.get("context") or {}).get("source_name")
    return Entry(
        record_id=event.record_id or "",
        time=str(record.get("time") or event.time),
        name=saved_name or source or (ERASED if event.erased else "(no file)"),
        level=verdict_level(record),
        action=_action(record),
        mark=describe_mark(record.get("mark")),
        failures=len(texts(record.get("failures"))),
    )


def _action(record: Mapping[str, Any]) -> str:
    return str((record.get("decision") or {}).get("action", ""))


def texts(value: Any) -> list[str]:
    """A list of texts as it is kept in a record; one entry when it was erased."""
    if not value:
        return []
    return [value] if isinstance(value, str) else [str(entry) for entry in value]


def verdict_level(record: Mapping[str, Any]) -> str:
    """The verdict's level, empty when nothing was compared: "clean" would claim too much then."""
    verdict = record.get("verdict") or {}
    return "" if verdict.get("references") == 0 else str(verdict.get("level", ""))


def _record(event: Event) -> Mapping[str, Any]:
    return _without_commitments(opened_body(event).get("record") or {})


def _without_commitments(value: Any) -> Any:
    """A private value whose opening was erased is told as such, not as a hash."""
    if isinstance(value, Mapping):
        if value.keys() == {"commitment"}:
            return ERASED
        return {name: _without_commitments(entry) for name, entry in value.items()}
    return [_without_commitments(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _describe_proof(ledger: Ledger, seq: int) -> str:
    try:
        proof = ledger.proof(seq)
    except LedgerError as error:
        return error.message
    size = len(json.dumps(proof, separators=(",", ":")))
    return f"An outsider can check event {seq} with {size:,} bytes of proof, without the rest of the ledger."
