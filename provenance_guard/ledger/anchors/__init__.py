"""Outside time and outside eyes: time tokens (RFC 3161), OpenTimestamps proofs and witnesses, all on checkpoints."""

from __future__ import annotations
