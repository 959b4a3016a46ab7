"""Finds events and checkpoints in the raw bytes of a ledger file whose page tree is broken.

A table leaf page of SQLite tells by itself which rows it holds (file format, section 1.6, and 2.1 for the record format). So rows
survive the loss of the pages above them, and even of the first page. What is found is proven by its own hash or form: nothing is
taken on trust.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from provenance_guard.errors import LedgerError
from provenance_guard.ledger.checkpoint import Checkpoint
from provenance_guard.ledger.events import read_event
from provenance_guard.ledger.merkle import HASH_SIZE, leaf_hash
from provenance_guard.ledger.rows import Row

_PAGE_SIZE = 4096  # what SQLite makes by default; no ledger has another one
_TABLE_LEAF = 0x0D
_EVENT_COLUMNS = 9
_INTEGER_SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def carve(path: Path) -> Iterator[Row | Checkpoint]:
    """Every whole event and every checkpoint that lies on a table leaf page anywhere in the file.

    An event may come twice. Raises LedgerError when the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            if path.stat().st_size >= _PAGE_SIZE:
                with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as raw:
                    yield from _carve_pages(raw)
    except OSError as error:
        raise LedgerError(f"{path} cannot be read ({error.strerror or error}).", next_step="Check the disk.") from error


def _carve_pages(raw: mmap.mmap) -> Iterator[Row | Checkpoint]:
    for page in range(len(raw) // _PAGE_SIZE):
        for rowid, payload in _cells(raw, page * _PAGE_SIZE):
            with suppress(_Unreadable):
                yield _recognise(rowid, _columns(payload))


class _Unreadable(Exception):
    """These bytes are not what they were taken for."""


def _recognise(rowid: int, columns: list[Any]) -> Row | Checkpoint:
    if len(columns) == _EVENT_COLUMNS:
        row = Row(rowid, *columns[1:])
        if isinstance(row.stored, bytes) and isinstance(row.tree, bytes) and len(row.tree) % HASH_SIZE == 0:
            with suppress(LedgerError):
                if leaf_hash(row.stored) == row.tree[:HASH_SIZE] and read_event(row.stored).seq == rowid:
                    return row
    elif len(columns) == 3 and isinstance(columns[2], str):
        with suppress(LedgerError):
            return Checkpoint.parse(columns[2])
    raise _Unreadable


def _cells(raw: mmap.mmap, start: int) -> Iterator[tuple[int, bytes]]:
    """Row number and record of every cell of a table leaf page."""
    head = start + 100 if start == 0 else start
    if raw[head] != _TABLE_LEAF:
        return
    for cell in range(int.from_bytes(raw[head + 3 : head + 5], "big")):
        pointer = head + 8 + 2 * cell
        offset = int.from_bytes(raw[pointer : pointer + 2], "big")
        if pointer + 2 > start + _PAGE_SIZE or not 8 <= offset < _PAGE_SIZE - 4:
            return
        with suppress(_Unreadable):
            size, position = _varint(raw, start + offset)
            rowid, position = _varint(raw, position)
            yield rowid, _payload(raw, position, size, start + _PAGE_SIZE)


def _payload(raw: mmap.mmap, position: int, size: int, page_end: int) -> bytes:
    """A record, put together from its page and its overflow pages."""
    if size > len(raw):
        raise _Unreadable
    local = _local_size(size)
    if position + local > page_end:
        raise _Unreadable
    payload = bytearray(raw[position : position + local])
    following = int.from_bytes(raw[position + local : position + local + 4], "big") if local < size else 0
    while len(payload) < size:
        start = (following - 1) * _PAGE_SIZE
        if not 0 < start <= len(raw) - _PAGE_SIZE:
            raise _Unreadable
        payload += raw[start + 4 : start + 4 + min(_PAGE_SIZE - 4, size - len(payload))]
        following = int.from_bytes(raw[start : start + 4], "big")
    return bytes(payload)


def _local_size(size: int) -> int:
    """How much of a record lies on the leaf page itself (file format, section 1.6)."""
    largest = _PAGE_SIZE - 35
    if size <= largest:
        return size
    smallest = (_PAGE_SIZE - 12) * 32 // 255 - 23
    wanted = smallest + (size - smallest) % (_PAGE_SIZE - 4)
    return wanted if wanted <= largest else smallest


def _columns(payload: bytes) -> list[Any]:
    """The values of a record (file format, section 2.1); numbers are not needed, and come as None."""
    header_size, position = _varint(payload, 0)
    if not position <= header_size <= len(payload):
        raise _Unreadable
    kinds = []
    while position < header_size:
        kind, position = _varint(payload, position)
        kinds.append(kind)
    values: list[Any] = []
    position = header_size
    for kind in kinds:
        size = (kind - 12) // 2 if kind >= 12 else _INTEGER_SIZES.get(kind, 8 if kind == 7 else 0)
        content = payload[position : position + size]
        if len(content) != size:
            raise _Unreadable
        if kind >= 12:
            values.append(content.decode("utf-8", "replace") if kind % 2 else content)
        else:
            values.append(None)
        position += size
    return values


def _varint(raw: bytes | mmap.mmap, position: int) -> tuple[int, int]:
    """A number of one to nine bytes, and the position after it."""
    value = 0
    for count in range(9):
        if position >= len(raw):
            raise _Unreadable
        byte = raw[position]
        position += 1
        if count == 8:
            return value << 8 | byte, position
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, position
    raise _Unreadable
