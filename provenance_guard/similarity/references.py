"""What the user says about references: ``references.toml`` in a reference folder.

[folder]                        # holds for every picture of the folder that says nothing else
name = "Beatrix Potter"
author = "Beatrix Potter"
licence = "public domain"
near_copy = 0.9                 # probability from which a match is a near copy

[pictures."plates/peter 01.png"]
title = "Peter under the gate"
source = "https://www.gutenberg.org/ebooks/14838"
cleared = true                  # may be copied: is named in a verdict, never blocks
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from provenance_guard.errors import LibraryError
from provenance_guard.json_types import Json

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_NAME = "references.toml"

_LONGEST = 1 << 20


@dataclass(frozen=True)
class Notice:
    """What is known of one reference. ``folder`` is the name of its folder; ``review`` and ``near_copy`` are probabilities that
    take the place of the caller's; a ``cleared`` reference is named, but raises no alarm."""

    folder: str = ""
    title: str = ""
    author: str = ""
    licence: str = ""
    source: str = ""
    review: float | None = None
    near_copy: float | None = None
    cleared: bool = False

    def to_json(self) -> dict[str, Json]:
        """What is said, without what is not."""
        return {name: value for name, value in asdict(self).items() if value not in ("", None, False)}

    def limits(self, asked: Mapping[str, float]) -> dict[str, float]:
        """The limits for this reference: its own, or else those that the caller asked for."""
        near_copy = asked["near_copy"] if self.near_copy is None else self.near_copy
        review = min(asked["review"], near_copy) if self.review is None else self.review
        return {**asked, "near_copy": near_copy, "review": review}


@dataclass(frozen=True)
class Notices:
    """The notices of one folder: ``common`` for its pictures, ``pictures`` by path relative to the folder."""

    common: Notice = Notice()
    pictures: Mapping[str, Notice] = field(default_factory=dict)

    def of(self, name: str) -> Notice:
        """The notice of a picture."""
        return self.pictures.get(name, self.common)


def describe_notice(notice: Mapping[str, Any]) -> str:
    """In one line what a reviewer should know of a reference, from the JSON of its notice; empty when nothing is said."""
    told = {name: str(notice.get(name) or "") for name in ("folder", "title", "author", "licence", "source")}
    what = ", ".join(filter(None, (told["title"] or told["folder"], told["author"])))
    licence = told["licence"] and f"licence: {told['licence']}"
    source = told["source"] and f"source: {told['source']}"
    return "; ".join(filter(None, (what, licence, source, "cleared" if notice.get("cleared") else "")))


def read_file(folder: Path) -> str | None:
    """The text of a folder's ``references.toml``, None when there is none. Raises LibraryError when it is not valid."""
    path = folder / FILE_NAME
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > _LONGEST:
            raise _error(path, f"is larger than {_LONGEST >> 20} MB")
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise _error(path, f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise _error(path, "is not UTF-8 text") from error
    parse(text, path)
    return text


def parse(text: str, path: Path) -> Notices:
    """The notices in a text; ``path`` is named in errors. Raises LibraryError with what is wrong."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _error(path, f"is not valid TOML: {error}") from error
    unknown = sorted(document.keys() - {"folder", "pictures"})
    if unknown:
        raise _error(path, f"has an unknown table or key {unknown[0]!r}; known are [folder] and [pictures.NAME]")
    folder = _table(path, "folder", document.get("folder", {}))
    common = {"folder" if key == "name" else key: value for key, value in folder.items()}
    _check(path, "folder", common, {"folder"} | _KEYS)
    tables = _table(path, "pictures", document.get("pictures", {}))
    pictures = {}
    for name, values in tables.items():
        where = f"pictures.{name!r}"
        _check(path, where, _table(path, where, values), _KEYS)
        pictures[name] = _build(path, where, {**common, **values})
    return Notices(_build(path, "folder", common), pictures)


_KEYS = {item.name for item in fields(Notice)} - {"folder"}


def _table(path: Path, where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _error(path, f"{where} must be a table")
    return value


def _check(path: Path, where: str, values: Mapping[str, Any], known: set[str]) -> None:
    for key, value in values.items():
        if key not in known:
            raise _error(path, f"{where} has an unknown key {key!r}; known are {', '.join(sorted(known))}")
        if key == "cleared":
            valid = isinstance(value, bool)
        elif key in ("review", "near_copy"):
            valid = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
        else:
            valid = isinstance(value, str)
        if not valid:
            kind = {"cleared": "true or false", "review": "a number from 0 to 1", "near_copy": "a number from 0 to 1"}
            raise _error(path, f"{where}: {key} is {value!r}, must be {kind.get(key, 'text in quotes')}")


def _build(path: Path, where: str, values: Mapping[str, Any]) -> Notice:
    notice = Notice(**values)
    if notice.review is not None and notice.near_copy is not None and notice.review > notice.near_copy:
        raise _error(path, f"{where}: review ({notice.review}) is above near_copy ({notice.near_copy})")
    return notice


def _error(path: Path, problem: str) -> LibraryError:
    return LibraryError(f"{path} {problem}.", next_step="Correct that file and sync the folder again.")
