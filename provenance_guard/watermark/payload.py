"""What a mark carries: 16 bytes, encrypted, with enough redundancy that a wrong message is never returned.

A *profile* says how 16 payload bytes become message bits and back. The detector tries every profile of ``PROFILES``.
"""

from __future__ import annotations

import hashlib
import hmac
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from provenance_guard.errors import MarkError
from provenance_guard.watermark.keys import Key

PAYLOAD_BYTES = 16
PAYLOAD_VERSION = 1
CHECK_BITS = 40
"""Redundancy of every profile: a wrong message passes with probability 2**-40 a time."""

_ID_BYTES, _TIME_BYTES = 7, 4
_FIXED = bytes([PAYLOAD_VERSION, 0, 0, 0, 0])

Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Payload:
    """A record payload: the first 56 bits of a record id as 14 hex digits, and a time in whole seconds since 1970 (UTC)."""

    record_id_prefix: str
    time: int

    @classmethod
    def for_record(cls, record_id: str, moment: datetime) -> Payload:
        """The payload of a record (``record_id`` 32 hex digits). Raises MarkError for a time outside 1970 to 2106."""
        return cls(record_id[: 2 * _ID_BYTES], int(moment.timestamp()))

    @property
    def moment(self) -> datetime:
        """``time`` as a UTC datetime."""
        return datetime.fromtimestamp(self.time, timezone.utc)

    def pack(self) -> bytes:
        """16 bytes: id prefix (7), time (4, big-endian), version (1), zeros (4). Raises MarkError for values that do not fit."""
        try:
            prefix = bytes.fromhex(self.record_id_prefix)
            time = self.time.to_bytes(_TIME_BYTES, "big")
        except (ValueError, OverflowError) as error:
            raise _unfit(str(error)) from error
        if len(prefix) != _ID_BYTES:
            raise _unfit(f"the record id prefix has {len(prefix)} bytes, not {_ID_BYTES}")
        return prefix + time + _FIXED

    @classmethod
    def unpack(cls, packed: bytes) -> Payload | None:
        """Read what ``pack`` wrote; None when these are 16 bytes of another kind."""
        if len(packed) != PAYLOAD_BYTES or not packed.endswith(_FIXED):
            return None
        return cls(packed[:_ID_BYTES].hex(), int.from_bytes(packed[_ID_BYTES : _ID_BYTES + _TIME_BYTES], "big"))


class PayloadCipher:
    """One AES-128 block cipher and one keyed hash, both derived from a watermark key."""

    def __init__(self, key: Key) -> None:
        # One block of unique plaintext needs no chaining: ECB of a single block is the bare permutation.
        self._cipher = Cipher(AES(key.derive("cipher v1", 16)), modes.ECB())
        self._check_key = key.derive("check v1")

    def encrypt(self, block: bytes) -> bytes:
        """Encrypt 16 bytes."""
        return self._cipher.encryptor().update(block)

    def decrypt(self, block: bytes) -> bytes:
        """Decrypt 16 bytes."""
        return self._cipher.decryptor().update(block)

    def check(self, block: bytes) -> bytes:
        """The first 40 bits of HMAC-SHA256 of a block."""
        return hmac.new(self._check_key, block, hashlib.sha256).digest()[: CHECK_BITS // 8]


class Profile(ABC):
    """A way of carrying a payload: ``message_bits`` long, its tile layout named by ``name`` (never reuse a name)."""

    name: str
    message_bits: int

    @abstractmethod
    def accepts(self, payload: bytes) -> bool:
        """Whether this profile can carry a payload."""

    @abstractmethod
    def seal(self, payload: bytes, cipher: PayloadCipher) -> bytes:
        """The message, ``message_bits / 8`` bytes."""

    @abstractmethod
    def unseal(self, message: bytes, cipher: PayloadCipher) -> bytes | None:
        """The payload of a message, or None when its check fails."""


class RecordProfile(Profile):
    """A packed ``Payload``, encrypted: 128 bits. Its 40 fixed plaintext bits are the check."""

    name = "record v1"
    message_bits = 8 * PAYLOAD_BYTES

    def accepts(self, payload: bytes) -> bool:
        return Payload.unpack(payload) is not None

    def seal(self, payload: bytes, cipher: PayloadCipher) -> bytes:
        return cipher.encrypt(payload)

    def unseal(self, message: bytes, cipher: PayloadCipher) -> bytes | None:
        payload = cipher.decrypt(message)
        return payload if self.accepts(payload) else None


class FreeProfile(Profile):
    """Any 16 bytes, encrypted, and 40 bits of keyed hash behind them: 168 bits."""

    name = "free v1"
    message_bits = 8 * PAYLOAD_BYTES + CHECK_BITS

    def accepts(self, payload: bytes) -> bool:
        return len(payload) == PAYLOAD_BYTES

    def seal(self, payload: bytes, cipher: PayloadCipher) -> bytes:
        return cipher.encrypt(payload) + cipher.check(payload)

    def unseal(self, message: bytes, cipher: PayloadCipher) -> bytes | None:
        payload = cipher.decrypt(message[:PAYLOAD_BYTES])
        return payload if hmac.compare_digest(cipher.check(payload), message[PAYLOAD_BYTES:]) else None


PROFILES: tuple[Profile, ...] = (RecordProfile(), FreeProfile())
"""Tried in this order, both when a payload looks for a profile and when the detector looks for a message."""


def profile_for(payload: bytes) -> Profile:
    """The first profile that can carry a payload. Raises MarkError when none can."""
    for profile in PROFILES:
        if profile.accepts(payload):
            return profile
    raise _unfit(f"it is {len(payload)} bytes long, not {PAYLOAD_BYTES}")


def to_bits(message: bytes) -> Bits:
    """Bytes as bits, most significant first."""
    return np.unpackbits(np.frombuffer(message, np.uint8))


def from_bits(bits: Bits) -> bytes:
    """Bits, most significant first, as bytes."""
    return np.packbits(bits).tobytes()


def _unfit(reason: str) -> MarkError:
    return MarkError(
        f"The payload cannot be carried: {reason}.", next_step="Pass exactly 16 bytes (32 hex digits) as the payload."
    )
