from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from provenance_guard.batch import watch_folder
from provenance_guard.cli import main
from provenance_guard.cli.arguments import build_parser
from provenance_guard.guard import Guard
from provenance_guard.pictures import open_picture

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples"
PLAIN = EXAMPLES / "generated" / "00001-2087351147.png"
NEAR_COPY = EXAMPLES / "generated" / "00005-3301998452.jpg"
ORIGINAL = EXAMPLES / "references" / "potter-peter-rabbit-radishes.jpg"


@pytest.fixture
def references(tmp_path: Path) -> Path:
    folder = tmp_path / "references"
    folder.mkdir()
    shutil.copy(ORIGINAL, folder)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> list[str]:
    """Options that keep data and keys inside the test."""
    return ["--data", str(tmp_path / "data"), "--keys", str(tmp_path / "keys")]


@pytest.fixture
def blocking(tmp_path: Path) -> list[str]:
    policy = tmp_path / "policy.toml"
    policy.write_text('mode = "block"\n', "utf-8")
    return ["--policy", str(policy)]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict]:
    code, out, _ = run(capsys, *arguments, "--json")
    return code, json.loads(out)


def small(source: Path, target: Path, size: int = 320) -> Path:
    """A small copy of a picture, so that a test is quick."""
    open_picture(source).image.resize((size, size)).save(target)
    return target


def test_guard_releases_blocks_and_leaves_originals_alone(tmp_path, references, home, blocking, capsys):
    pictures = tmp_path / "in"
    pictures.mkdir()
    small(PLAIN, pictures / "plain.png")
    shutil.copy(NEAR_COPY, pictures)
    before = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in pictures.iterdir()}
    out = tmp_path / "out"
    code, document = run_json(capsys, "guard", pictures, "--references", references, "--out", out, *home, *blocking)
    assert code == 3
    assert document["summary"] == {"released": 1, "blocked": 1}
    assert {path.name for path in out.iterdir()} == {"plain.png", "plain.png.prov.json"}
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in pictures.iterdir()} == before
    code, document = run_json(capsys, "verify", out / "plain.png", *home)
    assert code == 0
    assert {finding["verdict"] for finding in document["pictures"][0]["findings"]} <= {"holds", "unknown"}


def test_guard_reads_the_infotext_of_what_it_guards(tmp_path, references, home, capsys):
    code, document = run_json(capsys, "guard", PLAIN, "--references", references, "--out", tmp_path / "out", *home)
    assert code == 0
    record_id = document["pictures"][0]["record_id"]
    code, shown = run_json(capsys, "show", record_id[:8], *home)
    assert code == 0 and shown["record_id"] == record_id
    context = shown["events"][0]["body"]["record"]["context"]
    assert context["origin"] == "file" and context["parameters"]["seed"]
    written = Image.open(tmp_path / "out" / PLAIN.name)
    assert written.info["parameters"] == Image.open(PLAIN).info["parameters"], "the infotext must survive"


def test_two_sources_of_one_name_do_not_overwrite_each_other(tmp_path, references, home, capsys):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    small(PLAIN, first / "x.png")
    small(PLAIN, second / "x.webp").rename(second / "x.png.webp")
    small(EXAMPLES / "generated" / "00002-913350088.png", second / "x.png")
    out = tmp_path / "out"
    code, document = run_json(
        capsys, "guard", first / "x.png", second / "x.png", "--references", references, "--out", out, *home
    )
    assert code == 0
    assert [Path(picture["output"]).name for picture in document["pictures"]] == ["x.png", "x-2.png"]


def test_guard_refuses_to_write_over_its_source(tmp_path, references, home, capsys):
    small(PLAIN, tmp_path / "x.png")
    before = (tmp_path / "x.png").read_bytes()
    code, document = run_json(capsys, "guard", tmp_path / "x.png", "--references", references, "--out", tmp_path, *home)
    assert code == 1 and "--out" in document["pictures"][0]["error"]
    assert (tmp_path / "x.png").read_bytes() == before


