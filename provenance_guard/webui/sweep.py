"""Whatever leaves the host beside its finished pictures: each is known, or goes through the door here, or stays.

The host calls these lists "images", but another extension may have put anything into them. No exception leaves this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from provenance_guard.webui import door, job, seen

if TYPE_CHECKING:
    from provenance_guard.guard import Guard
    from provenance_guard.provenance import Context
    from provenance_guard.webui.door import Passage, Wish

_FALLBACK_SIZE = (512, 512)
"""Of the notice in the place of something that is no picture."""


def let_out(
    item: Any, what: str, current: job.Job, capture: Callable[[Guard], Context], *, stamp: bool = True
) -> Image.Image:
    """What may leave in the place of ``item``. ``what`` names it to the user; ``stamp`` False leaves it unmarked."""
    try:
        image = as_picture(item)
    except Exception as error:
        released, passage = door.replace(_FALLBACK_SIZE, door.explain("Something that is no picture", error))
        current.others.append((what, passage))
        seen.remember(released, passage)
        return released
    try:
        if seen.knows(image):
            return image
        if door.may_be_skipped(current.wish):
            seen.remember(image)
            return image
        released, passage = door.release(image, capture, current.wish, stamp=stamp)
    except Exception as error:
        released, passage = door.refuse(image, error, current.wish)
    seen.remember(released, passage)
    current.others.append((what, passage))
    return released


def sweep_processed(processed: Any, p: Any, current: job.Job, *, stamp: bool = True) -> None:
    """Every picture of a finished ``Processed``, and of the list beside it that Forge and reForge have."""
    infotexts = getattr(processed, "infotexts", None)
    for name in ("images", "extra_images"):
        items = getattr(processed, name, None)
        if isinstance(items, (list, tuple)):
            # With masks the host has more pictures than infotexts, and only itself knows which belong together.
            aligned = isinstance(infotexts, list) and len(infotexts) == len(items) and name == "images"
            swept = sweep_list(items, p, current, infotexts if aligned else [], stamp=stamp)
            if swept is not None:
                setattr(processed, name, swept)


def sweep_list(
    items: Sequence[Any], p: Any, current: job.Job, infotexts: Any, *, stamp: bool = True
) -> list[Any] | None:
    """Examine ``items`` and exchange what must not leave, in a list itself, so that who holds it sees the same. Returns a
    new list only when that is not possible."""
    target = items if isinstance(items, list) else list(items)
    for number, item in enumerate(target):
        picture, caption = _split(item)
        before = len(current.others)
        released = let_out(picture, "another picture", current, capture_beside(p, "beside the pictures"), stamp=stamp)
        if released is not picture:
            target[number] = released if caption is None else (released, caption)
        if len(current.others) > before and number < len(infotexts):
            infotexts[number] = job.with_id(infotexts[number], current.others[-1][1])
            released.info["parameters"] = infotexts[number]
    return None if target is items else target


def capture_beside(p: Any, made_as: str, **known: Any) -> Callable[[Guard], Context]:
    """What is known of a picture that is none of the finished ones; ``known`` are parameters that its caller tells."""

    def capture_it(guard: Guard) -> Context:
        from provenance_guard.webui import capture

        return capture.capture_beside(p, made_as, known, guard)

    return capture_it


def as_picture(item: Any) -> Image.Image:
    """What the gallery would show of ``item``: a picture, an array, or the name of a file. Raises TypeError, OSError."""
    if isinstance(item, Image.Image):
        return item
    if isinstance(item, (str, Path)):
        with Image.open(item) as opened:
            return opened.copy()
    if hasattr(item, "__array_interface__"):
        return Image.fromarray(item)
    raise TypeError(f"a script returned {type(item).__name__!r} where a picture belongs")


def put_in_place(image: Image.Image, released: Image.Image) -> Image.Image:
    """Make the host's own object show ``released``, when it can; returns the one that does."""
    if image is released:
        return image
    if (image.mode, image.size) != (released.mode, released.size):
        return released
    image.paste(released)
    return image


def refuse_all(processed: Any, error: Exception, wish: Wish) -> Passage | None:
    """The sweep itself failed: what ``on_error`` says about every picture that is not known to have passed."""
    passage = None
    for name in ("images", "extra_images"):
        items = getattr(processed, name, None)
        if not isinstance(items, (list, tuple)):
            continue
        kept = []
        for item in items:
            picture, _ = _split(item)
            if isinstance(picture, Image.Image) and seen.knows(picture):
                kept.append(item)
                continue
            size = picture.size if isinstance(picture, Image.Image) else _FALLBACK_SIZE
            notice, passage = door.refuse(Image.new("RGB", size), error, wish)
            kept.append(notice if passage.withheld else item)
        setattr(processed, name, kept)
    return passage


def _split(item: Any) -> tuple[Any, Any]:
    """A gallery entry as picture and caption."""
    if isinstance(item, (list, tuple)) and len(item) == 2:
        return item[0], item[1]
    return item, None
