"""The project's files and imports, read without running anything."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "provenance_guard"
NOT_OURS = {".git", ".environments", "build", "dist", "demo-output", "__pycache__"}


def project_files(suffix: str = "") -> list[Path]:
    """Every file under version control or about to be, with this suffix."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        files = [ROOT / name for name in listed.stdout.decode("utf-8").split("\0") if name]
    else:  # A copy without git.
        files = [path for path in ROOT.rglob("*") if not NOT_OURS & set(path.relative_to(ROOT).parts)]
    return sorted(path for path in files if path.is_file() and path.name.endswith(suffix))


def modules() -> dict[str, Path]:
    """Module names of the package and their files."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, *, at_import_time: bool = False) -> Iterator[str]:
    """Dotted names that a file imports (``a.b`` for ``from a import b``), those for type checkers left out.

    ``at_import_time``: only what is imported as soon as the file is.
    """
    yield from _imports([ast.parse(path.read_text(encoding="utf-8"))], at_import_time)


def _imports(nodes: Iterable[ast.AST], at_import_time: bool) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _imports(node.orelse, at_import_time)
        elif not (at_import_time and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))):
            yield from _imports(ast.iter_child_nodes(node), at_import_time)


def internal_imports(path: Path, *, at_import_time: bool = False) -> set[str]:
    """Those modules of ours that a file imports."""
    known = modules()
    found = set()
    for name in imports(path, at_import_time=at_import_time):
        parts = name.split(".")
        candidates = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
        found |= set(next(([candidate] for candidate in candidates if candidate in known), []))
    return found
