"""Where data and keys live: by environment variable, else by the system's custom, and never in one place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from provenance_guard import paths

VARIABLES = {
    "PROVENANCE_GUARD_DATA": paths.data_directory,
    "PROVENANCE_GUARD_KEYS": paths.key_directory,
    "PROVENANCE_GUARD_POLICY": paths.policy_file,
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*VARIABLES, "XDG_DATA_HOME", "XDG_CONFIG_HOME", "LOCALAPPDATA", "APPDATA"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_decides(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, f" {tmp_path / '数据 1'} ")
    assert VARIABLES[variable]() == tmp_path / "数据 1"


@pytest.mark.parametrize("variable", VARIABLES)
def test_home_and_relative_folders_become_absolute(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "~/guard")
    assert VARIABLES[variable]() == Path.home() / "guard"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "guard")
    assert VARIABLES[variable]() == tmp_path / "guard"


@pytest.mark.parametrize("value", ["", "   "])
def test_an_empty_variable_is_none(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = paths.data_directory()
    for variable in VARIABLES:
        monkeypatch.setenv(variable, value)
    assert paths.policy_file() is None
    assert paths.data_directory() == before


@pytest.mark.parametrize(
    ("platform", "environment", "data", "keys"),
    [
        (
            "win32",
            {"LOCALAPPDATA": "/u/Local", "APPDATA": "/u/Roaming"},
            "/u/Local/provenance-guard",
            "/u/Roaming/provenance-guard/keys",
        ),
        (
            "linux",
            {"XDG_DATA_HOME": "/u/data", "XDG_CONFIG_HOME": "/u/config"},
            "/u/data/provenance-guard",
            "/u/config/provenance-guard/keys",
        ),
        ("linux", {}, "~/.local/share/provenance-guard", "~/.config/provenance-guard/keys"),
        (
            "darwin",
            {},
            "~/Library/Application Support/provenance-guard",
            "~/Library/Application Support/provenance-guard/keys",
        ),
    ],
)
def test_the_systems_custom(
    platform: str, environment: dict[str, str], data: str, keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert paths.data_directory() == Path(data).expanduser()
    assert paths.key_directory() == Path(keys).expanduser()


def test_keys_are_not_the_data() -> None:
    data, keys = paths.data_directory(), paths.key_directory()
    assert keys != data
    assert data not in (keys, keys.parent) or sys.platform == "darwin"
