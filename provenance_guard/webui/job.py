"""What is remembered of one job of the host while it runs.

It is kept on the host's own object ``p``, so that it lives exactly as long as that does.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provenance_guard.webui import accordion
from provenance_guard.webui.door import Passage, Wish

if TYPE_CHECKING:
    from provenance_guard.provenance import Parent
    from provenance_guard.similarity import Verdict

ID_KEY = "Provenance id"
DECISION_KEY = "Provenance decision"
"""Infotext keys of a picture's record id, and of what was decided unless it was simply allowed."""

_JOB = "provenance_guard_job"


@dataclass
class Job:
    """One ``process_images`` call. ``passages`` are kept by (batch number, position in the batch), ``others`` are those of
    pictures beside the finished ones: intermediate files, joined pictures, what another extension added. A job that
    ``gathers`` is a selected script's, which makes other jobs and shows what it likes of them."""

    wish: Wish = field(default_factory=Wish)
    parents: tuple[Parent, ...] | None = None
    passages: dict[tuple[int, int], Passage] = field(default_factory=dict)
    others: list[tuple[str, Passage]] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    finished: bool = False
    gathers: bool = False

    def holds(self, passage: Passage | None) -> bool:
        """Whether a finished picture of this very job came out of the door that way."""
        return passage is not None and any(passage is known for known in self.passages.values())

    def replace(self, old: Passage, new: Passage) -> None:
        """Sealing told more about a passage."""
        self.passages = {position: new if passage is old else passage for position, passage in self.passages.items()}
        self.others = [(what, new if passage is old else passage) for what, passage in self.others]

    def summary(self) -> list[str]:
        """What the user reads under the gallery: every message, then one line about the whole."""
        ordered = [self.passages[position] for position in sorted(self.passages)]
        lines = list(dict.fromkeys(self.troubles))
        for number, passage in enumerate(ordered, start=1):
            lines += [f"Picture {number}: {message}" for message in passage.messages]
        for what, passage in self.others:
            lines += [f"{what[:1].upper()}{what[1:]}: {message}" for message in passage.messages]
        if ordered:
            lines.append(f"Provenance Guard, {_count(ordered)}")
        if self.others:
            lines.append(f"Provenance Guard, besides: {_count([passage for _, passage in self.others])}")
        return lines

    def infotext_id(
        self, *, p: Any, index: int, all_seeds: list[int], use_main_prompt: bool, **_: object
    ) -> str | None:
        """The value of our infotext key: the host calls this with the locals of ``create_infotext``."""
        passage = self._infotext_passage(p, index, all_seeds, use_main_prompt)
        return passage.record_id if passage else None

    def infotext_decision(
        self, *, p: Any, index: int, all_seeds: list[int], use_main_prompt: bool, **_: object
    ) -> str | None:
        """What was decided; nothing for a picture that was simply allowed."""
        passage = self._infotext_passage(p, index, all_seeds, use_main_prompt)
        return passage.action if passage and passage.action != "allow" else None

    def _infotext_passage(self, p: Any, index: int, all_seeds: list[int], use_main_prompt: bool) -> Passage | None:
        # Only within the batch loop, where ``all_seeds`` are the batch's own, is ``index`` a position in the batch. A grid
        # is told by ``use_main_prompt``; scripts count over the whole job. No id is better than another picture's.
        if use_main_prompt or all_seeds is not p.seeds:
            return None
        return self.passages.get((p.iteration, index))


def start(p: Any, wish: Wish) -> Job:
    """Begin a job on ``p``, which may be a copy that still carries another job."""
    job = Job(wish)
    setattr(p, _JOB, job)
    return job


def of(p: Any) -> Job:
    """The job of ``p``; a new one, with the wishes of our accordion, when its start was missed."""
    return found(p) or start(p, wish_of(p))


def found(p: Any) -> Job | None:
    """The job of ``p``, if it has one; ``p`` may be anything."""
    job = getattr(p, _JOB, None)
    return job if isinstance(job, Job) else None


def wish_of(p: Any) -> Wish:
    """What our accordion said for ``p``, whether or not our hooks were called; no wish when it cannot be found."""
    for script in getattr(getattr(p, "scripts", None), "alwayson_scripts", None) or ():
        if script.title() == accordion.TITLE:
            return accordion.read_wish(list(getattr(p, "script_args", None) or ())[script.args_from : script.args_to])
    return Wish()


@dataclass(frozen=True)
class Work:
    """What the host is doing: its ``p``, and the job that is told of pictures made meanwhile."""

    p: Any
    job: Job
    thread: int = field(default_factory=threading.get_ident)


_running: list[Work] = []
"""The innermost last. The host's queue lets only one job run at a time; the Save button and previews do not wait in it."""


@contextmanager
def running(p: Any, job: Job) -> Iterator[None]:
    """While the host works on ``p`` in this thread."""
    work = Work(p, job)
    _running.append(work)
    try:
        yield
    finally:
        _running[:] = [other for other in _running if other is not work]


def current(*, of_any_thread: bool = False) -> Work | None:
    """What the host is doing, in this thread or at all; None between jobs."""
    here = threading.get_ident()
    return next((work for work in reversed(_running) if of_any_thread or work.thread == here), None)


def hand_on(job: Job) -> None:
    """Tell what a finished job found to the selected script that ran it: of its own text the script shows only a part."""
    work = current()
    if work is not None and work.job.gathers:
        ordered = [job.passages[position] for position in sorted(job.passages)]
        work.job.others += [*(("a picture of the script", passage) for passage in ordered), *job.others]


def with_id(infotext: str, passage: Passage) -> str:
    """``infotext`` with the record id and the decision of ``passage`` in the place of those of another picture."""
    head, _, last = infotext.rpartition("\n")
    pairs = [pair for pair in last.split(", ") if not pair.startswith((f"{ID_KEY}: ", f"{DECISION_KEY}: "))]
    if passage.record_id is not None:
        pairs.append(f"{ID_KEY}: {passage.record_id}")
    if passage.action != "allow":
        pairs.append(f"{DECISION_KEY}: {passage.action}")
    return f"{head}\n{', '.join(filter(None, pairs))}" if head else ", ".join(filter(None, pairs))


def _count(passages: Sequence[Passage]) -> str:
    pictures = "1 picture" if len(passages) == 1 else f"{len(passages)} pictures"
    marks = Counter(passage.mark for passage in passages)
    withheld = sum(passage.withheld for passage in passages)
    told = [
        _compared([passage.release.verdict for passage in passages if passage.release and passage.release.verdict]),
        f"{sum(passage.recorded for passage in passages)} recorded",
        f"{marks['sound'] + marks['weak']} marked",
        f"{marks['weak']} of them weakly" if marks["weak"] else "",
        f"{withheld} withheld" if withheld else "",
    ]
    return f"{pictures}: {', '.join(filter(None, told))}."


def _compared(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return "not compared with references"
    number = verdicts[-1].references
    if number == 0:
        return "no references to compare with"
    close = sum(verdict.level != "clean" for verdict in verdicts)
    return (
        f"{close or 'none'} close to one of {number} references"
        if number > 1
        else f"{close or 'none'} close to the reference"
    )
