"""What an outsider needs beside events, to see that others than the ledger's owner know of them: a document for sidecars and exports.

    {"version": 1, "proofs": [<inclusion proof, see proof.Proof>, ...], "anchors": [<anchor>, ...]}

All proofs end in one checkpoint that somebody outside has dated or signed. The document proves itself, so it can be added to a signed
sidecar later, by anybody, without a new signature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provenance_guard.errors import LedgerError
from provenance_guard.json_types import Json
from provenance_guard.ledger.anchors.anchor import Anchor
from provenance_guard.ledger.anchors.keeping import first_anchored, kept_anchors, stored_checkpoint
from provenance_guard.ledger.checkpoint import Checkpoint
from provenance_guard.ledger.proof import Proof
from provenance_guard.ledger.store import Ledger

EVIDENCE_VERSION = 1
MAX_ENTRIES = 100


@dataclass(frozen=True)
class OutsideEvidence:
    """The document, read: nothing of it is believed yet. There is at least one proof, and all are of one checkpoint."""

    proofs: tuple[Proof, ...]
    anchors: tuple[Anchor, ...]

    @property
    def checkpoint(self) -> Checkpoint:
        """The tree head that outsiders know."""
        return self.proofs[0].checkpoint

    def covers(self, proof: Proof) -> bool:
        """Whether the event that ``proof`` is about is shown to be in the checkpoint here."""
        return any(
            (entry.index, entry.leaf_hash) == (proof.index, proof.leaf_hash) and entry.included for entry in self.proofs
        )

    def to_json(self) -> dict[str, Json]:
        """Plain JSON."""
        return {
            "version": EVIDENCE_VERSION,
            "proofs": [proof.to_json() for proof in self.proofs],
            "anchors": [anchor.to_json() for anchor in self.anchors],
        }

    @classmethod
    def from_json(cls, document: Any) -> OutsideEvidence:
        """Read what ``to_json`` wrote. Raises LedgerError on anything else."""
        _check_version(document)
        if not _are_lists(document, "proofs", "anchors") or not document["proofs"]:
            raise _damaged()
        anchors = tuple(Anchor.from_json(entry) for entry in document["anchors"][:MAX_ENTRIES])
        proofs = tuple(Proof.from_json(entry) for entry in document["proofs"][:MAX_ENTRIES])
        if any(proof.checkpoint != proofs[0].checkpoint for proof in proofs):
            raise _damaged()
        return cls(proofs, anchors)


@dataclass(frozen=True)
class CheckpointBundle:
    """A checkpoint with everything that outsiders said about it, as ``checkpoint export`` writes it into a ``.json`` file."""

    checkpoint: Checkpoint
    anchors: tuple[Anchor, ...]

    def to_json(self) -> dict[str, Json]:
        """Plain JSON."""
        return {
            "version": EVIDENCE_VERSION,
            "checkpoint": self.checkpoint.text(),
            "anchors": [anchor.to_json() for anchor in self.anchors],
        }

    @classmethod
    def from_json(cls, document: Any) -> CheckpointBundle:
        """Read what ``to_json`` wrote. Raises LedgerError on anything else."""
        _check_version(document)
        note = document.get("checkpoint")
        if not isinstance(note, str) or not _are_lists(document, "anchors"):
            raise _damaged()
        anchors = tuple(Anchor.from_json(entry) for entry in document["anchors"][:MAX_ENTRIES])
        return cls(Checkpoint.parse(note), anchors)


def outside_evidence(ledger: Ledger, seqs: Sequence[int]) -> OutsideEvidence | None:
    """What outsiders said about events, by the first checkpoint over all of them that a token is on, else that a witness signed.

    None when nobody outside has seen all of them yet. Raises LedgerError when there is no such event, or the ledger is damaged.
    """
    last = max(seqs)
    size = first_anchored(ledger, last)
    chosen = stored_checkpoint(ledger, size) if size is not None else _first_witnessed(ledger, last)
    if chosen is None:
        return None
    proofs = tuple(Proof.from_json(ledger.proof(seq, checkpoint=chosen)) for seq in sorted(set(seqs)))
    return OutsideEvidence(proofs, tuple(kept_anchors(ledger, chosen.size)))


def _first_witnessed(ledger: Ledger, above: int) -> Checkpoint | None:
    for checkpoint in ledger.checkpoints():
        if checkpoint.size > above and any(line.name != checkpoint.origin for line in checkpoint.signatures):
            return checkpoint
    return None


def _check_version(document: Any) -> None:
    version = document.get("version") if isinstance(document, Mapping) else None
    if isinstance(version, int) and version > EVIDENCE_VERSION:
        raise LedgerError(
            f"The outside evidence has version {version}, and this program knows {EVIDENCE_VERSION}.",
            next_step="Update Provenance Guard to check it.",
        )
    if version != EVIDENCE_VERSION:
        raise _damaged()


def _are_lists(document: Mapping[str, Any], *names: str) -> bool:
    return all(isinstance(document.get(name), list) for name in names)


def _damaged() -> LedgerError:
    return LedgerError("The outside evidence is damaged.", next_step="Refresh the sidecar from the ledger.")
