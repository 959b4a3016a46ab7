"""Optional dependencies: the module, or a reasoned absence.

No other file writes ``try: import``. A room asks ``load("open_clip")`` and gets the module or ``None``; what is missing,
why, and what that costs is told by ``status()`` (the ``doctor`` verb) and by ``require()`` (an error with the next step).
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from types import ModuleType

from provenance_guard.errors import ExtraMissingError


@dataclass(frozen=True)
class Extra:
    """An optional dependency: ``module`` is imported, ``package`` is what pip installs, ``cost`` is what its absence costs."""

    module: str
    package: str
    cost: str


@dataclass(frozen=True)
class ExtraStatus:
    """What ``doctor`` shows of one extra; ``reason`` is empty when it is available."""

    extra: Extra
    available: bool
    reason: str


EXTRAS: dict[str, Extra] = {
    extra.module: extra
    for extra in (
        Extra(
            "open_clip", "open-clip-torch", "No semantic similarity; hashes and local features still find near-copies."
        ),
        Extra("gradio", "gradio", "No page (`ui`); every other command works."),
        Extra(
            "safetensors.torch", "safetensors", "Weights in .safetensors files cannot be read; those in .pt files can."
        ),
        Extra(
            "rfc3161_client",
            "rfc3161-client",
            "No time tokens (RFC 3161): they can neither be asked for nor checked; `openssl ts` checks the kept ones.",
        ),
        Extra("opentimestamps.core.timestamp", "opentimestamps", "No OpenTimestamps proofs; everything else works."),
        Extra("pillow_avif", "pillow-avif-plugin", "AVIF pictures cannot be read, unless Pillow itself can."),
    )
}

_reasons: dict[str, str] = {}


def load(module: str) -> ModuleType | None:
    """Import an extra named in ``EXTRAS``; None when it is not installed or fails to import (the reason is kept)."""
    extra = EXTRAS[module]
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # Gradio calls home while it is imported.
    try:
        imported = importlib.import_module(extra.module)
    except Exception as error:  # A broken native library raises OSError, RuntimeError and worse: all mean "absent".
        _reasons[module] = _explain(error)
        return None
    _reasons.pop(module, None)
    return imported


def require(module: str, *, purpose: str) -> ModuleType:
    """Import an extra, or raise ExtraMissingError that says what it is for and how to install it."""
    imported = load(module)
    if imported is None:
        extra = EXTRAS[module]
        raise ExtraMissingError(
            f"{purpose} needs {extra.package}, which is not available ({_reasons[module]}).",
            next_step=f"Install it with: python -m pip install {extra.package}",
        )
    return imported


def status() -> list[ExtraStatus]:
    """Try every extra and tell which are there."""
    return [ExtraStatus(extra, load(name) is not None, _reasons.get(name, "")) for name, extra in EXTRAS.items()]


def _explain(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "not installed"
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
