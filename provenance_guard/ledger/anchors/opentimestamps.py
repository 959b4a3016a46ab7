"""OpenTimestamps proofs (opentimestamps.org): a calendar takes a hash at once, and hours later it is in the Bitcoin block chain.

What is checked here is the path of hashes from the checkpoint to what a proof ends in. The end itself, a block's Merkle root, can
only be compared by somebody who has the block chain; this program has not, and says so. ``ots verify`` with a Bitcoin node does it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from provenance_guard import extras
from provenance_guard.ledger.anchors.anchor import AnchorError
from provenance_guard.ledger.anchors.testimony import Reason
from provenance_guard.ledger.anchors.transport import exchange

MODULE = "opentimestamps.core.timestamp"
ACCEPT = "application/vnd.opentimestamps.v1"

_NONCE_BYTES = 16


@dataclass(frozen=True)
class BlockClaim:
    """A proof's end: the block of this ``height`` has this ``merkle_root`` (64 hex digits, as block explorers write it)."""

    height: int
    merkle_root: str


@dataclass(frozen=True)
class Proof:
    """What a proof leads to: calendars that promised to go on, and blocks."""

    pending: tuple[str, ...]
    blocks: tuple[BlockClaim, ...]


def stamp(calendar: str, message: bytes) -> bytes:
    """Hand the SHA-256 of ``message`` to a calendar; returns the ``.ots`` file, which is pending.

    The calendar sees the hash of that and a nonce, never the same for two requests. Raises AnchorError, ExtraMissingError.
    """
    ots = _Library()
    detached = ots.timestamp.DetachedTimestampFile(
        ots.op.OpSHA256(), ots.timestamp.Timestamp(hashlib.sha256(message).digest())
    )
    nonce = ots.op.OpAppend(secrets.token_bytes(_NONCE_BYTES))
    commitment = detached.timestamp.ops.add(nonce).ops.add(ots.op.OpSHA256())
    reply = exchange(_below(calendar, "digest"), commitment.msg, accept=ACCEPT)
    commitment.merge(ots.read_timestamp(reply, commitment.msg))
    return ots.write(detached)


def upgrade(proof: bytes, calendar: str) -> bytes:
    """Ask ``calendar`` to complete its own pending part of a proof; returns the ``.ots`` file with what it knows now.

    Only that calendar is asked, whatever addresses the proof names. Raises AnchorError with reason ``pending`` when it has
    nothing new yet.
    """
    ots = _Library()
    detached = ots.read(proof)
    news = False
    for node, attestation in list(_ends(detached.timestamp)):
        if isinstance(attestation, ots.notary.PendingAttestation) and attestation.uri.rstrip("/") == calendar.rstrip(
            "/"
        ):
            path = f"timestamp/{node.msg.hex()}"
            node.merge(ots.read_timestamp(exchange(_below(calendar, path), None, accept=ACCEPT), node.msg))
            news = True
    if not news:
        raise _error("pending", f"{calendar} has nothing to add to this proof.", "Ask again in some hours.")
    return ots.write(detached)


def check_proof(proof: bytes, message: bytes) -> Proof:
    """Follow a proof from ``message`` to its ends. Raises AnchorError: ``malformed``, or ``wrong-imprint``."""
    ots = _Library()
    detached = ots.read(proof)
    if detached.file_digest != hashlib.sha256(message).digest():
        raise _error("wrong-imprint", "The proof is about something else than this checkpoint.")
    pending, blocks = [], []
    for node, attestation in _ends(detached.timestamp):
        if isinstance(attestation, ots.notary.PendingAttestation):
            pending.append(str(attestation.uri))
        elif isinstance(attestation, ots.notary.BitcoinBlockHeaderAttestation):
            if len(node.msg) != 32:
                raise _error("malformed", "The proof ends in something that is no Merkle root.")
            blocks.append(BlockClaim(int(attestation.height), node.msg[::-1].hex()))
    return Proof(tuple(pending), tuple(sorted(blocks, key=lambda block: block.height)))


class _Library:
    """The parts of the library that are used; imported when they are needed."""

    def __init__(self) -> None:
        extras.require(MODULE, purpose="An OpenTimestamps proof")
        from opentimestamps.core import notary, op, serialize, timestamp

        self.notary, self.op, self.serialize, self.timestamp = notary, op, serialize, timestamp

    def read(self, content: bytes) -> Any:
        """A ``DetachedTimestampFile``. Raises AnchorError."""
        context = self.serialize.BytesDeserializationContext(content)
        return self._parsed(lambda: self.timestamp.DetachedTimestampFile.deserialize(context), context)

    def read_timestamp(self, content: bytes, message: bytes) -> Any:
        """A ``Timestamp`` on ``message``. Raises AnchorError."""
        context = self.serialize.BytesDeserializationContext(content)
        return self._parsed(lambda: self.timestamp.Timestamp.deserialize(context, message), context)

    def write(self, detached: Any) -> bytes:
        """The ``.ots`` file of a ``DetachedTimestampFile``."""
        context = self.serialize.BytesSerializationContext()
        detached.serialize(context)
        content: bytes = context.getbytes()
        return content

    def _parsed(self, parse: Any, context: Any) -> Any:
        try:
            result = parse()
            context.assert_eof()
        except Exception as error:  # The library raises many kinds for bytes that make no sense.
            raise _error("malformed", "This is no OpenTimestamps proof.") from error
        return result


def _ends(timestamp: Any) -> Iterator[tuple[Any, Any]]:
    for attestation in timestamp.attestations:
        yield timestamp, attestation
    for further in timestamp.ops.values():
        yield from _ends(further)


def _below(calendar: str, path: str) -> str:
    return f"{calendar.rstrip('/')}/{path}"


def _error(reason: Reason, message: str, next_step: str = "Do not rely on it; ask for a new one.") -> AnchorError:
    return AnchorError(reason, message, next_step=next_step)
