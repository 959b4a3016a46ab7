from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from similarity_pictures import draw_scene

from provenance_guard.errors import LibraryError, PictureError
from provenance_guard.similarity import Library, local, segments
from provenance_guard.similarity import library as library_module


@pytest.fixture
def references(tmp_path: Path) -> Path:
    folder = tmp_path / "references"
    (folder / "inner").mkdir(parents=True)
    for seed in range(3):
        draw_scene(seed).save(folder / f"scene {seed}.png")
    draw_scene(3).save(folder / "inner" / "景色 🏞.jpg", quality=92)
    return folder


@pytest.fixture
def library(tmp_path: Path, references: Path) -> Library:
    with Library.open(tmp_path / "data") as opened:
        opened.sync(references)
        yield opened


def test_sync_counts_what_changed(tmp_path: Path, references: Path) -> None:
    library = Library.open(tmp_path / "data")
    calls: list[tuple[int, int, str]] = []
    first = library.sync(references, progress=lambda *call: calls.append(call))
    assert (first.added, first.updated, first.removed, first.unchanged) == (4, 0, 0, 0)
    assert calls[0] == (0, 4, "inner/景色 🏞.jpg")
    assert calls[-1] == (4, 4, "")

    draw_scene(9).save(references / "scene 0.png")
    (references / "scene 1.png").unlink()
    os.utime(references / "scene 2.png", (1, 1))
    draw_scene(10).save(references / "new.webp", lossless=True)
    second = library.sync(references)
    assert (second.added, second.updated, second.removed, second.unchanged) == (1, 1, 1, 2)
    third = library.sync(references)
    assert (third.added, third.updated, third.removed, third.unchanged) == (0, 0, 0, 4)
    assert library.screen(draw_scene(1)).level == "clean"
    assert library.screen(draw_scene(9)).matches[0].reference == references / "scene 0.png"


def test_a_moved_file_is_found_at_its_new_place(library: Library, references: Path) -> None:
    (references / "scene 1.png").rename(references / "inner" / "moved.png")
    report = library.sync(references)
    assert (report.added, report.removed) == (1, 1)
    assert library.screen(draw_scene(1)).matches[0].reference == references / "inner" / "moved.png"


