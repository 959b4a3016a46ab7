"""A checkpoint: the signed statement "at this size, the tree had this root" (C2SP tlog-checkpoint).

Its text is a C2SP signed note: origin line, tree size, root in base64, a blank line, and signature lines
``— <key name> base64(key id || signature)``. Standard tools and witnesses read it, and may add their own lines.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from provenance_guard.errors import LedgerError
from provenance_guard.ledger.merkle import HASH_SIZE
from provenance_guard.signing import Signer, verify

ORIGIN_PREFIX = "provenance-guard/"
MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100
MAX_SIZE = 1 << 62

_ED25519 = b"\x01"
COSIGNATURE = b"\x04"
_DASH = "\u2014 "


@dataclass(frozen=True)
class Signature:
    """One signature line: who signs (``name``, ``key_id`` of 4 bytes) and the bytes of the signature."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """The line as it stands in the note, with its newline."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.value).decode('ascii')}\n"


@dataclass(frozen=True)
class Checkpoint:
    """A tree head. ``origin`` names the ledger, ``size`` counts its events, ``root`` is the tree's root (32 bytes)."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()
    signatures: tuple[Signature, ...] = ()

    @classmethod
    def sign(cls, origin: str, size: int, root: bytes, signer: Signer) -> Checkpoint:
        """State and sign a tree head."""
        unsigned = cls(origin, size, root)
        signature = Signature(
            origin, note_key_id(origin, signer.public_bytes), signer.sign(unsigned.body().encode("utf-8"))
        )
        return cls(origin, size, root, signatures=(signature,))

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text of a checkpoint. Raises LedgerError on anything that is none; checks no signature."""
        if not isinstance(text, str):  # a damaged database gives values of any type
            raise _malformed("it is no text")
        if len(text) > MAX_NOTE_BYTES:
            raise _malformed("it is too long")
        if any(character < " " and character != "\n" for character in text) or not _is_unicode(text):
            raise _malformed("it holds control characters")
        head, separator, tail = text.rpartition("\n\n")
        if not separator or not tail.endswith("\n"):
            raise _malformed("it has no signatures")
        signatures = tuple(_parse_signature(line) for line in tail[:-1].split("\n"))
        if len(signatures) > MAX_SIGNATURES:
            raise _malformed("it has too many signatures")
        lines = head.split("\n")
        if len(lines) < 3 or not all(lines):
            raise _malformed("its three lines are not there")
        return cls(lines[0], _parse_size(lines[1]), _parse_root(lines[2]), tuple(lines[3:]), signatures)

    def body(self) -> str:
        """The signed text: all lines above the blank one, each with its newline."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode("ascii"), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    def text(self) -> str:
        """The whole note, to be stored or handed out."""
        return self.body() + "\n" + "".join(signature.line() for signature in self.signatures)

    def with_signatures(self, signatures: Iterable[Signature]) -> Checkpoint:
        """The same tree head with other signature lines."""
        return dataclasses.replace(self, signatures=tuple(signatures))

    def verify(self, public_key: bytes) -> bool:
        """Whether the ledger named by ``origin`` signed this with ``public_key`` (Ed25519, 32 bytes).

        As the note format demands, a line with that key's name and id must verify; lines of other keys count for nothing.
        """
        lines = self._lines_of(public_key)
        return bool(lines) and all(verify(public_key, line.value, self.body().encode("utf-8")) for line in lines)

    def names(self, public_key: bytes) -> bool:
        """Whether a signature line says that it is the ledger's own, by this key; it need not be true."""
        return bool(self._lines_of(public_key))

    def _lines_of(self, public_key: bytes) -> list[Signature]:
        expected = note_key_id(self.origin, public_key)
        return [line for line in self.signatures if (line.name, line.key_id) == (self.origin, expected)]

    def signed_by(self, public_keys: Iterable[bytes]) -> bytes | None:
        """The first of ``public_keys`` that this is signed with, or None."""
        return next((key for key in public_keys if self.verify(key)), None)

    def cosigned_at(self, name: str, public_key: bytes) -> int | None:
        """When the witness ``name`` saw this tree head (POSIX seconds by the witness's clock), or None when its valid
        cosignature is not there (C2SP tlog-cosignature, Ed25519)."""
        expected = note_key_id(name, public_key, COSIGNATURE)
        for line in self.signatures:
            if (line.name, line.key_id) != (name, expected) or len(line.value) != 72:
                continue
            seconds = int.from_bytes(line.value[:8], "big")
            message = f"cosignature/v1\ntime {seconds}\n{self.body()}"
            if verify(public_key, line.value[8:], message.encode("utf-8")):
                return seconds
        return None


def note_key_id(name: str, public_key: bytes, kind: bytes = _ED25519) -> bytes:
    """The key id of a signed note: SHA-256(name || 0x0A || signature type || public key), first 4 bytes."""
    return hashlib.sha256(name.encode("utf-8") + b"\n" + kind + public_key).digest()[:4]


def _parse_signature(line: str) -> Signature:
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not separator or not name or "+" in name or any(map(str.isspace, name)):
        raise _malformed("a signature line is not readable")
    raw = _from_base64(encoded)
    if len(raw) < 5:
        raise _malformed("a signature is too short")
    return Signature(name, raw[:4], raw[4:])


def _parse_size(line: str) -> int:
    if not line.isascii() or not line.isdigit() or len(line) > 19 or (line[0] == "0" and line != "0"):
        raise _malformed("its tree size is no number")
    if int(line) > MAX_SIZE:
        raise _malformed("its tree size is beyond every ledger")
    return int(line)


def _parse_root(line: str) -> bytes:
    root = _from_base64(line)
    if len(root) != HASH_SIZE:
        raise _malformed("its root is not 32 bytes long")
    return root


def _from_base64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise _malformed("its base64 is damaged") from error
    if base64.b64encode(raw).decode("ascii") != text:
        raise _malformed("its base64 is not in the one correct form")
    return raw


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _malformed(reason: str) -> LedgerError:
    return LedgerError(
        f"This is not a checkpoint: {reason}.", next_step="Use the whole text as it was exported, without changes."
    )
