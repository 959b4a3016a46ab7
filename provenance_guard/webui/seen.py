"""Which pictures may pass without being asked again: those that came out of the door, and those that a user brought.

Pictures are known by their pixels, because the host copies, converts and rereads its objects. Nothing here keeps pixels
alive. Imports nothing heavy: a picture that cannot be told by its pixels is simply not known.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeVar

from PIL import Image

if TYPE_CHECKING:
    from provenance_guard.webui.door import Passage

T = TypeVar("T")

_PICTURES = 20_000
_PASSAGES = 500
_PREVIEWS = 100
"""So many are remembered of each kind; the oldest are forgotten, and a forgotten picture is simply examined again."""

_EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV")
_OPAQUE = 254

_lock = threading.Lock()
_known: OrderedDict[str, None] = OrderedDict()
_passages: OrderedDict[str, Passage] = OrderedDict()
_previews: OrderedDict[str, None] = OrderedDict()


def remember(image: Image.Image, passage: Passage | None = None) -> None:
    """These pixels may leave. ``passage`` tells how they came out of the door; None when they need none (an upload, a grid
    of pictures that passed)."""
    key = _key(image)
    if key is None:
        return
    with _lock:
        _keep(_known, key, None, _PICTURES)
        if passage is not None:
            _keep(_passages, key, passage, _PASSAGES)


def remember_preview(image: Image.Image) -> None:
    """The policy lets this live preview be shown. That says nothing about the finished picture."""
    key = _key(image)
    if key is not None:
        with _lock:
            _keep(_previews, key, None, _PREVIEWS)


def has_passed(image: Image.Image) -> bool:
    """Whether these very pixels were remembered."""
    return _key(image) in _known


def knows(image: Image.Image) -> bool:
    """Whether these pixels may leave as they are. A picture of one colour shows nothing and may."""
    key = _key(image)
    return key is not None and (key in _known or _is_blank(image))


def knows_preview(image: Image.Image) -> bool:
    """Whether these pixels are a live preview that may be shown."""
    return _key(image) in _previews


def passage_of(image: Image.Image) -> Passage | None:
    """How these pixels came out of the door; None when they did not, or too long ago."""
    key = _key(image)
    return _passages.get(key) if key is not None else None


def forget_all() -> None:
    """For an unloaded extension."""
    with _lock:
        for kept in (_known, _passages, _previews):
            kept.clear()


def _key(image: Image.Image) -> str | None:
    """A hash of what can be seen. The lowest bits do not count: Forge and reForge write the infotext into them, of the alpha
    channel or of the colours, after a picture was guarded and before it is saved."""
    try:
        import numpy as np

        if image.mode in _EIGHT_BITS:
            image = _plain(image)
            pixels = (np.asarray(image) & 0xFE).tobytes()
        else:
            pixels = image.tobytes()
        head = f"{image.mode} {image.width} {image.height}\n".encode()
        return hashlib.sha256(head + pixels).hexdigest()
    except Exception:  # a file cut short, a broken installation
        return None


def _plain(image: Image.Image) -> Image.Image:
    """As RGB, or RGBA when anything is transparent."""
    if image.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return image.convert("RGB") if image.getextrema()[3][0] >= _OPAQUE else image


def _is_blank(image: Image.Image) -> bool:
    return image.mode in _EIGHT_BITS and all(low == high for low, high in _plain(image).convert("RGBA").getextrema())


def _keep(kept: OrderedDict[str, T], key: str, value: T, limit: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > limit:
        kept.popitem(last=False)
