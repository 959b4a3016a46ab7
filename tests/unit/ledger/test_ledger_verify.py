"""Every kind of tampering is found, and at the right place."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime, timezone

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_samples import picture

from provenance_guard.errors import LedgerError
from provenance_guard.ledger import Checkpoint, Ledger, events, merkle, store, verify_ledger
from provenance_guard.signing import Signer


def found(path, **options):
    return {(problem.what, problem.seq) for problem in verify_ledger(path, **options).problems}


def kinds(path, **options):
    return {what for what, _ in found(path, **options)}


def rewrite(path, start, change):
    """What an attacker without the key can do at best: change an event, and make everything after it fit again."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        rows = connection.execute("SELECT seq, bytes FROM event ORDER BY seq").fetchall()
        frontier, previous = merkle.Frontier(), events.FIRST_PREVIOUS
        for seq, stored in rows:
            document = json.loads(stored)
            if seq == start:
                change(document)
            document["previous"] = previous
            changed = events.to_bytes(document)
            nodes = frontier.append(merkle.leaf_hash(changed))
            previous = nodes[0].hex()
            row = (changed, b"".join(nodes), document["time"], document["type"], seq)
            connection.execute("UPDATE event SET bytes = ?, tree = ?, time = ?, type = ? WHERE seq = ?", row)


def test_a_sound_ledger(filled, signer):
    report = verify_ledger(filled, public_keys=[signer.public_bytes])
    assert report.sound
    assert report.size == report.signed_size == 41
    assert report.checkpoints == 3
    assert not report.keys_from_ledger
    assert verify_ledger(filled).keys_from_ledger
    with Ledger.open_read_only(filled) as ledger:
        assert report.root == ledger.root()
        assert report.origin == ledger.origin


def test_an_empty_ledger_is_sound(path, signer):
    Ledger.open(path, signer).close()
    report = verify_ledger(path)
    assert report.sound
    assert (report.size, report.root) == (0, merkle.EMPTY_ROOT)


def test_verifying_while_others_append(ledger):
    ledger.append_many([picture(number) for number in range(9)])
    assert verify_ledger(ledger).size == 10
    assert verify_ledger(ledger.path).sound


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_changed_bit_of_any_column_is_found_at_its_event(filled, data):
    columns = ["tree", "time", "type", "record_id", "pixel_sha256", "bytes", "openings"]
    column = data.draw(st.sampled_from(columns))
    seq = data.draw(st.integers(1, 40))
    with closing(sqlite3.connect(filled, isolation_level=None)) as connection:
        before = connection.execute(f"SELECT {column} FROM event WHERE seq = ?", (seq,)).fetchone()[0]
        raw = bytearray(before.encode() if isinstance(before, str) else before)
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place] ^= 1 << data.draw(st.integers(0, 6))  # stays text
        after = bytes(raw) if isinstance(before, bytes) else raw.decode()
        connection.execute(f"UPDATE event SET {column} = ? WHERE seq = ?", (after, seq))
        try:
            assert seq in {where for _, where in found(filled)}
        finally:
            connection.execute(f"UPDATE event SET {column} = ? WHERE seq = ?", (before, seq))
    assert verify_ledger(filled).sound


@pytest.mark.parametrize("column", ["tree", "bytes", "openings", "time", "type", "record_id", "pixel_sha256"])
@pytest.mark.parametrize("value", [5, 5.5, "text", b"", b"\xff\x00", "[5]", "{}"])
def test_values_of_any_kind_are_found_and_break_nothing(filled, tamper, column, value):
    tamper(filled, (f"UPDATE event SET {column} = ? WHERE seq = 13", (value,)))
    assert any(where == 13 for _, where in found(filled))


def test_content_that_vanished_is_found(filled, tamper):
    tamper(filled, "UPDATE event SET bytes = NULL WHERE seq = 13")
    assert found(filled) == {("leaf", 13)}


def test_a_changed_record_with_its_hash_made_to_fit(filled, tamper):
    with Ledger.open_read_only(filled) as ledger:
        stored = ledger.event(13).stored.replace(b"picture.released", b"picture.rejected")
    tree = merkle.leaf_hash(stored)
    tamper(filled, ("UPDATE event SET bytes = ?, type = 'picture.rejected', tree = CAST(? || substr(tree, 33) AS BLOB) WHERE seq = 13",
                    (stored, tree)))  # fmt: skip
    assert {("chain", 14), ("tree", 15), ("checkpoint", 11)} <= found(filled)


def test_a_deleted_event_is_found_and_the_rest_still_checked(filled, tamper):
    tamper(filled, "DELETE FROM event WHERE seq = 13")
    assert found(filled) == {("sequence", 13)}
    tamper(filled, "UPDATE event SET openings = '[\"other\"]' WHERE seq = 30")
    assert found(filled) == {("sequence", 13), ("opening", 30)}


