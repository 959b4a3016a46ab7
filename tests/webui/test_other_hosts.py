"""reForge and Forge, by their source: ``REFORGE_DIR`` and ``FORGE_DIR`` point to checkouts that need not be installed."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

HOST = Path(__file__).parents[1] / "host"

spec = importlib.util.spec_from_file_location("check_source", HOST / "check_source.py")
check_source = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_source)


@pytest.mark.parametrize(
    ("variable", "contract"),
    [("WEBUI_DIR", "contract"), ("REFORGE_DIR", "contract-reforge"), ("FORGE_DIR", "contract-forge")],
)
def test_source_keeps_the_contract(variable, contract):
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} does not point to a checkout")
    assert check_source.deviations(check_source.load(HOST / f"{contract}.toml"), Path(folder)) == []
