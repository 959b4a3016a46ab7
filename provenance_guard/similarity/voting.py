"""Voting by local features: each feature of a query votes for the references that hold one like it.

On a CPU the features of the library stand in lists by visual word (an inverted file, Sivic and Zisserman 2003), and a query feature is
compared with those in the lists of its nearest words only; small libraries are compared as a whole. On a GPU everything is compared
with everything, in chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from provenance_guard.similarity import features, vocabulary
from provenance_guard.similarity.features import LocalFeatures
from provenance_guard.similarity.index import fits

RANKS = 10
"""References that are told for each feature of a query."""

_BACKGROUND = 4
"""From this rank on (of ``RANKS``), a reference only resembles the feature by chance."""

_LEAST_COSINE = 0.7
_COMMON_COSINE = 0.9
_HALF = features.REFERENCE_COUNT // 2
_COMPARE_ALL = 1 << 13
_COMPARED_ROWS = 6000
_FEWEST_LISTS, _MOST_LISTS = 4, 24
_ROWS_OF_A_QUERY = 96
_CROWDED = 32
_MOST_WORKERS = 4

_REFERENCE_BITS, _COSINE_BITS, _PLACE_BITS = 24, 17, 9
_ONE = (1 << _COSINE_BITS) - 1
_CHUNK_VALUES = 1 << 25
"""Scores computed at once: 64 MB in half precision."""


@dataclass(frozen=True)
class Hits:
    """What features of a query found: hit ``i`` says that feature ``queries[i]`` is like feature ``places[i]`` of reference
    ``references[i]``, with the cosine ``cosines[i]``, above a least one. Sorted by feature, best first; each reference once a feature.
    ``rows`` tells for each feature how many rows were found, several of one reference among them."""

    queries: NDArray[np.int64]
    references: NDArray[np.int64]
    places: NDArray[np.int64]
    cosines: NDArray[np.float32]
    rows: NDArray[np.int64]

    def ranks(self) -> NDArray[np.int64]:
        """The rank of each hit among those of its feature, from 0."""
        return np.arange(len(self.queries)) - np.searchsorted(self.queries, self.queries)

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Hits:
        """The hits for which ``chosen`` is true, or those with these numbers."""
        return Hits(self.queries[chosen], self.references[chosen], self.places[chosen], self.cosines[chosen], self.rows)


class FeatureIndex(Protocol):
    """Finds the references that hold a feature like each of a query's. References are numbered in the order they were added."""

    def __len__(self) -> int: ...

    def find(self, descriptors: NDArray[np.int8], bright: bool, used: NDArray[np.bool_]) -> Hits:
        """The best ``RANKS`` of the ``used`` references for each of the ``descriptors`` (n, 128) of bright or dark blobs."""


