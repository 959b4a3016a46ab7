"""run.py: which environment, when it is sound, what is installed, and what a person is told when it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from source_tree import ROOT

from locks import environment as environments
from locks import steps
from locks.environment import Environment, Installed
from provenance_guard.errors import GuardError, UsageError


@pytest.fixture
def fake(tmp_path: Path) -> Environment:
    """An environment whose locked lists are one line each, and that does not exist yet."""
    locks = tmp_path / "locks 锁" / "host-3.11"
    locks.mkdir(parents=True)
    for name in ("torch", "core", "ui", "test", "check"):
        (locks / f"{name}.txt").write_text(f"{name}-package==1.0\n", encoding="utf-8")
    return Environment(folder=tmp_path / "places 环境" / "host-3.11", locks=locks)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Record the steps instead of running pip; the environment is made for real, but empty."""
    seen: list[list[str]] = []

    def record(title: str, command: list[str | Path], log: Path) -> None:
        words = [str(word) for word in command]
        seen.append(words)
        if "venv" in words:
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", words[-1]], check=True)

    monkeypatch.setattr(environments, "step", record)
    monkeypatch.delenv(environments.TORCH_VARIABLE, raising=False)
    return seen


def names(commands: list[list[str]]) -> list[str]:
    """What each step was about: ``venv``, or the list that pip was given."""
    return ["venv" if "venv" in command else Path(command[-1]).stem for command in commands]


def test_first_run_installs_and_second_does_nothing(fake: Environment, commands: list[list[str]]) -> None:
    environments.prepare(fake, ("core",))
    assert names(commands) == ["venv", "core", "core"]  # PyTorch, under the core list as constraints, comes first.
    assert "--constraint" in commands[1] and "--no-deps" not in commands[1]
    assert "--no-deps" in commands[2]
    commands.clear()
    environments.prepare(fake, ("core",))
    assert commands == []


def test_another_verb_adds_only_what_it_needs(fake: Environment, commands: list[list[str]]) -> None:
    environments.prepare(fake, ("core",))
    commands.clear()
    environments.prepare(fake, ("core", "ui"))
    assert names(commands) == ["ui"]
    assert environments.missing(fake, ("core", "ui", "test")) == ["test"]


@pytest.mark.parametrize("changed, again", [("test", ["test"]), ("core", ["venv", "core", "core", "test"])])
def test_a_changed_list_is_installed_again(
    fake: Environment, commands: list[list[str]], changed: str, again: list[str]
) -> None:
    environments.prepare(fake, ("core", "test"))
    commands.clear()
    (fake.locks / f"{changed}.txt").write_text("other==2.0\n", encoding="utf-8")
    environments.prepare(fake, ("core", "test"))
    assert names(commands) == again


def test_line_ends_of_a_checkout_do_not_matter(fake: Environment, commands: list[list[str]]) -> None:
    environments.prepare(fake, ("core",))
    (fake.locks / "core.txt").write_bytes(b"core-package==1.0\r\n")
    assert environments.missing(fake, ("core",)) == []


