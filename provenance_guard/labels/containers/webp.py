"""WebP: the packet is a chunk ``XMP `` of the extended form, announced by a flag in the VP8X chunk.

A simple file (one VP8 or VP8L chunk) becomes an extended one: a VP8X chunk with the same canvas is put in front.
Source: RFC 9649, 2.4-2.7 (container), 3.4 (VP8L header); RFC 6386, 9.1 (VP8 frame header).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from provenance_guard.errors import LabelError
from provenance_guard.labels.containers.damage import damaged

_XMP_FLAG, _ALPHA_FLAG = 0x04, 0x10
_MAX_FILE = 0xFFFFFFFE


@dataclass(frozen=True)
class _Chunk:
    type: bytes
    body: bytes

    def to_bytes(self) -> bytes:
        return self.type + struct.pack("<I", len(self.body)) + self.body + b"\x00" * (len(self.body) % 2)


def read_packets(content: bytes) -> tuple[bytes, ...]:
    """The bodies of all XMP chunks."""
    return tuple(chunk.body for chunk in _parse(content)[0] if chunk.type == b"XMP ")


def replace_packets(content: bytes, packet: bytes) -> bytes:
    """Put the packet where the first one stood, else at the end."""
    chunks, rest = _parse(content)
    if chunks[0].type != b"VP8X":
        chunks.insert(0, _extended_header(chunks[0]))
    chunks[0] = _with_xmp_flag(chunks[0])
    new = _Chunk(b"XMP ", packet)
    place = next((number for number, chunk in enumerate(chunks) if chunk.type == b"XMP "), len(chunks))
    kept = [chunk for chunk in chunks if chunk.type != b"XMP "]
    body = b"WEBP" + b"".join(chunk.to_bytes() for chunk in (*kept[:place], new, *kept[place:]))
    if len(body) > _MAX_FILE:
        raise LabelError("The WebP is too large for a label.", next_step="Save it as PNG.")
    return b"RIFF" + struct.pack("<I", len(body)) + body + rest


def _parse(content: bytes) -> tuple[list[_Chunk], bytes]:
    """The chunks, and what follows the RIFF form in the file."""
    (size,) = struct.unpack_from("<I", content, 4)
    end = 8 + size
    if end > len(content) + 1:  # One less is a missing last pad byte, which some programs forget.
        raise damaged("the WebP is cut short")
    position, chunks = 12, []
    while position < min(end, len(content)):
        if position + 8 > min(end, len(content)):
            raise damaged("a WebP chunk is cut short")
        kind, (length,) = content[position : position + 4], struct.unpack_from("<I", content, position + 4)
        start = position + 8
        if start + length > min(end, len(content)):
            raise damaged("a WebP chunk is cut short")
        chunks.append(_Chunk(kind, content[start : start + length]))
        position = start + length + length % 2
    if not any(chunk.type in (b"VP8 ", b"VP8L", b"ANMF") for chunk in chunks):
        raise damaged("the WebP holds no pixels")
    if chunks[0].type == b"VP8X" and len(chunks[0].body) < 10:
        raise damaged("the WebP header is cut short")
    return chunks, content[max(end, position) :]


def _extended_header(first: _Chunk) -> _Chunk:
    if first.type == b"VP8L":
        if len(first.body) < 5 or first.body[0] != 0x2F:
            raise damaged("the WebP's lossless header is wrong")
        (bits,) = struct.unpack_from("<I", first.body, 1)
        flags = _ALPHA_FLAG if bits >> 28 & 1 else 0
        width_less_one, height_less_one = bits & 0x3FFF, bits >> 14 & 0x3FFF
    elif first.type == b"VP8 ":
        if len(first.body) < 10 or first.body[3:6] != b"\x9d\x01\x2a":
            raise damaged("the WebP's frame header is wrong")
        flags = 0
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", first.body, 6))
        if not width or not height:
            raise damaged("the WebP has no size")
        width_less_one, height_less_one = width - 1, height - 1
    else:
        raise damaged("the WebP does not begin with its header or its pixels")
    canvas = width_less_one.to_bytes(3, "little") + height_less_one.to_bytes(3, "little")
    return _Chunk(b"VP8X", bytes([flags, 0, 0, 0]) + canvas)


def _with_xmp_flag(header: _Chunk) -> _Chunk:
    return _Chunk(header.type, bytes([header.body[0] | _XMP_FLAG]) + header.body[1:])
