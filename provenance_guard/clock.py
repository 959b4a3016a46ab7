"""Time stamps: one clock and one way to write it down."""

from __future__ import annotations

from datetime import datetime, timezone


def utc_now() -> datetime:
    """The clock of every time stamp, so that a test can stop it."""
    return datetime.now(timezone.utc)


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, as ``2026-11-22T10:15:30.123Z``."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """What ``format_time`` wrote, or any other ISO 8601 time, which may lack its offset. Raises ValueError."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 knows no Z
