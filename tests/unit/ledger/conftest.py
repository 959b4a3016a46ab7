"""Ledgers on the disk, and ways to harm them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ledger_samples import picture

from provenance_guard.ledger import Ledger
from provenance_guard.signing import Signer


@pytest.fixture
def signer() -> Signer:
    return Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data folder 数据" / "ledger.sqlite3"


@pytest.fixture
def ledger(path: Path, signer: Signer) -> Iterator[Ledger]:
    with Ledger.open(path, signer) as opened:
        yield opened


@pytest.fixture
def filled(path: Path, signer: Signer) -> Path:
    """A closed ledger of 41 events: the key, then forty pictures; checkpoints over 11, 21 and 41 events."""
    with Ledger.open(path, signer) as ledger:
        for start in (0, 10, 20, 30):
            ledger.append_many([picture(number) for number in range(start, start + 10)])
            if start < 20:
                ledger.checkpoint()
    return path


@pytest.fixture
def tamper() -> Callable[..., None]:
    """Runs SQL on a ledger behind its back."""

    def run(path: Path, *statements: str | tuple[str, tuple]) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in statements:
                query, values = (statement, ()) if isinstance(statement, str) else statement
                connection.execute(query, values)

    return run
