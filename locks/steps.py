"""Run one step of a set-up calmly: a line before and after it, the whole output in a log, one sentence when it fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from provenance_guard.errors import GuardError

LARGE_DOWNLOAD_MB = 100
TAIL_LINES = 12

# pip would put packages elsewhere than into the environment, or ask for one that it is already in.
HARMFUL = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV", "PIP_NO_DEPS", "PIP_DRY_RUN")

NO_PIP = (
    "This Python has neither pip nor the means to install it.",
    "On Debian and Ubuntu: sudo apt install python3-venv. Elsewhere: install Python from python.org.",
)
# What goes wrong, by what pip or the operating system says: a pattern, the problem, the next step.
CAUSES = (
    (
        r"No space left on device|not enough space on the disk|Errno 28\b|Errno 122\b|WinError 112\b",
        "The disk is full.",
        "Make room (about 2 GB; 8 GB with NVIDIA's libraries on Linux) and run the same command again.",
    ),
    (
        r"ensurepip|No module named (pip|venv)\b",
        *NO_PIP,
    ),
    (
        r"NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|SSLError|"
        r"Temporary failure in name resolution|Connection (refused|reset|aborted)|Network is unreachable|Max retries",
        "The package index cannot be reached.",
        "Connect to the internet, or set PIP_PROXY or PIP_INDEX_URL if your network needs it, and run the same command again.",
    ),
    (
        r"No matching distribution found|Could not find a version",
        "A package was not found for this Python on this system.",
        "Check that there is a network and that PIP_INDEX_URL, if set, is right; else try another Python (3.10 to 3.13).",
    ),
    (
        r"Permission denied|Access is denied|Read-only file system|Not a directory|WinError (5|32|267)\b",
        "The environment cannot be written.",
        "Close other windows that run Provenance Guard, or set PROVENANCE_GUARD_ENVIRONMENTS to a folder of your own.",
    ),
)


class StepError(GuardError):
    """A step of the set-up failed."""


def tell(text: str) -> None:
    """Write a line for a person; standard output belongs to the verb."""
    print(text, file=sys.stderr, flush=True)


def step(title: str, command: Sequence[str | Path], log: Path) -> None:
    """Run a command with its output in ``log``; raise StepError with the cause, in one sentence, if it fails."""
    tell(f"  {title} ...")
    started = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if name.upper() not in HARMFUL}
    lines: list[str] = []
    with log.open("a", encoding="utf-8") as file:
        file.write(f"\n== {title}: {' '.join(str(part) for part in command)}\n")
        file.flush()
        with subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=environment,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                file.write(line)
                lines.append(line.rstrip())
                if announcement(line):
                    tell(f"    {announcement(line)}")
    if process.returncode != 0:
        problem, next_step = explain("\n".join(lines))
        for line in [line for line in lines if line][-TAIL_LINES:]:
            tell(f"    | {line}")
        raise StepError(problem, next_step=f"{next_step} The log is {log}")
    tell(f"    done in {time.monotonic() - started:.0f} s")


def announcement(line: str) -> str:
    """What a line of pip's output means for somebody who waits: a large download; empty for everything else."""
    if re.match(r"Collecting nvidia-cudnn-", line):
        return (
            "This build of PyTorch brings NVIDIA's libraries: about 2.5 GB to download, 5 GB on disk. For a smaller one\n"
            "    stop here (Ctrl+C) and see PROVENANCE_GUARD_TORCH in: python run.py --help"
        )
    download = re.match(r"\s*Downloading (\S+) \(([\d.]+) ([MG])B\)", line)
    if download and float(download[2]) * (1000 if download[3] == "G" else 1) >= LARGE_DOWNLOAD_MB:
        name = re.split(r"-(?:cp|py)\d", download[1].rsplit("/", 1)[-1])[0]
        return f"downloading {name} ({download[2]} {download[3]}B)"
    return ""


def explain(output: str) -> tuple[str, str]:
    """The problem and the next step, from what a failed command printed."""
    for pattern, problem, next_step in CAUSES:
        if re.search(pattern, output, re.IGNORECASE):
            return problem, next_step
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "it ended without a word")
    return f"It did not work ({last.strip()}).", "Run the same command again; the log says more."


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; the operating system lets go of it when this process ends, however it ends."""
    with path.open("a+b") as file:
        if not try_lock(file.fileno()):
            tell("Waiting for another run that is installing the same ...")
            while not try_lock(file.fileno()):
                time.sleep(0.5)
        yield


if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> bool:
        """Lock the open file for this process; False when another process has it."""
        os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Lock the open file for this process; False when another process has it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
