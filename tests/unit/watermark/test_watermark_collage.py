"""Several marks in one picture, where they lie, and the short payload."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from provenance_guard.watermark import Key, Payload, Watermarker
from provenance_guard.watermark.detector import MOST_CHECKS, MOST_READINGS, least_score
from provenance_guard.watermark.payload import PROFILES

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
FIRST, SECOND = (Payload(f"{number:014x}", 1_795_000_000 + number).pack() for number in (1, 2))
SHORT = Payload.robust("89abcdef" * 4).pack()


@pytest.fixture(scope="module")
def marked(scene):
    return Watermarker(KEY, "strong").embed(scene, FIRST)


@pytest.fixture(scope="module")
def other(scene):
    mirrored = scene.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return Watermarker(OTHER, "strong").embed(mirrored, SECOND)


@pytest.fixture(scope="module")
def collage(marked, other):
    sheet = Image.new("RGB", (1024, 512), "white")
    sheet.paste(marked, (0, 32))
    sheet.paste(other.resize((448, 392), Image.Resampling.BICUBIC), (560, 64))
    return sheet


def test_every_mark_of_a_collage_is_told_with_its_place(collage):
    found = Watermarker(KEY, known=[Key(OTHER)]).detect_all(collage)
    assert {detection.payload for detection in found} == {FIRST, SECOND}
    by_payload = {detection.payload: detection for detection in found}
    left, right = by_payload[FIRST], by_payload[SECOND]
    assert left.key_id == Key(KEY).id and right.key_id == Key(OTHER).id
    assert right.geometry.scale == pytest.approx(0.875, rel=0.01)
    assert left.presence.shape == right.presence.shape == (8, 16)
    assert left.present[1:7, 1:7].all() and not left.present[:, 10:].any()
    assert right.present[2:6, 10:15].all() and not right.present[:, :7].any()
    assert 0.3 < left.coverage < 0.7


def test_one_mark_is_told_once_and_covers_its_picture(marked):
    (found,) = Watermarker(KEY).detect_all(marked)
    assert found.payload == FIRST
    assert found.coverage == 1
    assert found.presence.min() > 5


def test_nothing_is_told_where_nothing_is(scene):
    assert Watermarker(KEY).detect_all(scene.crop((0, 0, 256, 256))) == []
    assert Watermarker(KEY).detect_all(scene.crop((0, 0, 40, 40))) == []


def test_the_map_shows_what_was_painted_over(marked):
    changed = marked.copy()
    changed.paste((90, 110, 100), (256, 0, 512, 448))
    found = Watermarker(KEY).detect(changed)
    assert found is not None
    assert found.present[:, :3].all()
    assert not found.present[:, 6:].any()


def test_a_short_payload_survives_what_a_long_one_does_not(scene):
    small = scene.crop((0, 0, 192, 192))
    watermarker = Watermarker(KEY)
    read = {}
    for payload in (FIRST, SHORT):
        worn = np.asarray(watermarker.embed(small, payload), np.float32)
        noisy = worn + np.random.default_rng(0).normal(0, 14, worn.shape)
        found = watermarker.detect(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
        read[payload] = found.payload if found else None
    assert read == {FIRST: None, SHORT: SHORT}


def test_the_bound_on_false_positives_counts_profiles_geometries_and_keys():
    assert MOST_CHECKS * 2.0**-40 < 1e-9
    for keys in (1, 1000):
        bound = sum(
            2.0**profile.free_bits * MOST_READINGS * keys * np.exp(-(least_score(profile, keys) ** 2) / 2)
            for profile in PROFILES
        )
        assert bound <= 1e-9


def test_twins_at_one_scale_are_told_as_one(marked):
    sheet = Image.new("RGB", (1024, 512), "white")
    half = marked.crop((0, 0, 448, 448))
    sheet.paste(half, (0, 32))
    sheet.paste(half, (555, 39))
    (found,) = Watermarker(KEY).detect_all(sheet)
    assert found.payload == FIRST
    assert found.present[2:6, 1:6].all() and found.present[2:6, 10:14].all()
