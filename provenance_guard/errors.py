"""Typed errors. Each tells a person what went wrong and what to do next.

Code raises these where it knows the cause; the command line, the page and the WebUI hooks catch ``GuardError``, show
``str(error)`` and choose an exit code or the policy's ``on_error``. Anything else that escapes is a bug and is shown with its type.
"""

from __future__ import annotations

from pathlib import Path


class GuardError(Exception):
    """Base of every error that Provenance Guard raises on purpose.

    ``message`` says what went wrong in one sentence, ``next_step`` what the reader can do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, next_step: str) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()


class UsageError(GuardError):
    """The caller asked for something that makes no sense (exit code 2)."""

    exit_code = 2


class ConfigError(GuardError):
    """A policy or settings file is unreadable or says something invalid; ``line`` is 1-based, None when unknown."""

    def __init__(self, path: Path, problem: str, *, line: int | None = None, next_step: str = "") -> None:
        where = f"{path}, line {line}" if line else str(path)
        super().__init__(f"{where}: {problem}.", next_step=next_step or "Correct that line and try again.")
        self.path = path
        self.line = line


class PictureError(GuardError):
    """A picture cannot be read, or is of a kind that the asked step cannot take."""


class OutputError(GuardError):
    """A file cannot be written (read-only folder, full disk). Nothing half-written is left behind."""


class KeyMissingError(GuardError):
    """A signing or watermark key is needed and is not there, or cannot be read."""


class ExtraMissingError(GuardError):
    """An optional dependency is needed for what was asked."""


class MarkError(GuardError):
    """The watermark cannot be put in or looked for."""


class ResourceError(GuardError):
    """A model file cannot be read, or is not what its name says."""


class LibraryError(GuardError):
    """The reference library cannot be opened, read or written."""


class QuarantineError(GuardError):
    """A kept picture cannot be found, opened or decided about."""


class LedgerError(GuardError):
    """The ledger cannot be opened, read or appended to, or is found damaged."""


class SidecarError(GuardError):
    """A sidecar is not what it should be: damaged, of an unknown version, or not for this picture."""


class LabelError(GuardError):
    """A label cannot be written into a file or read from it."""
