"""Asks the configured outsiders to date checkpoints, and asks again later whoever did not answer.

What is waiting follows from the ledger itself: an authority is due when the newest checkpoint holds news that no anchor of its own
covers. So nothing can be lost from the queue, a restart needs nothing but the file, and after a week offline one answer per
authority is enough, because it covers everything before. Only when to ask again is remembered apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from cryptography import x509

from provenance_guard.clock import format_time, utc_now
from provenance_guard.config import Authority, TimeStamping
from provenance_guard.errors import ExtraMissingError
from provenance_guard.ledger.anchors import opentimestamps, rfc3161
from provenance_guard.ledger.anchors.anchor import Anchor, AnchorError, TokenKind, anchored_text
from provenance_guard.ledger.anchors.examination import ORDER_TOLERANCE, examine_anchor
from provenance_guard.ledger.anchors.keeping import (
    Turn,
    anchored_size,
    holds_news,
    keep_anchor,
    last_anchors,
    read_turn,
    stored_checkpoint,
    write_turn,
)
from provenance_guard.ledger.anchors.testimony import Reason
from provenance_guard.ledger.checkpoint import Checkpoint
from provenance_guard.ledger.store import Ledger

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=2)
COMPLETION_PAUSE = timedelta(hours=1)  # a calendar's promise takes hours
PROOFS_AT_ONCE = 20
OLDER_TOKENS = 3  # that a new one is compared with
CLOCK_TOLERANCE = timedelta(minutes=5)  # between an authority's clock and ours, before it is told

Result = Literal["anchored", "completed", "failed", "not due", "waiting"]


@dataclass(frozen=True)
class Outcome:
    """What came of one authority's turn. ``size``: the checkpoint it was about; ``reason`` is set when something is to be told,
    also when the answer was kept (``stale``: the two clocks differ by far)."""

    authority: str
    kind: TokenKind
    result: Result
    size: int
    reason: Reason | None = None
    sentence: str = ""


def anchor_newest(ledger: Ledger, asked: TimeStamping, *, force: bool = False) -> list[Outcome]:
    """Give every configured outsider its turn on the newest checkpoint; with ``force`` also those that are to be left alone for now.

    Never raises for what an outsider does or fails to do. Raises LedgerError when the ledger cannot be used.
    """
    newest = stored_checkpoint(ledger)
    if newest is None:
        return []
    outsiders: list[_Outsider] = [
        *(_Authority(ledger, authority) for authority in asked.authorities),
        *(_Calendar(calendar) for calendar in asked.calendars),
    ]
    pause = timedelta(minutes=asked.minutes)
    outcomes = [_take_turn(ledger, outsider, newest, pause, force=force) for outsider in outsiders]
    return outcomes + _complete_proofs(ledger, asked.calendars, force=force)


def is_due(ledger: Ledger, authority: str, newest: Checkpoint) -> bool:
    """Whether the newest checkpoint holds news that no anchor of this authority covers."""
    covered = anchored_size(ledger, authority)
    return covered < newest.size and holds_news(ledger, covered, newest.size)


class _Outsider(Protocol):
    """Somebody who dates a checkpoint. ``ask`` returns the answer, checked, and its time if it tells one; raises AnchorError."""

    name: str
    kind: TokenKind

    def ask(self, checkpoint: Checkpoint) -> tuple[Anchor, datetime | None]: ...


class _Authority:
    """A time-stamping authority."""

    kind: TokenKind = "rfc3161"

    def __init__(self, ledger: Ledger, authority: Authority) -> None:
        self.name = authority.url
        self._ledger = ledger
        self._authority = authority

    def ask(self, checkpoint: Checkpoint) -> tuple[Anchor, datetime | None]:
        text = anchored_text(checkpoint)
        roots = _read_roots(self._authority)
        request = rfc3161.make_request(text)
        reply = rfc3161.ask(self.name, request)
        pems = tuple(rfc3161.to_pem(root) for root in roots)
        anchor = Anchor(self.kind, checkpoint.size, self.name, format_time(utc_now()), reply, request, pems)
        try:
            token = rfc3161.check_reply(reply, request, text, roots, policy=self._authority.policy or None)
        except AnchorError as error:
            if error.reason == "unverifiable":  # It may well be good: another program can check it.
                return anchor, None
            raise
        _check_order(self._ledger, anchor, token.time, roots)
        return anchor, token.time


class _Calendar:
    """An OpenTimestamps calendar."""

    kind: TokenKind = "opentimestamps"

    def __init__(self, name: str) -> None:
        self.name = name

    def ask(self, checkpoint: Checkpoint) -> tuple[Anchor, datetime | None]:
        proof = opentimestamps.stamp(self.name, anchored_text(checkpoint))
        return Anchor(self.kind, checkpoint.size, self.name, format_time(utc_now()), proof), None


def _take_turn(ledger: Ledger, outsider: _Outsider, newest: Checkpoint, pause: timedelta, *, force: bool) -> Outcome:
    outcome = Outcome(outsider.name, outsider.kind, "not due", newest.size)
    if not is_due(ledger, outsider.name, newest):
        return outcome
    turn = read_turn(ledger, outsider.name)
    if not force and _is_early(turn):
        return dataclasses.replace(outcome, result="waiting", sentence=turn.sentence)
    try:
        anchor, time = outsider.ask(newest)
    except (AnchorError, ExtraMissingError) as error:
        reason: Reason = error.reason if isinstance(error, AnchorError) else "unverifiable"
        later = min(FIRST_PAUSE * 2 ** min(turn.attempts, 20), LONGEST_PAUSE)
        write_turn(ledger, outsider.name, Turn(format_time(utc_now() + later), turn.attempts + 1, reason, str(error)))
        return dataclasses.replace(outcome, result="failed", reason=reason, sentence=str(error))
    ahead = utc_now() - time if time else None
    keep_anchor(ledger, anchor, time, ahead)
    write_turn(ledger, outsider.name, Turn(format_time(utc_now() + pause)))
    if ahead is not None and abs(ahead) > CLOCK_TOLERANCE:
        told = f"{outsider.name} and this computer disagree about the time by {_told(abs(ahead))}: one clock is wrong."
        return dataclasses.replace(outcome, result="anchored", reason="stale", sentence=told)
    return dataclasses.replace(outcome, result="anchored")


def _complete_proofs(ledger: Ledger, calendars: Sequence[str], *, force: bool) -> list[Outcome]:
    """Fetch what the calendars promised. Nothing is told of those that have nothing new."""
    outcomes = []
    for calendar in calendars:
        turn_name = f"{calendar} (completion)"
        if _is_early(read_turn(ledger, turn_name)) and not force:
            continue
        checked = False
        for anchor in last_anchors(ledger, "opentimestamps", calendar, PROOFS_AT_ONCE):
            checkpoint = stored_checkpoint(ledger, anchor.size)
            with suppress(AnchorError, ExtraMissingError):
                if checkpoint is None or opentimestamps.check_proof(anchor.reply, anchored_text(checkpoint)).blocks:
                    continue
                checked = True
                proof = opentimestamps.upgrade(anchor.reply, calendar)
                if proof != anchor.reply and opentimestamps.check_proof(proof, anchored_text(checkpoint)).blocks:
                    completed = dataclasses.replace(anchor, reply=proof, received=format_time(utc_now()))
                    keep_anchor(ledger, completed, None, None)
                    outcomes.append(Outcome(calendar, "opentimestamps", "completed", anchor.size))
        if checked:
            write_turn(ledger, turn_name, Turn(format_time(utc_now() + COMPLETION_PAUSE)))
    return outcomes


def _check_order(ledger: Ledger, anchor: Anchor, time: datetime, roots: Sequence[x509.Certificate]) -> None:
    """An authority that dates more events earlier than it dated fewer contradicts itself."""
    for older in last_anchors(ledger, anchor.kind, anchor.authority, OLDER_TOKENS):
        checkpoint = stored_checkpoint(ledger, older.size)
        if checkpoint is None or older.size >= anchor.size:
            continue
        said = examine_anchor(older, checkpoint, roots)
        if said.holds and said.time and time < said.time - ORDER_TOLERANCE:
            raise AnchorError(
                "misordered",
                f"{anchor.authority} dates {anchor.size} events {format_time(time)}, but it dated the first {older.size} of them "
                f"{format_time(said.time)}.",
                next_step="Ask another authority: this one's clock cannot be relied on.",
            )


def _is_early(turn: Turn) -> bool:
    # A clock that was set back must not put an authority off for longer than the longest pause.
    now = utc_now()
    return format_time(now) < turn.next_try <= format_time(now + timedelta(days=7))


def _read_roots(authority: Authority) -> list[x509.Certificate]:
    try:
        return rfc3161.read_roots(authority.roots.read_bytes())
    except (OSError, ValueError) as error:
        raise AnchorError(
            "untrusted",
            f"The root certificates of {authority.url} cannot be read from {authority.roots}.",
            next_step="Save them there in PEM form, as the authority publishes them.",
        ) from error


def _told(span: timedelta) -> str:
    if span >= timedelta(days=2):
        return f"{span.days} days"
    return str(timedelta(seconds=round(span.total_seconds())))
