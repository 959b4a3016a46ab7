"""What ``doctor`` says of the policy's place and of kept pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from provenance_guard.config import Config, load_policy
from provenance_guard.gate.quarantine import Quarantine
from provenance_guard.review.health import examine


def checks(config: Config, subject: str) -> list[tuple[str, str]]:
    return [(check.state, check.sentence) for check in examine(config) if check.subject == subject]


def config_with_policy(tmp_path: Path, path: Path) -> Config:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('mode = "quarantine"\n[retry]\nattempts = 2\n', "utf-8")
    return Config(tmp_path / "data", tmp_path / "keys", load_policy(path))


def test_the_policy_is_told_with_all_that_it_decides(tmp_path: Path) -> None:
    found = checks(config_with_policy(tmp_path, tmp_path / "policy.toml"), "policy")
    assert found[0][0] == "fine"
    for told in ("mode 'quarantine'", "on_error 'quarantine'", "previews 'off'", "2 further tries"):
        assert told in found[0][1]


def test_a_policy_that_its_users_can_write_is_a_problem(tmp_path: Path) -> None:
    inside = checks(config_with_policy(tmp_path, tmp_path / "data" / "policy.toml"), "policy")
    assert any(state == "problem" and "lies in the data directory" in sentence for state, sentence in inside)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_a_policy_that_everybody_can_write_is_a_problem(tmp_path: Path) -> None:
    config = config_with_policy(tmp_path, tmp_path / "policy.toml")
    assert not any(state == "problem" for state, _ in checks(config, "policy"))
    (tmp_path / "policy.toml").chmod(0o666)
    assert any(state == "problem" and "chmod o-w" in sentence for state, sentence in checks(config, "policy"))


def test_kept_pictures_wait_and_those_without_a_key_are_a_problem(tmp_path: Path) -> None:
    config = config_with_policy(tmp_path, tmp_path / "policy.toml")
    assert checks(config, "quarantine") == []
    record = {"id": "ab" * 16, "time": "2026-11-22T10:00:00.000Z", "decision": {"reasons": []}}
    Quarantine(config.quarantine_path, config.key_directory).keep(Image.new("RGB", (8, 8)), record)
    assert [state for state, _ in checks(config, "quarantine")] == ["note"]
    (config.key_directory / "quarantine-1.key").unlink()
    assert [state for state, _ in checks(config, "quarantine")] == ["note", "problem"]
