"""Searching by words."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenance_guard.errors import LedgerError
from provenance_guard.ledger import Ledger, search, selection, store
from provenance_guard.provenance.redaction import redact


def picture(prompt, *, seed=1, lora="lighthouse_v2", model="dream-shaper.safetensors", level="clean", **context):
    record = {
        "schema": 1,
        "id": f"{seed:032x}",
        "time": "2026-11-22T08:00:00.000Z",
        "pixel_sha256": f"{seed:064x}",
        "context": {
            "origin": "webui.txt2img",
            "parameters": {"prompt": prompt, "negative_prompt": "blurry", "seed": seed, "steps": 30},
            "resources": [
                {"kind": "lora", "name": lora, "file_name": f"{lora}.safetensors", "sha256": "ab" * 32},
                {"kind": "checkpoint", "name": model, "sha256": "cd" * 32},
            ],
            "parents": [{"role": "init_image", "pixel_sha256": "ef" * 32, "record_id": None}],
            **context,
        },
        "verdict": {"level": level},
        "decision": {"action": "allow"},
    }
    return redact(record)


@pytest.fixture(params=[8192, 2], ids=["one part", "many parts"])
def gallery(ledger, request, monkeypatch):
    monkeypatch.setattr(search, "_PART_EVENTS", request.param)
    for public, openings in (
        picture("a quiet harbour at dawn", seed=4711),
        picture("Café at the harbour", seed=4712, lora="ink_style", user="Mara"),
        picture("黄昏的灯塔，水彩", seed=4713, level="near_copy"),
    ):
        ledger.append("picture.released", {"record": public}, record_id=public["id"], openings=openings)
    public, openings = redact({"context": {"origin": "webui.txt2img", "parameters": {"prompt": "a stormy sea"}}})
    ledger.append("run.queued", public, openings=openings)
    ledger.append("picture.saved", {"file_name": "00012-4711.png", "file_sha256": "12" * 32})
    ledger.append("note.added", {"text": "Chose the second one, because of the light."})
    return ledger


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("harbour", [2, 1]),
        ("HARBOUR", [2, 1]),
        ("quiet harbour", [1]),
        ("harbour quiet", [1]),
        ('"quiet harbour"', [1]),
        ('"harbour quiet"', []),
        ("cafe", [2]),
        ("harb*", [2, 1]),
        ("harb", []),
        ("灯塔", [3]),
        ("塔灯", []),
        ("灯塔 水彩", [3]),
        ("seed:4711", [1]),
        ("lora:ink_style", [2]),
        ("lora:lighthouse*", [3, 1]),
        ("prompt:lighthouse*", []),
        ("lora:" + "ab" * 32, [3, 2, 1]),
        ("model:dream-shaper", [3, 2, 1]),
        ("negative:blurry", [3, 2, 1]),
        ("verdict:near_copy", [3]),
        ("user:mara harbour", [2]),
        ("parent:" + "ef" * 32, [3, 2, 1]),
        ("file:00012-4711.png", [5]),
        ("stormy", [4]),
        ("run.queued", [4]),
        ("second light", [6]),
        ("nothing of the kind", []),
        ("nofield:harbour", []),
        ("", []),
        ('"', []),
        ("* AND ( NOT", []),
        ("\udc80 \x00", []),
    ],
)
def test_searching(gallery, text, expected):
    assert [event.seq for event in gallery.search(text)] == expected


def test_a_beginning_is_not_gathered_where_the_other_words_are_not(gallery):
    assert [event.seq for event in gallery.search("ha* quiet")] == [1]
    assert gallery.search("ha* stormy") == []
    assert [event.seq for event in gallery.search("", {"prompt": ["ha*", "stormy"], "negative": ["blurry"]})] == [2, 1]


def test_limit_and_since(gallery, monkeypatch):
    assert [event.seq for event in gallery.search("harbour", limit=1)] == [2]
    later = datetime.now(timezone.utc) + timedelta(days=1)
    monkeypatch.setattr(store, "utc_now", lambda: later)
    gallery.append("note.added", {"text": "harbour"})
    assert [event.seq for event in gallery.search("harbour", since=later - timedelta(hours=1))] == [7]
    assert gallery.search("harbour", since=later + timedelta(hours=1)) == []


@pytest.mark.parametrize(
    ("text", "filters", "expected"),
    [
        ("", {"lora": ["ink_style"]}, [2]),
        ("", {"lora": ["ink_style", "lighthouse*"]}, [3, 2, 1]),
        ("harbour", {"lora": ["ink_style", "nothing"]}, [2]),
        ("", {"seed": ["4711", "4713"], "verdict": ["clean"]}, [1]),
        ("", {"verdict": ["near_copy"]}, [3]),
        ("", {"action": ["allow"]}, [3, 2, 1]),
        ("", {"action": ["clean"]}, []),
        ("", {"verdict": ["allow"]}, []),
        ("", {"model": ["dream-shaper.safetensors"]}, [3, 2, 1]),
        ("", {"parent": ["ef" * 10 + "*"]}, [3, 2, 1]),
        ("", {"prompt": ["quiet harbour"]}, [1]),
        ("", {"prompt": ["harbour quiet"]}, []),
        ("", {"lora": ["***"]}, []),
        ("", {}, []),
    ],
)
def test_filters(gallery, text, filters, expected):
    assert [event.seq for event in gallery.search(text, filters)] == expected


def test_a_beginning_needs_two_characters(gallery):
    assert [event.seq for event in gallery.search("ha*")] == [2, 1]
    assert gallery.search("h*") == []


def test_times_hold_though_the_clock_was_set_back(gallery, monkeypatch):
    def write(text, month):
        monkeypatch.setattr(store, "utc_now", lambda: datetime(2030, month, 1, tzinfo=timezone.utc))
        return gallery.append("note.added", {"text": text}).seq

    november, september, december = write("tram one", 11), write("tram two", 9), write("tram three", 12)

    def found(**times):
        moments = {name: datetime(2030, month, 15, tzinfo=timezone.utc) for name, month in times.items()}
        searched = [event.seq for event in gallery.search("tram", **moments)]
        listed = (
            [event.seq for event in gallery.events(**moments, newest_first=True) if "tram" in event.body["text"]]
            if moments.get("since")
            else searched
        )
        assert searched == listed
        return searched

    assert found() == [december, september, november]
    assert found(since=10) == [december, november]
    assert found(since=8, until=10) == [september]
    assert found(until=10) == [september]
    assert found(until=11) == [september, november]
    assert found(since=10, until=11) == [november]
    assert found(since=12) == []


def test_what_is_appended_later_is_found_too(gallery, signer):
    assert gallery.search("tram") == []
    gallery.append("note.added", {"text": "the tram"})
    assert [event.seq for event in gallery.search("tram")] == [7]
    gallery.close()
    with Ledger.open_read_only(gallery.path) as reader:
        assert [event.seq for event in reader.search("tram")] == [7]


def test_the_index_may_be_deleted(gallery):
    gallery.search("harbour")
    for entry in gallery.path.parent.glob("*.search*"):
        entry.unlink()
    assert [event.seq for event in gallery.search("harbour")] == [2, 1]


def test_an_index_of_another_past_is_made_anew(gallery, signer, tmp_path):
    older = tmp_path / "older.sqlite3"
    gallery.back_up(older)
    gallery.append("note.added", {"text": "the tram"})
    assert gallery.search("tram")
    gallery.close()
    for entry in gallery.path.parent.glob("ledger.sqlite3*"):
        if ".search" not in entry.name:
            entry.unlink()
    shutil.copy(older, gallery.path)
    with Ledger.open(gallery.path, signer) as ledger:
        ledger.append("note.added", {"text": "another note"})
        assert ledger.search("tram") == []
        assert [event.seq for event in ledger.search("another")] == [7]
        assert [event.seq for event in ledger.search("harbour")] == [2, 1]


def test_an_index_of_another_ledger_is_made_anew(gallery, tmp_path):
    with Ledger.open(tmp_path / "other.sqlite3") as other:
        for word in ("tram", "harbour", "bridge", "tower"):
            other.append("note.added", {"text": word})
        assert [event.seq for event in other.search("harbour")] == [1]
    gallery.search("harbour")
    shutil.copy(tmp_path / "other.sqlite3.search", gallery.path.with_name("ledger.sqlite3.search"))
    assert [event.seq for event in gallery.search("harbour")] == [2, 1]
    assert gallery.search("tram") == []


def test_an_index_that_others_clear_and_fill_has_no_gaps(gallery, monkeypatch):
    monkeypatch.setattr(selection, "PAGE", 2)
    add, turns = search.SearchIndex.add, []

    def interrupted(index, new_events, *, after):
        turns.append(after)
        if len(turns) == 2:
            search.forget(gallery.path, gallery.origin)
        add(index, new_events, after=after)

    monkeypatch.setattr(search.SearchIndex, "add", interrupted)
    gallery.search("harbour")
    assert [event.seq for event in gallery.search("harbour")] == [2, 1]
    assert [event.seq for event in gallery.search("light")] == [6]


def test_a_folder_where_no_index_can_be_made(gallery):
    gallery.path.with_name("ledger.sqlite3.search").mkdir()
    assert [event.seq for event in gallery.search("harbour")] == [2, 1]


def test_what_was_erased_is_not_found_and_not_on_the_disk(gallery):
    assert gallery.search("stormy")
    gallery.erase([4], "asked for")
    assert gallery.search("stormy") == []
    assert [event.seq for event in gallery.search("harbour")] == [2, 1]
    on_disk = b"".join(entry.read_bytes() for entry in gallery.path.parent.iterdir())
    assert b"stormy" not in on_disk
    assert b"quiet" in on_disk


def test_a_damaged_event_hides_no_other(gallery, tamper):
    tamper(gallery.path, "UPDATE event SET bytes = 'x' WHERE seq = 1")
    assert [event.seq for event in gallery.search("harbour")] == [2]


def test_a_damaged_index_is_made_anew(gallery):
    assert gallery.search("harbour")
    index = gallery.path.with_name("ledger.sqlite3.search")
    for content in (b"no database " * 1000, index.read_bytes()[:8192] + bytes(8192)):
        index.write_bytes(content)
        with pytest.raises(LedgerError, match="Search again"):
            gallery.search("harbour")
        assert [event.seq for event in gallery.search("harbour")] == [2, 1]


def test_an_event_damaged_after_it_was_indexed_hides_no_other(gallery, tamper):
    assert gallery.search("harbour")
    tamper(gallery.path, "UPDATE event SET bytes = 'x' WHERE seq = 2")
    assert [event.seq for event in gallery.search("harbour")] == [1]


@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_is_typed_is_an_error(tmp_path, text):
    with search.SearchIndex.open(tmp_path / "ledger.sqlite3", "origin") as index:
        assert list(index.find(text)) == []
        assert list(index.find("", {"prompt": [text], "lora": [text, text]})) == []
