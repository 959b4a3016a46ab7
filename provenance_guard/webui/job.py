"""What is remembered of one job of the host while it runs, and of the pictures that came out of the door.

It is kept on the host's own objects, so that it lives exactly as long as they do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import Image

from provenance_guard.webui.door import Passage, Wish

if TYPE_CHECKING:
    from provenance_guard.provenance import Parent
    from provenance_guard.similarity import Verdict

ID_KEY = "Provenance id"
DECISION_KEY = "Provenance decision"
"""Infotext keys of a picture's record id, and of what was decided unless it was simply allowed."""

_JOB = "provenance_guard_job"
_PASSAGE = "provenance_guard_passage"


@dataclass
class Job:
    """One ``process_images`` call. ``passages`` are kept by (batch number, position in the batch)."""

    wish: Wish = field(default_factory=Wish)
    parents: tuple[Parent, ...] | None = None
    passages: dict[tuple[int, int], Passage] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    def replace(self, old: Passage, new: Passage) -> None:
        """Sealing told more about a passage."""
        self.passages = {position: new if passage is old else passage for position, passage in self.passages.items()}

    def summary(self) -> list[str]:
        """What the user reads under the gallery: every message, then one line about the whole."""
        ordered = [self.passages[position] for position in sorted(self.passages)]
        lines = [*self.troubles]
        for number, passage in enumerate(ordered, start=1):
            lines += [f"Picture {number}: {message}" for message in passage.messages]
        if ordered:
            lines.append(f"Provenance Guard, {_count(ordered)}")
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
        """``warn`` or ``block``; nothing for a picture that was simply allowed."""
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
    """The job of ``p``; a new one with no wishes when its start was missed."""
    return getattr(p, _JOB, None) or start(p, Wish())


def remember(image: Image.Image, passage: Passage) -> None:
    """Tie ``passage`` to this very picture object; a copy of it is not what was released, and does not inherit it."""
    setattr(image, _PASSAGE, passage)


def passage_of(image: Image.Image) -> Passage | None:
    """How this very picture object came out of the door; None when it did not pass."""
    return getattr(image, _PASSAGE, None)


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
