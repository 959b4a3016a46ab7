"""Live previews: the policy's ``previews`` says whether they are shown, blurred, or not at all.

Browser and API read ``State.current_image``, and whatever decodes a preview writes it. A property in its place sees them all.
"""

from __future__ import annotations

from typing import Any

from PIL import Image

from provenance_guard.webui import door, job, seen

_BLURRED = 12
"""The longer side of a blurred preview, in pixels, before it is enlarged again: colours and a rough layout are left."""

_SLOT = "_provenance_guard_current_image"


def read(state: Any) -> Any:
    """The picture that may be shown, if any."""
    return state.__dict__.get(_SLOT)


def write(state: Any, image: Any) -> None:
    """The host has a preview to show. Never raises."""
    state.__dict__[_SLOT] = None if image is None else _shown(image)


GUARDED = property(read, write)
"""Takes the place of the host's plain attribute."""


def _shown(image: Any) -> Any:
    try:
        if not isinstance(image, Image.Image):
            return image if _wanted() == "allow" else None
        if seen.knows(image):  # a finished one, as Extras shows it
            return image
        wanted = _wanted()
        if wanted not in ("allow", "blur"):
            return None
        shown = image if wanted == "allow" else _blur(image)
        seen.remember_preview(shown)
        return shown
    except Exception:
        return None if door.blocks_on_error() else image


def _wanted() -> str:
    from provenance_guard.webui import configuration

    work = job.current(of_any_thread=True)
    wish = work.job.wish if work else door.Wish()
    if door.may_be_skipped(wish):
        return "allow"
    return configuration.read_config().policy.narrow(mode=wish.mode).previews


def _blur(image: Image.Image) -> Image.Image:
    factor = _BLURRED / max(image.size)
    small = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.convert("RGB").resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BICUBIC)
