"""Take existing pictures into the ledger: what their files say of themselves, as claims, from now on under seal.

The files are only read. A text beside a picture (the WebUI's ``<name>.txt``, or its ``log.csv``) stands in where the picture itself
has no infotext. Files whose bytes the ledger knows are passed over, so an interrupted import simply runs again.
"""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from io import StringIO
from pathlib import Path
from typing import Literal

from provenance_guard import files, pictures
from provenance_guard.clock import format_time, utc_now
from provenance_guard.errors import GuardError, UsageError
from provenance_guard.guard import Guard
from provenance_guard.json_types import Json
from provenance_guard.ledger import Event, Ledger, NewEvent, events
from provenance_guard.provenance.infotext import parse_infotext, read_generation
from provenance_guard.provenance.record import Context, Parent, Record, new_record_id
from provenance_guard.provenance.redaction import redact
from provenance_guard.provenance.statement import FILE_NAME, seal_file_name

OUTCOMES = ("imported", "known", "unreadable")
GROUP = 64
"""How many records are appended in one transaction: all of them are on the disk, or none."""

_MAX_TEXT = 1 << 20
_LOG = "log.csv"
_LOG_COLUMNS = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "seed": "seed",
    "width": "width",
    "height": "height",
    "sampler": "sampler",
    "cfgs": "cfg_scale",
    "steps": "steps",
    "sd_model_name": "model",
    "sd_model_hash": "model_hash",
}
_LOG_NUMBERS: Mapping[str, Callable[[str], Json]] = {
    "seed": int,
    "width": int,
    "height": int,
    "steps": int,
    "cfg_scale": float,
}


