"""House rules that a reader would notice: short files, one truth for dependencies, no traces of anybody's computer."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from source_tree import ROOT, project_files

LONGEST = 420  # "About 400": enough slack that nobody squeezes lines.
# Even a very old Python must be able to read this one.
WITHOUT_FUTURE = {"run.py"}


def test_files_are_short() -> None:
    code = {
        name: path for name, path in named(".py").items() if not name.startswith(("tests/", "benchmarks/", "examples/"))
    }
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in code.items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_every_file_defers_annotations() -> None:
    """But those that hold no more than a docstring."""
    without = {name for name, path in named(".py").items() if not defers_annotations(path)}
    assert without == WITHOUT_FUTURE


def defers_annotations(path: Path) -> bool:
    code = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if not isinstance(node, ast.Expr)]
    return not code or (isinstance(code[0], ast.ImportFrom) and code[0].module == "__future__")


def named(suffix: str) -> dict[str, Path]:
    return {path.relative_to(ROOT).as_posix(): path for path in project_files(suffix)}


def test_no_file_names_this_computer() -> None:
    """Whoever commits works in some folder of some computer; nothing of that may end up in the project."""
    traces = [str(ROOT), f"{Path.home()}{os.sep}"]
    assert [name for name, text in texts() if any(trace in text for trace in traces)] == []


def test_no_file_holds_a_private_key() -> None:
    key = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40,}")
    assert [name for name, text in texts() if key.search(text)] == []


def texts() -> Iterator[tuple[str, str]]:
    for name, path in named("").items():
        with suppress(UnicodeDecodeError):  # Pictures and databases.
            yield name, path.read_text(encoding="utf-8")


def test_every_dependency_has_a_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    start = lines.index("dependencies = [")
    listed = lines[start + 1 : lines.index("]", start)]
    assert listed
    assert [line for line in listed if not re.search(r'^    "[^"]+",\s+# \w', line)] == []


def test_test_files_have_unique_names() -> None:
    """Without packages, two test files of one name hide each other."""
    names = [path.name for path in project_files(".py") if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))
