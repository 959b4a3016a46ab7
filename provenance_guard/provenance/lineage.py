"""Which picture came from which: find the record of a parent, and walk back to the first ancestors."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from provenance_guard.pictures import pixel_sha256
from provenance_guard.provenance.record import Parent, ParentRole, Record

MAX_ANCESTORS = 1000

_RECORD_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Ancestor:
    """A picture that another came from. ``child`` is the id of the record that names it, ``depth`` counts from 1.

    ``record`` is None when the parent's record is not known, or not here.
    """

    parent: Parent
    child: str
    depth: int
    record: Record | None


def find_parent(
    role: ParentRole,
    image: Image.Image,
    *,
    find_pixels: Callable[[str], str | None],
    detect_mark: Callable[[Image.Image], str | None] | None = None,
    label_id: str | None = None,
) -> Parent:
    """Recognise a picture that goes into another one.

    Asked in the order of how much the answer is worth: ``find_pixels`` (pixel hash -> id of the record with exactly these
    pixels), ``detect_mark`` (picture -> record id in its mark), ``label_id`` (the id that the label of its file claims).
    A parent that nobody knows has its pixel hash only.
    """
    digest = pixel_sha256(image)
    if found := _valid(find_pixels(digest)):
        return Parent(role, digest, found, "pixels")
    if detect_mark is not None and (found := _valid(detect_mark(image))):
        return Parent(role, digest, found, "mark")
    if found := _valid(label_id):
        return Parent(role, digest, found, "label")
    return Parent(role, digest)


def ancestors(record: Record, find: Callable[[str], Record | None], *, limit: int = MAX_ANCESTORS) -> list[Ancestor]:
    """All pictures that went into ``record``'s, nearest first; each record is walked once, so a circle ends.

    ``find`` gives a record by its id, or None. At most ``limit`` ancestors are returned.
    """
    found: list[Ancestor] = []
    walked = {record.id}
    waiting = deque([(record, 1)])
    while waiting:
        child, depth = waiting.popleft()
        for parent in child.context.parents:
            if len(found) >= limit:
                return found
            known = find(parent.record_id) if parent.record_id else None
            found.append(Ancestor(parent, child.id, depth, known))
            if known is not None and known.id not in walked:
                walked.add(known.id)
                waiting.append((known, depth + 1))
    return found


def _valid(record_id: str | None) -> str | None:
    return record_id if record_id and _RECORD_ID.fullmatch(record_id) else None
