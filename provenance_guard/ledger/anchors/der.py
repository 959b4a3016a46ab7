"""The little DER (X.690) that must be read here: the nonce of a time-stamp request, and the order of certificates in a reply.

A SET OF in DER is sorted by its encoded elements (X.690, section 11.6). ``openssl ts`` and authorities built on it write the
certificates of their replies (``SignedData.certificates``, RFC 5652 section 5.1) in any order. That order is not signed and
changes no length, so a sorted copy says the same and can be read.
"""

from __future__ import annotations

from typing import NamedTuple

_INTEGER = 0x02
_FIRST_CONTEXT = 0xA0  # [0], constructed


class _Element(NamedTuple):
    tag: int
    start: int  # of the element
    content: int  # where its content starts
    end: int


def with_sorted_certificates(reply: bytes) -> bytes:
    """A copy of a ``TimeStampResp`` (RFC 3161, section 2.4.2) with sorted certificates; ``reply`` itself when it is not of the
    expected form or holds none."""
    try:
        response = _element(reply, 0)
        token = _children(reply, response)[1]
        content = _children(reply, token)[1]
        signed_data = _children(reply, content)[0]
        certificates = next(item for item in _children(reply, signed_data) if item.tag == _FIRST_CONTEXT)
        ordered = sorted(reply[item.start : item.end] for item in _children(reply, certificates))
    except (IndexError, ValueError, StopIteration):
        return reply
    return reply[: certificates.content] + b"".join(ordered) + reply[certificates.end :]


def request_nonce(request: bytes) -> int | None:
    """The nonce of a ``TimeStampReq`` (RFC 3161, section 2.4.1): the integer after version and imprint. None when there is none."""
    try:
        fields = _children(request, _element(request, 0))
        nonce = next(item for item in fields[2:] if item.tag == _INTEGER)
    except (IndexError, ValueError, StopIteration):
        return None
    return int.from_bytes(request[nonce.content : nonce.end], "big", signed=True)


def _children(data: bytes, parent: _Element) -> list[_Element]:
    found, position = [], parent.content
    while position < parent.end:
        found.append(_element(data, position))
        position = found[-1].end
    if position != parent.end:
        raise ValueError("an element is longer than what it lies in")
    return found


def _element(data: bytes, start: int) -> _Element:
    tag, length, content = data[start], data[start + 1], start + 2
    if length > 0x84 or length == 0x80:
        raise ValueError("not a length that DER has here")
    if length > 0x80:
        width = length - 0x80
        length, content = int.from_bytes(data[content : content + width], "big"), content + width
    if content + length > len(data):
        raise ValueError("cut short")
    return _Element(tag, start, content, content + length)
