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
_arrived = False


def begin() -> None:
    """Take up the post: to be called behind, because looking back reads the folders of pictures. Raises what the guard does;
    it is tried again then, with every sign of life."""
    global _leaving
    if _leaving is None:
        _leaving = threading.Event()
        threading.Thread(target=_stay, args=(_leaving,), name="provenance-guard-presence", daemon=True).start()
    _arrive()


def end() -> None:
    """Leave the post, as when the extension is unloaded."""
    global _leaving, _arrived
    if _leaving is not None:
        _leaving.set()
        _leaving, _arrived = None, False
        runtime.guard().end_session()


def _arrive() -> None:
    """Tell the ledger, and look back on the time before."""
    global _arrived
    from provenance_guard.review import gaps

    guard = runtime.guard()
    guard.keep_session()
    if absence := gaps.unwatched(guard.ledger, guard.session.id):
        folders, note = compat.output_folders(), compat.last_generation_note()
        found = gaps.look_back(guard.ledger, *absence, folders=folders, note=note)
        if found:
            logger.warning("%s", gaps.describe_gap(guard.log_gap(found.to_json(), found.generated)))
    _arrived = True


def _stay(leaving: threading.Event) -> None:
    while not leaving.wait(HEARTBEAT):
        try:
            _sign()
        except Exception as error:  # The next picture meets the same failure, and there it counts.
            logger.warning("Provenance Guard could not tell the ledger that it is there: %s", error)


def _sign() -> None:
    from provenance_guard.ledger import events

    if not _arrived:
        _arrive()
    runtime.guard().keep_session(events.SESSION_ALIVE)
