"""The door on files: guard pictures that are already on disk, and folders in which pictures appear."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from provenance_guard import files, labels, pictures
from provenance_guard.errors import GuardError, LabelError, PictureError, UsageError
from provenance_guard.guard import Guard, Release, Sealed
from provenance_guard.json_types import Json
from provenance_guard.provenance import sidecar
from provenance_guard.provenance.infotext import read_generation
from provenance_guard.provenance.record import Context, Origin, Parent

OUTCOMES = ("released", "warned", "blocked", "failed", "done before")


@dataclass(frozen=True)
class Outcome:
    """What happened to one file. ``output`` is the marked copy, None when nothing may or could leave."""

    source: Path
    outcome: str
    output: Path | None = None
    release: Release | None = None
    sealed: Sealed | None = None
    error: GuardError | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """The outcome as plain JSON values, as ``guard --json`` prints it."""
        release, sealed = self.release, self.sealed
        return {
            "picture": str(self.source),
            "outcome": self.outcome,
            "output": str(self.output) if self.output else None,
            "sidecar": str(sealed.sidecar) if sealed and sealed.sidecar else None,
            "record_id": release.record.id if release else None,
            "verdict": release.verdict.to_json() if release and release.verdict else None,
            "decision": release.decision.to_json() if release else None,
            "kept": bool(release and release.kept),
            "mark": dict(release.record.mark) if release and release.record.mark else None,
            "labelled": bool(sealed and sealed.labelled),
            "failures": [*(release.failures if release else ()), *(sealed.failures if sealed else ())],
            "notes": [*self.notes, *(sealed.notes if sealed else ())],
            "error": str(self.error) if self.error else None,
        }


class Batch:
    """Passes picture files through the whole door; the copies that may leave are written into ``folder``.

    ``resume`` skips a picture whose copy and sidecar from an earlier run are there and belong to these very bytes.
    """

    def __init__(self, guard: Guard, folder: Path, *, origin: Origin = "file", resume: bool = False) -> None:
        self._guard = guard
        self._folder = folder
        self._origin = origin
        self._resume = resume
        self._sources: dict[Path, Path] = {}

    def guard_file(self, source: Path) -> Outcome:
        """Guard one picture. Never changes ``source``; never raises GuardError, the outcome carries it."""
        try:
            picture = pictures.open_picture(source)
            target = self._target(source, pictures.saved_suffix(picture))
            source_sha256 = files.sha256_file(source)
            if self._resume and _done_before(target, source_sha256):
                return Outcome(source, "done before", output=target)
            context = dataclasses.replace(
                read_generation(picture),
                origin=self._origin,
                parents=self._parents(picture, source),
                source_name=source.name,
                source_sha256=source_sha256,
            )
            return self._pass_through(picture, source, context, target)
        except GuardError as error:
            return Outcome(source, "failed", error=error)
        except (OSError, MemoryError) as error:  # A vanished disk, or too little memory for this one: the others go on.
            return Outcome(source, "failed", error=_explain(source, error))

    def _pass_through(self, picture: pictures.Picture, source: Path, context: Context, target: Path) -> Outcome:
        release = self._guard.release(picture.image, context)
        if release.blocked:
            return Outcome(source, "blocked", release=release, notes=picture.notes)
        try:
            pictures.save_picture(release.image, target, like=picture)
            _carry_labels(source, target)
            sealed = self._guard.seal(release, target)
        except BaseException:  # Ctrl-C included: a copy without its record and sidecar must not stay behind.
            target.unlink(missing_ok=True)
            raise
        if sealed.withheld:
            return Outcome(source, "blocked", release=release, sealed=sealed, notes=picture.notes)
        outcome = "warned" if release.decision.action == "warn" or sealed.failures else "released"
        return Outcome(source, outcome, output=target, release=release, sealed=sealed, notes=picture.notes)

    def _parents(self, picture: pictures.Picture, source: Path) -> tuple[Parent, ...]:
        """The record of ``source`` itself, when it has passed this door before."""
        try:
            claimed = labels.read_labels(source)
            label_id = claimed.record_id if claimed else None
            parent = self._guard.find_parent("source", picture.image, label_id=label_id)
        except GuardError:  # a damaged label or ledger; the door meets the latter again, and there it counts
            return ()
        return (parent,) if parent.record_id else ()

    def _target(self, source: Path, suffix: str) -> Path:
        """Where the copy of ``source`` goes: its own name, numbered when another source of this batch took that."""
        number = 1
        while True:
            ending = f"-{number}{suffix}" if number > 1 else suffix
            target = self._folder / (source.stem + ending)
            if self._sources.setdefault(target, source) == source:
                break
            number += 1
        if target.exists() and target.samefile(source):
            raise UsageError(f"{source} would be overwritten by its marked copy.", next_step="Choose another --out.")
        return target


def find_pictures(named: Sequence[Path]) -> list[Path]:
    """The picture files among files and folders named by a person; a folder stands for the pictures directly in it.

    Raises UsageError when a name does not exist or a folder has no pictures.
    """
    found: list[Path] = []
    for path in named:
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if _looks_like_picture(entry))
            if not inside:
                raise UsageError(
                    f"No pictures in {path}.", next_step="Name a folder with PNG, JPEG, WebP or AVIF files."
                )
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(f"{path} does not exist.", next_step="Check the name and try again.")
    return found


def watch_folder(folder: Path, *, interval: float = 1.0, include_present: bool = False) -> Iterator[Path]:
    """Yield every picture that appears in ``folder`` (or is replaced there) once it has stopped growing. Runs until stopped.

    Polls, because that works on every file system and for every writer. ``interval`` is in seconds.
    """
    handed_out = {} if include_present else _snapshot(folder)
    previous: dict[Path, tuple[int, int]] = {}
    while True:
        current = _snapshot(folder)
        for path, stamp in sorted(current.items()):
            if handed_out.get(path) != stamp and previous.get(path) == stamp and stamp[0] > 0:
                handed_out[path] = stamp
                yield path
        previous = current
        time.sleep(interval)


def _explain(source: Path, error: OSError | MemoryError) -> GuardError:
    reason = "not enough memory" if isinstance(error, MemoryError) else error.strerror or str(error)
    return PictureError(f"{source} could not be guarded ({reason}).", next_step="Mend that and guard it again.")


def _carry_labels(source: Path, target: Path) -> None:
    """What other tools said in the source's XMP; a damaged packet, or a format without one, is no reason to stop."""
    with suppress(LabelError):
        labels.carry_packet(source, target)


def _done_before(target: Path, source_sha256: str) -> bool:
    if not target.exists():
        return False
    try:
        written = sidecar.read_sidecar(sidecar.sidecar_path(target))
    except GuardError:
        return False
    return written.record.context.source_sha256 == source_sha256


def _looks_like_picture(path: Path) -> bool:
    return path.suffix.lower() in pictures.SUFFIXES and not path.name.startswith(".") and path.is_file()


def _snapshot(folder: Path) -> dict[Path, tuple[int, int]]:
    found = {}
    for path in folder.iterdir():
        if _looks_like_picture(path):
            status = path.stat()
            found[path] = (status.st_size, status.st_mtime_ns)
    return found
