"""The verbs about the ledger: log with its filters, log import, ledger prune, erase, backup, restore, recover."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from provenance_guard.cli import main, upkeep
from provenance_guard.config import Config, MarkPolicy, Policy
from provenance_guard.gate.quarantine import SUFFIX
from provenance_guard.guard import Guard
from provenance_guard.ledger import verify_ledger
from provenance_guard.provenance.record import Context, Parent, Resource

PROMPTS = ("a quiet zanzibar harbour", "a stormy sea", "黄昏的灯塔")


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def run_json(capsys, *arguments: object) -> tuple[int, dict]:
    code, out, _ = run(capsys, *arguments, "--json")
    return code, json.loads(out)


def draw(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8))


@pytest.fixture
def home(tmp_path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def options(home) -> list[str]:
    return ["--data", str(home / "data"), "--keys", str(home / "keys")]


@pytest.fixture
def records(home) -> list[str]:
    """Three recorded runs with their pictures, the second made from the first, by two users."""
    made: list[str] = []
    parents: tuple[Parent, ...] = ()
    with Guard(Config(home / "data", home / "keys", Policy(mode="off", mark=MarkPolicy(enabled=False)))) as guard:
        for number, prompt in enumerate(PROMPTS):
            context = Context(
                "webui.img2img" if parents else "webui.txt2img",
                {"prompt": prompt, "seed": 4711 + number},
                resources=(Resource("lora", f"style_{number}"), Resource("checkpoint", "dream-shaper")),
                parents=parents if number == 1 else (),
                user="mara" if number == 0 else "jo",
                job=f"job {number}",
            )
            guard.admit(context)
            release = guard.release(draw(number), context)
            path = home / f"{prompt} {number}.png"
            release.image.save(path)
            assert guard.seal(release, path).failures == ()
            made.append(release.record.id)
            parents = (Parent("init_image", release.record.pixel_sha256, release.record.id, "pixels"),)
    return made


def data_bytes(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((home / "data").rglob("*")) if path.is_file())


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--prompt", "harbour quiet"], {0}),
        (["--prompt", '"harbour quiet"'], set()),
        (["--prompt", "zanz*"], {0}),
        (["--prompt", "灯塔"], {2}),
        (["--prompt", "style_0"], set()),
        (["--lora", "style_1"], {1}),
        (["--lora", "style_1", "--lora", "style_2"], {1, 2}),
        (["--model", "dream-shaper", "--seed", "4713"], {2}),
        (["--seed", "4711", "--user", "jo"], set()),
        (["--parent", "PARENT"], {1}),
        (["--decision", "allow"], {0, 1, 2}),
        (["--verdict", "near_copy"], set()),
        (["--file", "zanzibar"], {0}),
        (["--prompt", "sea", "--since", "2000-01-01"], {1}),
        (["--prompt", "sea", "--until", "2000-01-01"], set()),
        (["--prompt", "sea", "--since", "2999-01-01"], set()),
    ],
)
def test_log_finds_what_is_asked_for(records, options, capsys, filters, expected):
    filters = [records[0][:8] if word == "PARENT" else word for word in filters]
    code, found = run_json(capsys, "log", *filters, *options)
    assert code == 0
    assert {event["record_id"] for event in found["events"]} - {None} == {records[number] for number in expected}


def test_log_until_a_date_holds_its_whole_day(records, options, capsys):
    _, everything = run_json(capsys, "log", *options)
    today = everything["events"][0]["time"][:10]
    assert len(everything["events"]) > 6
    assert run_json(capsys, "log", "--until", today, *options)[1] == everything
    assert run_json(capsys, "log", "--until", f"{today}T00:00", *options)[1] == {"events": []}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["log", "--prompt", "***"], "--prompt has no word"),
        (["log", "--lora", ""], "--lora has no word"),
        (["log", "--until", "yesterday"], "--until is 'yesterday'"),
        (["log", "--picture", "x.png", "--seed", "1"], "--picture names one picture"),
        (["log", "import"], "nothing to import"),
        (["ledger", "prune"], "how old"),
        (["ledger", "prune", "--older-than", "99999999999"], "number of days"),
        (["ledger", "erase"], "whose data"),
        (["ledger", "erase", "RECORD"], "nothing was done"),
        (["ledger", "erase", "0000"], "no record 0000"),
        (["ledger", "prune", "--before", "2999-01-01"], "nothing was done"),
    ],
)
def test_wrong_use_is_told_and_changes_nothing(records, home, options, capsys, arguments, said):
    before = data_bytes(home)
    code, found = run_json(capsys, *(records[0] if word == "RECORD" else word for word in arguments), *options)
    assert code in (1, 2) and said in found["error"] and found["next_step"]
    assert data_bytes(home) == before


def test_import_takes_in_a_folder(tmp_path, options, capsys):
    chunks = PngInfo()
    chunks.add_text("parameters", "a lost valley\nSteps: 20, Sampler: Euler a, Seed: 99, Size: 64x48")
    folder = tmp_path / "old outputs"
    folder.mkdir()
    draw(1).save(folder / "a.png", pnginfo=chunks)
    (folder / "b.png").write_bytes(b"broken")
    code, told = run_json(capsys, "log", "import", folder, *options)
    assert code == 1 and told["summary"] == {"imported": 1, "unreadable": 1}
    assert [picture["outcome"] for picture in told["pictures"]] == ["imported", "unreadable"]
    code, out, _ = run(capsys, "log", "import", folder, *options)
    assert "1 known, 1 unreadable" in out and "b.png" in out
    _, found = run_json(capsys, "log", "--prompt", "lost valley", *options)
    assert [event["type"] for event in found["events"]] == ["picture.imported"]
    record = told["pictures"][0]["record_id"]
    assert (
        run(capsys, "export", record, "--format", "dossier", "--out", tmp_path / "d", "--pictures", folder, *options)[0]
        == 0
    )
    assert run(capsys, "verify", tmp_path / "d", "--data", tmp_path / "no", "--keys", tmp_path / "no")[0] == 0
    code, out, _ = run(capsys, "show", record, *options)
    assert code == 0 and "a lost valley" in out and "file_name: a.png" in out


def test_erasing_a_record_leaves_no_byte_of_it(records, home, options, capsys):
    run_json(capsys, "log", "--prompt", "zanzibar", *options)  # makes the search index
    assert b"zanzibar" in data_bytes(home)
    code, told = run_json(capsys, "ledger", "erase", records[0][:10], "--yes", *options)
    assert code == 0 and told["erased"] == 3 and told["may_still_hold_it"] == []
    for word in ("zanzibar", "style_0", "mara"):
        assert word.encode() not in data_bytes(home), word
    assert b"stormy" in data_bytes(home)
    assert run_json(capsys, "log", "--prompt", "zanzibar", *options)[1] == {"events": []}
    report = verify_ledger(home / "data" / "ledger.sqlite3")
    assert report.sound and report.size > 10
    code, told = run_json(capsys, "export", records[0], "--out", home / "x", *options)
    assert code == 1 and "was erased" in told["error"]
    # What came from it still stands, and is proven.
    assert run_json(capsys, "export", records[1], "--out", home / "y", *options)[0] == 0
    code, told = run_json(capsys, "ledger", "erase", records[0], "--yes", *options)
    assert code == 0 and told["erased"] == 0


def test_an_erasure_names_what_it_cannot_reach(records, home, options, capsys):
    kept = Config(home / "data", home / "keys").quarantine_path / f"{records[0]}{SUFFIX}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(b"")
    older = home / "data" / "ledger.before-version-2.sqlite3"
    older.write_bytes(b"")
    code, out, _ = run(capsys, "ledger", "erase", records[0], "--yes", *options)
    assert code == 0 and f"{kept}: use `quarantine destroy`" in out and f"{older}: delete that file" in out


def test_erasing_all_of_a_user(records, home, options, capsys):
    code, told = run_json(capsys, "ledger", "erase", "--user", "jo", "--yes", "--reason", "request 7", *options)
    assert code == 0 and told["erased"] == 6
    content = data_bytes(home)
    assert b"stormy" not in content and PROMPTS[2].encode() not in content and b"zanzibar" in content
    assert b"request 7" in content
    assert verify_ledger(home / "data" / "ledger.sqlite3").sound


def test_pruning(records, home, options, capsys):
    code, told = run_json(capsys, "ledger", "prune", "--older-than", "1", "--yes", *options)
    assert (code, told["erased"]) == (0, 0)
    code, told = run_json(capsys, "ledger", "prune", "--before", "2999-01-01", "--yes", *options)
    assert code == 0 and told["erased"] == 10, "three runs, records and files, and the start of the session"
    assert b"zanzibar" not in data_bytes(home)
    assert verify_ledger(home / "data" / "ledger.sqlite3").sound


@pytest.mark.parametrize(("answer", "done"), [("y\n", True), ("n\n", False), ("", False)])
def test_a_person_is_asked_first(records, home, options, capsys, monkeypatch, answer, done):
    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return answer

    monkeypatch.setattr(upkeep.sys, "stdin", Terminal())
    code, _, err = run(capsys, "ledger", "erase", records[0], *options)
    assert "gone for good" in err and code == (0 if done else 2)
    assert (b"zanzibar" in data_bytes(home)) != done


def test_backup_and_restore(records, home, options, capsys, tmp_path):
    backup = tmp_path / "backup.sqlite3"
    code, told = run_json(capsys, "ledger", "backup", backup, *options)
    assert code == 0 and told["events"] == verify_ledger(backup).size
    code, told = run_json(capsys, "ledger", "backup", backup, *options)
    assert code == 2 and "exists already" in told["error"]
    run_json(capsys, "ledger", "erase", records[0], "--yes", *options)
    code, told = run_json(capsys, "ledger", "restore", backup, "--yes", *options)
    assert code == 2 and "would go missing" in told["error"] and "--force" in told["next_step"]
    code, told = run_json(capsys, "ledger", "restore", backup, "--yes", "--force", *options)
    assert code == 0 and Path(told["kept"]).exists() and told["events_before"] == told["events"] + 1
    assert run_json(capsys, "log", "--prompt", "zanzibar", *options)[1]["events"]
    assert verify_ledger(home / "data" / "ledger.sqlite3").sound


def test_recovering(records, home, options, capsys, tmp_path):
    ledger = home / "data" / "ledger.sqlite3"
    content = bytearray(ledger.read_bytes())
    content[4096 * 12 : 4096 * 13] = bytes(4096)
    ledger.write_bytes(bytes(content))
    code, told = run_json(capsys, "ledger", "recover", tmp_path / "saved.sqlite3", *options)
    assert code in (0, 1) and told["kept"] > 5 and bool(told["lost"]) == (code == 1)
    assert (tmp_path / "saved.sqlite3").exists()
    code, told = run_json(capsys, "ledger", "recover", tmp_path / "saved.sqlite3", *options)
    assert code == 1 and "exists already" in told["error"]
    code, out, _ = run(
        capsys, "ledger", "recover", tmp_path / "again.sqlite3", "--source", tmp_path / "saved.sqlite3", *options
    )
    assert "were saved into" in out
