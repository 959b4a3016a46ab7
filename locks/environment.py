"""Make the environment that a verb needs, once, and run the verb in it. Standard library only; ``run.py`` starts it.

An environment holds one family of releases (``locks/<family>-<python>/``) for one Python. A stamp, written last, says which
sets are completely installed: without a sound stamp the environment is made again from nothing. A second run costs a few
file reads and needs no network.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from locks.steps import NO_PIP, explain, only_one, step, tell
from provenance_guard.errors import GuardError, UsageError

ROOT = Path(__file__).resolve().parent.parent
PLACE_VARIABLE = "PROVENANCE_GUARD_ENVIRONMENTS"
TORCH_VARIABLE = "PROVENANCE_GUARD_TORCH"
FAMILIES = {(3, 10): "host", (3, 11): "host", (3, 12): "current", (3, 13): "current"}
VERBS = (
    "demo",
    "guard",
    "screen",
    "mark",
    "detect",
    "keys",
    "index",
    "library",
    "quarantine",
    "log",
    "show",
    "verify",
    "export",
    "checkpoint",
    "ledger",
    "watch",
    "ui",
    "doctor",
)
TOOLS = ("test", "check")
SETS = {"ui": ("core", "ui"), "test": ("core", "ui", "test"), "check": ("core", "ui", "test", "check")}
TITLES = {
    "core": "picture, array and signature packages",
    "ui": "the page (gradio)",
    "test": "test tools",
    "check": "style and type checkers",
}

USAGE = f"""usage: python run.py [--releases host|current] VERB ...

Runs Provenance Guard with Python 3.10 to 3.13. The first time it installs what the verb needs into a folder of its own
(.environments); after that it starts at once and needs no network. It changes nothing else on this computer.

  python run.py demo              the main job, on the pictures that come with the project
  python run.py VERB --help       what a verb does and takes
                                  verbs: {" ".join(VERBS)}
  python run.py test [ARGUMENTS]  run the tests (the arguments go to pytest)
  python run.py check             style and type checks
  python run.py --help            this text

  --releases host     the releases that the WebUI pins (the default for Python 3.10 and 3.11)
  --releases current  present releases: numpy 2, Pillow 11, gradio 4 (for Python 3.11 and newer)

pip's own settings (PIP_INDEX_URL, PIP_PROXY, ...) are respected. Two more:
  {TORCH_VARIABLE}         what to install as PyTorch, a requirement or a wheel file; on Linux the usual build
                                 brings several GB of NVIDIA libraries, and PyTorch's own site names smaller ones
  {PLACE_VARIABLE}  where to keep the environments
"""


@dataclass(frozen=True)
class Environment:
    """One environment on disk, and the locked lists that it is made from."""

    folder: Path
    locks: Path

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def packages(self) -> Path:
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        return self.folder / ("Lib/site-packages" if os.name == "nt" else f"lib/{version}/site-packages")

    @property
    def stamp(self) -> Path:
        return self.folder / "installed.json"

    def beside(self, suffix: str) -> Path:
        """A file next to the environment, which outlives it."""
        return self.folder.with_name(self.folder.name + suffix)


@dataclass(frozen=True)
class Installed:
    """What the stamp says: for which Python, with which PyTorch if one was asked for, and each set's fingerprint."""

    python: str = ""
    torch: str = ""
    sets: dict[str, str] = field(default_factory=dict)


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; the exit code is the verb's own, 1 for a failed set-up, 2 for wrong use."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # A console that cannot show a character must not stop the work.
    try:
        family, verb, rest = parse(arguments)
        if verb == "help":
            print(USAGE, end="")
            return 0
        environment = environment_for((sys.version_info[0], sys.version_info[1]), family)
        prepare(environment, SETS.get(verb, ("core",)))
        return run(environment, verb, rest)
    except GuardError as error:
        tell(f"Error: {error}")
        return error.exit_code
    except OSError as error:
        problem, next_step = explain(str(error))
        tell(f"Error: {problem} {next_step}")
        return 1
    except KeyboardInterrupt:
        tell("Stopped. Run the same command again to go on.")
        return 130


