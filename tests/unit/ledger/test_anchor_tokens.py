"""Time tokens of a real authority (``openssl ts`` on this computer): good ones hold, every other one is refused with its reason."""

from __future__ import annotations

import hashlib
import random
from datetime import timedelta

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from time_authority import OPENSSL, POLICY, TimeAuthority

from provenance_guard.clock import utc_now
from provenance_guard.ledger.anchors import rfc3161
from provenance_guard.ledger.anchors.anchor import AnchorError
from provenance_guard.ledger.anchors.der import request_nonce, with_sorted_certificates

pytest.importorskip("rfc3161_client")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")

MESSAGE = b"a checkpoint\n"


@pytest.fixture(scope="module")
def alpha(tmp_path_factory):
    return TimeAuthority(tmp_path_factory.mktemp("tsa") / "alpha", "Alpha")


@pytest.fixture(scope="module")
def beta(tmp_path_factory):
    return TimeAuthority(tmp_path_factory.mktemp("tsa") / "beta", "Beta")


@pytest.fixture(scope="module")
def request_sent():
    return rfc3161.make_request(MESSAGE)


@pytest.fixture(scope="module")
def good(alpha, request_sent):
    return alpha.reply(request_sent)


def roots(authority):
    return rfc3161.read_roots(authority.roots.read_bytes())


def refusal(*arguments, **options) -> str:
    with pytest.raises(AnchorError) as raised:
        rfc3161.check_reply(*arguments, **options)
    assert raised.value.next_step
    return raised.value.reason


def test_a_good_token_holds_and_openssl_agrees(alpha, good, request_sent):
    token = rfc3161.check_reply(good, request_sent, MESSAGE, roots(alpha), policy=POLICY)
    assert abs(token.time - utc_now()) < timedelta(minutes=2)
    assert (token.authority, token.policy, token.accuracy) == ("Alpha", POLICY, timedelta(seconds=1))
    assert alpha.accepts(good, MESSAGE)
    assert not alpha.accepts(good, b"another checkpoint\n")


def test_openssl_reads_our_request(alpha, request_sent):
    (alpha.folder / "ours.tsq").write_bytes(request_sent)
    alpha.run("ts", "-query", "-in", "ours.tsq", "-text", "-out", "ours.txt")
    text = (alpha.folder / "ours.txt").read_text()
    assert "Hash Algorithm: sha256" in text
    assert "Certificate required: yes" in text
    assert f"Nonce: 0x{request_nonce(request_sent):X}" in text.replace(" ", "").replace("Nonce:", "Nonce: ")


def test_certificates_in_any_order_are_read(alpha, good, request_sent):
    """openssl writes them unsorted; what is kept stays as it came, and openssl still takes the sorted copy."""
    ordered = with_sorted_certificates(good)
    assert sorted(ordered) == sorted(good)
    assert alpha.accepts(ordered, MESSAGE)
    for reply in (good, ordered):
        assert rfc3161.check_reply(reply, request_sent, MESSAGE, roots(alpha)).authority == "Alpha"
    for junk in (b"", b"\x30", b"\x30\x80\x00\x00", good[:40], b"<html>"):
        assert with_sorted_certificates(junk) == junk


def test_wrong_root(beta, good, request_sent):
    assert refusal(good, request_sent, MESSAGE, roots(beta)) == "untrusted"
    assert refusal(good, request_sent, MESSAGE, []) == "untrusted"


def test_wrong_imprint(alpha, request_sent):
    other = alpha.reply(alpha.request(b"something else"))
    assert refusal(other, request_sent, MESSAGE, roots(alpha)) == "wrong-imprint"


def test_wrong_nonce(alpha, good):
    """An old answer about the same checkpoint, played again, and one that has no nonce at all."""
    assert refusal(good, rfc3161.make_request(MESSAGE), MESSAGE, roots(alpha)) == "wrong-nonce"
    without = alpha.reply(alpha.request(MESSAGE, "-no_nonce"))
    assert refusal(without, rfc3161.make_request(MESSAGE), MESSAGE, roots(alpha)) == "wrong-nonce"
    assert refusal(without, alpha.request(MESSAGE, "-no_nonce"), MESSAGE, roots(alpha)) == "wrong-nonce"


def test_wrong_policy(alpha, good, request_sent):
    assert refusal(good, request_sent, MESSAGE, roots(alpha), policy="1.2.3.4.9") == "wrong-policy"


def test_a_certificate_that_is_not_for_time_stamping(alpha, tmp_path, request_sent):
    mail = TimeAuthority(tmp_path / "mail", "Mail", purpose=ExtendedKeyUsageOID.EMAIL_PROTECTION)
    mail.honest = alpha
    assert refusal(mail.reply_at(request_sent, utc_now()), request_sent, MESSAGE, roots(mail)) == "untrusted"


def test_a_token_from_before_its_certificate_was_valid(alpha, request_sent):
    long_ago = utc_now().replace(year=2019)
    assert refusal(alpha.reply_at(request_sent, long_ago), request_sent, MESSAGE, roots(alpha)) == "untrusted"


def test_a_refusal_of_the_authority(alpha, request_sent):
    assert refusal(alpha.reply(b"junk"), request_sent, MESSAGE, roots(alpha)) == "refused"


@pytest.mark.parametrize("junk", [b"", b"<html>503</html>", b"\x30\x03\x02\x01\x00", b"\x30" * 5000])
def test_what_is_no_token(alpha, request_sent, junk):
    assert refusal(junk, request_sent, MESSAGE, roots(alpha)) in ("malformed", "tampered")


def test_no_changed_bit_makes_another_statement(alpha, good, request_sent):
    """A flip is refused, or lies where nothing is stated: in the copy of the root, or in a name of an algorithm."""
    honest = rfc3161.check_reply(good, request_sent, MESSAGE, roots(alpha))
    chosen = random.Random(7)
    for place in chosen.sample(range(len(good)), 150):
        changed = bytearray(good)
        changed[place] ^= 1 << chosen.randrange(8)
        try:
            assert rfc3161.check_reply(bytes(changed), request_sent, MESSAGE, roots(alpha)) == honest
        except AnchorError as error:
            assert error.reason in ("tampered", "malformed", "untrusted", "unverifiable", "refused", "wrong-imprint")


def test_a_changed_time_is_refused(alpha, good, request_sent):
    year = utc_now().strftime("%Y%m%d").encode()
    assert year in good
    changed = good.replace(year, b"2021" + year[4:], 1)
    assert refusal(changed, request_sent, MESSAGE, roots(alpha)) == "tampered"


def test_the_digest_of_a_reply_can_be_read(good):
    assert rfc3161.imprint_of(good) == hashlib.sha256(MESSAGE).digest()
    assert rfc3161.imprint_of(b"junk") is None
