from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from similarity_pictures import draw_scene

from provenance_guard.errors import PictureError
from provenance_guard.similarity import Library, Notice, explain_match


@pytest.fixture
def library(tmp_path: Path) -> Library:
    folder = tmp_path / "references"
    folder.mkdir()
    for seed in range(3):
        draw_scene(seed).save(folder / f"參考 {seed}.png")
    library = Library.open(tmp_path / "data")
    library.sync(folder)
    return library


def _draw(library: Library, picture: Image.Image) -> np.ndarray:
    match = library.screen(picture).matches[0]
    return np.asarray(Image.open(io.BytesIO(explain_match(picture, match))).convert("RGB"), np.int32)


def _reddish(sheet: np.ndarray) -> float:
    """The share of the panel of the copied area that is tinted."""
    panel = sheet[406:726, 332:652]
    return float(((panel[..., 0] - panel[..., 1]) > 60).mean())


def test_the_copied_area_is_tinted(library: Library) -> None:
    whole = _reddish(_draw(library, ImageOps.mirror(draw_scene(1))))
    around = Image.new("RGB", (640, 480), "white")
    around.paste(draw_scene(1).resize((240, 180)), (20, 30))
    part = _reddish(_draw(library, around))
    assert whole > 0.6
    assert 0.05 < part < 0.2


def test_lines_join_both_pictures(library: Library) -> None:
    sheet = _draw(library, draw_scene(1))
    between = sheet[56:376, 340:655]
    orange = (np.abs(between - np.array([230, 110, 20])).sum(axis=-1) < 30).sum()
    assert orange > 1000
    assert len(library.screen(draw_scene(1)).matches[0].geometry.lines) <= 60


def test_each_bar_has_its_limit(library: Library) -> None:
    sheet = _draw(library, draw_scene(1))
    panel = sheet[406:726, 664:984]
    red = (np.abs(panel - np.array([214, 40, 40])).sum(axis=-1) < 30).any(axis=0)
    marks = np.flatnonzero(red) / 320
    assert [share for share in (0.15, 0.3, 0.5) if np.abs(marks - share).min() < 0.01] == [0.15, 0.3, 0.5]


def test_what_is_said_of_the_reference_stands_in_the_evidence(library: Library) -> None:
    match = library.screen(draw_scene(1)).matches[0]
    sheets = [
        np.asarray(Image.open(io.BytesIO(explain_match(draw_scene(1), replace(match, notice=notice)))))
        for notice in (Notice(), Notice(title="Szene", author="Bärbel", licence="CC0-1.0"))
    ]
    changed = np.argwhere((sheets[0] != sheets[1]).any(axis=-1))
    assert changed[:, 0].min() >= 22
    assert changed[:, 0].max() < 38


def test_a_reference_that_is_gone_is_a_clear_error(library: Library) -> None:
    match = library.screen(draw_scene(1)).matches[0]
    match.reference.unlink()
    with pytest.raises(PictureError, match="does not exist"):
        explain_match(draw_scene(1), match)
