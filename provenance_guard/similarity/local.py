"""The local features of a library, loaded and ready to vote. A changed library takes over what was loaded before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from provenance_guard.similarity import features, vocabulary, voting
from provenance_guard.similarity.features import LocalFeatures
from provenance_guard.similarity.segments import Rows
from provenance_guard.similarity.voting import ExhaustiveIndex, InvertedIndex

_ADDED_AT_ONCE = 512
_ADDED_PART = 8
"""What was added later is kept apart, up to so many references or this part of the library."""


class LocalLibrary:
    """References by their local features, numbered like the rows of the store."""

    def __init__(self, rows: Rows, words: Rows, device: torch.device, before: LocalLibrary | None) -> None:
        """``rows`` are packed features, ``words`` their visual words; ``before`` is the library as it was loaded until now."""
        self._rows = rows
        self._device = device
        self._base: InvertedIndex | ExhaustiveIndex
        self._base_count: int
        count = len(rows.contents)
        known = before._base_count if before is not None and before._rows.file == rows.file else 0
        if before is None or count < known or count - known > max(_ADDED_AT_ONCE, known // _ADDED_PART):
            known = 0
        if before is not None and known:
            self._base, self._base_count = before._base, known
        else:
            self._base, self._base_count = self._build(words, slice(0, count)), count
        self._index = self._base
        if self._base_count < count:
            self._index = self._extend(words, slice(self._base_count, count))

    def __len__(self) -> int:
        return len(self._rows.contents)

    def votes(
        self, variants: Sequence[LocalFeatures], used: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], list[NDArray[np.bool_]]]:
        """See ``voting.count_votes``."""
        return voting.count_votes(self._index, variants, used)

    def content(self, number: int) -> int:
        """The content that a reference number stands for."""
        return int(self._rows.contents[number])

    def numbers_of(self, content: int) -> list[int]:
        """The reference numbers of a content: one, or none."""
        found: list[int] = np.flatnonzero(self._rows.contents == content).tolist()
        return found

    def features_of(self, number: int) -> LocalFeatures:
        """The features of one reference."""
        return features.unpack(self._rows.data[number])

    def _build(self, words: Rows, span: slice) -> InvertedIndex | ExhaustiveIndex:
        descriptors = features.unpack_descriptors(self._rows.data[span])
        if self._device.type == "cpu":
            return InvertedIndex(descriptors, self._words(words, span))
        return ExhaustiveIndex(descriptors, self._device)

    def _extend(self, words: Rows, span: slice) -> InvertedIndex | ExhaustiveIndex:
        descriptors = features.unpack_descriptors(self._rows.data[span])
        if isinstance(self._base, InvertedIndex):
            return self._base.extended(descriptors, self._words(words, span))
        return self._base.extended(descriptors)

    def _words(self, words: Rows, span: slice) -> NDArray[np.uint16]:
        """The words of rows of features; a content has its own row among the words, most often the same."""
        contents = self._rows.contents[span]
        places = np.arange(span.start, span.stop)
        if span.stop > len(words.contents) or not np.array_equal(words.contents[span], contents):
            order = np.argsort(words.contents, kind="stable")
            found = np.searchsorted(words.contents, contents, sorter=order).clip(max=len(order) - 1)
            places = order[found]
        table = words.data[places].view("<u2").astype(np.uint16)
        table[words.contents[places] != contents] = vocabulary.UNUSED  # Of rows that were dropped.
        return table
