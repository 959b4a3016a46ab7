"""DSSE envelopes: signed bytes with the signatures beside them (github.com/secure-systems-lab/dsse, protocol 1.0.0).

Each signature carries one member beside the standard ``keyid`` and ``sig``: ``publicKey``, the raw Ed25519 public key in
base64, so that an envelope can be checked with nothing else at hand. It proves that one key signed these bytes, not whose key
that is. ``keyid`` is the SHA-256 of the raw public key in hexadecimal.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from provenance_guard.signing import Signer, key_id, verify

MAX_SIGNATURES = 100


@dataclass(frozen=True)
class Signature:
    """One signature of an envelope. ``public_key`` is what the envelope brings along, None when it brings none."""

    signature: bytes
    public_key: bytes | None


@dataclass(frozen=True)
class Envelope:
    """The signed bytes, what kind of bytes they are, and who signed."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def signing_key(self, public_keys: Iterable[bytes] = ()) -> bytes | None:
        """The public key that a valid signature was made with: one of ``public_keys`` before one brought along; else None.

        Key ids are not looked at, because anybody can write them (protocol, "KEYID").
        """
        message = encode_for_signing(self.payload_type, self.payload)
        brought = [entry.public_key for entry in self.signatures if entry.public_key is not None]
        for key in (*public_keys, *brought):
            if any(verify(key, entry.signature, message) for entry in self.signatures):
                return key
        return None


def encode_for_signing(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding (PAE) of DSSE: what is really signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal_envelope(payload_type: str, payload: bytes, signer: Signer) -> bytes:
    """Sign ``payload`` and write the envelope as JSON in ASCII, one line."""
    signature = {
        "keyid": key_id(signer.public_bytes),
        "sig": _to_base64(signer.sign(encode_for_signing(payload_type, payload))),
        "publicKey": _to_base64(signer.public_bytes),
    }
    document = {"payloadType": payload_type, "payload": _to_base64(payload), "signatures": [signature]}
    return json.dumps(document).encode("ascii") + b"\n"


def read_envelope(content: bytes) -> Envelope:
    """Read an envelope. Raises ValueError, with the reason, when it is none; the signatures are not checked here."""
    try:
        document = json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(document, dict) or "payload" not in document:
        raise ValueError("no envelope")
    payload_type, signatures = document.get("payloadType"), document.get("signatures")
    if not isinstance(payload_type, str) or not isinstance(signatures, list) or not signatures:
        raise ValueError("payload type or signatures are missing")
    if len(signatures) > MAX_SIGNATURES:
        raise ValueError("it has too many signatures")
    payload_type.encode("utf-8")  # A lone surrogate has no bytes that could have been signed.
    return Envelope(payload_type, _from_base64(document["payload"]), tuple(_read_signature(one) for one in signatures))


def _read_signature(document: Any) -> Signature:
    if not isinstance(document, dict):
        raise ValueError("a signature is damaged")
    public_key = document.get("publicKey")
    return Signature(_from_base64(document.get("sig")), None if public_key is None else _from_base64(public_key))


def _to_base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _from_base64(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError("base64 text is missing")
    try:
        # Readers must take both alphabets (protocol, last paragraph of "Protocol").
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ValueError("base64 text is damaged") from error