@dataclass(frozen=True)
class _Lists:
    """Descriptors sorted by visual word: those of word ``w`` are ``rows[starts[w] : starts[w + 1]]``; ``owners`` and ``places`` tell
    the reference and the place in it."""

    rows: torch.Tensor
    owners: NDArray[np.int32]
    places: NDArray[np.int16]
    starts: NDArray[np.int64]

    @classmethod
    def build(
        cls, descriptors: NDArray[np.int8], words: NDArray[np.uint16], numbers: NDArray[np.int64], half: int
    ) -> _Lists:
        """From the bright (0) or dark (1) half of references (r, 300, 128), which get these numbers."""
        places = slice(half * _HALF, (half + 1) * _HALF)
        flat = words[:, places].reshape(-1)
        order = np.argsort(flat, kind="stable")
        starts = np.searchsorted(flat[order], np.arange(vocabulary.size() + 1))
        order = order[: starts[-1]]
        rows = descriptors[:, places].reshape(-1, features.DESCRIPTOR)[order]
        owners = numbers[order // _HALF].astype(np.int32)
        return cls(torch.from_numpy(rows), owners, (order % _HALF + half * _HALF).astype(np.int16), starts)


class InvertedIndex:
    """Lists by visual word, for a CPU. What is added later stands in lists of its own until these are too long."""

    def __init__(self, descriptors: NDArray[np.int8], words: NDArray[np.uint16]) -> None:
        """``descriptors`` (references, 300, 128), bright blobs in the first half; ``words`` (references, 300)."""
        self._count = len(descriptors)
        self._halves = [[_Lists.build(descriptors, words, np.arange(self._count), half)] for half in (0, 1)]

    def __len__(self) -> int:
        return self._count

    def extended(self, descriptors: NDArray[np.int8], words: NDArray[np.uint16]) -> InvertedIndex:
        """This index with more references behind its own, which it shares."""
        longer = InvertedIndex(descriptors, words)
        longer._count += self._count
        for half, parts in enumerate(longer._halves):
            added = parts[0]
            parts[0] = _Lists(added.rows, added.owners + np.int32(self._count), added.places, added.starts)
            parts[:0] = self._halves[half]
        return longer

    def find(self, descriptors: NDArray[np.int8], bright: bool, used: NDArray[np.bool_]) -> Hits:
        """See ``FeatureIndex``."""
        parts = self._halves[0 if bright else 1]
        wanted = torch.from_numpy(descriptors).float() / features.SCALE
        found = [entry for part in parts if len(part.rows) and len(wanted) for entry in _search(wanted, part)]
        return _best_references(found, len(wanted), used)


class ExhaustiveIndex:
    """Compares everything with everything, on a device that multiplies matrices fast."""

    def __init__(self, descriptors: NDArray[np.int8], device: torch.device) -> None:
        """``descriptors`` (references, 300, 128), bright blobs in the first half."""
        self._device = device
        home = device if fits(descriptors.nbytes, device) else torch.device("cpu")
        self._parts = [torch.from_numpy(np.ascontiguousarray(descriptors)).to(home)]

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def extended(self, descriptors: NDArray[np.int8]) -> ExhaustiveIndex:
        """This index with more references behind its own, which it shares."""
        longer = ExhaustiveIndex(descriptors, self._device)
        longer._parts[:0] = self._parts
        return longer

    def find(self, descriptors: NDArray[np.int8], bright: bool, used: NDArray[np.bool_]) -> Hits:
        """See ``FeatureIndex``."""
        if not len(descriptors):
            return _best_references([], 0, used)
        kind = torch.float16 if self._device.type == "cuda" else torch.float32
        # One side at length 1 (exact: a power of two), or the product of equals would overflow half precision.
        wanted = torch.from_numpy(descriptors).to(device=self._device, dtype=kind) / features.SCALE
        places = slice(0, _HALF) if bright else slice(_HALF, None)
        step = max(_CHUNK_VALUES // max(len(wanted) * _HALF, 1), 1)
        found, first = [], 0
        for part in self._parts:
            for start in range(0, len(part), step):
                chunk = part[start : start + step, places].to(self._device)
                rows = chunk.reshape(-1, features.DESCRIPTOR).to(kind)
                best = (wanted @ rows.T).view(len(wanted), len(chunk), _HALF).max(dim=2)
                top = best.values.topk(min(2 * RANKS, len(chunk)), dim=1)
                place = best.indices.gather(1, top.indices) + (0 if bright else _HALF)
                cosines = top.values.float() / features.SCALE
                owners = top.indices + first + start
                queries = torch.arange(len(wanted), device=self._device)[:, None].expand_as(owners)
                flat = [values.reshape(-1).cpu().numpy() for values in (queries, owners, place, cosines)]
                found.append((flat[0], flat[1], flat[2], flat[3]))
            first += len(part)
        return _best_references(found, len(wanted), used)


_Found = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Hits in no order: features, references, places, cosines."""


def count_votes(
    index: FeatureIndex, variants: Sequence[LocalFeatures], used: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], list[NDArray[np.bool_]]]:
    """How much speaks for each reference, shape (variants, references), and for each variant which of its features are common.

    A feature's vote is how far its best cosine in a reference rises above what it reaches in most other references. It is
    common when it is found in more than five references: part of a watermark or a caption, not of a picture. Only references that
    are ``used`` (references) take part.
    """
    total = np.zeros((len(variants), len(index)), np.float32)
    common = [np.zeros(len(variant), np.bool_) for variant in variants]
    for bright in (True, False):
        chosen = [np.flatnonzero(variant.bright == bright) for variant in variants]
        owner = np.repeat(np.arange(len(variants)), [len(rows) for rows in chosen])
        descriptors = [variant.descriptors[rows] for variant, rows in zip(variants, chosen, strict=True)]
        hits = index.find(np.concatenate(descriptors), bright, used)
        background = _background(hits, len(owner), int(used.sum()))
        weights = np.maximum(hits.cosines - background[hits.queries], 0)
        np.add.at(total, (owner[hits.queries], hits.references), weights)
        shared = background > _COMMON_COSINE
        for number, rows in enumerate(chosen):
            common[number][rows] = shared[owner == number]
    return total, common


def _background(hits: Hits, queries: int, references: int) -> NDArray[np.float32]:
    """What each feature reaches in references that do not hold it: the mean of ranks 5 to 10, at least a fixed cosine."""
    ranks = hits.ranks()
    last = min(RANKS, references) - _BACKGROUND
    if last <= 0:
        return np.full(queries, _LEAST_COSINE, np.float32)
    behind = ranks >= _BACKGROUND
    total = np.bincount(hits.queries[behind], hits.cosines[behind], queries)
    found = np.bincount(hits.queries[behind], minlength=queries)
    # Where one texture fills the lists, the lowest hit stands for the references that were not found.
    last_hit = np.full(queries, _LEAST_COSINE)
    last_hit[hits.queries] = hits.cosines  # Best first: the last one stays.
    lowest = np.where(hits.rows >= _CROWDED, last_hit, _LEAST_COSINE)
    return np.maximum((total + (last - found) * lowest) / last, _LEAST_COSINE).astype(np.float32)


def _search(wanted: torch.Tensor, part: _Lists) -> list[_Found]:
    if len(part.rows) <= _COMPARE_ALL:
        return [_compare(wanted, np.arange(len(wanted)), part, (0, len(part.rows)), _ROWS_OF_A_QUERY)]
    mean = len(part.rows) / vocabulary.size()
    lists = int(np.clip(_COMPARED_ROWS / mean, _FEWEST_LISTS, _MOST_LISTS))
    words = vocabulary.nearest_words(wanted, lists).reshape(-1)
    order = np.argsort(words, kind="stable")
    queries = order // lists
    cuts = np.searchsorted(words[order], np.arange(vocabulary.size() + 1))

    def search(chosen: NDArray[np.int64]) -> list[_Found]:
        found = []
        for word in chosen.tolist():
            here, start, end = queries[cuts[word] : cuts[word + 1]], part.starts[word], part.starts[word + 1]
            if len(here) and end > start:
                found.append(_compare(wanted, here, part, (start, end), _ROWS_OF_A_QUERY // lists))
        return found

    workers = min(_MOST_WORKERS, torch.get_num_threads())
    shares = [np.arange(worker, vocabulary.size(), workers) for worker in range(workers)]
    return [entry for found in _pool().map(search, shares) for entry in found]


def _compare(
    wanted: torch.Tensor, queries: NDArray[np.int64], part: _Lists, span: tuple[int, int], count: int
) -> _Found:
    """The ``count`` nearest rows of a span for some of the wanted descriptors."""
    start, end = span
    products = wanted[torch.from_numpy(queries)] @ part.rows[start:end].float().T
    top = products.topk(min(count, end - start), dim=1)
    cosines = top.values.numpy().reshape(-1) / np.float32(features.SCALE)
    like = cosines > _LEAST_COSINE
    rows = top.indices.numpy().reshape(-1)[like] + start
    return np.repeat(queries, top.values.shape[1])[like], part.owners[rows], part.places[rows], cosines[like]


def _best_references(found: Sequence[_Found], count: int, used: NDArray[np.bool_]) -> Hits:
    """For each of ``count`` features its best hit in each used reference, the best ``RANKS`` of them."""
    if not found:
        nothing = np.zeros(0, np.int64)
        return Hits(nothing, nothing, nothing, np.zeros(0, np.float32), np.zeros(count, np.int64))
    queries, references, places, cosines = (np.concatenate(column) for column in zip(*found, strict=True))
    queries, references = queries.astype(np.int64), references.astype(np.int64)
    rows = np.bincount(queries, minlength=count)
    # One number for each hit sorts by feature, reference, falling cosine, place; cosines are whole numbers of 1 / SCALE**2.
    missing = _ONE - np.rint(cosines * np.float32(features.SCALE**2)).astype(np.int64)
    group = queries << _REFERENCE_BITS | references
    keys = (group << _COSINE_BITS | missing) << _PLACE_BITS | places.astype(np.int64)
    keys = np.sort(keys[used[references]])
    keys = keys[np.diff(keys >> (_COSINE_BITS + _PLACE_BITS), prepend=-1) != 0]
    group, missing = keys >> (_COSINE_BITS + _PLACE_BITS), keys >> _PLACE_BITS & (1 << _COSINE_BITS) - 1
    order = np.argsort((group >> _REFERENCE_BITS) << _COSINE_BITS | missing, kind="stable")
    group, missing = group[order], missing[order]
    hits = Hits(
        group >> _REFERENCE_BITS,
        group & (1 << _REFERENCE_BITS) - 1,
        keys[order] & (1 << _PLACE_BITS) - 1,
        ((_ONE - missing) / features.SCALE**2).astype(np.float32),
        rows,
    )
    return hits.select(hits.ranks() < RANKS)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST_WORKERS, thread_name_prefix="similarity")
