"""``install.py`` in a throw-away environment of its own, with packages made here and no index."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


def make_wheel(folder: Path, name: str, version: str, requires: str = "") -> None:
    """The smallest wheel that pip installs (PEP 427)."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": metadata + (f"Requires-Dist: {requires}\n" if requires else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in files) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)


class Environment:
    """A host's environment in which ``pinned 1.0`` is installed."""

    def __init__(self, folder: Path) -> None:
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        make_wheel(self.wheels, "pinned", "1.0")
        make_wheel(self.wheels, "pinned", "2.0")
        make_wheel(self.wheels, "harmless", "1.5", requires="pinned")
        make_wheel(self.wheels, "greedy", "1.0", requires="pinned>=2")
        venv.create(folder / "venv", with_pip=True)
        scripts = "Scripts" if sys.platform == "win32" else "bin"
        self.python = folder / "venv" / scripts / ("python.exe" if sys.platform == "win32" else "python")
        self.extension = folder / "extension"
        self.extension.mkdir()
        shutil.copy(PROJECT / "install.py", self.extension)
        self.run("-m", "pip", "install", "-q", "pinned==1.0")

    def run(self, *arguments: str, **variables: str) -> str:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))}
        settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), "PIP_CONFIG_FILE": os.devnull}
        done = subprocess.run(
            [self.python, *arguments],
            env={**clean, **settings, **variables},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return done.stdout

    def install(self, *dependencies: str, **variables: str) -> str:
        """Run the installer for these dependencies; what it printed."""
        listed = json.dumps(dependencies)
        (self.extension / "pyproject.toml").write_text(f"[project]\ndependencies = {listed}\n", "utf-8")
        return self.run(str(self.extension / "install.py"), **variables)

    def installed(self) -> set[str]:
        listed = json.loads(self.run("-m", "pip", "list", "--format", "json"))
        return {
            f"{entry['name']}=={entry['version']}" for entry in listed if entry["name"] not in ("pip", "setuptools")
        }


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("installer"))


@pytest.fixture(autouse=True)
def only_the_pin(environment):
    yield
    for name in environment.installed() - {"pinned==1.0"}:
        environment.run("-m", "pip", "uninstall", "-q", "-y", name.split("==")[0])


def test_what_is_missing_is_installed_once(environment):
    assert environment.install("harmless>=1", "pinned>=1") == "Provenance Guard: installing harmless>=1\n"
    assert environment.installed() == {"pinned==1.0", "harmless==1.5"}
    assert environment.install("harmless>=1", "pinned>=1") == ""


def test_a_pin_of_the_host_is_never_moved(environment):
    told = environment.install("greedy")
    assert "could not install greedy: " in told
    assert environment.installed() == {"pinned==1.0"}


def test_a_release_that_is_too_old_is_not_replaced(environment):
    assert "could not install pinned>=2" in environment.install("pinned>=2")
    assert environment.installed() == {"pinned==1.0"}


def test_packages_of_the_host_are_never_installed(environment):
    make_wheel(environment.wheels, "numpy", "2.0")
    told = environment.install("numpy>=1.26", "opencv-python-headless>=4.8")
    assert "the WebUI has no 'numpy'" in told
    assert "the WebUI has no 'cv2'" in told
    assert environment.installed() == {"pinned==1.0"}


def test_markers_are_obeyed(environment):
    assert environment.install("harmless; python_version < '3.0'") == ""


def test_skip_install_of_the_host_is_honoured(environment, tmp_path):
    (tmp_path / "launch.py").write_text("class args:\n    skip_install = True\n", "utf-8")
    assert "--skip-install is set" in environment.install("harmless", PYTHONPATH=str(tmp_path))
    assert environment.installed() == {"pinned==1.0"}


def test_a_host_that_cannot_be_imported_is_no_obstacle(environment, tmp_path):
    (tmp_path / "launch.py").write_text("raise RuntimeError('no')\n", "utf-8")
    assert "--skip-install is set" in environment.install(
        "harmless", PYTHONPATH=str(tmp_path), COMMANDLINE_ARGS="--xformers --skip-install"
    )
    environment.install("harmless", PYTHONPATH=str(tmp_path))
    assert "harmless==1.5" in environment.installed()


def test_a_broken_project_file_does_not_stop_the_start(environment):
    (environment.extension / "pyproject.toml").write_text("[project", "utf-8")
    assert "the installer failed" in environment.run(str(environment.extension / "install.py"))


def test_the_projects_own_list_is_read(environment):
    """What pip would be asked for in an empty environment: nothing that is the host's."""
    shutil.copy(PROJECT / "pyproject.toml", environment.extension)
    lines = (
        "import sys; sys.path.insert(0, '.')",
        "import install, pathlib",
        "wanted = install.unsatisfied(install.read_requirements(pathlib.Path('pyproject.toml')))",
        "print(*(requirement.name for requirement in wanted))",
    )
    told = subprocess.run(
        [environment.python, "-c", "\n".join(lines)],
        cwd=environment.extension,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {"imagehash", "cryptography"} <= set(told)
    assert not {"torch", "numpy", "Pillow", "opencv-python-headless"} & set(told)
