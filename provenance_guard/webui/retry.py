"""A near-copy is made again with a new seed, as often as the policy says, before it is withheld.

Each try is a job of its own on a copy of the host's ``p``, one picture, nothing saved; it passes every guard by itself, so
nothing unscreened comes back from it. What comes out takes the place of the picture, and its seed that of the seed.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modules import processing, shared
from PIL import Image

from provenance_guard.webui import compat, door, job, seen

if TYPE_CHECKING:
    from provenance_guard.guard import Attempt, Guard
    from provenance_guard.provenance import Context
    from provenance_guard.webui.door import Passage, Wish

logger = logging.getLogger(__name__)

_TRY = "provenance_guard_try"
_HIGHEST_SEED = 4_294_967_294
_PROGRESS = (
    "job",
    "job_no",
    "job_count",
    "processing_has_refined_job_count",
    "sampling_step",
    "sampling_steps",
    "current_latent",
    "current_image_sampling_step",
    "textinfo",
)
"""What the host's state says of the job's progress; a try counts for itself."""


@dataclass(frozen=True)
class Try:
    """What a job that is a further try knows of the others: its ``number`` of at most ``last``, and the first one's record."""

    number: int
    last: int
    first: str | None


@dataclass(frozen=True)
class Made:
    """What a try gave: the picture as it came out of the door."""

    image: Image.Image
    passage: Passage
    seed: int
    number: int


def release(
    p: Any, index: int, image: Image.Image, capture: Callable[[Guard], Context], wish: Wish
) -> tuple[Image.Image, Passage]:
    """Pass picture ``index`` of the running batch through the door (see ``door.release``), and make it again while it does not
    pass, the policy allows another try and the user does not stop the job. The seeds of ``p`` become those of the last try.
    """
    outgoing, passage = door.release(image, capture, wish, attempt=lambda: _attempt(p))
    if passage.action != "retry" or hasattr(p, _TRY):
        return outgoing, passage
    made = _try_again(p, index, passage, wish)
    if made is None:  # no other picture could be made: this one is decided about for good
        return door.release(image, capture, wish, attempt=lambda: _closing(passage))
    _align(p, index, made.seed)
    return made.image, _tell(made, because=passage)


def _attempt(p: Any) -> Attempt:
    """Which try the picture of ``p`` is, and whether there may be another one after it."""
    from provenance_guard.guard import Attempt

    this = getattr(p, _TRY, None) or Try(1, 1 + _attempts(), None)
    return Attempt(this.number, more=this.number < this.last and not compat.stopped(), first=this.first)


def _closing(passage: Passage) -> Attempt:
    """The first picture once more, after tries that gave nothing."""
    from provenance_guard.guard import Attempt

    return Attempt(first=passage.record_id)


def _try_again(p: Any, index: int, passage: Passage, wish: Wish) -> Made | None:
    """The last of the tries, None when there was none that is decided about."""
    last = 1 + _attempts()
    for number in range(2, last + 1):
        if compat.stopped():
            return None
        made = _make(p, index, Try(number, last, passage.record_id), wish)
        if made is None or made.passage.action != "retry":
            return made
    return None


def _make(p: Any, index: int, this: Try, wish: Wish) -> Made | None:
    seed = random.randrange(_HIGHEST_SEED)
    try:
        with _own_progress(f"Provenance Guard: try {this.number} of {this.last}"):
            single = _copy_for_one(p, index, seed, this)
            current = job.start(single, wish)
            single.extra_generation_params[job.ID_KEY] = current.infotext_id
            single.extra_generation_params[job.DECISION_KEY] = current.infotext_decision
            processed = processing.process_images_inner(single)  # the options of the job hold already
        passage = current.passages[0, 0]
        image = next(image for image in processed.images if seen.passage_of(image) is passage)
    except Exception as error:
        logger.warning("a further try failed: %s: %s", type(error).__name__, error)
        return None
    return Made(image, passage, seed, this.number)


def _copy_for_one(p: Any, index: int, seed: int, this: Try) -> Any:
    """``p`` for the one picture alone. Whatever the host or a script writes into it must not reach ``p``."""
    single = copy.copy(p)
    setattr(single, _TRY, this)
    single.batch_size = single.n_iter = 1
    single.seed, single.subseed = seed, p.subseeds[index]
    single.prompt, single.negative_prompt, single.styles = p.prompts[index], p.negative_prompts[index], []
    single.do_not_save_samples = single.do_not_save_grid = True
    single.do_not_reload_embeddings = True
    single.extra_generation_params = dict(p.extra_generation_params)
    single.override_settings = dict(p.override_settings)
    single.comments = dict(p.comments)
    if hasattr(p, "extra_result_images"):  # Forge and reForge
        single.extra_result_images = []
    whole_job = p.iteration * p.batch_size + index
    for name in ("hr_prompt", "hr_negative_prompt"):
        texts = getattr(p, f"all_{name}s", None)
        if texts and whole_job < len(texts):
            setattr(single, name, texts[whole_job])
    for name in ("init_images", "color_corrections"):  # one for each picture of the batch, or one for all
        values = getattr(p, name, None)
        if values and len(values) > 1:
            setattr(single, name, [values[min(index, len(values) - 1)]])
    return single


def _align(p: Any, index: int, seed: int) -> None:
    """File name, infotext and what is returned tell the seed of the picture that is there."""
    p.seeds[index] = seed
    whole_job = p.iteration * p.batch_size + index
    if whole_job < len(p.all_seeds):
        p.all_seeds[whole_job] = seed


def _tell(made: Made, *, because: Passage) -> Passage:
    tries = "once" if made.number == 2 else f"{made.number - 1} times"
    told = f"Made again {tries} with a new seed. The first: {next(iter(because.messages), 'withheld')}"
    return dataclasses.replace(made.passage, messages=(told, *made.passage.messages))


def _attempts() -> int:
    try:
        from provenance_guard.webui import runtime

        return runtime.guard().config.policy.retry.attempts
    except Exception:  # The door meets the same failure, and there it counts.
        return 0


@contextmanager
def _own_progress(text: str) -> Iterator[None]:
    state = shared.state
    saved = {name: getattr(state, name) for name in _PROGRESS if hasattr(state, name)}
    state.job_no, state.job_count, state.processing_has_refined_job_count = 0, 1, False
    compat.show_activity(text)
    try:
        yield
    finally:
        for name, value in saved.items():
            setattr(state, name, value)
