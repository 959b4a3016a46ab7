"""A witness: an outsider who signs that he saw a checkpoint at a time, and never signs one that contradicts an earlier one.

The signature is a C2SP ``cosignature/v1`` (c2sp.org/tlog-cosignature); what a witness is handed is the request of
c2sp.org/tlog-witness, as a text: ``old <size>``, the consistency proof in base64 lines, an empty line, the checkpoint.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from provenance_guard import files
from provenance_guard.errors import LedgerError, UsageError
from provenance_guard.ledger import merkle
from provenance_guard.ledger.checkpoint import COSIGNATURE, Checkpoint, Signature, note_key_id
from provenance_guard.signing import Signer

STATE_VERSION = 1


@dataclass(frozen=True)
class Witness:
    """A witness that somebody trusts: the name in his signature lines, and his Ed25519 key (32 raw bytes)."""

    name: str
    public_key: bytes

    @classmethod
    def parse(cls, text: str) -> Witness:
        """Read a verifier key, ``<name>+<key id>+<base64>`` (C2SP signed-note). Raises UsageError."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            raw = b""
        if not is_name(name) or len(raw) != 33 or raw[:1] != COSIGNATURE:
            raise UsageError(
                f"{text[:80]!r} is not the key of a witness.", next_step="Write it as the witness gave it: NAME+ID+KEY."
            )
        witness = cls(name, raw[1:])
        if witness.key_id.hex() != key_id:
            raise UsageError(f"The key of the witness {name} is damaged.", next_step="Ask the witness for it again.")
        return witness

    @property
    def key_id(self) -> bytes:
        """The four bytes that name the key in signature lines."""
        return note_key_id(self.name, self.public_key, COSIGNATURE)

    def text(self) -> str:
        """The verifier key, to be handed out."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(COSIGNATURE + self.public_key).decode('ascii')}"


@dataclass(frozen=True)
class CosignRequest:
    """A checkpoint, and what shows that it continues the one over the first ``old_size`` events."""

    old_size: int
    path: tuple[bytes, ...]
    checkpoint: Checkpoint

    @classmethod
    def parse(cls, text: str) -> CosignRequest:
        """Read a request; a bare checkpoint is one without a proof. Raises LedgerError."""
        if not text.startswith("old "):
            return cls(0, (), Checkpoint.parse(text))
        head, _, note = text.partition("\n\n")
        first, *lines = head.split("\n")
        size = first.removeprefix("old ")
        try:
            path = tuple(base64.b64decode(line.encode("ascii"), validate=True) for line in lines)
        except (binascii.Error, UnicodeEncodeError):
            path = (b"",)
        if not size.isascii() or not size.isdigit() or any(len(node) != merkle.HASH_SIZE for node in path):
            raise LedgerError("The proof before the checkpoint is damaged.", next_step="Export the checkpoint again.")
        return cls(int(size), path, Checkpoint.parse(note))

    def text(self) -> str:
        """The request, to be handed to the witness."""
        lines = [f"old {self.old_size}", *(base64.b64encode(node).decode("ascii") for node in self.path)]
        return "".join(f"{line}\n" for line in lines) + "\n" + self.checkpoint.text()


class WitnessBook:
    """What a witness remembers, in ``folder``: of every ledger, its key and the last checkpoint that he signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def cosign(
        self, request: CosignRequest, name: str, signer: Signer, now: datetime, *, log_key: bytes | None = None
    ) -> Checkpoint:
        """Check a checkpoint against the last one seen, remember it, and return it with the witness's line added.

        ``log_key`` is the ledger's public key, needed for a ledger that the witness does not know yet.
        Raises LedgerError when it is not signed with that key, goes back, or contradicts the one seen before; UsageError for a
        name that cannot be one, or a missing key.
        """
        if not is_name(name):
            raise UsageError(
                f"{name!r} cannot name a witness.", next_step="Choose a name without blanks and plus signs."
            )
        checkpoint = request.checkpoint
        known = self._read(checkpoint.origin)
        key = known[0] if known else log_key
        if key is None:
            raise UsageError(
                "This ledger is new to you: its key is needed.", next_step="Give --key with the .pub file of its owner."
            )
        if log_key is not None and log_key != key:
            raise LedgerError(
                "This is another key than the one that you know for this ledger.",
                next_step="Ask its owner in person what happened.",
            )
        if not checkpoint.verify(key):
            raise LedgerError("The checkpoint is not signed by the owner of the ledger.", next_step="Do not sign it.")
        if known:
            _check_continues(request, known[1])
        self._remember(key, checkpoint)
        return checkpoint.with_signatures((*checkpoint.signatures, sign_as_witness(checkpoint, name, signer, now)))

    def last_seen(self, origin: str) -> Checkpoint | None:
        """The last checkpoint of a ledger that was signed here. Raises LedgerError when the book is damaged."""
        known = self._read(origin)
        return known[1] if known else None

    def _path(self, origin: str) -> Path:
        return self.folder / f"{hashlib.sha256(origin.encode('utf-8')).hexdigest()[:32]}.json"

    def _read(self, origin: str) -> tuple[bytes, Checkpoint] | None:
        path = self._path(origin)
        try:
            document = json.loads(path.read_text("utf-8"))
            return bytes.fromhex(document["public_key"]), Checkpoint.parse(document["checkpoint"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, LedgerError) as error:
            raise LedgerError(
                f"What you last signed for this ledger cannot be read ({path}).", next_step="Restore it from a backup."
            ) from error

    def _remember(self, key: bytes, checkpoint: Checkpoint) -> None:
        document = {"version": STATE_VERSION, "public_key": key.hex(), "checkpoint": checkpoint.text()}
        content = json.dumps(document, indent=1).encode("ascii")
        files.write_atomically(self._path(checkpoint.origin), content, private=True)


def sign_as_witness(checkpoint: Checkpoint, name: str, signer: Signer, now: datetime) -> Signature:
    """The signature line of a witness who sees ``checkpoint`` now (C2SP tlog-cosignature, Ed25519)."""
    seconds = int(now.timestamp())
    message = f"cosignature/v1\ntime {seconds}\n{checkpoint.body()}".encode()
    key_id = note_key_id(name, signer.public_bytes, COSIGNATURE)
    return Signature(name, key_id, seconds.to_bytes(8, "big") + signer.sign(message))


def is_name(name: str) -> bool:
    """Whether a signature line can carry this name."""
    return bool(name) and "+" not in name and not any(map(str.isspace, name)) and name.isprintable()


def _check_continues(request: CosignRequest, seen: Checkpoint) -> None:
    new = request.checkpoint
    if new.size < seen.size:
        raise LedgerError(
            f"The ledger went back: you have signed {seen.size} events, and these are {new.size}.",
            next_step="Do not sign it: the ledger was cut, or an older copy was put in its place.",
        )
    if new.size == seen.size and new.root == seen.root:
        return
    path: Sequence[bytes] = request.path if request.old_size == seen.size else ()
    if merkle.verify_consistency(seen.size, new.size, seen.root, new.root, path):
        return
    if request.old_size != seen.size and new.size > seen.size:
        raise LedgerError(
            f"The last checkpoint that you signed covers {seen.size} events, and nothing shows that this one continues it.",
            next_step=f"Ask the owner for: checkpoint export --since {seen.size}",
        )
    raise LedgerError(
        f"The checkpoint contradicts the one over {seen.size} events that you signed before.",
        next_step="Do not sign it: events were changed or replaced. Keep both checkpoints as the proof.",
    )