def test_an_interrupted_run_is_done_again(
    fake: Environment, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    environments.prepare(fake, ("core",))
    record = environments.step

    def interrupted(title: str, command: list[str | Path], log: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(environments, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environments.prepare(fake, ("core", "ui"))
    monkeypatch.setattr(environments, "step", record)
    commands.clear()
    environments.prepare(fake, ("core",))
    assert names(commands)[0] == "venv"


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"python": 3}', '{"other": 1}', json.dumps({"python": "2.7", "sets": {}})]
)
def test_a_damaged_stamp_means_nothing_is_installed(fake: Environment, commands: list[list[str]], damage: str) -> None:
    environments.prepare(fake, ("core",))
    fake.stamp.write_text(damage, encoding="utf-8")
    assert environments.read_stamp(fake) == Installed()


def test_an_environment_without_its_python_is_made_again(fake: Environment, commands: list[list[str]]) -> None:
    environments.prepare(fake, ("core",))
    fake.python.unlink()
    assert environments.missing(fake, ("core",)) == ["core"]
    commands.clear()
    environments.prepare(fake, ("core",))
    assert names(commands)[0] == "venv"


def test_another_pytorch_can_be_asked_for(
    fake: Environment, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    environments.prepare(fake, ("core",))
    commands.clear()
    monkeypatch.setenv(environments.TORCH_VARIABLE, "torch==2.9.0+mine")
    environments.prepare(fake, ("core",))
    assert "torch==2.9.0+mine" in commands[1]
    assert not any(str(fake.locks / "torch.txt") in command for command in commands)
    monkeypatch.delenv(environments.TORCH_VARIABLE)
    assert environments.missing(fake, ("core",)) == []  # It stays when it is no longer asked for.


def test_the_environment_sees_the_checkout_and_nothing_else(
    fake: Environment, commands: list[list[str]], tmp_path: Path
) -> None:
    environments.prepare(fake, ("core",))
    (tmp_path / "provenance_guard.py").write_text("raise SystemExit('the wrong one')", encoding="utf-8")
    code = "import provenance_guard; print(ascii(provenance_guard.__file__))"
    result = subprocess.run(
        [fake.python, "-I", "-X", "utf8", "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = Path(eval(result.stdout)).resolve()
    assert found == ROOT / "provenance_guard" / "__init__.py"


def test_old_environment_is_gone_after_a_new_one(fake: Environment, commands: list[list[str]]) -> None:
    environments.prepare(fake, ("core",))
    (fake.folder / "leftover").touch()
    fake.stamp.unlink()
    environments.prepare(fake, ("core",))
    assert sorted(path.name for path in fake.folder.parent.iterdir()) == [
        "host-3.11",
        "host-3.11.lock",
        "host-3.11.log",
    ]
    assert not (fake.folder / "leftover").exists()


@pytest.mark.parametrize(
    "version, family, folder",
    [
        ((3, 10), None, "host-3.10"),
        ((3, 11), None, "host-3.11"),
        ((3, 11), "current", "current-3.11"),
        ((3, 12), None, "current-3.12"),
        ((3, 13), None, "current-3.13"),
    ],
)
def test_each_python_gets_its_releases(version: tuple[int, int], family: str | None, folder: str) -> None:
    assert environments.environment_for(version, family).locks == ROOT / "locks" / folder


@pytest.mark.parametrize("version", [(3, 9), (3, 14), (4, 0)])
def test_other_pythons_are_refused_with_an_example(version: tuple[int, int]) -> None:
    with pytest.raises(GuardError, match=r"3\.10 to 3\.13.*run\.py demo"):
        environments.environment_for(version, None)


def test_an_intel_mac_is_sent_to_a_python_that_works_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "is_intel_mac", lambda: True)
    assert environments.environment_for((3, 11), None).locks.name == "host-3.11"
    with pytest.raises(GuardError, match=r"Python 3\.10 or 3\.11"):
        environments.environment_for((3, 12), None)


def test_releases_that_do_not_exist_for_a_python() -> None:
    with pytest.raises(UsageError, match=r"host releases for Python 3\.13"):
        environments.environment_for((3, 13), "host")


@pytest.mark.parametrize(
    "line, family, verb, rest",
    [
        ("demo --out x", None, "demo", ["--out", "x"]),
        ("--help", None, "help", []),
        ("-h", None, "help", []),
        ("guard --help", None, "guard", ["--help"]),
        ("--releases current test -x", "current", "test", ["-x"]),
        ("screen --releases host", None, "screen", ["--releases", "host"]),
    ],
)
def test_command_line(line: str, family: str | None, verb: str, rest: list[str]) -> None:
    assert environments.parse(line.split()) == (family, verb, rest)


@pytest.mark.parametrize("line", ["", "dmeo", "--releases", "--releases new test", "--releases host", "--json demo"])
def test_wrong_command_lines(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert environments.main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("Error: ") and captured.err.count("\n") == 1


def test_help_goes_to_standard_output_and_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert environments.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in (*environments.VERBS, *environments.TOOLS))
    assert environments.TORCH_VARIABLE in text and environments.PLACE_VARIABLE in text


def test_a_step_keeps_its_output_in_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    steps.step("a step", [sys.executable, "-c", "print('Grüße 世界')"], log)
    assert "世界" in log.read_text(encoding="utf-8")
    captured = capsys.readouterr()
    assert captured.out == "" and "世界" not in captured.err and "a step" in captured.err


def test_a_failed_step_shows_the_end_of_the_log_and_the_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = "import sys; print('first'); print('\\n' * 50); sys.exit('OSError: [Errno 28] No space left on device')"
    with pytest.raises(steps.StepError) as raised:
        steps.step("a step", [sys.executable, "-c", script], tmp_path / "log")
    assert "disk is full" in raised.value.message and str(tmp_path / "log") in raised.value.next_step
    shown = capsys.readouterr().err
    assert "No space left" in shown and "first" in shown


def test_settings_that_would_lead_pip_astray_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "file:///mirror")
    log = tmp_path / "log"
    steps.step("a step", [sys.executable, "-c", "import os; print(sorted(n for n in os.environ if 'PIP_' in n))"], log)
    assert "'PIP_INDEX_URL'" in log.read_text(encoding="utf-8")
    assert "'PIP_USER'" not in log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "output, words",
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("[WinError 112] There is not enough space on the disk", "disk is full"),
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...: [Errno -3] "
            "Temporary failure in name resolution')'\nERROR: No matching distribution found for torch==2.13.0",
            "cannot be reached",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0", "not found for this Python"),
        ("The virtual environment was not created successfully because ensurepip is not available.", "python3-venv"),
        ("PermissionError: [WinError 32] The process cannot access the file", "Close other windows"),
        ("[Errno 13] Permission denied: '/opt/x/.environments'", "PROVENANCE_GUARD_ENVIRONMENTS"),
        ("[Errno 20] Not a directory: '/opt/file/x'", "PROVENANCE_GUARD_ENVIRONMENTS"),
        ("something new\nAn unknown thing", "An unknown thing"),
        ("", "without a word"),
    ],
)
def test_causes_are_told_in_one_sentence_with_a_next_step(output: str, words: str) -> None:
    problem, next_step = steps.explain(output)
    assert words in f"{problem} {next_step}"
    assert problem and next_step


