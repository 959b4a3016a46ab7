"""Whatever breaks, the picture leaves only as the policy's ``on_error`` allows, and the user reads why."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from provenance_guard.errors import ConfigError
from provenance_guard.pictures import pixel_sha256


@pytest.fixture(params=["warn", "block"])
def on_error(request, host, tmp_path):
    """A policy file with the one or the other answer to failures."""
    policy = tmp_path / "policy.toml"
    policy.write_text(f'mode = "warn"\non_error = "{request.param}"\n', "utf-8")
    host.modules.shared.cmd_opts.provenance_policy = policy
    return request.param


def original(host, seed=5):
    return host.modules.processing.draw(seed, (256, 256))


def assert_answered(host, processed, on_error, reason):
    """The picture is withheld or delivered as the policy says; the reason is shown; the host saw no exception."""
    withheld = len(processed.images[0].getcolors(256 * 256) or ()) < len(original(host).getcolors(256 * 256))
    assert withheld is (on_error == "block")
    assert processed.images[0].size == (256, 256)
    assert reason in processed.comments
    assert host.reported() == []


def assert_sealing_answered(host, processed, on_error, reason):
    """As above. Where a failure withholds nothing, files are finished behind, and the next job tells."""
    if on_error == "warn":
        processed.comments += host.generate(host.txt2img(seed=99)).comments
    assert_answered(host, processed, on_error, reason)


def break_import(monkeypatch, *names):
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_a_missing_dependency(host, on_error, monkeypatch):
    monkeypatch.delitem(sys.modules, "provenance_guard.guard", raising=False)
    break_import(monkeypatch, "provenance_guard.guard")
    assert_answered(host, host.generate(host.txt2img()), on_error, "provenance_guard.guard")


def test_a_missing_toml_reader_withholds_under_a_policy_file(host, tmp_path, monkeypatch):
    host.modules.shared.cmd_opts.provenance_policy = tmp_path / "policy.toml"
    break_import(monkeypatch, "provenance_guard.config", "provenance_guard.gate")
    processed = host.generate(host.txt2img())
    assert processed.images[0].getcolors() == [(256 * 256, (64, 64, 64))]


def test_an_unreadable_policy_withholds(host, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text('mode = "wran"\n', "utf-8")
    host.modules.shared.cmd_opts.provenance_policy = policy
    processed = host.generate(host.txt2img())
    assert_answered(host, processed, "block", "policy.toml, line 1: mode is 'wran'")


def test_a_policy_that_vanishes_withholds(host, on_error):
    host.generate(host.txt2img())
    host.modules.shared.cmd_opts.provenance_policy.unlink()
    assert_answered(host, host.generate(host.txt2img()), "block", "cannot be read")


def test_a_vanished_reference_folder(host, on_error, tmp_path):
    policy = host.modules.shared.cmd_opts.provenance_policy
    policy.write_text(f'mode = "warn"\non_error = "{on_error}"\n[screen]\nreferences = ["gone"]\n', "utf-8")
    assert_answered(host, host.generate(host.txt2img()), on_error, "gone")


def test_a_damaged_ledger(host, on_error):
    host.data_path.joinpath(".provenance-guard").mkdir(parents=True)
    host.data_path.joinpath(".provenance-guard", "ledger.sqlite3").write_bytes(b"no database" * 1000)
    host.keys.mkdir()
    assert_answered(host, host.generate(host.txt2img()), on_error, "failed")


def test_an_exception_while_capturing(host, on_error, monkeypatch):
    def broken():
        raise OverflowError("the host's device is strange")

    from provenance_guard.webui import compat

    monkeypatch.setattr(compat, "device_description", broken)
    assert_answered(host, host.generate(host.txt2img()), on_error, "the host's device is strange")


def test_a_file_that_cannot_be_sealed(host, on_error):
    """Another extension spoils the file before it is sealed."""

    def truncate(params):
        with Path(params.filename).open("r+b") as stream:
            stream.truncate(100)

    host.modules.script_callbacks.callback_map["callbacks_image_saved"].insert(0, truncate)
    processed = host.generate(host.txt2img())
    assert_sealing_answered(host, processed, on_error, "label: ")
    assert any(host.outputs.glob("*.png")) is (on_error == "warn")
    assert ("1 withheld" in processed.comments) is (on_error == "block")
    assert ("Provenance decision: block" in processed.infotexts[0]) is (on_error == "block")


def test_a_job_that_asks_for_block_is_withheld_on_failure(host, monkeypatch):
    from provenance_guard.webui import compat

    monkeypatch.setattr(compat, "device_description", lambda: 1 / 0)
    assert_answered(host, host.generate(host.txt2img(), True, "block"), "block", "ZeroDivisionError")


def test_a_file_that_another_extension_moved_away(host, on_error):
    def move_away(params):
        Path(params.filename).rename(params.filename + ".moved")

    host.modules.script_callbacks.callback_map["callbacks_image_saved"].insert(0, move_away)
    assert_sealing_answered(host, host.generate(host.txt2img()), on_error, "00000-5.png")


def test_memory_runs_out(host, on_error, monkeypatch):
    from provenance_guard.webui import runtime

    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr(runtime.guard().library, "screen", exhausted)
    assert_answered(host, host.generate(host.txt2img()), on_error, "MemoryError")


def test_missed_hooks_do_not_open_the_door(host, on_error, monkeypatch):
    """Another extension may have replaced the runner's earlier hooks."""
    from provenance_guard.webui import hooks

    monkeypatch.setattr(hooks.ProvenanceGuardScript, "before_process", lambda *_: None)
    monkeypatch.setattr(hooks.ProvenanceGuardScript, "process", lambda *_: None)
    processed = host.generate(host.txt2img())
    assert "1 recorded, 1 marked" in processed.comments


def test_keys_in_the_served_folder_are_refused(host):
    host.modules.shared.cmd_opts.provenance_keys = host.data_path / "keys"
    host.set_options(mode="block")
    assert_answered(host, host.generate(host.txt2img()), "block", "keys may not lie in the WebUI's folder")
    assert not (host.data_path / "keys").exists()


@pytest.mark.parametrize(("folder", "refused"), [("ledger", True), (".ledger", False), ("a/.b/c", False)])
def test_a_ledger_in_the_served_folder_needs_a_dot(host, folder, refused):
    from provenance_guard.webui import configuration

    host.modules.shared.cmd_opts.provenance_data = host.data_path / folder
    if refused:
        with pytest.raises(ConfigError, match="ledger may not lie"):
            configuration.read_config()
    else:
        assert configuration.read_config().data_directory == host.data_path / folder


def test_the_extension_loads_without_its_dependencies(host, monkeypatch):
    """The guards are light: with every heavy part missing they stand all the same."""
    host_packages = ("provenance_guard.webui",)
    for name in list(sys.modules):
        if name.startswith("provenance_guard") and not name.startswith(host_packages):
            monkeypatch.delitem(sys.modules, name)
        elif name.startswith("provenance_guard.webui"):
            del sys.modules[name]
    break_import(monkeypatch, "cryptography", "imagehash", "cv2", "tomllib", "tomli", "numpy", "gradio")
    host.load_extension()
    assert len(host.modules.scripts.scripts_data) == 1
    assert len(host.modules.scripts.postprocessing_scripts_data) == 1
    assert host.reported() == []


def test_pictures_without_failure_are_not_touched_by_on_error(host, on_error):
    processed = host.generate(host.txt2img())
    assert "1 marked" in processed.comments
    assert pixel_sha256(processed.images[0]) != pixel_sha256(original(host))