def test_resume_skips_what_is_done(tmp_path, references, home, capsys):
    small(PLAIN, tmp_path / "x.png")
    command = ["guard", tmp_path / "x.png", "--references", references, "--out", tmp_path / "out", "--resume", *home]
    assert run_json(capsys, *command)[1]["summary"] == {"released": 1}
    assert run_json(capsys, *command)[1]["summary"] == {"done before": 1}
    small(PLAIN, tmp_path / "x.png", 330)
    assert run_json(capsys, *command)[1]["summary"] == {"released": 1}


def test_a_picture_that_passed_before_names_its_parent(tmp_path, references, home, capsys):
    small(PLAIN, tmp_path / "x.png")
    common = ["--references", references, *home]
    first = run_json(capsys, "guard", tmp_path / "x.png", "--out", tmp_path / "one", *common)[1]["pictures"][0]
    second = run_json(capsys, "guard", first["output"], "--out", tmp_path / "two", *common)[1]["pictures"][0]
    shown = run_json(capsys, "show", second["record_id"], *home)[1]
    parents = shown["events"][0]["body"]["record"]["context"]["parents"]
    assert [(parent["role"], parent["record_id"]) for parent in parents] == [("source", first["record_id"])]


def test_bad_pictures_get_a_sentence_each_and_the_others_go_on(tmp_path, references, home, capsys):
    bad = tmp_path / "in"
    bad.mkdir()
    small(PLAIN, bad / "good 好.png")
    whole = PLAIN.read_bytes()
    (bad / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (bad / "empty.png").write_bytes(b"")
    (bad / "text.png").write_text("hello", "utf-8")
    frames = [Image.new("RGB", (80, 80), (20 * index, 90, 30)) for index in range(3)]
    frames[0].save(bad / "animated.gif", save_all=True, append_images=frames[1:])
    Image.new("RGB", (1, 1), "red").save(bad / "one pixel.png")
    Image.fromarray(np.linspace(0, 65535, 200 * 200, dtype=np.uint16).reshape(200, 200)).save(bad / "deep.png")
    Image.new("CMYK", (200, 200), (10, 90, 10, 0)).save(bad / "cmyk.jpg")
    Image.new("P", (200, 200)).save(bad / "palette.png", transparency=0)
    out = tmp_path / "out"
    code, document = run_json(capsys, "guard", bad, "--references", references, "--out", out, *home)
    outcomes = {Path(picture["picture"]).name: picture for picture in document["pictures"]}
    assert code == 1
    failed = {name for name, picture in outcomes.items() if picture["outcome"] == "failed"}
    assert failed == {"truncated.png", "empty.png", "text.png", "animated.gif"}
    for name in failed:
        assert name in outcomes[name]["error"] and outcomes[name]["error"].count(".") >= 2
    assert "16" in outcomes["deep.png"]["notes"][0] and "CMYK" in outcomes["cmyk.jpg"]["notes"][0]
    assert outcomes["one pixel.png"]["mark"]["present"] is False
    assert Image.open(out / "palette.png").mode == "RGBA"
    assert {path.name for path in out.iterdir() if not path.name.endswith(".prov.json")} == {
        "good 好.png", "one pixel.png", "deep.png", "cmyk.jpg", "palette.png",
    }  # fmt: skip


def test_an_interrupted_guard_leaves_nothing_half_done(tmp_path, references, home, capsys, monkeypatch):
    small(PLAIN, tmp_path / "x.png")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Guard, "seal", interrupt)
    code, _, err = run(
        capsys, "guard", tmp_path / "x.png", "--references", references, "--out", tmp_path / "out", *home
    )
    assert code == 130 and "--resume" in err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["guard", "missing.png", "--references", "{refs}", "--out", "{tmp}/o"], 2, "missing.png does not exist"),
        (["guard", "{refs}", "--references", "{tmp}/none", "--out", "{tmp}/o"], 1, "does not exist"),
        (["guard", "{refs}", "--references", "{refs}", "--out", "{tmp}/file"], 1, "Choose another folder"),
        (["guard", "{refs}", "--references", "{refs}", "--out", "{tmp}/o", "--policy", "{tmp}/bad.toml"], 1, "line 2"),
        (["screen", "{tmp}/empty", "--references", "{refs}"], 2, "No pictures in"),
        (["mark", "{plain}", "{tmp}/o.png", "--payload", "xyz"], 2, "32 hex digits"),
        (["mark", "{plain}", "{plain}"], 2, "overwrite"),
        (["mark", "{plain}", "{tmp}/o.txt"], 2, "suffix"),
        (["detect", "{plain}"], 1, "no watermark key"),
        (["log"], 1, "There is no ledger"),
        (["log", "--since", "yesterday"], 2, "no time"),
        (["show", "abcd"], 1, "There is no ledger"),
        (["watch", "{tmp}/none"], 2, "not a folder"),
        (["index", "{tmp}/none"], 1, "does not exist"),
    ],
)
def test_wrong_use_gives_one_sentence_and_the_right_code(tmp_path, references, home, capsys, arguments, code, words):
    (tmp_path / "file").write_text("in the way", "utf-8")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.toml").write_text("version = 1\nmode = 7\n", "utf-8")
    places = {"refs": references, "tmp": tmp_path, "plain": PLAIN}
    got, _, err = run(capsys, *(argument.format(**places) for argument in arguments), *home)
    assert got == code
    assert words in err and err.startswith("Error: ") and "Traceback" not in err
    got, document = run_json(capsys, *(argument.format(**places) for argument in arguments), *home)
    assert got == code and document["error"] and document["next_step"]