@dataclass(frozen=True)
class Imported:
    """What became of one file. ``record_id`` is its new record, or the one that has known it; ``reason`` why it has none."""

    source: Path
    outcome: Literal["imported", "known", "unreadable"]
    record_id: str | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values, as ``log import --json`` prints them."""
        return {
            "picture": str(self.source),
            "outcome": self.outcome,
            "record_id": self.record_id,
            "reason": self.reason or None,
        }


def import_pictures(
    sources: Sequence[Path], guard: Guard, progress: Callable[[int, int, str], None] | None = None
) -> list[Imported]:
    """Record pictures that are on the disk already. ``progress`` is told (done, total, name).

    What cannot be read becomes an outcome. When this is interrupted, whole groups stay recorded, and running it again goes on.
    Raises GuardError when the ledger cannot be written.
    """
    return _Import(guard, progress, len(sources)).run(sources)


def find_outputs(folders: Sequence[Path]) -> list[Path]:
    """The picture files in folders and all folders below, hidden ones left out. A file may be named, too.

    Raises UsageError when a name does not exist, or there is no picture at all.
    """
    found: list[Path] = []
    for folder in folders:
        if folder.is_file():
            found.append(folder)
        elif folder.is_dir():
            found += _walk(folder)
        else:
            raise UsageError(f"{folder} does not exist.", next_step="Check the name and try again.")
    if not found:
        raise UsageError("There are no pictures to take in.", next_step="Name a folder with PNG, JPEG or WebP files.")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in pictures.SUFFIXES:
                yield Path(place) / name


class _Import:
    def __init__(self, guard: Guard, progress: Callable[[int, int, str], None] | None, total: int) -> None:
        self._ledger: Ledger = guard.ledger
        self._user = guard.config.settings.user or None
        self._progress = progress or (lambda done, total, name: None)
        self._total = total
        self._logs: dict[Path, dict[str, dict[str, Json]]] = {}
        self._taken: dict[str, str] = {}  # hash of file or pixels -> record id, of this run
        self._waiting: list[NewEvent] = []

    def run(self, sources: Sequence[Path]) -> list[Imported]:
        outcomes: list[Imported] = []
        # Decoding and hashing release the interpreter lock, so threads use all cores.
        pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
        try:
            for read in pool.map(self._read, sources):
                outcomes.append(self._take(read) if isinstance(read, _Found) else read)
                self._progress(len(outcomes), self._total, outcomes[-1].source.name)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._append()
        return outcomes

    def _read(self, source: Path) -> _Found | Imported:
        try:
            file_sha256 = files.sha256_file(source)
            if (known := _newest(self._ledger.find_file(file_sha256))) is not None:
                return Imported(source, "known", known)
            picture = pictures.open_picture(source, animated="first")
            context = self._context(picture, source, file_sha256)
            digest = pictures.pixel_sha256(picture.image)
            return _Found(source, file_sha256, digest, picture.image.size, context)
        except OSError as error:
            return Imported(source, "unreadable", reason=f"{source} cannot be read ({error.strerror or error}).")
        except GuardError as error:
            return Imported(source, "unreadable", reason=str(error))

    def _context(self, picture: pictures.Picture, source: Path, file_sha256: str) -> Context:
        context = read_generation(picture)
        if not context.infotext:
            context = self._told_beside(source, context)
        clock = "EXIF" if context.claimed_time else "time of the file"
        return dataclasses.replace(
            context,
            origin="import",
            environment={**context.environment, "claimed_time_from": clock},
            user=self._user,
            source_name=source.name,
            source_sha256=file_sha256,
            claimed_time=context.claimed_time or _file_time(source),
        )

    def _told_beside(self, source: Path, context: Context) -> Context:
        """What the WebUI wrote beside a picture that has no infotext itself."""
        raw = _read_text(source.with_suffix(".txt"))
        infotext = parse_infotext(raw) if raw else None
        if infotext and {"Steps", "Seed"} & infotext.fields.keys():
            return dataclasses.replace(
                context,
                infotext=raw,
                parameters=infotext.parameters(),
                resources=infotext.resources(),
                environment={"infotext_from": "the text file beside it"},
            )
        if parameters := self._log_of(source.parent).get(source.name):
            return dataclasses.replace(context, parameters=parameters, environment={"infotext_from": _LOG})
        return context

    def _log_of(self, folder: Path) -> dict[str, dict[str, Json]]:
        if folder not in self._logs:
            self._logs[folder] = _read_log(folder / _LOG)
        return self._logs[folder]

    def _take(self, found: _Found) -> Imported:
        if (known := self._taken.get(found.file_sha256)) is not None:
            return Imported(found.source, "known", known)
        event = self._to_event(found)
        self._taken.update({found.file_sha256: str(event.record_id), found.pixel_sha256: str(event.record_id)})
        self._waiting.append(event)
        if len(self._waiting) >= GROUP:
            self._append()
        return Imported(found.source, "imported", event.record_id)

    def _append(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._ledger.append_many(waiting)

    def _to_event(self, found: _Found) -> NewEvent:
        context = found.context
        same = self._taken.get(found.pixel_sha256) or _newest(self._ledger.find_pixels(found.pixel_sha256))
        if same is not None:
            context = dataclasses.replace(context, parents=(Parent("source", found.pixel_sha256, same, "pixels"),))
        width, height = found.size
        record = Record(new_record_id(), format_time(utc_now()), context, found.pixel_sha256, width, height)
        public, openings = redact(record.to_json())
        name, opening = seal_file_name(found.source.name)
        body: dict[str, Json] = {
            events.RECORD_KEY: public,
            FILE_NAME: name,
            events.FILE_KEY: found.file_sha256,
            events.PIXEL_KEY: found.pixel_sha256,
        }
        return NewEvent(events.PICTURE_IMPORTED, body, record.id, (*openings, opening))


@dataclass(frozen=True)
class _Found:
    """A picture that was read and is not known yet."""

    source: Path
    file_sha256: str
    pixel_sha256: str
    size: tuple[int, int]
    context: Context


def _newest(found: Sequence[Event]) -> str | None:
    return next((event.record_id for event in reversed(found) if event.record_id), None)


def _file_time(path: Path) -> str | None:
    try:
        return format_time(datetime.fromtimestamp(path.stat().st_mtime, timezone.utc))
    except (ValueError, OverflowError):  # some disks hold times that no calendar has
        return None


def _read_text(path: Path) -> str:
    """A text file that may be anything; empty when it is not there, far too large, or no text."""
    try:
        if path.stat().st_size > _MAX_TEXT:
            return ""
        return path.read_text("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _read_log(path: Path) -> dict[str, dict[str, Json]]:
    """The rows of the WebUI's ``log.csv`` by file name. Rows that are damaged are left out."""
    try:
        text = path.read_text("utf-8-sig", errors="replace")
        rows = [row for row in csv.DictReader(StringIO(text)) if row.get("filename")]
    except (OSError, csv.Error):
        return {}
    return {str(row["filename"]): _logged_parameters(row) for row in rows}


def _logged_parameters(row: Mapping[str, str | None]) -> dict[str, Json]:
    parameters: dict[str, Json] = {}
    for column, name in _LOG_COLUMNS.items():
        if text := (row.get(column) or "").strip():
            try:
                parameters[name] = _LOG_NUMBERS[name](text) if name in _LOG_NUMBERS else text
            except ValueError:
                parameters[name] = text
    return parameters
