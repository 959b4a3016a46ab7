"""The placeholder: right size at any size, its words legible, nothing of the withheld picture."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from provenance_guard.gate import Decision, placeholder
from provenance_guard.gate import placeholder as function

BLOCKED = Decision("block", ("Near copy of peter-rabbit.jpg: 62 % of its area matched.",), "block")
RECORD = "0123456789abcdef" * 2


def ink(image: Image.Image) -> float:
    """The share of bright (text) pixels."""
    return float((np.asarray(image.convert("L")) > 190).mean())


@given(
    st.integers(1, 700), st.integers(1, 700), st.lists(st.text(max_size=120), max_size=4), st.sampled_from(["", RECORD])
)
@settings(max_examples=120, deadline=None)
def test_any_size_and_any_reasons(width: int, height: int, reasons: list[str], record_id: str) -> None:
    image = placeholder((width, height), Decision("block", tuple(reasons), "block"), record_id)
    assert (image.size, image.mode) == ((width, height), "RGB")


@pytest.mark.parametrize("side", [64, 96, 128, 256, 512, 1024, 2048, 4096])
def test_words_are_there_from_64_to_4096_pixels(side: int) -> None:
    image = placeholder((side, side), BLOCKED, RECORD)
    assert 0.01 < ink(image) < 0.3


@pytest.mark.parametrize("size", [(64, 1024), (1024, 64), (512, 768), (1, 1), (3, 4000), (20_000, 300)])
def test_odd_shapes(size: tuple[int, int]) -> None:
    assert placeholder(size, BLOCKED, RECORD).size == size


@pytest.mark.parametrize("side", [256, 512, 1024])
def test_the_reason_is_shown(side: int) -> None:
    other = Decision("block", ("Another reason entirely.",), "block")
    assert placeholder((side, side), BLOCKED, RECORD).tobytes() != placeholder((side, side), other, RECORD).tobytes()


@pytest.mark.parametrize("side", [64, 128, 512])
def test_the_record_id_is_shown(side: int) -> None:
    size = (side, side)
    assert placeholder(size, BLOCKED, RECORD).tobytes() != placeholder(size, BLOCKED, RECORD[::-1]).tobytes()


def test_letters_without_a_glyph_do_not_break_it() -> None:
    image = placeholder((512, 512), Decision("block", ("Near copy of 樱花 与 雪山.png 🙂: 50 %.",), "block"), RECORD)
    assert ink(image) > 0.01


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "1"])
def test_modes(mode: str) -> None:
    assert placeholder((64, 64), BLOCKED, RECORD, mode).mode == mode


def test_it_looks_the_same_every_time_and_cannot_see_a_picture() -> None:
    first, second = (placeholder((300, 200), BLOCKED, RECORD) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert list(inspect.signature(function).parameters) == ["size", "decision", "record_id", "mode"]


def test_text_stays_inside_the_panel() -> None:
    for side in (64, 96, 200, 512, 1000):
        pixels = np.asarray(placeholder((side, side), BLOCKED, RECORD).convert("L"))
        edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert edge.max() < 190