def test_several_deleted_events_are_found(filled, tamper):
    tamper(filled, "DELETE FROM event WHERE seq IN (0, 13, 14, 15)")
    report = verify_ledger(filled)
    assert {("sequence", 0), ("sequence", 13)} <= {(problem.what, problem.seq) for problem in report.problems}
    assert any("13 to 15" in problem.sentence for problem in report.problems)
    assert report.root is None


def test_two_events_changing_places_are_found(filled, tamper):
    for columns in ("bytes", "bytes, tree", "bytes, tree, time, type, record_id, pixel_sha256, openings"):
        copy = filled.with_name("copy.sqlite3")
        shutil.copy(filled, copy)
        names = columns.split(", ")
        swapped = ", ".join(
            f"{name} = (SELECT {name} FROM event_copy AS other WHERE other.seq = 33 - event.seq)" for name in names
        )
        tamper(
            copy, "CREATE TABLE event_copy AS SELECT * FROM event", f"UPDATE event SET {swapped} WHERE seq IN (16, 17)"
        )
        places = {where for _, where in found(copy)}
        assert {16, 17} <= places
        copy.unlink()


def test_an_inserted_event_is_found(filled, tamper):
    insert = "INSERT INTO event SELECT {}, tree, time, type, record_id, pixel_sha256, file_sha256, bytes, openings FROM event WHERE seq = 5"
    tamper(filled, insert.format(41))
    assert {("sequence", 41), ("chain", 41)} <= found(filled)
    tamper(filled, "DELETE FROM event WHERE seq = 41", "UPDATE sqlite_sequence SET seq = 40", insert.format(-7))
    assert found(filled) == {("sequence", -7)}


@pytest.mark.parametrize("kept", [0, 1, 15, 21, 40])
def test_a_cut_off_end_is_found(filled, tamper, kept):
    tamper(filled, ("DELETE FROM event WHERE seq >= ?", (kept,)))
    assert ("rollback", kept) in found(filled)


def test_a_cut_off_end_is_found_by_the_count_alone(path, tamper):
    with Ledger.open(path) as ledger:
        ledger.append_many([picture(number) for number in range(9)])
    tamper(path, "DELETE FROM event WHERE seq >= 6")
    assert found(path) == {("rollback", 6)}


def test_a_rewritten_history_is_found_by_checkpoints(filled):
    rewrite(filled, 13, lambda document: document["body"].update(text="something else"))
    report = verify_ledger(filled)
    problem = report.problems[0]
    assert (problem.what, problem.seq) == ("checkpoint", 11)  # it was sound up to 11; the change is in 11 to 20
    assert "11 to 20" in problem.sentence
    assert report.signed_size == 11


def test_a_rewritten_history_with_forged_checkpoints_is_found(filled, tamper, signer):
    rewrite(filled, 13, lambda document: document["body"].update(text="something else"))
    with Ledger.open_read_only(filled) as ledger:
        forger = Signer(Ed25519PrivateKey.generate())
        forged = Checkpoint.sign(ledger.origin, 41, ledger.root(), forger)
        genuine = ledger.checkpoints()[-1]
    grafted = Checkpoint(forged.origin, 41, forged.root, (), genuine.signatures)
    for note in (forged.text(), grafted.text()):
        tamper(filled, ("UPDATE checkpoint SET note = ? WHERE size = 41", (note,)))
        assert "signature" in kinds(filled, public_keys=[signer.public_bytes])
        assert "signature" in kinds(filled)
    tamper(filled, "DELETE FROM checkpoint")
    assert verify_ledger(filled).sound  # alone, it cannot tell;
    outside = found(filled, public_keys=[signer.public_bytes], known_checkpoints=[genuine.text()])
    assert outside == {("checkpoint", 0)}  # any checkpoint kept elsewhere does.


def test_an_older_copy_put_back_is_found_by_a_known_checkpoint(filled, signer):
    older = filled.with_name("older.sqlite3")
    shutil.copy(filled, older)
    with Ledger.open(filled, signer) as ledger:
        ledger.append("note.added", {"text": "the one to get rid of"})
        exported = ledger.checkpoint()
    shutil.copy(older, filled)
    assert verify_ledger(filled).sound
    assert found(filled, known_checkpoints=[exported]) == {("rollback", 41)}
    with Ledger.open(filled, signer) as ledger:  # and going on from the old copy does not cover it up
        ledger.append("note.added", {"text": "another one"})
        ledger.append("note.added", {"text": "another one"})
    assert ("checkpoint", 41) in found(filled, known_checkpoints=[exported])


def test_a_checkpoint_of_another_ledger_is_told_apart(filled, signer, tmp_path):
    with Ledger.open(tmp_path / "other.sqlite3", signer) as other:
        other.append("note.added", {})
        exported = other.checkpoint()
    report = verify_ledger(filled, known_checkpoints=[exported])
    assert any("another ledger" in problem.sentence for problem in report.problems)


