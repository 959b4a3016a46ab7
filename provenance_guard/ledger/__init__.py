"""The tamper-evident log: events in an RFC 9162 Merkle tree, signed checkpoints, proofs, verification."""

from __future__ import annotations

from provenance_guard.ledger.checkpoint import Checkpoint
from provenance_guard.ledger.events import Event, NewEvent
from provenance_guard.ledger.proof import Proof, ProofResult, verify_proof
from provenance_guard.ledger.store import Ledger

__all__ = ["Checkpoint", "Event", "Ledger", "NewEvent", "Proof", "ProofResult", "verify_proof"]
