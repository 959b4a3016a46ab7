"""An anchor: an outsider's answer about a checkpoint, kept whole, with all that is needed to check it again years later.

What is anchored is the text of the checkpoint as the ledger signed it, without the lines that witnesses added: a witness may
come later than a token. So a token shows that tree head *and* signature existed at its time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard, get_args

from provenance_guard.errors import LedgerError
from provenance_guard.json_types import Json
from provenance_guard.ledger.anchors.testimony import Reason
from provenance_guard.ledger.checkpoint import Checkpoint

ANCHOR_VERSION = 1
MAX_REPLY_BYTES = 1 << 20

TokenKind = Literal["rfc3161", "opentimestamps"]


class AnchorError(LedgerError):
    """An outsider's answer was not there, or counts for nothing; ``reason`` is one of a fixed set."""

    def __init__(self, reason: Reason, message: str, *, next_step: str) -> None:
        super().__init__(message, next_step=next_step)
        self.reason = reason


@dataclass(frozen=True)
class Anchor:
    """A kept answer: the ``request`` that was sent and the whole ``reply`` (for OpenTimestamps the ``.ots`` file, no request).

    ``size`` is of the checkpoint, ``authority`` the address that was asked, ``received`` when it came by our own clock (RFC 3339).
    ``roots`` are the certificates (PEM) that were trusted then; whether they still are is for the one who checks.
    """

    kind: TokenKind
    size: int
    authority: str
    received: str
    reply: bytes = field(repr=False)
    request: bytes = field(default=b"", repr=False)
    roots: tuple[str, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Json]:
        """Plain JSON, the form in which it is stored and handed out."""
        return {
            "version": ANCHOR_VERSION,
            "kind": self.kind,
            "size": self.size,
            "authority": self.authority,
            "received": self.received,
            "request": _to_base64(self.request),
            "reply": _to_base64(self.reply),
            "roots": list(self.roots),
        }

    @classmethod
    def from_json(cls, document: Any) -> Anchor:
        """Read what ``to_json`` wrote. Raises LedgerError on anything else; checks nothing of what it says."""
        if not isinstance(document, Mapping):
            raise _malformed("it is no object")
        version = document.get("version")
        if isinstance(version, int) and version > ANCHOR_VERSION:
            raise LedgerError(
                f"A time token is kept in version {version}, and this program knows {ANCHOR_VERSION}.",
                next_step="Update Provenance Guard to check it.",
            )
        kind, size, roots = document.get("kind"), document.get("size"), document.get("roots")
        texts = [document.get(name) for name in ("authority", "received", "request", "reply")]
        if version != ANCHOR_VERSION or not _is_kind(kind) or not all(isinstance(text, str) for text in texts):
            raise _malformed("a field is missing or of the wrong kind")
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise _malformed("its tree size is no number")
        if not isinstance(roots, list) or not all(isinstance(root, str) for root in roots):
            raise _malformed("its certificates are no texts")
        authority, received, request, reply = map(str, texts)
        return cls(kind, size, authority, received, _from_base64(reply), _from_base64(request), tuple(roots))


def anchored_text(checkpoint: Checkpoint) -> bytes:
    """The bytes whose SHA-256 an authority is asked to date: the note with the ledger's own signature alone."""
    own = tuple(line for line in checkpoint.signatures if line.name == checkpoint.origin)
    return checkpoint.with_signatures(own).text().encode("utf-8")


def anchored_digest(checkpoint: Checkpoint) -> bytes:
    """SHA-256 of ``anchored_text``, 32 bytes."""
    return hashlib.sha256(anchored_text(checkpoint)).digest()


def _is_kind(value: Any) -> TypeGuard[TokenKind]:
    return value in get_args(TokenKind)


def _to_base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _from_base64(text: str) -> bytes:
    if len(text) > 2 * MAX_REPLY_BYTES:
        raise _malformed("it is far too large")
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise _malformed("its base64 is damaged") from error


def _malformed(reason: str) -> LedgerError:
    return LedgerError(f"This is not a kept time token: {reason}.", next_step="Use it as it was exported.")
