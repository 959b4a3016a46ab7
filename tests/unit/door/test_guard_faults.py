"""Faults at every step of the door, under every policy: no picture leaves against the policy, and the next one passes again.

Real parts, real SQLite, real files; only what cannot be brought about on a real disk is raised by hand.
"""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from provenance_guard import files, labels, pictures
from provenance_guard import guard as guard_module
from provenance_guard.batch import Batch
from provenance_guard.config import Config, Policy, ScreenPolicy
from provenance_guard.errors import LibraryError
from provenance_guard.gate import quarantine as quarantine_module
from provenance_guard.guard import Guard, Release
from provenance_guard.ledger import Ledger, database, verify_ledger
from provenance_guard.passage import Attempt
from provenance_guard.pictures import pixel_sha256
from provenance_guard.provenance.record import Context
from provenance_guard.similarity import Library
from provenance_guard.watermark import Watermarker

CONTEXT = Context("webui.txt2img", {"prompt": "a castle", "seed": 7})
MODES = ["off", "warn", "quarantine", "block"]
ANSWERS = ["warn", "quarantine", "block"]
WITHHOLDING = ("quarantine", "block")


def draw(seed: int) -> Image.Image:
    """A picture of coloured clouds, another one for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse, "RGB").resize((112, 112), Image.Resampling.BICUBIC)


COPY, INNOCENT = draw(1), draw(2)


def shows(out: Image.Image, original: Image.Image) -> bool:
    """Whether the one picture can be seen in the other: correlation of their luminance above a half."""
    first, second = (np.asarray(image.convert("L"), float).ravel() for image in (out, original))
    return bool(first.std() > 0 and np.corrcoef(first, second)[0, 1] > 0.5)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys, a ledger and a library of one reference, which every test gets a copy of."""
    home = tmp_path_factory.mktemp("home")
    (home / "references").mkdir()
    draw(1).save(home / "references" / "castle.png")
    with Guard(config_in(home, "quarantine", "quarantine")) as guard:
        assert guard.release(COPY, CONTEXT).kept is not None
        assert not guard.release(INNOCENT, CONTEXT).blocked
    return home


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The evidence is drawn in other tests; nobody waits for a locked database."""
    monkeypatch.setattr(quarantine_module, "_draw_evidence", lambda *_: b"")
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)


@pytest.fixture
def home(installation: Path, tmp_path: Path) -> Path:
    return shutil.copytree(installation, tmp_path / "home")


def config_in(home: Path, mode: str, on_error: str) -> Config:
    screen = ScreenPolicy(references=(home / "references",))
    return Config(home / "data", home / "keys", Policy(mode=mode, on_error=on_error, screen=screen))  # type: ignore[arg-type]


# Faults. Each is a context in which the fault is there; ``step`` is the one that it hits.


@dataclass(frozen=True)
class Fault:
    name: str
    step: str
    bring_about: Callable[[Path, Guard], AbstractContextManager[object]]
    heals: bool = True


def raising(target: object, name: str, error: BaseException) -> Callable[[Path, Guard], AbstractContextManager[object]]:
    @contextmanager
    def bring_about(home: Path, guard: Guard) -> Iterator[None]:
        def fail(*_: object, **__: object) -> None:
            raise error

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(target, name, fail)
            yield

    return bring_about


@contextmanager
def vanished_references(home: Path, guard: Guard) -> Iterator[None]:
    (home / "references").rename(home / "elsewhere")
    yield
    (home / "elsewhere").rename(home / "references")


@contextmanager
def corrupt_index(home: Path, guard: Guard) -> Iterator[None]:
    saved = {path: path.read_bytes() for path in (home / "data" / "library").rglob("*") if path.is_file()}
    for path in saved:
        path.write_bytes(b"no index at all" * 50)
    yield
    for path, content in saved.items():
        path.write_bytes(content)


@contextmanager
def locked_ledger(home: Path, guard: Guard) -> Iterator[None]:
    other = sqlite3.connect(home / "data" / "ledger.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.close()


@contextmanager
def damaged_ledger(home: Path, guard: Guard) -> Iterator[None]:
    path = home / "data" / "ledger.sqlite3"
    content = path.read_bytes()
    path.write_bytes(b"no database" * 1000)
    yield
    path.write_bytes(content)


@contextmanager
def deleted_ledger(home: Path, guard: Guard) -> Iterator[None]:
    assert guard.ledger.size
    for path in (home / "data").glob("ledger.sqlite3*"):
        path.unlink()
    yield


@contextmanager
def full_ledger_disk(home: Path, guard: Guard) -> Iterator[None]:
    connection = guard.ledger._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    connection.execute("BEGIN IMMEDIATE")
    yield  # an open transaction of our own on the same connection, and no page to be had
    connection.execute("ROLLBACK")
    connection.execute("PRAGMA max_page_count = 1000000")


def missing_key(pattern: str) -> Callable[[Path, Guard], AbstractContextManager[object]]:
    @contextmanager
    def bring_about(home: Path, guard: Guard) -> Iterator[None]:
        away = home / "away"
        away.mkdir()
        for path in list((home / "keys").glob(pattern)):
            path.rename(away / path.name)
        yield
        for path in away.iterdir():
            path.rename(home / "keys" / path.name)

    return bring_about


OUT_OF_MEMORY = torch.cuda.OutOfMemoryError("CUDA out of memory")

FAULTS = [
    Fault("screen raises", "screen", raising(Library, "screen", ZeroDivisionError("boom"))),
    Fault("screen: no memory", "screen", raising(Library, "screen", MemoryError())),
    Fault("screen: no GPU memory", "screen", raising(Library, "screen", OUT_OF_MEMORY)),
    Fault("screen: library locked", "screen", raising(Library, "screen", LibraryError("Locked.", next_step="Wait."))),
    Fault("references vanished", "screen", vanished_references),
    Fault("corrupt index", "screen", corrupt_index),
    Fault("mark raises", "mark", raising(Watermarker, "embed_measured", ZeroDivisionError("boom"))),
    Fault("mark: no memory", "mark", raising(Watermarker, "embed_measured", MemoryError())),
    Fault("mark: no GPU memory", "mark", raising(Watermarker, "embed_measured", OUT_OF_MEMORY)),
    Fault("watermark key missing", "record", missing_key("watermark-*")),
    Fault("hash: no memory", "hash", raising(pictures, "pixel_sha256", MemoryError())),
    Fault("record raises", "record", raising(Ledger, "append", ZeroDivisionError("boom"))),
    Fault("record: disk error", "record", raising(Ledger, "append", OSError(28, "No space left on device"))),
    Fault("ledger locked", "record", locked_ledger),
    Fault("ledger damaged", "record", damaged_ledger),
    Fault("ledger deleted", "record", deleted_ledger, heals=False),
    Fault("ledger disk full", "record", full_ledger_disk),
    Fault("signing key missing", "record", missing_key("signing-*")),
    Fault("placeholder raises", "placeholder", raising(guard_module, "placeholder", MemoryError())),
]


@pytest.mark.parametrize("on_error", ANSWERS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_no_picture_leaves_against_the_policy(home: Path, fault: Fault, mode: str, on_error: str) -> None:
    with Guard(config_in(home, mode, on_error)) as guard:
        with fault.bring_about(home, guard):
            for picture in (COPY, INNOCENT):
                assert_answered(guard.release(picture, CONTEXT), picture, fault, mode, on_error)
                if fault.name == "ledger deleted":
                    break  # the next picture begins a new ledger
        after = guard.release(INNOCENT, CONTEXT)
        assert (after.failures, after.blocked) == ((), False), "the next picture passes"
        assert shows(after.image, INNOCENT) and after.event is not None
    if fault.heals:
        assert verify_ledger(home / "data" / "ledger.sqlite3").sound


def assert_answered(release: Release, picture: Image.Image, fault: Fault, mode: str, on_error: str) -> None:
    near_copy = picture is COPY
    copy_found = near_copy and mode != "off" and fault.step != "screen"
    withheld = copy_found and mode in WITHHOLDING
    reached = {
        "screen": mode != "off",
        "mark": not withheld,
        "hash": True,
        "record": True,
        "placeholder": withheld,
    }[fault.step]
    assert bool(release.failures) is reached, release.failures
    if reached and fault.step != "placeholder":
        withheld = withheld or on_error in WITHHOLDING
    assert release.blocked is withheld, release.decision
    assert release.image.size == picture.size
    assert shows(release.image, picture) is not withheld
    if reached and not withheld:
        assert release.decision.action == "warn" and release.decision.reasons
    if release.decision.action == "quarantine":
        assert release.kept is not None


@pytest.mark.parametrize("mode", ["quarantine", "block"])
def test_references_that_vanish_while_pictures_are_made(home: Path, mode: str) -> None:
    with Guard(config_in(home, mode, "block")) as guard:
        assert guard.release(COPY, CONTEXT).blocked
        shutil.rmtree(home / "references")
        release = guard.release(COPY, CONTEXT)
    assert release.blocked and not shows(release.image, COPY)


# The quarantine itself


@contextmanager
def folder_is_a_file(home: Path, guard: Guard) -> Iterator[None]:
    shutil.rmtree(home / "data" / "quarantine")
    (home / "data" / "quarantine").write_bytes(b"")
    yield
    (home / "data" / "quarantine").unlink()


@contextmanager
def damaged_key(home: Path, guard: Guard) -> Iterator[None]:
    key = home / "keys" / "quarantine-1.key"
    content = key.read_bytes()
    key.write_bytes(b"{}")
    yield
    key.write_bytes(content)


@contextmanager
def full_disk(home: Path, guard: Guard) -> Iterator[None]:
    def no_room(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_flush_to_disk", no_room)
        yield


QUARANTINE_FAULTS = {
    "folder is a file": folder_is_a_file,
    "key missing": missing_key("quarantine-*"),
    "key damaged": damaged_key,
    "disk full": full_disk,
    "no memory": raising(quarantine_module, "_as_png", MemoryError()),
}


@pytest.mark.parametrize("on_error", ANSWERS)
@pytest.mark.parametrize("fault", QUARANTINE_FAULTS.values(), ids=QUARANTINE_FAULTS)
def test_what_cannot_be_kept_is_withheld_all_the_same(home: Path, fault: Callable, on_error: str) -> None:
    with Guard(config_in(home, "quarantine", on_error)) as guard:
        with fault(home, guard):
            release = guard.release(COPY, CONTEXT)
            assert release.blocked and release.kept is None and not shows(release.image, COPY)
            assert any(failure.startswith("quarantine:") for failure in release.failures)
            assert "could not be kept" in " ".join(release.decision.reasons)
            event = next(guard.ledger.events(record_id=release.record.id))
            assert (event.type, event.body["record"]["decision"]["action"]) == ("picture.blocked", "block")
            assert not guard.release(INNOCENT, CONTEXT).blocked
        assert guard.release(COPY, CONTEXT).kept is not None, "the next one is kept again"


@pytest.mark.parametrize("error", [MemoryError(), ZeroDivisionError("boom")])
def test_evidence_that_cannot_be_drawn_costs_only_the_evidence(
    home: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.undo()

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(quarantine_module, "explain_match", fail)
    with Guard(config_in(home, "quarantine", "block")) as guard:
        release = guard.release(COPY, CONTEXT)
        assert release.failures == () and release.kept
        assert guard.quarantine.open(release.record.id).evidence == b""


# Sealing


def unwritable(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@contextmanager
def vanished_file(home: Path, guard: Guard) -> Iterator[None]:
    (home / "out.png").unlink()
    yield


SEALING_FAULTS = {
    "label raises": raising(labels, "write_labels", ZeroDivisionError("boom")),
    "label: no memory": raising(labels, "write_labels", MemoryError()),
    "hash raises": raising(guard_module, "read_back", OSError(5, "I/O error")),
    "file vanished": vanished_file,
    "record raises": raising(Ledger, "append", ZeroDivisionError("boom")),
    "ledger locked": locked_ledger,
    "ledger deleted": deleted_ledger,
    "sidecar: disk full": raising(files, "write_atomically", OSError(28, "No space left on device")),
    "signing fails": raising(guard_module.sidecar, "sign_envelope", MemoryError()),
}


@pytest.mark.parametrize("on_error", ANSWERS)
@pytest.mark.parametrize("fault", SEALING_FAULTS.items(), ids=lambda fault: fault[0])
def test_a_file_that_cannot_be_finished_is_taken_back(home: Path, fault: tuple[str, Callable], on_error: str) -> None:
    path = home / "out.png"
    with Guard(config_in(home, "warn", on_error)) as guard:
        release = guard.release(INNOCENT, CONTEXT)
        release.image.save(path)
        with fault[1](home, guard):
            sealed = guard.seal(release, path)
        assert sealed.failures
        assert sealed.withheld is (on_error in WITHHOLDING)
        if sealed.withheld:
            assert not path.exists() and not path.with_name("out.png.prov.json").exists()
        kept = [entry.record_id for entry in guard.quarantine.entries()]
        expected = on_error == "quarantine" and fault[0] != "sidecar: disk full"  # nothing can be written then
        assert (release.record.id in kept) is expected
        if expected:
            assert pixel_sha256(guard.quarantine.open(release.record.id).image) == pixel_sha256(release.image)
        release = guard.release(INNOCENT, CONTEXT)
        release.image.save(path)
        assert guard.seal(release, path).failures == (), "the next file is finished"


@pytest.mark.parametrize("holds", ["the release", "the caller", "the file"])
def test_whoever_still_holds_the_pixels_gives_them_to_the_quarantine(home: Path, holds: str) -> None:
    path = home / "out.png"
    with Guard(config_in(home, "warn", "quarantine")) as guard:
        release = guard.release(INNOCENT, CONTEXT)
        release.image.save(path)
        if holds != "the release":
            slim = dataclasses.replace(release, image=Image.new("RGB", (1, 1)))
        with raising(labels, "write_labels", MemoryError())(home, guard):
            if holds == "the caller":
                assert guard.seal(slim, path, image=release.image).withheld
            else:
                assert guard.seal(release if holds == "the release" else slim, path).withheld
        case = guard.quarantine.open(release.record.id)
        taken_back = next(guard.ledger.events(type="picture.withheld"))
    assert pixel_sha256(case.image) == pixel_sha256(release.image)
    assert taken_back.record_id == release.record.id and taken_back.body["quarantine"]["file_sha256"]


# The batch of the command line


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "I/O error"), OUT_OF_MEMORY])
@pytest.mark.parametrize("on_error", ANSWERS)
def test_a_batch_goes_on_after_a_fault(
    home: Path, error: Exception, on_error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, picture in (("1.png", INNOCENT), ("2.png", COPY), ("3.png", INNOCENT)):
        picture.save(home / name)
    screen, calls = Library.screen, iter((True, False, False))

    def fail_once(*arguments: object, **options: object) -> object:
        if next(calls):
            raise error
        return screen(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Library, "screen", fail_once)
    with Guard(config_in(home, "quarantine", on_error)) as guard:
        batch = Batch(guard, home / "out")
        outcomes = [batch.guard_file(home / name) for name in ("1.png", "2.png", "3.png")]
    first = "warned" if on_error == "warn" else "blocked"
    assert [outcome.outcome for outcome in outcomes] == [first, "blocked", "released"]
    assert {path.name for path in (home / "out").glob("*.png")} == ({"1.png"} if on_error == "warn" else set()) | {
        "3.png"
    }
    assert [outcome.to_json()["kept"] for outcome in outcomes] == [on_error == "quarantine", True, False]


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "I/O error")])
def test_a_copy_that_cannot_be_saved_fails_alone(home: Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    INNOCENT.save(home / "1.png")
    with Guard(config_in(home, "warn", "warn")) as guard:
        batch = Batch(guard, home / "out")
        with raising(pictures, "save_picture", error)(home, guard):
            failed = batch.guard_file(home / "1.png")
        assert failed.outcome == "failed" and failed.error and failed.error.next_step
        assert not list((home / "out").glob("*")) if (home / "out").exists() else True
        assert batch.guard_file(home / "1.png").outcome == "released"


def test_retrying_does_not_weaken_the_answer_to_a_fault(home: Path) -> None:
    with Guard(config_in(home, "block", "block")) as guard, nullcontext():
        assert guard.release(COPY, CONTEXT, attempt=Attempt(more=True)).decision.action == "retry"
        with raising(Ledger, "append", MemoryError())(home, guard):
            release = guard.release(COPY, CONTEXT, attempt=Attempt(more=True))
            assert release.decision.action == "block" and release.blocked
