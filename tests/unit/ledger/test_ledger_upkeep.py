"""Pruning and restoring a ledger."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ledger_samples import picture

from provenance_guard.errors import LedgerError, UsageError
from provenance_guard.ledger import Ledger, events, store, verify_ledger
from provenance_guard.ledger.search import index_path
from provenance_guard.ledger.upkeep import erase_events, leftovers, prunable_events, restore_ledger
from provenance_guard.provenance.redaction import redact

ROOT = Path(__file__).parents[3]


def everything_beside(path: Path) -> bytes:
    """All bytes of the ledger's files: database, journal, search index, copies."""
    return b"".join(entry.read_bytes() for entry in sorted(path.parent.iterdir()) if entry.is_file())


def sound(ledger: Ledger, signer) -> bool:
    return verify_ledger(ledger, public_keys=[signer.public_bytes]).sound


def test_pruning_takes_old_content_and_leaves_the_tree(ledger, signer, monkeypatch):
    moment = datetime(2026, 1, 1, tzinfo=timezone.utc)
    for number in range(40):
        monkeypatch.setattr(store, "utc_now", lambda number=number: moment + timedelta(days=number))
        ledger.append_many([picture(number)])
    ledger.checkpoint()
    root, size = ledger.root(), ledger.size
    known = ledger.checkpoints()
    seqs = prunable_events(ledger, moment + timedelta(days=10))
    assert [ledger.event(seq).record_id for seq in seqs] == [f"{number:032x}" for number in range(10)]
    assert 0 not in seqs, "the event that names the key must stay"
    erase_events(ledger, seqs, "pruned by age")
    content = everything_beside(ledger.path)
    assert b"red fox number 9" not in content and b"red fox number 10" in content
    assert ledger.root(size) == root
    report = verify_ledger(ledger, public_keys=[signer.public_bytes], known_checkpoints=known)
    assert report.sound and "10 event(s) was erased" in " ".join(report.notes)
    assert prunable_events(ledger, moment + timedelta(days=10)) == []
    told = list(ledger.events(type=events.EVENT_ERASED))
    assert [event.body["reason"] for event in told] == ["pruned by age"]


def test_large_erasures_are_told_in_parts(ledger, signer, monkeypatch):
    from provenance_guard.ledger import upkeep

    monkeypatch.setattr(upkeep, "ERASE_AT_ONCE", 4)
    ledger.append_many([picture(number) for number in range(10)])
    assert [len(event.body["seqs"]) for event in erase_events(ledger, range(1, 11), "asked for")] == [4, 4, 2]
    assert sound(ledger, signer)


def test_erased_words_are_in_no_byte_though_the_index_was_rebuilt_many_times(ledger, signer):
    """FTS5 merges its parts while it grows, and leaves old ones in free pages: they must go, too."""
    secret, common = "zanzibarwort", "harbourword"
    wanted = []
    for number in range(120):
        words = f"{common} {secret if number % 10 == 0 else 'tram'} word{number} " * 20
        public, openings = redact({"context": {"parameters": {"prompt": words}}})
        event = ledger.append("picture.released", {"record": public}, record_id=f"{number:032x}", openings=openings)
        if number % 10 == 0:
            wanted.append(event.seq)
        ledger.search(common)
    assert len(ledger.search(secret)) == len(wanted)
    assert secret.encode() in everything_beside(ledger.path)
    erase_events(ledger, wanted, "asked for")
    assert secret.encode() not in everything_beside(ledger.path)
    assert ledger.search(secret) == []
    assert len(ledger.search(common, limit=200)) == 120 - len(wanted)
    assert secret.encode() not in everything_beside(ledger.path)
    assert leftovers(ledger.path) == [] or leftovers(ledger.path) == [ledger.path.with_name("ledger.sqlite3-wal")]
    assert sound(ledger, signer)


def test_free_pages_of_the_index_hold_nothing_that_was_erased(ledger):
    """What SQLite freed without overwriting it, when parts of the index were merged."""
    event = ledger.append("note.added", {"text": " ".join(f"{number:04d}zanzibar" for number in range(3000))})
    ledger.search("0001zanzibar")
    with sqlite3.connect(index_path(ledger.path), isolation_level=None) as index:
        index.execute("PRAGMA secure_delete=OFF")
        index.execute("INSERT INTO part_0 (part_0) VALUES ('delete-all')")
        index.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    index.close()
    assert b"zanzibar" in index_path(ledger.path).read_bytes()
    ledger.erase([event.seq], "asked for", what="whole")
    assert b"zanzibar" not in everything_beside(ledger.path)


def test_copies_that_may_still_hold_what_was_erased_are_named(ledger):
    copy = ledger.path.with_name("ledger.before-version-2.sqlite3")
    copy.write_bytes(b"")
    assert copy in leftovers(ledger.path)


