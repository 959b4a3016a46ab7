"""JPEG: the packet is an APP1 segment with the identifier ``http://ns.adobe.com/xap/1.0/``.

An extended packet (more than one segment, ``http://ns.adobe.com/xmp/extension/``) is left alone: it stays valid, because the
main packet that names its digest is merged, not replaced.
Sources: ISO 10918-1 annex B; XMP specification part 3, 1.1.3; CIPA DC-007 (multi-picture format).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from provenance_guard.errors import LabelError
from provenance_guard.labels.containers.damage import damaged

_XMP = b"http://ns.adobe.com/xap/1.0/\x00"
_MAX_BODY = 65533
_SOI, _APP0, _APP1, _APP2 = 0xD8, 0xE0, 0xE1, 0xE2
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_STAND_ALONE = {0x01, *range(0xD0, 0xD8)}


@dataclass(frozen=True)
class _Segment:
    marker: int
    start: int
    end: int
    body: bytes

    @property
    def is_xmp(self) -> bool:
        return self.marker == _APP1 and self.body.startswith(_XMP)

    @property
    def leads(self) -> bool:
        """Whether readers want this segment before an XMP one: JFIF, then EXIF."""
        return self.marker == _APP0 or (self.marker == _APP1 and self.body.startswith(b"Exif\x00"))

    @property
    def is_multi_picture(self) -> bool:
        return self.marker == _APP2 and self.body.startswith(b"MPF\x00")


def read_packets(content: bytes) -> tuple[bytes, ...]:
    """The packets of all XMP segments before the pixels."""
    return tuple(segment.body[len(_XMP) :] for segment in _segments(content) if segment.is_xmp)


def replace_packets(content: bytes, packet: bytes) -> bytes:
    """Put the packet where the first one stood, else after the leading JFIF and EXIF segments."""
    segments = list(_segments(content))
    _refuse_moving_further_pictures(segments)
    body = _XMP + packet
    if len(body) > _MAX_BODY:
        raise LabelError(
            f"The picture's metadata and the label together ({len(packet)} bytes) are larger than a JPEG segment can be.",
            next_step="Remove some of its XMP metadata, or save it as PNG.",
        )
    new = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    place = next((segment for segment in segments if segment.is_xmp), None)
    place = place or next(segment for segment in segments if not segment.leads)
    parts = []
    for segment in segments:
        if segment is place:
            parts.append(new)
        if not segment.is_xmp:
            parts.append(content[segment.start : segment.end])
    return content[:2] + b"".join(parts) + content[segments[-1].end :]


def _refuse_moving_further_pictures(segments: list[_Segment]) -> None:
    """Offsets to further pictures count from the MPF segment: bytes before it may change, bytes after it may not."""
    index = next((number for number, segment in enumerate(segments) if segment.is_multi_picture), None)
    if index is not None and any(segment.is_xmp for segment in segments[index:]):
        raise LabelError(
            "The JPEG holds further pictures whose places would change with its metadata.",
            next_step="Save it as a single JPEG or as PNG and label that.",
        )


def _segments(content: bytes) -> Iterator[_Segment]:
    """The segments after SOI up to and with the first start of scan; the rest of the file is checked for its end."""
    position = 2
    while True:
        if position + 4 > len(content):
            raise damaged("the JPEG ends before its pixels")
        if content[position] != 0xFF:
            raise damaged("a JPEG segment does not begin with a marker")
        marker = content[position + 1]
        if marker == 0xFF:  # a fill byte
            yield _Segment(0xFF, position, position + 1, b"")
            position += 1
            continue
        if marker in (_SOI, _END_OF_IMAGE, 0x00):
            raise damaged("the JPEG holds no pixels")
        if marker in _STAND_ALONE:
            yield _Segment(marker, position, position + 2, b"")
            position += 2
            continue
        end = _end_of_segment(content, position)
        if marker == _START_OF_SCAN:
            _require_end_of_image(content, end)
        yield _Segment(marker, position, end, content[position + 4 : end])
        if marker == _START_OF_SCAN:
            return
        position = end


def _end_of_segment(content: bytes, position: int) -> int:
    if position + 4 > len(content):
        raise damaged("the JPEG is cut short in a segment")
    (length,) = struct.unpack_from(">H", content, position + 2)
    end: int = position + 2 + length
    if length < 2 or end > len(content):
        raise damaged("the JPEG is cut short in a segment")
    return end


def _require_end_of_image(content: bytes, position: int) -> None:
    """Walk the compressed data and the segments between scans until the end marker."""
    while True:
        position = content.find(b"\xff", position)
        if position < 0 or position + 2 > len(content):
            raise damaged("the JPEG ends before its last pixels")
        marker = content[position + 1]
        if marker == _END_OF_IMAGE:
            return
        if marker == 0xFF:
            position += 1
        elif marker == 0x00 or marker in _STAND_ALONE:
            position += 2
        else:
            position = _end_of_segment(content, position)
