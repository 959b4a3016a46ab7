from __future__ import annotations

import numpy as np
import pytest
import torch

from provenance_guard.similarity import features, index
from provenance_guard.similarity.features import LocalFeatures
from provenance_guard.similarity.index import ExactIndex, LocalIndex


def _unit(random: np.random.Generator, count: int, size: int) -> np.ndarray:
    vectors = random.standard_normal((count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _descriptors(random: np.random.Generator, *shape: int) -> np.ndarray:
    values = random.random((*shape, features.DESCRIPTOR)) ** 3
    return np.rint(values / np.linalg.norm(values, axis=-1, keepdims=True) * features.SCALE).astype(np.int8)


@pytest.mark.parametrize("rows", [0, 1, 2, 1000])
def test_exact_search_finds_what_sorting_finds(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_CHUNK_VALUES", 600)  # Several chunks, the last one shorter.
    random = np.random.default_rng(rows)
    stored, queries = _unit(random, rows, 32), _unit(random, 7, 32)
    scores, places = ExactIndex(stored).search(queries, 10)
    expected = np.sort(queries @ stored.T, axis=1)[:, ::-1][:, :10]
    assert scores == pytest.approx(expected, abs=1e-5)
    assert np.take_along_axis(queries @ stored.T, places, axis=1) == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_votes_go_to_the_reference_with_the_same_features(kind: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        torch.ones((2, 2), dtype=kind) @ torch.ones((2, 2), dtype=kind)
    except RuntimeError:
        pytest.skip("this torch has no such product on a CPU")
    monkeypatch.setattr(index, "fastest_type", lambda device: kind)
    monkeypatch.setattr(index, "_CHUNK_VALUES", 100_000)
    random = np.random.default_rng(3)
    stored = _descriptors(random, 12, features.REFERENCE_COUNT)
    query = LocalFeatures(np.zeros((40, 4), np.float32), stored[7, 130:170], np.arange(40) < 20)
    votes, common = LocalIndex(stored).votes([query])
    assert np.isfinite(votes).all()
    assert votes[0].argmax() == 7
    assert not common[0].any()
    # Bright blobs never vote for dark ones.
    swapped = LocalFeatures(query.points, query.descriptors, ~query.bright)
    assert LocalIndex(stored).votes([swapped])[0][0, 7] < votes[0, 7] / 4


def test_features_of_many_references_are_common() -> None:
    random = np.random.default_rng(4)
    stored = _descriptors(random, 12, features.REFERENCE_COUNT)
    stored[:, :20] = stored[0, :20]
    query = LocalFeatures(np.zeros((40, 4), np.float32), stored[7, :40], np.ones(40, np.bool_))
    _, common = LocalIndex(stored).votes([query])
    assert common[0].tolist() == [True] * 20 + [False] * 20
