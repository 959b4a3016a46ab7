"""DSSE envelopes: signed bytes with the signatures beside them (github.com/secure-systems-lab/dsse, protocol 1.0.0).

Each signature carries one member beside the standard ``keyid`` and ``sig``: ``publicKey``, the raw Ed25519 public key in
base64, so that an envelope can be checked with nothing else at hand. It proves that one key signed these bytes, not whose key
that is. ``keyid`` is the SHA-256 of the raw public key in hexadecimal.

An envelope may have members of its own beside the three standard ones (envelope specification, "Other fields"). The signature
does not cover them: what stands there must prove itself.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from provenance_guard.json_types import Json
from provenance_guard.signing import Signer, key_id, verify

MAX_SIGNATURES = 100

_STANDARD = ("payloadType", "payload", "signatures")


@dataclass(frozen=True)
class Signature:
    """One signature of an envelope. ``public_key`` is what the envelope brings along, None when it brings none; ``hint`` is
    its ``keyid``, which is only passed on."""

    signature: bytes
    public_key: bytes | None
    hint: str | None = None


@dataclass(frozen=True)
class Envelope:
    """The signed bytes, what kind of bytes they are, and who signed; ``beside`` are the members that nobody signed."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]
    beside: Mapping[str, Any] = field(default_factory=dict)

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


def seal_envelope(payload_type: str, payload: bytes, signer: Signer, beside: Mapping[str, Json] | None = None) -> bytes:
    """Sign ``payload`` and write the envelope, with the members ``beside`` it."""
    signed = signer.sign(encode_for_signing(payload_type, payload))
    signature = Signature(signed, signer.public_bytes, key_id(signer.public_bytes))
    return write_envelope(Envelope(payload_type, payload, (signature,), beside or {}))


def write_envelope(envelope: Envelope) -> bytes:
    """An envelope as JSON in ASCII, one line; signed bytes and signatures stay what they are."""
    document = {
        "payloadType": envelope.payload_type,
        "payload": _to_base64(envelope.payload),
        "signatures": [_write_signature(signature) for signature in envelope.signatures],
        **{name: value for name, value in envelope.beside.items() if name not in _STANDARD},
    }
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
    beside = {name: value for name, value in document.items() if name not in _STANDARD}
    return Envelope(payload_type, _from_base64(document["payload"]), tuple(map(_read_signature, signatures)), beside)


def _write_signature(signature: Signature) -> dict[str, str]:
    written = {} if signature.hint is None else {"keyid": signature.hint}
    written["sig"] = _to_base64(signature.signature)
    if signature.public_key is not None:
        written["publicKey"] = _to_base64(signature.public_key)
    return written


def _read_signature(document: Any) -> Signature:
    if not isinstance(document, dict):
        raise ValueError("a signature is damaged")
    public_key, hint = document.get("publicKey"), document.get("keyid")
    return Signature(
        _from_base64(document.get("sig")),
        None if public_key is None else _from_base64(public_key),
        hint if isinstance(hint, str) else None,
    )


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
