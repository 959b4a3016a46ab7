"""XMP packets in the bytes of picture files: found, and replaced without touching anything else.

Every function takes and gives whole files as bytes. Pixel data, EXIF, ICC profiles, text chunks and what follows the end of
the picture survive byte for byte.
"""

from __future__ import annotations

from types import ModuleType

from provenance_guard.labels.containers import jpeg, png, webp

_CONTAINERS: dict[str, ModuleType] = {"PNG": png, "JPEG": jpeg, "WEBP": webp}


def identify(content: bytes) -> str | None:
    """The format by its first bytes, as Pillow names it; None when it is no picture format known here."""
    if content.startswith(png.SIGNATURE):
        return "PNG"
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if content.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        return "TIFF"
    if content[4:8] == b"ftyp":
        return "AVIF" if content[8:12] in (b"avif", b"avis") else "HEIF"
    if content.startswith(b"BM"):
        return "BMP"
    return None


def can_carry(name: str | None) -> bool:
    """Whether a packet can be put into files of this format."""
    return name in _CONTAINERS


def read_packets(name: str, content: bytes) -> tuple[bytes, ...]:
    """The XMP packets in a file of a format that can carry them, in file order. Raises LabelError when it is damaged."""
    packets: tuple[bytes, ...] = _CONTAINERS[name].read_packets(content)
    return packets


def replace_packets(name: str, content: bytes, packet: bytes) -> bytes:
    """The same file with ``packet`` as its only XMP packet. Raises LabelError when it is damaged or cannot hold it."""
    changed: bytes = _CONTAINERS[name].replace_packets(content, packet)
    return changed
