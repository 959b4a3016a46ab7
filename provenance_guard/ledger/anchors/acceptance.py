"""Takes back into a ledger what others put below an exported checkpoint, or kept with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from provenance_guard.clock import format_time
from provenance_guard.errors import LedgerError
from provenance_guard.ledger.anchors.evidence import CheckpointBundle
from provenance_guard.ledger.anchors.examination import examine_anchor, examine_checkpoint
from provenance_guard.ledger.anchors.keeping import keep_anchor, kept_anchors
from provenance_guard.ledger.checkpoint import Checkpoint
from provenance_guard.ledger.store import Ledger
from provenance_guard.ledger.witness import CosignRequest, Witness

MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class CosignedLine:
    """A witness's line: whether it ``holds`` (None: his key is not known here), and the ``time`` by his clock."""

    name: str
    holds: bool | None
    time: str | None
    sentence: str


@dataclass(frozen=True)
class Accepted:
    """The checkpoint as it is kept now, and what its witnesses' lines are worth."""

    checkpoint: Checkpoint
    lines: tuple[CosignedLine, ...]


def accept(ledger: Ledger, text: str, witnesses: Sequence[Witness]) -> Accepted:
    """Take over a checkpoint of this ledger with all signatures below it (a note, or an exported bundle with its tokens).

    Raises LedgerError when it is no checkpoint, none of this ledger, or holds a line or a token that does not hold. Lines of
    witnesses that nobody here knows are kept, and told.
    """
    bundle = _read(text)
    checkpoint = bundle.checkpoint
    said = examine_checkpoint(checkpoint, (), witnesses=witnesses)
    forged = [entry for entry in said if entry.problem == "tampered"]
    if forged:
        raise LedgerError(forged[0].sentence, next_step="Ask the witness to sign it again.")
    merged = ledger.add_signatures(checkpoint.text())
    there = {(anchor.kind, anchor.authority) for anchor in kept_anchors(ledger, checkpoint.size)}
    for anchor in bundle.anchors:
        if (anchor.kind, anchor.authority) in there or anchor.size != checkpoint.size:
            continue
        worth = examine_anchor(anchor, checkpoint, ())
        if worth.problem not in (None, "pending", "unverifiable"):
            raise LedgerError(worth.sentence, next_step="Leave that time token out.")
        keep_anchor(ledger, anchor, worth.time, None)
    lines = tuple(
        CosignedLine(
            entry.who,
            None if entry.problem == "unverifiable" else True,
            format_time(entry.time) if entry.time else None,
            entry.sentence,
        )
        for entry in examine_checkpoint(merged, (), witnesses=witnesses)
    )
    return Accepted(merged, lines)


def _read(text: str) -> CheckpointBundle:
    if not text.lstrip().startswith("{"):
        return CheckpointBundle(CosignRequest.parse(text).checkpoint, ())
    try:
        return CheckpointBundle.from_json(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise LedgerError("This is no exported checkpoint.", next_step="Use it as it was exported.") from error
