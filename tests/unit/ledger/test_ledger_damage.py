"""Files, folders and disks that are not as they should be: one clear sentence, and nothing lost that can be read."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path

import pytest
from ledger_samples import picture

from provenance_guard.errors import LedgerError
from provenance_guard.ledger import Ledger, NewEvent, database, recover_ledger, verify_ledger
from provenance_guard.ledger.database import Migration

PAGE = 4096


def said(error: pytest.ExceptionInfo[LedgerError]) -> str:
    assert error.value.next_step
    return error.value.message


@pytest.mark.parametrize("content", [b"this is a text file, not a database\n" * 200, b"\x89PNG\r\n\x1a\n" * 500, b"x"])
def test_a_file_of_another_kind(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    for action in (Ledger.open, Ledger.open_read_only, verify_ledger):
        with pytest.raises(LedgerError) as error:
            action(path)
        assert "not a ledger" in said(error)
    assert path.read_bytes() == content


def test_a_database_of_another_program(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE event (seq INTEGER)")
    before = path.read_bytes()
    for action in (Ledger.open, Ledger.open_read_only, verify_ledger):
        with pytest.raises(LedgerError) as error:
            action(path)
        assert "another program" in said(error)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER forget AFTER INSERT ON event BEGIN DELETE FROM event WHERE seq = new.seq; END",
        "CREATE VIEW more AS SELECT * FROM event",
        "CREATE VIRTUAL TABLE words USING fts5(text)",
    ],
)
def test_a_ledger_with_something_put_into_it(filled, tamper, statement):
    tamper(filled, statement)
    for action in (Ledger.open, Ledger.open_read_only, verify_ledger):
        with pytest.raises(LedgerError) as error:
            action(filled)
        assert "not part of a ledger" in said(error)


def test_no_ledger_where_one_is_expected(path):
    def recover(path):
        recover_ledger(path, path.with_name("new.sqlite3"))

    for action in (lambda path: Ledger.open(path, create=False), Ledger.open_read_only, verify_ledger, recover):
        with pytest.raises(LedgerError) as error:
            action(path)
        assert "There is no" in said(error)
    assert not path.exists()


def test_an_empty_file_becomes_a_ledger(path):
    """What a crash between making the file and filling it leaves behind."""
    path.parent.mkdir()
    path.touch()
    with pytest.raises(LedgerError):
        Ledger.open_read_only(path)
    with Ledger.open(path) as ledger:
        ledger.append("note.added", {})
    assert verify_ledger(path).sound


def test_a_folder_that_is_a_file_and_a_file_that_is_a_folder(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LedgerError) as error:
        Ledger.open(tmp_path / "file" / "ledger.sqlite3")
    assert "cannot be made" in said(error)
    with pytest.raises(LedgerError) as error:
        Ledger.open(tmp_path)
    assert "cannot be opened" in said(error)


def as_ordinary_user(action) -> None:
    """Root may write everywhere: lets a child process without privileges do it, and pass its failure on."""
    if os.geteuid() != 0:
        action()
        return
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setuid(65534)
            action()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="modes of folders mean something else there")
def test_a_read_only_folder(signer):
    folder = Path(tempfile.mkdtemp())
    path = folder / "ledger.sqlite3"
    try:
        with Ledger.open(path, signer) as ledger:
            ledger.append("note.added", {"text": "hello"})
        path.chmod(0o444)
        folder.chmod(0o555)

        def check():
            with pytest.raises(LedgerError) as error:
                Ledger.open(folder / "new" / "ledger.sqlite3")
            assert "cannot be made" in said(error)
            with pytest.raises(LedgerError) as error:
                Ledger.open(path, signer)
            said(error)
            assert verify_ledger(path).sound
            with Ledger.open_read_only(path) as ledger:
                assert ledger.event(1).body == {"text": "hello"}
                with pytest.raises(LedgerError) as error:
                    ledger.append("note.added", {})
                assert "may not be written" in said(error)

        as_ordinary_user(check)
        assert [entry.name for entry in folder.iterdir()] == ["ledger.sqlite3"]
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="modes of folders mean something else there")
def test_a_folder_that_may_not_be_entered(tmp_path):
    (tmp_path / "private").mkdir(mode=0o700)
    path = tmp_path / "private" / "ledger.sqlite3"
    Ledger.open(path).close()
    path.parent.chmod(0)

    def check():
        with pytest.raises(LedgerError):
            Ledger.open(path)
        with pytest.raises(LedgerError):
            Ledger.open(path, create=False)
        with pytest.raises(LedgerError):
            Ledger.open_read_only(path)
        with pytest.raises(LedgerError):
            recover_ledger(path, tmp_path / "new.sqlite3")

    try:
        as_ordinary_user(check)
    finally:
        path.parent.chmod(0o700)


def test_opened_read_only_it_is_not_changed(filled):
    before = hashlib.sha256(filled.read_bytes()).digest()
    with Ledger.open_read_only(filled) as ledger:
        assert len(list(ledger.events())) == ledger.size == 41
        with pytest.raises(LedgerError, match="may not be written"):
            ledger.append("note.added", {})
    verify_ledger(filled)
    assert hashlib.sha256(filled.read_bytes()).digest() == before


@pytest.mark.skipif(sys.platform == "win32", reason="no modes there")
def test_only_its_owner_may_read_a_ledger(ledger):
    ledger.append("note.added", {})
    assert {entry.stat().st_mode & 0o777 for entry in ledger.path.parent.iterdir()} == {0o600}


def test_a_full_disk_loses_nothing_and_ends_nothing(ledger):
    ledger.append_many([picture(number) for number in range(10)])
    connection = ledger._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages + 12}")
    written = 0
    with pytest.raises(LedgerError) as error:
        for number in range(100):
            ledger.append_many([picture(number), NewEvent("note.added", {"text": "x" * 9000})])
            written += 2
    assert "disk is full" in said(error)
    assert "Free space" in error.value.next_step
    assert ledger.size == 11 + written
    assert verify_ledger(ledger).sound
    connection.execute("PRAGMA max_page_count=1000000")
    assert ledger.append("note.added", {}).seq == 11 + written
    assert verify_ledger(ledger).sound


def test_a_ledger_kept_locked_by_another_program(path, signer, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    with Ledger.open(path, signer) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError) as error:
            ledger.append("note.added", {})
        assert "locked" in said(error)
        other.execute("ROLLBACK")
        ledger.append("note.added", {})


def test_tables_of_the_future(filled):
    with closing(sqlite3.connect(filled)) as connection:
        connection.execute("PRAGMA user_version=99")
    for action in (Ledger.open, Ledger.open_read_only, verify_ledger):
        with pytest.raises(LedgerError) as error:
            action(filled)
        assert "newer" in said(error)


def add_colour(connection):
    connection.execute("ALTER TABLE event ADD COLUMN colour TEXT")


def fail_half_way(connection):
    connection.execute("CREATE TABLE half (x)")
    raise LedgerError("This migration fails.", next_step="None.")


def test_an_older_file_is_brought_up_to_date_after_a_backup(filled):
    before = filled.read_bytes()
    newer = (*database.MIGRATIONS, Migration("add_colour", add_colour))
    for _ in range(2):
        with closing(database.open_database(filled, create=False, migrations=newer)) as connection:
            assert connection.execute("SELECT count(*) FROM event WHERE colour IS NULL").fetchone() == (41,)
            history = connection.execute("SELECT version, name FROM migration").fetchall()
            assert history == [(1, "create_ledger"), (2, "add_anchors"), (3, "add_colour")]
            assert database.schema_version(connection) == 3
    assert {entry.name for entry in filled.parent.iterdir()} == {"ledger.sqlite3", "ledger.before-version-3.sqlite3"}
    backup = filled.with_name("ledger.before-version-3.sqlite3")
    assert verify_ledger(backup).sound
    assert verify_ledger(backup).size == 41
    assert filled.read_bytes() != before


def test_a_migration_that_fails_leaves_the_file_as_it_was(filled):
    with pytest.raises(LedgerError, match="This migration fails"):
        database.open_database(
            filled, create=False, migrations=(*database.MIGRATIONS, Migration("fail", fail_half_way))
        )
    assert verify_ledger(filled).sound
    with Ledger.open(filled) as ledger:
        ledger.append("note.added", {})


@pytest.fixture
def original(filled):
    with Ledger.open_read_only(filled) as ledger:
        return {event.seq: event.stored for event in ledger.events()}


def page_count(path: Path) -> int:
    return path.stat().st_size // PAGE


def damage_page(path: Path, page: int, content: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(page * PAGE)
        stream.write(content)


def numbers(lost) -> set[int]:
    return {seq for gap in lost for seq in gap}


@pytest.mark.parametrize("kind", ["zeros", "noise"])
def test_a_damaged_page_anywhere_costs_no_more_than_what_was_on_it(filled, original, tmp_path, kind):
    intact = filled.read_bytes()
    chance = random.Random(1)
    unnoticed, kept = [], []
    for page in range(page_count(filled)):
        filled.write_bytes(intact)
        damage_page(filled, page, bytes(PAGE) if kind == "zeros" else chance.randbytes(PAGE))
        with suppress(LedgerError):
            if verify_ledger(filled).sound:
                unnoticed.append(page)
        recovery = recover_ledger(filled, tmp_path / f"recovered-{page}.sqlite3")
        gone = numbers(recovery.lost) | set(recovery.without_content)
        changed = {problem.seq for problem in verify_ledger(recovery.path).problems} - gone
        with Ledger.open_read_only(recovery.path) as copy:
            for seq in set(original) - gone - changed:
                assert copy.event(seq).stored == original[seq]
        kept.append(len(set(original) - gone - changed))
    assert not unnoticed
    assert min(kept) >= len(original) - 12, kept


def test_one_unreadable_event_keeps_no_other_from_being_checked(filled, tamper):
    with closing(sqlite3.connect(filled)) as connection:
        if not connection.execute(
            "SELECT 1 FROM pragma_compile_options WHERE compile_options LIKE '%DBSTAT%'"
        ).fetchone():
            pytest.skip("this SQLite does not tell its pages")
        query = "SELECT pageno FROM dbstat WHERE name = 'event' AND pagetype = 'leaf' AND ncell = 1"
        pages = [row[0] for row in connection.execute(query)]
    tamper(filled, "UPDATE event SET time = 'never' WHERE seq = 40")
    damage_page(filled, pages[0] - 1, bytes(PAGE))
    report = verify_ledger(filled)
    found = {(problem.what, problem.seq) for problem in report.problems if problem.what != "database"}
    (unreadable,) = [seq for what, seq in found if what == "unreadable"]
    assert found == {("unreadable", unreadable), ("index", 40)}
    assert report.root is not None
    assert report.signed_size == 41


@pytest.mark.parametrize("first", [bytes(PAGE), b"", b"nonsense" * 512])
def test_even_without_its_first_page_all_is_recovered(filled, original, tmp_path, first, signer):
    with Ledger.open(filled, signer) as ledger:
        ledger.append("note.added", {"text": "long " * 9000})  # on many pages
        origin, stored = ledger.origin, ledger.event(41).stored
    damage_page(filled, 0, first or bytes(100))
    for action in (Ledger.open, verify_ledger):
        with pytest.raises(LedgerError) as error:
            action(filled)
        assert "not a ledger" in said(error)
    recovery = recover_ledger(filled, tmp_path / "new.sqlite3")
    assert (recovery.kept, recovery.lost, recovery.without_content) == (42, (), ())
    assert recovery.continues
    with Ledger.open(recovery.path, signer) as ledger:
        assert ledger.origin == origin
        assert {event.seq: event.stored for event in ledger.events()} == {**original, 41: stored}
        assert [checkpoint.size for checkpoint in ledger.checkpoints()] == [11, 21, 41, 42]
        ledger.append("note.added", {})
    assert verify_ledger(recovery.path, public_keys=[signer.public_bytes]).sound


@pytest.mark.parametrize("share", [0.99, 0.7, 0.3])
def test_a_file_cut_short(filled, original, tmp_path, share):
    with filled.open("r+b") as stream:
        stream.truncate(int(filled.stat().st_size * share))
    with pytest.raises(LedgerError) as error:
        Ledger.open(filled)
    said(error)
    with suppress(LedgerError):
        assert not verify_ledger(filled).sound
    recovery = recover_ledger(filled, tmp_path / "new.sqlite3")
    with Ledger.open_read_only(recovery.path) as copy:
        for seq in set(original) - numbers(recovery.lost) - set(recovery.without_content):
            assert copy.event(seq).stored == original[seq]
    assert recovery.kept >= share * 14


def test_a_count_that_is_nonsense_keeps_nobody_waiting(filled, tamper, tmp_path):
    tamper(filled, "UPDATE sqlite_sequence SET seq = 1 << 61")
    damage_page(filled, page_count(filled) // 2, bytes(PAGE))
    assert not verify_ledger(filled).sound
    assert recover_ledger(filled, tmp_path / "new.sqlite3").lost[-1].stop == (1 << 61) + 1


def test_nothing_to_recover(path, tmp_path):
    path.parent.mkdir()
    for content in (b"", b"x", b"no ledger " * 5000):
        path.write_bytes(content)
        with pytest.raises(LedgerError) as error:
            recover_ledger(path, tmp_path / "new.sqlite3")
        assert "No event" in said(error)
        assert list(tmp_path.glob("*.sqlite3*")) == []


def test_recovery_brings_back_nothing_that_was_erased(filled, tmp_path, signer):
    with Ledger.open(filled, signer) as ledger:
        ledger.erase([7], "asked for", what="whole")
        ledger.erase([9], "asked for")
    damage_page(filled, 0, bytes(PAGE))
    recovery = recover_ledger(filled, tmp_path / "new.sqlite3")
    content = recovery.path.read_bytes()
    assert b"red fox number 5" in content
    assert b"red fox number 6" not in content
    assert b"red fox number 8" not in content


def test_a_recovered_ledger_can_be_continued_when_only_content_is_gone(filled, tmp_path, tamper, signer):
    tamper(filled, "DELETE FROM event WHERE seq IN (13, 20)")
    recovery = recover_ledger(filled, tmp_path / "new.sqlite3")
    assert (recovery.kept, recovery.lost, recovery.without_content) == (39, (), (13, 20))
    assert recovery.continues
    with Ledger.open(recovery.path, signer) as ledger:
        assert ledger.append("note.added", {}).seq == 41
    report = verify_ledger(recovery.path, public_keys=[signer.public_bytes])
    assert {(problem.what, problem.seq) for problem in report.problems} == {("leaf", 13), ("leaf", 20)}
    assert report.signed_size == 42


def test_a_recovered_ledger_that_lost_its_end_is_not_continued(filled, tmp_path, tamper, signer):
    tamper(filled, "DELETE FROM event WHERE seq > 30", "DELETE FROM checkpoint WHERE size > 30")
    recovery = recover_ledger(filled, tmp_path / "new.sqlite3")
    assert recovery.lost == (range(31, 41),)
    assert not recovery.continues
    with pytest.raises(LedgerError, match="cut or changed"):
        Ledger.open(recovery.path, signer)
    assert [(problem.what, problem.seq) for problem in verify_ledger(recovery.path).problems] == [("rollback", 31)]


def test_recovery_overwrites_nothing(filled, tmp_path):
    (tmp_path / "there.sqlite3").write_text("mine")
    with pytest.raises(LedgerError, match="exists already"):
        recover_ledger(filled, tmp_path / "there.sqlite3")
    assert (tmp_path / "there.sqlite3").read_text() == "mine"
