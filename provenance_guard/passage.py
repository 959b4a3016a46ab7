"""What a passage through the door leaves: its results, and the failures of its steps."""

from __future__ import annotations

import logging
import platform
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image

from provenance_guard import __version__, files, pictures
from provenance_guard.config import Policy
from provenance_guard.errors import GuardError
from provenance_guard.gate.policy import Decision
from provenance_guard.gate.quarantine import Kept
from provenance_guard.json_types import Json
from provenance_guard.ledger import Event, Ledger, events
from provenance_guard.provenance.record import Record
from provenance_guard.similarity import Verdict

logger = logging.getLogger(__name__)

T = TypeVar("T")
RedactedRecord = tuple[Mapping[str, Json], tuple[str, ...]]
"""A record's public form, and the openings of the private fields in it (see ``provenance.redaction``)."""


@dataclass(frozen=True)
class Admission:
    """Whether a run may start, and the ledger event that remembers that it was asked for."""

    event: Event | None
    failures: tuple[str, ...] = ()


@dataclass
class Session:
    """A program at work, from its start to its end, as ledgers are told. Between sessions nobody looked."""

    program: str = "command line"
    id: str = ""
    _told: set[str] = field(default_factory=set, repr=False)

    def start(self, ledger: Ledger) -> None:
        """Tell ``ledger`` once. Raises LedgerError."""
        if ledger.origin not in self._told:
            self.id = secrets.token_hex(8)
            ledger.append(events.SESSION_STARTED, {"session": self.id, "program": self.program, **_environment()})
            self._told.add(ledger.origin)

    def end(self, ledger: Ledger) -> None:
        """Tell ``ledger``, if it knows of the start. A ledger that cannot be told shows a session without end."""
        if ledger.origin in self._told:
            self._told.discard(ledger.origin)
            try:
                ledger.append(events.SESSION_ENDED, {"session": self.id})
            except GuardError as error:
                logger.warning("the end of the session could not be recorded: %s", error)


@dataclass(frozen=True)
class Attempt:
    """Which of several tries at one picture this is. ``more``: the caller can make another one with a new seed, and asks to
    be told when it should. ``first`` is the record id of the first try."""

    number: int = 1
    more: bool = False
    first: str | None = None

    def to_json(self) -> dict[str, Json]:
        """What the ledger says of a try."""
        return {"number": self.number, "first": self.first}


@dataclass(frozen=True)
class Approval:
    """A reviewer's word for a picture that was withheld as record ``record_id``; ``verdict`` is what the screen said then."""

    record_id: str
    reviewer: str
    reason: str
    verdict: Mapping[str, Json] | None = None

    @property
    def sentence(self) -> str:
        """What the record and the user are told."""
        return f"Withheld as record {self.record_id}, released by {self.reviewer}: {self.reason}"


@dataclass(frozen=True)
class Release:
    """What came out of the door. ``image`` is all that may leave: the marked picture, or a placeholder of the same size.

    ``kept`` is where the original of a withheld one went, None when it was not kept.
    """

    image: Image.Image
    record: Record
    redacted: RedactedRecord
    decision: Decision
    verdict: Verdict | None
    event: Event | None
    policy: Policy
    failures: tuple[str, ...] = ()
    kept: Kept | None = None

    @property
    def blocked(self) -> bool:
        """Whether ``image`` is a placeholder."""
        return self.decision.withholds


@dataclass(frozen=True)
class Sealed:
    """A saved file after sealing. ``withheld`` says that the file was removed again, because sealing failed under a policy
    that withholds on errors; ``notes`` tell what could not be done in this kind of file."""

    path: Path
    file_sha256: str | None = None
    sidecar: Path | None = None
    labelled: bool = False
    event: Event | None = None
    withheld: bool = False
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SavedFile:
    """A file as it lies on the disk. Its pixels are read back, because formats lose some and callers name wrong files."""

    path: Path
    sha256: str
    pixel_sha256: str


def read_back(path: Path) -> SavedFile:
    """Hash a file that a caller has saved. Raises PictureError, OSError."""
    image = pictures.open_picture(path, animated="first").image
    return SavedFile(path, files.sha256_file(path), pictures.pixel_sha256(image))


def _environment() -> dict[str, Json]:
    return {
        "provenance_guard": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
    }


class Steps:
    """Runs the steps of one passage: a step that fails leaves a sentence in ``failures`` instead of a result."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def attempt(self, name: str, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except GuardError as error:
            self.failures.append(f"{name}: {error}")
        except Exception as error:
            logger.exception("step %r failed", name)
            self.failures.append(f"{name}: {type(error).__name__}: {error}")
        return None
