"""Times as a person writes them on the command line."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from provenance_guard.clock import parse_time
from provenance_guard.errors import UsageError


def read_time(text: str, option: str, *, end: bool = False) -> datetime:
    """A moment, in UTC when the text has no offset; ``end`` takes a date for the end of its day. Raises UsageError."""
    try:
        moment = parse_time(text)
        moment += timedelta(days=1 if end and re.fullmatch(r"\d{4}-\d\d-\d\d", text) else 0)
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} is {text!r}, which is no time.", next_step="Write 2026-11-22 or 2026-11-22T10:00."
        ) from None
