"""Every error tells what went wrong and what to do next, and has its exit code; optional parts are there or explained."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from provenance_guard import errors, extras
from provenance_guard.errors import ConfigError, ExtraMissingError, GuardError, UsageError


def every_error(kind: type[GuardError] = GuardError) -> list[type[GuardError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in every_error(child))]


def test_message_and_next_step() -> None:
    error = GuardError("The disk is full.", next_step="Free some space.")
    assert str(error) == "The disk is full. Free some space."
    assert (error.message, error.next_step) == ("The disk is full.", "Free some space.")


def test_exit_codes() -> None:
    codes = {kind.__name__: kind.exit_code for kind in every_error() if kind.__module__ == errors.__name__}
    assert codes.pop("UsageError") == 2
    assert set(codes.values()) == {1}
    assert len(codes) > 8


def test_a_next_step_is_demanded() -> None:
    with pytest.raises(TypeError):
        UsageError("Something is wrong.")  # type: ignore[call-arg]


def test_config_errors_say_where() -> None:
    assert str(ConfigError(Path("p.toml"), "mode is wrong", line=3)).startswith("p.toml, line 3: mode is wrong.")
    without = ConfigError(Path("p.toml"), "cannot be read", next_step="Look.")
    assert (str(without), without.line) == ("p.toml: cannot be read. Look.", None)


@pytest.fixture
def extra(monkeypatch: pytest.MonkeyPatch) -> str:
    name = "a_module_that_nobody_has"
    monkeypatch.setattr(extras, "EXTRAS", {name: extras.Extra(name, "a-package", "It costs nothing.")})
    return name


def test_a_missing_extra_is_none_with_a_reason(extra: str) -> None:
    assert extras.load(extra) is None
    (status,) = extras.status()
    assert (status.available, status.reason) == (False, "not installed")
    with pytest.raises(ExtraMissingError, match="pip install a-package") as caught:
        extras.require(extra, purpose="The page")
    assert "The page needs a-package" in caught.value.message


@pytest.mark.parametrize("error", [OSError("no such library\nsecond line"), RuntimeError(), ValueError("x")])
def test_a_broken_extra_is_missing_too(
    extra: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{extra}.py").write_text(f"raise {type(error).__name__}({str(error)!r})", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert extras.load(extra) is None
    (status,) = extras.status()
    assert type(error).__name__ in status.reason
    assert "\n" not in status.reason


def test_an_extra_that_came_back_is_available(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert extras.load(extra) is None
    module = ModuleType(extra)
    monkeypatch.setitem(sys.modules, extra, module)
    assert extras.require(extra, purpose="This") is module
    (status,) = extras.status()
    assert (status.available, status.reason) == (True, "")
