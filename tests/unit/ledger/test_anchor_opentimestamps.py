"""OpenTimestamps proofs of a calendar on this computer: promised, completed, followed to their ends, and never called more."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from unittest import mock

import pytest
from ledger_samples import picture
from time_authority import serving

from provenance_guard.clock import utc_now
from provenance_guard.config import TimeStamping
from provenance_guard.ledger import Ledger
from provenance_guard.ledger.anchors import keeping, opentimestamps
from provenance_guard.ledger.anchors.anchor import AnchorError, anchored_text
from provenance_guard.ledger.anchors.examination import examine_checkpoint
from provenance_guard.ledger.anchors.queue import anchor_newest

pytest.importorskip("opentimestamps.core.timestamp")

from opentimestamps.core.notary import BitcoinBlockHeaderAttestation, PendingAttestation
from opentimestamps.core.op import OpAppend, OpSHA256
from opentimestamps.core.serialize import BytesSerializationContext
from opentimestamps.core.timestamp import Timestamp

MESSAGE = b"a checkpoint\n"
HEIGHT = 923_456


class Calendar:
    """Takes digests at once, and has them in a block when ``mined`` is set."""

    def __init__(self) -> None:
        self.url = ""
        self.mined = False
        self.digests: list[bytes] = []

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        if path == "/digest":
            self.digests.append(body)
            promise = Timestamp(body)
            promise.attestations.add(PendingAttestation(self.url))
            return 200, written(promise)
        asked = bytes.fromhex(path.removeprefix("/timestamp/"))
        if not self.mined or asked not in self.digests:
            return 404, b"Pending confirmation in Bitcoin blockchain"
        timestamp = Timestamp(asked)
        root = timestamp.ops.add(OpAppend(b"the rest of the block")).ops.add(OpSHA256())
        root.attestations.add(BitcoinBlockHeaderAttestation(HEIGHT))
        return 200, written(timestamp)


def written(timestamp: Timestamp) -> bytes:
    context = BytesSerializationContext()
    timestamp.serialize(context)
    return context.getbytes()


@pytest.fixture
def calendar():
    served = Calendar()
    with serving(served.answer) as url:
        served.url = url
        yield served


def refusal(*arguments) -> str:
    with pytest.raises(AnchorError) as raised:
        opentimestamps.check_proof(*arguments)
    return raised.value.reason


def test_a_calendar_promises_and_later_completes(calendar):
    proof = opentimestamps.stamp(calendar.url, MESSAGE)
    assert opentimestamps.check_proof(proof, MESSAGE) == opentimestamps.Proof((calendar.url,), ())
    with pytest.raises(AnchorError) as raised:
        opentimestamps.upgrade(proof, calendar.url)
    assert raised.value.reason == "unreachable"  # 404: not mined yet
    calendar.mined = True
    complete = opentimestamps.check_proof(opentimestamps.upgrade(proof, calendar.url), MESSAGE)
    root = hashlib.sha256(calendar.digests[0] + b"the rest of the block").digest()
    assert complete.blocks == (opentimestamps.BlockClaim(HEIGHT, root[::-1].hex()),)


def test_the_calendar_learns_no_hash_of_ours(calendar):
    proofs = [opentimestamps.stamp(calendar.url, MESSAGE) for _ in range(2)]
    assert hashlib.sha256(MESSAGE).digest() not in calendar.digests
    assert len(set(calendar.digests)) == 2
    assert proofs[0] != proofs[1]


def test_a_proof_of_something_else_and_what_is_no_proof(calendar):
    proof = opentimestamps.stamp(calendar.url, MESSAGE)
    assert refusal(proof, b"another checkpoint\n") == "wrong-imprint"
    for junk in (b"", b"<html>", proof[:-3], proof + b"more"):
        assert refusal(junk, MESSAGE) == "malformed"
    changed = bytearray(proof)
    changed[-40] ^= 1
    try:
        assert opentimestamps.check_proof(bytes(changed), MESSAGE).blocks == ()
    except AnchorError as error:
        assert error.reason == "malformed"


def test_no_other_address_is_asked_than_the_configured_one(calendar):
    proof = opentimestamps.stamp(calendar.url, MESSAGE)
    calendar.mined = True
    with pytest.raises(AnchorError) as raised:
        opentimestamps.upgrade(proof, "http://127.0.0.1:9")  # the proof names another calendar than that
    assert raised.value.reason == "pending"


def test_proofs_of_checkpoints_are_kept_completed_and_not_called_time(ledger: Ledger, calendar):
    asked = TimeStamping(calendars=(calendar.url,), minutes=0)
    ledger.append_many([picture(1)])
    ledger.checkpoint()
    assert [outcome.result for outcome in anchor_newest(ledger, asked)] == ["anchored"]
    checkpoint = ledger.checkpoints()[0]
    promised = examine_checkpoint(checkpoint, keeping.kept_anchors(ledger))[0]
    assert (promised.problem, promised.time, promised.trusted) == ("pending", None, False)
    calendar.mined = True
    with mock.patch("provenance_guard.ledger.anchors.queue.utc_now", lambda: utc_now() + timedelta(hours=2)):
        outcomes = anchor_newest(ledger, asked)
    assert [outcome.result for outcome in outcomes] == ["not due", "completed"]
    said = examine_checkpoint(checkpoint, keeping.kept_anchors(ledger))[0]
    assert (said.problem, said.time, said.trusted) == ("unverifiable", None, False)
    assert str(HEIGHT) in said.sentence
    assert "not looked up" in said.sentence
    kept = keeping.kept_anchors(ledger)
    assert len(kept) == 1
    assert opentimestamps.check_proof(kept[0].reply, anchored_text(checkpoint)).blocks[0].height == HEIGHT


def test_a_calendar_that_is_away_is_asked_again_later(ledger: Ledger):
    ledger.append_many([picture(1)])
    ledger.checkpoint()
    asked = TimeStamping(calendars=("http://127.0.0.1:9",), minutes=0)
    assert [(outcome.result, outcome.reason) for outcome in anchor_newest(ledger, asked)] == [("failed", "unreachable")]
    assert [outcome.result for outcome in anchor_newest(ledger, asked)] == ["waiting"]
