"""Pictures for the similarity tests, drawn by code: each seed is another scene with structure at every scale."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw


def draw_scene(seed: int, size: tuple[int, int] = (480, 360)) -> Image.Image:
    random = np.random.default_rng(seed)
    width, height = size
    coarse = random.integers(60, 200, (6, 8, 3)).astype(np.uint8)
    picture = Image.fromarray(coarse, "RGB").resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(70):
        x, y = random.integers(0, width), random.integers(0, height)
        a, b = random.integers(8, 70, 2)
        colour = tuple(int(value) for value in random.integers(0, 255, 3))
        kind = random.integers(0, 4)
        box = (x - a, y - b, x + a, y + b)
        if kind == 0:
            draw.ellipse(box, fill=colour)
        elif kind == 1:
            draw.rectangle(box, outline=colour, width=int(random.integers(2, 8)))
        elif kind == 2:
            corners = random.integers(-60, 60, (3, 2)) + np.array([x, y])
            draw.polygon([tuple(map(int, corner)) for corner in corners], fill=colour)
        else:
            draw.line((x, y, x + int(random.integers(-90, 90)), y + int(random.integers(-90, 90))), colour, 4)
    return picture