@pytest.fixture
def backed_up(ledger, tmp_path):
    """A ledger of 11 events, and a backup of it."""
    ledger.append_many([picture(number) for number in range(10)])
    backup = tmp_path / "elsewhere" / "backup.sqlite3"
    ledger.back_up(backup)
    return backup


def test_restoring_where_nothing_is(backed_up, tmp_path, signer):
    target = tmp_path / "new" / "ledger.sqlite3"
    done = restore_ledger(backed_up, target, signer)
    assert (done.kept, done.before, done.after) == (None, None, 11)
    with Ledger.open(target, signer) as ledger:
        assert ledger.size == 12 and sound(ledger, signer)


def test_a_newer_ledger_is_not_replaced_unasked(ledger, backed_up, signer):
    ledger.append_many([picture(number) for number in range(10, 15)])
    before = ledger.checkpoint()
    with pytest.raises(UsageError, match="5 would go missing") as caught:
        restore_ledger(backed_up, ledger.path, signer)
    assert "--force" in caught.value.next_step and ledger.size == 16
    assert ledger.search("fox") == [] and index_path(ledger.path).exists()

    done = restore_ledger(backed_up, ledger.path, signer, force=True)
    assert (done.before, done.after) == (16, 11)
    # Who has it open goes on with the restored one, and it tells what happened.
    assert ledger.size == 12
    assert ledger.event(11).type == events.LEDGER_RESTORED
    assert ledger.event(11).body == {"events_before": 16, "events_restored": 11}
    ledger.append_many([picture(77)])
    assert sound(ledger, signer)
    assert [event.type for event in ledger.search("restored")] == [events.LEDGER_RESTORED]
    with Ledger.open_read_only(done.kept) as kept:
        assert kept.size == 16
        assert verify_ledger(kept, public_keys=[signer.public_bytes]).sound
    # A checkpoint that was handed out before shows that events are missing.
    report = verify_ledger(ledger, public_keys=[signer.public_bytes], known_checkpoints=[before])
    assert {problem.what for problem in report.problems} & {"rollback", "checkpoint"}


def test_restoring_the_same_ledger_loses_nothing(ledger, backed_up, signer):
    done = restore_ledger(backed_up, ledger.path, signer)
    assert (done.before, done.after) == (11, 11)
    assert sound(ledger, signer)


def test_another_ledger_is_not_replaced_unasked(ledger, tmp_path, signer):
    with Ledger.open(tmp_path / "other.sqlite3", signer) as other:
        other.append_many([picture(number) for number in range(3)])
    with pytest.raises(UsageError, match="another ledger"):
        restore_ledger(other.path, ledger.path, signer)


def test_a_backup_that_is_not_sound_is_refused(ledger, backed_up, signer, tamper):
    tamper(backed_up, "UPDATE event SET bytes = 'x' WHERE seq = 3")
    size = ledger.size
    with pytest.raises(LedgerError, match="not sound"):
        restore_ledger(backed_up, ledger.path, signer, force=True)
    assert ledger.size == size
    with pytest.raises(LedgerError):
        restore_ledger(backed_up.with_name("nothing.sqlite3"), ledger.path, signer)


@pytest.mark.parametrize("damage", ["start", "everything"])
def test_a_damaged_ledger_is_replaced_and_kept(ledger, backed_up, signer, damage):
    ledger.close()
    content = ledger.path.read_bytes()
    broken = b"\0" * 4096 + content[4096:] if damage == "start" else b"no database at all" * 100
    ledger.path.write_bytes(broken)
    done = restore_ledger(backed_up, ledger.path, signer)
    assert done.before is None and done.kept.read_bytes() == broken
    with Ledger.open(ledger.path, signer) as restored:
        assert restored.size == 12 and sound(restored, signer)


def test_another_process_goes_on_after_a_restore(ledger, backed_up, signer):
    writer = Path(__file__).with_name("ledger_writer.py")
    assert writer.exists()
    code = (
        "import sys; from pathlib import Path; from provenance_guard.ledger import Ledger\n"
        "ledger = Ledger.open(Path(sys.argv[1]))\n"
        "print(ledger.size, flush=True); sys.stdin.readline()\n"
        "print(ledger.append('note.added', {}).seq, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(ledger.path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline().strip() == "11"
        restore_ledger(backed_up, ledger.path, signer)
        told, _ = process.communicate("\n", timeout=60)
    assert told.strip() == "12"
    assert sound(ledger, signer)


def test_a_restored_file_is_a_ledger_for_sqlite_too(ledger, backed_up, signer):
    restore_ledger(backed_up, ledger.path, signer)
    ledger.close()
    with sqlite3.connect(ledger.path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