@pytest.mark.parametrize(
    "line, words",
    [
        ("  Downloading torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl (526.6 MB)", "torch-2.13.0 (526.6 MB)"),
        ("  Downloading big-1.0-py3-none-any.whl (1.2 GB)", "1.2 GB"),
        ("Collecting nvidia-cudnn-cu13==9.20.0.48", "NVIDIA"),
        ("  Downloading tqdm-4.70.1-py3-none-any.whl (78 kB)", ""),
        ("  Downloading scipy-1.16.3-cp311.whl (35.9 MB)", ""),
        ("Collecting numpy==1.26.2", ""),
    ],
)
def test_only_long_waits_are_announced(line: str, words: str) -> None:
    announced = steps.announcement(line)
    assert words in announced if words else announced == ""


def test_two_processes_install_one_after_the_other(tmp_path: Path) -> None:
    lock, ready = tmp_path / "lock", tmp_path / "ready"
    script = (
        "import sys, time, pathlib; from locks.steps import only_one\n"
        "with only_one(pathlib.Path(sys.argv[1])):\n"
        "    pathlib.Path(sys.argv[2]).touch(); time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(lock), str(ready)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 30
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        with lock.open("a+b") as file:
            assert not steps.try_lock(file.fileno())
    finally:
        holder.kill()
        holder.wait()
    with steps.only_one(lock):  # The dead process holds nothing.
        pass


def test_run_py_can_be_read_by_a_very_old_python() -> None:
    """It must get as far as saying that Python is too old."""
    source = (ROOT / "run.py").read_text(encoding="utf-8")
    assert source.isascii()
    for modern in ("from __future__", 'f"', "f'", "->", "nonlocal", ":=", "async ", "print("):
        assert modern not in source
    before_check = source.split("refuse_old_python()\n    from locks")[0]
    assert "provenance_guard" not in before_check.replace("Provenance Guard", "")
