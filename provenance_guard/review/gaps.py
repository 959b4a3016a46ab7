"""Where the record has gaps: when the WebUI was not guarded, and what shows that pictures were made then.

The WebUI's guard writes when its session starts, now and then that it is still there, and when it ends. Between the sessions
nobody looked. When a session starts, it looks back: files in the host's output folders that were written in between and are not
in the ledger, and the host's own note of its last generation. What left no trace there cannot be seen: pictures that were
moved away or deleted before the next start, or whose times were changed by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from provenance_guard import files, pictures
from provenance_guard.clock import format_time, parse_time
from provenance_guard.errors import GuardError
from provenance_guard.json_types import Json
from provenance_guard.ledger import Event, Ledger, events
from provenance_guard.provenance.infotext import read_generation
from provenance_guard.review.verdicts import Finding

WEBUI = "webui"
"""The program whose sessions are meant to follow on each other; a command line is not expected to run all the time."""

EXAMINED_AT_MOST = 500
"""So many files are opened when a session looks back; the rest are counted."""

_AFTER_END = timedelta(seconds=10)
_AFTER_KILL = timedelta(minutes=3)
"""What is written so soon after the last sign of a session may still be its own."""

_SIGNS = (
    events.SESSION_ALIVE,
    events.RUN_QUEUED,
    events.PICTURE_RELEASED,
    events.PICTURE_BLOCKED,
    events.PICTURE_SAVED,
)
_PICTURES = (events.PICTURE_RELEASED, events.PICTURE_BLOCKED)
_JOB = '"/context/job"'


@dataclass(frozen=True)
class Watch:
    """One session of the WebUI's guard. ``ended``: in order; else ``until`` is its last sign of life. Times are UTC."""

    id: str
    since: datetime
    until: datetime
    ended: bool


@dataclass(frozen=True)
class Unrecorded:
    """What was made while no session ran. ``generated``: files with the parameters of a generation that the ledger does not
    know; ``other``: further unknown pictures; ``last_generation``: when the host noted a generation of its own."""

    since: datetime
    until: datetime
    generated: tuple[str, ...] = ()
    other: int = 0
    not_examined: int = 0
    last_generation: datetime | None = None

    def __bool__(self) -> bool:
        """Whether there is anything that the guard should have seen."""
        return bool(self.generated or self.last_generation)

    def to_json(self) -> dict[str, Json]:
        """What the ledger says of it; the names of the files are private."""
        return {
            "since": format_time(self.since),
            "until": format_time(self.until),
            "generated": len(self.generated),
            "other": self.other,
            "not_examined": self.not_examined,
            "last_generation": format_time(self.last_generation) if self.last_generation else None,
        }


@dataclass(frozen=True)
class Gaps:
    """What a ledger tells about its own completeness."""

    watches: tuple[Watch, ...]
    found: tuple[Event, ...]
    runs_without_picture: int

    @property
    def sentences(self) -> list[str]:
        """What was found in the gaps, one sentence for each."""
        return [describe_gap(event) for event in self.found]

    @property
    def summary(self) -> str:
        """What can be said about the sessions, and what cannot."""
        killed = sum(not watch.ended for watch in self.watches[:-1])  # the last one may still run
        told = [f"The WebUI was guarded in {_count(len(self.watches), 'session')}."]
        if len(self.watches) > 1:
            longest = max(_between(self.watches), key=lambda pair: pair[1] - pair[0], default=None)
            if longest:
                told.append(f"Longest without: {_moment(longest[0])} to {_moment(longest[1])} UTC.")
        if killed:
            told.append(
                f"{_count(killed, 'session')} without an end, as when the WebUI is stopped with Ctrl-C or crashes."
            )
        if self.runs_without_picture:
            runs = _count(self.runs_without_picture, "run")
            told.append(f"{runs} left no picture: stopped, failed, or cut off.")
        if not self.found:
            told.append("Nothing was found that was made in between; what left no file there cannot be seen.")
        return " ".join(told)


def find_gaps(ledger: Ledger) -> Gaps:
    """What ``ledger`` tells about its gaps. Raises LedgerError at a damaged event."""
    found = tuple(event for event in ledger.events(type=events.GAP_FOUND) if not event.erased)
    return Gaps(tuple(watches(ledger)), found, _runs_without_picture(ledger))


def gap_findings(ledger: Ledger) -> list[Finding]:
    """Whether the record of a WebUI is complete, which can be refuted and never proved; none for a ledger without a WebUI.

    Raises LedgerError.
    """
    gaps = find_gaps(ledger)
    if not gaps.watches:
        return []
    return [*(Finding("gaps", "fails", told) for told in gaps.sentences), Finding("gaps", "unknown", gaps.summary)]


