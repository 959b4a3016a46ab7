"""What the host's own settings do to the guard: lines for the Health panel."""

from __future__ import annotations

from collections.abc import Iterator

from provenance_guard.review.health import Check, State
from provenance_guard.webui import compat, door, options
from provenance_guard.webui.extras_step import ProvenanceGuardExtras

_SUBJECT = "WebUI"
_INTERMEDIATE = (
    "save_images_before_highres_fix",
    "save_images_before_face_restoration",
    "save_images_before_color_correction",
)


def examine_host() -> list[Check]:
    """Options of the host that get round the guard or take from what it writes."""
    return [Check(_SUBJECT, state, sentence) for state, sentence in _examine()]


def _examine() -> Iterator[tuple[State, str]]:
    name = ProvenanceGuardExtras.name
    severe: State = "problem" if door.blocks_on_error() else "note"
    versions = compat.versions()
    yield "fine", f"WebUI {versions['webui']}, guarded in txt2img, img2img and Extras."
    if options.policy_file() is None:
        yield "note", "No policy file: everybody who can open the settings can change what is guarded."
    if not compat.has_composite_hook():
        yield "note", "This host may still change a picture after it was marked."
    if name in compat.option("postprocessing_disable_in_extras", []):
        yield severe, f"Extras pictures are not guarded: take {name!r} out of 'Disable postprocessing operations'."
    if name in compat.option("postprocessing_operation_order", []):
        yield severe, f"Extras steps may run after the guard: take {name!r} out of 'Postprocessing operation order'."
    if not compat.option("enable_pnginfo", True):
        yield "note", "Files carry no infotext: 'Write infotext to metadata of the generated image' is off."
    for key in _INTERMEDIATE:
        if compat.option(key, False):
            yield severe, f"Unscreened intermediate pictures are saved: the option {key!r} is on."
    if compat.option("live_previews_enable", False) and door.blocks_on_error():
        yield "note", "Live previews show a picture before it is screened."
