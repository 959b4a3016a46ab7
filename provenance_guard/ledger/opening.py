"""Events with their private fields opened."""

from __future__ import annotations

from typing import Any

from provenance_guard.errors import SidecarError
from provenance_guard.ledger.events import RECORD_KEY, Event
from provenance_guard.provenance.redaction import read_opening, restore


def opened_body(event: Event) -> dict[str, Any]:
    """What an event says, with the private fields opened that the ledger still holds. Empty for an erased event.

    The pointers of a record's openings begin at the record, those of other fields at the body.
    """
    body: dict[str, Any] = dict(event.body)
    try:
        record = body.pop(RECORD_KEY, None)
        if not isinstance(record, dict):
            return restore(event.body, event.openings)
        outside = [text for text in event.openings if read_opening(text).pointer.removeprefix("/") in body]
        inside = [text for text in event.openings if text not in outside]
        return {**restore(body, outside), RECORD_KEY: restore(record, inside)}
    except SidecarError:  # Openings of a newer form: what is public can still be read.
        return dict(event.body)
