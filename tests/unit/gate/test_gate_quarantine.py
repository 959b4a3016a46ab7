"""The folder of withheld originals: nothing readable in it, nothing half-written, and a reason for whatever goes wrong."""

from __future__ import annotations

import json
import stat
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from provenance_guard import files
from provenance_guard.errors import GuardError, KeyMissingError, OutputError, QuarantineError
from provenance_guard.gate import container
from provenance_guard.gate import quarantine as quarantine_module
from provenance_guard.gate.quarantine import Quarantine
from provenance_guard.pictures import pixel_sha256
from provenance_guard.provenance.record import new_record_id

GOLDEN = Path(__file__).parents[2] / "golden" / "gate"


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "data" / "quarantine", tmp_path / "keys")


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    return Image.fromarray(pixels, "RGB")


def record(record_id: str = "", **more: object) -> dict[str, object]:
    return {
        "id": record_id or new_record_id(),
        "time": "2026-11-22T10:00:00.000Z",
        "context": {"origin": "webui.txt2img", "parameters": {"prompt": "a secret castle"}},
        "decision": {"action": "quarantine", "reasons": ["Near copy of a.png."]},
        **more,
    }


def test_a_picture_comes_back_as_it_was(quarantine: Quarantine, picture: Image.Image) -> None:
    kept = quarantine.keep(picture, record())
    case = quarantine.open(kept.record_id)
    assert pixel_sha256(case.image) == pixel_sha256(picture)
    assert case.entry.record["context"]["parameters"] == {"prompt": "a secret castle"}
    assert (case.entry.reasons, case.evidence, case.entry.problem) == (("Near copy of a.png.",), b"", "")
    assert quarantine.entries() == [case.entry]
    assert kept.sha256 == files.sha256_file(kept.path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F", "HSV"])
def test_pictures_of_any_mode_are_kept(quarantine: Quarantine, mode: str) -> None:
    image = Image.new(mode, (7, 5))
    kept = quarantine.keep(image, record())
    assert quarantine.open(kept.record_id).image.size == (7, 5)


def test_nothing_readable_is_on_the_disk(quarantine: Quarantine, picture: Image.Image) -> None:
    kept = quarantine.keep(picture, record())
    content = kept.path.read_bytes()
    for readable in (b"PNG", b"IHDR", b"castle", b"Near copy", b"a.png", kept.record_id.encode(), b"2026"):
        assert readable not in content
    assert kept.path.name == f"{kept.record_id}.kept"
    assert {path.name for path in quarantine.folder.iterdir()} == {kept.path.name}
    if sys.platform != "win32":
        assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600
        assert stat.S_IMODE((quarantine.key_directory / "quarantine-1.key").stat().st_mode) == 0o600


def test_the_same_picture_twice_looks_different(quarantine: Quarantine, picture: Image.Image) -> None:
    first, second = (quarantine.keep(picture, record()).path.read_bytes() for _ in range(2))
    assert first[:16] == second[:16]
    assert first[16:48] != second[16:48]
    assert first[56:100] != second[56:100]


@given(cut=st.floats(0, 1), flip=st.floats(0, 0.999), bit=st.integers(0, 7))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_told_and_shows_no_pixel(
    quarantine: Quarantine, picture: Image.Image, cut: float, flip: float, bit: int
) -> None:
    kept = quarantine.keep(picture, record())
    whole = kept.path.read_bytes()
    flipped = bytearray(whole)
    flipped[int(flip * len(whole))] ^= 1 << bit
    for damaged in (whole[: int(cut * (len(whole) - 1))], bytes(flipped)):
        kept.path.write_bytes(damaged)
        with pytest.raises(GuardError) as caught:
            quarantine.open(kept.record_id)
        assert caught.value.next_step
        quarantine.entries()  # whatever it says, it says it without raising
    quarantine.remove(kept.record_id)


def test_a_renamed_container_does_not_pass_for_another_one(quarantine: Quarantine, picture: Image.Image) -> None:
    kept = quarantine.keep(picture, record())
    other = new_record_id()
    kept.path.rename(kept.path.with_name(f"{other}.kept"))
    with pytest.raises(QuarantineError, match="renamed"):
        quarantine.open(other)
    (entry,) = quarantine.entries()
    assert entry.record_id == other and "renamed" in entry.problem


def test_a_lost_key_is_told_and_not_replaced(quarantine: Quarantine, picture: Image.Image) -> None:
    kept = quarantine.keep(picture, record())
    key = quarantine.key_directory / "quarantine-1.key"
    saved = key.read_bytes()
    key.unlink()
    with pytest.raises(KeyMissingError, match="not in the key folder"):
        quarantine.open(kept.record_id)
    (entry,) = quarantine.entries()
    assert "not in the key folder" in entry.problem
    with pytest.raises(KeyMissingError, match="Restore"):
        quarantine.keep(picture, record())
    assert not key.exists()
    key.write_bytes(saved)
    assert quarantine.open(kept.record_id).image.size == picture.size


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "no quarantine key"),
        (b'{"format": "provenance-guard quarantine key", "version": 2}', "version is 2"),
        (b'{"format": "provenance-guard quarantine key", "version": 1, "secret": "00"}', "secret is damaged"),
    ],
)
def test_a_damaged_key_is_told(quarantine: Quarantine, picture: Image.Image, content: bytes, words: str) -> None:
    quarantine.key_directory.mkdir(parents=True)
    (quarantine.key_directory / "quarantine-1.key").write_bytes(content)
    with pytest.raises(KeyMissingError, match=words):
        quarantine.keep(picture, record())
    assert not quarantine.folder.exists() or not list(quarantine.folder.iterdir())