def parse(arguments: Sequence[str]) -> tuple[str | None, str, list[str]]:
    """Split the command line into the asked family of releases, the verb, and the verb's arguments."""
    rest = list(arguments)
    family = None
    if rest[:1] == ["--releases"]:
        family = rest[1] if len(rest) > 1 else ""
        if family not in FAMILIES.values():
            raise UsageError("--releases is followed by host or current.", next_step="See: python run.py --help")
        rest = rest[2:]
    if not rest:
        raise UsageError("No verb was given.", next_step="Try: python run.py demo (or --help for all verbs).")
    verb = "help" if rest[0] in ("-h", "--help", "help") else rest[0]
    if verb not in (*VERBS, *TOOLS, "help"):
        raise UsageError(f"There is no verb {verb!r}.", next_step=f"There are: {', '.join((*VERBS, *TOOLS))}.")
    return family, verb, rest[1:]


def environment_for(version: tuple[int, int], family: str | None) -> Environment:
    """The environment of this Python, or an error that names a Python that has one."""
    python = f"{version[0]}.{version[1]}"
    if version not in FAMILIES:
        known = [f"python{major}.{minor}" for major, minor in reversed(FAMILIES)]
        example = next((name for name in known if shutil.which(name)), "py -3.12" if os.name == "nt" else "python3.12")
        raise GuardError(
            f"Provenance Guard is tested with Python 3.10 to 3.13, and this is Python {python}.",
            next_step=f"Install one of those and run this command with it, for example: {example} run.py demo",
        )
    if sys.maxsize < 2**32:
        raise GuardError(
            "This Python is a 32-bit one, and PyTorch needs 64 bits.", next_step="Install a 64-bit Python."
        )
    locks = ROOT / "locks" / f"{family or FAMILIES[version]}-{python}"
    if not locks.is_dir():
        raise UsageError(f"There are no {family} releases for Python {python}.", next_step="Leave --releases out.")
    if is_intel_mac() and locks.name.startswith("current"):
        raise GuardError("Present PyTorch releases do not run on Intel Macs.", next_step="Use Python 3.10 or 3.11.")
    chosen = os.environ.get(PLACE_VARIABLE, "").strip()
    place = Path(chosen).expanduser().absolute() if chosen else ROOT / ".environments"
    return Environment(folder=place / locks.name, locks=locks)


def is_intel_mac() -> bool:
    return sys.platform == "darwin" and platform.machine() == "x86_64"


def prepare(environment: Environment, sets: Sequence[str]) -> None:
    """Install what is missing of ``sets``. One process at a time: one that waited finds the work done."""
    if not missing(environment, sets):
        return
    environment.folder.parent.mkdir(parents=True, exist_ok=True)
    with only_one(environment.beside(".lock")):
        if missing(environment, sets):
            install(environment, sets)


def missing(environment: Environment, sets: Sequence[str]) -> list[str]:
    """Those of ``sets`` that are not completely installed in their present form."""
    installed = read_stamp(environment)
    if asked_torch() not in ("", installed.torch):
        return list(sets)
    return [name for name in sets if installed.sets.get(name) != fingerprint(environment, name)]


def asked_torch() -> str:
    return os.environ.get(TORCH_VARIABLE, "").strip()


