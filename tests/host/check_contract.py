"""Hold a host to ``contract.toml``. Standard library only: it also runs in the WebUI's own environment.

As a program: reads the contract as JSON from stdin, prints the deviations as a JSON list.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import sys
import textwrap
from typing import Any


def deviations(contract: dict[str, Any]) -> list[str]:
    """What the importable host lacks, one sentence each."""
    found: list[str] = []
    for module, names in contract["names"].items():
        for name in names:
            if _resolve(f"{module}.{name}") is _MISSING:
                found.append(f"{module} has no {name}")
    for group, check in (("signatures", _check_signature), ("keywords", _check_keywords), ("fields", _check_fields)):
        for path, expected in contract[group].items():
            target = _resolve(path)
            if target is _MISSING:
                found.append(f"{path} is missing")
            else:
                found += [f"{path}: {problem}" for problem in check(target, expected)]
    labels = importlib.import_module("modules.shared").opts.data_labels
    found += [f"there is no option {name!r}" for name in contract["options"]["names"] if name not in labels]
    return found


_MISSING = object()


def _module_of(path: str) -> tuple[Any, list[str]] | None:
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            return importlib.import_module(".".join(parts[:end])), parts[end:]
        except ModuleNotFoundError:
            continue
    return None


def _resolve(path: str) -> Any:
    located = _module_of(path)
    if located is None:
        return _MISSING
    target, names = located
    for name in names:
        target = getattr(target, name, _MISSING)
        if target is _MISSING:
            return _MISSING
    return target


def _check_signature(function: Any, expected: list[str]) -> list[str]:
    actual = [_spell(parameter) for parameter in inspect.signature(function).parameters.values()]
    return [] if actual[: len(expected)] == expected else [f"takes {actual}, not {expected}"]


def _spell(parameter: inspect.Parameter) -> str:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return stars.get(parameter.kind, "") + parameter.name


def _check_keywords(function: Any, expected: list[str]) -> list[str]:
    parameters = inspect.signature(function).parameters
    return [f"takes no {name!r}" for name in expected if name not in parameters]


def _check_fields(kind: type, expected: list[str]) -> list[str]:
    known = _fields_of(kind)
    return [f"has no field {name!r}" for name in expected if name not in known]


def _fields_of(kind: type) -> set[str]:
    """Class attributes, annotations, dataclass fields and everything assigned to ``self`` in the class and its bases."""
    known: set[str] = set()
    for base in kind.__mro__[:-1]:
        known |= set(vars(base)) | set(getattr(base, "__annotations__", {}))
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(base)))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                known.add(node.attr)
    return known


if __name__ == "__main__":
    print(json.dumps(deviations(json.load(sys.stdin))))
