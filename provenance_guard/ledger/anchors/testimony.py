"""What an outsider says about a checkpoint, after it was checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

AnchorKind = Literal["rfc3161", "opentimestamps", "witness"]

Reason = Literal[
    "unreachable",  # no answer
    "refused",  # the authority answered that it will not
    "malformed",  # the answer is not of the form that the standard demands
    "wrong-imprint",  # it is about something else than this checkpoint
    "wrong-nonce",  # it answers another request: an old answer, played again
    "wrong-policy",  # it was given under another policy than the one asked for
    "tampered",  # its signature does not hold
    "untrusted",  # its certificate does not lead to a trusted root, or is not for time stamping
    "stale",  # its time cannot be: long before it was asked for, or in the future
    "misordered",  # it contradicts the order of the checkpoints
    "unverifiable",  # the means to check it are not at hand
    "pending",  # promised, but not there yet
]


@dataclass(frozen=True)
class Testimony:
    """One outsider's word that the checkpoint over the first ``size`` events existed at ``time``, by the outsider's clock.

    ``who`` names the outsider as far as it is known. ``problem`` is why the word counts for nothing, None when it counts.
    ``trusted``: the one who checks knows the outsider, and did not learn of it from the evidence itself. ``sentence`` tells
    all this to a person.
    """

    kind: AnchorKind
    who: str
    size: int
    time: datetime | None
    trusted: bool
    problem: Reason | None
    sentence: str

    @property
    def holds(self) -> bool:
        """Whether a known outsider vouches, and nothing speaks against it."""
        return self.trusted and self.problem is None
