"""The format is for ever: these bytes must come out, and this file must be read, whatever changes."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from provenance_guard.ledger import Checkpoint, Ledger, merkle, verify_ledger, verify_proof

GOLDEN = Path(__file__).parents[2] / "golden" / "ledger"
sys.path.insert(0, str(GOLDEN))

import make_golden  # noqa: E402

EXPECTED = json.loads((GOLDEN / "version-1.json").read_text(encoding="utf-8"))


def test_the_same_events_make_the_same_bytes(path):
    assert make_golden.write_ledger(path) == EXPECTED


def test_a_file_of_version_1_is_read_and_continued(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    shutil.copy(GOLDEN / "version-1.sqlite3", path)
    key = bytes.fromhex(EXPECTED["public_key"])
    report = verify_ledger(path, public_keys=[key], known_checkpoints=EXPECTED["checkpoints"])
    assert report.sound
    assert report.signed_size == report.size == 6
    with Ledger.open(path, make_golden.SIGNER) as ledger:
        assert [event.stored.decode() for event in ledger.events()] == EXPECTED["leaves"]
        assert ledger.event(2).openings == (make_golden.OPENING,)
        assert ledger.append("note.added", {}).seq == 6
    assert verify_ledger(path, public_keys=[key], known_checkpoints=EXPECTED["checkpoints"]).sound


def test_proofs_of_version_1_hold():
    key = bytes.fromhex(EXPECTED["public_key"])
    assert verify_proof(EXPECTED["proof_2"], EXPECTED["leaves"][2].encode(), public_keys=[key]).holds
    assert Checkpoint.parse(EXPECTED["checkpoints"][0]).verify(key)
    path = [bytes.fromhex(node) for node in EXPECTED["consistency_3"]]
    old, new = (bytes.fromhex(EXPECTED["roots"][size]) for size in (3, 6))
    assert merkle.verify_consistency(3, 6, old, new, path)