def test_an_empty_reference_folder_is_fine_and_said_so(tmp_path, home, capsys):
    (tmp_path / "nothing").mkdir()
    source = small(PLAIN, tmp_path / "x.png")
    code, document = run_json(capsys, "screen", source, "--references", tmp_path / "nothing", *home)
    assert code == 0
    assert document["pictures"][0]["level"] == "clean" and document["pictures"][0]["references"] == 0
    assert any("nothing to compare" in note for note in document["pictures"][0]["notes"])


def test_only_the_named_references_are_compared_with(tmp_path, references, home, capsys):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(EXAMPLES / "references" / "tenniel-white-rabbit.jpg", other)
    levels = [
        run_json(capsys, "screen", NEAR_COPY, "--references", folder, *home)[1]["pictures"][0]["level"]
        for folder in (references, other, references)
    ]
    assert levels == ["near_copy", "clean", "near_copy"]


def test_screen_explains_with_a_picture(tmp_path, references, home, blocking, capsys):
    code, document = run_json(
        capsys, "screen", NEAR_COPY, "--references", references, "--explain", tmp_path / "why", *home, *blocking
    )
    assert code == 3
    match = document["pictures"][0]["matches"][0]
    assert match["probability"] >= 0.85 and Path(match["reference"]).name == ORIGINAL.name
    assert min(Image.open(document["pictures"][0]["explanation"]).size) > 200


def test_mark_and_detect_carry_any_payload(tmp_path, home, capsys):
    payload = "00112233445566778899aabbccddeeff"
    code, marked = run_json(capsys, "mark", PLAIN, tmp_path / "m.png", "--payload", payload, *home)
    assert code == 0 and marked["payload"] == payload
    code, found = run_json(capsys, "detect", tmp_path / "m.png", PLAIN, *home)
    assert code == 0
    assert found["pictures"][0]["found"] and found["pictures"][0]["payload"] == payload
    assert found["pictures"][1] == {"picture": str(PLAIN), "found": False}


def test_mark_by_default_carries_a_fresh_record_id_and_the_time(tmp_path, home, capsys):
    run_json(capsys, "mark", PLAIN, tmp_path / "m.png", *home)
    _, found = run_json(capsys, "detect", tmp_path / "m.png", *home)
    assert len(found["pictures"][0]["record_id"]) == 14
    assert abs(time.time() - _seconds(found["pictures"][0]["time"])) < 300


