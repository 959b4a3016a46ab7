"""The proof that an event is in a ledger, as it travels in a sidecar and is checked with no ledger at hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from provenance_guard.errors import LedgerError
from provenance_guard.json_types import Json
from provenance_guard.ledger import merkle
from provenance_guard.ledger.checkpoint import Checkpoint

PROOF_VERSION = 1


@dataclass(frozen=True)
class Proof:
    """The path from a leaf to the root that ``checkpoint`` signs. ``index`` is the event's sequence number."""

    index: int
    leaf_hash: bytes
    path: tuple[bytes, ...]
    checkpoint: Checkpoint

    def to_json(self) -> dict[str, Json]:
        """Plain JSON: hashes as 64 hex digits, the checkpoint as its text. It holds nothing of the event's content."""
        return {
            "version": PROOF_VERSION,
            "index": self.index,
            "tree_size": self.checkpoint.size,
            "leaf_hash": self.leaf_hash.hex(),
            "path": [node.hex() for node in self.path],
            "checkpoint": self.checkpoint.text(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Proof:
        """Read what ``to_json`` wrote. Raises LedgerError on anything else; checks no hash and no signature."""
        if not isinstance(document, Mapping):
            raise _malformed("it is no object")
        version = document.get("version")
        if isinstance(version, int) and version > PROOF_VERSION:
            raise LedgerError(
                f"The inclusion proof has version {version}, and this program knows {PROOF_VERSION}.",
                next_step="Update Provenance Guard to check it.",
            )
        index, size, path, note = (document.get(key) for key in ("index", "tree_size", "path", "checkpoint"))
        if version != PROOF_VERSION or not isinstance(path, list) or not isinstance(note, str):
            raise _malformed("a field is missing or of the wrong kind")
        if not isinstance(index, int) or isinstance(index, bool):
            raise _malformed("its index is no number")
        checkpoint = Checkpoint.parse(note)
        if size != checkpoint.size:
            raise _malformed("its tree size is not that of its checkpoint")
        return cls(index, _hash(document.get("leaf_hash")), tuple(_hash(node) for node in path), checkpoint)


@dataclass(frozen=True)
class ProofResult:
    """What a proof shows, part by part. ``problem`` is a sentence, empty when all holds.

    ``leaf_matches``: the given bytes are the proven event; ``included``: the event is in the checkpoint's tree;
    ``signed_by``: the trusted key that signed the checkpoint, None when none did.
    """

    leaf_matches: bool
    included: bool
    signed_by: bytes | None
    checkpoint: Checkpoint

    @property
    def holds(self) -> bool:
        """Whether every part holds."""
        return not self.problem

    @property
    def problem(self) -> str:
        """The first thing that does not hold, as a sentence."""
        if not self.leaf_matches:
            return "The event is not the one that this proof is about."
        if not self.included:
            return "The proof does not lead from the event to the checkpoint."
        if self.signed_by is None:
            return "The checkpoint is not signed by a trusted key."
        return ""


def verify_proof(document: Mapping[str, Any], leaf: bytes | None, *, public_keys: Iterable[bytes]) -> ProofResult:
    """Check a proof against the event's stored bytes and the trusted keys (raw Ed25519, 32 bytes each).

    ``leaf`` is None when the bytes are withheld: then only the leaf hash in the proof is shown to be in the tree.
    Raises LedgerError when the document is no proof.
    """
    proof = Proof.from_json(document)
    checkpoint = proof.checkpoint
    included = merkle.verify_inclusion(proof.leaf_hash, proof.index, checkpoint.size, proof.path, checkpoint.root)
    leaf_matches = leaf is None or merkle.leaf_hash(leaf) == proof.leaf_hash
    return ProofResult(leaf_matches, included, checkpoint.signed_by(public_keys), checkpoint)


def _hash(value: Any) -> bytes:
    if merkle.is_hash(value):
        return bytes.fromhex(value)
    raise _malformed("a hash is not 64 hex digits")


def _malformed(reason: str) -> LedgerError:
    return LedgerError(f"This is not an inclusion proof: {reason}.", next_step="Use the sidecar as it was written.")
