"""One guard per process, made at first use. Lives through "Reload UI", because the host re-executes only ``scripts/``.

The guard is made anew when the policy file or an option changes. Nothing heavy is imported before that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from provenance_guard.webui import compat, configuration

if TYPE_CHECKING:
    from provenance_guard.config import Config
    from provenance_guard.guard import Guard, Session
    from provenance_guard.provenance import ResourceHasher

logger = logging.getLogger(__name__)

_lock = threading.RLock()
_guard: Guard | None = None
_hasher: ResourceHasher | None = None
_session: Session | None = None

HASHES_FILE = "model-hashes.sqlite3"


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


def session() -> Session:
    """What the ledger calls this process; one for all guards of it."""
    global _session
    from provenance_guard.guard import Session

    with _lock:
        if _session is None:
            _session = Session("webui")
        return _session


def hasher() -> ResourceHasher:
    """Hashes model files in the background; one per process. Raises ConfigError."""
    global _hasher
    from provenance_guard.provenance import ResourceHasher

    with _lock:
        if _hasher is None:
            _hasher = ResourceHasher(guard().config.data_directory / HASHES_FILE)
        return _hasher


def warm_up() -> None:
    """In the background: import the heavy parts, read the references and the extensions' commits."""
    in_background(_prepare)


def hash_soon(*files: Path | None) -> None:
    """In the background: have model files hashed before the first picture asks for it."""
    in_background(lambda: [hasher().request(file) for file in files if file is not None])


def _make(config: Config) -> Guard:
    from provenance_guard.guard import Guard

    # An old guard is left to the threads that still use it.
    if config.settings.device != "auto":
        return Guard(config, session=session())
    # With --medvram and --lowvram the memory of the device is for the models: references, which stay loaded, are compared on the CPU.
    return Guard(config, device=compat.device(), compare_on="cpu" if compat.saves_memory() else None, session=session())


def hand_back() -> None:
    """Give back the memory that the references take."""
    with _lock:
        made = _guard
    if made is not None:
        made.hand_back()


def _prepare() -> None:
    compat.versions()
    ready = guard()
    if ready.config.policy.mode != "off":
        ready.sync_references()


def in_background(work: Callable[[], object]) -> None:
    """A failure is only logged: the first picture meets it again, and there it counts."""

    def run() -> None:
        try:
            work()
        except Exception as error:
            logger.warning("Provenance Guard is not ready: %s", error)

    threading.Thread(target=run, name="provenance-guard", daemon=True).start()
