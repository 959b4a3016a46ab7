"""The ledger as its callers use it."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ledger_samples import picture

from provenance_guard.errors import LedgerError
from provenance_guard.ledger import (
    Checkpoint,
    Ledger,
    NewEvent,
    events,
    heads,
    merkle,
    selection,
    store,
    verify_ledger,
    verify_proof,
)
from provenance_guard.ledger.checkpoint import Signature, note_key_id
from provenance_guard.signing import Signer


class Clock:
    def __init__(self, monkeypatch) -> None:
        self.now = datetime(2026, 11, 22, 8, 0, tzinfo=timezone.utc)
        monkeypatch.setattr(store, "utc_now", lambda: self.now)
        monkeypatch.setattr(heads, "utc_now", lambda: self.now)

    def advance(self, **step) -> None:
        self.now += timedelta(**step)


def test_append_gives_back_what_is_stored(ledger):
    event = ledger.append("note.added", {"text": "hello 你好"}, record_id="ab" * 16)
    assert ledger.event(event.seq) == event
    assert event.body == {"text": "hello 你好"}
    assert event.time.endswith("Z")
    assert not event.erased


def test_without_signer_nothing_is_added(path):
    with Ledger.open(path) as ledger:
        assert ledger.append("note.added", {}).seq == 0
        assert ledger.size == 1
        assert ledger.checkpoint() is None
        with pytest.raises(LedgerError, match="signing key"):
            ledger.proof(0)
    assert verify_ledger(path).sound


def test_the_key_is_recorded_before_the_first_event_and_once(path, signer):
    for _ in range(2):
        with Ledger.open(path, signer) as ledger:
            ledger.append("note.added", {})
    other = Signer(Ed25519PrivateKey.generate())
    with Ledger.open(path, other) as ledger:
        assert ledger.append("note.added", {}).seq == 4
        kinds = [event.type for event in ledger.events()]
        assert kinds == ["key.added", "note.added", "note.added", "key.added", "note.added"]
        keys = [event.body["public_key"] for event in ledger.events(type="key.added")]
        assert keys == [signer.public_bytes.hex(), other.public_bytes.hex()]
    assert verify_ledger(path).sound


def test_a_group_is_appended_whole_or_not_at_all(ledger):
    assert ledger.append_many([]) == []
    appended = ledger.append_many(picture(number) for number in range(5))
    assert [event.seq for event in appended] == [1, 2, 3, 4, 5]
    with pytest.raises(LedgerError):
        ledger.append_many([picture(6), NewEvent("note.added", {"n": float("inf")}), picture(7)])
    assert ledger.size == 6
    assert ledger.append("note.added", {}).seq == 6


def test_events_are_chained_and_every_root_is_the_trees(ledger):
    ledger.append_many([picture(number) for number in range(70)])
    frontier, previous = merkle.Frontier(), events.FIRST_PREVIOUS
    for event in ledger.events():
        assert event.previous == previous
        assert event.leaf_hash == merkle.leaf_hash(event.stored)
        frontier.append(event.leaf_hash)
        assert ledger.root(frontier.size) == frontier.root()
        previous = event.leaf_hash.hex()
    assert frontier.root() == ledger.root()


def test_selecting_events(ledger, monkeypatch):
    clock = Clock(monkeypatch)
    for number in range(6):
        ledger.append("note.added" if number % 2 else "run.queued", {"n": number}, record_id=f"{number // 2:032x}")
        clock.advance(minutes=1)

    def numbers(**filters):
        return [event.body["n"] for event in ledger.events(**filters) if event.type != "key.added"]

    since = clock.now - timedelta(minutes=3)
    assert numbers() == [0, 1, 2, 3, 4, 5]
    assert numbers(newest_first=True) == [5, 4, 3, 2, 1, 0]
    assert numbers(newest_first=True, limit=2) == [5, 4]
    assert numbers(type="note.added") == [1, 3, 5]
    assert numbers(record_id="0" * 31 + "1") == [2, 3]
    assert numbers(since=since) == [3, 4, 5]
    assert numbers(since=since, type="run.queued", newest_first=True) == [4]
    assert numbers(since=clock.now) == []
    assert numbers(limit=0) == []


def test_selection_goes_on_over_pages(ledger, monkeypatch):
    monkeypatch.setattr(selection, "PAGE", 4)
    ledger.append_many([picture(number) for number in range(12)])
    assert [event.seq for event in ledger.events()] == list(range(13))
    assert [event.seq for event in ledger.events(newest_first=True, limit=9)] == list(range(12, 3, -1))
    seen = []
    for event in ledger.events(limit=20):  # appending while reading neither blocks nor repeats
        seen.append(event.seq)
        ledger.append("note.added", {})
    assert seen == list(range(20))


@pytest.mark.parametrize("kind", ["since", "until", "index"])
def test_selection_does_not_begin_anew_with_every_page(ledger, monkeypatch, kind):
    """Twice as many events cost about twice as many steps of SQLite, not four times."""
    monkeypatch.setattr(selection, "PAGE", 4)
    moment = datetime(2026, 11, 22, tzinfo=timezone.utc)

    def steps() -> int:
        count = 0

        def tick() -> int:
            nonlocal count
            count += 1
            return 0

        ledger._connection.set_progress_handler(tick, 10)
        if kind == "since":
            read = list(ledger.events(since=moment - timedelta(days=9)))
        elif kind == "until":
            read = list(ledger.events(until=moment + timedelta(days=9999), newest_first=True))
        else:
            read = [row for rows in selection.select_pages(ledger._use, first=0) for row in rows]
        ledger._connection.set_progress_handler(None, 10)
        assert len(read) == ledger.size
        return count

    monkeypatch.setattr(store, "utc_now", lambda: moment)
    ledger.append_many([picture(number) for number in range(399)])
    few = steps()
    ledger.append_many([picture(number) for number in range(400)])
    assert steps() < 3 * few


def test_since_stays_right_when_the_clock_was_set_back(ledger, monkeypatch):
    clock = Clock(monkeypatch)
    for days in (0, 0, -60, 30, 31):
        clock.advance(days=days)
        ledger.append("note.added", {"days": days})
    since = datetime(2026, 11, 1, tzinfo=timezone.utc)
    assert [event.body["days"] for event in ledger.events(since=since, type="note.added")] == [0, 0, 31]


def test_finding_pictures_and_records(ledger):
    ledger.append_many([picture(number) for number in range(20)])
    ledger.append("picture.saved", {"file_sha256": "cd" * 32, "pixel_sha256": f"{7:064x}"}, record_id=f"{7:032x}")
    assert [event.seq for event in ledger.find_pixels(f"{7:064x}")] == [8, 21]
    assert [event.seq for event in ledger.find_pixels(f"{7:064x}", limit=1)] == [21]
    assert [event.record_id for event in ledger.find_file("CD" * 32)] == [f"{7:032x}"]
    assert ledger.find_pixels("nonsense") == ledger.find_file("\udc80") == []
    assert ledger.find_records("0" * 31) == [f"{number:032x}" for number in range(16)]
    assert ledger.find_records("0" * 30, limit=3) == [f"{number:032x}" for number in range(3)]
    assert ledger.find_records("\udc80") == ledger.find_records("f") == []


def test_openings_come_back(ledger):
    ledger.append_many([picture(3)])
    assert ledger.event(1).openings == picture(3).openings


def test_proofs_of_the_tree_verify(ledger):
    ledger.append_many([picture(number) for number in range(30)])
    old, size = ledger.root(9), ledger.size
    assert merkle.verify_consistency(9, size, old, ledger.root(), ledger.consistency_proof(9))
    for seq in range(size):
        leaf = ledger.event(seq).leaf_hash
        assert merkle.verify_inclusion(leaf, seq, size, ledger.inclusion_proof(seq), ledger.root())
    assert merkle.verify_inclusion(ledger.event(3).leaf_hash, 3, 9, ledger.inclusion_proof(3, 9), old)


@pytest.mark.parametrize(
    "ask",
    [
        lambda ledger: ledger.event(99),
        lambda ledger: ledger.event(-1),
        lambda ledger: ledger.event(1 << 80),
        lambda ledger: ledger.proof(99),
        lambda ledger: ledger.inclusion_proof(99),
        lambda ledger: ledger.inclusion_proof(0, 99),
        lambda ledger: ledger.inclusion_proof(1, 1),
        lambda ledger: ledger.consistency_proof(99),
        lambda ledger: ledger.consistency_proof(-1),
        lambda ledger: ledger.root(99),
    ],
)
def test_what_is_not_there_is_a_plain_error(ledger, ask):
    ledger.append_many([picture(0), picture(1)])
    with pytest.raises(LedgerError):
        ask(ledger)


def test_proof_for_a_sidecar(ledger, signer):
    event = ledger.append_many([picture(number) for number in range(9)])[4]
    proof = ledger.proof(event.seq)
    result = verify_proof(proof, event.stored, public_keys=[signer.public_bytes])
    assert result.holds
    assert result.checkpoint.size == ledger.size
    assert result.signed_by == signer.public_bytes
    assert verify_proof(proof, None, public_keys=[signer.public_bytes]).holds
    other_event = verify_proof(proof, ledger.event(2).stored, public_keys=[signer.public_bytes])
    assert not other_event.holds
    assert "not the one" in other_event.problem
    other_key = verify_proof(proof, event.stored, public_keys=[Signer(Ed25519PrivateKey.generate()).public_bytes])
    assert other_key.included
    assert other_key.signed_by is None
    assert not other_key.holds


def test_proof_prefers_the_first_stored_checkpoint_that_covers_the_event(ledger):
    ledger.append_many([picture(number) for number in range(5)])
    first = ledger.checkpoint()
    ledger.append_many([picture(number) for number in range(5)])
    ledger.checkpoint()
    assert ledger.proof(2)["checkpoint"] == first.text()
    assert ledger.proof(8)["tree_size"] == 11
    ledger.append("note.added", {})
    assert ledger.proof(11)["tree_size"] == 12
    assert [checkpoint.size for checkpoint in ledger.checkpoints()] == [6, 11]


@pytest.mark.parametrize(
    "change",
    [
        lambda proof: {},
        lambda proof: [proof],
        lambda proof: None,
        lambda proof: {**proof, "version": 2},
        lambda proof: {**proof, "version": "1"},
        lambda proof: {**proof, "index": True},
        lambda proof: {**proof, "index": None},
        lambda proof: {**proof, "tree_size": 3},
        lambda proof: {**proof, "leaf_hash": "ab"},
        lambda proof: {**proof, "leaf_hash": 5},
        lambda proof: {**proof, "path": "ab"},
        lambda proof: {**proof, "path": [None]},
        lambda proof: {**proof, "checkpoint": "no"},
        lambda proof: {**proof, "checkpoint": None},
    ],
)
def test_what_is_no_proof_is_one_error(ledger, change):
    ledger.append_many([picture(number) for number in range(5)])
    with pytest.raises(LedgerError):
        verify_proof(change(ledger.proof(2)), None, public_keys=[])


@pytest.mark.parametrize(
    "change",
    [
        lambda proof: {**proof, "index": 3},
        lambda proof: {**proof, "index": -1},
        lambda proof: {**proof, "index": 1 << 70},
        lambda proof: {**proof, "leaf_hash": "00" * 32},
        lambda proof: {**proof, "path": proof["path"][:-1]},
        lambda proof: {**proof, "path": [*proof["path"], "00" * 32]},
        lambda proof: {**proof, "path": proof["path"][::-1]},
    ],
)
def test_a_changed_proof_does_not_hold(ledger, signer, change):
    event = ledger.append_many([picture(number) for number in range(5)])[1]
    assert not verify_proof(change(ledger.proof(2)), event.stored, public_keys=[signer.public_bytes]).holds


def test_checkpoints_come_by_number_by_time_and_at_the_end(path, signer, monkeypatch):
    clock = Clock(monkeypatch)
    with Ledger.open(path, signer) as ledger:
        ledger.append_many([picture(number) for number in range(heads.CHECKPOINT_EVENTS)])
        assert [checkpoint.size for checkpoint in ledger.checkpoints()] == [257]
        ledger.append("note.added", {})
        clock.advance(minutes=9)
        ledger.append("note.added", {})
        assert len(ledger.checkpoints()) == 1
        clock.advance(minutes=2)
        ledger.append("note.added", {})
        assert [checkpoint.size for checkpoint in ledger.checkpoints()] == [257, 260]
        ledger.append("note.added", {})
        clock.advance(days=-60)
        ledger.append("note.added", {})
        assert [checkpoint.size for checkpoint in ledger.checkpoints()] == [257, 260, 262]
        ledger.append("note.added", {})
    with Ledger.open(path, signer) as ledger:
        assert [checkpoint.size for checkpoint in ledger.checkpoints()] == [257, 260, 262, 263]
        assert all(checkpoint.verify(signer.public_bytes) for checkpoint in ledger.checkpoints())
    with Ledger.open(path, signer) as ledger:  # nothing new: no further checkpoint
        assert len(ledger.checkpoints()) == 4


def test_cosignatures_are_kept(ledger, signer):
    ledger.append_many([picture(number) for number in range(3)])
    exported = ledger.checkpoint().text()
    witness = Signer(Ed25519PrivateKey.generate())
    seconds = 1_800_000_000
    message = f"cosignature/v1\ntime {seconds}\n{Checkpoint.parse(exported).body()}".encode()
    key_id = note_key_id("witness.example/1", witness.public_bytes, b"\x04")
    line = Signature("witness.example/1", key_id, seconds.to_bytes(8, "big") + witness.sign(message))
    for _ in range(2):  # a second time changes nothing
        cosigned = ledger.add_signatures(exported + line.line())
        assert ledger.checkpoints() == [cosigned]
        assert cosigned.text() == exported + line.line()
        assert cosigned.cosigned_at("witness.example/1", witness.public_bytes) == seconds
    assert ledger.proof(1)["checkpoint"] == cosigned.text()
    assert verify_ledger(ledger, public_keys=[signer.public_bytes]).sound
    ledger.append("note.added", {})
    ledger.checkpoint()
    for wrong in ("nonsense", exported.replace("\n4\n", "\n3\n"), exported.replace("\n4\n", "\n5\n")):
        with pytest.raises(LedgerError):
            ledger.add_signatures(wrong)


def test_threads_share_a_ledger(ledger):
    def work(worker):
        for number in range(15):
            event = ledger.append("note.added", {"worker": worker, "n": number})
            assert ledger.event(event.seq).body == {"worker": worker, "n": number}

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.size == 91
    assert verify_ledger(ledger).sound
    for worker in range(6):
        mine = [event.body["n"] for event in ledger.events(type="note.added") if event.body["worker"] == worker]
        assert mine == list(range(15))


def test_a_closed_ledger_says_so(path, signer):
    ledger = Ledger.open(path, signer)
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerError, match="was closed"):
        ledger.append("note.added", {})


def test_backup_while_in_use_is_a_ledger(ledger, tmp_path, signer):
    ledger.append_many([picture(number) for number in range(9)])
    target = tmp_path / "backups" / "copy.sqlite3"
    ledger.back_up(target)
    ledger.append("note.added", {})
    assert [entry.name for entry in target.parent.iterdir()] == ["copy.sqlite3"]
    assert verify_ledger(target).sound
    with Ledger.open(target, signer) as copy:
        assert copy.size == 10
        assert copy.origin == ledger.origin
        copy.append("note.added", {})
