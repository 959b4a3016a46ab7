"""A reviewer decides about a kept picture: it is released, marked and sealed like any other, or destroyed.

Nothing is decided without a name and a reason, and nothing leaves before the decision is in the ledger. Of two reviewers who
decide at once one wins; the other one is told. A release that is cut short leaves the picture in the quarantine, to be
released again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from provenance_guard import files
from provenance_guard.errors import GuardError, QuarantineError, UsageError
from provenance_guard.gate.quarantine import Case, Entry
from provenance_guard.guard import Approval, Guard, Release, Sealed
from provenance_guard.json_types import Json
from provenance_guard.ledger import Event, Ledger, events
from provenance_guard.ledger.opening import opened_body
from provenance_guard.provenance.record import Record

DECISIONS = (events.QUARANTINE_RELEASED, events.QUARANTINE_DESTROYED)


@dataclass(frozen=True)
class Freed:
    """A released picture: its file, and the record under which it left (``release.record.id``)."""

    record_id: str
    path: Path
    release: Release
    sealed: Sealed

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {
            "record_id": self.record_id,
            "released_as": self.release.record.id,
            "output": str(self.path),
            "sidecar": str(self.sealed.sidecar) if self.sealed.sidecar else None,
            "failures": [*self.release.failures, *self.sealed.failures],
        }


def open_case(guard: Guard, prefix: str) -> Case:
    """Open the kept picture whose record id begins with ``prefix``.

    Raises QuarantineError, which tells what became of a picture that is kept no more, or KeyMissingError.
    """
    return guard.quarantine.open(_find(guard, prefix))


def release_picture(guard: Guard, prefix: str, *, reviewer: str, reason: str, folder: Path | None = None) -> Freed:
    """Let a kept picture go: as a PNG file in ``folder`` (by default ``released`` in the data directory).

    Raises UsageError without a name or a reason, QuarantineError when the picture is not kept (any more), is damaged, or a step
    failed on its way out under a policy that withholds on errors; the picture is then still kept.
    """
    approval = _approve(reviewer, reason)
    with guard.quarantine.deciding():
        case = open_case(guard, prefix)
        record_id = case.entry.record_id
        record = _read_record(case.entry)
        approval = dataclasses.replace(approval, record_id=record_id, verdict=record.verdict)
        release = guard.release(case.image, record.context, approval=approval)
        if release.blocked:
            raise _still_kept(record_id, release.failures)
        guard.log_decision(
            events.QUARANTINE_RELEASED,
            record_id,
            public={"released_as": release.record.id},
            private={"reviewer": approval.reviewer, "reason": approval.reason},
        )
        path = _target(folder or guard.config.data_directory / "released", record)
        with files.staged_file(path) as staged:
            release.image.save(staged, "PNG")
        sealed = guard.seal(release, path)
        if sealed.withheld:
            raise _still_kept(record_id, sealed.failures)
        guard.quarantine.remove(record_id)
    return Freed(record_id, path, release, sealed)


def destroy_picture(guard: Guard, prefix: str, *, reviewer: str, reason: str) -> str:
    """Destroy a kept picture for good, also one that cannot be opened any more. Returns its record id.

    Raises UsageError without a name or a reason, QuarantineError when it is not kept, LedgerError when the decision cannot be
    recorded; the picture is then still kept.
    """
    approval = _approve(reviewer, reason)
    with guard.quarantine.deciding():
        record_id = _find(guard, prefix)
        guard.log_decision(
            events.QUARANTINE_DESTROYED,
            record_id,
            public={},
            private={"reviewer": approval.reviewer, "reason": approval.reason},
        )
        guard.quarantine.remove(record_id)
    return record_id


def decisions(ledger: Ledger, record_id: str) -> Iterator[str]:
    """What reviewers decided about a record, as sentences, oldest first."""
    for event in ledger.events(record_id=record_id):
        if event.type in DECISIONS:
            yield _describe(event)


def _find(guard: Guard, prefix: str) -> str:
    try:
        return guard.quarantine.complete(prefix)
    except QuarantineError as error:
        raise _told_by_ledger(guard, prefix, error) from None


def _told_by_ledger(guard: Guard, prefix: str, error: QuarantineError) -> QuarantineError:
    """The same error, with what became of the picture when the ledger knows."""
    try:
        (record_id,) = guard.ledger.find_records(prefix, limit=2)
        decided = " ".join(decisions(guard.ledger, record_id))
    except (GuardError, ValueError):
        return error
    return QuarantineError(f"{error.message} {decided}", next_step="`show` tells more.") if decided else error


def _describe(event: Event) -> str:
    body = opened_body(event)
    what = "Released" if event.type == events.QUARANTINE_RELEASED else "Destroyed"
    return f"{what} at {event.time} by {body.get('reviewer', 'somebody')}: {body.get('reason', '(erased)')}."


def _approve(reviewer: str, reason: str) -> Approval:
    reviewer, reason = reviewer.strip(), reason.strip()
    if not reviewer or not reason:
        raise UsageError(
            "A decision about a kept picture needs the reviewer's name and a reason.", next_step="Give both."
        )
    return Approval("", reviewer, reason)


def _read_record(entry: Entry) -> Record:
    try:
        return Record.from_json(entry.record)
    except ValueError as error:
        raise QuarantineError(
            f"The record of the kept picture {entry.record_id} cannot be read: {error}.",
            next_step="Update Provenance Guard, or destroy the picture.",
        ) from error


def _target(folder: Path, record: Record) -> Path:
    """A free name: that of the file that came in, else the record's id."""
    stem = Path(record.context.source_name).stem if record.context.source_name else record.id
    path = folder / f"{stem}.png"
    return folder / f"{stem}-{record.id[:8]}.png" if path.exists() else path


def _still_kept(record_id: str, failures: tuple[str, ...]) -> QuarantineError:
    return QuarantineError(
        f"The kept picture {record_id} was not released: {' '.join(failures)}",
        next_step="It is still kept. Mend that and release it again.",
    )
