"""Records as the ledger holds them, read back with their private fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from provenance_guard.errors import LedgerError
from provenance_guard.ledger import Event, Ledger, events

RECORD_EVENTS = (events.PICTURE_RELEASED, events.PICTURE_BLOCKED, events.PICTURE_IMPORTED)
FILE_EVENTS = (events.PICTURE_SAVED, events.PICTURE_IMPORTED)


def find_release(ledger: Ledger, record_id: str) -> Event | None:
    """The event with which a record came into the ledger."""
    return next((event for event in ledger.events(record_id=record_id) if event.type in RECORD_EVENTS), None)


def find_file_event(ledger: Ledger, record_id: str) -> Event | None:
    """The last event that names the file of a record, and its hashes."""
    found = ledger.events(record_id=record_id, newest_first=True)
    return next((event for event in found if event.type in FILE_EVENTS), None)


def complete_record_id(ledger: Ledger, prefix: str) -> str:
    """The one record id that begins with ``prefix``. Raises LedgerError when there is none, or more than one."""
    found = ledger.find_records(prefix, limit=2)
    if not found:
        raise LedgerError(f"There is no record {prefix}.", next_step="`log` lists the records.")
    if len(found) > 1:
        raise LedgerError(f"Several records begin with {prefix}.", next_step="Give more characters of the id.")
    return found[0]


def describe_mark(mark: Mapping[str, Any] | None) -> str:
    """``yes``, ``weak`` or ``none``: whether a recorded picture carries the invisible mark."""
    if not mark or not mark.get("present"):
        return "none"
    return "weak" if mark.get("weak") else "yes"


def as_lines(value: dict[str, Any], indent: str = "") -> list[str]:
    """Nested values as indented lines for a person, empty ones left out."""
    lines: list[str] = []
    for key, entry in value.items():
        if entry in (None, "", [], {}):
            continue
        if isinstance(entry, dict):
            lines += [f"{indent}{key}:", *as_lines(entry, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {entry if isinstance(entry, str) else json.dumps(entry, ensure_ascii=False)}")
    return lines
