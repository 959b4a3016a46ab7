"""The folder of withheld originals, encrypted, until a reviewer releases or destroys them.

One file per picture, ``<record id>.kept``; its content needs a key from the key folder. What is withheld stays so whatever
goes wrong here: every failure is an error, and no error shows a pixel.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from provenance_guard import files
from provenance_guard.errors import GuardError, KeyMissingError, PictureError, QuarantineError
from provenance_guard.gate import container
from provenance_guard.json_types import Json
from provenance_guard.similarity import Verdict
from provenance_guard.similarity.explain import explain_match

logger = logging.getLogger(__name__)

SUFFIX = ".kept"
DOCUMENT_VERSION = 1
PATIENCE = 10.0
"""Seconds that one reviewer waits for another one's decision."""

_BEGINNING = 56
_ID = re.compile(r"[0-9a-f]{32}")
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")


@dataclass(frozen=True)
class Kept:
    """A container that was written: what the ledger says about it."""

    record_id: str
    path: Path
    sha256: str

    def to_json(self) -> dict[str, Json]:
        """What the event of the withheld picture holds."""
        return {"file_sha256": self.sha256}


@dataclass(frozen=True)
class Entry:
    """A kept picture as far as it can be read without showing it. ``record`` is its full private record, empty when the file
    could not be opened; ``problem`` then says why. ``bytes`` is the size of the file."""

    record_id: str
    bytes: int
    record: Mapping[str, Any] = field(default_factory=dict, repr=False)
    problem: str = ""

    @property
    def time(self) -> str:
        """When the picture was withheld: UTC, RFC 3339; empty when unknown."""
        return str(self.record.get("time", ""))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was withheld."""
        decision = self.record.get("decision") or {}
        return tuple(map(str, decision.get("reasons") or ()))


@dataclass(frozen=True)
class Case:
    """A kept picture, opened. ``evidence`` is a PNG of what matched, empty when there is none."""

    entry: Entry
    image: Image.Image = field(repr=False)
    evidence: bytes = field(default=b"", repr=False)


class Quarantine:
    """The kept pictures in ``folder``; their keys are in ``key_directory``. Safe to use from several processes."""

    def __init__(self, folder: Path, key_directory: Path) -> None:
        self.folder = folder
        self.key_directory = key_directory

    def keep(self, image: Image.Image, record: Mapping[str, Json], verdict: Verdict | None = None) -> Kept:
        """Write the container of ``image``, whose private ``record`` names its id. When this returns, it is on the disk.

        What ``verdict`` found is drawn as evidence; a reference that cannot be read any more costs the drawing only.

        Raises KeyMissingError, or OutputError (full disk, read-only folder); nothing half-written stays behind.
        """
        record_id = str(record["id"])
        document = json.dumps({"version": DOCUMENT_VERSION, "record": record}, ensure_ascii=False)
        parts = (document.encode("utf-8", "backslashreplace"), _as_png(image), _draw_evidence(image, verdict))
        content = container.seal(parts, record_id, self._sealing_key())
        path = self._path(record_id)
        files.write_atomically(path, content, private=True)
        return Kept(record_id, path, hashlib.sha256(content).hexdigest())

    def entries(self) -> list[Entry]:
        """What is kept, oldest first; a container that cannot be opened is among them, with its problem."""
        keys, problem = self._known_keys()
        found = [self._entry(path.stem, keys, problem) for path in self._files()]
        return sorted(found, key=lambda entry: (entry.time, entry.record_id))

    def open(self, record_id: str) -> Case:
        """Decrypt one kept picture.

        Raises QuarantineError when it is not kept here or damaged, KeyMissingError when its key is not there.
        """
        content = self._read(record_id)
        document, picture, evidence = container.unseal(content, record_id, container.all_keys(self.key_directory))
        entry = Entry(record_id, len(content), _read_document(document, record_id))
        try:
            image = Image.open(io.BytesIO(picture))
            image.load()
        except (OSError, ValueError, SyntaxError) as error:  # It was authenticated: only a faulty writer gets here.
            raise PictureError(
                f"The kept picture {record_id} cannot be read: {error}.", next_step="Destroy it."
            ) from error
        return Case(entry, image, evidence)

    def complete(self, prefix: str) -> str:
        """The one kept record id that begins with ``prefix``. Raises QuarantineError when there is none, or more than one."""
        wanted = prefix.strip().lower()
        found = [path.stem for path in self._files() if wanted and path.stem.startswith(wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            raise QuarantineError(f"Several kept pictures begin with {prefix}.", next_step="Give more of the id.")
        raise QuarantineError(
            f"No picture {prefix!r} is kept here.",
            next_step="`quarantine list` shows what is kept; `log` what became of a picture.",
        )

    def remove(self, record_id: str) -> None:
        """Delete a container. Raises QuarantineError when it is not there or cannot be deleted."""
        try:
            self._path(record_id).unlink()
        except OSError as error:
            raise QuarantineError(
                f"The kept picture {record_id} cannot be deleted ({error.strerror}).",
                next_step="Look whether it is still there, and whether you may delete it.",
            ) from error

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Hold off other reviewers, in this process and others, while one decides. Ends by itself when the process dies.

        Raises QuarantineError when another one does not finish.
        """
        lock = self._acquire()
        try:
            yield
        finally:
            lock.close()  # ends the transaction

    def _acquire(self) -> sqlite3.Connection:
        """A write transaction on a database that holds nothing: a lock that every system has and that no crash leaves behind."""
        lock = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = sqlite3.connect(
                self.folder / "lock.sqlite3", timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
            lock.execute("BEGIN EXCLUSIVE")
        except (sqlite3.Error, OSError) as error:
            if lock is not None:
                lock.close()
            raise QuarantineError(
                f"Another reviewer is deciding, or the quarantine folder cannot be written ({error}).",
                next_step="Try again in a while; then look at the permissions of the folder.",
            ) from error
        return lock

    def _files(self) -> list[Path]:
        try:
            return sorted(path for path in self.folder.glob(f"*{SUFFIX}") if _ID.fullmatch(path.stem))
        except OSError as error:
            raise QuarantineError(
                f"The quarantine folder {self.folder} cannot be read ({error.strerror}).",
                next_step="Check its permissions.",
            ) from error

    def _sealing_key(self) -> container.QuarantineKey:
        keys = container.all_keys(self.key_directory)
        if not keys and self._files():
            raise KeyMissingError(
                f"Pictures are kept in {self.folder}, but there is no quarantine key in {self.key_directory}.",
                next_step="Restore quarantine-*.key from a backup, or move the kept pictures away to start anew.",
            )
        return container.current_key(self.key_directory)

    def _known_keys(self) -> tuple[dict[str, container.QuarantineKey], str]:
        try:
            return container.all_keys(self.key_directory), ""
        except KeyMissingError as error:
            return {}, str(error)

    def _entry(self, record_id: str, keys: dict[str, container.QuarantineKey], problem: str) -> Entry:
        size = 0
        try:
            path = self._path(record_id)
            size = path.stat().st_size
            with path.open("rb") as stream:
                beginning = stream.read(_BEGINNING)
                beginning += stream.read(min(container.first_part_length(beginning), size) - len(beginning))
            (document,) = container.unseal(beginning, record_id, keys, parts=1)
            return Entry(record_id, size, _read_document(document, record_id))
        except GuardError as error:
            return Entry(record_id, size, problem=problem or str(error))
        except OSError as error:
            return Entry(record_id, size, problem=f"The file cannot be read ({error.strerror}).")

    def _read(self, record_id: str) -> bytes:
        try:
            return self._path(record_id).read_bytes()
        except FileNotFoundError:
            raise QuarantineError(
                f"The picture {record_id} is not kept here, or not any more.",
                next_step="`log` tells what became of it.",
            ) from None
        except OSError as error:
            raise QuarantineError(
                f"The kept picture {record_id} cannot be read ({error.strerror}).",
                next_step="Check the permissions of the quarantine folder.",
            ) from error

    def _path(self, record_id: str) -> Path:
        if not _ID.fullmatch(record_id):
            raise QuarantineError(f"{record_id!r} is no record id.", next_step="Give 32 hex digits.")
        return self.folder / f"{record_id}{SUFFIX}"


def _as_png(image: Image.Image) -> bytes:
    """The picture without loss of what a person sees, and without the text that came with it."""
    stream = io.BytesIO()
    plain = image if image.mode in _PNG_MODES else image.convert("RGB")
    plain.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _draw_evidence(image: Image.Image, verdict: Verdict | None) -> bytes:
    if verdict is None or not verdict.matches:
        return b""
    try:
        return explain_match(image, verdict.matches[0])
    except Exception as error:
        logger.warning("no evidence could be drawn for a kept picture: %s", error)
        return b""


def _read_document(content: bytes, record_id: str) -> Mapping[str, Any]:
    document = json.loads(content)
    if document["version"] > DOCUMENT_VERSION:
        raise QuarantineError(
            f"The kept picture {record_id} was written by a newer program.", next_step="Update Provenance Guard."
        )
    record: Mapping[str, Any] = document["record"]
    return record
