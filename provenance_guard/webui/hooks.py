"""The hooks in the WebUI. Registered first and free of heavy imports; every one of them ends in the door.

The host swallows what a hook raises and delivers the picture, so nothing here may raise before the picture is exchanged:
``door`` turns failures into the policy's ``on_error``, and the rest is guarded by ``_reported``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules import script_callbacks, scripts

from provenance_guard.webui import accordion, compat, door, job, options

if TYPE_CHECKING:
    from provenance_guard.guard import Guard
    from provenance_guard.provenance import Context

logger = logging.getLogger(__name__)


class ProvenanceGuardScript(scripts.Script):
    """Stands in txt2img and img2img; the host makes one object for each."""

    def title(self) -> str:
        return "Provenance Guard"

    def show(self, is_img2img: bool) -> Any:
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        return accordion.build(self.elem_id)

    def before_process(self, p: Any, *controls: Any) -> None:
        with _reported("start the job"):
            current = job.start(p, accordion.read_wish(controls))
            p.extra_generation_params[job.ID_KEY] = current.infotext_id
            p.extra_generation_params[job.DECISION_KEY] = current.infotext_decision

    def process(self, p: Any, *controls: Any) -> None:
        current = job.of(p)
        if not door.may_be_skipped(current.wish):
            current.troubles += door.admit(lambda guard: _capture_run(p, current, guard))

    def process_batch(self, p: Any, *controls: Any, **batch: Any) -> None:
        with suppress(Exception):  # Each picture meets the same failure again, and there it counts.
            if not door.may_be_skipped(job.of(p).wish):
                _request_hashes(p)

    def postprocess_image(self, p: Any, pp: Any, *controls: Any) -> None:
        if not compat.has_composite_hook():
            _exchange_or_refuse(p, pp)

    def postprocess_image_after_composite(self, p: Any, pp: Any, *controls: Any) -> None:
        _exchange_or_refuse(p, pp)

    def postprocess(self, p: Any, processed: Any, *controls: Any) -> None:
        current = job.of(p)
        with _reported("show the verdicts", current):
            skipped = door.may_be_skipped(current.wish)
            lines = ["Provenance Guard was off for this job."] if skipped else current.summary()
            processed.comments += "".join(f"{line}\n" for line in lines)


def register() -> None:
    """Register the callbacks. Called whenever the host executes ``scripts/``; it has cleared the earlier ones then."""
    script_callbacks.on_ui_settings(options.register_options, name="options")
    script_callbacks.on_ui_tabs(_build_tab, name="tab")
    script_callbacks.on_app_started(_on_app_started, name="warm-up")
    script_callbacks.on_model_loaded(_on_model_loaded, name="hash")
    script_callbacks.on_image_saved(_on_image_saved, name="seal")


def _exchange_or_refuse(p: Any, pp: Any) -> None:
    """Put what may leave in the place of the finished picture ``pp.image``."""
    current = job.of(p)
    try:
        _exchange(p, pp, current)
    except Exception as error:
        pp.image, _ = door.refuse(pp.image, error, current.wish)


def _exchange(p: Any, pp: Any, current: job.Job) -> None:
    if door.may_be_skipped(current.wish):
        return
    index = getattr(p, "batch_index", 0)
    compat.show_activity("Provenance Guard")
    pp.image, passage = door.release(pp.image, lambda guard: _capture_picture(p, index, current, guard), current.wish)
    compat.show_activity(None)
    current.passages[p.iteration, index] = passage
    job.remember(pp.image, passage)


def _capture_run(p: Any, current: job.Job, guard: Guard) -> Context:
    from provenance_guard.webui import capture

    current.parents = capture.capture_parents(p, guard)
    return capture.capture_run(p)


def _capture_picture(p: Any, index: int, current: job.Job, guard: Guard) -> Context:
    from provenance_guard.webui import capture

    if current.parents is None:  # the hook ``process`` was missed or failed
        current.parents = capture.capture_parents(p, guard)
    return capture.capture_picture(p, index, current.parents)


def _request_hashes(p: Any) -> None:
    from provenance_guard.webui import resources, runtime

    resources.request_hashes(p, runtime.hasher())


def _on_image_saved(params: Any) -> None:
    passage = job.passage_of(params.image)
    if passage is None:
        return
    sealed = door.seal(params.image, passage, params.filename)
    job.remember(params.image, sealed)
    if params.p is not None:
        job.of(params.p).replace(passage, sealed)


def _on_app_started(demo: Any, app: Any) -> None:
    with _reported("warm up"):
        from provenance_guard.webui import runtime

        runtime.warm_up()


def _on_model_loaded(model: Any) -> None:
    with _reported("hash the checkpoint"):
        from provenance_guard.webui import runtime

        runtime.hash_soon(Path(model.sd_checkpoint_info.filename), compat.vae_file())


def _build_tab() -> list[tuple[Any, str, str]]:
    from provenance_guard.webui import tab

    return tab.build()


@contextmanager
def _reported(doing: str, current: job.Job | None = None) -> Iterator[None]:
    """Keep a failure that withholds nothing from being silent: log it and show it with the job's verdicts."""
    try:
        yield
    except Exception as error:
        logger.exception("Provenance Guard could not %s", doing)
        if current is not None:
            current.troubles.append(f"Provenance Guard could not {doing}: {type(error).__name__}: {error}")
