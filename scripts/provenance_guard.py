"""What the WebUI executes at start and after "Reload UI": puts the guards in place."""

from __future__ import annotations

try:
    from provenance_guard.webui import hooks
    from provenance_guard.webui.hooks import ProvenanceGuardScript

    __all__ = ["ProvenanceGuardScript"]

    hooks.register()
except Exception as error:  # The host would print it and run on without us.
    import provenance_guard_fallback

    provenance_guard_fallback.stand_in(error)
