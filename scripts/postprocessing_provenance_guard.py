"""What the WebUI executes for its Extras tab: the same door for pictures that are only changed."""

from __future__ import annotations

from provenance_guard.webui.extras_step import ProvenanceGuardExtras

__all__ = ["ProvenanceGuardExtras"]