def test_index_and_library_tell_what_is_there(tmp_path, references, home, capsys):
    (references / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    code, report = run_json(capsys, "index", references, *home)
    assert code == 0 and report["added"] == 1 and "broken.png" in report["unreadable"][0][0]
    assert run_json(capsys, "index", references, *home)[1]["unchanged"] == 1
    code, out, _ = run(capsys, "library", *home)
    assert code == 0 and "broken.png" in out


def test_log_lists_newest_first_and_finds_a_picture_by_its_mark(tmp_path, references, home, capsys):
    source = small(PLAIN, tmp_path / "x.png", 512)
    run_json(capsys, "guard", source, "--references", references, "--out", tmp_path / "out", *home)
    code, document = run_json(capsys, "log", *home)
    kinds = [event["type"] for event in document["events"]]
    assert code == 0 and kinds[0] == "picture.saved" and "picture.released" in kinds
    stripped = tmp_path / "stripped.jpg"
    Image.open(tmp_path / "out" / "x.png").convert("RGB").save(stripped, quality=80)
    code, document = run_json(capsys, "log", "--picture", stripped, *home)
    assert [event["type"] for event in document["events"]] == ["picture.saved", "picture.released"]
    assert run_json(capsys, "log", "--since", "2199-01-01", *home)[1]["events"] == []


def test_verify_says_what_was_changed(tmp_path, references, home, capsys):
    source = small(PLAIN, tmp_path / "x.png", 512)
    run_json(capsys, "guard", source, "--references", references, "--out", tmp_path / "out", *home)
    copy = tmp_path / "out" / "x.png"
    picture = Image.open(copy)
    picture.paste((0, 0, 0), (0, 0, 60, 60))
    picture.save(copy)
    code, document = run_json(capsys, "verify", copy, *home)
    findings = {finding["subject"]: finding["verdict"] for finding in document["pictures"][0]["findings"]}
    assert code == 1
    assert findings["content"] == "fails" and findings["record"] == "holds" and findings["mark"] == "holds"


def test_verify_takes_a_sidecar_or_a_ledger_too(tmp_path, references, home, capsys):
    source = small(PLAIN, tmp_path / "x.png")
    run_json(capsys, "guard", source, "--references", references, "--out", tmp_path / "out", *home)
    ledger = tmp_path / "data" / "ledger.sqlite3"
    code, document = run_json(capsys, "verify", tmp_path / "out" / "x.png.prov.json", ledger, *home)
    assert code == 0
    assert document["pictures"][0]["picture"].endswith("x.png")
    verdicts = {finding["subject"]: finding["verdict"] for finding in document["pictures"][1]["findings"]}
    assert verdicts == {"chain": "holds", "time": "unknown", "identity": "holds", "independence": "unknown"}
    with sqlite3.connect(ledger) as connection:
        connection.execute("DELETE FROM event WHERE seq = 2")
    connection.close()
    code, document = run_json(capsys, "verify", ledger, *home)
    assert code == 1 and any("2" in finding["sentence"] for finding in document["pictures"][0]["findings"])


def test_verify_of_a_stranger_holds_nothing_against_it(tmp_path, home, capsys):
    code, document = run_json(capsys, "verify", PLAIN, *home)
    assert code == 0
    assert {finding["verdict"] for finding in document["pictures"][0]["findings"]} == {"unknown"}
    assert not (tmp_path / "keys").exists(), "looking must not make keys"


def test_doctor_is_fine_on_a_fresh_machine_and_names_problems(tmp_path, references, home, capsys):
    code, document = run_json(capsys, "doctor", *home)
    assert code == 0 and {check["state"] for check in document["checks"]} <= {"fine", "note"}
    assert not (tmp_path / "data").exists() and not (tmp_path / "keys").exists(), "doctor must change nothing"
    small(PLAIN, tmp_path / "x.png")
    run_json(capsys, "guard", tmp_path / "x.png", "--references", references, "--out", tmp_path / "out", *home)
    shutil.rmtree(tmp_path / "keys")
    code, document = run_json(capsys, "doctor", *home)
    assert code == 1
    assert any(check["subject"] == "keys" and check["state"] == "problem" for check in document["checks"])


def test_watch_hands_out_a_picture_once_it_has_stopped_growing(tmp_path):
    folder = tmp_path / "watched"
    folder.mkdir()
    shutil.copy(PLAIN, folder / "old.png")
    seen: list[str] = []

    def watch() -> None:
        for path in watch_folder(folder, interval=0.05):
            seen.append(path.name)

    threading.Thread(target=watch, daemon=True).start()
    time.sleep(0.2)
    content = PLAIN.read_bytes()
    with (folder / "new.png").open("wb") as stream:
        for start in range(0, len(content), len(content) // 8):
            stream.write(content[start : start + len(content) // 8])
            stream.flush()
            time.sleep(0.02)
        assert seen == []
    (folder / "note.txt").write_text("no picture", "utf-8")
    deadline = time.monotonic() + 10
    while not seen and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    assert seen == ["new.png"]


def test_every_verb_has_help_and_starts_nothing_heavy():
    code = "import sys, provenance_guard.cli as c\nc.build_parser()\nprint([m for m in ('torch', 'cv2', 'PIL') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    verbs = build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    assert set(verbs) == {
        "guard", "screen", "mark", "detect", "index", "library", "quarantine", "log", "show", "verify", "export", "ledger", "checkpoint", "keys", "watch", "demo", "ui", "doctor",
    }  # fmt: skip
    assert all(parser.description for parser in verbs.values())


def test_the_demo_does_the_whole_job(tmp_path, capsys):
    code, document = run_json(capsys, "demo", "--out", tmp_path / "demo")
    assert code == 0
    assert document["summary"]["blocked"] >= 2 and document["summary"]["released"] >= 4
    copies = [path for path in (tmp_path / "demo").iterdir() if path.suffix in (".png", ".jpg", ".webp")]
    assert all(path.with_name(path.name + ".prov.json").exists() for path in copies)


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_the_quarantine_from_guard_to_release(tmp_path, references, home, capsys):
    policy = tmp_path / "policy.toml"
    policy.write_text('mode = "quarantine"\n', "utf-8")
    home = [*home, "--policy", str(policy)]
    assert run_json(capsys, "quarantine", "list", *home) == (0, {"pictures": []})
    copies = [small(ORIGINAL, tmp_path / name) for name in ("one.png", "two.png")]
    code, document = run_json(capsys, "guard", *copies, "--references", references, "--out", tmp_path / "out", *home)
    assert code == 3 and document["summary"] == {"blocked": 2}
    assert [picture["kept"] for picture in document["pictures"]] == [True, True]
    first, second = (picture["record_id"] for picture in document["pictures"])

    code, listed = run_json(capsys, "quarantine", "list", *home)
    assert code == 0 and {entry["record_id"] for entry in listed["pictures"]} == {first, second}
    assert "near copy" in listed["pictures"][0]["reasons"][0].lower()
    code, shown = run_json(capsys, "quarantine", "show", first[:10], "--out", tmp_path / "look", *home)
    assert code == 0 and shown["record"]["id"] == first
    assert Image.open(shown["picture"]).size == (320, 320) and Image.open(shown["evidence"]).size

    assert run(capsys, "quarantine", "release", first, *home)[0] == 2
    who = ("--reviewer", "Ada", "--reason", "licensed")
    code, freed = run_json(capsys, "quarantine", "release", first, *who, "--out", tmp_path / "freed", *home)
    assert code == 0 and freed["record_id"] == first and Path(freed["output"]).exists()
    assert run_json(capsys, "verify", freed["output"], *home)[0] == 0
    code, gone = run_json(capsys, "quarantine", "destroy", second, *who, *home)
    assert (code, gone) == (0, {"record_id": second, "destroyed": True})
    code, _, err = run(capsys, "quarantine", "show", second, *home)
    assert code == 1 and "Destroyed at" in err and "by Ada" in err
    assert run(capsys, "quarantine", "show", *home)[0] == 2
    code, out, _ = run(capsys, "quarantine", "list", *home)
    assert (code, out) == (0, "No picture is kept.\n")
    code, log = run_json(capsys, "log", *home)
    assert {"quarantine.released", "quarantine.destroyed"} <= {event["type"] for event in log["events"]}
