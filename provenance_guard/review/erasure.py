"""Which events hold the personal data of a record or a user, so that they can be erased."""

from __future__ import annotations

from collections.abc import Iterable

from provenance_guard.ledger import Ledger, events
from provenance_guard.review.evidence import opened_context, queued_run
from provenance_guard.review.records import RECORD_EVENTS, find_release


def personal_events(ledger: Ledger, record_ids: Iterable[str]) -> list[int]:
    """Numbers of all events about records that still have content, and of the queued runs that they came from."""
    found: set[int] = set()
    for record_id in record_ids:
        release = find_release(ledger, record_id)
        if release is not None and (run := queued_run(ledger, release, opened_context(release).get("job"))):
            found.add(run.seq)
        found |= {event.seq for event in ledger.events(record_id=record_id) if not event.erased}
    return sorted(found)


def events_of_user(ledger: Ledger, user: str) -> tuple[list[str], list[int]]:
    """Ids of the records that name a user, and numbers of the queued runs that do. Reads the whole ledger."""
    records, runs = [], []
    for event in ledger.events():
        if event.type in RECORD_EVENTS and event.record_id and opened_context(event).get("user") == user:
            records.append(event.record_id)
        elif event.type == events.RUN_QUEUED and opened_context(event).get("user") == user:
            runs.append(event.seq)
    return records, runs
