"""Where the guards stand in the host, put there and taken away again, and whether they are there.

Each takes the place of one of the host's own functions, which it calls: so it comes after everything that other extensions
do there, whatever order they ask for. The places are those that were seen to work in the real host.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from provenance_guard.webui import egress, extras_step, generation, grids, options, previews, saving, seen

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """One of the host's functions (or attributes), by module and dotted name, and what stands there instead."""

    guards: str
    module: str
    name: str
    handler: Callable[..., Any] | property


PLACES = (
    Place(
        "finished pictures",
        "modules.scripts",
        "ScriptRunner.postprocess_image_after_composite",
        generation.finish_picture,
    ),
    Place("every job", "modules.processing", "process_images_inner", generation.run_job),
    Place("what selected scripts return", "modules.scripts", "ScriptRunner.run", generation.run_script),
    Place("pictures to be saved", "modules.images", "save_image", saving.save_image),
    Place("files being written", "modules.images", "save_image_with_geninfo", saving.write_file),
    Place("grids", "modules.images", "image_grid", grids.image_grid),
    Place("legends of grids", "modules.images", "draw_grid_annotations", grids.annotate),
    Place("Extras", "modules.scripts_postprocessing", "ScriptPostprocessingRunner.run", extras_step.run_steps),
    Place("live previews", "modules.shared_state", "State.current_image", previews.GUARDED),
    Place("the list of disabled extensions", "modules.options", "Options.__setattr__", options.keep_us_enabled),
    Place("answers of the API", "modules.api.api", "encode_pil_to_base64", egress.encode_for_api),
    Place("galleries", "gradio.components", "Gallery.postprocess", egress.show_in_gallery),
)

Standing = Literal["in place", "covered", "not loaded", "missing", "off"]


@dataclass
class _Installed:
    owner: Any
    attribute: str
    original: Any
    replacement: Any


_installed: dict[Place, _Installed] = {}
_active = False


def install() -> None:
    """Put every guard in its place, outermost. Again is harmless: a guard that already stands outermost stays."""
    global _active
    _active = True
    for place in PLACES:
        try:
            _install(place)
        except Exception:
            logger.exception("Provenance Guard could not guard %s", place.guards)


def uninstall() -> None:
    """Give every place back. Where another extension has wrapped a guard, it stays and only calls what it replaced."""
    global _active
    _active = False
    for place, kept in list(_installed.items()):
        if _look_up(kept.owner, kept.attribute) is kept.replacement:
            setattr(kept.owner, kept.attribute, kept.original)
            del _installed[place]
    seen.forget_all()


def standing() -> Iterator[tuple[Place, Standing]]:
    """Whether each guard is in place. ``covered``: something else wraps it, and may change what it let pass."""
    for place in PLACES:
        yield place, _standing(place)


def is_in_place(handler: Callable[..., Any]) -> bool:
    """Whether the guard with this handler is called at all."""
    place = next(place for place in PLACES if place.handler is handler)
    return _standing(place) in ("in place", "covered")


def _standing(place: Place) -> Standing:
    kept = _installed.get(place)
    if kept is None:
        return "not loaded" if place.module not in sys.modules else "missing" if _active else "off"
    if not _active:
        return "off"
    return "in place" if _look_up(kept.owner, kept.attribute) is kept.replacement else "covered"


def _install(place: Place) -> None:
    owner: Any = sys.modules.get(place.module)
    *path, attribute = place.name.split(".")
    for part in path:
        owner = getattr(owner, part, None)
    current = _look_up(owner, attribute)
    if owner is None or current is _NOTHING:
        return  # The host lacks it, or has not loaded it yet.
    kept = _installed.get(place)
    if kept is not None and current is kept.replacement:
        return
    replacement = place.handler if isinstance(place.handler, property) else _wrap(current, place.handler)
    setattr(owner, attribute, replacement)
    _installed[place] = _Installed(owner, attribute, current, replacement)


_NOTHING = object()


def _look_up(owner: Any, attribute: str) -> Any:
    """An attribute as it is stored: a property and not its value."""
    for place in getattr(owner, "__mro__", (owner,)):
        if attribute in getattr(place, "__dict__", {}):
            return vars(place)[attribute]
    return _NOTHING


def _wrap(original: Callable[..., Any], handler: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def guarded(*arguments: Any, **named: Any) -> Any:
        if not _active:
            return original(*arguments, **named)
        return handler(original, *arguments, **named)

    return guarded
