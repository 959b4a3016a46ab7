"""The proof that an event is in a ledger, as it travels in a sidecar and is checked with no ledger at hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from provenance_guard.errors import LedgerError
from provenance_guard.json_types import Json
from provenance_guard.ledger import merkle
from provenance_guard.ledger.checkpoint import Checkpoint

PROOF_VERSION = 1
EVENT_MEMBER = "event"


@dataclass(frozen=True)
class Proof:
    """The path from a leaf to the root that ``checkpoint`` signs. ``index`` is the event's sequence number.

    ``event`` are the event's stored bytes, when they come along: they show what the leaf is.
    """

    index: int
    leaf_hash: bytes
    path: tuple[bytes, ...]
    checkpoint: Checkpoint
    event: bytes | None = field(default=None, repr=False)

    @property
    def included(self) -> bool:
        """Whether the path leads from the leaf to the checkpoint's root (RFC 9162, section 2.1.3.2)."""
        size, root = self.checkpoint.size, self.checkpoint.root
        return merkle.verify_inclusion(self.leaf_hash, self.index, size, self.path, root)

    def to_json(self) -> dict[str, Json]:
        """Plain JSON: hashes as 64 hex digits, the checkpoint and the event as their texts. Without ``event``, it holds nothing of
        the event's content."""
        document: dict[str, Json] = {
            "version": PROOF_VERSION,
            "index": self.index,
            "tree_size": self.checkpoint.size,
            "leaf_hash": self.leaf_hash.hex(),
            "path": [node.hex() for node in self.path],
            "checkpoint": self.checkpoint.text(),
        }
        return document if self.event is None else {**document, EVENT_MEMBER: self.event.decode("utf-8")}

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
        leaf = _hash(document.get("leaf_hash"))
        event = document.get(EVENT_MEMBER)
        if event is not None and not isinstance(event, str):
            raise _malformed("its event is no text")
        stored = None if event is None else event.encode("utf-8", "surrogatepass")
        return cls(index, leaf, tuple(_hash(node) for node in path), checkpoint, stored)


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

    ``leaf`` is None when they are not at hand: then those in the proof are checked, or, when it has none, only the leaf hash in the
    proof is shown to be in the tree.
    Raises LedgerError when the document is no proof.
    """
    proof = Proof.from_json(document)
    checkpoint = proof.checkpoint
    given = [stored for stored in (leaf, proof.event) if stored is not None]
    leaf_matches = all(merkle.leaf_hash(stored) == proof.leaf_hash for stored in given)
    return ProofResult(leaf_matches, proof.included, checkpoint.signed_by(public_keys), checkpoint)


def _hash(value: Any) -> bytes:
    if merkle.is_hash(value):
        return bytes.fromhex(value)
    raise _malformed("a hash is not 64 hex digits")


def _malformed(reason: str) -> LedgerError:
    return LedgerError(f"This is not an inclusion proof: {reason}.", next_step="Use the sidecar as it was written.")
