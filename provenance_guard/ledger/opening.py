"""Events with their private fields opened."""

from __future__ import annotations

from typing import Any

from provenance_guard.errors import SidecarError
from provenance_guard.ledger.events import RECORD_KEY, Event
from provenance_guard.provenance.redaction import restore


def opened_body(event: Event) -> dict[str, Any]:
    """What an event says, with the private fields opened that the ledger still holds. Empty for an erased event."""
    body: dict[str, Any] = dict(event.body)
    try:
        if isinstance(body.get(RECORD_KEY), dict):
            return {**body, RECORD_KEY: restore(body[RECORD_KEY], event.openings)}
        return restore(body, event.openings)
    except SidecarError:  # Openings of a newer form: what is public can still be read.
        return body
