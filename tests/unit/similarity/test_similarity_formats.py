from __future__ import annotations

import hashlib
import json
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from similarity_pictures import draw_scene

from provenance_guard.similarity import Library, features, gradients, hashes, vocabulary
from provenance_guard.similarity.features import LocalFeatures
from provenance_guard.similarity.normalise import normalise

GOLDEN = Path(__file__).parents[2] / "golden" / "similarity" / "formats-2.json"


def _features(bright: int, dark: int, seed: int) -> LocalFeatures:
    random = np.random.default_rng(seed)
    number = bright + dark
    points = np.stack([*random.random((3, number)), random.uniform(-9, 9, number)], axis=1).astype(np.float32)
    descriptors = random.integers(0, 128, (number, 128)).astype(np.int8)
    descriptors[:, 0] = 1  # A described place is never all zero.
    return LocalFeatures(points, descriptors, np.arange(number) < bright)


@given(st.integers(0, 150), st.integers(0, 150), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_packed_features_come_back(bright: int, dark: int, seed: int) -> None:
    before = _features(bright, dark, seed)
    after = features.unpack(np.frombuffer(features.pack(before), np.uint8))
    assert np.array_equal(after.descriptors, before.descriptors)
    assert np.array_equal(after.bright, before.bright)
    assert after.points[:, :3] == pytest.approx(before.points[:, :3], abs=1e-4)
    turn = after.points[:, 3] - before.points[:, 3]
    assert np.cos(turn) == pytest.approx(np.ones(len(turn)), abs=1e-6)


def test_the_stored_forms_are_those_of_version_1() -> None:
    golden = json.loads(GOLDEN.read_text("utf-8"))
    angles = np.arange(7, dtype=np.float32)
    points = np.stack([angles / 7, angles / 14, angles / 28, angles], axis=1)
    descriptors = (np.arange(7 * 128) % 128).astype(np.int8).reshape(7, 128)
    packed = features.pack(LocalFeatures(points, descriptors, np.arange(7) < 3))
    assert f"{features.ALGORITHM} {features.VERSION}" == golden["features"]
    assert hashlib.sha256(packed).hexdigest() == golden["packed_features_sha256"]
    assert f"{hashes.ALGORITHM} {hashes.VERSION}" == golden["hash"]
    ramp = np.add.outer(np.arange(96) ** 2 // 50, np.arange(128)).astype(np.uint8)
    stored = hashes.hash_reference(normalise(Image.fromarray(ramp)))
    words = np.frombuffer(vocabulary.pack(packed), "<u2")
    assert f"{vocabulary.ALGORITHM} {vocabulary.VERSION}" == golden["words"]
    assert words[:3].tolist() + words[150:154].tolist() == golden["words_of_features"]
    assert (words == vocabulary.UNUSED).sum() == features.REFERENCE_COUNT - 7
    distance = np.unpackbits(stored[0] ^ np.frombuffer(bytes.fromhex(golden["hash_of_ramp"]), np.uint8)).sum()
    assert distance <= 8  # Pillow releases resize a little differently.
    assert f"{gradients.ALGORITHM} {gradients.VERSION}" == golden["gradients"]
    edges = np.frombuffer(gradients.pack(Image.fromarray(ramp)), "<f2")
    expected = np.frombuffer(bytes.fromhex(golden["gradients_of_ramp"]), "<f2")
    assert edges.astype(np.float32) @ expected.astype(np.float32) > 0.99


def test_the_database_has_the_columns_of_version_2(tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text("utf-8"))
    Library.open(tmp_path / "data").close()
    database = sqlite3.connect(tmp_path / "data" / "library.sqlite3")
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    columns = {name: [row[1] for row in database.execute(f"PRAGMA table_info({name})")] for name in tables}
    assert columns == golden["columns"]


def test_a_library_of_format_1_is_brought_up_to_date(tmp_path: Path) -> None:
    with zipfile.ZipFile(GOLDEN.with_name("library-1.zip")) as archive:
        archive.extractall(tmp_path / "data")
    draw_scene(1, (240, 180)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "new.png")
    with Library.open(tmp_path / "data") as library:
        verdict = library.screen(draw_scene(3, (240, 180)).rotate(10))
        assert (verdict.level, verdict.references) == ("near_copy", 2)
        assert verdict.matches[0].reference.name == "3.png"
        assert library.screen(draw_scene(2, (240, 180))).level == "clean"  # Was removed by the earlier version.
        assert library.add(tmp_path / "new.png")
        assert len(library.screen(draw_scene(1, (240, 180))).matches) == 2
        kinds = {"phash256 1.1", "rootsift 1.1", "visual-words 1.1.1", "gradients 1.1"}
        assert set(library.status().algorithms) == kinds
        assert library.status().algorithms["gradients 1.1"] == 1  # Only the new one: the others get theirs in a sync.
        assert any("format" in note for note in library.sync(tmp_path).notes)
        assert len(set(library.status().algorithms.values())) == 1
    with Library.open(tmp_path / "data") as library:
        assert library.sync(tmp_path).notes == ()


def test_variants_are_the_features_of_the_changed_picture() -> None:
    scene = draw_scene(3)
    plain = features.describe(normalise(scene), 600)
    for index, change in ((1, Image.Transpose.FLIP_LEFT_RIGHT), (2, None)):
        changed = scene.transpose(change) if change is not None else Image.eval(scene, lambda level: 255 - level)
        expected = features.describe(normalise(changed), 600)
        got = features.variant(plain, index)
        cosines = got.descriptors.astype(float) @ expected.descriptors.astype(float).T / features.SCALE**2
        best = cosines.argmax(axis=1)
        equal = cosines.max(axis=1) > 0.98
        assert equal.mean() > 0.8
        assert (got.bright[equal] == expected.bright[best[equal]]).mean() > 0.99


def test_a_turned_picture_has_the_hash_of_its_orientation() -> None:
    scene = draw_scene(4, (384, 384))
    stored = hashes.signs(hashes.hash_reference(normalise(scene)))[0]
    for number in range(8):
        turned = hashes.orient(scene, number)
        cosines = hashes.signs(hashes.hash_orientations(normalise(turned)))[0] @ stored / hashes.BITS
        assert cosines.max() > 0.9
        assert (cosines > 0.9).sum() == 1
