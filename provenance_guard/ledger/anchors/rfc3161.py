"""Time tokens of an authority (RFC 3161): asked for, and checked, now or years later.

A token is a signed statement "this SHA-256 existed at this time". What is checked of one: that the authority granted it, the
signature, the chain of certificates up to a given root as it was valid at that time, that the certificate is for time stamping and
for nothing else (section 2.3), the imprint, the nonce of our request, and the policy where one is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from provenance_guard import extras
from provenance_guard.ledger.anchors.anchor import AnchorError
from provenance_guard.ledger.anchors.der import request_nonce, with_sorted_certificates
from provenance_guard.ledger.anchors.testimony import Reason
from provenance_guard.ledger.anchors.transport import exchange

MODULE = "rfc3161_client"
REQUEST_TYPE = "application/timestamp-query"
REPLY_TYPE = "application/timestamp-reply"

_GRANTED = 0
_SHA256 = "2.16.840.1.101.3.4.2.1"
_REFUSALS = {2: "it refuses", 3: "it asks to wait", 4: "it warns of a revocation", 5: "its certificate was revoked"}


@dataclass(frozen=True)
class Token:
    """What a good token says. ``time`` is the authority's, right within ``accuracy`` (None: it does not say);
    ``authority`` is the name in its certificate."""

    time: datetime
    accuracy: timedelta | None
    authority: str
    policy: str


def make_request(message: bytes) -> bytes:
    """A ``TimeStampReq`` for the SHA-256 of ``message`` with a random nonce, asking for the certificates.

    Raises ExtraMissingError when the extra ``tsa`` is not installed.
    """
    client = _client()
    builder = client.TimestampRequestBuilder().data(message).hash_algorithm(client.HashAlgorithm.SHA256)
    request: bytes = builder.nonce(nonce=True).cert_request(cert_request=True).build().as_bytes()
    return request


def ask(url: str, request: bytes) -> bytes:
    """Send a request and return the whole reply, unchecked (section 3.4). Raises AnchorError when there is none."""
    return exchange(url, request, content_type=REQUEST_TYPE, accept=REPLY_TYPE)


def check_reply(
    reply: bytes, request: bytes, message: bytes, roots: Sequence[x509.Certificate], *, policy: str | None = None
) -> Token:
    """Check the ``reply`` to a ``request`` about ``message``; its certificate must lead to one of ``roots``.

    Raises AnchorError with the reason, ExtraMissingError when the extra ``tsa`` is not installed.
    """
    client = _client()
    try:
        return _check(client, reply, request, message, roots=roots, policy=policy)
    except AnchorError:
        raise
    except Exception as error:  # The libraries raise a dozen kinds for fields that make no sense.
        raise _error("tampered", f"The time token is damaged ({type(error).__name__}).") from error


def read_roots(pem: bytes) -> list[x509.Certificate]:
    """The certificates in a PEM file. Raises ValueError when there is none."""
    return x509.load_pem_x509_certificates(pem)


def to_pem(certificate: x509.Certificate) -> str:
    """A certificate as PEM text."""
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate, as authorities publish it: 64 hex digits."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def imprint_of(content: bytes) -> bytes | None:
    """The digest that a reply is about, with nothing of it checked; None when it cannot be read as one.

    Raises ExtraMissingError when the extra ``tsa`` is not installed.
    """
    client = _client()
    with suppress(ValueError, AttributeError):
        digest: bytes = client.decode_timestamp_response(
            with_sorted_certificates(content)
        ).tst_info.message_imprint.message
        return digest
    return None


def _client() -> Any:
    return extras.require(MODULE, purpose="A time token (RFC 3161)")


def _check(
    client: Any,
    reply: bytes,
    request: bytes,
    message: bytes,
    *,
    roots: Sequence[x509.Certificate],
    policy: str | None,
) -> Token:
    digest = hashlib.sha256(message).digest()
    answer = _decode(client, reply)
    if answer.status != _GRANTED:
        why = "; ".join(answer.status_string).rstrip(".") or _REFUSALS.get(answer.status, f"status {answer.status}")
        raise _error(
            "refused", f"The authority gave no time token: {why}.", "Ask another authority, or try again later."
        )
    _check_signature(client, answer, roots)
    info = answer.tst_info
    imprint = info.message_imprint
    if imprint.hash_algorithm.dotted_string != _SHA256 or imprint.message != digest:
        raise _error("wrong-imprint", "The time token is about something else than this checkpoint.")
    nonce = request_nonce(request)
    if nonce is None or info.nonce != nonce:
        raise _error("wrong-nonce", "The time token answers another request: it may be an old one, played again.")
    if policy is not None and info.policy.dotted_string != policy:
        told = f"The time token was given under policy {info.policy.dotted_string}, not {policy}."
        raise _error("wrong-policy", told)
    return Token(_utc(info.gen_time), _accuracy(info.accuracy), _signer_name(answer), info.policy.dotted_string)


def _decode(client: Any, reply: bytes) -> Any:
    try:
        return client.decode_timestamp_response(with_sorted_certificates(reply))
    except ValueError as error:
        if "InvalidSetOrdering" in str(error):
            told = "The reply is a time token of a form that this program cannot check."
            raise _error("unverifiable", told, "Check it with: openssl ts -verify") from error
        raise _error("malformed", "The reply is no time token.", "Check the address of the authority.") from error


def _check_signature(client: Any, answer: Any, roots: Sequence[x509.Certificate]) -> None:
    if not roots:
        raise _error("untrusted", "No root certificate of this authority is at hand.", "Give its root certificate.")
    try:
        verifier = client.VerifierBuilder(roots=list(roots)).build()
        verifier.verify(answer, answer.tst_info.message_imprint.message)
    except client.VerificationError as error:
        text = str(error)
        if "certificate verify error" in text or "EKU" in text or "leaf certificate" in text:
            raise _error("untrusted", f"The authority's certificate is not to be trusted: {_why(text)}.") from error
        raise _error("tampered", "The time token was changed after it was signed.") from error


def _why(text: str) -> str:
    """The few telling words in what the verifier says."""
    if "Verify error: " in text:
        return text.split("Verify error: ")[1].split('"', maxsplit=1)[0]
    return text.rstrip(".")[:1].lower() + text.rstrip(".")[1:]


def _signer_name(answer: Any) -> str:
    signer = next(iter(answer.signed_data.signer_infos))
    for encoded in answer.signed_data.certificates:
        certificate = x509.load_der_x509_certificate(encoded)
        if (certificate.issuer, certificate.serial_number) == (signer.issuer, signer.serial_number):
            names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            return str(names[0].value) if names else certificate.subject.rfc4514_string()
    return "an authority without a name"


def _accuracy(accuracy: Any) -> timedelta | None:
    if accuracy is None:
        return None
    return timedelta(
        seconds=accuracy.seconds or 0, milliseconds=accuracy.millis or 0, microseconds=accuracy.micros or 0
    )


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _error(reason: Reason, message: str, next_step: str = "Do not rely on it; ask for a new one.") -> AnchorError:
    return AnchorError(reason, message, next_step=next_step)
