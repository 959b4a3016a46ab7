"""Bring together what is at hand about one picture: its statement, what opens it, the file itself, its ledger events."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provenance_guard import files, pictures
from provenance_guard.errors import GuardError, LedgerError, SidecarError, UsageError
from provenance_guard.guard import Guard
from provenance_guard.ledger import Event, Ledger, events
from provenance_guard.ledger.opening import opened_body
from provenance_guard.provenance.record import bare_name
from provenance_guard.provenance.sidecar import (
    SUFFIX,
    Sidecar,
    open_sidecar,
    parse_sidecar,
    picture_path,
    read_sidecar,
    sidecar_path,
    sign_envelope,
)
from provenance_guard.provenance.statement import FILE_NAME, build_statement, seal_file_name
from provenance_guard.review.records import complete_record_id, find_file_event, find_release
from provenance_guard.review.refreshing import refreshed_content
from provenance_guard.review.verification import identify_record

MAX_QUEUED = 10_000
"""How many queued runs before a record are looked at to find its own."""

# The first version kept file names open, see ``is_public``.
_PUBLIC_EVENTS = {
    events.PICTURE_RELEASED,
    events.PICTURE_BLOCKED,
    events.PICTURE_IMPORTED,
    events.PICTURE_SAVED,
    events.RUN_QUEUED,
}


@dataclass(frozen=True)
class Evidence:
    """What is at hand about one picture.

    ``sidecar`` is its statement with all openings that are at hand; None when no file of it was ever saved. ``picture`` is the
    saved file, or a copy with the same pixels; None when it is not at hand. ``events`` are the ledger's, oldest first.
    """

    record_id: str
    sidecar: Sidecar | None
    picture: Path | None
    events: tuple[Event, ...]

    @property
    def statement(self) -> Sidecar:
        """The sidecar. Raises SidecarError when there is none."""
        if self.sidecar is None:
            raise SidecarError(
                f"No file of record {self.record_id} was ever saved, so nothing can be said about one.",
                next_step="Name a picture that left the door; `show` tells what is known about this one.",
            )
        return self.sidecar


def gather(named: str, guard: Guard, finder: PictureFinder) -> Evidence:
    """Everything about a picture that is named by its file, its sidecar, or (the beginning of) its record id.

    ``finder`` looks for the picture's file when it is named by its record. Raises GuardError when nothing is known.
    """
    path = Path(named)
    source: Sidecar | None = None
    picture: Path | None = None
    if named.endswith(SUFFIX):
        source, picture = read_sidecar(path), picture_path(path)
    elif path.is_file():
        source, picture = _sidecar_beside(path), path
    with open_ledger(guard) as ledger:
        if source is not None:
            record_id = _checked_id(source)
        elif picture is not None:
            record_id = _identified(picture, guard)
        else:
            record_id = complete_record_id(_needed(ledger, named), named)
        return gather_record(record_id, guard, ledger, finder, source=source, picture=picture)


def gather_record(
    record_id: str,
    guard: Guard,
    ledger: Ledger | None,
    finder: PictureFinder,
    *,
    source: Sidecar | None = None,
    picture: Path | None = None,
) -> Evidence:
    """What is at hand about a record: from the ledger, the sidecar ``source`` and the picture, as far as they are there."""
    found = tuple(ledger.events(record_id=record_id)) if ledger else ()
    if source is None:
        source = _sidecar_from_ledger(record_id, guard, ledger) if ledger else None
    elif ledger:
        source = _with_openings_of_ledger(source, ledger)
    if source is not None and ledger:
        source = _with_what_outsiders_said(source, ledger)
    if picture is None and source is not None:
        picture = finder.find(source)
    return Evidence(record_id, source, picture if picture and picture.is_file() else None, found)


@contextmanager
def open_ledger(guard: Guard) -> Iterator[Ledger | None]:
    """The ledger of an installation for reading; None where there is none. No ledger and no key is made."""
    path = guard.config.ledger_path
    if not path.exists():
        yield None
        return
    with Ledger.open_read_only(path) as ledger:
        yield ledger


class PictureFinder:
    """Finds the files that statements are about: beside a known one by their names, in ``folders`` (and below) by their hashes."""

    def __init__(self, folders: Sequence[Path] = (), beside: Path | None = None) -> None:
        self._folders = folders
        self._beside = beside
        self._by_hash: dict[str, Path] | None = None

    def find(self, sidecar: Sidecar) -> Path | None:
        """The file that a statement is about, None when it is not found."""
        name = bare_name(sidecar.file_name)
        if self._beside and name and _hash(self._beside.with_name(name)) == sidecar.file_sha256:
            return self._beside.with_name(name)
        return self._hashes().get(sidecar.file_sha256)

    def _hashes(self) -> dict[str, Path]:
        if self._by_hash is None:
            everything = [path for folder in self._folders for path in sorted(folder.rglob("*"))]
            found = [path for path in everything if path.suffix.lower() in pictures.SUFFIXES and path.is_file()]
            self._by_hash = {_hash(path): path for path in found}
        return self._by_hash


def queued_run(ledger: Ledger, release: Event, job: object) -> Event | None:
    """The event with which the run of a record was asked for, before it began: the last one of the same job."""
    if not job:
        return None
    for count, event in enumerate(ledger.events(type=events.RUN_QUEUED, newest_first=True)):
        if count >= MAX_QUEUED:
            return None
        if event.seq < release.seq and (opened_context(event).get("job")) == job:
            return event
    return None


def opened_context(event: Event) -> dict[str, Any]:
    """The context that an event tells, with the private fields that the ledger still holds."""
    body = opened_body(event)
    holder = body.get(events.RECORD_KEY) or body
    context = holder.get("context") if isinstance(holder, dict) else None
    return context if isinstance(context, dict) else {}


def _sidecar_beside(picture: Path) -> Sidecar | None:
    path = sidecar_path(picture)
    return read_sidecar(path) if path.exists() else None


def _checked_id(source: Sidecar) -> str:
    """The record id that a sidecar names; it becomes part of file names, and anybody can write a sidecar."""
    if not source.newer and not re.fullmatch("[0-9a-f]{32}", source.record_id):
        raise SidecarError(
            f"The sidecar {source.path.name} names no record.", next_step="Get it again from the creator."
        )
    return source.record_id


def _identified(picture: Path, guard: Guard) -> str:
    record_id = identify_record(picture, guard)
    if record_id is None:
        raise UsageError(
            f"No record of {picture} is known here.",
            next_step="Name its sidecar, or take it in first with: log import",
        )
    return record_id


def _needed(ledger: Ledger | None, named: str) -> Ledger:
    if not re.fullmatch("[0-9a-fA-F]{1,32}", named):
        raise UsageError(
            f"There is no file {named}.", next_step="Check the name, or give a record id as `log` lists it."
        )
    if ledger is None:
        raise LedgerError(
            f"{named} is no file, and there is no ledger to look a record up in.",
            next_step="Check the name, or name the data folder with --data.",
        )
    return ledger


def _sidecar_from_ledger(record_id: str, guard: Guard, ledger: Ledger) -> Sidecar | None:
    """The statement about a record's saved file, made from the ledger and signed with its key; None when none was saved."""
    release, saved = find_release(ledger, record_id), find_file_event(ledger, record_id)
    if release is None:
        raise LedgerError(f"There is no record {record_id}.", next_step="`log` lists the records.")
    if release.erased or (saved is not None and saved.erased):
        raise LedgerError(
            f"The content of record {record_id} was erased; only its place in the ledger remains.",
            next_step="Use a sidecar or a backup that was made before.",
        )
    if saved is None:
        return None
    name, openings = saved.body.get(FILE_NAME), [*release.openings, *saved.openings]
    if isinstance(name, str):  # the first version kept the name open
        name, opening = seal_file_name(name)
        openings.append(opening)
    statement = build_statement(
        release.body[events.RECORD_KEY],
        saved.body[events.FILE_KEY],
        saved.body.get(events.PIXEL_KEY),
        file_name=name,
        ledger_proof=guard.ledger.proof(release.seq, with_event=True),
        file_proof=guard.ledger.proof(saved.seq, with_event=is_public(saved)),
    )
    content = sign_envelope(statement, guard.signer, dict.fromkeys(openings))
    return parse_sidecar(content, Path(f"{record_id}{SUFFIX}"))


