from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from provenance_guard.watermark import Key, Payload, Watermarker, evidence, sync
from provenance_guard.watermark.canvas import open_canvas
from provenance_guard.watermark.evidence import Evidence, windows_of
from provenance_guard.watermark.pattern import pattern_of

KEY = Key(bytes(range(32)))
ROBUST = Payload("0123456").pack()


def shrunken_waves(side: int, scale: float, seed: int) -> torch.Tensor:
    """The pilots at a scale and any shift, and noise of 256 times their power."""
    pilots = pattern_of(KEY).pilots
    draws = np.random.default_rng(seed)
    x, y = (place / scale + draws.uniform(0, 128) for place in (np.arange(side), np.arange(side)[:, None]))
    waves = sum(
        np.cos(2 * math.pi * (column * x + row * y) + phase)
        for (column, row), phase in zip(pilots.frequencies, pilots.phases, strict=True)
    )
    plane = waves / np.std(waves) / 16 + draws.normal(0, 1, (side, side))
    return torch.from_numpy(plane / plane.std()).float()


@pytest.mark.parametrize("scale", [0.45, 0.6, 0.77])
def test_the_scale_of_a_small_picture_is_found_in_noise(scale):
    right = 0
    for seed in range(5):
        best = sync.scaled(shrunken_waves(160, scale, seed), pattern_of(KEY), 1)[0]
        right += abs(1 / float(best.matrix[0, 0]) / scale - 1) < 0.004
    assert right >= 4


def test_only_small_pictures_are_searched_with_more_effort(monkeypatch):
    asked = []
    monkeypatch.setattr(evidence.sync, "scaled", lambda plane, pattern, most: asked.append(plane.shape) or [])
    for side in (200, 400):
        canvas = open_canvas(Image.effect_noise((side, side), 30))
        list(Evidence(canvas, windows_of(canvas.shape)).groups(KEY))
    assert asked == [(200, 200)]


def test_an_unmoved_picture_needs_no_pilots(scene, monkeypatch):
    marked = Watermarker(KEY).embed(scene, ROBUST)
    monkeypatch.setattr(evidence, "align", lambda *_: [])
    found = Watermarker(KEY).detect(marked)
    assert found is not None
    assert found.payload == ROBUST
    assert found.geometry.offset == (scene.width // 2 % 128, scene.height // 2 % 128)
    assert found.coverage > 0.9
    assert Watermarker(KEY).detect(marked.crop((8, 0, *marked.size))) is None


def test_the_bound_on_false_positives_knows_all_tiles_that_are_read(monkeypatch):
    monkeypatch.setattr(evidence, "_LEAST_ENERGY", -math.inf)
    canvas = open_canvas(Image.effect_noise((200, 200), 30))
    groups = [tiles for _, tiles in Evidence(canvas, windows_of(canvas.shape)).groups(KEY)]
    assert len(groups) == evidence.MOST_GROUPS // evidence.MOST_WINDOWS
    assert sum(len(tiles) for tiles in groups) == evidence.MOST_TILES // evidence.MOST_WINDOWS
