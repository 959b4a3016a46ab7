"""The guard at its post: the ledger is told when it began, from time to time that it is still there, and when it left.

When it begins it looks back on the time in which it was not there: an extension that is switched off writes nothing, but the
host's files show that pictures were made. See ``review.gaps`` for what can be seen that way and what cannot.
"""

from __future__ import annotations

import logging
import threading

from provenance_guard.webui import compat, runtime

logger = logging.getLogger(__name__)

HEARTBEAT = 900.0
"""Seconds between two signs of life."""

_leaving: threading.Event | None = None


def begin() -> None:
    """Take up the post: to be called behind, because looking back reads the folders of pictures. Raises what the guard does."""
    global _leaving
    from provenance_guard.ledger import events
    from provenance_guard.review import gaps

    runtime.guard().keep_session()
    if _leaving is None:
        _leaving = threading.Event()
        threading.Thread(
            target=_stay, args=(_leaving, events.SESSION_ALIVE), name="provenance-guard-presence", daemon=True
        ).start()
    guard = runtime.guard()
    if (absence := gaps.unwatched(guard.ledger, guard.session.id)) is None:
        return
    found = gaps.look_back(guard.ledger, *absence, folders=compat.output_folders(), note=compat.last_generation_note())
    if found:
        event = guard.log_gap(found.to_json(), found.generated)
        logger.warning("%s", gaps.describe_gap(event))


def end() -> None:
    """Leave the post, as when the extension is unloaded."""
    global _leaving
    if _leaving is not None:
        _leaving.set()
        _leaving = None
        runtime.guard().end_session()


def is_kept() -> bool:
    """Whether signs of life are written."""
    return _leaving is not None


def _stay(leaving: threading.Event, kind: str) -> None:
    while not leaving.wait(HEARTBEAT):
        try:
            runtime.guard().keep_session(kind)
        except Exception as error:  # The next picture meets the same failure, and there it counts.
            logger.warning("Provenance Guard could not tell the ledger that it is there: %s", error)
