from __future__ import annotations

import numpy as np
import pytest
import torch

from provenance_guard.similarity import features, vocabulary, voting
from provenance_guard.similarity.features import LocalFeatures
from provenance_guard.similarity.voting import ExhaustiveIndex, FeatureIndex, InvertedIndex, count_votes


def _descriptors(random: np.random.Generator, *shape: int) -> np.ndarray:
    values = random.random((*shape, features.DESCRIPTOR)) ** 3
    return np.rint(values / np.linalg.norm(values, axis=-1, keepdims=True) * features.SCALE).astype(np.int8)


def _words(descriptors: np.ndarray) -> np.ndarray:
    return vocabulary.words_of(descriptors.reshape(-1, features.DESCRIPTOR)).reshape(descriptors.shape[:-1])


def _build(kind: str, descriptors: np.ndarray) -> FeatureIndex:
    if kind == "exhaustive":
        return ExhaustiveIndex(descriptors, torch.device("cpu"))
    if kind == "extended":
        first = InvertedIndex(descriptors[:9], _words(descriptors[:9]))
        return first.extended(descriptors[9:], _words(descriptors[9:]))
    return InvertedIndex(descriptors, _words(descriptors))


KINDS = ("inverted", "extended", "exhaustive")


def _everybody(stored: np.ndarray) -> np.ndarray:
    return np.ones(len(stored), np.bool_)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lists", [False, True])
def test_votes_go_to_the_reference_with_the_same_features(
    kind: str, lists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lists:
        monkeypatch.setattr(voting, "_COMPARE_ALL", 0)
    monkeypatch.setattr(voting, "_CHUNK_VALUES", 100_000)
    random = np.random.default_rng(3)
    stored = _descriptors(random, 12, features.REFERENCE_COUNT)
    query = LocalFeatures(np.zeros((40, 4), np.float32), stored[7, 130:170], np.arange(40) < 20)
    votes, common = count_votes(_build(kind, stored), [query], _everybody(stored))
    assert votes[0].argmax() == 7
    assert votes[0, 7] > 4 * np.sort(votes[0])[-2]
    assert not common[0].any()
    # Bright blobs never vote for dark ones.
    swapped = LocalFeatures(query.points, query.descriptors, ~query.bright)
    assert count_votes(_build(kind, stored), [swapped], _everybody(stored))[0][0, 7] < votes[0, 7] / 4


@pytest.mark.parametrize("kind", KINDS)
def test_only_used_references_get_votes(kind: str) -> None:
    random = np.random.default_rng(5)
    stored = _descriptors(random, 12, features.REFERENCE_COUNT)
    query = LocalFeatures(np.zeros((40, 4), np.float32), stored[7, :40], np.ones(40, np.bool_))
    votes, _ = count_votes(_build(kind, stored), [query], np.arange(12) != 7)
    assert votes[0, 7] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_features_of_many_references_are_common(kind: str) -> None:
    random = np.random.default_rng(4)
    stored = _descriptors(random, 12, features.REFERENCE_COUNT)
    stored[:, :20] = stored[0, :20]
    query = LocalFeatures(np.zeros((40, 4), np.float32), stored[7, :40], np.ones(40, np.bool_))
    _, common = count_votes(_build(kind, stored), [query], _everybody(stored))
    assert common[0].tolist() == [True] * 20 + [False] * 20


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_without_features_votes_for_nobody(kind: str) -> None:
    stored = _descriptors(np.random.default_rng(6), 12, features.REFERENCE_COUNT)
    empty = LocalFeatures(np.zeros((0, 4), np.float32), np.zeros((0, 128), np.int8), np.zeros(0, np.bool_))
    votes, common = count_votes(_build(kind, stored), [empty] * 2, _everybody(stored))
    assert votes.shape == (2, 12)
    assert not votes.any()
    assert len(common[0]) == 0


def test_places_without_a_feature_are_never_found() -> None:
    stored = np.zeros((6, features.REFERENCE_COUNT, features.DESCRIPTOR), np.int8)
    assert (_words(stored) == vocabulary.UNUSED).all()
    hits = InvertedIndex(stored, _words(stored)).find(stored[0, :4] + 1, True, _everybody(stored))
    assert len(hits.queries) == 0
