"""Copies of which only a part, or only the outlines, are left."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from similarity_pictures import draw_scene

from provenance_guard.similarity import Library, gradients
from provenance_guard.similarity.hashes import MIRRORED, ORIENTATIONS, orient


def _library(folder: Path, pictures: dict[str, Image.Image]) -> Library:
    (folder / "references").mkdir()
    for name, picture in pictures.items():
        picture.save(folder / "references" / f"{name}.png")
    library = Library.open(folder / "data")
    library.sync(folder / "references")
    return library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return _library(tmp_path_factory.mktemp("scenes"), {str(seed): draw_scene(seed) for seed in range(9)})


def test_a_part_pasted_elsewhere_is_judged_by_itself(library: Library) -> None:
    sheet = draw_scene(900, (640, 480))
    sheet.paste(draw_scene(2).crop((40, 30, 280, 210)), (330, 240))
    match = library.screen(sheet).matches[0]
    assert (match.reference.name, match.level) == ("2.png", "near_copy")
    assert match.copied_share_reference == pytest.approx(0.25, abs=0.07)
    # Of the whole reference laid there, three quarters do not agree.
    assert match.dimensions.structure > 0.6
    assert match.geometry is not None and match.geometry.precise


def test_a_picture_half_turned_into_a_negative_is_a_copy(library: Library) -> None:
    match = library.screen(ImageOps.solarize(draw_scene(3), 110)).matches[0]
    assert (match.reference.name, match.level) == ("3.png", "near_copy")


def _bulged(picture: Image.Image) -> Image.Image:
    """As through a strong lens."""
    width, height = picture.size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u, v = (2 * x - width) / width, (2 * y - height) / width
    wider = 1 + 0.25 * (u * u + v * v)
    moved = [((axis * wider * width + side) / 2).astype(np.float32) for axis, side in ((u, width), (v, height))]
    return Image.fromarray(cv2.remap(np.asarray(picture), moved[0], moved[1], cv2.INTER_LINEAR))


def test_a_picture_seen_through_a_lens_is_a_copy(library: Library) -> None:
    match = library.screen(_bulged(draw_scene(6))).matches[0]
    assert (match.reference.name, match.level) == ("6.png", "near_copy")


def _dots(seed: int) -> Image.Image:
    """Nothing but round dots of three sizes: each is like those of any other such picture, only the arrangement is not."""
    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (480, 360), (90, 100, 110))
    draw = ImageDraw.Draw(picture)
    for _ in range(60):
        x, y, size = random.integers(0, 480), random.integers(0, 360), random.choice((5, 8, 12))
        draw.ellipse((x - size, y - size, x + size, y + size), fill=(200, 190, 170))
    return picture.filter(ImageFilter.GaussianBlur(1))


def test_an_arrangement_of_common_shapes_is_found(tmp_path: Path) -> None:
    dots = _library(tmp_path, {str(seed): _dots(seed) for seed in range(12)})
    for picture in (_dots(20), _dots(21).crop((0, 0, 300, 220))):
        assert dots.screen(picture).level == "clean"
    match = dots.screen(_dots(4).crop((90, 60, 390, 300))).matches[0]
    assert (match.reference.name, match.level) == ("4.png", "near_copy")


def test_edges_tell_a_drawing_from_strangers_and_keep_what_is_stored() -> None:
    scenes = [draw_scene(seed) for seed in range(20)]
    stored = np.stack([np.frombuffer(gradients.pack(scene), "<f2") for scene in scenes])
    drawing = ImageOps.invert(scenes[7].convert("L").filter(ImageFilter.FIND_EDGES))
    cosines = stored.astype(np.float32) @ gradients.describe(drawing)
    assert cosines.argmax() == 7
    assert gradients.describe(ImageOps.invert(scenes[7])) @ stored[7] > 0.99
    assert not gradients.describe(Image.new("RGB", (50, 50), "red")).any()


def test_edges_of_a_turned_picture_are_found_in_its_orientation() -> None:
    scene = draw_scene(4, (384, 384))
    stored = gradients.describe(scene)
    for number in range(len(ORIENTATIONS)):
        cosines = gradients.describe_orientations(orient(scene, number)) @ stored
        assert cosines.max() > 0.98
        assert (int(cosines.argmax()) in MIRRORED) == (number in MIRRORED)
