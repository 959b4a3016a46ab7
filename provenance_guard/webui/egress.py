"""The very last look, where a picture becomes an answer: what is not known to have passed, counts as a failed step.

The gallery's comes on the host's event loop, so that nothing may be computed here but the pixels' hash.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image

from provenance_guard.webui import door, seen, sweep

_GALLERIES = ("txt2img_gallery", "img2img_gallery", "extras_gallery")


class UnguardedError(Exception):
    """A picture reached a way out and had not passed the door."""


def encode_for_api(original: Callable[..., Any], item: Any, *rest: Any, **named: Any) -> Any:
    """``api.encode_pil_to_base64``: every picture of an answer, and the API's live preview."""
    return original(_checked(item, previews=True), *rest, **named)


def show_in_gallery(original: Callable[..., Any], component: Any, items: Any, *rest: Any, **named: Any) -> Any:
    """``Gallery.postprocess`` of Gradio, for the galleries of the host. Others show pictures that a user brought."""
    if getattr(component, "elem_id", None) in _GALLERIES and isinstance(items, (list, tuple)):
        items = [_checked_entry(entry) for entry in items]
    return original(component, items, *rest, **named)


def _checked_entry(entry: Any) -> Any:
    """A gallery's entry is a picture, or a picture and its caption."""
    if isinstance(entry, (list, tuple)) and entry:
        return (_checked(entry[0], previews=False), *entry[1:])
    return _checked(entry, previews=False)


def _checked(item: Any, *, previews: bool) -> Any:
    try:
        image = sweep.as_picture(item)
        if seen.knows(image) or (previews and seen.knows_preview(image)):
            return item
        error = UnguardedError("it reached a way out without having passed the guard")
        notice, passage = door.refuse(image, error, door.Wish())
    except Exception as error:
        notice, passage = door.refuse(Image.new("RGB", (512, 512)), error, door.Wish())
    return notice if passage.withheld else item
