"""What ``doctor`` says: is everything in place, what is missing, and what does that cost."""

from __future__ import annotations

import json
import platform
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch

from provenance_guard import __version__, extras
from provenance_guard.clock import format_time, utc_now
from provenance_guard.config import Config
from provenance_guard.errors import GuardError
from provenance_guard.gate.quarantine import Quarantine
from provenance_guard.guard import Guard
from provenance_guard.ledger import Ledger, verify_ledger
from provenance_guard.ledger.anchors import rfc3161
from provenance_guard.ledger.anchors.keeping import read_turn
from provenance_guard.ledger.anchors.queue import is_due
from provenance_guard.review.gaps import describe_gap, find_gaps
from provenance_guard.signing import Signer
from provenance_guard.watermark import KeyRing

_RECENTLY = timedelta(days=30)

State = Literal["fine", "note", "problem"]

GUARDS_FILE = "webui-guards.json"
"""In the data directory: how the guards stood in the WebUI (version 1)."""

_STANDS = ("in place", "not loaded")


@dataclass(frozen=True)
class Check:
    """One line of the examination. A ``note`` costs something that is told; a ``problem`` needs somebody to act."""

    subject: str
    state: State
    sentence: str


def examine(config: Config) -> list[Check]:
    """Examine the installation; changes nothing and makes no keys. A check that breaks becomes a problem, never an exception."""
    checks: list[Check] = []
    for subject, run in _EXAMINATIONS:
        try:
            checks += [Check(subject, state, sentence) for state, sentence in run(config)]
        except GuardError as error:
            checks.append(Check(subject, "problem", str(error)))
        except Exception as error:
            checks.append(Check(subject, "problem", f"The check itself failed: {type(error).__name__}: {error}"))
    return checks


_Lines = Iterator[tuple[State, str]]


def _program(config: Config) -> _Lines:
    yield "fine", f"Provenance Guard {__version__}, Python {platform.python_version()}, torch {torch.__version__}."
    device = Guard(config).device
    yield "fine", f"Pictures are compared and marked on {device}."


def _extras(_: Config) -> _Lines:
    for status in extras.status():
        if status.available:
            yield "fine", f"{status.extra.package} is available."
        else:
            yield "note", f"{status.extra.package}: {status.reason}. {status.extra.cost}"


def _policy(config: Config) -> _Lines:
    policy = config.policy
    if policy.source is None:
        yield "note", f"No policy file: the built-in policy holds (mode {policy.mode!r}, near-copies are not withheld)."
    else:
        told = f"mode {policy.mode!r}, on_error {policy.on_error!r}, previews {policy.previews!r}"
        yield "fine", f"{policy.source}: {told}, {policy.retry.attempts} further tries."
    if policy.mode != "off" and not policy.screen.references:
        yield "note", "The policy names no reference folder: there is nothing to compare with."
    for folder in policy.screen.references:
        if not folder.is_dir():
            yield "problem", f"The reference folder {folder} does not exist. Restore it, or correct the policy."
    if policy.source and policy.source.is_relative_to(config.data_directory):
        yield (
            "problem",
            f"{policy.source} lies in the data directory, where a user of the WebUI can change it. Move it out.",
        )
    if policy.source and sys.platform != "win32" and stat.S_IMODE(policy.source.stat().st_mode) & stat.S_IWOTH:
        yield "problem", f"Everybody on this computer can change {policy.source}. Run: chmod o-w {policy.source}"


def _directories(config: Config) -> _Lines:
    yield "fine", f"Data: {config.data_directory}{'' if config.data_directory.exists() else ' (made at first use)'}."
    yield "fine", f"Keys: {config.key_directory}{'' if config.key_directory.exists() else ' (made at first use)'}."
    if config.key_directory.is_relative_to(config.data_directory):
        yield "problem", "The keys lie inside the data directory, which the WebUI serves to browsers. Move them out."