def _write_bomb(path: Path, side: int) -> None:
    """A PNG of ``side`` x ``side`` pixels in a few kilobytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + (side + 7) // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def _make_dirty_folder(folder: Path) -> tuple[set[str], dict[str, str]]:
    """Good files, and bad ones with a word that their reason must hold."""
    folder.mkdir()
    scene = draw_scene(5)
    scene.save(folder / "good.png")
    whole = (folder / "good.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    scene.save(folder / "whole.jpg")
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:9000])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("no picture", "utf-8")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (folder / "named wrong.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (folder / "notes.txt").write_text("ignored", "utf-8")
    (folder / "._good.png").write_bytes(b"resource fork")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    _write_bomb(folder / "bomb.png", 30_000)
    scene.convert("CMYK").save(folder / "cmyk.jpg")
    scene.convert("P").save(folder / "palette.png")
    scene.convert("L").point(lambda v: v * 257, "I").save(folder / "sixteen.png")
    Image.fromarray(np.asarray(scene.convert("L"), np.uint16) * 257).save(folder / "sixteen.tif")
    scene.convert("LA").save(folder / "alpha.png")
    scene.convert("1").save(folder / "bits.png")
    scene.save(folder / "moving.gif", save_all=True, append_images=[draw_scene(6)])
    scene.save(folder / "moving.webp", save_all=True, append_images=[draw_scene(6)])
    scene.save(folder / "🦊👩‍🎨 بطة.png")
    scene.save(folder / ("ä" * 120 + "x" * 11 + ".png"))  # 255 bytes
    good = {"good.png", "whole.jpg", "cmyk.jpg", "palette.png", "sixteen.png", "sixteen.tif", "alpha.png", "bits.png"}
    good |= {"moving.gif", "moving.webp", "🦊👩‍🎨 بطة.png", "ä" * 120 + "x" * 11 + ".png"}
    bad = {
        "cut.png": "truncated",
        "cut.jpg": "truncated",
        "empty.jpg": "empty",
        "text.png": "not a picture",
        "phone.heic": "HEIC",
        "named wrong.jpg": "not supported",
        "dot.png": "too small",
        "bomb.png": "pixels",
    }
    return good, bad


@pytest.mark.skipif(sys.platform == "win32", reason="such names and links are refused there")
def test_a_dirty_folder_is_indexed_as_far_as_possible(tmp_path: Path) -> None:
    folder = tmp_path / "dirty"
    good, bad = _make_dirty_folder(folder)
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    bad["dangling.png"] = "No such file"
    shutil.copy(folder / "good.png", folder / "locked.png")
    (folder / "locked.png").chmod(0)
    if os.geteuid():
        bad["locked.png"] = "permission"
    else:  # The administrator may read everything.
        good.add("locked.png")
    report = Library.open(tmp_path / "data").sync(folder)
    told = {path.relative_to(folder).as_posix(): reason for path, reason in report.unreadable}
    assert set(told) == set(bad)
    assert {name: reason for name, reason in told.items() if bad[name].lower() not in reason.lower()} == {}
    assert report.added == len(good)
    again = Library.open(tmp_path / "data")
    assert again.status().unreadable == report.unreadable
    assert again.sync(folder).unchanged == len(good)
    assert again.screen(draw_scene(5)).level == "near_copy"


def test_a_file_that_became_unreadable_no_longer_matches(library: Library, references: Path) -> None:
    (references / "scene 1.png").write_bytes(b"broken now")
    report = library.sync(references)
    assert [path.name for path, _ in report.unreadable] == ["scene 1.png"]
    assert library.screen(draw_scene(1)).level == "clean"
    draw_scene(1).save(references / "scene 1.png")
    assert library.sync(references).unreadable == ()
    assert library.screen(draw_scene(1)).level == "near_copy"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_loop_of_links_ends(tmp_path: Path, references: Path) -> None:
    (references / "inner" / "loop").symlink_to(references, target_is_directory=True)
    (references / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    report = Library.open(tmp_path / "data").sync(references)
    assert report.added == 4
    assert [path.name for path, _ in report.unreadable] == ["dangling.png"]


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    library = Library.open(tmp_path / "data")
    with pytest.raises(LibraryError, match="does not exist"):
        library.sync(tmp_path / "nowhere")
    file = tmp_path / "file.png"
    draw_scene(1).save(file)
    with pytest.raises(LibraryError, match="not a folder"):
        library.sync(file)
    (tmp_path / "empty").mkdir()
    report = library.sync(tmp_path / "empty")
    assert report.added == 0
    assert "no pictures" in report.notes[0]
    verdict = library.screen(draw_scene(1))
    assert verdict.level == "clean"
    assert any("empty" in note for note in verdict.notes)


def test_the_reference_folder_is_never_written_to(tmp_path: Path, references: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in references.rglob("*"))
    Library.open(tmp_path / "data").sync(references)
    assert sorted((path, path.stat().st_mtime_ns) for path in references.rglob("*")) == before
    with pytest.raises(LibraryError, match="own data"):
        Library.open(references).sync(references)


def test_the_library_outlives_a_vanished_reference_folder(library: Library, references: Path) -> None:
    shutil.rmtree(references)
    with pytest.raises(LibraryError):
        library.sync(references)
    assert library.screen(draw_scene(2)).level == "near_copy"


def test_remove_a_picture_and_a_folder(library: Library, references: Path) -> None:
    assert library.remove(references / "scene 1.png") == 1
    assert library.screen(draw_scene(1)).level == "clean"
    assert library.screen(draw_scene(2)).level == "near_copy"
    assert library.remove(references) == 3
    assert library.status().references == 0
    assert library.status().folders == {}
    assert library.remove(references) == 0


def test_status_tells_what_is_compared(library: Library, references: Path) -> None:
    status = library.status()
    assert status.references == 4
    assert status.folders == {references: 4}
    assert len(status.algorithms) >= 2
    assert all(count == 4 for count in status.algorithms.values())
    assert status.embedding is None
    assert "weight file" in status.embedding_reason


def test_equal_files_are_described_once(tmp_path: Path, references: Path) -> None:
    shutil.copy(references / "scene 1.png", references / "again.png")
    library = Library.open(tmp_path / "data")
    assert library.sync(references).added == 5
    assert set(library.status().algorithms.values()) == {4}
    (references / "again.png").unlink()
    library.sync(references)
    assert library.screen(draw_scene(1)).matches[0].reference == references / "scene 1.png"


def test_a_screen_of_some_folders_sees_only_those(library: Library, references: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    draw_scene(50).save(other / "50.png")
    shutil.copy(references / "scene 1.png", other / "same content.png")
    library.sync(other)
    assert library.screen(draw_scene(2)).references == 5
    assert library.screen(draw_scene(2), folders=[other]).level == "clean"
    assert library.screen(draw_scene(50), folders=[other]).matches[0].reference == other / "50.png"
    assert library.screen(draw_scene(1), folders=[other]).matches[0].reference == other / "same content.png"
    with pytest.raises(LibraryError, match="not in the library"):
        library.screen(draw_scene(1), folders=[tmp_path])


def test_a_damaged_database_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "library.sqlite3").write_bytes(b"this is no database" * 100)
    with pytest.raises(LibraryError, match=r"damaged.*index the references again"):
        Library.open(tmp_path / "data")


def test_a_cut_vector_file_says_what_to_do(library: Library, tmp_path: Path) -> None:
    library.close()
    for file in (tmp_path / "data").glob("rootsift*.vectors"):
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(LibraryError, match="index the references again"):
        library.screen(draw_scene(1))


def test_a_library_of_a_later_format_is_refused(library: Library, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "data" / "library.sqlite3") as database:
        database.execute("UPDATE meta SET value = 99 WHERE key = 'format'")
    with pytest.raises(LibraryError, match="format 99"):
        Library.open(tmp_path / "data")


def test_bytes_of_a_killed_writer_are_written_over(library: Library, references: Path, tmp_path: Path) -> None:
    for file in (tmp_path / "data").glob("*.vectors"):
        with file.open("ab") as stream:
            stream.write(b"half a row that no committed row names")
    draw_scene(20).save(references / "later.png")
    assert library.sync(references).added == 1
    assert library.screen(draw_scene(20)).matches[0].reference.name == "later.png"
    assert library.screen(draw_scene(2)).matches[0].reference.name == "scene 2.png"


_SYNC = "import sys; from provenance_guard.similarity import Library; from pathlib import Path; Library.open(Path(sys.argv[1])).sync(Path(sys.argv[2]))"


_TELL = """
import sys
from pathlib import Path
from provenance_guard.similarity import Library
tell = lambda done, total, name: print(done, flush=True)
Library.open(Path(sys.argv[1])).sync(Path(sys.argv[2]), progress=tell)
"""


def test_a_killed_sync_loses_nothing_that_was_done(tmp_path: Path, references: Path) -> None:
    for seed in range(60, 66):
        draw_scene(seed).save(references / f"{seed}.png")
    arguments = [sys.executable, "-c", _TELL, str(tmp_path / "data"), str(references)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout:
            told = int(line)
            if told >= 4:  # So many are done, more have begun.
                running.kill()
                break
    library = Library.open(tmp_path / "data")
    done = library.status().references
    assert told <= done
    report = library.sync(references)
    assert (report.unchanged, report.added) == (done, 10 - done)
    for seed, name in ((60, "60.png"), (65, "65.png"), (1, "scene 1.png")):
        assert library.screen(draw_scene(seed)).matches[0].reference.name == name


def test_two_processes_fill_one_library(tmp_path: Path, references: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for seed in range(30, 34):
        draw_scene(seed).save(other / f"{seed}.png")
    running = [
        subprocess.Popen([sys.executable, "-c", _SYNC, str(tmp_path / "data"), str(folder)])
        for folder in (references, other)
    ]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    library = Library.open(tmp_path / "data")
    assert library.status().references == 8
    for seed, name in ((1, "scene 1.png"), (31, "31.png")):
        assert library.screen(draw_scene(seed)).matches[0].reference.name == name


def test_threads_screen_while_another_syncs(library: Library, references: Path) -> None:
    problems: list[Exception] = []

    def screen(seed: int) -> None:
        try:
            for _ in range(2):
                assert library.screen(draw_scene(seed)).level == "near_copy"
        except Exception as error:
            problems.append(error)

    def sync() -> None:
        try:
            for seed in range(41, 43):
                draw_scene(seed).save(references / f"added {seed}.png")
                library.sync(references)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=screen, args=(seed,)) for seed in range(3)] + [threading.Thread(target=sync)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert library.screen(draw_scene(42)).level == "near_copy"


def test_a_picture_too_small_to_compare_is_refused(library: Library) -> None:
    with pytest.raises(PictureError, match="too small"):
        library.screen(Image.new("RGB", (1, 1)))


def test_a_picture_that_is_added_is_found_at_once(library: Library, references: Path, tmp_path: Path) -> None:
    library.screen(draw_scene(1))
    for seed in range(70, 73):
        target = references / f"{seed}.png"
        draw_scene(seed).save(target)
        assert library.add(target)
        assert not library.add(target)
        assert library.screen(draw_scene(seed)).matches[0].reference == target
    assert library.sync(references).unchanged == 7
    outside = tmp_path / "outside" / "x.png"
    outside.parent.mkdir()
    draw_scene(75).save(outside)
    assert library.add(outside)
    assert library.status().folders == {outside.parent: 1, references: 7}
    assert library.remove(references / "71.png") == 1
    assert library.screen(draw_scene(71)).level == "clean"
    assert library.screen(draw_scene(72)).level == "near_copy"
    assert library.screen(draw_scene(75)).level == "near_copy"


def test_a_picture_that_cannot_be_added_says_why(library: Library, references: Path, tmp_path: Path) -> None:
    (references / "broken.png").write_bytes(b"no picture")
    with pytest.raises(PictureError):
        library.add(references / "broken.png")
    with pytest.raises(PictureError, match="cannot be read"):
        library.add(references / "missing.png")
    with pytest.raises(LibraryError, match="not in the folder"):
        library.add(references / "scene 1.png", folder=tmp_path / "data")


def test_unused_rows_are_given_up(
    library: Library, references: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "_COMPACT_FROM", 1)
    before = {path.name: path.stat().st_size for path in (tmp_path / "data").glob("*.vectors")}
    for name in ("scene 0.png", "scene 1.png"):
        (references / name).unlink()
    library.sync(references)
    after = {path.name: path.stat().st_size for path in (tmp_path / "data").glob("*.vectors")}
    assert sum(after.values()) * 2 == sum(before.values())
    assert not set(before) & set(after)
    assert library.screen(draw_scene(1)).level == "clean"
    assert library.screen(draw_scene(2)).matches[0].reference.name == "scene 2.png"
    draw_scene(80).save(references / "80.png")
    library.sync(references)
    with Library.open(tmp_path / "data") as again:
        for seed, name in ((80, "80.png"), (3, "景色 🏞.jpg"), (2, "scene 2.png")):
            assert again.screen(draw_scene(seed)).matches[0].reference.name == name


def test_a_library_grows_and_shrinks_while_it_is_loaded(
    library: Library, references: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_ADDED_AT_ONCE", 2)  # Part of it is built anew from the third one on.
    present = {2}
    for step, seed in enumerate((81, 82, 83, 84)):
        draw_scene(seed).save(references / f"{seed}.png")
        library.add(references / f"{seed}.png")
        present.add(seed)
        if step % 2:
            library.remove(references / f"{seed - 1}.png")
            present.discard(seed - 1)
        for other in (2, seed - 1, seed):
            level = library.screen(draw_scene(other).crop((60, 40, 400, 300))).level
            assert level == ("near_copy" if other in present else "clean"), (seed, other)


def test_a_device_without_memory_hands_over_to_the_cpu(
    library: Library, references: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = library_module.Cascade

    def refuse(*values: object, device: torch.device, **named: object) -> object:
        if device.type != "cpu":
            raise torch.cuda.OutOfMemoryError("out of memory")
        return load(*values, device=device, **named)

    monkeypatch.setattr(library_module, "Cascade", refuse)
    library._device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    verdict = library.screen(draw_scene(2))
    assert verdict.level == "near_copy"
    assert any("memory of cuda was short" in note for note in verdict.notes)