def watches(ledger: Ledger) -> Iterator[Watch]:
    """The sessions of the WebUI's guard, oldest first. Raises LedgerError."""
    started = [event for event in ledger.events(type=events.SESSION_STARTED) if event.body.get("program") == WEBUI]
    ends = {event.body.get("session"): event for event in ledger.events(type=events.SESSION_ENDED)}
    alive = {event.body.get("session"): event for event in ledger.events(type=events.SESSION_ALIVE)}  # the last of each
    for number, start in enumerate(started):
        session = str(start.body.get("session", ""))
        end = ends.get(session)
        if end is not None:
            yield Watch(session, _time(start), _time(end), ended=True)
            continue
        following = started[number + 1].seq if number + 1 < len(started) else ledger.size
        signs = [start, *filter(None, (alive.get(session), _last_sign(ledger, start.seq, following)))]
        yield Watch(session, _time(start), max(map(_time, signs)), ended=False)


def unwatched(ledger: Ledger, session: str) -> tuple[datetime, datetime] | None:
    """The time without a guard that ended when the session with this id began; None for the first session.

    It begins a little after the last sign of the session before, whose files may come late.
    """
    known = list(watches(ledger))
    began = [watch.since for watch in known if watch.id == session]
    earlier = [watch for watch in known if watch.id != session]
    if not began or not earlier:
        return None
    before, last = began[-1], max(earlier, key=lambda watch: watch.until)
    since = last.until + (_AFTER_END if last.ended else _AFTER_KILL)
    return (since, before) if since < before else None


def look_back(
    ledger: Ledger, since: datetime, until: datetime, *, folders: Iterable[Path], note: Path | None = None
) -> Unrecorded:
    """What was written below ``folders`` between two times and is not in ``ledger``. ``note`` is a file that the host writes anew
    with every generation. Files that cannot be read are counted as other pictures. Raises LedgerError.
    """
    written = sorted(_written(folders, since, until))
    generated, other = [], 0
    for _, path in written[-EXAMINED_AT_MOST:]:
        kind = _examine(ledger, path)
        if kind == "generated":
            generated.append(path.name)
        other += kind == "other"
    noted = _modified(note) if note else None
    return Unrecorded(
        since,
        until,
        tuple(generated),
        other,
        max(0, len(written) - EXAMINED_AT_MOST),
        noted if noted and since < noted < until else None,
    )


def _examine(ledger: Ledger, path: Path) -> str:
    """``known``, ``generated`` (with parameters, and unknown) or ``other``."""
    try:
        if ledger.find_file(files.sha256_file(path), limit=1):
            return "known"
        picture = pictures.open_picture(path, animated="first")
        if ledger.find_pixels(pictures.pixel_sha256(picture.image), limit=1):
            return "known"
        return "generated" if read_generation(picture).generative else "other"
    except (GuardError, OSError, MemoryError):
        return "other"


def _written(folders: Iterable[Path], since: datetime, until: datetime) -> Iterator[tuple[datetime, Path]]:
    for folder in {folder.resolve() for folder in folders}:
        for path in folder.rglob("*"):
            if path.suffix.lower() in pictures.SUFFIXES:
                modified = _modified(path)
                if modified and since < modified < until:
                    yield modified, path


def _modified(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    except (OSError, ValueError, OverflowError):
        return None


def _last_sign(ledger: Ledger, first: int, following: int) -> Event | None:
    """The last event of a WebUI at work between two sequence numbers; looked for near the end only."""
    for seq in range(following - 1, max(first, following - 100), -1):
        event = ledger.event(seq)
        if event.type in _SIGNS:
            return event
    return None


def _runs_without_picture(ledger: Ledger) -> int:
    """Jobs that were queued and of which no picture came to the door; the newest may still run, and does not count."""
    queued = [_job(event) for event in ledger.events(type=events.RUN_QUEUED)][:-1]
    asked = {job for job in queued if job}
    for kind in _PICTURES:
        asked -= {_job(event) for event in ledger.events(type=kind)}
    return len(asked)


def _job(event: Event) -> str | None:
    """The host's name of a job, a private field: as long as the ledger still has its opening."""
    for opening in event.openings:
        if _JOB in opening[:80]:
            return str(json.loads(opening)[3])
    return None


def _between(sessions: Sequence[Watch]) -> Iterator[tuple[datetime, datetime]]:
    """The times in which no session ran."""
    covered = sessions[0].until
    for watch in sorted(sessions, key=lambda watch: watch.since)[1:]:
        if watch.since > covered:
            yield covered, watch.since
        covered = max(covered, watch.until)


def describe_gap(event: Event) -> str:
    """What a ``gap.found`` event says, in a sentence."""
    body = event.body
    since, until = (_moment(_parse(str(body.get(name)))) for name in ("since", "until"))
    told = f"Between {since} and {until} UTC the WebUI made pictures without the guard"
    if count := int(body.get("generated") or 0):
        files_told = (
            f"{_count(count, 'file')} with parameters of a generation {'is' if count == 1 else 'are'} not in the record"
        )
        told += f": {files_told}"
    if last := body.get("last_generation"):
        told += f"{';' if count else ':'} its own note tells of a generation at {_moment(_parse(str(last)))}"
    return f"{told}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _time(event: Event) -> datetime:
    return _parse(event.time)


def _parse(text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError:
        return datetime.fromtimestamp(0, timezone.utc)


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")
