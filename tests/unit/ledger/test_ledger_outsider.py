"""A verifier as an outsider would write it from docs/ledger.md, with nothing of ours: it must come to the same answer."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pymerkle
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from ledger_samples import picture

from provenance_guard.ledger import Ledger, verify_ledger


def tree_root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + tree_root(leaves[:split]) + tree_root(leaves[split:])).digest()


def check_note(note: str, public_key: bytes) -> tuple[int, bytes]:
    """Size and root of a checkpoint; raises InvalidSignature unless it is signed with the key."""
    body, lines = note[: note.rindex("\n\n") + 1], note[note.rindex("\n\n") + 2 :].splitlines()
    origin, size, root = body.splitlines()
    key_id = hashlib.sha256(origin.encode() + b"\n\x01" + public_key).digest()[:4]
    for line in lines:
        _, name, encoded = line.split(" ")
        signature = base64.b64decode(encoded)
        if name == origin and signature[:4] == key_id:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature[4:], body.encode())
            return int(size), base64.b64decode(root)
    raise InvalidSignature


def follow(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """The root that an inclusion proof leads to, by recursion over the definition of the tree."""
    if size == 1:
        assert not path
        return leaf
    split = 1
    while split * 2 < size:
        split *= 2
    if index < split:
        return hashlib.sha256(b"\x01" + follow(leaf, index, split, path[:-1]) + path[-1]).digest()
    return hashlib.sha256(b"\x01" + path[-1] + follow(leaf, index - split, size - split, path[:-1])).digest()


def check_file(path: Path, public_key: bytes) -> bytes:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT seq, tree, bytes, openings FROM event ORDER BY seq").fetchall()
        notes = connection.execute("SELECT note FROM checkpoint").fetchall()
    leaves: list[bytes] = []
    for number, (seq, tree, stored, openings) in enumerate(rows):
        document = json.loads(stored)
        leaf = hashlib.sha256(b"\x00" + stored).digest()
        assert (seq, document["seq"], document["version"]) == (number, number, 1)
        assert document["previous"] == (leaves[-1].hex() if leaves else "0" * 64)
        leaves.append(leaf)
        for height in range(len(tree) // 32):
            assert tree[32 * height : 32 * height + 32] == tree_root(leaves[-(1 << height) :])
        for opening in json.loads(openings or "[]"):
            assert hashlib.sha256(opening.encode()).hexdigest().encode() in stored
    for (note,) in notes:
        size, root = check_note(note, public_key)
        assert root == tree_root(leaves[:size])
    return tree_root(leaves)


def test_an_outsider_agrees(filled, signer, tamper):
    report = verify_ledger(filled, public_keys=[signer.public_bytes])
    assert report.sound
    assert check_file(filled, signer.public_bytes) == report.root
    with Ledger.open_read_only(filled) as ledger:
        oracle = pymerkle.InmemoryTree(algorithm="sha256")
        for event in ledger.events():
            oracle.append_entry(event.stored)
    assert (oracle.get_root() if hasattr(oracle, "get_root") else oracle.get_state()) == report.root
    tamper(filled, "UPDATE checkpoint SET note = replace(note, ' ', '  ') WHERE size = 21")
    with pytest.raises((InvalidSignature, ValueError)):
        check_file(filled, signer.public_bytes)


def test_an_outsider_follows_a_proof(path, signer):
    with Ledger.open(path, signer) as ledger:
        for size in range(1, 20):
            ledger.append_many([picture(size)])
            for event in ledger.events():
                proof = ledger.proof(event.seq)
                leaf = hashlib.sha256(b"\x00" + event.stored).digest()
                nodes = [bytes.fromhex(node) for node in proof["path"]]
                expected = check_note(proof["checkpoint"], signer.public_bytes)
                assert (proof["tree_size"], follow(leaf, proof["index"], proof["tree_size"], nodes)) == expected
