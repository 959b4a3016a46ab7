"""A process that appends for ever and says what was acknowledged, until it is killed: ledger_writer.py LEDGER NAME"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ledger_samples import picture

from provenance_guard.ledger import Ledger, heads
from provenance_guard.signing import Signer


def write(path: Path) -> None:
    heads.CHECKPOINT_EVENTS = 16
    signer = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    ledger = Ledger.open(path, signer)
    while True:
        group = [picture(random.randrange(1 << 40)) for _ in range(random.choice((1, 1, 1, 5, 40)))]
        acknowledged = ledger.append_many(group)
        sys.stdout.write("".join(f"{event.seq} {event.leaf_hash.hex()}\n" for event in acknowledged))
        sys.stdout.flush()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
