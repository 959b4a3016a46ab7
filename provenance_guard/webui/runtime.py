"""One guard per process, made at first use. Lives through "Reload UI", because the host re-executes only ``scripts/``.

The guard is made anew when the policy file or an option changes. Nothing heavy is imported before that.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from provenance_guard.webui import compat, configuration

if TYPE_CHECKING:
    from provenance_guard.config import Config
    from provenance_guard.guard import Guard

logger = logging.getLogger(__name__)

_lock = threading.RLock()
_guard: Guard | None = None


def guard() -> Guard:
    """The guard for the configuration that holds now.

    Raises ConfigError when the policy cannot be read, and whatever a broken dependency raises on import.
    """
    global _guard
    with _lock:
        config = configuration.read_config()
        if _guard is None or _guard.config != config:
            _guard = _make(config)
        return _guard


def warm_up() -> None:
    """In the background: import the heavy parts, read the references, look at the extensions' repositories.

    A failure is only logged here; the first picture meets it again, and there it counts.
    """
    threading.Thread(target=_prepare, name="provenance-guard-warm-up", daemon=True).start()


def _make(config: Config) -> Guard:
    from provenance_guard.guard import Guard

    # An old guard is left to the threads that still use it.
    return Guard(config, device=compat.device() if config.settings.device == "auto" else None)


def _prepare() -> None:
    try:
        compat.versions()
        ready = guard()
        if ready.config.policy.mode != "off":
            ready.sync_references()
    except Exception as error:
        logger.warning("Provenance Guard is not ready: %s", error)
