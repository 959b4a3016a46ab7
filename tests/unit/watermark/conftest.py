"""A picture drawn by code: smooth light, shapes with edges, and fine grain, as in a photograph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter


def draw_scene(width: int, height: int, seed: int = 0) -> Image.Image:
    draws = np.random.default_rng(seed)
    small = draws.uniform(40, 215, (height // 64 + 2, width // 64 + 2, 3)).astype(np.uint8)
    scene = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    pencil = ImageDraw.Draw(scene)
    for _ in range(25):
        x, y = draws.uniform(0, width), draws.uniform(0, height)
        size = draws.uniform(0.02, 0.2) * min(width, height)
        pencil.ellipse((x, y, x + size, y + 0.7 * size), fill=tuple(int(c) for c in draws.integers(20, 235, 3)))
    scene = scene.filter(ImageFilter.GaussianBlur(0.7))
    grain = draws.normal(0, 3, (height, width, 1))
    return Image.fromarray((np.asarray(scene, np.float32) + grain).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def scene() -> Image.Image:
    return draw_scene(512, 448)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)  # Threads that wait for each other cost more than they bring on pictures this small.
