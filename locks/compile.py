"""Regenerate the locked lists: ``python locks/compile.py`` (Python 3.11 or newer, ``uv`` installed).

For each family in ``releases.toml`` and each Python version the resolver runs once per system, taking only packages that
exist as wheels there, and the results are merged: a package that not every system needs gets a marker. PyTorch has a file
of its own, and its NVIDIA packages are left to pip, because they depend on the build of PyTorch that pip finds.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import tomllib

LOCKS = Path(__file__).resolve().parent
PROJECT = LOCKS.parent / "pyproject.toml"
SYSTEMS = {
    "x86_64-manylinux_2_28": "sys_platform == 'linux'",
    "x86_64-pc-windows-msvc": "sys_platform == 'win32'",
    "aarch64-apple-darwin": "sys_platform == 'darwin' and platform_machine == 'arm64'",
}
INTEL_MAC = {"x86_64-apple-darwin": "sys_platform == 'darwin' and platform_machine == 'x86_64'"}
# The extras of pyproject.toml in each set. A set's file lists what it adds to the sets before it.
_TESTED = ["ui", "clip", "tsa", "ots", "test"]
SETS = {"core": [], "ui": ["ui"], "test": _TESTED, "check": [*_TESTED, "lint"]}
BROUGHT_BY_PYTORCH = re.compile(r"(nvidia|cuda)-|triton$")

Pins = dict[str, str]


def main() -> None:
    releases = tomllib.loads((LOCKS / "releases.toml").read_text(encoding="utf-8"))
    for family, choice in releases.items():
        for python in choice["python"]:
            folder = LOCKS / f"{family}-{python}"
            folder.mkdir(exist_ok=True)
            compile_folder(folder, choice, python)


def compile_folder(folder: Path, choice: dict[str, Any], python: str) -> None:
    """Write ``torch.txt`` and one file per set into ``folder``."""
    systems = SYSTEMS | (INTEL_MAC if choice["intel_mac"] else {})
    everything: Pins = {}
    locked: dict[str, dict[str, Pins]] = {}
    for name in reversed(SETS):  # The largest set first: the smaller ones are then held to the versions it chose.
        extras = SETS[name] + choice["core_extras"]
        for system, marker in systems.items():
            overrides = choice["intel_mac_overrides" if system in INTEL_MAC else "overrides"]
            pins = resolve(extras, python, system, choice["pins"] + listed(everything), overrides)
            locked.setdefault(name, {})[marker] = pins
            everything = pins | everything
    written: set[tuple[str, str]] = set()
    torch = {marker: {"torch": pins.pop("torch")} for marker, pins in locked["core"].items()}
    write(folder / "torch.txt", torch, written)
    for name in SETS:
        write(folder / f"{name}.txt", locked[name], written)


def resolve(extras: list[str], python: str, system: str, pins: list[str], overrides: list[str]) -> Pins:
    """Ask the resolver for the exact versions of the project with ``extras`` on one system."""
    with tempfile.TemporaryDirectory() as scratch:
        constraints, exceptions = Path(scratch, "constraints.txt"), Path(scratch, "overrides.txt")
        # An overridden package is held by its override alone.
        free = [pin for pin in pins if name_of(pin) not in {name_of(line) for line in overrides}]
        constraints.write_text("\n".join(free), encoding="utf-8")
        exceptions.write_text("\n".join(overrides), encoding="utf-8")
        command = [sys.executable, "-m", "uv", "pip", "compile", str(PROJECT), "--quiet", "--no-config"]
        command += ["--no-header", "--no-annotate", "--only-binary", ":all:"]
        command += ["--python-version", python, "--python-platform", system]
        command += ["--constraint", str(constraints), "--override", str(exceptions)]
        command += [argument for extra in extras for argument in ("--extra", extra)]
        # The present PyTorch runs on macOS 14 and newer.
        environment = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8", env=environment)
    pins_found = dict(line.split("==", 1) for line in result.stdout.splitlines() if "==" in line)
    return {name: version for name, version in pins_found.items() if not BROUGHT_BY_PYTORCH.match(name)}


def write(path: Path, locked: dict[str, Pins], written: set[tuple[str, str]]) -> None:
    """Merge the pins of all systems into one requirements file, without what an earlier file holds."""
    lines = ["# Made by compile.py from releases.toml and pyproject.toml. Do not edit."]
    for name in sorted({name for pins in locked.values() for name in pins}):
        versions = {pins.get(name) for pins in locked.values()}
        for version in sorted(version for version in versions if version):
            systems = [marker for marker, pins in locked.items() if pins.get(name) == version]
            marker = "" if len(systems) == len(locked) else " ; " + either(systems)
            if (name, version) not in written:
                lines.append(f"{name}=={version}{marker}")
            written.add((name, version))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    print(f"{path.relative_to(LOCKS)}: {len(lines) - 1} packages")


def either(markers: list[str]) -> str:
    return markers[0] if len(markers) == 1 else " or ".join(f"({marker})" for marker in markers)


def listed(pins: Pins) -> list[str]:
    return [f"{name}=={version}" for name, version in pins.items()]


def name_of(requirement: str) -> str:
    """The normalised package name at the start of a requirement."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0]).lower()


if __name__ == "__main__":
    main()
