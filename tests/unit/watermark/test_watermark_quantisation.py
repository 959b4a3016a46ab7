from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from provenance_guard.watermark import Key, Payload, Watermarker, coding, quantisation
from provenance_guard.watermark.dct import block_dct, inverse_block_dct
from provenance_guard.watermark.pattern import FREQUENCIES, pattern_of
from provenance_guard.watermark.payload import profile_for
from provenance_guard.watermark.perceptual import activity_of, allow, detail_of, strength_named

KEY = bytes(range(32))
RECORD = Payload("0123456789abcd", 1_795_000_000).pack()
ALL_FREQUENCIES = [(row, column) for row in range(8) for column in range(8)]


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=quality)
    return Image.open(stored).convert("RGB")


def test_the_tables_are_those_that_libjpeg_writes():
    for quality in quantisation.QUALITIES:
        stored = io.BytesIO()
        Image.new("RGB", (8, 8)).save(stored, "JPEG", quality=quality)
        with Image.open(stored) as written:
            table = np.array(written.quantization[0]).reshape(8, 8)
        assert quantisation._steps(quality).tolist() == [table[row, column] for row, column in FREQUENCIES]


def test_the_dct_is_orthonormal_and_its_inverse_gives_the_plane_back():
    plane = torch.randn(24, 40)
    coefficients = block_dct(plane, ALL_FREQUENCIES)
    assert coefficients.square().sum().item() == pytest.approx(plane.square().sum().item(), rel=1e-4)
    assert torch.allclose(inverse_block_dct(coefficients, ALL_FREQUENCIES), plane, atol=1e-4)


@pytest.mark.parametrize("strength", ["invisible", "strong"])
@pytest.mark.parametrize("quality", quantisation.QUALITIES)
def test_pushes_make_up_for_coarse_rounding_within_the_allowance(scene, strength, quality):
    luma = torch.from_numpy(np.asarray(scene.convert("L"), np.float32))
    activity = activity_of(detail_of(luma))
    allowance = allow(luma, activity, strength_named(strength))
    pattern, profile = pattern_of(Key(KEY)), profile_for(RECORD)
    code = coding.encode(np.random.default_rng(1).integers(0, 2, profile.message_bits).astype(np.uint8))
    wanted = pattern.message_coefficients(code, profile)
    tile = pattern.tile(code, profile).repeat(4, 4)[: luma.shape[0], : luma.shape[1]]
    plain = allowance.amplitude * tile
    pushed = quantisation.reinforce(plain.clone(), luma, activity, allowance, wanted)

    signs = wanted.repeat(4, 4, 1)[: luma.shape[0] // 8, : luma.shape[1] // 8]
    step = quantisation._steps(quality)

    def heard(mark: torch.Tensor) -> float:
        stored = (block_dct(luma + mark, FREQUENCIES) / step).round() * step
        return float((signs * stored).mean())

    assert heard(pushed) > 1.2 * heard(plain)
    for spent in (pushed / allowance.amplitude, pushed):
        plainly = plain / allowance.amplitude if spent is not pushed else plain
        assert spent.square().mean() < 1.15 * plainly.square().mean()


@pytest.mark.parametrize("quality", [20, 30])
def test_coarse_jpeg_is_survived(scene, quality):
    found = Watermarker(KEY).detect(jpeg(Watermarker(KEY, "strong").embed(scene, RECORD), quality))
    assert found is not None
    assert found.payload == RECORD


@pytest.mark.parametrize("quality", [80, 50])
def test_a_picture_of_one_colour_is_braced_for_jpeg(quality):
    picture = Image.new("RGB", (512, 512), "teal")
    found = Watermarker(KEY).detect(jpeg(Watermarker(KEY).embed(picture, RECORD), quality))
    assert found is not None
    assert found.payload == RECORD


def test_a_flat_drawing_is_braced_for_webp_at_strong():
    drawing = Image.new("RGB", (512, 512), "ivory")
    draw = ImageDraw.Draw(drawing)
    for number, colour in enumerate(("teal", "orange", "navy", "crimson", "gold", "black")):
        x, y = 90 * number, 60 * (number * 5 % 7)
        draw.ellipse((x, y, x + 150, y + 120), fill=colour, outline="black", width=3)
    stored = io.BytesIO()
    Watermarker(KEY, "strong").embed(drawing, RECORD).save(stored, "WEBP", quality=50)
    assert Watermarker(KEY).check(Image.open(stored), RECORD) > 6.5  # Chance, and a mark that is not braced: 5


@pytest.mark.parametrize("strength", ["invisible", "strong"])
def test_half_of_the_power_is_pushed_in_plain_pictures_only(scene, strength):
    def pushed(image: Image.Image) -> float:
        luma = torch.from_numpy(np.asarray(image.convert("L"), np.float32))
        return allow(luma, activity_of(detail_of(luma)), strength_named(strength)).pushed

    assert pushed(scene) == pytest.approx(0.16)
    assert pushed(Image.new("RGB", (256, 256), "teal")) == pytest.approx(0.5)
