"""The locked lists are complete, exact, and say what pyproject.toml says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from source_tree import ROOT

from locks import environment

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

LOCKS = ROOT / "locks"
FOLDERS = sorted(path for path in LOCKS.iterdir() if (path / "torch.txt").exists())
EXTRAS_IN_SET = {"core": set(), "ui": {"ui"}, "test": {"test", "clip"}, "check": {"lint"}}
SYSTEMS = [
    {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    {"sys_platform": "win32", "platform_system": "Windows", "platform_machine": "AMD64"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
]


def read_list(path: Path) -> list[Requirement]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def pins_for(folder: Path, sets: tuple[str, ...], system: dict[str, str]) -> dict[str, Version]:
    """What a system with this folder's Python gets."""
    python = folder.name.split("-")[1]
    markers = system | {"python_version": python, "python_full_version": f"{python}.0"}
    pins: dict[str, Version] = {}
    for name in ("torch", *sets):
        for requirement in read_list(folder / f"{name}.txt"):
            if requirement.marker is None or requirement.marker.evaluate(markers):
                assert requirement.name not in pins, f"{requirement.name} is there twice on {system['sys_platform']}"
                pins[canonicalize_name(requirement.name)] = Version(str(requirement.specifier).removeprefix("=="))
    return pins


def test_every_supported_python_has_its_lists() -> None:
    wanted = {f"{family}-{major}.{minor}" for (major, minor), family in environment.FAMILIES.items()}
    assert wanted <= {folder.name for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_line_is_an_exact_pin(folder: Path) -> None:
    for path in folder.iterdir():
        for requirement in read_list(path):
            assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), f"{path.name}: {requirement}"
            assert requirement.url is None


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system["sys_platform"])
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_lists_hold_what_the_project_asks_for(folder: Path, system: dict[str, str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    python = folder.name.split("-")[1]
    sets: tuple[str, ...] = ()
    for name in environment.TITLES:
        sets = (*sets, name)
        pins = pins_for(folder, sets, system)
        asked = project["dependencies"] if name == "core" else []
        for extra in EXTRAS_IN_SET[name]:
            asked = [*asked, *project["optional-dependencies"][extra]]
        for requirement in map(Requirement, asked):
            if requirement.marker and not requirement.marker.evaluate(system | {"python_version": python}):
                continue
            version = pins.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement.name} is not in {folder.name}/{name}.txt"
            assert version in requirement.specifier, f"{requirement} is locked as {version} in {folder.name}"


def test_the_host_family_is_what_the_webui_pins() -> None:
    for folder in FOLDERS:
        pins = {name: str(version) for name, version in pins_for(folder, ("core", "ui", "test"), SYSTEMS[0]).items()}
        if folder.name.startswith("host"):
            assert (pins["numpy"], pins["pillow"]) == ("1.26.2", "9.5.0")
            assert (pins["gradio"], pins["fastapi"], pins["httpx"]) == ("3.41.2", "0.94.0", "0.24.1")
            assert pins["open-clip-torch"] == "2.20.0"
            assert pins["pydantic"].startswith("1.10")
        else:
            assert (pins["numpy"][0], pins["pillow"][:2], pins["gradio"][0]) == ("2", "11", "4")


def test_nvidia_packages_are_left_to_pip() -> None:
    """They belong to one build of PyTorch; a computer that gets another must not get them."""
    names = {requirement.name for folder in FOLDERS for path in folder.iterdir() for requirement in read_list(path)}
    assert not [name for name in names if name.startswith(("nvidia", "cuda")) or name == "triton"]
