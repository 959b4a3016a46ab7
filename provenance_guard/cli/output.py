"""What a person or a program reads: tables, progress, one JSON document."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document to stdout, in ASCII so that no console encoding can break it."""
    print(json.dumps(document, indent=2, ensure_ascii=True))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns to stdout; the last one is wrapped to the width of the terminal."""
    lines = [list(header), *([cell or "-" for cell in row] for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(header) - 1)]
    room = max(30, shutil.get_terminal_size((120, 24)).columns - sum(widths) - 2 * len(widths))
    lines.insert(1, ["-" * width for width in widths] + ["-" * min(room, max(_width(line[-1]) for line in lines))])
    for *cells, last in lines:
        first, *rest = textwrap.wrap(last, room) or [""]
        print("  ".join([*map(_pad, cells, widths), first]).rstrip())
        for line in rest:
            print(" " * (sum(widths) + 2 * len(widths)) + line)


def track(items: Sequence[T], title: str) -> Iterator[T]:
    """Go through ``items`` with a progress bar on stderr, when a person is looking."""
    return iter(tqdm(items, desc=title, unit="picture", file=sys.stderr, disable=None, leave=False))


def progress_callback(title: str) -> Callable[[int, int, str], None]:
    """A progress bar on stderr for work that reports ``(done, total, name)``."""
    bar = tqdm(desc=title, unit="file", file=sys.stderr, disable=None, leave=False)

    def report(done: int, total: int, name: str) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return report


def complain(text: str) -> None:
    """One line for a person, on stderr."""
    print(text, file=sys.stderr)


def forgive_encodings() -> None:
    """Never let a console that lacks a character (Windows code pages) end the program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _pad(cell: str, width: int) -> str:
    return cell + " " * (width - _width(cell))


def _width(text: str) -> int:
    """Columns on a terminal: wide (Chinese, Japanese, Korean) characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
