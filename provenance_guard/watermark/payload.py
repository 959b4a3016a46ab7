"""What a mark carries: 16 bytes, encrypted, with enough redundancy that a wrong message is never returned.

A *profile* says how 16 payload bytes become message bits and back. The detector tries every profile of ``PROFILES``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
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
SHORT_VERSION = 2
CHECK_BITS = 40
"""Redundancy of the long profiles: a wrong message passes with probability 2**-40 a time."""

SHORT_DIGITS = 7
_SHORT_ID_BITS = 4 * SHORT_DIGITS
_SHORT_CHECK_BITS = 64 - _SHORT_ID_BITS
_ID_BYTES, _TIME_BYTES, _VERSION_AT = 7, 4, 11
_FIXED = bytes([PAYLOAD_VERSION, 0, 0, 0, 0])
_SHORT_FIXED = bytes([0, 0, 0, 0, 0, 0, 0, SHORT_VERSION, 0, 0, 0, 0])

Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Payload:
    """What a mark says of a record: the first 56 bits of its id as 14 hex digits and a time in whole seconds since 1970 (UTC), or,
    in the robust profile, the first 28 bits as 7 hex digits and no time."""

    record_id_prefix: str
    time: int | None = None

    @classmethod
    def for_record(cls, record_id: str, moment: datetime) -> Payload:
        """The payload of a record (``record_id`` 32 hex digits). Raises MarkError for a time outside 1970 to 2106."""
        return cls(record_id[: 2 * _ID_BYTES], int(moment.timestamp()))

    @classmethod
    def robust(cls, record_id: str) -> Payload:
        """The short payload of a record, for pictures of 512 pixels and below: half the bits, so about twice the power for each."""
        return cls(record_id[:SHORT_DIGITS])

    @property
    def moment(self) -> datetime | None:
        """``time`` as a UTC datetime."""
        return None if self.time is None else datetime.fromtimestamp(self.time, timezone.utc)

    def pack(self) -> bytes:
        """16 bytes: id prefix (7), time (4, big-endian), version 1, zeros (4); or id prefix (3.5), zeros (7.5), version 2, zeros (4).

        Raises MarkError for values that do not fit.
        """
        if self.time is None:
            if not re.fullmatch(f"[0-9a-fA-F]{{{SHORT_DIGITS}}}", self.record_id_prefix):
                raise _unfit(f"the short record id prefix is not {SHORT_DIGITS} hex digits")
            return bytes.fromhex(self.record_id_prefix + "0") + _SHORT_FIXED
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
        if len(packed) != PAYLOAD_BYTES:
            return None
        if packed.endswith(_SHORT_FIXED) and packed[3] & 15 == 0:
            return cls(packed.hex()[:SHORT_DIGITS])
        if packed.endswith(_FIXED):
            return cls(packed[:_ID_BYTES].hex(), int.from_bytes(packed[_ID_BYTES:_VERSION_AT], "big"))
        return None


class PayloadCipher:
    """One AES-128 block cipher and one keyed hash, both derived from a watermark key."""

    def __init__(self, key: Key) -> None:
        # One block of unique plaintext needs no chaining: ECB of a single block is the bare permutation.
        self._cipher = Cipher(AES(key.derive("cipher v1", 16)), modes.ECB())
        self._check_key = key.derive("check v1")
        self._short_key = key.derive("short check v1")
        self._mask_key = key.derive("short mask v1")

    def encrypt(self, block: bytes) -> bytes:
        """Encrypt 16 bytes."""
        return self._cipher.encryptor().update(block)

    def decrypt(self, block: bytes) -> bytes:
        """Decrypt 16 bytes."""
        return self._cipher.decryptor().update(block)

    def check(self, block: bytes) -> bytes:
        """The first 40 bits of HMAC-SHA256 of a block."""
        return hmac.new(self._check_key, block, hashlib.sha256).digest()[: CHECK_BITS // 8]

    def check_short(self, number: int) -> int:
        """36 bits of HMAC-SHA256 of 28."""
        return _keyed_bits(self._short_key, number, _SHORT_CHECK_BITS)

    def mask_short(self, check: int) -> int:
        """28 bits that depend on 36: a one-time pad, because the check differs for every number."""
        return _keyed_bits(self._mask_key, check, _SHORT_ID_BITS)


def _keyed_bits(key: bytes, number: int, count: int) -> int:
    digest = hmac.new(key, number.to_bytes(8, "big"), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - count)


class Profile(ABC):
    """A way of carrying a payload: ``message_bits`` long, of which ``free_bits`` can take any value; its tile layout is named by
    ``name`` (never reuse a name). Of each decoding the ``list_size`` likeliest messages may be put to the check."""

    name: str
    message_bits: int
    free_bits: int
    list_size: int

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
    free_bits = message_bits - CHECK_BITS
    list_size = 8

    def accepts(self, payload: bytes) -> bool:
        content = Payload.unpack(payload)
        return content is not None and content.time is not None

    def seal(self, payload: bytes, cipher: PayloadCipher) -> bytes:
        return cipher.encrypt(payload)

    def unseal(self, message: bytes, cipher: PayloadCipher) -> bytes | None:
        payload = cipher.decrypt(message)
        return payload if self.accepts(payload) else None


class RobustProfile(Profile):
    """A short ``Payload`` in 64 bits: 36 of keyed hash, then 28 of id under a pad drawn from the hash (as in RFC 5297)."""

    name = "robust v1"
    message_bits = 64
    free_bits = _SHORT_ID_BITS
    list_size = 1

    def accepts(self, payload: bytes) -> bool:
        content = Payload.unpack(payload)
        return content is not None and content.time is None

    def seal(self, payload: bytes, cipher: PayloadCipher) -> bytes:
        number = int(payload.hex()[:SHORT_DIGITS], 16)
        check = cipher.check_short(number)
        return (check << _SHORT_ID_BITS | number ^ cipher.mask_short(check)).to_bytes(8, "big")

    def unseal(self, message: bytes, cipher: PayloadCipher) -> bytes | None:
        check, masked = divmod(int.from_bytes(message, "big"), 1 << _SHORT_ID_BITS)
        number = masked ^ cipher.mask_short(check)
        return Payload(f"{number:0{SHORT_DIGITS}x}").pack() if cipher.check_short(number) == check else None


class FreeProfile(Profile):
    """Any 16 bytes, encrypted, and 40 bits of keyed hash behind them: 168 bits."""

    name = "free v1"
    message_bits = 8 * PAYLOAD_BYTES + CHECK_BITS
    free_bits = 8 * PAYLOAD_BYTES
    list_size = 8

    def accepts(self, payload: bytes) -> bool:
        return len(payload) == PAYLOAD_BYTES

    def seal(self, payload: bytes, cipher: PayloadCipher) -> bytes:
        return cipher.encrypt(payload) + cipher.check(payload)

    def unseal(self, message: bytes, cipher: PayloadCipher) -> bytes | None:
        payload = cipher.decrypt(message[:PAYLOAD_BYTES])
        return payload if hmac.compare_digest(cipher.check(payload), message[PAYLOAD_BYTES:]) else None


PROFILES: tuple[Profile, ...] = (RecordProfile(), RobustProfile(), FreeProfile())
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
