"""The tamper-evident log: events in an RFC 9162 Merkle tree, signed checkpoints, proofs, verification."""

from __future__ import annotations

from provenance_guard.ledger.checkpoint import Checkpoint
from provenance_guard.ledger.events import Event, NewEvent
from provenance_guard.ledger.proof import Proof, ProofResult, verify_proof
from provenance_guard.ledger.recovery import Recovery, recover_ledger
from provenance_guard.ledger.store import Ledger
from provenance_guard.ledger.verify import LedgerReport, Problem, verify_ledger

__all__ = [
    "Checkpoint",
    "Event",
    "Ledger",
    "LedgerReport",
    "NewEvent",
    "Problem",
    "Proof",
    "ProofResult",
    "Recovery",
    "recover_ledger",
    "verify_ledger",
    "verify_proof",
]
