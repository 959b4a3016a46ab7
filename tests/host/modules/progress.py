"""The task that is running."""

from __future__ import annotations

current_task: str | None = None
