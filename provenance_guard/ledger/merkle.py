"""The Merkle tree of RFC 9162 (section 2.1): hashes, roots, inclusion and consistency proofs, and their verification.

Pure functions over ``node(level, index)``, which gives the hash of the complete subtree over the leaves
``index * 2**level`` to ``(index + 1) * 2**level - 1``. Complete subtrees never change, so a store keeps them and every
proof is a few look-ups.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

Node = Callable[[int, int], bytes]

_HEX = re.compile("[0-9a-f]{64}")


def is_hash(value: object) -> bool:
    """Whether a value is a hash in its text form: 64 lower-case hex digits."""
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of one leaf: SHA-256(0x00 || leaf) (RFC 9162, section 2.1.1)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an interior node: SHA-256(0x01 || left || right) (RFC 9162, section 2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def completed_nodes(index: int, leaf: bytes, node: Node) -> list[bytes]:
    """Hashes of every complete subtree whose last leaf is ``index``, from level 0 (the leaf hash itself) upwards."""
    nodes = [leaf]
    for level in range(trailing_zeros(index + 1)):
        left = node(level, (index >> level) - 1)
        nodes.append(node_hash(left, nodes[-1]))
    return nodes


def tree_root(size: int, node: Node) -> bytes:
    """Root hash of the first ``size`` leaves (RFC 9162, section 2.1.1)."""
    return _subtree_root(0, size, node) if size else EMPTY_ROOT


def inclusion_path(index: int, size: int, node: Node) -> list[bytes]:
    """Sibling hashes from the leaf ``index`` up to the root of ``size`` leaves (RFC 9162, section 2.1.3.1)."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_subtree_root(middle, end, node))
            end = middle
        else:
            path.append(_subtree_root(start, middle, node))
            start = middle
    return path[::-1]


def consistency_path(old_size: int, new_size: int, node: Node) -> list[bytes]:
    """Hashes that show the tree of ``old_size`` to be the start of the tree of ``new_size`` (RFC 9162, section 2.1.4.1)."""
    if not 0 <= old_size <= new_size:
        raise ValueError(f"a tree of {old_size} cannot come before a tree of {new_size}")
    if old_size in (0, new_size):
        return []
    path = []
    start, end = 0, new_size
    while old_size != end:
        middle = start + _split(end - start)
        if old_size <= middle:
            path.append(_subtree_root(middle, end, node))
            end = middle
        else:
            path.append(_subtree_root(start, middle, node))
            start = middle
    if start > 0:  # The old root itself is known to the verifier when the old tree is a complete subtree.
        path.append(_subtree_root(start, end, node))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether ``path`` leads from the leaf hash ``leaf`` at ``index`` to ``root`` (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size or len(path) != inclusion_length(index, size):
        return False
    position, last = index, size - 1
    computed = leaf
    for sibling in path:
        if position & 1 or position == last:
            computed = node_hash(sibling, computed)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            computed = node_hash(computed, sibling)
        position >>= 1
        last >>= 1
    return computed == root


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether ``path`` shows ``new_root`` to extend ``old_root`` (RFC 9162, section 2.1.4.2)."""
    if not 0 <= old_size <= new_size or len(path) != consistency_length(old_size, new_size):
        return False
    if old_size == new_size:
        return old_root == new_root
    if old_size == 0:
        return old_root == EMPTY_ROOT
    hashes = list(path)
    if old_size & (old_size - 1) == 0:
        hashes.insert(0, old_root)
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old_computed = new_computed = hashes[0]
    for sibling in hashes[1:]:
        if position & 1 or position == last:
            old_computed = node_hash(sibling, old_computed)
            new_computed = node_hash(sibling, new_computed)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            new_computed = node_hash(new_computed, sibling)
        position >>= 1
        last >>= 1
    return old_computed == old_root and new_computed == new_root


def inclusion_length(index: int, size: int) -> int:
    """How many hashes an inclusion proof of ``index`` in ``size`` leaves has: no more and no fewer are valid.

    Below the point where the paths of ``index`` and of the last leaf part, every level has a sibling; above it, only the
    levels where ``index`` is a right child.
    """
    shared = (index ^ (size - 1)).bit_length()
    return shared + (index >> shared).bit_count()


def consistency_length(old_size: int, new_size: int) -> int:
    """How many hashes a consistency proof has. It is the path of the old tree's last complete subtree, and that subtree."""
    if old_size in (0, new_size):
        return 0
    level = trailing_zeros(old_size)
    length = inclusion_length((old_size - 1) >> level, ((new_size - 1) >> level) + 1)
    return length if old_size == 1 << level else length + 1


class Frontier:
    """A tree that grows leaf by leaf and remembers only its complete subtrees, largest first."""

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[bytes] = []

    def append(self, leaf: bytes) -> list[bytes]:
        """Add a leaf hash; returns the subtrees that it completes, as ``completed_nodes`` does."""
        nodes = [leaf]
        for _ in range(trailing_zeros(self.size + 1)):
            nodes.append(node_hash(self._subtrees.pop(), nodes[-1]))
        self._subtrees.append(nodes[-1])
        self.size += 1
        return nodes

    def root(self) -> bytes:
        """Root hash of all leaves so far."""
        if not self._subtrees:
            return EMPTY_ROOT
        root = self._subtrees[-1]
        for subtree in reversed(self._subtrees[:-1]):
            root = node_hash(subtree, root)
        return root


def trailing_zeros(number: int) -> int:
    """How often two divides ``number`` (above zero)."""
    return (number & -number).bit_length() - 1


def _split(size: int) -> int:
    """The largest power of two smaller than ``size`` (above one)."""
    return 1 << ((size - 1).bit_length() - 1)


def _subtree_root(start: int, end: int, node: Node) -> bytes:
    size = end - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return node(level, start >> level)
    middle = start + _split(size)
    return node_hash(_subtree_root(start, middle, node), _subtree_root(middle, end, node))
