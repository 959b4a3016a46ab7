"""No import runs upward, none runs in a circle, and what is heavy or the host's stays where it belongs."""

from __future__ import annotations

import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest
from source_tree import PACKAGE, ROOT, imports, internal_imports, modules

HEAVY = {"torch", "numpy", "PIL", "cv2", "gradio", "imagehash", "cryptography", "open_clip", "scipy"}
OWN = "provenance_guard."


def documented_rows() -> dict[str, int]:
    """The table of rooms in docs/architecture.md: how high each room is."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows: dict[str, int] = {}
    for row, cell in re.findall(r"^\| (base|\d) \| ([^|]*) \|", text, re.MULTILINE):
        for name in re.findall(r"`([a-z_]+)(?:\.py|/)?`", cell):
            rows[name] = 0 if row == "base" else int(row)
    return rows


def room_of(module: str) -> str:
    return module.removeprefix(OWN).split(".")[0]


def test_every_room_is_in_the_table() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__", "__main__"} == set(documented_rows())


def test_no_import_runs_upward() -> None:
    rows = documented_rows()
    upward = []
    for module, path in modules().items():
        room = room_of(module)
        if room not in rows:  # The package itself and __main__, which starts the command line.
            continue
        for imported in internal_imports(path):
            other = room_of(imported)
            allowed = other == room or imported == "provenance_guard" or rows[other] < rows[room] or rows[room] == 0
            if not allowed or (rows[room] == 0 and rows.get(other, 0) > 0):
                upward.append(f"{module} imports {imported}")
    assert upward == []


def test_no_imports_run_in_a_circle() -> None:
    graph = {module: internal_imports(path) - {module} for module, path in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_only_the_webui_room_imports_the_host() -> None:
    hosts = {"modules", "modules_forge", "launch", "ldm", "k_diffusion"}
    users = [m for m, path in modules().items() for name in imports(path) if name.split(".")[0] in hosts]
    assert {room_of(module) for module in users} == {"webui"}


def test_only_the_page_imports_gradio() -> None:
    frameworks = {"gradio", "gradio_client", "fastapi", "starlette", "uvicorn"}
    users = [m for m, path in modules().items() for name in imports(path) if name.split(".")[0] in frameworks]
    assert {room_of(module) for module in users} <= {"ui", "webui"}


@pytest.mark.parametrize(
    "module", ["provenance_guard", "provenance_guard.cli", "provenance_guard.webui", "locks.environment"]
)
def test_importing_is_light(module: str) -> None:
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert HEAVY & set(result.stdout.split()) == set()


def test_nobody_else_guards_an_import() -> None:
    """Optional packages are asked for in one place, so that ``doctor`` can tell what is missing."""
    guarded = [
        str(path.relative_to(ROOT))
        for module, path in modules().items()
        if re.search(r"except \(?(ImportError|ModuleNotFoundError)", path.read_text(encoding="utf-8"))
        and room_of(module) not in {"extras", "webui", "cli"}
    ]
    assert guarded == []
