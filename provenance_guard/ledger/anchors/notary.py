"""Looks after the checkpoints of an open ledger in a thread of its own: signs them on time and has them dated from outside.

Nothing waits for it but the end of the program, and that only for seconds and only when somebody is configured to be asked.
"""

from __future__ import annotations

import logging
import threading

from provenance_guard.config import TimeStamping
from provenance_guard.errors import GuardError
from provenance_guard.ledger.anchors.queue import anchor_newest
from provenance_guard.ledger.store import Ledger

LOOK_SECONDS = 15.0
GRACE_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Notary:
    """Watches ``ledger`` from ``start`` to ``close``; the ledger must be closed after it."""

    def __init__(self, ledger: Ledger, asked: TimeStamping) -> None:
        self._ledger = ledger
        self._asked = asked
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="provenance-guard-notary", daemon=True)

    def start(self) -> None:
        """Begin to look, every fifteen seconds."""
        self._thread.start()

    def close(self) -> None:
        """Stop. The last checkpoint gets one attempt to be dated, for a few seconds; what misses it is asked for next time."""
        self._closing.set()
        self._thread.join(GRACE_SECONDS)

    def _run(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            self._look(closing=False)
        self._look(closing=True)

    def _look(self, *, closing: bool) -> None:
        try:
            if closing:
                self._ledger.checkpoint()
            else:
                self._ledger.checkpoint_when_due()
            if self._asked.authorities or self._asked.calendars:
                for outcome in anchor_newest(self._ledger, self._asked):
                    if outcome.reason:
                        logger.warning("%s", outcome.sentence)
        except GuardError as error:  # The ledger tells it again to whoever appends next.
            logger.warning("%s", error)
        except Exception:  # A thread that nobody waits for must tell what ends it, and must not end.
            logger.exception("looking after the checkpoints failed")