def _with_openings_of_ledger(source: Sidecar, ledger: Ledger) -> Sidecar:
    """A sidecar with the openings that the ledger still holds, when both tell the same record."""
    if source.newer or source.profile != "redacted":
        return source
    release, saved = find_release(ledger, source.record_id), find_file_event(ledger, source.record_id)
    if release is None or release.erased or release.body.get(events.RECORD_KEY) != source.sealed[0]:
        return source
    openings = [*release.openings, *_fitting(source, saved)]
    return parse_sidecar(open_sidecar(source, openings), source.path)


def _with_what_outsiders_said(source: Sidecar, ledger: Ledger) -> Sidecar:
    """A sidecar with the time tokens and cosignatures that came to the ledger since it was written."""
    try:
        content = refreshed_content(source, ledger)
    except GuardError:  # a proof of another ledger, or a damaged one: what is there stays
        return source
    return parse_sidecar(content, source.path) if content else source


def is_public(event: Event) -> bool:
    """Whether the stored bytes of an event hold nothing private but in commitments."""
    return event.type in _PUBLIC_EVENTS and not event.erased and not isinstance(event.body.get(FILE_NAME), str)


def _fitting(source: Sidecar, saved: Event | None) -> Iterator[str]:
    """The opening of the file's name, when the statement holds the same commitment as the ledger."""
    if saved is not None and saved.body.get(FILE_NAME) == source.predicate.get(FILE_NAME):
        yield from saved.openings


def _hash(path: Path) -> str:
    try:
        return files.sha256_file(path)
    except OSError:
        return ""


def try_gather(record_id: str, guard: Guard, ledger: Ledger, finder: PictureFinder) -> Evidence:
    """As ``gather_record``, for a relative of the picture in question: what is erased or unknown leaves its events only."""
    try:
        return gather_record(record_id, guard, ledger, finder)
    except GuardError:
        return Evidence(record_id, None, None, tuple(ledger.events(record_id=record_id)))
