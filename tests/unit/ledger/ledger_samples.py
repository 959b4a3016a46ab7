"""Events to fill a ledger with."""

from __future__ import annotations

from provenance_guard.ledger import NewEvent, events


def picture(number: int) -> NewEvent:
    """An event like that of a picture, with one private value; long enough to need pages of its own now and then."""
    opening = f'["salt{number}","prompt","a red fox number {number}"]'
    body = {
        "pixel_sha256": f"{number:064x}",
        "prompt": events.commitment(opening),
        "text": "words " * (number % 7 * 200),
    }
    return NewEvent("picture.released", body, f"{number:032x}", (opening,))
