from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from provenance_guard.errors import KeyMissingError, MarkError, UsageError
from provenance_guard.pictures import to_image, to_tensor
from provenance_guard.watermark import Key, Payload, Watermarker
from provenance_guard.watermark.perceptual import LUMA

KEY = bytes(range(32))
FREE = bytes.fromhex("00112233445566778899aabbccddeeff")
RECORD = Payload("0123456789abcd", 1_795_000_000).pack()


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stored = io.BytesIO()
    image.convert("RGB").save(stored, "JPEG", quality=quality)
    return Image.open(stored)


def psnr(before: Image.Image, after: Image.Image) -> float:
    difference = np.asarray(before, np.float64) - np.asarray(after, np.float64)
    return float(10 * np.log10(255**2 / (difference**2).mean()))


@pytest.fixture(scope="module")
def marked(scene):
    return Watermarker(KEY).embed(scene, RECORD)


@pytest.mark.parametrize("payload", [FREE, RECORD, bytes(16), b"\xff" * 16])
def test_the_exact_payload_comes_back(scene, payload):
    watermarker = Watermarker(KEY)
    found = watermarker.detect(watermarker.embed(scene, payload))
    assert found is not None
    assert found.payload == payload
    assert 0.5 < found.confidence <= 1
    assert found.key_id == Key(KEY).id


@pytest.mark.parametrize(("strength", "least"), [("invisible", 46), ("balanced", 44), ("strong", 42)])
def test_every_strength_keeps_its_promise(scene, strength, least):
    embedding = Watermarker(KEY, strength).embed_measured(scene, FREE)
    assert embedding.psnr >= least - 0.1
    assert embedding.psnr == pytest.approx(psnr(scene, embedding.image), abs=0.05)
    assert not embedding.weak


@pytest.mark.parametrize(
    ("change", "scale", "angle", "mirrored"),
    [
        (lambda image: jpeg(image, 80), 1, 0, False),
        (lambda image: image.crop((37, 51, 37 + 300, 51 + 300)), 1, 0, False),
        (lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 1, 0, True),
        (lambda image: image.transpose(Image.Transpose.ROTATE_90), 1, 90, False),
        (lambda image: image.resize((384, 336), Image.Resampling.BICUBIC), 0.75, 0, False),
        (lambda image: image.resize((768, 672), Image.Resampling.BICUBIC), 1.5, 0, False),
        (lambda image: image.rotate(7, Image.Resampling.BICUBIC), 1, 7, False),
    ],
    ids=["jpeg 80", "crop", "mirror", "quarter turn", "smaller", "larger", "turned"],
)
def test_the_mark_survives_and_the_geometry_is_told(marked, change, scale, angle, mirrored):
    found = Watermarker(KEY).detect(change(marked))
    assert found is not None
    assert found.payload == RECORD
    assert found.geometry.scale == pytest.approx(scale, rel=0.01)
    assert found.geometry.angle == pytest.approx(angle, abs=0.3)
    assert found.geometry.mirrored is mirrored


def test_inverted_tones_are_told(marked):
    found = Watermarker(KEY).detect(Image.fromarray(255 - np.asarray(marked)))
    assert found is not None
    assert found.geometry.inverted


def test_nothing_is_found_where_nothing_is(scene, marked):
    assert Watermarker(KEY).detect(scene) is None
    assert Watermarker(bytes(32)).detect(marked) is None


def test_known_keys_are_tried(marked):
    found = Watermarker(bytes(32), known=[Key(KEY)]).detect(marked)
    assert found is not None
    assert found.key_id == Key(KEY).id


def test_a_claimed_payload_is_told_from_others(scene, marked):
    watermarker = Watermarker(KEY)
    worn = jpeg(marked, 40)
    assert watermarker.check(worn, RECORD) > 7
    assert watermarker.check(worn, FREE) < 6.5
    assert watermarker.check(scene, RECORD) < 6.5


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "I;16", "I", "F"])
def test_every_mode_can_be_marked(scene, mode):
    grey = scene.convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey, np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(np.asarray(grey, np.float32) / 255)
    else:
        image = scene.convert(mode)
    image.info["note"] = "kept"
    before = image.tobytes()
    watermarker = Watermarker(KEY, "strong")
    marked = watermarker.embed(image, FREE)
    assert image.tobytes() == before
    assert marked.size == image.size
    assert marked.info["note"] == "kept"
    if mode in ("RGB", "RGBA", "L", "LA", "I;16"):
        assert marked.mode == image.mode
    found = watermarker.detect(marked)
    assert found is not None
    assert found.payload == FREE


def test_a_picture_of_black_and_white_dots_can_be_marked_but_weakly(scene):
    embedding = Watermarker(KEY).embed_measured(scene.convert("1"), FREE)
    assert embedding.image.mode == "L"
    assert embedding.weak