def _keys(config: Config) -> _Lines:
    if not config.key_directory.exists():
        if config.ledger_path.exists():
            yield "problem", "There is a ledger but no key directory. Restore the keys from a backup."
        else:
            yield "note", "No keys yet: they are made when the first picture passes."
        return
    signer = Signer.open(config.key_directory, create=False)
    yield "fine", f"Signing key {signer.key_id[:16]}."
    yield "fine", f"{len(KeyRing(config.key_directory).all())} watermark key(s)."
    if sys.platform != "win32":
        for path in sorted(config.key_directory.iterdir()):
            if path.suffix != ".pub" and path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077:
                yield "problem", f"{path} can be read by others. Run: chmod 600 {path}"


def _ledger(config: Config) -> _Lines:
    path = config.ledger_path
    if not path.exists():
        yield "note", "No ledger yet: it is made when the first picture passes."
        return
    report = verify_ledger(path)
    if report.sound:
        yield "fine", f"The ledger is sound: {report.size} events."
    for problem in report.problems[:20]:
        yield "problem", problem.sentence


def _outside(config: Config) -> _Lines:
    asked = config.settings.timestamping
    if not asked.authorities and not asked.calendars:
        yield (
            "note",
            "Nobody outside dates the ledger: its times are this computer's word alone. docs/ledger.md tells how.",
        )
        return
    for authority in asked.authorities:
        try:
            rfc3161.read_roots(authority.roots.read_bytes())
        except (OSError, ValueError):
            yield "problem", f"The root certificates of {authority.url} cannot be read from {authority.roots}."
    if not config.ledger_path.exists():
        return
    with Ledger.open_read_only(config.ledger_path) as ledger:
        checkpoints = ledger.checkpoints()
        for name in (*(authority.url for authority in asked.authorities), *asked.calendars):
            turn = read_turn(ledger, name)
            if not checkpoints or not is_due(ledger, name, checkpoints[-1]):
                yield "fine", f"{name} has dated all there is."
            elif turn.attempts:
                yield "note", f"{name} was asked {turn.attempts} time(s) in vain: {turn.sentence}"
            else:
                yield "fine", f"{name} is to be asked about the newest checkpoint."


def _gaps(config: Config) -> _Lines:
    if not config.ledger_path.exists():
        return
    with Ledger.open_read_only(config.ledger_path) as ledger:
        gaps = find_gaps(ledger)
    for event in gaps.found:
        recent = event.time >= format_time(utc_now() - _RECENTLY)
        yield "problem" if config.policy.source and recent else "note", describe_gap(event)
    if gaps.watches:
        yield "fine", gaps.summary


def _webui(config: Config) -> _Lines:
    """What the WebUI left when it started or stopped."""
    file = config.data_directory / GUARDS_FILE
    if not file.exists():
        return
    told = json.loads(file.read_text("utf-8"))
    wrong = [f"{guards} ({standing})" for guards, standing in told["guards"].items() if standing not in _STANDS]
    when = f"When the WebUI {told['webui']} started or was reloaded last ({told['time']})"
    if wrong:
        yield "problem" if config.policy.source else "note", f"{when}, not everything was guarded: {', '.join(wrong)}."
    else:
        yield "fine", f"{when}, all its {len(told['guards'])} ways out were guarded."


def _quarantine(config: Config) -> _Lines:
    entries = Quarantine(config.quarantine_path, config.key_directory).entries()
    closed = [entry for entry in entries if entry.problem]
    if entries:
        yield "note", f"{len(entries)} withheld picture(s) wait for a reviewer: python run.py quarantine list"
    if closed:
        yield "problem", f"{len(closed)} of them cannot be opened. {closed[0].problem}"


def _library(config: Config) -> _Lines:
    folder = config.library_path
    if not folder.exists():
        yield "note", "No reference library yet. Make one with: python run.py index DIR"
        return
    with Guard(config) as door:
        status = door.library.status()
    yield "fine", f"{status.references} references."
    if status.unreadable:
        yield "note", f"{len(status.unreadable)} files could not be read; `library` names them."
    if not status.embedding:
        yield "note", f"No semantic comparison: {status.embedding_reason}."


_EXAMINATIONS: tuple[tuple[str, Callable[[Config], _Lines]], ...] = (
    ("program", _program),
    ("extras", _extras),
    ("policy", _policy),
    ("folders", _directories),
    ("keys", _keys),
    ("ledger", _ledger),
    ("time", _outside),
    ("gaps", _gaps),
    ("WebUI", _webui),
    ("quarantine", _quarantine),
    ("library", _library),
)
