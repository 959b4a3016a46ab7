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


@pytest.fixture
def source_checker():
    spec = importlib.util.spec_from_file_location("check_source", HOST / "check_source.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_source_of_the_stand_in_keeps_the_contract_too(source_checker, contract):
    """Other hosts are checked by their source; here both ways of checking must agree."""
    found = source_checker.deviations(contract, HOST)
    assert [sentence for sentence in found if not sentence.startswith("there is no option")] == []


@pytest.mark.parametrize(
    ("group", "path", "wrong"),
    [
        ("names", "modules.shared", ["no_such_thing"]),
        ("signatures", "modules.scripts.Script.process", ["self", "p", "extra"]),
        ("keywords", "modules.options.OptionInfo.__init__", ["no_such_keyword"]),
        ("fields", "modules.processing.StableDiffusionProcessing", ["no_such_field"]),
        ("missing", "names", ["modules.scripts.Script"]),
    ],
)
def test_source_checker_sees_a_deviation(source_checker, contract, group, path, wrong):
    before = len(source_checker.deviations(contract, HOST))
    broken = copy.deepcopy(contract)
    broken.setdefault(group, {})[path] = wrong
    assert len(source_checker.deviations(broken, HOST)) >= before + 1


@pytest.mark.parametrize("name", ["contract-reforge", "contract-forge"])
def test_contracts_of_other_hosts_add_to_the_first(source_checker, contract, name):
    merged = source_checker.load(HOST / f"{name}.toml")
    assert set(contract["signatures"]) <= set(merged["signatures"])
    assert "extra_images" in merged["fields"]["modules.processing.Processed"]
