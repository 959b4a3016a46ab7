"""Installs what Provenance Guard needs and the WebUI does not bring. Run by the WebUI at every start, in its own process.

``pyproject.toml`` is the one list of dependencies. Whatever the WebUI has stays exactly as it is: pip runs under a
constraints file frozen from the installed packages, so that it refuses rather than moves one of them. A failure is told
in one line and never keeps the WebUI from starting; the guard then says in the UI what is missing.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib

try:
    from packaging.requirements import Requirement
    from packaging.version import InvalidVersion, Version
except ModuleNotFoundError:
    from pip._vendor.packaging.requirements import Requirement
    from pip._vendor.packaging.version import InvalidVersion, Version

HOST_OWNED = {"torch": "torch", "numpy": "numpy", "pillow": "PIL", "opencv-python-headless": "cv2"}
"""Packages that are the WebUI's own, whatever their distribution is called there: the module that must be importable."""

TIMEOUT = 600
"""Seconds after which pip is given up."""


def main() -> None:
    """Install what is missing. Prints nothing when everything is there."""
    required = read_requirements(Path(__file__).with_name("pyproject.toml"))
    for module in missing_host_modules(required):
        tell(f"the WebUI has no {module!r}, which is its own package: repair the WebUI's installation.")
    missing = unsatisfied(required)
    if not missing:
        return
    wanted = " ".join(map(str, missing))
    if installing_is_forbidden():
        tell(
            f"--skip-install is set, {wanted} not installed. Install by hand: {sys.executable} -m pip install {wanted}"
        )
        return
    tell(f"installing {wanted}")
    problem = install(missing)
    if problem:
        tell(f"could not install {wanted}: {problem}. Pictures will not be guarded as they should until it is there.")


def read_requirements(pyproject: Path) -> list[Requirement]:
    """The project's dependencies that apply to this Python and system."""
    document = tomllib.loads(pyproject.read_text("utf-8"))
    requirements = (Requirement(line) for line in document["project"]["dependencies"])
    return [requirement for requirement in requirements if not requirement.marker or requirement.marker.evaluate()]


def missing_host_modules(required: Iterable[Requirement]) -> list[str]:
    """Modules of the WebUI's own packages that cannot be found; their releases are the WebUI's business."""
    modules = (HOST_OWNED[requirement.name.lower()] for requirement in required if is_host_owned(requirement))
    return [module for module in modules if importlib.util.find_spec(module) is None]


def unsatisfied(required: Iterable[Requirement]) -> list[Requirement]:
    """The requirements that pip has to see to, the WebUI's own packages left out."""
    return [requirement for requirement in required if not is_host_owned(requirement) and not is_installed(requirement)]


def is_host_owned(requirement: Requirement) -> bool:
    """Whether the package is the WebUI's own and must never be touched."""
    return requirement.name.lower() in HOST_OWNED


def is_installed(requirement: Requirement) -> bool:
    """Whether a fitting release is there."""
    try:
        return requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)
    except importlib.metadata.PackageNotFoundError:
        return False


def installing_is_forbidden() -> bool:
    """Whether the WebUI was started with ``--skip-install``."""
    try:
        import launch  # The WebUI's; its folder is on the path when it runs this file.
    except Exception:
        return "--skip-install" in os.environ.get("COMMANDLINE_ARGS", "")
    return bool(getattr(launch.args, "skip_install", False))


def install(requirements: Iterable[Requirement]) -> str:
    """Let pip install ``requirements`` without moving anything; returns what went wrong, in short, or nothing."""
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(freeze()) + "\n", "utf-8")
        command = [sys.executable, "-m", "pip", "install", "--prefer-binary", "--disable-pip-version-check"]
        command += ["--constraint", str(constraints), *map(str, requirements)]
        if index := os.environ.get("INDEX_URL"):  # The WebUI's own variable for a package mirror.
            command += ["--index-url", index]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    return "" if done.returncode == 0 else reason_of(done.stderr) or f"pip ended with code {done.returncode}"


def freeze() -> list[str]:
    """Every installed distribution as an exact constraint; what pip could not parse is left out."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name, version = distribution.metadata["Name"], distribution.version
        try:
            Version(version)
        except (InvalidVersion, TypeError):
            continue
        if name:
            found.setdefault(name.lower(), f"{name}=={version}")
    return sorted(found.values())


def reason_of(output: str) -> str:
    """The first line in which pip says what is wrong."""
    errors = [line.removeprefix("ERROR:").strip() for line in output.splitlines() if line.startswith("ERROR:")]
    return errors[0].rstrip(".") if errors else output.strip().splitlines()[-1] if output.strip() else ""


def tell(message: str) -> None:
    """One line in the WebUI's console."""
    print(f"Provenance Guard: {message}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # Whatever it is, the WebUI must start.
        tell(f"the installer failed ({type(error).__name__}: {error}).")
