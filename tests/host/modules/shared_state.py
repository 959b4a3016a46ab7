"""The state of the running job."""

from __future__ import annotations


class State:
    interrupted = False
    skipped = False
    job = ""
    textinfo: str | None = None
