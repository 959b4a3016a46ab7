"""Policy becomes decision: what may leave, what stands in its place when it may not, and where the original is kept."""

from __future__ import annotations

from provenance_guard.gate.placeholder import placeholder
from provenance_guard.gate.policy import Action, Decision, decide

__all__ = ["Action", "Decision", "decide", "placeholder"]
