"""The file of one withheld picture: encrypted, authenticated, and named after nothing but the record (format 1).

    8 bytes   b"PGQUARA1"
    8 bytes   id of the key
    32 bytes  salt
    3 times   8 bytes big-endian length, then that many bytes of AES-256-GCM ciphertext with its tag

The three parts are a JSON document, the picture (PNG) and the evidence (PNG, may be empty). Every file has a key of its own,
HKDF-SHA256 (RFC 5869) of the secret with the file's salt, so that the part's number can be the nonce (NIST SP 800-38D). The
head of the file, the record id and the part's number are authenticated with each part: a part cannot be moved or exchanged.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from provenance_guard import files
from provenance_guard.clock import format_time, utc_now
from provenance_guard.errors import KeyMissingError, QuarantineError

MAGIC = b"PGQUARA1"
SALT_BYTES = 32
KEY_FORMAT = "provenance-guard quarantine key"
KEY_VERSION = 1

_HEAD_BYTES = len(MAGIC) + 8 + SALT_BYTES
_LENGTH_BYTES = 8
_TAG_BYTES = 16
_KEY_NAME = re.compile(r"quarantine-([1-9]\d*)\.key")


@dataclass(frozen=True, repr=False)
class QuarantineKey:
    """32 secret bytes. ``id`` is public: 16 hex digits of a one-way hash."""

    secret: bytes

    @property
    def id(self) -> str:
        """The public name of this key."""
        return hashlib.sha256(b"provenance-guard quarantine key id\0" + self.secret).hexdigest()[:16]

    def for_file(self, salt: bytes) -> AESGCM:
        """The cipher of the one file with this salt."""
        derive = HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"provenance-guard quarantine container 1")
        return AESGCM(derive.derive(self.secret))


def seal(parts: tuple[bytes, bytes, bytes], record_id: str, key: QuarantineKey) -> bytes:
    """The bytes of a container."""
    head = MAGIC + bytes.fromhex(key.id) + secrets.token_bytes(SALT_BYTES)
    cipher = key.for_file(head[-SALT_BYTES:])
    sealed = [head]
    for number, part in enumerate(parts):
        ciphertext = cipher.encrypt(_nonce(number), part, _bound(head, record_id, number))
        sealed += [len(ciphertext).to_bytes(_LENGTH_BYTES, "big"), ciphertext]
    return b"".join(sealed)


def unseal(content: bytes, record_id: str, keys: dict[str, QuarantineKey], *, parts: int = 3) -> list[bytes]:
    """The first ``parts`` parts of a container. ``content`` need not go further than they do.

    Raises QuarantineError when it is damaged, cut, renamed or of a newer version, KeyMissingError when its key is not in
    ``keys`` (by id).
    """
    head = content[:_HEAD_BYTES]
    key = _key_for(head, record_id, keys)
    cipher = key.for_file(head[-SALT_BYTES:])
    found, position = [], _HEAD_BYTES
    for number in range(parts):
        start = position + _LENGTH_BYTES
        position = start + int.from_bytes(content[position:start], "big")
        try:
            if not start + _TAG_BYTES <= position <= len(content):
                raise InvalidTag
            found.append(cipher.decrypt(_nonce(number), content[start:position], _bound(head, record_id, number)))
        except InvalidTag:
            raise _damaged(record_id) from None
    return found


def first_part_length(beginning: bytes) -> int:
    """How many bytes of a file reach to the end of its first part; ``beginning`` are at least its first 56 bytes."""
    length = int.from_bytes(beginning[_HEAD_BYTES : _HEAD_BYTES + _LENGTH_BYTES], "big")
    return _HEAD_BYTES + _LENGTH_BYTES + length


def current_key(directory: Path) -> QuarantineKey:
    """The newest key in ``directory``, made when there is none. Two processes that make it at once end with the same one.

    Raises KeyMissingError when it cannot be read, OutputError when it cannot be written.
    """
    numbers = _key_numbers(directory)
    path = directory / f"quarantine-{max(numbers, default=1)}.key"
    if not numbers:
        key = QuarantineKey(secrets.token_bytes(32))
        document = {
            "format": KEY_FORMAT,
            "version": KEY_VERSION,
            "id": key.id,
            "created": format_time(utc_now()),
            "secret": key.secret.hex(),
        }
        files.create_once(path, (json.dumps(document, indent=2) + "\n").encode("utf-8"), private=True)
    return read_key(path)


def all_keys(directory: Path) -> dict[str, QuarantineKey]:
    """Every key in ``directory`` by its id. Raises KeyMissingError for a damaged or unreadable one."""
    keys = [read_key(directory / f"quarantine-{number}.key") for number in _key_numbers(directory)]
    return {key.id: key for key in keys}


def read_key(path: Path) -> QuarantineKey:
    """Read one key file. Raises KeyMissingError with the reason."""
    try:
        document: Any = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise _unreadable_key(path, error.strerror or str(error)) from error
    except ValueError as error:
        raise _unreadable_key(path, "it is not JSON text") from error
    if not isinstance(document, dict) or document.get("format") != KEY_FORMAT:
        raise _unreadable_key(path, "it is no quarantine key")
    if document.get("version") != KEY_VERSION:
        raise _unreadable_key(path, f"its version is {document.get('version')}, and this program knows {KEY_VERSION}")
    secret = document.get("secret")
    if not isinstance(secret, str) or not re.fullmatch(r"[0-9a-f]{64}", secret):
        raise _unreadable_key(path, "its secret is damaged")
    key = QuarantineKey(bytes.fromhex(secret))
    if document.get("id") != key.id:
        raise _unreadable_key(path, "its secret does not match its id")
    return key


def _key_numbers(directory: Path) -> list[int]:
    try:
        names = [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable_key(directory, error.strerror or str(error)) from error
    return sorted(int(match[1]) for name in names if (match := _KEY_NAME.fullmatch(name)))


def _key_for(head: bytes, record_id: str, keys: dict[str, QuarantineKey]) -> QuarantineKey:
    if len(head) < _HEAD_BYTES or not head.startswith(MAGIC[:-1]):
        raise _damaged(record_id)
    if not head.startswith(MAGIC):
        raise QuarantineError(
            f"The kept picture {record_id} was written by a newer program.", next_step="Update Provenance Guard."
        )
    key_id = head[len(MAGIC) : len(MAGIC) + 8].hex()
    if key_id not in keys:
        raise KeyMissingError(
            f"The kept picture {record_id} was encrypted with the key {key_id}, which is not in the key folder.",
            next_step="Restore quarantine-*.key from a backup; without it nobody can open the picture.",
        )
    return keys[key_id]


def _nonce(part: int) -> bytes:
    return part.to_bytes(12, "big")


def _bound(head: bytes, record_id: str, part: int) -> bytes:
    return head + record_id.encode("utf-8") + bytes([part])


def _damaged(record_id: str) -> QuarantineError:
    return QuarantineError(
        f"The kept picture {record_id} is damaged, or its file was renamed.",
        next_step="Restore the file from a backup, or destroy it.",
    )


def _unreadable_key(path: Path, reason: str) -> KeyMissingError:
    return KeyMissingError(
        f"The quarantine key {path} cannot be read: {reason}.",
        next_step="Restore it from a backup; without it, kept pictures cannot be opened.",
    )
