"""Hold the source of a host to a contract without running it: for hosts that are not installed. Standard library only.

As a program: ``check_source.py CONTRACT.toml HOST_FOLDER`` prints the deviations.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LORA = ("extensions-builtin/Lora", "extensions-builtin/sd_forge_lora")


def load(path: Path) -> dict[str, Any]:
    """A contract; one that is ``based_on`` another takes that over, with its own entries in place of the other's."""
    own = tomllib.loads(path.read_text("utf-8"))
    base = own.get("based_on")
    if base is None:
        return own
    merged = load(path.parent / base)
    for group, entries in own.items():
        merged[group] = {**merged.get(group, {}), **entries} if isinstance(entries, dict) else entries
    return merged


def deviations(contract: dict[str, Any], root: Path) -> list[str]:
    """What the source in ``root`` lacks. What the contract calls ``missing`` must lack indeed, so that the list stays true."""
    source = _Source(root)
    missing = set(contract.get("missing", {}).get("names", ()))
    found = [f"{path} is not missing any more" for path in sorted(missing) if source.has(path)]
    for module, names in contract["names"].items():
        wanted = (f"{module}.{name}" for name in names)
        found += [f"there is no {path}" for path in wanted if path not in missing and not source.has(path)]
    for group in ("signatures", "keywords"):
        for path, expected in contract[group].items():
            if path in missing:
                continue
            actual = source.parameters(path)
            if actual is None:
                found.append(f"{path} is missing")
            elif group == "signatures" and actual[: len(expected)] != expected:
                found.append(f"{path} takes {actual}, not {expected}")
            elif group == "keywords" and not set(expected) <= set(actual):
                found.append(f"{path} takes no {sorted(set(expected) - set(actual))}")
    for path, expected in contract["fields"].items():
        known = source.fields(path)
        if known is None:
            found += [] if path in missing else [f"{path} is missing"]
            continue
        found += [
            f"{path} has no field {name!r}"
            for name in expected
            if name not in known and f"{path}.{name}" not in missing
        ]
    options = source.options()
    found += [
        f"there is no option {name!r}"
        for name in contract["options"]["names"]
        if name not in options and f"option {name}" not in missing
    ]
    return found


class _Source:
    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, path: str) -> bool:
        if path.startswith("option "):
            return path.removeprefix("option ") in self.options()
        if self._find(path) is not None:
            return True
        owner, _, name = path.rpartition(".")
        return name in (self.fields(owner) or ()) or name in self._names(owner)

    def parameters(self, path: str) -> list[str] | None:
        found = self._find(path)
        if isinstance(found, ast.ClassDef):
            return None
        if found is None:
            return None
        told = found.args
        names = [entry.arg for entry in (*told.posonlyargs, *told.args)]
        names += [f"*{told.vararg.arg}"] if told.vararg else []
        names += [entry.arg for entry in told.kwonlyargs]
        return names + ([f"**{told.kwarg.arg}"] if told.kwarg else [])

    def fields(self, path: str) -> set[str] | None:
        """Class attributes, annotations and what is assigned to ``self``, in the class and its bases of the same module."""
        found = self._find(path)
        if not isinstance(found, ast.ClassDef):
            return None
        known: set[str] = set()
        for node in ast.walk(found):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                known.add(node.attr)
        for node in found.body:
            known |= set(_assigned(node))
        for base in found.bases:
            known |= self.fields(f"{path.rpartition('.')[0]}.{ast.unparse(base)}") or set()
        return known

    def options(self) -> set[str]:
        tree = self._tree("modules.shared_options")
        nodes = ast.walk(tree) if tree else ()
        keys = [key for node in nodes if isinstance(node, ast.Dict) for key in node.keys]
        return {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}

    def _find(self, path: str) -> Any:
        """The function or class of a dotted name."""
        parts = path.split(".")
        for end in range(len(parts) - 1, 0, -1):
            scope: Any = self._tree(".".join(parts[:end]))
            if scope is None:
                continue
            for name in parts[end:]:
                scope = next((node for node in _definitions(scope) if node.name == name), None)
                if scope is None:
                    return None
            return scope
        return None

    def _names(self, module: str) -> set[str]:
        tree = self._tree(module)
        return {name for node in ast.walk(tree) for name in _assigned(node)} if tree else set()

    @cache  # noqa: B019
    def _tree(self, module: str) -> ast.Module | None:
        relative = Path(*module.split("."))
        places = [self.root / relative, *(self.root / folder / relative for folder in _LORA)]
        for place in places:
            for file in (place.with_suffix(".py"), place / "__init__.py"):
                if file.is_file():
                    return ast.parse(file.read_text("utf-8-sig"))
        return None


def _definitions(scope: Any) -> Iterator[Any]:
    for node in scope.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node


def _assigned(node: ast.AST) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    for target in targets:
        for name in ast.walk(target):
            if isinstance(name, ast.Name):
                yield name.id
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name for alias in node.names)


if __name__ == "__main__":
    for sentence in deviations(load(Path(sys.argv[1])), Path(sys.argv[2])):
        print(sentence)
