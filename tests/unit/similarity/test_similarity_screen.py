from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from similarity_pictures import draw_scene

from provenance_guard.pictures import to_tensor
from provenance_guard.similarity import Library

SCENES = 9


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("references")
    for seed in range(SCENES):
        draw_scene(seed).save(folder / f"{seed}.png")
    opened = Library.open(tmp_path_factory.mktemp("data"))
    opened.sync(folder)
    return opened


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def _paste(picture: Image.Image) -> Image.Image:
    around = draw_scene(900, (640, 480))
    around.paste(picture.resize((260, 195)), (310, 60))
    return around


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "same": lambda picture: picture,
    "jpeg 40": lambda picture: _jpeg(picture, 40),
    "half size": lambda picture: picture.resize((picture.width // 2, picture.height // 2)),
    "double size": lambda picture: picture.resize((picture.width * 2, picture.height * 2)),
    "mirrored": ImageOps.mirror,
    "turned left": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "turned right": lambda picture: picture.transpose(Image.Transpose.ROTATE_270),
    "upside down": lambda picture: picture.transpose(Image.Transpose.ROTATE_180),
    "mirrored and turned": lambda picture: picture.transpose(Image.Transpose.TRANSVERSE),
    "turned by 17 degrees": lambda picture: picture.rotate(17, Image.Resampling.BICUBIC),
    "grey": lambda picture: picture.convert("L"),
    "negative": ImageOps.invert,
    "darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.5),
    "framed": lambda picture: ImageOps.expand(picture, 70, (250, 250, 250)),
    "stretched": lambda picture: picture.resize((picture.width, picture.height * 13 // 10)),
    "a quarter of the area": lambda picture: picture.crop((150, 80, 390, 260)),
    "inset in another picture": _paste,
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_copy_is_found(library: Library, edit: str) -> None:
    verdict = library.screen(EDITS[edit](draw_scene(7)))
    assert verdict.level == "near_copy"
    assert verdict.matches[0].reference.name == "7.png"


def test_strangers_are_clean(library: Library) -> None:
    for seed in range(100, 104):
        verdict = library.screen(draw_scene(seed))
        assert verdict.level == "clean", verdict.matches


def test_the_same_palette_in_another_layout_is_clean(library: Library) -> None:
    picture = np.asarray(draw_scene(4))
    tiles = [picture[y : y + 24, x : x + 24] for y in range(0, 360, 24) for x in range(0, 480, 24)]
    order = np.random.default_rng(1).permutation(len(tiles))
    rows = [np.hstack([tiles[i] for i in order[row * 20 : row * 20 + 20]]) for row in range(15)]
    assert library.screen(Image.fromarray(np.vstack(rows))).level == "clean"


@pytest.mark.parametrize("colour", ["white", "black", (120, 130, 90)])
def test_plain_pictures_are_clean(library: Library, colour: str | tuple[int, int, int]) -> None:
    assert library.screen(Image.new("RGB", (512, 512), colour)).level == "clean"


def test_shares_and_place_of_a_crop(library: Library) -> None:
    match = library.screen(draw_scene(2).crop((120, 90, 360, 270))).matches[0]
    assert match.copied_share_picture == pytest.approx(1.0, abs=0.1)
    assert match.copied_share_reference == pytest.approx(0.25, abs=0.05)
    matrix = np.array(match.geometry.matrix)
    # The point (120, 90) of the reference (480 wide) is the upper left corner of the picture (240 wide).
    assert matrix @ (120 / 480, 90 / 480, 1) == pytest.approx((0, 0), abs=0.01)
    assert matrix @ (360 / 480, 270 / 480, 1) == pytest.approx((1, 0.75), abs=0.01)


def test_orientation_is_told(library: Library) -> None:
    told = {
        edit: library.screen(EDITS[edit](draw_scene(3))).matches[0].geometry.orientation
        for edit in ("same", "mirrored", "turned left", "turned right", "upside down")
    }
    assert told == {
        "same": "upright",
        "mirrored": "mirrored",
        "turned left": "turned left",
        "turned right": "turned right",
        "upside down": "upside down",
    }


def test_a_tensor_gives_the_same_verdict(library: Library) -> None:
    picture = draw_scene(5)
    by_picture, by_tensor = library.screen(picture), library.screen(to_tensor(picture))
    assert by_tensor.matches == by_picture.matches
    assert library.screen(torch.rand(3, 300, 300)).level == "clean"


def test_the_same_picture_gives_the_same_verdict(library: Library) -> None:
    picture = draw_scene(6).rotate(5)
    assert library.screen(picture).matches == library.screen(picture).matches


def test_thresholds_set_the_level(library: Library) -> None:
    picture = draw_scene(6)
    assert library.screen(picture, review=1.1, near_copy=1.1).level == "clean"
    assert library.screen(picture, near_copy=1.1).level == "review"
    assert library.screen(picture).level == "near_copy"


def test_json_is_plain_and_claims_no_more_than_measured(library: Library) -> None:
    verdict = library.screen(draw_scene(8))
    written = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
    assert written["level"] == "near_copy"
    assert written["matches"][0]["reference"].endswith("8.png")
    assert written["limits"] == {"review": 0.5, "near_copy": 0.85, "semantic_review": 0.85}
    assert written["references"] == SCENES
    summary = written["matches"][0]["summary"]
    assert summary.startswith("near copy of 8.png: ")
    assert "infring" not in json.dumps(written)


def _with_page_around(picture: Image.Image) -> Image.Image:
    page = draw_scene(77, (600, 560)).crop((0, 0, 600, 90))
    sheet = Image.new("RGB", (600, 560), (245, 246, 250))
    sheet.paste(page, (0, 0))
    sheet.paste(picture.resize((480, 360)), (60, 140))
    return sheet


def test_what_many_references_share_makes_no_copy(tmp_path: Path) -> None:
    (tmp_path / "references").mkdir()
    for seed in range(9):
        _with_page_around(draw_scene(seed)).save(tmp_path / "references" / f"{seed}.png")
    library = Library.open(tmp_path / "data")
    library.sync(tmp_path / "references")
    for seed in (60, 61):
        assert library.screen(_with_page_around(draw_scene(seed))).level == "clean"
    assert library.screen(_with_page_around(draw_scene(4))).matches[0].reference.name == "4.png"
    assert library.screen(draw_scene(5)).matches[0].reference.name == "5.png"


def test_a_picture_kept_in_many_versions_is_still_found(tmp_path: Path) -> None:
    (tmp_path / "references").mkdir()
    for version in range(8):
        _jpeg(draw_scene(1), 95 - version).convert("RGB").save(tmp_path / "references" / f"{version}.png")
    library = Library.open(tmp_path / "data")
    library.sync(tmp_path / "references")
    assert library.screen(draw_scene(1).crop((100, 60, 400, 300))).level == "near_copy"


def test_a_panorama_is_compared_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "references").mkdir()
    panorama = draw_scene(1, (4000, 90))
    panorama.save(tmp_path / "references" / "long.png")
    draw_scene(2).save(tmp_path / "references" / "2.png")
    library = Library.open(tmp_path / "data")
    assert library.sync(tmp_path / "references").unreadable == ()
    assert library.screen(panorama).matches[0].reference.name == "long.png"
    assert library.screen(panorama.transpose(Image.Transpose.ROTATE_90)).level == "near_copy"
    assert library.screen(draw_scene(2)).matches[0].reference.name == "2.png"
    assert library.screen(draw_scene(3, (90, 4000))).level == "clean"


def test_transparency_counts_as_white(tmp_path: Path) -> None:
    picture = draw_scene(1).convert("RGBA")
    picture.putalpha(Image.new("L", picture.size, 0))
    library = Library.open(tmp_path / "data")
    (tmp_path / "references").mkdir()
    draw_scene(1).save(tmp_path / "references" / "1.png")
    library.sync(tmp_path / "references")
    assert library.screen(picture).level == "clean"


def _watermarked(picture: Image.Image) -> Image.Image:
    """In a frame, with the same lettering all over it."""
    layer = Image.new("RGB", picture.size, (128, 128, 128))
    draw = ImageDraw.Draw(layer)
    for y in range(0, picture.height, 60):
        for x in range(0, picture.width, 160):
            draw.text((x, y), "(c) stock", fill="white")
            draw.rectangle((x + 70, y + 2, x + 96, y + 26), outline="white", width=5)
    return ImageOps.expand(Image.blend(picture, layer, 0.4), 40, (24, 24, 30))


def test_a_watermark_on_all_references_makes_no_copy(tmp_path: Path) -> None:
    (tmp_path / "references").mkdir()
    for seed in range(4):
        _watermarked(draw_scene(seed)).save(tmp_path / "references" / f"{seed}.png")
    library = Library.open(tmp_path / "data")
    library.sync(tmp_path / "references")
    for seed in (50, 51):
        verdict = library.screen(_watermarked(draw_scene(seed)))
        assert verdict.level == "clean", verdict.matches[0]
    assert library.screen(_watermarked(draw_scene(3))).matches[0].reference.name == "3.png"
    assert library.screen(draw_scene(2)).level == "near_copy"
    assert library.screen(_watermarked(draw_scene(1).crop((90, 60, 420, 330)))).level != "clean"
