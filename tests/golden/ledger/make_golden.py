"""Writes the golden files of the ledger, once per leaf format: python tests/golden/ledger/make_golden.py

The files of a version that was released are never written again: they show that it can still be read.
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from provenance_guard.ledger import Ledger, NewEvent, database, events, heads, store
from provenance_guard.signing import Signer

HERE = Path(__file__).parent
SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OPENING = '["pg-opening-1","00112233445566778899aabbccddeeff","/context/parameters/prompt","a lighthouse, 灯塔"]'
RECORD = "0123456789abcdef0123456789abcdef"
NEW_EVENTS = [
    NewEvent("session.started", {"provenance_guard": "0.1.0"}),
    NewEvent(
        "picture.released",
        {"record": {"pixel_sha256": "ab" * 32, "context": {"prompt": {"commitment": events.commitment(OPENING)}}}},
        RECORD,
        (OPENING,),
    ),
    NewEvent("picture.saved", {"file_name": "a b 图.png", "file_sha256": "cd" * 32, "pixel_sha256": "ab" * 32}, RECORD),
    NewEvent(
        "note.added", {"text": 'quotes " \\ / \x00 \u2028 \udc80', "numbers": [1, 1.0, 1e-7, 2**63, -0.0, True, None]}
    ),
    NewEvent("a.type.of.the.future", {}),
]


class Clock:
    """A second passes with every look at it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 8, 0, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def write_ledger(path: Path) -> dict:
    """Make the ledger at ``path`` with nothing left to chance, and describe it."""
    salts = (f"{number:032x}" for number in range(100))
    clock = Clock()
    opened = clock()  # what opening the file writes down costs no second, so later tables change no event
    with (
        mock.patch.object(events, "new_salt", lambda: next(salts)),
        mock.patch.object(store, "utc_now", clock),
        mock.patch.object(database, "utc_now", lambda: opened),
        mock.patch.object(heads, "utc_now", clock),
        mock.patch.object(database.secrets, "token_hex", lambda size: "00112233445566778899aabbccddeeff"),
    ):
        ledger = Ledger.open(path, SIGNER)
        for new in NEW_EVENTS:
            ledger.append(new.type, new.body, record_id=new.record_id, openings=new.openings)
        ledger.close()
    with Ledger.open_read_only(path) as ledger:
        size = ledger.size
        return {
            "leaves": [event.stored.decode("utf-8") for event in ledger.events()],
            "leaf_hashes": [event.leaf_hash.hex() for event in ledger.events()],
            "roots": [ledger.root(number).hex() for number in range(size + 1)],
            "inclusion_2": [node.hex() for node in ledger.inclusion_proof(2)],
            "consistency_3": [node.hex() for node in ledger.consistency_proof(3)],
            "checkpoints": [checkpoint.text() for checkpoint in ledger.checkpoints()],
            "proof_2": ledger.proof(2),
            "public_key": SIGNER.public_bytes.hex(),
        }


if __name__ == "__main__":
    targets = (HERE / "version-1.json", HERE / "version-1.sqlite3")
    if any(target.exists() for target in targets):
        sys.exit("The golden files are there. They are never written again.")
    with tempfile.TemporaryDirectory() as folder:
        described = write_ledger(Path(folder) / "ledger.sqlite3")
        with Ledger.open_read_only(Path(folder) / "ledger.sqlite3") as made:
            made.back_up(targets[1])
    targets[0].write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
