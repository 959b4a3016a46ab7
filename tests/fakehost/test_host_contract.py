"""The stand-in is held to the contract file, so that a test against it says something about the host."""

from __future__ import annotations

import copy
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HOST = Path(__file__).parents[1] / "host"


@pytest.fixture
def contract() -> dict[str, Any]:
    return tomllib.loads((HOST / "contract.toml").read_text("utf-8"))


@pytest.fixture
def checker(host):
    spec = importlib.util.spec_from_file_location("check_contract", HOST / "check_contract.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stand_in_keeps_the_contract(checker, contract):
    assert checker.deviations(contract) == []


@pytest.mark.parametrize(
    ("group", "path", "wrong"),
    [
        ("names", "modules.shared", ["opts", "no_such_thing"]),
        ("signatures", "modules.scripts.Script.process", ["self", "p", "extra"]),
        ("keywords", "modules.options.OptionInfo.__init__", ["no_such_keyword"]),
        ("fields", "modules.processing.StableDiffusionProcessing", ["no_such_field"]),
    ],
)
def test_checker_sees_a_deviation(checker, contract, group, path, wrong):
    broken = copy.deepcopy(contract)
    broken[group][path] = wrong
    assert len(checker.deviations(broken)) == 1


def test_checker_sees_a_missing_option(checker, contract):
    contract["options"]["names"].append("no_such_option")
    assert checker.deviations(contract) == ["there is no option 'no_such_option'"]


def test_what_the_room_imports_of_the_host_stands_in_the_contract(contract):
    import ast

    room = Path(__file__).parents[2] / "provenance_guard" / "webui"
    imported: set[str] = set()
    for file in room.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "modules":
                imported |= {f"modules.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("modules."):
                imported.add(node.module)
    assert imported
    assert imported <= set(contract["names"])