def test_only_the_given_keys_count(filled, signer):
    other = Signer(Ed25519PrivateKey.generate())
    assert kinds(filled, public_keys=[other.public_bytes]) == {"signature"}
    assert verify_ledger(filled, public_keys=[other.public_bytes]).signed_size == 0
    with Ledger.open(filled, other) as ledger:
        ledger.append("note.added", {})
    assert verify_ledger(filled).sound
    assert verify_ledger(filled, public_keys=[signer.public_bytes, other.public_bytes]).sound
    assert kinds(filled, public_keys=[signer.public_bytes]) == {"signature"}


@pytest.mark.parametrize("note", [None, "", "nonsense", b"bytes", 5])
def test_a_damaged_checkpoint_is_found(filled, tamper, note):
    tamper(
        filled, "PRAGMA ignore_check_constraints=ON", ("UPDATE checkpoint SET note = ? WHERE size = 21", (note or "",))
    )
    assert kinds(filled) == {"checkpoint"}


def test_a_checkpoint_filed_under_another_size_is_found(filled, tamper):
    tamper(filled, "UPDATE checkpoint SET size = 22 WHERE size = 21")
    assert kinds(filled) == {"checkpoint"}


def test_an_erased_event_needs_its_erasure_to_be_recorded(filled, tamper, signer):
    with Ledger.open(filled, signer) as ledger:
        ledger.append(events.EVENT_ERASED, {"seqs": [13], "what": "whole", "reason": "asked for"})
        ledger.append(events.EVENT_ERASED, {"seqs": [15], "what": "private", "reason": "asked for"})
        ledger.append(events.EVENT_ERASED, {"seqs": [[14], "14"], "what": "whole", "reason": "asked for"})
    tamper(filled, "UPDATE event SET bytes = NULL, openings = NULL WHERE seq IN (13, 14, 15)")
    report = verify_ledger(filled)
    assert {(problem.what, problem.seq) for problem in report.problems} == {("leaf", 14), ("leaf", 15)}
    assert any("1 event(s) was erased" in note for note in report.notes)


def test_a_clock_set_back_is_a_note_not_a_fault(path, signer, monkeypatch):
    moments = iter([datetime(2026, 11, 22, tzinfo=timezone.utc), datetime(2026, 9, 22, tzinfo=timezone.utc)])
    with Ledger.open(path) as ledger:
        monkeypatch.setattr(store, "utc_now", lambda: next(moments))
        ledger.append_many([picture(1), picture(2)])
    report = verify_ledger(path)
    assert report.sound
    assert "61 days" in report.notes[0]
    assert "event 1" in report.notes[0]


@pytest.mark.parametrize("time", ["never", "2026-11-22", "2026-11-22T08:00:00", ""])
def test_a_time_that_is_none_is_found(path, monkeypatch, time):
    with Ledger.open(path) as ledger:
        ledger.append("note.added", {})
        monkeypatch.setattr(store, "format_time", lambda moment: time)
        ledger.append_many([picture(1)])
    assert found(path) == {("leaf", 1)}


def test_many_findings_are_counted_not_listed(path, tamper):
    with Ledger.open(path) as ledger:
        ledger.append_many([picture(number) for number in range(200)])
    tamper(path, "UPDATE event SET bytes = 'x'")
    report = verify_ledger(path)
    assert len(report.problems) < 120
    assert any("more findings" in problem.sentence for problem in report.problems)


def test_a_known_checkpoint_that_is_none_is_an_error(filled):
    with pytest.raises(LedgerError, match="not a checkpoint"):
        verify_ledger(filled, known_checkpoints=["nonsense"])


def test_opening_for_writing_refuses_a_ledger_that_its_checkpoint_does_not_fit(filled, tamper, signer):
    copy = filled.with_name("copy.sqlite3")
    shutil.copy(filled, copy)
    rewrite(copy, 13, lambda document: document["body"].update(text="something else"))
    with pytest.raises(LedgerError, match="cut or changed"):
        Ledger.open(copy, signer)
    tamper(filled, "DELETE FROM event WHERE seq > 30")
    with pytest.raises(LedgerError, match="cut or changed"):
        Ledger.open(filled, signer)
    with Ledger.open_read_only(filled) as ledger:
        assert ledger.size == 31


def test_reading_a_changed_event_is_an_error_that_names_it(filled, tamper, signer):
    tamper(filled, "UPDATE event SET bytes = (SELECT bytes FROM event WHERE seq = 12) WHERE seq = 13")
    with Ledger.open(filled, signer) as ledger:
        with pytest.raises(LedgerError, match="Event 13"):
            ledger.event(13)
        with pytest.raises(LedgerError, match="Event 13"):
            list(ledger.events())
        assert ledger.event(14).seq == 14
    tamper(filled, "UPDATE event SET tree = (SELECT tree FROM event WHERE seq = 12) WHERE seq = 13")
    with Ledger.open_read_only(filled) as ledger, pytest.raises(LedgerError, match="was moved"):
        ledger.event(13)
