"""Extras, tab and API: pictures that are upscaled or otherwise changed pass the same door.

The guard stands around the host's runner, so that no option, order or other step gets round it. The step itself only has
the control. The host does not catch what a step raises, and calls it with None for every control that the API does not name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modules import scripts_postprocessing
from PIL import Image

from provenance_guard.webui import accordion, door, job, seen

if TYPE_CHECKING:
    from provenance_guard.guard import Guard
    from provenance_guard.provenance import Context

_WISH = "provenance_guard_wish"


class ProvenanceGuardExtras(scripts_postprocessing.ScriptPostprocessing):
    """The control in the Extras tab."""

    name = accordion.TITLE
    order = 90_000

    def ui(self) -> dict[str, Any]:
        return accordion.build_extras()

    def process_firstpass(self, pp: Any, **controls: Any) -> None:
        # ``shared`` is handed on to the copies that other steps make of ``pp``.
        setattr(pp.shared, _WISH, accordion.read_extras_wish(controls))

    def process(self, pp: Any, **controls: Any) -> None:
        """The guard comes after all steps (``run_steps``)."""


def run_steps(original: Callable[..., Any], runner: Any, pp: Any, *arguments: Any, **named: Any) -> Any:
    """``ScriptPostprocessingRunner.run``: all steps on one picture, which may become several."""
    source = pp.image.copy() if isinstance(pp.image, Image.Image) else pp.image
    result = original(runner, pp, *arguments, **named)
    wish = getattr(pp.shared, _WISH, None) or door.Wish()
    for finished in [pp, *pp.extra_images]:
        _guard(finished, source, wish)
    return result


def _guard(pp: Any, source: Any, wish: door.Wish) -> None:
    if not isinstance(pp.image, Image.Image):
        pp.image, passage = door.replace((512, 512), f"A step left {type(pp.image).__name__!r} where the picture was.")
    elif door.may_be_skipped(wish):
        seen.remember(pp.image)
        return
    else:
        try:
            info = dict(pp.info)
            pp.image, passage = door.release(pp.image, lambda guard: _capture(source, info, guard), wish)
        except Exception as error:
            pp.image, passage = door.refuse(pp.image, error, wish)
    seen.remember(pp.image, passage)
    pp.info[job.ID_KEY] = passage.record_id
    pp.info[job.DECISION_KEY] = " ".join(passage.messages) or passage.action


def _capture(source: Any, info: dict[str, Any], guard: Guard) -> Context:
    from provenance_guard.webui import capture

    return capture.capture_extras(source, info, guard)
