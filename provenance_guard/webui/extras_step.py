"""The step in the Extras tab and API: pictures that are upscaled or otherwise changed pass the same door.

The host does not catch what a step raises, and calls it with None for every control when the API does not name it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modules import scripts_postprocessing

from provenance_guard.webui import accordion, door, job

if TYPE_CHECKING:
    from provenance_guard.guard import Guard
    from provenance_guard.provenance import Context

_INPUT = "provenance_guard_input"


class ProvenanceGuardExtras(scripts_postprocessing.ScriptPostprocessing):
    """Runs after every other step, because its order is high."""

    name = "Provenance Guard"
    order = 90_000

    def ui(self) -> dict[str, Any]:
        return accordion.build_extras()

    def process_firstpass(self, pp: Any, **controls: Any) -> None:
        # ``shared`` is handed on to the copies that other steps make of ``pp``.
        setattr(pp.shared, _INPUT, pp.image)

    def process(self, pp: Any, **controls: Any) -> None:
        source = getattr(pp.shared, _INPUT, None)
        if source is None:
            return  # Run from txt2img ("enable in main UI"): the picture passes the door there.
        wish = accordion.read_extras_wish(controls)
        if door.may_be_skipped(wish):
            return
        try:
            info = dict(pp.info)
            pp.image, passage = door.release(pp.image, lambda guard: _capture(source, info, guard), wish)
        except Exception as error:
            pp.image, passage = door.refuse(pp.image, error, wish)
        job.remember(pp.image, passage)
        pp.info[job.ID_KEY] = passage.record_id
        pp.info[job.DECISION_KEY] = " ".join(passage.messages) or passage.action


def _capture(source: Any, info: dict[str, Any], guard: Guard) -> Context:
    from provenance_guard.webui import capture

    return capture.capture_extras(source, info, guard)
