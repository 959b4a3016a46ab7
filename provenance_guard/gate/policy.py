"""From a policy, a verdict and the failures so far to one decision, in plain words.

The decision is a pure function of its arguments: no clock, no files, no state. Callers act on ``Decision.action``.
Actions are ordered from mild to severe and the most severe finding wins. A caller that meets an action it does not know
must withhold the picture, so ``Decision.withholds`` is the question to ask, never ``action == "block"``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from provenance_guard.config import WITHHOLDING, Mode, OnError, Policy
from provenance_guard.json_types import Json
from provenance_guard.provenance.folders import strip_folders

Action = Literal["allow", "warn", "retry", "quarantine", "block"]
"""``retry``: withheld, and the caller, who said that it can, is asked to generate it again with another seed.
``quarantine``: withheld, and the original kept encrypted for a reviewer."""

_DELIVERING = ("allow", "warn")
_TOLD = 5
"""So many near copies are named in the reasons; the verdict holds all."""


class Match(Protocol):
    """One reference that a picture resembles: ``level``, what this match alone makes of the picture, by the limits of that
    reference; and ``summary``, which says no more than was measured (``near copy of peter.jpg: 62 % of its area matched``)."""

    @property
    def level(self) -> str: ...

    @property
    def summary(self) -> str: ...


class Verdict(Protocol):
    """What the screen says. ``level`` is ``clean``, ``review`` or ``near_copy``, by the thresholds of the policy;
    ``matches`` are sorted, the gravest first."""

    @property
    def level(self) -> str: ...

    @property
    def matches(self) -> Sequence[Match]: ...


@dataclass(frozen=True)
class Decision:
    """What happens to a picture. ``reasons`` are whole sentences for a person; empty when there is nothing to say."""

    action: Action
    reasons: tuple[str, ...]
    policy_mode: Mode

    @property
    def withholds(self) -> bool:
        """Whether the picture must not reach anybody. True for every action but the known delivering ones."""
        return self.action not in _DELIVERING

    def with_original_kept(self) -> Decision:
        """The same, when the original is in the quarantine, whatever else was decided about withholding it."""
        return Decision("quarantine", (*self.reasons, "The original is kept for a reviewer."), self.policy_mode)

    def with_original_lost(self) -> Decision:
        """The same, when the original should have been kept and could not be: still withheld, and nothing of it is left."""
        return Decision("block", (*self.reasons, "The original could not be kept for a reviewer."), self.policy_mode)

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values, as kept in the record."""
        return {"action": self.action, "reasons": list(self.reasons), "policy_mode": self.policy_mode}


def decide(policy: Policy, verdict: Verdict | None, failures: Sequence[str], *, may_retry: bool = False) -> Decision:
    """What the policy says about a picture with this verdict (None: it was not screened) and these failed steps.

    A near copy is withheld in the modes ``quarantine`` and ``block`` and announced in mode ``warn``; with ``may_retry``, which
    says that the caller can make another picture in its place, it is tried again first. A picture to review is announced.
    Every failure, and a missing verdict in a mode that withholds, is answered with the policy's ``on_error``.
    """
    findings = [_judge_failure(failure, policy.on_error) for failure in failures]
    if policy.mode != "off":
        findings += _judge_verdict(policy, verdict, explained=bool(failures), may_retry=may_retry)
    action: Action = max((action for action, _ in findings), key=get_args(Action).index, default="allow")
    return Decision(action, tuple(reason for _, reason in findings), policy.mode)


def approve(policy: Policy, approval: str, failures: Sequence[str]) -> Decision:
    """The decision about a picture that a reviewer lets go: a warning that says so, unless a step fails on the way out."""
    decision = decide(dataclasses.replace(policy, mode="off"), None, failures)
    action: Action = "warn" if decision.action == "allow" else decision.action
    return Decision(action, (_as_sentence(approval), *decision.reasons), policy.mode)


_Finding = tuple[Action, str]


def _judge_failure(failure: str, on_error: OnError) -> _Finding:
    consequence = ", and the policy withholds a picture when a step fails" if on_error in WITHHOLDING else ""
    return on_error, f"A step failed{consequence}: {_as_sentence(failure)}"


def _judge_verdict(policy: Policy, verdict: Verdict | None, *, explained: bool, may_retry: bool) -> list[_Finding]:
    """``explained``: a failure already tells why there is no verdict."""
    if verdict is None:
        if explained:
            return []
        if policy.withholds_copies:
            return [(policy.on_error, "The picture was not compared with the references, which the policy demands.")]
        return [("allow", "The picture was not compared with any reference.")]
    if verdict.level == "clean":
        return []
    if verdict.level == "near_copy":
        copies = [match.summary for match in verdict.matches if match.level == "near_copy"]
        action: Action = "retry" if may_retry else policy.mode if policy.mode != "off" else "warn"
        return [(action, _as_sentence(summary)) for summary in copies[:_TOLD] or ["near copy of a reference"]]
    if verdict.level == "review":
        summary = next(
            (match.summary for match in verdict.matches if match.level == "review"), "some likeness to a reference"
        )
        return [("warn", f"{_as_sentence(summary)} A person should look at it.")]
    return [(policy.on_error, f"The screen gave a verdict that is not known here: {verdict.level!r}.")]


def _as_sentence(text: str) -> str:
    """A reason as a whole sentence, without folders: a decision is shown in pictures and pages that travel."""
    text = strip_folders(text).strip() or "no reason given"
    text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
