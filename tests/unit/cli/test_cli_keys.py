"""The keys of the mark on the command line, from the first one to a colleague who reads with a copy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from provenance_guard.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    draws = np.random.default_rng(4)
    coarse = Image.fromarray(draws.integers(60, 190, (6, 6, 3)).astype(np.uint8)).resize(
        (256, 256), Image.Resampling.BICUBIC
    )
    path = tmp_path / "plain.png"
    coarse.save(path)
    return path


def test_the_life_of_a_key(capsys, folder, tmp_path, picture):
    assert run_json(capsys, "keys", "list", "--keys", folder)["keys"] == []
    first = run_json(capsys, "keys", "create", "--keys", folder)
    assert first["current"]
    marked = tmp_path / "marked.png"
    run_json(capsys, "mark", picture, marked, "--keys", folder, "--strength", "strong")
    second = run_json(capsys, "keys", "rotate", "--keys", folder)
    listed = run_json(capsys, "keys", "list", "--keys", folder)["keys"]
    assert [(key["id"], key["current"]) for key in listed] == [(second["id"], True), (first["id"], False)]
    (found,) = run_json(capsys, "detect", marked, "--keys", folder)["pictures"]
    assert (found["found"], found["key"]) == (True, first["id"])

    copy, theirs = tmp_path / "for-ada.key", tmp_path / "ada"
    assert run_json(capsys, "keys", "export", first["id"][:4], copy, "--keys", folder)["id"] == first["id"]
    imported = run_json(capsys, "keys", "import", copy, "--keys", theirs)
    assert imported == {**first, "imported": True, "current": False}
    (found,) = run_json(capsys, "detect", marked, "--keys", theirs)["pictures"]
    assert found["found"]
    code, out, _ = run(capsys, "keys", "list", "--keys", theirs)
    assert code == 0 and "colleague" in out


def test_a_second_first_key_is_refused(capsys, folder):
    run(capsys, "keys", "create", "--keys", folder)
    code, _, err = run(capsys, "keys", "create", "--keys", folder)
    assert code == 2
    assert "keys rotate" in err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["export", "ffffffff", "out.key"], 1, "begin with"),
        (["export", "", "out.key"], 1, "begin with"),
        (["export"], 2, "takes 2 names"),
        (["import"], 2, "takes 1 names"),
        (["list", "more"], 2, "takes 0 names"),
        (["import", "missing.key"], 1, "missing.key"),
    ],
)
def test_wrong_words_are_told(capsys, folder, tmp_path, monkeypatch, words, code, told):
    monkeypatch.chdir(tmp_path)
    run(capsys, "keys", "create", "--keys", folder)
    answer, _, err = run(capsys, "keys", *words, "--keys", folder)
    assert answer == code
    assert told in err


def test_an_export_never_replaces_a_file(capsys, folder, tmp_path):
    key = run_json(capsys, "keys", "create", "--keys", folder)
    taken = tmp_path / "taken"
    taken.write_text("mine", "utf-8")
    code, _, err = run(capsys, "keys", "export", key["id"], taken, "--keys", folder)
    assert code == 1
    assert "already" in err
    assert taken.read_text("utf-8") == "mine"


def test_a_robust_mark_has_a_short_id_and_every_mark_is_listed(capsys, folder, tmp_path, picture):
    marked = tmp_path / "marked.png"
    run_json(capsys, "mark", picture, marked, "--robust", "--keys", folder)
    (found,) = run_json(capsys, "detect", "--all", marked, "--keys", folder)["pictures"]
    assert found["profile"] == "robust v1"
    assert len(found["record_id"]) == 7
    assert found["time"] is None
    assert [mark["payload"] for mark in found["marks"]] == [found["payload"]]
    code, out, _ = run(capsys, "detect", "--all", marked, picture, "--keys", folder)
    assert code == 0
    assert out.count("none found") == 1


def test_robust_and_a_payload_exclude_each_other(capsys, folder, tmp_path, picture):
    code, _, err = run(
        capsys, "mark", picture, tmp_path / "o.png", "--robust", "--payload", "00" * 16, "--keys", folder
    )
    assert code == 2
    assert "exclude" in err


def test_detection_without_a_key_and_of_broken_files_is_told(capsys, folder, tmp_path, picture):
    code, _, err = run(capsys, "detect", picture, "--keys", folder)
    assert code == 1
    assert "no watermark key" in err
    run(capsys, "keys", "create", "--keys", folder)
    cut, icon, black = tmp_path / "cut.png", tmp_path / "icon.png", tmp_path / "black.png"
    cut.write_bytes(picture.read_bytes()[:900])
    Image.new("RGB", (40, 40), "teal").save(icon)
    Image.new("RGB", (300, 200)).save(black)
    code, out, err = run(capsys, "detect", icon, black, "--keys", folder)
    assert code == 0
    assert out.count("none found") == 2
    code, _, err = run(capsys, "detect", cut, "--keys", folder)
    assert code == 1
    assert "cut" in err
    code, _, err = run(capsys, "mark", icon, tmp_path / "o.png", "--keys", folder)
    assert code == 1
    assert "too small" in err