def test_an_older_key_still_opens_what_it_sealed(quarantine: Quarantine, picture: Image.Image) -> None:
    first = quarantine.keep(picture, record())
    other = Quarantine(quarantine.folder.parent / "other", quarantine.key_directory.parent / "other keys")
    other.keep(picture, record())
    new_key = (other.key_directory / "quarantine-1.key").read_bytes()
    (quarantine.key_directory / "quarantine-2.key").write_bytes(new_key)
    second = quarantine.keep(picture, record())
    assert first.path.read_bytes()[8:16] != second.path.read_bytes()[8:16]
    assert {entry.problem for entry in quarantine.entries()} == {""}


def test_a_full_disk_leaves_nothing_half_written(
    quarantine: Quarantine, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    quarantine.keep(picture, record())
    before = sorted(path.name for path in quarantine.folder.iterdir())

    def no_room(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_flush_to_disk", no_room)
    with pytest.raises(OutputError, match="disk is full"):
        quarantine.keep(picture, record())
    assert sorted(path.name for path in quarantine.folder.iterdir()) == before


def test_ids_are_completed_and_nothing_else_is_a_name(quarantine: Quarantine, picture: Image.Image) -> None:
    for record_id in ("ab" * 16, "ac" * 16):
        quarantine.keep(picture, record(record_id))
    assert quarantine.complete("AB") == "ab" * 16
    for prefix in ("a", "", "ff", "../../etc", "*"):
        with pytest.raises(QuarantineError):
            quarantine.complete(prefix)
    with pytest.raises(QuarantineError):
        quarantine.open("../../../etc/passwd")
    with pytest.raises(QuarantineError, match="not any more"):
        quarantine.open("ff" * 16)
    with pytest.raises(QuarantineError):
        quarantine.remove("ff" * 16)


def test_an_empty_quarantine_makes_no_folder_and_no_key(quarantine: Quarantine) -> None:
    assert quarantine.entries() == []
    assert not quarantine.folder.exists() and not quarantine.key_directory.exists()


def test_one_reviewer_decides_at_a_time(quarantine: Quarantine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine_module, "PATIENCE", 0.1)
    with quarantine.deciding(), pytest.raises(QuarantineError, match="Another reviewer"), quarantine.deciding():
        pass
    with pytest.raises(ZeroDivisionError), quarantine.deciding():
        raise ZeroDivisionError  # an error of the decision is not mistaken for another reviewer
    with quarantine.deciding():
        pass


def test_two_programs_that_make_the_first_key_at_once_share_it(tmp_path: Path, picture: Image.Image) -> None:
    start = threading.Barrier(4)
    kept = []

    def keep() -> None:
        own = Quarantine(tmp_path / "quarantine", tmp_path / "keys")
        start.wait()
        kept.append(own.keep(picture, record()))

    threads = [threading.Thread(target=keep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh = Quarantine(tmp_path / "quarantine", tmp_path / "keys")
    assert len(kept) == 4
    assert [entry.problem for entry in fresh.entries()] == [""] * 4


def test_the_format_of_version_1_stays_readable() -> None:
    names = json.loads((GOLDEN / "container-1.json").read_text("utf-8"))
    case = Quarantine(GOLDEN, GOLDEN).open(names["record_id"])
    assert pixel_sha256(case.image) == names["pixel_sha256"]
    assert case.entry.record == names["record"]
    assert case.evidence == names["evidence"].encode()


def test_a_container_of_a_newer_program_is_told(quarantine: Quarantine, picture: Image.Image) -> None:
    kept = quarantine.keep(picture, record())
    kept.path.write_bytes(container.MAGIC[:-1] + b"2" + kept.path.read_bytes()[8:])
    with pytest.raises(QuarantineError, match="newer program"):
        quarantine.open(kept.record_id)
