"""The ledger tells when the WebUI was guarded, and what was made when it was not."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest
from PIL.PngImagePlugin import PngInfo

from provenance_guard.errors import ConfigError
from provenance_guard.ledger.opening import opened_body

INFOTEXT = "a cat\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 5, Size: 64x64"


@pytest.fixture(autouse=True)
def at_once(host, monkeypatch):
    """What is written right after a session counts."""
    from provenance_guard.review import gaps
    from provenance_guard.webui import presence, runtime

    monkeypatch.setattr(gaps, "_AFTER_END", timedelta(0))
    monkeypatch.setattr(gaps, "_AFTER_KILL", timedelta(0))
    monkeypatch.setattr(runtime, "in_background", lambda work: work())
    host.modules.shared.opts.outdir_txt2img_samples = str(host.outputs)
    yield
    presence.end()


def events_of(host, kind):
    return [event for event in host.ledger_events() if event.type == kind]


def make_without_guard(host, name: str) -> Path:
    """What the host leaves of a generation when the extension is switched off."""
    time.sleep(0.02)
    chunks = PngInfo()
    chunks.add_text("parameters", INFOTEXT)
    path = host.outputs / name
    path.parent.mkdir(parents=True, exist_ok=True)
    host.modules.processing.draw(99, (64, 64)).save(path, pnginfo=chunks)
    host.data_path.mkdir(exist_ok=True)
    (host.data_path / "params.txt").write_text(INFOTEXT, "utf-8")
    time.sleep(0.02)
    return path


def test_a_session_begins_lives_and_ends(host, monkeypatch):
    from provenance_guard.webui import presence

    monkeypatch.setattr(presence, "HEARTBEAT", 0.05)
    host.call("app_started", None, None)
    (started,) = events_of(host, "session.started")
    assert started.body["program"] == "webui"
    deadline = time.monotonic() + 10
    while not events_of(host, "session.alive") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert {event.body["session"] for event in events_of(host, "session.alive")} == {started.body["session"]}
    host.call("script_unloaded")
    (ended,) = events_of(host, "session.ended")
    assert ended.body == {"session": started.body["session"]}
    assert presence._leaving is None
    count = len(events_of(host, "session.alive"))
    time.sleep(0.2)
    assert len(events_of(host, "session.alive")) == count


def test_an_extension_switched_off_in_between_is_found(host):
    from provenance_guard.review.health import examine
    from provenance_guard.review.verification import verify_file
    from provenance_guard.webui import runtime

    host.call("app_started", None, None)
    host.generate(host.txt2img())
    host.flush()
    host.call("script_unloaded")
    make_without_guard(host, "2026-11-22/00001-5.png")
    host.load_extension()
    host.call("app_started", None, None)
    (gap,) = events_of(host, "gap.found")
    body = opened_body(gap)
    assert (body["generated"], body["names"], body["last_generation"] is not None) == (1, ["00001-5.png"], True)
    guard = runtime.guard()
    findings = [
        finding for finding in verify_file(guard.config.ledger_path, guard).findings if finding.subject == "gaps"
    ]
    assert [finding.verdict for finding in findings] == ["fails", "unknown"]
    assert "without the guard: 1 file with parameters of a generation is not in the record" in findings[0].sentence
    assert "guarded in 2 sessions" in findings[1].sentence
    checks = [check for check in examine(guard.config) if check.subject == "gaps"]
    assert [check.state for check in checks] == ["note", "fine"]


def test_under_a_policy_file_such_a_gap_is_a_problem(host, tmp_path):
    from provenance_guard.review.health import examine
    from provenance_guard.webui import runtime

    policy = tmp_path / "policy.toml"
    policy.write_text('mode = "block"\n', "utf-8")
    host.modules.shared.cmd_opts.provenance_policy = policy
    host.call("app_started", None, None)
    host.call("script_unloaded")
    make_without_guard(host, "00001-5.png")
    host.load_extension()
    host.call("app_started", None, None)
    states = [check.state for check in examine(runtime.guard().config) if check.subject == "gaps"]
    assert states == ["problem", "fine"]


def test_an_unsaved_generation_is_told_by_the_hosts_own_note(host):
    host.call("app_started", None, None)
    host.call("script_unloaded")
    make_without_guard(host, "00001-5.png").unlink()
    host.load_extension()
    host.call("app_started", None, None)
    (gap,) = events_of(host, "gap.found")
    assert (gap.body["generated"], gap.body["last_generation"] is not None) == (0, True)


def test_reloading_the_page_leaves_no_gap(host):
    host.call("app_started", None, None)
    host.generate(host.txt2img())
    host.flush()
    host.call("script_unloaded")
    host.load_extension()
    host.call("app_started", None, None)
    host.generate(host.txt2img(seed=8))
    assert events_of(host, "gap.found") == []
    assert len(events_of(host, "session.started")) == 2
    assert len({event.body["session"] for event in events_of(host, "session.started")}) == 2


def test_a_session_that_is_killed_ends_with_its_last_sign(host):
    from provenance_guard.webui import presence, runtime

    host.call("app_started", None, None)
    host.generate(host.txt2img())
    host.flush()
    presence._leaving.set()
    presence._leaving, presence._arrived = None, False  # killed: nobody says good-bye
    runtime._session = runtime._guard = None
    make_without_guard(host, "00001-5.png")
    host.call("app_started", None, None)
    (gap,) = events_of(host, "gap.found")
    assert gap.body["generated"] == 1


def test_what_cannot_be_told_at_the_start_is_told_later(host, tmp_path, monkeypatch):
    from provenance_guard.webui import presence

    monkeypatch.setattr(presence, "HEARTBEAT", 0.05)
    host.call("app_started", None, None)
    host.call("script_unloaded")
    make_without_guard(host, "00001-5.png")
    policy = tmp_path / "policy.toml"
    policy.write_text('mode = "blok"\n', "utf-8")
    host.modules.shared.cmd_opts.provenance_policy = policy
    host.load_extension()
    with pytest.raises(ConfigError):
        presence.begin()
    policy.write_text('mode = "block"\n', "utf-8")
    deadline = time.monotonic() + 10
    while not events_of(host, "gap.found") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [event.body["generated"] for event in events_of(host, "gap.found")] == [1]


def test_a_broken_ledger_does_not_stop_the_host(host, caplog):
    host.data_path.joinpath(".provenance-guard").mkdir(parents=True)
    host.data_path.joinpath(".provenance-guard", "ledger.sqlite3").write_bytes(b"no database" * 1000)
    host.call("app_started", None, None)
    assert host.reported() == []
