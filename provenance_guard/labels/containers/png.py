"""PNG: the packet is an uncompressed iTXt chunk ``XML:com.adobe.xmp``.

Sources: PNG specification, third edition (W3C), 5.2-5.3 and 11.3.3; XMP specification part 3, 1.1.5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from provenance_guard.labels.containers.damage import MAX_PACKET, damaged

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEYWORD = b"XML:com.adobe.xmp"
_TEXT_CHUNKS = (b"iTXt", b"tEXt", b"zTXt")


@dataclass(frozen=True)
class _Chunk:
    type: bytes
    start: int
    end: int
    body: bytes

    @property
    def is_xmp(self) -> bool:
        # Only iTXt is right; some programs copy a packet into tEXt or zTXt, where it would survive as a stale second label.
        return self.type in _TEXT_CHUNKS and self.body.startswith(_KEYWORD + b"\x00")


def read_packets(content: bytes) -> tuple[bytes, ...]:
    """The packets of all text chunks with the XMP keyword."""
    return tuple(_text(chunk) for chunk in _chunks(content) if chunk.is_xmp)


def replace_packets(content: bytes, packet: bytes) -> bytes:
    """Put the packet where the first one stood, else before the pixel data."""
    chunks = list(_chunks(content))
    present = [chunk for chunk in chunks if chunk.is_xmp]
    place = present[0] if present else next(chunk for chunk in chunks if chunk.type == b"IDAT")
    body = _KEYWORD + b"\x00" + b"\x00\x00" + b"\x00\x00" + packet  # not compressed, no language, no translated keyword
    parts = []
    for chunk in chunks:
        if chunk is place:
            parts.append(struct.pack(">I", len(body)) + b"iTXt" + body + _checksum(b"iTXt" + body))
        if not chunk.is_xmp:
            parts.append(content[chunk.start : chunk.end])
    return SIGNATURE + b"".join(parts) + content[chunks[-1].end :]


def _chunks(content: bytes) -> Iterator[_Chunk]:
    """Every chunk up to IEND, its checksum verified."""
    position = len(SIGNATURE)
    found: set[bytes] = set()
    while b"IEND" not in found:
        if len(content) - position < 12:
            raise damaged("the PNG ends before its last chunk")
        (length,) = struct.unpack_from(">I", content, position)
        end = position + 12 + length
        if end > len(content):
            raise damaged("the PNG is cut short in a chunk")
        kind = content[position + 4 : position + 8]
        if content[end - 4 : end] != _checksum(content[position + 4 : end - 4]):
            raise damaged("a PNG chunk has a wrong checksum")
        if not found and kind != b"IHDR":
            raise damaged("the PNG does not begin with its header")
        found.add(kind)
        yield _Chunk(kind, position, end, content[position + 8 : end - 4])
        position = end
    if b"IDAT" not in found:
        raise damaged("the PNG holds no pixels")


def _checksum(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))


def _text(chunk: _Chunk) -> bytes:
    value = chunk.body[len(_KEYWORD) + 1 :]
    if chunk.type == b"tEXt":
        return value
    if chunk.type == b"zTXt":
        return _decompress(value[1:])
    fields = value[2:].split(b"\x00", 2)
    if len(value) < 2 or len(fields) < 3:
        raise damaged("a PNG text chunk is cut short")
    return _decompress(fields[2]) if value[0] else fields[2]


def _decompress(data: bytes) -> bytes:
    try:
        decompressor = zlib.decompressobj()
        text = decompressor.decompress(data, MAX_PACKET)
    except zlib.error:
        raise damaged("a compressed PNG text chunk cannot be read") from None
    if decompressor.unconsumed_tail:
        raise damaged("a compressed PNG text chunk is far too large")
    return text
