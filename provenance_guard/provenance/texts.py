"""The texts that programs leave in picture files: PNG text chunks, EXIF, comments; decoded, whoever wrote them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from PIL import Image, PngImagePlugin

USER_COMMENT = "UserComment"
COMMENT = "comment"

_EXIF_IFD, _USER_COMMENT_TAG = 0x8769, 0x9286
_IFD_TEXTS = {0x010E: "ImageDescription", 0x010F: "Make", 0x0110: "Model", 0x0131: "Software", 0x0132: "DateTime"}
_EXIF_TEXTS = {0x9003: "DateTimeOriginal"}
_PREFIX_BYTES = 8


def read_texts(info: Mapping[str, object]) -> dict[str, str]:
    """All texts in ``pictures.Picture.info``, by chunk or tag name. Never raises; what cannot be decoded is left out.

    EXIF tags have their standard names (``UserComment``); a GIF or JPEG comment is ``comment``.
    """
    texts = {name: _repair(value) for name, value in info.items() if isinstance(value, str)}
    comment = info.get("comment")
    if isinstance(comment, bytes):
        texts[COMMENT] = _decode_8_bit(comment)
    exif = info.get("exif")
    if isinstance(exif, bytes):
        texts = {**_read_exif(exif), **texts}
    return {name: text.strip("\0") for name, text in texts.items() if text.strip("\0 ")}


def decode_user_comment(value: object) -> str:
    """The text of EXIF tag UserComment (CIPA DC-008 section 4.6.6.E): 8 bytes that name the encoding, then the text.

    "UNICODE" is UTF-16 with the byte order that fits: piexif writes big endian, others what their machine has, some UTF-8.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, bytes):
        return ""
    prefix, body = value[:_PREFIX_BYTES], value[_PREFIX_BYTES:]
    if prefix.rstrip(b"\0 ") == b"UNICODE":
        return _decode_16_bit(body)
    if prefix.rstrip(b"\0 ") == b"JIS":
        return _decode_first(body, "iso2022_jp" if b"\x1b" in body else "shift_jis", "utf-8")
    if prefix.rstrip(b"\0 ") in (b"ASCII", b""):
        return _decode_8_bit(body)
    return _decode_8_bit(value)  # No prefix at all, against the standard.


def _read_exif(content: bytes) -> dict[str, str]:
    exif = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exif.load(content)
            directory: Mapping[int, Any] = exif.get_ifd(_EXIF_IFD)
    except Exception:  # Pillow raises many kinds on EXIF that other programs damaged; the picture is fine without.
        return {}
    texts = {name: exif.get(tag) for tag, name in _IFD_TEXTS.items()}
    texts |= {name: directory.get(tag) for tag, name in _EXIF_TEXTS.items()}
    found = {name: _repair(value) for name, value in texts.items() if isinstance(value, str)}
    return {**found, USER_COMMENT: decode_user_comment(directory.get(_USER_COMMENT_TAG))}


def _repair(text: str) -> str:
    """Undo what Pillow did to a text that was written as UTF-8 where the format has Latin-1."""
    if isinstance(text, PngImagePlugin.iTXt) or text.isascii():
        return str(text)
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return str(text)


def _decode_16_bit(body: bytes) -> str:
    if body[:2] in (b"\xfe\xff", b"\xff\xfe"):
        return body.decode("utf-16", "replace")
    if b"\0" not in body.rstrip(b"\0"):
        text = _decode_first(body, "utf-8", "")
        if text:
            return text
    # The high byte of most characters is zero: it stands first in big endian.
    little = body[1::2].count(0) > body[0::2].count(0)
    return body.decode("utf-16-le" if little else "utf-16-be", "replace")


def _decode_8_bit(body: bytes) -> str:
    return _decode_first(body, "utf-8", "latin-1")


def _decode_first(body: bytes, encoding: str, fallback: str) -> str:
    try:
        return body.decode(encoding)
    except UnicodeDecodeError:
        return body.decode(fallback, "replace") if fallback else ""
