"""Existing pictures are taken into the ledger: read, never changed, each once."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from provenance_guard import backfill
from provenance_guard.backfill import find_outputs, import_pictures
from provenance_guard.config import Config, Policy, Settings
from provenance_guard.errors import UsageError
from provenance_guard.guard import Guard
from provenance_guard.ledger import events, verify_ledger
from provenance_guard.ledger.opening import opened_body
from provenance_guard.review.records import find_release

INFOTEXT = (
    "a quiet harbour, {}\nNegative prompt: blurry\n"
    "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: {}, Size: 64x48, Model hash: abcdef1234, Model: dreamer"
)
LOG = (
    "prompt,seed,width,height,sampler,cfgs,steps,filename,negative_prompt,sd_model_name,sd_model_hash\n"
    '"a stormy sea, ""waves""",77,64,48,Euler a,7.5,20,logged.png,calm,dreamer,abcdef1234\n'
    "no seed,,,,,,,other.png\n"
)


@pytest.fixture
def guard(tmp_path):
    settings = Settings(user="mara")
    with Guard(Config(tmp_path / "data", tmp_path / "keys", Policy(mode="off"), settings)) as opened:
        yield opened


def draw(path: Path, number: int, infotext: str | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8))
    if infotext and path.suffix == ".png":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_text("parameters", infotext)
    elif infotext:
        options["exif"] = exif_with(b"UNICODE\0" + infotext.encode("utf-16-be"))
    image.save(path, **options)
    return path


def exif_with(comment: bytes) -> bytes:
    """A big-endian TIFF directory that points to an EXIF directory with a UserComment, as the WebUI writes it."""
    head = b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHII", 0x8769, 4, 1, 26) + bytes(4)
    return b"Exif\0\0" + head + struct.pack(">HHHII", 1, 0x9286, 7, len(comment), 44) + bytes(4) + comment


@pytest.fixture
def outputs(tmp_path) -> Path:
    folder = tmp_path / "outputs"
    draw(folder / "txt2img" / "2024" / "00001.png", 1, INFOTEXT.format("png", 1))
    draw(folder / "txt2img" / "00002.jpg", 2, INFOTEXT.format("jpeg 雪", 2))
    draw(folder / "txt2img" / "00003.webp", 3, INFOTEXT.format("webp", 3))
    draw(folder / "texts" / "00004.png", 4)
    (folder / "texts" / "00004.txt").write_text(INFOTEXT.format("text file", 4), "utf-8")
    draw(folder / "texts" / "00005.png", 5)
    (folder / "texts" / "00005.txt").write_text("a shopping list", "utf-8")
    draw(folder / "log" / "logged.png", 6)
    (folder / "log" / "log.csv").write_text(LOG, "utf-8")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    (folder / "empty.jpg").write_bytes(b"")
    shutil.copy(folder / "txt2img" / "2024" / "00001.png", folder / "a copy.png")
    draw(folder / ".hidden" / "x.png", 9)
    (folder / "notes.md").write_text("x")
    return folder


def contexts(guard: Guard) -> dict[str, dict]:
    found = [opened_body(event)["record"]["context"] for event in guard.ledger.events(type=events.PICTURE_IMPORTED)]
    return {context["source_name"]: context for context in found}


def test_what_files_say_is_recorded_as_their_claim(guard, outputs, tmp_path):
    os.utime(outputs / "texts" / "00005.png", (1_700_000_000, 1_700_000_000))
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in outputs.rglob("*") if path.is_file()}
    seen = []
    results = import_pictures(find_outputs([outputs]), guard, lambda done, total, name: seen.append((done, total)))
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in before} == before
    assert seen == [(number, 9) for number in range(1, 10)]
    by_name = {result.source.name: result for result in results}
    assert {name for name, result in by_name.items() if result.outcome == "unreadable"} == {"broken.png", "empty.jpg"}
    assert "empty (0 bytes)" in by_name["empty.jpg"].reason
    # The copy comes first in order; the file with the same bytes is known then.
    assert by_name["00001.png"].outcome == "known" and by_name["00001.png"].record_id == by_name["a copy.png"].record_id

    found = contexts(guard)
    assert {name: context["parameters"].get("seed") for name, context in found.items()} == {
        "a copy.png": 1,
        "00002.jpg": 2,
        "00003.webp": 3,
        "00004.png": 4,
        "00005.png": None,
        "logged.png": 77,
    }
    assert found["00002.jpg"]["parameters"]["prompt"] == "a quiet harbour, jpeg 雪"
    assert found["00004.png"]["environment"]["infotext_from"] == "the text file beside it"
    logged = found["logged.png"]
    assert logged["parameters"]["prompt"] == 'a stormy sea, "waves"' and logged["parameters"]["cfg_scale"] == 7.5
    assert logged["environment"]["infotext_from"] == "log.csv"
    assert found["00005.png"]["claimed_time"] == "2023-11-14T22:13:20.000Z"
    assert found["00005.png"]["environment"]["claimed_time_from"] == "time of the file"
    assert {context["origin"] for context in found.values()} == {"import"}
    assert {context["user"] for context in found.values()} == {"mara"}

    release = find_release(guard.ledger, by_name["00002.jpg"].record_id)
    assert release.body["file_sha256"] == before[outputs / "txt2img" / "00002.jpg"]
    assert b"harbour" not in release.stored and b"00002" not in release.stored, (
        "private fields stand sealed in the tree"
    )
    assert [event.seq for event in guard.ledger.search("", {"seed": ["77"]})]
    assert verify_ledger(guard.ledger, public_keys=[guard.public_key]).sound


