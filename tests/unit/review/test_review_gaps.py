"""Gaps: what a session finds when it looks back, what it does not, and what a ledger tells about its own completeness."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from provenance_guard.config import Config, Policy
from provenance_guard.guard import Guard, Session
from provenance_guard.ledger import events
from provenance_guard.provenance.record import Context
from provenance_guard.review import gaps
from provenance_guard.review.gaps import find_gaps, look_back, unwatched, watches

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
INFOTEXT = "a cat\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 5, Size: 64x64"


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch):
    """Set the ledger's clock to so many minutes after noon."""

    def set_clock(minutes: float) -> None:
        moment = NOON + timedelta(minutes=minutes)
        monkeypatch.setattr("provenance_guard.ledger.store.utc_now", lambda: moment)

    return set_clock


def open_guard(home: Path) -> Guard:
    return Guard(Config(home / "data", home / "keys", Policy(mode="off")), session=Session(gaps.WEBUI))


def draw(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8), "RGB")


def write(path: Path, seed: int, minutes: float, *, infotext: str = INFOTEXT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    chunks = PngInfo()
    if infotext:
        chunks.add_text("parameters", infotext)
    draw(seed).save(path, pnginfo=chunks)
    touch(path, minutes)
    return path


def touch(path: Path, minutes: float) -> None:
    moment = (NOON + timedelta(minutes=minutes)).timestamp()
    os.utime(path, (moment, moment))


def minutes_of(moment: datetime) -> float:
    return (moment - NOON).total_seconds() / 60


def session(home: Path, at, start: float, end: float | None, alive: float | None = None) -> None:
    at(start)
    with open_guard(home) as guard:
        guard.keep_session()
        if alive is not None:
            at(alive)
            guard.keep_session(events.SESSION_ALIVE)
        if end is not None:
            at(end)
            guard.end_session()


def test_sessions_begin_live_and_end(tmp_path, at):
    session(tmp_path, at, 0, 30)
    session(tmp_path, at, 60, None, alive=75)
    session(tmp_path, at, 200, 210)
    with open_guard(tmp_path) as guard:
        found = [(minutes_of(watch.since), minutes_of(watch.until), watch.ended) for watch in watches(guard.ledger)]
    assert found == [(0, 30, True), (60, 75, False), (200, 210, True)]


def test_pictures_are_signs_of_life_too(tmp_path, at):
    at(0)
    with open_guard(tmp_path) as guard:
        guard.keep_session()
        at(20)
        guard.release(draw(1), Context("webui.txt2img", {"seed": 1}))
    at(100)
    with open_guard(tmp_path) as guard:
        guard.keep_session()
        (first, _) = watches(guard.ledger)
        assert minutes_of(first.until) == 20
        since, until = unwatched(guard.ledger, guard.session.id)
        assert (minutes_of(since), minutes_of(until)) == (23, 100)  # what is killed may still have written a while


def test_the_first_session_has_nothing_to_look_back_to(tmp_path, at):
    session(tmp_path, at, 0, 5)
    with open_guard(tmp_path) as guard:
        (only,) = watches(guard.ledger)
        assert unwatched(guard.ledger, only.id) is None
        assert unwatched(guard.ledger, "never began") is None


def test_a_command_line_session_is_no_watch(tmp_path):
    with Guard(Config(tmp_path / "data", tmp_path / "keys", Policy(mode="off"))) as guard:
        guard.release(draw(1), Context("file"))
        assert list(watches(guard.ledger)) == []
        assert find_gaps(guard.ledger).watches == ()


def test_what_was_made_in_between_is_found(tmp_path, at):
    at(0)
    outputs = tmp_path / "outputs"
    with open_guard(tmp_path) as guard:
        guard.keep_session()
        release = guard.release(draw(1), Context("webui.txt2img", {"seed": 1}))
        guarded = outputs / "a" / "00000-1.png"
        guarded.parent.mkdir(parents=True)
        release.image.save(guarded)
        assert guard.seal(release, guarded).failures == ()
        at(10)
        guard.end_session()
        touch(guarded, 30)  # only copied
    write(outputs / "a" / "00001-2.png", 2, 30)
    write(outputs / "b" / "deep" / "00002-3.png", 3, 50)
    write(outputs / "b" / "photo.png", 4, 50, infotext="")
    write(outputs / "b" / "before.png", 5, 5)
    write(outputs / "b" / "after.png", 6, 61)
    (outputs / "b" / "broken.png").write_bytes(b"\x89PNG")
    touch(outputs / "b" / "broken.png", 40)
    (outputs / "b" / "notes.txt").write_text("no picture")
    note = tmp_path / "params.txt"
    note.write_text(INFOTEXT)
    touch(note, 55)
    with open_guard(tmp_path) as guard:
        at(60)
        guard.keep_session()
        since, until = unwatched(guard.ledger, guard.session.id)
        found = look_back(guard.ledger, since, until, folders=[outputs, outputs, tmp_path / "missing"], note=note)
    assert found and found.generated == ("00001-2.png", "00002-3.png")
    assert (found.other, found.not_examined, minutes_of(found.last_generation)) == (2, 0, 55)
    assert "00001" not in str(found.to_json())


def test_an_honest_break_leaves_nothing(tmp_path, at):
    session(tmp_path, at, 0, 10)
    note = tmp_path / "params.txt"
    note.write_text(INFOTEXT)
    touch(note, 9)
    with open_guard(tmp_path) as guard:
        at(60)
        guard.keep_session()
        since, until = unwatched(guard.ledger, guard.session.id)
        found = look_back(guard.ledger, since, until, folders=[tmp_path / "outputs"], note=note)
    assert not found and found.last_generation is None


def test_many_files_are_counted_not_all_opened(tmp_path, at, monkeypatch):
    monkeypatch.setattr(gaps, "EXAMINED_AT_MOST", 2)
    session(tmp_path, at, 0, 10)
    for number in range(5):
        write(tmp_path / "outputs" / f"{number}.png", number, 20 + number)
    with open_guard(tmp_path) as guard:
        at(60)
        guard.keep_session()
        since, until = unwatched(guard.ledger, guard.session.id)
        found = look_back(guard.ledger, since, until, folders=[tmp_path / "outputs"])
    assert (found.generated, found.not_examined) == (("3.png", "4.png"), 3)


def test_the_ledger_tells_its_gaps(tmp_path, at):
    session(tmp_path, at, 0, 10)
    session(tmp_path, at, 60, None)
    at(90)
    with open_guard(tmp_path) as guard:
        guard.keep_session()
        quiet = find_gaps(guard.ledger)
        assert quiet.sentences == [] and len(quiet.watches) == 3
        assert "guarded in 3 sessions" in quiet.summary and "1 session without an end" in quiet.summary
        assert "2026-11-22 12:10 to 2026-11-22 13:00" in quiet.summary and "cannot be seen" in quiet.summary
        since, until = NOON + timedelta(minutes=10), NOON + timedelta(minutes=60)
        found = gaps.Unrecorded(since, until, ("1.png", "2.png"), 1, 0, until - timedelta(minutes=5))
        guard.log_gap(found.to_json(), found.generated)
        (sentence,) = find_gaps(guard.ledger).sentences
        (event,) = guard.ledger.events(type=events.GAP_FOUND)
    assert sentence == (
        "Between 2026-11-22 12:10 and 2026-11-22 13:00 UTC the WebUI made pictures without the guard: 2 files with parameters "
        "of a generation are not in the record; its own note tells of a generation at 2026-11-22 12:55."
    )
    assert b"1.png" not in event.stored


def test_runs_that_left_no_picture_are_counted(tmp_path):
    with open_guard(tmp_path) as guard:
        for job in ("task(a)", "task(b)", "task(c)", "task(d)"):
            context = Context("webui.txt2img", {"seed": 1}, job=job)
            guard.admit(context)
            if job != "task(b)":
                guard.release(draw(1), context)
        assert find_gaps(guard.ledger).runs_without_picture == 1
        guard.admit(Context("webui.txt2img", {"seed": 1}, job="task(running)"))
        assert find_gaps(guard.ledger).runs_without_picture == 1
