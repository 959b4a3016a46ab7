"""Find the pictures of a reference folder, whatever else is in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from provenance_guard.errors import LibraryError
from provenance_guard.pictures import SUFFIXES

_UNSUPPORTED = frozenset(
    {".heic", ".heif", ".jxl", ".jp2", ".psd", ".svg", ".raw", ".dng", ".cr2", ".nef", ".arw", ".exr", ".hdr", ".ico"}
)


@dataclass(frozen=True)
class Found:
    """A picture file: its path, its name relative to the folder (with forward slashes), size and time (ns) as its stamp."""

    path: Path
    name: str
    stamp: tuple[int, int]


@dataclass(frozen=True)
class Scan:
    """What is in a folder: the picture files in order of their names, and the names of what cannot be read, with reasons."""

    files: tuple[Found, ...]
    unreadable: dict[str, str]


def check_folder(folder: Path, library: Path) -> None:
    """Raise LibraryError unless ``folder`` is a readable folder that does not hold the library's own data."""
    if not folder.exists():
        raise LibraryError(
            f"The reference folder {folder} does not exist.", next_step="Check the path, or connect the drive it is on."
        )
    if not folder.is_dir():
        raise LibraryError(f"{folder} is a file, not a folder.", next_step="Name the folder that holds the references.")
    try:
        next(os.scandir(folder), None)
    except OSError as error:
        raise LibraryError(
            f"The reference folder {folder} cannot be read ({error.strerror}).", next_step="Make it readable."
        ) from error
    if library == folder:
        raise LibraryError(
            f"{folder} holds the library's own data.",
            next_step="Keep references and library data in different folders.",
        )


def find_pictures(folder: Path) -> Scan:
    """Walk through a folder. Links are followed, each folder is entered once, so a loop of links ends."""
    files: list[Found] = []
    unreadable: dict[str, str] = {}
    entered: set[tuple[int, int]] = set()

    def note(error: OSError) -> None:
        if error.filename:
            name = Path(error.filename).relative_to(folder).as_posix()
            unreadable[name] = f"{error.filename} cannot be read ({error.strerror})."

    for directory, subfolders, names in os.walk(folder, onerror=note, followlinks=True):
        identity = Path(directory).stat()
        if (identity.st_dev, identity.st_ino) in entered:
            subfolders.clear()
            continue
        entered.add((identity.st_dev, identity.st_ino))
        subfolders.sort()
        for name in sorted(names):
            path = Path(directory) / name
            _sort_in(path, path.relative_to(folder).as_posix(), files, unreadable)
    files.sort(key=lambda found: found.name)
    return Scan(tuple(files), unreadable)


def _sort_in(path: Path, name: str, files: list[Found], unreadable: dict[str, str]) -> None:
    suffix = path.suffix.lower()
    if path.name.startswith("._"):  # What macOS leaves beside files on other disks.
        return
    if suffix in _UNSUPPORTED:
        kind = suffix[1:].upper()
        unreadable[name] = f"{path} is a {kind} file, which is not supported here; convert it to PNG or JPEG."
    elif suffix in SUFFIXES:
        try:
            facts = path.stat()
        except OSError as error:
            unreadable[name] = f"{path} cannot be read ({error.strerror})."
            return
        files.append(Found(path, name, (facts.st_size, facts.st_mtime_ns)))
