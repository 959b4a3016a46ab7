"""Checks what outsiders said about a checkpoint: its kept anchors, and the lines of witnesses below it.

Needs no network and no ledger. A token counts when its certificate leads to a root that the one who checks trusts; the roots that
were kept with it only show that it is whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509

from provenance_guard.clock import format_time
from provenance_guard.errors import ExtraMissingError
from provenance_guard.ledger.anchors import opentimestamps, rfc3161
from provenance_guard.ledger.anchors.anchor import Anchor, AnchorError, anchored_text
from provenance_guard.ledger.anchors.rfc3161 import Token
from provenance_guard.ledger.anchors.testimony import Reason, Testimony
from provenance_guard.ledger.checkpoint import Checkpoint
from provenance_guard.ledger.witness import Witness

ORDER_TOLERANCE: Final = timedelta(minutes=1)  # between the clocks of two authorities


def examine_checkpoint(
    checkpoint: Checkpoint,
    anchors: Iterable[Anchor],
    *,
    roots: Sequence[x509.Certificate] = (),
    witnesses: Sequence[Witness] = (),
) -> list[Testimony]:
    """All that is said about one checkpoint. ``roots`` and ``witnesses`` are those that the one who checks trusts."""
    said = [examine_anchor(anchor, checkpoint, roots) for anchor in anchors]
    return said + _examine_witnesses(checkpoint, witnesses)


def examine_anchor(anchor: Anchor, checkpoint: Checkpoint, roots: Sequence[x509.Certificate]) -> Testimony:
    """What an anchor is worth. Never raises for what is in it."""
    host = urlsplit(anchor.authority).hostname or anchor.authority
    try:
        if anchor.kind == "opentimestamps":
            return _examine_proof(anchor, checkpoint, host)
        return _examine_token(anchor, checkpoint, roots, host)
    except AnchorError as error:
        return _worthless(anchor, checkpoint, host, error.reason, error.message)
    except ExtraMissingError as error:
        return _worthless(anchor, checkpoint, host, "unverifiable", error.message)


def check_order(testimonies: Iterable[Testimony]) -> list[Testimony]:
    """The same testimonies, smallest checkpoint first; one that dates a larger tree before a smaller one is marked as misordered.

    Which of two contradicting outsiders is wrong cannot be told from them, so the later checkpoint's is the one that is marked.
    """
    ordered = sorted(testimonies, key=lambda entry: entry.size)
    checked: list[Testimony] = []
    latest: Testimony | None = None  # the latest time so far, over a smaller tree
    for entry in ordered:
        if entry.problem is not None or entry.time is None:
            checked.append(entry)
            continue
        if latest and latest.time and latest.size < entry.size and entry.time < latest.time - ORDER_TOLERANCE:
            checked.append(_misordered(entry, latest))
            continue
        checked.append(entry)
        if latest is None or latest.time is None or entry.time > latest.time:
            latest = entry
    return checked


def _examine_token(anchor: Anchor, checkpoint: Checkpoint, roots: Sequence[x509.Certificate], host: str) -> Testimony:
    text = anchored_text(checkpoint)
    try:
        token = rfc3161.check_reply(anchor.reply, anchor.request, text, roots)
        trusted, doubt = True, ""
    except AnchorError as error:
        if error.reason != "untrusted":
            raise
        kept = _kept_roots(anchor)
        token = rfc3161.check_reply(anchor.reply, anchor.request, text, kept)
        names = ", ".join(rfc3161.fingerprint(root)[:16] for root in kept)
        trusted = False
        doubt = f" Whether that authority is to be trusted is open: its root ({names}...) is only known from the token's keeper."
    who = f"{token.authority} ({host})"
    sentence = f"{who} saw the first {checkpoint.size} events at {_told(token)}.{doubt}"
    return Testimony("rfc3161", who, checkpoint.size, token.time, trusted, None, sentence)


def _examine_proof(anchor: Anchor, checkpoint: Checkpoint, host: str) -> Testimony:
    proof = opentimestamps.check_proof(anchor.reply, anchored_text(checkpoint))
    if proof.blocks:
        block = proof.blocks[0]
        told = (
            f"By a proof of {host}, Bitcoin block {block.height} holds the first {checkpoint.size} events, if its Merkle root is "
            f"{block.merkle_root}. That was not looked up here."
        )
        return Testimony(
            "opentimestamps", f"Bitcoin block {block.height}", checkpoint.size, None, False, "unverifiable", told
        )
    told = (
        f"{host} promised to put the first {checkpoint.size} events into the Bitcoin block chain; that is not done yet."
    )
    return Testimony("opentimestamps", host, checkpoint.size, None, False, "pending", told)


def _examine_witnesses(checkpoint: Checkpoint, witnesses: Sequence[Witness]) -> list[Testimony]:
    said = []
    for line in checkpoint.signatures:
        if line.name == checkpoint.origin:
            continue
        known = [witness for witness in witnesses if (witness.name, witness.key_id) == (line.name, line.key_id)]
        if not known:
            told = f"A line is signed {line.name!r}, a witness whose key is not known here."
            said.append(Testimony("witness", line.name, checkpoint.size, None, False, "unverifiable", told))
            continue
        seconds = checkpoint.with_signatures((line,)).cosigned_at(line.name, known[0].public_key)
        if seconds is None:
            told = f"The signature of the witness {line.name} does not hold."
            said.append(Testimony("witness", line.name, checkpoint.size, None, False, "tampered", told))
            continue
        moment = _moment(seconds)
        when = f"at {format_time(moment)}" if moment else "at no stated time"
        told = f"The witness {line.name} saw the first {checkpoint.size} events {when}."
        said.append(Testimony("witness", f"the witness {line.name}", checkpoint.size, moment, True, None, told))
    return said


def _kept_roots(anchor: Anchor) -> list[x509.Certificate]:
    try:
        return [certificate for pem in anchor.roots for certificate in rfc3161.read_roots(pem.encode("utf-8"))]
    except ValueError as error:
        raise AnchorError(
            "untrusted",
            "The certificates kept with the time token are damaged.",
            next_step="Give its root certificate.",
        ) from error


def _moment(seconds: int) -> datetime | None:
    if seconds == 0:  # He says nothing about the time.
        return None
    try:
        return datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return None


def _misordered(entry: Testimony, latest: Testimony) -> Testimony:
    told = (
        f"{entry.who} dates {entry.size} events {_time(entry)}, but {latest.who} dated the first {latest.size} of them "
        f"{_time(latest)}: one of the two clocks is wrong."
    )
    return dataclasses.replace(entry, problem="misordered", sentence=told)


def _worthless(anchor: Anchor, checkpoint: Checkpoint, host: str, reason: Reason, sentence: str) -> Testimony:
    return Testimony(anchor.kind, host, checkpoint.size, None, False, reason, f"{host}: {sentence}")


def _told(token: Token) -> str:
    accuracy = f" (within {token.accuracy.total_seconds():g} s)" if token.accuracy else ""
    return f"{format_time(token.time)}{accuracy}"


def _time(entry: Testimony) -> str:
    return format_time(entry.time) if entry.time else "at no time"
