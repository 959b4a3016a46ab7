"""The hooks and callbacks in the WebUI. Registered first and free of heavy imports.

The pictures themselves are guarded by what ``guards`` puts around the host's functions. The host swallows what a hook
raises and delivers the picture, so nothing here is what a picture's guarding depends on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules import script_callbacks, scripts

from provenance_guard.webui import accordion, compat, door, generation, guards, job, options, saving, sealing

if TYPE_CHECKING:
    from provenance_guard.guard import Guard
    from provenance_guard.provenance import Context

logger = logging.getLogger(__name__)


class ProvenanceGuardScript(scripts.Script):
    """Stands in txt2img and img2img; the host makes one object for each."""

    def title(self) -> str:
        return accordion.TITLE

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
            generation.exchange(p, pp)

    def postprocess_image_after_composite(self, p: Any, pp: Any, *controls: Any) -> None:
        if not guards.is_in_place(generation.finish_picture):
            generation.exchange(p, pp)


def register() -> None:
    """Put the guards in place and register the callbacks. Called whenever the host executes ``scripts/``; it has cleared the
    earlier callbacks then."""
    guards.install()
    script_callbacks.on_ui_settings(options.register_options, name="options")
    script_callbacks.on_ui_tabs(_build_tab, name="tab")
    script_callbacks.on_app_started(_on_app_started, name="warm-up")
    script_callbacks.on_model_loaded(_on_model_loaded, name="hash")
    script_callbacks.on_image_saved(saving.on_image_saved, name="seal")
    script_callbacks.on_script_unloaded(_on_unloaded, name="unload")


def _capture_run(p: Any, current: job.Job, guard: Guard) -> Context:
    from provenance_guard.webui import capture

    current.parents = capture.capture_parents(p, guard)
    return capture.capture_run(p)


def _request_hashes(p: Any) -> None:
    from provenance_guard.webui import resources, runtime

    resources.request_hashes(p, runtime.hasher())


def _on_app_started(demo: Any, app: Any) -> None:
    guards.install()  # by now every extension has put its own around the host's functions
    with _reported("keep the browser out of its folders"):
        from provenance_guard.webui import configuration

        compat.refuse_downloads(demo, configuration.private_paths())
    with _reported("warm up"):
        from provenance_guard.webui import runtime

        runtime.warm_up()
        runtime.in_background(sealing.resume)
        runtime.in_background(_leave_word)
    with _reported("take up its post"):
        from provenance_guard.webui import presence, runtime

        runtime.in_background(presence.begin)


def _on_model_loaded(model: Any) -> None:
    with _reported("hash the checkpoint"):
        from provenance_guard.webui import runtime

        runtime.hash_soon(Path(model.sd_checkpoint_info.filename), compat.vae_file())


def _on_unloaded() -> None:
    """After "Reload UI", or at the end: what waits is finished, and the host gets its functions back."""
    with _reported("finish the files that wait"):
        sealing.flush(30)
    with _reported("leave its post"):
        from provenance_guard.webui import presence, runtime

        presence.end()
        runtime.hand_back()
    guards.uninstall()


def _leave_word() -> None:
    from provenance_guard.webui import health

    health.leave_word()


def _build_tab() -> list[tuple[Any, str, str]]:
    from provenance_guard.webui import tab

    return tab.build()


@contextmanager
def _reported(doing: str) -> Iterator[None]:
    """Keep a failure that withholds nothing from being silent."""
    try:
        yield
    except Exception:
        logger.exception("Provenance Guard could not %s", doing)