def read_stamp(environment: Environment) -> Installed:
    """What is installed; nothing, when there is no environment or not a sound one."""
    try:
        installed = Installed(**json.loads(environment.stamp.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Installed()
    # The environment points at the Python that made it, which may have been replaced or removed since.
    return installed if installed.python == sys.version and environment.python.exists() else Installed()


def fingerprint(environment: Environment, name: str) -> str:
    """The hash of a set's list (as text: line ends differ between checkouts). PyTorch's list belongs to the core set."""
    files = ["torch.txt", "core.txt"] if name == "core" else [f"{name}.txt"]
    text = "".join((environment.locks / file).read_text(encoding="utf-8") for file in files)
    return hashlib.sha256(text.encode()).hexdigest()


def install(environment: Environment, sets: Sequence[str]) -> None:
    """Add what is missing of ``sets``; begin with an empty environment when PyTorch or the core packages are not right."""
    fresh = "core" in missing(environment, sets)
    wanted = list(sets) if fresh else missing(environment, sets)
    installed = Installed(python=sys.version, torch=asked_torch()) if fresh else read_stamp(environment)
    log = environment.beside(".log")
    log.write_text("", encoding="utf-8")
    tell(f"Installing what is needed, once, into {environment.folder}")
    environment.stamp.unlink(missing_ok=True)
    if fresh:
        make_environment(environment, log)
        install_torch(environment, log)
    for name in wanted:
        listed = environment.locks / f"{name}.txt"
        # The list is complete, and PyTorch is there already, in whatever build was chosen.
        step(TITLES[name], [*pip_install(environment), "--no-deps", "--requirement", listed], log)
    sets_now = installed.sets | {name: fingerprint(environment, name) for name in wanted}
    write_stamp(environment, Installed(installed.python, installed.torch, sets_now))


def make_environment(environment: Environment, log: Path) -> None:
    """An empty environment that sees this checkout, with pip in it if this Python can do that."""
    remove(environment.folder)
    options = []
    if importlib.util.find_spec("ensurepip") is None:  # Debian keeps it in a package of its own; a pip outside will do.
        if importlib.util.find_spec("pip") is None:
            raise GuardError(NO_PIP[0], next_step=NO_PIP[1])
        options = ["--without-pip"]
    title = f"an environment for Python {sys.version_info[0]}.{sys.version_info[1]}"
    step(title, [sys.executable, "-I", "-m", "venv", *options, environment.folder], log)
    link = environment.packages / "provenance_guard_checkout.pth"
    link.write_text(f"{path_from(environment.packages)}\n", encoding="utf-8")


def path_from(folder: Path) -> str:
    """The checkout as seen from ``folder``: relative, so that both can be moved and their names never matter."""
    try:
        return os.path.relpath(ROOT, folder)
    except ValueError:  # On Windows there is no way from one drive to another.
        return str(ROOT)


def remove(folder: Path) -> None:
    """Delete an environment. It is renamed first: a process that still uses it makes this fail while it is whole."""
    doomed = folder.with_name(folder.name + ".old")
    shutil.rmtree(doomed, ignore_errors=True)
    if folder.exists():
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def install_torch(environment: Environment, log: Path) -> None:
    """PyTorch with what its build needs (NVIDIA's libraries or not): pip finds that out, held to our list otherwise."""
    asked = asked_torch()
    what = [asked] if asked else ["--requirement", str(environment.locks / "torch.txt")]
    title = "PyTorch (usually with NVIDIA's libraries: 2.5 GB)" if sys.platform == "linux" and not asked else "PyTorch"
    step(title, [*pip_install(environment), *what, "--constraint", environment.locks / "core.txt"], log)


def pip_install(environment: Environment) -> list[str | Path]:
    """The beginning of a pip command that installs into the environment, only from ready-made builds."""
    inside = (environment.packages / "pip").is_dir()
    pip: list[str | Path] = [environment.python, "-I", "-u", "-m", "pip"]
    if not inside:
        pip = [sys.executable, "-u", "-m", "pip", "--python", environment.python]
    options = (
        "--no-input --no-user --disable-pip-version-check --no-warn-script-location --no-compile --progress-bar off"
    )
    return [*pip, "install", *options.split(), "--only-binary", ":all:"]


def write_stamp(environment: Environment, installed: Installed) -> None:
    unfinished = environment.stamp.with_suffix(".new")
    unfinished.write_text(json.dumps(asdict(installed), indent=1), encoding="utf-8")
    unfinished.replace(environment.stamp)


def run(environment: Environment, verb: str, arguments: Sequence[str]) -> int:
    """Run the verb with the environment's Python and return its exit code."""
    # Isolated: neither the working directory nor PYTHONPATH can put other modules in the way.
    python = [str(environment.python), "-I", "-X", "utf8", "-m"]
    if verb in TOOLS:
        os.chdir(ROOT)
    if verb == "test":
        return become([*python, "pytest", *arguments])
    if verb == "check":
        commands = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"])
        return max(subprocess.call([*python, *command]) for command in commands)
    return become([*python, "provenance_guard", verb, *arguments])


def become(command: list[str]) -> int:
    """Run ``command`` in place of this process, so that signals and the exit code are its own."""
    if os.name != "nt":
        os.execv(command[0], command)
    with subprocess.Popen(command) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # The verb got it as well, and decides.
                continue