def test_a_second_import_adds_nothing(guard, outputs):
    import_pictures(find_outputs([outputs]), guard)
    size = guard.ledger.size
    results = import_pictures(find_outputs([outputs]), guard)
    assert {result.outcome for result in results} == {"known", "unreadable"}
    assert all(result.record_id for result in results if result.outcome == "known")
    assert guard.ledger.size == size


def test_what_left_through_the_door_is_known(guard, tmp_path):
    from provenance_guard.batch import Batch

    source = draw(tmp_path / "in" / "a.png", 1)
    outcome = Batch(guard, tmp_path / "out").guard_file(source)
    (tmp_path / "out").exists()
    (result,) = import_pictures([outcome.output], guard)
    assert (result.outcome, result.record_id) == ("known", outcome.release.record.id)


def test_the_same_pixels_in_another_file_name_what_they_came_from(guard, tmp_path):
    first = draw(tmp_path / "a.png", 1)
    again = draw(tmp_path / "b.png", 1, INFOTEXT.format("x", 5))
    one, two = import_pictures([first, again], guard)
    assert contexts(guard)["b.png"]["parents"] == [
        {"role": "source", "pixel_sha256": find_release(guard.ledger, one.record_id).body["pixel_sha256"],
         "record_id": one.record_id, "found_by": "pixels"}
    ]  # fmt: skip
    assert two.outcome == "imported"


@pytest.mark.parametrize("stop_after", [1, 7, 12])
def test_an_interrupted_import_goes_on(guard, tmp_path, monkeypatch, stop_after):
    monkeypatch.setattr(backfill, "GROUP", 4)
    sources = [draw(tmp_path / "in" / f"{number:02}.png", number) for number in range(20)]

    def interrupt(done: int, total: int, name: str) -> None:
        if done == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_pictures(sources, guard, interrupt)
    done = len(list(guard.ledger.events(type=events.PICTURE_IMPORTED)))
    assert done == stop_after, "what was counted as done is recorded"
    results = import_pictures(sources, guard)
    assert [result.outcome for result in results].count("imported") == 20 - done
    assert len(contexts(guard)) == 20
    assert verify_ledger(guard.ledger, public_keys=[guard.public_key]).sound


def test_appends_come_in_groups(guard, tmp_path, monkeypatch):
    sizes = []
    append = type(guard.ledger).append_many
    monkeypatch.setattr(
        type(guard.ledger), "append_many", lambda self, new: sizes.append(len(new)) or append(self, new)
    )
    import_pictures([draw(tmp_path / f"{number}.png", number) for number in range(150)], guard)
    assert sizes == [64, 64, 22]


@pytest.mark.parametrize("content", ["", "prompt\n", "\0\0", "filename,seed\nx.png,abc\n", 'filename,prompt\n"x.png'])
def test_a_damaged_log_stops_nothing(guard, tmp_path, content):
    (tmp_path / "log.csv").write_text(content, "utf-8")
    (result,) = import_pictures([draw(tmp_path / "x.png", 1)], guard)
    assert result.outcome == "imported"


def test_nothing_to_take_in_is_told(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        find_outputs([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="no pictures"):
        find_outputs([tmp_path])
    assert find_outputs([draw(tmp_path / "a.png", 1)]) == [tmp_path / "a.png"]
