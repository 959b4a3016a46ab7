from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_guard.watermark import coding


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=128, max_size=168))
def test_a_clean_codeword_decodes(bits):
    message = np.array(bits, np.uint8)
    assert np.array_equal(next(coding.decode(coding.encode(message))), message)


def test_the_code_is_tail_biting():
    message = np.random.default_rng(1).integers(0, 2, 128).astype(np.uint8)
    assert np.array_equal(np.roll(coding.encode(message), 5 * coding.RATE), coding.encode(np.roll(message, 5)))


@pytest.mark.parametrize("length", [128, 168])
def test_noise_of_one_decibel_a_bit_is_corrected(length):
    draws = np.random.default_rng(length)
    noise = np.sqrt(coding.RATE / 2 / 10**0.1)
    decoded = 0
    for _ in range(12):
        message = draws.integers(0, 2, length).astype(np.uint8)
        code = coding.encode(message)
        soft = (code + noise * draws.normal(size=code.size)).astype(np.float32)
        decoded += any(np.array_equal(bits, message) for bits in coding.decode(soft, 8))
    assert decoded >= 11


def test_the_list_has_the_asked_size_and_starts_with_the_best():
    draws = np.random.default_rng(3)
    message = draws.integers(0, 2, 128).astype(np.uint8)
    soft = (coding.encode(message) + 2.0 * draws.normal(size=768)).astype(np.float32)
    listed = list(coding.decode(soft, 8))
    likelihoods = [float(soft @ coding.encode(bits)) for bits in listed]
    assert len(listed) == 8
    assert likelihoods[0] == pytest.approx(max(likelihoods))
    assert np.array_equal(listed[0], next(coding.decode(soft)))
