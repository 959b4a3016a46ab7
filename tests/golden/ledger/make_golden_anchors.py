"""Writes the golden file of anchors, once per version: python tests/golden/ledger/make_golden_anchors.py (needs openssl)

A real token of a real (if short-lived) authority cannot be made twice, so this file is never written again: it shows that what was
kept with version 1 can still be read and checked, long after.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

import make_golden  # noqa: E402
from time_authority import TimeAuthority, online  # noqa: E402

from provenance_guard.clock import utc_now  # noqa: E402
from provenance_guard.config import Authority, TimeStamping  # noqa: E402
from provenance_guard.ledger import Ledger  # noqa: E402
from provenance_guard.ledger.anchors.acceptance import accept  # noqa: E402
from provenance_guard.ledger.anchors.evidence import CheckpointBundle, outside_evidence  # noqa: E402
from provenance_guard.ledger.anchors.keeping import kept_anchors  # noqa: E402
from provenance_guard.ledger.anchors.queue import anchor_newest  # noqa: E402
from provenance_guard.ledger.witness import CosignRequest, Witness, WitnessBook  # noqa: E402
from provenance_guard.signing import Signer  # noqa: E402

WITNESS = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as scratch,
        online(TimeAuthority(Path(scratch, "tsa"), "Golden TSA")) as authority,
    ):
        path = Path(scratch, "ledger.sqlite3")
        make_golden.write_ledger(path)
        with Ledger.open(path, make_golden.SIGNER) as ledger:
            checkpoint = ledger.checkpoints()[0]
            book = WitnessBook(Path(scratch, "book"))
            request = CosignRequest(0, (), checkpoint)
            key = make_golden.SIGNER.public_bytes
            signed = book.cosign(request, "example.org/witness", WITNESS, utc_now(), log_key=key)
            accept(ledger, signed.text(), [])
            anchor_newest(ledger, TimeStamping((Authority(authority.url, authority.roots),)))
            stored = ledger.checkpoints()[0]
            proof = CosignRequest(3, tuple(ledger.consistency_proof(3, stored.size)), stored)
            evidence = outside_evidence(ledger, [2, 3])
            assert evidence
            document = {
                "public_key": make_golden.SIGNER.public_bytes.hex(),
                "witness": Witness("example.org/witness", WITNESS.public_bytes).text(),
                "root": authority.roots.read_text(encoding="ascii"),
                "bundle": CheckpointBundle(stored, tuple(kept_anchors(ledger, stored.size))).to_json(),
                "evidence": evidence.to_json(),
                "request": proof.text(),
            }
    (HERE / "anchors-1.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
