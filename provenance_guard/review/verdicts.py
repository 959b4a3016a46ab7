"""The questions that evidence is asked, and how each is answered: for itself, with its reason, and never more than was shown.

| subject | question |
|---|---|
| ``content`` | is this the picture that was sealed: its bytes, its pixels, or only its mark? |
| ``record`` | is the record as it was written and signed? |
| ``chain`` | is the record in the ledger, and the ledger whole? |
| ``time`` | when, and by whose clock? |
| ``identity`` | whose key signed? |
| ``independence`` | who outside vouches, so that nobody has to trust the owner? |
| ``labels``, ``mark`` | what does the picture itself say? |

There is no sum of them: a picture can carry a perfect record of something else entirely.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from cryptography.x509 import Certificate

from provenance_guard.clock import format_time
from provenance_guard.ledger.anchors.testimony import Testimony
from provenance_guard.ledger.checkpoint import Checkpoint
from provenance_guard.ledger.witness import Witness
from provenance_guard.watermark import Detection

Subject = Literal["content", "record", "chain", "time", "identity", "independence", "labels", "mark", "gaps"]
Answer = Literal["holds", "fails", "unknown"]

CLOCK_TOLERANCE = timedelta(minutes=5)
LONG_GAP = timedelta(days=1)  # between what the writer says and when an outsider saw it


@dataclass(frozen=True)
class Finding:
    """One question answered. ``unknown`` means that there was nothing to check it with."""

    subject: Subject
    verdict: Answer
    sentence: str


@dataclass(frozen=True)
class Verification:
    """All that could be found out about one file. ``record_id`` is the record it seems to belong to."""

    path: Path
    findings: tuple[Finding, ...]
    record_id: str | None = None
    detection: Detection | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing that could be checked failed."""
        return all(finding.verdict != "fails" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "picture": str(self.path),
            "record_id": self.record_id,
            "findings": [asdict(finding) for finding in self.findings],
        }


@dataclass(frozen=True)
class Trust:
    """What the one who checks knows from elsewhere, and so need not take from the evidence.

    ``keys``: raw public keys that may have signed, by their owners' names. ``roots``: certificates that time tokens may lead to.
    ``checkpoints``: tree heads that were kept outside; ``imprints``: digests in time tokens that were kept without their checkpoint.
    """

    keys: Mapping[str, bytes] = field(default_factory=dict)
    roots: tuple[Certificate, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    imprints: tuple[bytes, ...] = ()


def time_finding(
    testimonies: Sequence[Testimony], claimed: datetime | None, *, not_before: Testimony | None = None
) -> Finding:
    """When the record existed, and by whose clock. ``claimed`` is the time that its writer gave it; ``not_before`` is what an
    outsider had said when the record was written."""
    claim = f"the writer's own clock says {_told(claimed)}" if claimed else "the writer gave no time"
    if broken := _broken(testimonies):
        return Finding("time", "fails", broken.sentence)
    if claimed and not_before and not_before.time and claimed < not_before.time - CLOCK_TOLERANCE:
        claim += (
            f", but a word of {not_before.who} from {_told(not_before.time)} had come before: that clock was set back"
        )
    elif claimed and not_before and not_before.time:
        claim += f", and a word of {not_before.who} from {_told(not_before.time)} had come before"
    vouched = [(entry.time, entry) for entry in testimonies if entry.holds and entry.time]
    if not vouched:
        hints = "".join(f" {entry.sentence}" for entry in testimonies)
        return Finding("time", "unknown", f"No clock but the owner's: {claim}, and an owner can set it.{hints}")
    moment, first = min(vouched, key=lambda pair: pair[0])
    if claimed and claimed > moment + CLOCK_TOLERANCE:
        told = (
            f"{first.who} saw the record at {_told(moment)}, but {claim}, which is later: one of the clocks is wrong."
        )
        return Finding("time", "fails", told)
    doubt = ""
    if claimed and moment - claimed > LONG_GAP and not not_before:
        doubt = " Nobody outside vouches for the earlier time."
    return Finding(
        "time", "holds", f"The record existed at {_told(moment)}, by the clock of {first.who}; {claim}.{doubt}"
    )


def independence_finding(testimonies: Sequence[Testimony]) -> Finding:
    """Who outside vouches that the record was there, and has not been replaced since."""
    names = sorted({entry.who for entry in testimonies if entry.holds})
    if names:
        return Finding("independence", "holds", f"Vouched for from outside by {_listed(names)}.")
    unknown = sorted({entry.who for entry in testimonies if entry.problem in (None, "unverifiable")})
    if unknown:
        told = f"{_listed(unknown)} would vouch, but nothing that you gave or configured says who that is."
        return Finding("independence", "unknown", told)
    return Finding("independence", "unknown", "Nobody outside vouches: all rests on the word of whoever holds the key.")


def _broken(testimonies: Iterable[Testimony]) -> Testimony | None:
    harmless = (None, "pending", "unverifiable", "untrusted", "unreachable")
    return next((entry for entry in testimonies if entry.problem not in harmless), None)


def _told(moment: datetime) -> str:
    return format_time(moment)[:19].replace("T", " ") + " UTC"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
