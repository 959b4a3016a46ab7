"""The guards around a generation: the last moment of each picture, of each job, and of what a selected script returns.

Each function takes the place of one of the host's (see ``guards``) and gets that as ``original``. They run after everything
that another extension may do there, whatever order it asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PIL import Image

from provenance_guard.webui import compat, door, job, retry, sealing, seen, sweep

if TYPE_CHECKING:
    from provenance_guard.guard import Guard
    from provenance_guard.provenance import Context

logger = logging.getLogger(__name__)


def finish_picture(original: Callable[..., Any], runner: Any, p: Any, pp: Any, *rest: Any) -> None:
    """``ScriptRunner.postprocess_image_after_composite``: after the last script, before file, gallery and API."""
    original(runner, p, pp, *rest)
    exchange(p, pp)


def exchange(p: Any, pp: Any) -> None:
    """Put what may leave in the place of the finished picture ``pp.image``. Never raises."""
    current = job.of(p)
    try:
        _exchange(p, pp, current)
    except Exception as error:
        pp.image, passage = door.refuse(pp.image, error, current.wish)
        _remember(p, pp.image, passage, current)


def _exchange(p: Any, pp: Any, current: job.Job) -> None:
    if not isinstance(pp.image, Image.Image):
        message = f"A script left {type(pp.image).__name__!r} where the picture was."
        pp.image, passage = door.replace((p.width, p.height), message)
        _remember(p, pp.image, passage, current)
        return
    if door.may_be_skipped(current.wish):
        seen.remember(pp.image)
        return
    if current.holds(seen.passage_of(pp.image)):
        return  # Guarded already: another extension wraps the host's function around an earlier guard of ours.
    index = getattr(p, "batch_index", 0)
    compat.show_activity("Provenance Guard")
    pp.image, passage = retry.release(
        p, index, pp.image, lambda guard: _capture_picture(p, index, current, guard), current.wish
    )
    compat.show_activity(None)
    _remember(p, pp.image, passage, current)


def _remember(p: Any, image: Image.Image, passage: door.Passage, current: job.Job) -> None:
    current.passages[getattr(p, "iteration", 0), getattr(p, "batch_index", 0)] = passage
    seen.remember(image, passage)


def _capture_picture(p: Any, index: int, current: job.Job, guard: Guard) -> Context:
    from provenance_guard.webui import capture

    if current.parents is None:  # the hook ``process`` was missed or failed
        current.parents = capture.capture_parents(p, guard)
    return capture.capture_picture(p, index, current.parents)


def run_job(original: Callable[..., Any], p: Any, *rest: Any, **named: Any) -> Any:
    """``processing.process_images_inner``: every job, whoever asks for it, and even one without scripts."""
    current = job.of(p)
    if current.finished:
        current = job.start(p, current.wish)
    with job.running(p, current):
        _remember_uploads(p)
        processed = original(p, *rest, **named)
    _remember_uploads(p)  # the host has made the mask by now
    current.finished = True
    _sweep(processed, p, current)
    job.hand_on(current)
    return processed


def run_script(original: Callable[..., Any], runner: Any, p: Any, *arguments: Any, **named: Any) -> Any:
    """``ScriptRunner.run``: what a selected script makes of one or more jobs (joined pictures, plots). None: no script."""
    current = job.Job(job.wish_of(p), gathers=True)
    with job.running(p, current):
        processed = original(runner, p, *arguments, **named)
    if processed is not None:
        _sweep(processed, p, current)
    return processed


def _sweep(processed: Any, p: Any, current: job.Job) -> None:
    try:
        sweep.sweep_processed(processed, p, current, stamp=not compat.is_training())
    except Exception as error:
        passage = sweep.refuse_all(processed, error, current.wish)
        current.troubles += passage.messages if passage else ()
    try:
        skipped = door.may_be_skipped(current.wish)
        lines = ["Provenance Guard was off for this job."] if skipped else current.summary()
        processed.comments += "".join(f"{line}\n" for line in [*sealing.troubles(), *lines])
    except Exception:  # an older host has no comments
        logger.warning("the verdicts could not be shown", exc_info=True)


def _remember_uploads(p: Any) -> None:
    """A user's own pictures and masks are not ours to stamp when the host saves or returns them."""
    try:
        pictures = [getattr(p, name, None) for name in ("image_mask", "mask", "mask_for_overlay", "latent_mask")]
        for picture in [*(getattr(p, "init_images", None) or ()), *pictures]:
            if isinstance(picture, Image.Image):
                seen.remember(picture)
    except Exception:
        logger.warning("the pictures that the job starts from could not be read", exc_info=True)
