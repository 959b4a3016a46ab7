"""The tree against its definition, against pymerkle, and against every kind of wrong proof."""

from __future__ import annotations

import hashlib

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_guard.ledger import merkle

LARGEST = 70


def leaves(count: int) -> list[bytes]:
    return [merkle.leaf_hash(b"leaf %d" % number) for number in range(count)]


def root_by_definition(hashes: list[bytes]) -> bytes:
    """MTH of RFC 9162, section 2.1.1, word by word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = max(1 << power for power in range(32) if 1 << power < len(hashes))
    return merkle.node_hash(root_by_definition(hashes[:split]), root_by_definition(hashes[split:]))


class Nodes:
    """Complete subtrees as ``completed_nodes`` makes them, one leaf at a time."""

    def __init__(self, hashes: list[bytes]) -> None:
        self.known: dict[tuple[int, int], bytes] = {}
        for index, leaf in enumerate(hashes):
            for level, value in enumerate(merkle.completed_nodes(index, leaf, self)):
                self.known[level, index >> level] = value

    def __call__(self, level: int, index: int) -> bytes:
        return self.known[level, index]


NODES = Nodes(leaves(LARGEST))
ROOTS = [root_by_definition(leaves(size)) for size in range(LARGEST + 1)]


def oracle(count: int) -> pymerkle.InmemoryTree:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for number in range(count):
        tree.append_entry(b"leaf %d" % number)
    return tree


def test_known_answers():
    assert merkle.EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    # The eight-leaf tree that the certificate transparency code bases test with.
    data = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    hashes = [merkle.leaf_hash(bytes.fromhex(text)) for text in data]
    expected = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    assert merkle.tree_root(8, Nodes(hashes)).hex() == expected


@pytest.mark.parametrize("size", range(LARGEST + 1))
def test_root_is_that_of_the_definition(size):
    frontier = merkle.Frontier()
    for leaf in leaves(size):
        frontier.append(leaf)
    assert merkle.tree_root(size, NODES) == frontier.root() == ROOTS[size]


def test_frontier_completes_the_same_nodes():
    frontier = merkle.Frontier()
    for index, leaf in enumerate(leaves(LARGEST)):
        assert frontier.append(leaf) == merkle.completed_nodes(index, leaf, NODES)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 33, 64, LARGEST])
def test_roots_and_paths_agree_with_pymerkle(size):
    tree = oracle(size)
    their_root = tree.get_root if hasattr(tree, "get_root") else tree.get_state  # renamed in pymerkle 7
    assert their_root() == ROOTS[size]
    for index in range(size):
        theirs = tree.prove_inclusion(index + 1).serialize()["path"][1:]
        assert [node.hex() for node in merkle.inclusion_path(index, size, NODES)] == theirs


def test_every_inclusion_proof_verifies():
    for size in range(1, LARGEST + 1):
        for index in range(size):
            path = merkle.inclusion_path(index, size, NODES)
            assert len(path) == merkle.inclusion_length(index, size)
            assert merkle.verify_inclusion(leaves(size)[index], index, size, path, ROOTS[size])


def test_every_consistency_proof_verifies():
    for new in range(LARGEST + 1):
        for old in range(new + 1):
            path = merkle.consistency_path(old, new, NODES)
            assert len(path) == merkle.consistency_length(old, new)
            assert merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], path)


def test_an_inclusion_proof_holds_for_nothing_else():
    hashes = leaves(LARGEST)
    for size in range(1, 20):
        for index in range(size):
            path = merkle.inclusion_path(index, size, NODES)
            for other in (number for number in range(LARGEST) if number != index):
                assert not merkle.verify_inclusion(hashes[other], index, size, path, ROOTS[size])
                assert not merkle.verify_inclusion(hashes[index], other, size, path, ROOTS[size])
            for other_size in (number for number in range(1, 24) if number != size):
                assert not merkle.verify_inclusion(hashes[index], index, other_size, path, ROOTS[other_size])
            assert not merkle.verify_inclusion(hashes[index], index, size, [*path, ROOTS[3]], ROOTS[size])
            assert not merkle.verify_inclusion(hashes[index], index, size, path[:-1], ROOTS[size]) or not path


@given(st.integers(1, LARGEST), st.data())
@settings(max_examples=150, deadline=None)
def test_a_consistency_proof_holds_for_nothing_else(new, data):
    old = data.draw(st.integers(1, new))
    path = merkle.consistency_path(old, new, NODES)
    wrong = data.draw(st.integers(0, LARGEST).filter(lambda size: size not in (old, new)))
    assert not merkle.verify_consistency(old, new, ROOTS[wrong], ROOTS[new], path)
    assert not merkle.verify_consistency(old, new, ROOTS[old], ROOTS[wrong], path)
    assert not merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], [*path, ROOTS[1]])
    if path:
        place, bit = data.draw(st.integers(0, len(path) - 1)), data.draw(st.integers(0, 255))
        path[place] = (int.from_bytes(path[place], "big") ^ 1 << bit).to_bytes(32, "big")
        assert not merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], path)


@given(st.integers(-3, 1 << 65), st.integers(-3, 1 << 65), st.lists(st.binary(max_size=40), max_size=70))
@settings(max_examples=150, deadline=None)
def test_verification_of_nonsense_is_a_plain_no(index, size, path):
    assert not merkle.verify_inclusion(b"x", index, size, path, b"y")
    if not index == size >= 0 and index != 0:
        assert not merkle.verify_consistency(index, size, b"x", b"y", path)


def test_impossible_proofs_are_refused():
    with pytest.raises(ValueError, match="not in a tree"):
        merkle.inclusion_path(5, 5, NODES)
    with pytest.raises(ValueError, match="cannot come before"):
        merkle.consistency_path(6, 5, NODES)
