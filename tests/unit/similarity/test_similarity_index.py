from __future__ import annotations

import numpy as np
import pytest
import torch

from provenance_guard.similarity import index
from provenance_guard.similarity.index import ExactIndex, HashIndex


def _unit(random: np.random.Generator, count: int, size: int) -> np.ndarray:
    vectors = random.standard_normal((count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(params=[torch.float32, torch.bfloat16])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    monkeypatch.setattr(index, "fastest_type", lambda device: request.param)
    return request.param


@pytest.mark.parametrize("rows", [0, 1, 2, 1000])
@pytest.mark.parametrize("stored_as", [np.float32, np.float16])
def test_exact_search_finds_what_sorting_finds(
    rows: int, stored_as: type, kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_CHUNK_ROWS", 300)  # Several chunks, the last one shorter.
    random = np.random.default_rng(rows)
    stored, queries = _unit(random, rows, 32).astype(stored_as), _unit(random, 7, 32)
    scores, places = ExactIndex(stored).search(queries, 10)
    products = queries @ stored.astype(np.float32).T
    assert scores == pytest.approx(np.sort(products, axis=1)[:, ::-1][:, :10], abs=1e-6)
    assert np.take_along_axis(products, places, axis=1) == pytest.approx(scores, abs=1e-6)


def test_a_grown_index_takes_over_what_was_converted_and_leaves_out_what_is_unused(
    kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_CHUNK_ROWS", 100)
    random = np.random.default_rng(3)
    stored, queries = _unit(random, 560, 32), _unit(random, 4, 32)
    before = ExactIndex(stored[:250])
    before.search(queries, 10)
    converted: list[int] = []
    multiplier = index._multiplier
    monkeypatch.setattr(
        index, "_multiplier", lambda rows, device: converted.append(len(rows)) or multiplier(rows, device)
    )
    used = random.random(560) < 0.7
    used[300:400] = False  # A whole chunk.
    grown = ExactIndex(stored, used=used, before=before)
    scores, places = grown.search(queries, 10)
    assert converted == [100, 100, 100, 60]
    assert len(grown) == used.sum()
    products = np.where(used, queries @ stored.T, -2)
    assert scores == pytest.approx(np.sort(products, axis=1)[:, ::-1][:, :10], abs=1e-6)
    assert used[places].all()
    few = np.arange(560) < 3
    assert sorted(ExactIndex(stored, used=few, before=grown).search(queries[:1], 10)[1][0].tolist()) == [0, 1, 2]


def test_rows_that_half_precision_cannot_tell_apart_are_ranked_right(kind: torch.dtype) -> None:
    random = np.random.default_rng(1)
    query = _unit(random, 1, 64)
    stored = np.repeat(query, 500, axis=0)
    stored[:, 0] += np.linspace(-1e-4, 1e-4, 500, dtype=np.float32)
    random.shuffle(stored)
    _, places = ExactIndex(stored).search(query, 10)
    assert places[0].tolist() == np.argsort(-(stored @ query[0]), kind="stable")[:10].tolist()


def test_vectors_of_any_length_are_searched(kind: torch.dtype) -> None:
    random = np.random.default_rng(2)
    stored = random.standard_normal((400, 16)).astype(np.float32) * 10 ** random.uniform(-2, 2, (400, 1)).astype(
        np.float32
    )
    queries = random.standard_normal((3, 16)).astype(np.float32) * 50
    scores, _ = ExactIndex(stored).search(queries, 5)
    assert scores == pytest.approx(np.sort(queries @ stored.T, axis=1)[:, ::-1][:, :5], rel=1e-5)


@pytest.mark.parametrize("rows", [0, 1, 3, 2000])
def test_nearest_hashes_are_those_with_fewest_differing_bits(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_CHUNK_ROWS", 700)
    random = np.random.default_rng(rows)
    stored, queries = (random.integers(0, 256, (count, 32), dtype=np.uint8) for count in (rows, 5))
    bits, places = HashIndex(stored).search(queries, 10)
    distances = np.unpackbits(stored[None] ^ queries[:, None], axis=2).sum(axis=2)
    assert bits.tolist() == np.sort(distances, axis=1)[:, :10].tolist()
    assert np.take_along_axis(distances, places, axis=1).tolist() == bits.tolist()
