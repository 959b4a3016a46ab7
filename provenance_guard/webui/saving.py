"""The guards around a file: before the host's callbacks, at the very write, and when the file is complete.

Final pictures come here already guarded; the rest (intermediate files, joined pictures, mask composites, whatever an
extension saves) goes through the door here. Each function takes the place of one of the host's in ``images``.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from PIL import Image

from provenance_guard.webui import compat, door, job, sealing, seen, sweep

logger = logging.getLogger(__name__)


@dataclass
class _Saving:
    """One call of the host's ``save_image``: what it is about, and what was written first."""

    p: Any
    what: str
    known: dict[str, Any]
    written: Image.Image | None = None


class _Open(threading.local):
    """The calls of ``save_image`` that are running in this thread, the innermost last."""

    def __init__(self) -> None:
        self.calls: list[_Saving] = []


_open = _Open()


def save_image(original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """``images.save_image``: guard the picture in the host's own object, so that gallery and file show the same."""
    try:
        call = inspect.signature(original).bind(*arguments, **named)
        given = call.arguments
        if "image" not in given:
            raise TypeError("save_image was called without a picture")
    except (TypeError, ValueError):  # Wrapped beyond recognition: ``write_file`` guards what is written.
        return original(*arguments, **named)
    saving = _describe(given)
    _guard_before(saving, given)
    _open.calls.append(saving)
    try:
        result = original(*call.args, **call.kwargs)
    finally:
        _open.calls.remove(saving)
    _seal(saving, given["image"], result)
    return result


def write_file(original: Callable[..., Any], image: Any, infotext: Any, filename: Any, *rest: Any, **named: Any) -> Any:
    """``images.save_image_with_geninfo``: the last moment before the bytes are written, after every callback."""
    saving = _open.calls[-1] if _open.calls else _Saving(None, "a file", {})
    released, passage = _released(image, saving)
    if passage is not None and isinstance(infotext, str):
        infotext = job.with_id(infotext, passage)
        section = named.get("pnginfo_section_name", "parameters")
        named["existing_pnginfo"] = {**(named.get("existing_pnginfo") or {}), section: infotext}
    if saving.written is None:
        saving.written = released
    return original(released, infotext, filename, *rest, **named)


def on_image_saved(params: Any) -> None:
    """The host's callback, for code that holds the host's own ``save_image`` and so goes past ours."""
    if not _open.calls:
        passage = seen.passage_of(params.image)
        if passage is not None:
            sealing.seal(params.image, passage, params.filename)


def _describe(given: dict[str, Any]) -> _Saving:
    suffix = str(given.get("suffix") or "").strip("-")
    known = {name: given[name] for name in ("prompt", "seed") if given.get(name) is not None}
    return _Saving(given.get("p"), suffix or "a saved picture", known)


def _guard_before(saving: _Saving, given: dict[str, Any]) -> None:
    image = given["image"]
    if _brought_back(saving):
        with suppress(Exception):
            seen.remember(image)
        return
    released, passage = _released(image, saving)
    given["image"] = sweep.put_in_place(image, released) if isinstance(image, Image.Image) else released
    if passage is not None and isinstance(given.get("info"), str):
        given["info"] = job.with_id(given["info"], passage)


def _released(image: Any, saving: _Saving) -> tuple[Image.Image, door.Passage | None]:
    """What may be written, and how it came out when it went through the door just now."""
    work = job.current()
    current = work.job if work else job.Job()
    p = work.p if work else saving.p
    before = len(current.others)
    capture = sweep.capture_beside(p, saving.what, **saving.known)
    released = sweep.let_out(image, saving.what, current, capture, stamp=not compat.is_training())
    passage = current.others[-1][1] if len(current.others) > before else None
    return released, passage


def _brought_back(saving: _Saving) -> bool:
    """The Save button sends pictures that the browser already has."""
    return compat.is_save_button(saving.p)


def _seal(saving: _Saving, image: Any, result: Any) -> None:
    """Finish the file. A user's upload that the host keeps (no ``p`` within a job) is left as it is."""
    work = job.current()
    if saving.written is None or (saving.p is None and work is not None):
        return
    passage = seen.passage_of(saving.written)
    filename = result[0] if isinstance(result, tuple) else result
    if passage is None or not isinstance(filename, str):
        return
    # A zip is packed right after this.
    sealed = sealing.seal(saving.written, passage, filename, at_once=_brought_back(saving))
    if sealed is passage:
        return
    seen.remember(saving.written, sealed)
    for told in {id(entry): entry for entry in (work.job if work else None, job.found(saving.p)) if entry}.values():
        told.replace(passage, sealed)
    if sealed.withheld and isinstance(image, Image.Image) and image is not saving.written:
        sweep.put_in_place(image, saving.written)
