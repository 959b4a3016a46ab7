"""What the process returns; frozen, scripts depend on it."""

from __future__ import annotations

FINE = 0
ERROR = 1
WRONG_USE = 2
BLOCKED = 3
INTERRUPTED = 130
