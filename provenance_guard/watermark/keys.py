"""Watermark keys: 32 secret bytes each, kept one per file outside the WebUI's data directory."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from provenance_guard.clock import format_time, utc_now
from provenance_guard.errors import KeyMissingError, OutputError
from provenance_guard.files import write_atomically

KEY_BYTES = 32
KEY_FORMAT = "provenance-guard watermark key"
KEY_VERSION = 1
_PREFIX = "watermark-"
_SUFFIX = ".key"


@dataclass(frozen=True, repr=False)
class Key:
    """A watermark key. ``id`` is public: 8 hex digits of a one-way hash of the secret.

    ``created`` is UTC, RFC 3339, empty for a key that never was in a file. ``imported`` marks a colleague's key: it is
    used to read marks, never to write them.
    """

    secret: bytes
    created: str = ""
    imported: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.secret, bytes) or len(self.secret) != KEY_BYTES:
            raise KeyMissingError(
                f"A watermark key is {KEY_BYTES} bytes long.",
                next_step="Pass 32 bytes, or a Key from KeyRing(directory).current().",
            )

    def __repr__(self) -> str:
        return f"Key(id={self.id!r}, created={self.created!r})"  # A secret must never reach a log.

    @property
    def id(self) -> str:
        """The public name of this key, 8 hex digits."""
        return hashlib.sha256(b"provenance-guard watermark key id\0" + self.secret).hexdigest()[:8]

    @classmethod
    def generate(cls) -> Key:
        """A fresh random key, created now."""
        return cls(secrets.token_bytes(KEY_BYTES), created=format_time(utc_now()))

    def derive(self, purpose: str, length: int = KEY_BYTES) -> bytes:
        """A key for one purpose (HKDF-SHA256, RFC 5869), so that pilots, scrambling and cipher never share key bytes."""
        info = f"provenance-guard watermark {purpose}".encode("ascii")
        return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(self.secret)


class KeyRing:
    """The keys in one folder, one file ``watermark-<id>.key`` each (JSON, readable by its owner only)."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)

    def current(self) -> Key:
        """The key that new marks get: the newest own one. Made at first use.

        Raises KeyMissingError when a key file is damaged or unreadable, OutputError when a new one cannot be written.
        """
        own = [key for key in self.all() if not key.imported]
        return own[0] if own else self.create()

    def all(self) -> list[Key]:
        """Every key, newest first. Raises KeyMissingError for a damaged or unreadable file."""
        try:
            files = sorted(self.directory.glob(f"{_PREFIX}*{_SUFFIX}"))
        except OSError as error:
            raise _unreadable(self.directory, error.strerror or str(error)) from error
        return sorted((read_key(path) for path in files), key=lambda key: (key.created, key.id), reverse=True)

    def create(self) -> Key:
        """A new key, which becomes the current one; older keys stay readable. Raises OutputError."""
        key = Key.generate()
        self._write(key)
        return key

    def add(self, path: Path) -> Key:
        """Import a colleague's key file for reading their marks. Raises KeyMissingError, OutputError."""
        key = read_key(path)
        for known in self.all():
            if known.secret == key.secret:
                return known
        imported = Key(key.secret, created=key.created, imported=True)
        self._write(imported)
        return imported

    def export(self, name: str, target: Path) -> Key:
        """Copy the key whose id begins with ``name`` into a file for a colleague, who can then read its marks, and forge them.

        Raises KeyMissingError when not exactly one key is meant, OutputError when the file is there or cannot be written.
        """
        meant = [key for key in self.all() if name and key.id.startswith(name.lower())]
        if len(meant) != 1:
            raise KeyMissingError(
                f"{len(meant) or 'No'} keys in {self.directory} begin with {name!r}.",
                next_step="List the keys and give more of the one that you mean.",
            )
        if target.exists():
            raise OutputError(f"{target} is there already.", next_step="Name another file.")
        write_atomically(target, _document(meant[0]), private=True)
        return meant[0]

    def path_of(self, key: Key) -> Path:
        """Where a key's file lies; ``export`` makes a copy for a colleague."""
        return self.directory / f"{_PREFIX}{key.id}{_SUFFIX}"

    def _write(self, key: Key) -> None:
        write_atomically(self.path_of(key), _document(key), private=True)


def _document(key: Key) -> bytes:
    document = {
        "format": KEY_FORMAT,
        "version": KEY_VERSION,
        "id": key.id,
        "created": key.created,
        "imported": key.imported,
        "secret": key.secret.hex(),
    }
    return (json.dumps(document, indent=2) + "\n").encode("utf-8")


def read_key(path: Path) -> Key:
    """Read one key file. Raises KeyMissingError with the reason: missing, unreadable, damaged or from a newer program."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except ValueError as error:
        raise _unreadable(path, "it is not JSON text") from error
    if not isinstance(document, dict) or document.get("format") != KEY_FORMAT:
        raise _unreadable(path, "it is no watermark key")
    if document.get("version") != KEY_VERSION:
        raise KeyMissingError(
            f"{path} has key format version {document.get('version')}, this program knows {KEY_VERSION}.",
            next_step="Update Provenance Guard.",
        )
    secret, created = document.get("secret"), document.get("created")
    if not isinstance(secret, str) or not re.fullmatch(r"[0-9a-f]{64}", secret) or not isinstance(created, str):
        raise _unreadable(path, "its secret or date is damaged")
    key = Key(bytes.fromhex(secret), created=created, imported=bool(document.get("imported", False)))
    if document.get("id") != key.id:
        raise _unreadable(path, "its secret does not match its id")
    return key


def _unreadable(path: Path, reason: str) -> KeyMissingError:
    return KeyMissingError(
        f"The watermark key {path} cannot be read: {reason}.",
        next_step="Restore the file from a backup; without it, marks made with this key cannot be read.",
    )
