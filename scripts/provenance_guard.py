"""What the WebUI executes at start and after "Reload UI": puts the guards in place."""

from __future__ import annotations

from provenance_guard.webui import hooks
from provenance_guard.webui.hooks import ProvenanceGuardScript

__all__ = ["ProvenanceGuardScript"]

hooks.register()