def test_transparency_is_kept(scene):
    image = scene.copy()
    image.putalpha(scene.convert("L").point(lambda level: 255 if level > 90 else level))
    marked = Watermarker(KEY).embed(image, FREE)
    assert marked.getchannel("A").tobytes() == image.getchannel("A").tobytes()


def test_a_transparent_colour_becomes_alpha(scene):
    image = scene.quantize(64)
    image.info["transparency"] = 3
    marked = Watermarker(KEY).embed(image, FREE)
    assert marked.mode == "RGBA"
    assert marked.getchannel("A").tobytes() == image.convert("RGBA").getchannel("A").tobytes()
    assert "transparency" not in marked.info


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_tensors_stay_tensors(scene, dtype):
    tensor = to_tensor(scene).to(dtype)
    kept = tensor.clone()
    watermarker = Watermarker(KEY)
    marked = watermarker.embed(tensor, FREE)
    assert marked.dtype == dtype
    assert torch.equal(tensor, kept)
    assert float(marked.min()) >= 0 and float(marked.max()) <= 1
    for received in (marked, to_image(marked)):
        found = watermarker.detect(received)
        assert found is not None
        assert found.payload == FREE


@pytest.mark.parametrize("shape", [(4, 80, 80), (80, 80), (3, 80, 80, 1)])
def test_other_tensors_are_refused(shape):
    with pytest.raises(MarkError):
        Watermarker(KEY).embed(torch.zeros(shape), FREE)
    with pytest.raises(MarkError):
        Watermarker(KEY).embed(torch.zeros(3, 80, 80, dtype=torch.uint8), FREE)


@pytest.mark.parametrize("size", [(1, 1), (63, 200), (40, 40)])
def test_small_pictures_are_refused_with_a_reason_and_hold_no_mark(size):
    tiny = Image.new("RGB", size, "teal")
    with pytest.raises(MarkError, match="too small") as caught:
        Watermarker(KEY).embed(tiny, FREE)
    assert caught.value.next_step
    assert Watermarker(KEY).detect(tiny) is None
    assert Watermarker(KEY).check(tiny, FREE) == 0


@pytest.mark.parametrize("size", [(64, 64), (65, 131), (300, 64)])
def test_small_pictures_are_marked_and_their_weakness_is_told(size):
    image = Image.effect_noise(size, 40).convert("RGB")
    embedding = Watermarker(KEY).embed_measured(image, FREE)
    assert embedding.image.size == size
    assert embedding.weak


@pytest.mark.parametrize("colour", ["black", "white", "grey"])
def test_a_flat_picture_changes_by_at_most_a_level(colour):
    flat = Image.new("RGB", (256, 256), colour)
    for strength in ("invisible", "balanced", "strong"):
        marked = Watermarker(KEY, strength).embed(flat, FREE)
        change = np.asarray(marked, np.float64) - np.asarray(flat, np.float64)
        assert np.sqrt(((change @ LUMA) ** 2).mean()) <= 1
    assert Watermarker(KEY).detect(flat) is None


@pytest.mark.parametrize(("size", "unmarked"), [((353, 322), (1, 2)), ((352, 323), (0, 0))])
def test_rows_and_columns_that_stand_alone_stay_as_they_are(scene, size, unmarked):
    image = scene.crop((0, 0, *size))
    change = np.abs(np.asarray(Watermarker(KEY).embed(image, FREE), np.float64) - np.asarray(image, np.float64)).sum(2)
    last_columns, last_rows = (sum(not line.any() for line in lines[-4:]) for lines in (change.T, change))
    assert (last_columns, last_rows) == unmarked


def test_bad_arguments_are_named():
    with pytest.raises(UsageError, match="loud"):
        Watermarker(KEY, "loud")
    with pytest.raises(KeyMissingError):
        Watermarker(b"too short")
    with pytest.raises(MarkError, match="15 bytes"):
        Watermarker(KEY).embed(Image.new("RGB", (100, 100)), bytes(15))
    with pytest.raises(MarkError, match="str"):
        Watermarker(KEY).detect("picture.png")  # type: ignore[arg-type]


def test_a_huge_picture_is_marked_in_parts_that_fit_together(scene):
    strip = scene.crop((0, 0, 512, 160))
    panorama = Image.new("RGB", (4608, 160))
    for left in range(0, panorama.width, strip.width):
        panorama.paste(strip, (left, 0))
    watermarker = Watermarker(KEY)
    marked = watermarker.embed(panorama, FREE)
    across_a_seam = marked.crop((900, 0, 1250, 160))
    for received in (marked, across_a_seam):
        found = watermarker.detect(received)
        assert found is not None
        assert found.payload == FREE
