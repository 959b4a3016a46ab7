"""Looks after a ledger over years: old content is pruned, and a backup is put back while others have the file open."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from provenance_guard import files
from provenance_guard.clock import utc_now
from provenance_guard.errors import LedgerError, OutputError, UsageError
from provenance_guard.ledger import database, events
from provenance_guard.ledger.events import Event
from provenance_guard.ledger.search import index_path
from provenance_guard.ledger.store import Ledger
from provenance_guard.ledger.verify import verify_ledger
from provenance_guard.signing import Signer

ERASE_AT_ONCE = 5000
"""How many events one event of an erasure names at most, so that it stays small."""

_MUST_STAY = {events.KEY_ADDED, events.EVENT_ERASED, events.TIMESTAMP_ATTACHED, events.LEDGER_RESTORED}


@dataclass(frozen=True)
class Restoration:
    """What a restore did. ``kept`` is the copy of the ledger that was there before, None when there was none; ``before`` and
    ``after`` count events, ``before`` is None when that ledger could not be read any more."""

    kept: Path | None
    before: int | None
    after: int


def prunable_events(ledger: Ledger, before: datetime) -> list[int]:
    """Numbers of the events written before a moment that still have their content and can do without it.

    Keys, erasures and time stamps must stay: the ledger could not be verified without them.
    """
    found = ledger.events(until=before)
    return [event.seq for event in found if not event.erased and event.type not in _MUST_STAY]


def erase_events(ledger: Ledger, seqs: Sequence[int], reason: str) -> list[Event]:
    """Erase the whole content of any number of events: only hash, time, type and record id remain. Returns the erasures' events."""
    return [
        ledger.erase(seqs[start : start + ERASE_AT_ONCE], reason, what="whole")
        for start in range(0, len(seqs), ERASE_AT_ONCE)
    ]


def leftovers(ledger_path: Path) -> list[Path]:
    """Files beside a ledger that may still hold what was erased from it: copies from before, and a journal that others keep open."""
    journal = ledger_path.with_name(ledger_path.name + "-wal")
    copies = sorted(ledger_path.parent.glob(f"{ledger_path.stem}.*{ledger_path.suffix}"))
    return [*copies, *([journal] if journal.exists() and journal.stat().st_size else [])]


def restore_ledger(backup: Path, target: Path, signer: Signer, *, force: bool = False) -> Restoration:
    """Put a backup in the place of the ledger at ``target``, also while others have that open; they go on with the restored one.

    The ledger that was there is kept beside it, and the restored one says in an event what happened: events written since the
    backup are missing from it, which any checkpoint that somebody kept would show. Raises LedgerError when the backup is no sound
    ledger; UsageError, unless ``force``, when events would go missing or the ledger there is another one.
    """
    report = verify_ledger(backup)
    if not report.sound:
        raise LedgerError(
            f"The backup {backup} is not sound: {report.problems[0].sentence}",
            next_step="Restore another backup, or save what is readable with: ledger recover",
        )
    before = _size_of(target)
    if not force:
        _refuse_to_lose(target, report.origin, report.size, before)
    kept = _keep(target) if database.is_file(target) else None
    _copy_into(backup, target)
    with Ledger.open(target, signer, create=False) as ledger:
        ledger.append(events.LEDGER_RESTORED, {"events_before": before, "events_restored": report.size})
    return Restoration(kept, before, report.size)


def _size_of(path: Path) -> int | None:
    """How many events a ledger has; None when there is none, or it cannot be read."""
    if not database.is_file(path):
        return None
    with suppress(LedgerError), Ledger.open_read_only(path) as ledger:
        return ledger.size
    return None


def _refuse_to_lose(target: Path, origin: str, size: int, before: int | None) -> None:
    if before is None:
        return
    with Ledger.open_read_only(target) as present:
        if present.origin != origin:
            raise UsageError(
                f"The backup is of another ledger than {target}.", next_step="Use --force to replace it all the same."
            )
    if before > size:
        raise UsageError(
            f"The ledger has {before} events and the backup {size}: {before - size} would go missing.",
            next_step="Use --force to restore it all the same; the present ledger is kept beside it.",
        )


def _keep(target: Path) -> Path:
    """A copy of the ledger as it is, beside it; one that SQLite cannot read is moved away byte for byte."""
    kept = database.free_name(
        target.with_name(f"{target.stem}.replaced-{utc_now().strftime('%Y%m%dT%H%M%SZ')}{target.suffix}")
    )
    try:
        with Ledger.open_read_only(target) as present:
            present.back_up(kept)
    except (LedgerError, OutputError):
        try:
            for ending in ("", "-wal", "-shm"):
                part = target.with_name(target.name + ending)
                if part.exists():
                    part.replace(kept.with_name(kept.name + ending))
        except OSError as error:
            raise OutputError(
                f"The damaged ledger {target} cannot be moved away ({error.strerror or error}).",
                next_step="Close every program that uses it, and try again.",
            ) from error
    return kept


def _copy_into(backup: Path, target: Path) -> None:
    """SQLite's online backup, in one transaction of the target: others see the old ledger or the restored one."""
    if not database.is_file(target):
        with (
            files.staged_file(target, private=True) as staged,
            closing(database.open_read_only(backup)) as source,
            database.errors_told(backup),
        ):
            database.back_up(source, staged)
        return
    with (
        database.errors_told(target),
        closing(database.open_read_only(backup)) as source,
        closing(sqlite3.connect(target, timeout=database.BUSY_SECONDS, isolation_level=None)) as present,
    ):
        source.backup(present)
        present.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with suppress(OSError):
        index_path(target).unlink(
            missing_ok=True
        )  # only a copy; a program that has it open notices the other past itself
