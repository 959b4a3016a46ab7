"""Personal data goes, the tree stays."""

from __future__ import annotations

import pytest
from ledger_samples import picture

from provenance_guard.errors import LedgerError
from provenance_guard.ledger import Ledger, events, verify_ledger, verify_proof


def everything_on_disk(ledger: Ledger) -> bytes:
    return b"".join(entry.read_bytes() for entry in ledger.path.parent.iterdir())


def test_private_values_are_erased_and_the_events_stay(ledger, signer):
    appended = ledger.append_many([picture(number) for number in range(20)])
    assert b"red fox number 7" in everything_on_disk(ledger)
    erasure = ledger.erase([8], "asked for by the user")
    assert erasure.body == {"seqs": [8], "what": "private", "reason": "asked for by the user"}
    assert b"red fox number 7" not in everything_on_disk(ledger)
    assert b"red fox number 8" in everything_on_disk(ledger)
    assert ledger.event(8).openings == ()
    assert ledger.event(8).stored == appended[7].stored
    assert verify_ledger(ledger).sound
    assert verify_proof(ledger.proof(8), ledger.event(8).stored, public_keys=[signer.public_bytes]).holds


def test_whole_events_are_erased_and_the_tree_stays(ledger, signer):
    appended = ledger.append_many([picture(number) for number in range(20)])
    root, size = ledger.root(), ledger.size
    ledger.erase([9, 8, 8], "pruned", what="whole")
    assert ledger.root(size) == root
    assert appended[7].stored not in everything_on_disk(ledger)
    event = ledger.event(8)
    assert event.erased
    assert (event.body, event.stored, event.leaf_hash) == ({}, b"", appended[7].leaf_hash)
    assert ledger.find_pixels(f"{7:064x}") == []
    report = verify_ledger(ledger)
    assert report.sound
    assert any("2 event(s)" in note for note in report.notes)
    assert verify_proof(ledger.proof(8), None, public_keys=[signer.public_bytes]).holds
    assert verify_proof(ledger.proof(8), appended[7].stored, public_keys=[signer.public_bytes]).holds
    assert len(list(ledger.events())) == ledger.size == 22


def test_keys_and_erasures_stay(ledger):
    ledger.append_many([picture(number) for number in range(3)])
    ledger.erase([1], "pruned", what="whole")
    for seqs in ([0], [2, 4], [99], [2, -1]):
        with pytest.raises(LedgerError):
            ledger.erase(seqs, "pruned", what="whole")
    assert not ledger.event(2).erased
    assert ledger.size == 5
    assert [event.type for event in ledger.events()][-1] == events.EVENT_ERASED
    assert verify_ledger(ledger).sound
