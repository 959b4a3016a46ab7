"""Marks made by earlier releases must stay readable: these files are never written again.

``v1.json`` pins messages, codewords and layouts; ``marked-v1-*.png`` are pictures that were marked when version 1 was made.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from provenance_guard.watermark import Key, Payload, Watermarker, coding
from provenance_guard.watermark.detector import message_of
from provenance_guard.watermark.pattern import TILE, layout_of, pattern_of
from provenance_guard.watermark.payload import from_bits, profile_for

GOLDEN = Path(__file__).parents[2] / "golden" / "watermark"
DOCUMENT = json.loads((GOLDEN / "v1.json").read_text("utf-8"))
KEY = Key(bytes.fromhex(DOCUMENT["key"]))


def old_tile(code, profile):
    """As version 1 first mixed the parts; the detector does not depend on the pilots' share."""
    pattern = pattern_of(KEY)
    return (0.7**0.5 * pattern.data_tile(code, profile) + 0.3**0.5 * pattern.pilots.tile()).numpy()


def test_the_key_is_derived_as_before():
    assert KEY.id == DOCUMENT["key_id"]
    assert pattern_of(KEY).pilots.waves.tolist() == DOCUMENT["pilot_waves"]
    assert pattern_of(KEY).pilots.phases == pytest.approx(DOCUMENT["pilot_phases"], abs=1e-6)


def test_a_record_payload_is_packed_as_before():
    case = DOCUMENT["cases"]["record"]
    assert Payload(case["record_id_prefix"], case["time"]).pack().hex() == case["payload"]


@pytest.mark.parametrize("name", DOCUMENT["cases"])
def test_message_codeword_layout_and_tile_are_as_before(name):
    case = DOCUMENT["cases"][name]
    payload = bytes.fromhex(case["payload"])
    profile = profile_for(payload)
    message = message_of(payload, KEY)
    layout = layout_of(KEY, profile)
    assert profile.name == case["profile"]
    assert from_bits(message).hex() == case["message"]
    assert np.packbits(coding.encode(message) > 0).tobytes().hex() == case["codeword"]
    assert hashlib.sha256(layout.positions.astype("<i8").tobytes()).hexdigest() == case["positions_sha256"]
    assert np.packbits(layout.signs > 0).tobytes().hex() == case["signs"]
    tile = np.asarray(Image.open(GOLDEN / f"tile-v1-{name}.png"), np.float32)
    drawn = 128 + 25 * old_tile(coding.encode(message), profile)
    assert tile.shape == (TILE, TILE)
    assert np.abs(tile - drawn).max() < 0.51


@pytest.mark.parametrize("name", DOCUMENT["cases"])
def test_a_picture_that_was_marked_then_is_read_now(name):
    with Image.open(GOLDEN / f"marked-v1-{name}.png") as image:
        found = Watermarker(KEY).detect(image)
    assert found is not None
    assert found.payload.hex() == DOCUMENT["cases"][name]["payload"]
    assert found.profile == DOCUMENT["cases"][name]["profile"]
