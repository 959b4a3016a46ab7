"""Checks a whole ledger: sequence, bytes, chain, tree, checkpoints, signatures; each finding says where.

The file is opened read-only and read in one snapshot, so others may go on appending. What the check cannot see alone: an
older copy of the whole file put in its place. Any checkpoint kept elsewhere shows that (``known_checkpoints``).
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from provenance_guard.clock import parse_time
from provenance_guard.errors import LedgerError
from provenance_guard.ledger import database, events, merkle, tables
from provenance_guard.ledger.checkpoint import ORIGIN_PREFIX, Checkpoint
from provenance_guard.ledger.events import Event
from provenance_guard.ledger.rows import Row, expected_size, open_damaged, read_rows, read_value
from provenance_guard.ledger.store import Ledger

ProblemKind = Literal[
    "database",
    "unreadable",
    "sequence",
    "leaf",
    "chain",
    "tree",
    "index",
    "opening",
    "checkpoint",
    "signature",
    "rollback",
]

_MAX_OF_A_KIND = 50
_CLOCK_TOLERANCE = timedelta(seconds=2)


@dataclass(frozen=True)
class Problem:
    """One finding: ``seq`` is the number of the event it is about (None when it is about the file), ``what`` its kind."""

    seq: int | None
    what: ProblemKind
    sentence: str


@dataclass(frozen=True)
class LedgerReport:
    """What the check found. ``size`` and ``root`` (None when events are missing) are of the tree as it lies there.

    ``signed_size`` is the largest tree that a trusted key has signed and that is still there. ``keys_from_ledger`` says that
    the trusted keys were only read from the ledger itself: then the signatures show that one key holder made it all, not who.
    ``notes`` are not faults: a clock that was set back, events erased on request.
    """

    path: Path
    origin: str
    size: int
    root: bytes | None
    checkpoints: int
    signed_size: int
    keys_from_ledger: bool
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.problems


def verify_ledger(
    ledger: Ledger | Path,
    *,
    public_keys: Sequence[bytes] | None = None,
    known_checkpoints: Iterable[Checkpoint | str] = (),
) -> LedgerReport:
    """Check a ledger from its first event to its last.

    ``public_keys`` (raw Ed25519, 32 bytes each) are the keys that may have signed its checkpoints; None takes those that the
    ledger names itself. ``known_checkpoints`` are checkpoints kept outside. Raises LedgerError when the file cannot be opened
    as a ledger at all, or a known checkpoint cannot be read; everything else is a finding.
    """
    path = ledger.path if isinstance(ledger, Ledger) else ledger
    outside = [entry if isinstance(entry, Checkpoint) else Checkpoint.parse(entry) for entry in known_checkpoints]
    with (
        closing(open_damaged(path)) as connection,
        database.errors_told(path),
        database.snapshot(connection),
    ):
        return _Check(connection, path, public_keys, outside).run()


class _Check:
    def __init__(
        self, connection: sqlite3.Connection, path: Path, public_keys: Sequence[bytes] | None, outside: list[Checkpoint]
    ) -> None:
        self.connection = connection
        self.path = path
        self.public_keys = public_keys
        self.outside = outside
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.origin = ORIGIN_PREFIX + str(read_value(connection, "SELECT ledger_id FROM identity"))
        self.stored = self._stored_checkpoints()
        self.keys: list[bytes] = []  # named by the ledger
        self.erased: set[int] = set()  # as erasure events tell
        self.without_content: set[int] = set()
        self.unreadable: set[int] = set()
        self.frontier: merkle.Frontier | None = merkle.Frontier()
        self.roots: dict[int, bytes] = {0: merkle.EMPTY_ROOT}
        self.wanted_roots = {checkpoint.size for checkpoint in [*self.stored, *self.outside]}
        self.previous: str | None = events.FIRST_PREVIOUS  # None: not known, the event before is unreadable
        self.previous_time: datetime | None = None
        self.next_seq = 0

    def run(self) -> LedgerReport:
        self._check_file()
        for row in read_rows(self.connection):
            if row.seq < 0:
                self._found(row.seq, "sequence", f"An event with the impossible number {row.seq} was put in.")
            elif not row.readable and row.tree is None:
                self._unreadable(row.seq)
            else:
                self._check_position(row)
                self._check_row(row)
        self._check_erasures()
        self._check_end()
        signed_size = self._check_checkpoints()
        return LedgerReport(
            path=self.path,
            origin=self.origin,
            size=self.next_seq,
            root=self.frontier.root() if self.frontier else None,
            checkpoints=len(self.stored),
            signed_size=signed_size,
            keys_from_ledger=self.public_keys is None,
            problems=tuple(_shortened(self.problems)),
            notes=tuple(self.notes),
        )

    # Reading what may be damaged

    def _stored_checkpoints(self) -> list[Checkpoint]:
        try:
            rows = self.connection.execute("SELECT size, note FROM checkpoint ORDER BY size").fetchall()
        except sqlite3.DatabaseError:
            self._found(None, "checkpoint", "The stored checkpoints cannot be read.")
            return []
        checkpoints = []
        for size, note in rows:
            try:
                checkpoint = Checkpoint.parse(note if isinstance(note, str) else "")
            except LedgerError as error:
                self._found(None, "checkpoint", f"The stored checkpoint of size {size} is damaged: {error.message}")
                continue
            if checkpoint.size != size:
                self._found(None, "checkpoint", f"The checkpoint of size {checkpoint.size} is filed under {size}.")
            checkpoints.append(checkpoint)
        return checkpoints

    def _check_file(self) -> None:
        try:
            answers = [row[0] for row in self.connection.execute("PRAGMA integrity_check(20)")]
        except sqlite3.DatabaseError as error:
            answers = [str(error)]
        if answers != ["ok"]:
            detail = str(answers[0]).splitlines()[-1]
            self._found(None, "database", f"The database file is damaged ({detail}; {len(answers)} such findings).")

    # Checking one row

    def _check_position(self, row: Row) -> None:
        if row.seq > self.next_seq:
            if missing := self._missing_before(row.seq):
                self._found(self.next_seq, "sequence", f"{missing} missing.")
            self._fill_gap(row)
        if not row.readable:
            self._unreadable(row.seq)
        self.next_seq = row.seq + 1

    def _unreadable(self, seq: int) -> None:
        self.unreadable.add(seq)
        self._found(seq, "unreadable", f"Event {seq} cannot be read: its page in the file is damaged.")

    def _missing_before(self, seq: int) -> str:
        """Which events up to ``seq`` are neither there nor unreadable, as the start of a sentence; empty when none."""
        gap = range(self.next_seq, seq)
        unreadable = sum(1 for number in self.unreadable if number in gap)
        return _range(gap.start, gap.stop - 1) if unreadable < len(gap) else ""

    def _fill_gap(self, row: Row) -> None:
        """One missing event still has its hash in the next one, so that the tree can be checked beyond it."""
        event = _parsed(row)
        if self.frontier and event and row.seq == self.next_seq + 1 and merkle.is_hash(event.previous):
            self._grow(bytes.fromhex(event.previous))
            self.previous = event.previous
        else:
            self.frontier = None
            self.previous = None

    def _check_row(self, row: Row) -> None:
        if not isinstance(row.tree, bytes) or not row.tree or len(row.tree) % merkle.HASH_SIZE:
            self._found(row.seq, "tree", f"The tree nodes at event {row.seq} are damaged.")
            self.frontier, self.previous = None, None
            return
        leaf = row.tree[: merkle.HASH_SIZE]
        if row.stored is not None:
            self._check_content(row, leaf)
        elif row.readable:
            self.without_content.add(row.seq)
        if self.frontier and self._grow(leaf) != row.tree:
            self._found(row.seq, "tree", f"The tree nodes at event {row.seq} do not follow from the events below them.")
        self.previous = leaf.hex()

    def _check_content(self, row: Row, leaf: bytes) -> None:
        if not isinstance(row.stored, bytes) or merkle.leaf_hash(row.stored) != leaf:
            self._found(row.seq, "leaf", f"Event {row.seq} was changed after it was written: its hash is another one.")
        event = _parsed(row)
        if event is None:
            self._found(row.seq, "leaf", f"The content of event {row.seq} is not in the form of an event.")
            return
        if event.seq != row.seq:
            self._found(row.seq, "sequence", f"Event {row.seq} was moved: it was written as event {event.seq}.")
        if self.previous is not None and event.previous != self.previous:
            self._found(row.seq, "chain", f"The chain breaks at event {row.seq}: it does not follow the one before it.")
        self._check_columns(row, event)
        self._check_openings(row)
        self._check_time(event)
        self._learn(event)

    def _check_columns(self, row: Row, event: Event) -> None:
        expected = (
            event.time,
            event.type,
            event.record_id,
            events.indexed_digest(event.body, events.PIXEL_KEY),
            events.indexed_digest(event.body, events.FILE_KEY),
        )
        if row[2:7] != expected:
            self._found(
                row.seq, "index", f"The columns that event {row.seq} is found by are not what the event itself says."
            )

    def _check_openings(self, row: Row) -> None:
        try:
            events.check_openings(row.stored, tables.read_openings(row.openings))
        except LedgerError:
            self._found(row.seq, "opening", f"A private value of event {row.seq} is not the one that was committed to.")

    def _check_time(self, event: Event) -> None:
        try:
            moment: datetime | None = parse_time(event.time)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            self._found(event.seq, "leaf", f"The time of event {event.seq} is not a time.")
            return
        if self.previous_time and moment < self.previous_time - _CLOCK_TOLERANCE:
            back = self.previous_time - moment
            self.notes.append(f"The clock was set back by {back} before event {event.seq}; the order of events stands.")
        self.previous_time = moment

    def _learn(self, event: Event) -> None:
        if event.type == events.KEY_ADDED:
            key = event.body.get("public_key")
            if isinstance(key, str) and merkle.is_hash(key):
                self.keys.append(bytes.fromhex(key))
        elif event.type == events.EVENT_ERASED and event.body.get("what") == "whole":
            seqs = event.body.get("seqs")
            self.erased.update(seq for seq in (seqs if isinstance(seqs, list) else []) if isinstance(seq, int))

    def _grow(self, leaf: bytes) -> bytes:
        assert self.frontier is not None
        nodes = self.frontier.append(leaf)
        if self.frontier.size in self.wanted_roots:
            self.roots[self.frontier.size] = self.frontier.root()
        return b"".join(nodes)

    # Checking the whole

    def _check_erasures(self) -> None:
        for seq in sorted(self.without_content - self.erased):
            self._found(seq, "leaf", f"The content of event {seq} is missing, and no event says that it was erased.")
        if erased := len(self.without_content & self.erased):
            self.notes.append(
                f"The content of {erased} event(s) was erased on request; the hashes are still in the tree."
            )

    def _check_end(self) -> None:
        expected = expected_size(self.connection)
        if self.next_seq < expected and (lost := self._missing_before(expected)):
            self._found(self.next_seq, "rollback", f"The end was cut off: {lost[0].lower()}{lost[1:]} missing.")

    def _check_checkpoints(self) -> int:
        """Compare every checkpoint with the tree; returns the largest size that a trusted key signed."""
        keys = self.keys if self.public_keys is None else list(self.public_keys)
        by_size: dict[int, list[tuple[Checkpoint, bool]]] = defaultdict(list)
        for checkpoint in self.stored:
            by_size[checkpoint.size].append((checkpoint, False))
        for checkpoint in self.outside:
            by_size[checkpoint.size].append((checkpoint, True))
        agreed, signed = 0, 0
        for size in sorted(by_size):
            for checkpoint, from_outside in by_size[size]:
                name = f"The {'known' if from_outside else 'stored'} checkpoint of size {size}"
                trusted = self._check_signature(checkpoint, name, keys)
                if self._check_root(checkpoint, name, agreed):
                    agreed = size
                    signed = size if trusted else signed
        return signed

    def _check_signature(self, checkpoint: Checkpoint, name: str, keys: list[bytes]) -> bool:
        if checkpoint.origin != self.origin:
            self._found(None, "checkpoint", f"{name} belongs to another ledger ({checkpoint.origin}).")
            return False
        if checkpoint.signed_by(keys) is None:
            self._found(None, "signature", f"{name} is not signed by a key of this ledger's owner: it may be forged.")
            return False
        return True

    def _check_root(self, checkpoint: Checkpoint, name: str, agreed: int) -> bool:
        size = checkpoint.size
        if size > self.next_seq:
            lost = size - self.next_seq
            self._found(
                self.next_seq,
                "rollback",
                f"{name} covers {lost} events more than there are: the ledger was cut or rolled back.",
            )
            return False
        root = self.roots.get(size)
        if root is None:
            self.notes.append(f"{name} cannot be compared with the tree, because events below it are missing.")
            return False
        if root != checkpoint.root:
            self._found(
                agreed,
                "checkpoint",
                f"{name} is of another tree: one of {_range(agreed, size - 1, 'the events')} was replaced.",
            )
            return False
        return True

    def _found(self, seq: int | None, what: ProblemKind, sentence: str) -> None:
        self.problems.append(Problem(seq, what, sentence))


def _parsed(row: Row) -> Event | None:
    if not isinstance(row.stored, bytes):
        return None
    try:
        return events.read_event(row.stored)
    except LedgerError:
        return None


def _range(first: int, last: int, name: str = "") -> str:
    if name:
        return f"{name} {first} to {last}"
    return f"Event {first} is" if first == last else f"Events {first} to {last} are"


def _shortened(problems: list[Problem]) -> Iterator[Problem]:
    """At most fifty findings of a kind, and how many more there are."""
    seen: Counter[ProblemKind] = Counter()
    for problem in problems:
        seen[problem.what] += 1
        if seen[problem.what] <= _MAX_OF_A_KIND:
            yield problem
    for what, count in seen.items():
        if count > _MAX_OF_A_KIND:
            yield Problem(None, what, f"There are {count - _MAX_OF_A_KIND} more findings of the kind {what!r}.")
