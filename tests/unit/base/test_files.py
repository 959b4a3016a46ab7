"""Files are written whole or not at all, and what the system refuses is told in one sentence."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance_guard.errors import OutputError
from provenance_guard.files import create_once, sha256_file, staged_file, write_atomically

posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_a_new_file_and_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "一 二" / "a.bin"
    write_atomically(path, b"content")
    assert path.read_bytes() == b"content"
    assert names(path.parent) == ["a.bin"]


def test_the_old_file_stays_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="our own"), staged_file(path) as staged:
        staged.write_bytes(b"half of the n")
        raise RuntimeError("our own")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_readers_see_the_old_or_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    contents = {letter * 200_000 for letter in (b"a", b"b", b"c")}
    write_atomically(path, b"a" * 200_000)
    seen, stop = set(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(10):
        for content in sorted(contents):
            write_atomically(path, content)
    stop.set()
    reader.join()
    assert seen <= contents


def test_the_staged_name_keeps_the_suffix_and_folder(tmp_path: Path) -> None:
    with staged_file(tmp_path / "a.webp") as staged:
        assert (staged.suffix, staged.parent) == (".webp", tmp_path)
        staged.write_bytes(b"x")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (getattr(errno, "EDQUOT", errno.ENOSPC), "disk is full"),
        (errno.EACCES, "No permission"),
        (errno.EROFS, "No permission"),
        (errno.ENAMETOOLONG, "too long"),
        (errno.EIO, "could not be written"),
    ],
)
@pytest.mark.parametrize("old", [None, b"old"])
def test_what_the_system_refuses(
    tmp_path: Path, number: int, words: str, old: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    if old is not None:
        path.write_bytes(old)
    whole_write = Path.write_bytes

    def half_written(self: Path, data: bytes) -> int:
        whole_write(self, data[: len(data) // 2])
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", half_written)
        with pytest.raises(OutputError, match=words) as caught:
            write_atomically(path, b"new content")
    assert caught.value.next_step
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ([] if old is None else ["a.png"])
    assert old is None or path.read_bytes() == old


def test_a_disk_that_is_full_at_the_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        for write in (write_atomically, create_once):
            with pytest.raises(OutputError, match="disk is full"):
                write(tmp_path / "a.png", b"content")
    assert names(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_really_full_device(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="disk is full"), staged_file(tmp_path / "a.png") as staged:  # noqa: SIM117
        with open("/dev/full", "wb", buffering=0) as device:  # noqa: PTH123
            device.write(b"x" * staged.stat().st_blksize)
    assert names(tmp_path) == []


@pytest.mark.parametrize("write", [write_atomically, create_once])
def test_a_file_in_place_of_the_folder(tmp_path: Path, write: object) -> None:
    (tmp_path / "out").write_bytes(b"a file")
    for path in (tmp_path / "out" / "a.png", tmp_path / "out" / "deeper" / "a.png"):
        with pytest.raises(OutputError, match=r"not a folder|could not be written"):
            write(path, b"content")  # type: ignore[operator]
    assert (tmp_path / "out").read_bytes() == b"a file"


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OutputError):
        write_atomically(tmp_path / "a.png", b"content")
    assert names(tmp_path) == ["a.png"]


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"too long|could not be written"):
        write_atomically(tmp_path / ("n" * 300 + ".png"), b"content")
    assert names(tmp_path) == []


@posix_only
def test_modes(tmp_path: Path) -> None:
    write_atomically(tmp_path / "open", b"")
    write_atomically(tmp_path / "private", b"", private=True)
    create_once(tmp_path / "once", b"", private=True)
    (tmp_path / "kept").write_bytes(b"old")
    (tmp_path / "kept").chmod(0o640)
    write_atomically(tmp_path / "kept", b"new")
    (tmp_path / "was open").write_bytes(b"old")
    write_atomically(tmp_path / "was open", b"secret", private=True)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"open": 0o644, "private": 0o600, "once": 0o600, "kept": 0o640, "was open": 0o600}


@posix_only
def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "real.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to(tmp_path / "store" / "real.png")
    write_atomically(tmp_path / "link.png", b"new")
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "store" / "real.png").read_bytes() == b"new"


def test_create_once(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "key"
    assert create_once(path, b"first", private=True)
    assert not create_once(path, b"second")
    assert path.read_bytes() == b"first"
    assert names(path.parent) == ["key"]


def test_of_many_creators_one_wins(tmp_path: Path) -> None:
    path, results = tmp_path / "key", []
    start = threading.Barrier(8)

    def create(number: int) -> None:
        start.wait()
        if create_once(path, bytes([number]) * 1000):
            results.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 1
    assert path.read_bytes() == bytes([results[0]]) * 1000
    assert names(tmp_path) == ["key"]


def test_creating_once_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EPERM, "no links on this disk")

    monkeypatch.setattr(os, "link", unsupported)
    assert create_once(tmp_path / "key", b"first")
    assert not create_once(tmp_path / "key", b"second")
    assert (tmp_path / "key").read_bytes() == b"first"


@given(st.binary(max_size=3000))
def test_sha256_of_a_file(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "hashed.bin"
    path.write_bytes(content)
    assert sha256_file(path) == hashlib.sha256(content).hexdigest()


def test_sha256_of_a_file_larger_than_a_chunk(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "large").write_bytes(content)
    assert sha256_file(tmp_path / "large") == hashlib.sha256(content).hexdigest()
