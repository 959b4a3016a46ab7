"""A witness signs what only grew, and nothing that contradicts what he signed before."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from ledger_samples import picture

from provenance_guard.clock import utc_now
from provenance_guard.errors import LedgerError, UsageError
from provenance_guard.ledger import Checkpoint, Ledger
from provenance_guard.ledger.anchors.acceptance import accept
from provenance_guard.ledger.anchors.examination import examine_checkpoint
from provenance_guard.ledger.witness import CosignRequest, Witness, WitnessBook
from provenance_guard.signing import Signer

NAME = "example.org/ada"


@pytest.fixture
def eye() -> Signer:
    return Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))


@pytest.fixture
def book(tmp_path) -> WitnessBook:
    return WitnessBook(tmp_path / "witness")


def request(ledger: Ledger, since: int = 0) -> CosignRequest:
    checkpoint = ledger.checkpoint()
    return CosignRequest(since, tuple(ledger.consistency_proof(since, checkpoint.size)), checkpoint)


def grow(ledger: Ledger, count: int) -> None:
    ledger.append_many([picture(number) for number in range(count)])


def test_a_cosignature_is_taken_back_and_vouches(ledger, signer, book, eye):
    grow(ledger, 5)
    signed = book.cosign(request(ledger), NAME, eye, utc_now(), log_key=signer.public_bytes)
    witness = Witness(NAME, eye.public_bytes)
    accepted = accept(ledger, signed.text(), [witness])
    assert [(line.name, line.holds) for line in accepted.lines] == [(f"the witness {NAME}", True)]
    stored = ledger.checkpoints()[-1]
    said = examine_checkpoint(stored, (), witnesses=[witness])[0]
    assert said.holds
    assert abs((said.time - utc_now()).total_seconds()) < 60
    assert stored.verify(signer.public_bytes)


def test_the_line_is_the_one_of_the_standard(ledger, signer, book, eye):
    """C2SP tlog-cosignature: key id over name, 0x0A, 0x04 and key; time and signature over the text it names."""
    grow(ledger, 2)
    signed = book.cosign(request(ledger), NAME, eye, utc_now(), log_key=signer.public_bytes)
    line = signed.text().splitlines()[-1]
    dash, name, encoded = line.split(" ")
    raw = base64.b64decode(encoded)
    assert (dash, name, len(raw)) == ("\u2014", NAME, 4 + 8 + 64)
    assert raw[:4] == hashlib.sha256(NAME.encode() + b"\n\x04" + eye.public_bytes).digest()[:4]
    seconds = int.from_bytes(raw[4:12], "big")
    body = signed.text().split("\n\n")[0] + "\n"
    message = f"cosignature/v1\ntime {seconds}\n{body}".encode()
    Ed25519PublicKey.from_public_bytes(eye.public_bytes).verify(raw[12:], message)


def test_growth_is_signed_again_with_its_proof(ledger, signer, book, eye):
    grow(ledger, 3)
    first = request(ledger)
    book.cosign(first, NAME, eye, utc_now(), log_key=signer.public_bytes)
    grow(ledger, 4)
    again = CosignRequest.parse(request(ledger, first.checkpoint.size).text())
    assert book.cosign(again, NAME, eye, utc_now()).size == again.checkpoint.size
    assert book.last_seen(ledger.origin).size == again.checkpoint.size
    same = book.cosign(again, NAME, eye, utc_now())
    assert same.size == again.checkpoint.size


def test_growth_without_its_proof_is_not_signed(ledger, signer, book, eye):
    grow(ledger, 3)
    seen = request(ledger).checkpoint.size
    book.cosign(request(ledger), NAME, eye, utc_now(), log_key=signer.public_bytes)
    grow(ledger, 4)
    for bad in (request(ledger), CosignRequest(seen, (bytes(32),) * 3, ledger.checkpoint())):
        with pytest.raises(LedgerError):
            book.cosign(bad, NAME, eye, utc_now())
    assert book.last_seen(ledger.origin).size == seen


def test_a_ledger_that_went_back_or_was_rewritten_is_not_signed(tmp_path, signer, book, eye):
    path = tmp_path / "a.sqlite3"
    with Ledger.open(path, signer) as ledger:
        grow(ledger, 3)
        old = request(ledger)
        ledger.back_up(tmp_path / "old.sqlite3")
        grow(ledger, 3)
        book.cosign(request(ledger), NAME, eye, utc_now(), log_key=signer.public_bytes)
        seen = book.last_seen(ledger.origin).size
    with pytest.raises(LedgerError, match="went back"):
        book.cosign(old, NAME, eye, utc_now())
    with Ledger.open(tmp_path / "old.sqlite3", signer) as forked:
        grow(forked, 5)
        with pytest.raises(LedgerError):
            book.cosign(request(forked, seen), NAME, eye, utc_now())


def test_a_checkpoint_of_the_same_size_with_another_root_is_not_signed(ledger, signer, book, eye):
    grow(ledger, 3)
    honest = request(ledger)
    book.cosign(honest, NAME, eye, utc_now(), log_key=signer.public_bytes)
    other = Checkpoint.sign(ledger.origin, honest.checkpoint.size, bytes(32), signer)
    with pytest.raises(LedgerError, match="contradicts"):
        book.cosign(CosignRequest(honest.checkpoint.size, (), other), NAME, eye, utc_now())


def test_a_new_ledger_needs_its_key_and_the_right_one(ledger, signer, book, eye):
    grow(ledger, 1)
    with pytest.raises(UsageError, match="new to you"):
        book.cosign(request(ledger), NAME, eye, utc_now())
    with pytest.raises(LedgerError, match="not signed"):
        book.cosign(request(ledger), NAME, eye, utc_now(), log_key=eye.public_bytes)
    book.cosign(request(ledger), NAME, eye, utc_now(), log_key=signer.public_bytes)
    with pytest.raises(LedgerError, match="another key"):
        book.cosign(request(ledger), NAME, eye, utc_now(), log_key=eye.public_bytes)


def test_a_forged_cosignature_is_not_taken(ledger, signer, book, eye):
    grow(ledger, 1)
    signed = book.cosign(request(ledger), NAME, eye, utc_now(), log_key=signer.public_bytes)
    line = signed.signatures[-1]
    forged = signed.with_signatures(
        (*signed.signatures[:-1], type(line)(line.name, line.key_id, line.value[:-1] + b"\x00"))
    )
    with pytest.raises(LedgerError, match="does not hold"):
        accept(ledger, forged.text(), [Witness(NAME, eye.public_bytes)])
    kept = accept(ledger, signed.text(), [])  # nobody here knows him: kept, and told
    assert [line.holds for line in kept.lines] == [None]


def test_a_checkpoint_that_a_sidecar_carries_can_be_stored(ledger, signer):
    grow(ledger, 4)
    occasion = Checkpoint.parse(ledger.proof(2)["checkpoint"])
    assert ledger.checkpoints() == []
    assert accept(ledger, occasion.text(), []).checkpoint == occasion
    assert ledger.checkpoints() == [occasion]
    stranger = Checkpoint.sign(ledger.origin, 3, bytes(32), signer)
    with pytest.raises(LedgerError, match="no such checkpoint"):
        accept(ledger, stranger.text(), [])


def test_a_damaged_book_is_told(ledger, signer, book, eye):
    grow(ledger, 1)
    book.cosign(request(ledger), NAME, eye, utc_now(), log_key=signer.public_bytes)
    next(book.folder.iterdir()).write_text("{")
    with pytest.raises(LedgerError, match="cannot be read"):
        book.cosign(request(ledger), NAME, eye, utc_now())


def test_keys_of_witnesses_are_read_as_they_are_written(eye):
    witness = Witness(NAME, eye.public_bytes)
    assert Witness.parse(witness.text() + "\n") == witness
    name, key_id, key = witness.text().split("+", 2)
    for bad in ("", name, f"{name}+{key_id}", f"{name}+00000000+{key}", f"a b+{key_id}+{key}", f"{name}+{key_id}+AAAA"):
        with pytest.raises(UsageError):
            Witness.parse(bad)


@pytest.mark.parametrize("junk", ["", "old", "old 3\n", "old x\n\nnote", "old 3\nAAAA\n\na\n1\nb\n\n", "old 3\n!\n\n"])
def test_what_is_no_request(junk):
    with pytest.raises(LedgerError):
        CosignRequest.parse(junk)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb"])
def test_names_that_no_line_can_carry(ledger, signer, book, eye, name):
    grow(ledger, 1)
    with pytest.raises(UsageError):
        book.cosign(request(ledger), name, eye, utc_now(), log_key=signer.public_bytes)
