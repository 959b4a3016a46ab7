"""The Ed25519 key that signs ledger checkpoints and sidecars (RFC 8032).

A key lives in two files of the key directory: ``signing-<n>.pem`` (the private key, PKCS #8, readable by its owner only)
and ``signing-<n>.pub`` (the public key, PEM SubjectPublicKeyInfo, to be handed out). The highest ``n`` is the key in use,
so that a new key can be added while the old ones stay to be recognised.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from provenance_guard import files
from provenance_guard.errors import KeyMissingError, OutputError

_NAME = re.compile(r"signing-([1-9]\d*)\.pem")
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)  # TypeError: the PEM asks for a password.


class Signer:
    """Holds one private key. Safe to share between threads."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self._public_bytes = private_key.public_key().public_bytes_raw()

    @classmethod
    def open(cls, key_directory: Path, *, create: bool = True) -> Signer:
        """The signer of the newest key in ``key_directory``; makes the first key when there is none and ``create`` is set.

        Two processes that make the first key at once end with the same one.
        Raises KeyMissingError when the key is not there or cannot be read, OutputError when it cannot be written.
        """
        path = _newest_key(key_directory)
        if path is None:
            path = key_directory / "signing-1.pem"
            if not create:
                raise KeyMissingError(
                    f"There is no signing key in {key_directory}.",
                    next_step="Restore it from a backup, or guard a picture once: that makes a new one.",
                )
            files.create_once(path, _private_pem(Ed25519PrivateKey.generate()), private=True)
        signer = cls(_read_private_key(path))
        if create:
            # Only a convenience copy: a key directory that may not be written must not stop the signing.
            with suppress(OutputError):
                files.create_once(path.with_suffix(".pub"), signer.public_pem)
        return signer

    @property
    def public_bytes(self) -> bytes:
        """The raw public key, 32 bytes (RFC 8032 section 5.1.5)."""
        return self._public_bytes

    @property
    def public_pem(self) -> bytes:
        """The public key as PEM SubjectPublicKeyInfo: see ``public_pem``."""
        return public_pem(self._public_bytes)

    @property
    def key_id(self) -> str:
        """The name of the key: see ``key_id``."""
        return key_id(self._public_bytes)

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature of ``message``, 64 bytes; the same message always gives the same signature."""
        return self._private_key.sign(message)


def key_id(public_key: bytes) -> str:
    """The name of a public key: SHA-256 of its 32 raw bytes, as 64 hex digits."""
    return hashlib.sha256(public_key).hexdigest()


def public_pem(public_key: bytes) -> bytes:
    """A raw public key (32 bytes) as PEM SubjectPublicKeyInfo, what ``openssl pkey -pubin`` reads. Raises ValueError."""
    return Ed25519PublicKey.from_public_bytes(public_key).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` (64 bytes) over ``message`` was made with the private part of ``public_key`` (32 raw bytes).

    Anything malformed is False.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def read_public_key(path: Path) -> bytes:
    """The 32 raw bytes of a ``.pub`` file. Raises KeyMissingError with the reason."""
    try:
        key = serialization.load_pem_public_key(_read_file(path))
    except _UNREADABLE:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyMissingError(
            f"{path} holds no Ed25519 public key.", next_step="Ask the signer for the .pub file of the signing key."
        )
    return key.public_bytes_raw()


def _newest_key(key_directory: Path) -> Path | None:
    try:
        found = [(int(match[1]), path) for path in key_directory.iterdir() if (match := _NAME.fullmatch(path.name))]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyMissingError(
            f"The key folder {key_directory} cannot be read ({error.strerror}).",
            next_step="Make it a folder that you may read, or name another one in PROVENANCE_GUARD_KEYS.",
        ) from error
    return max(found)[1] if found else None


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read_private_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(_read_file(path), password=None)
    except _UNREADABLE:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyMissingError(
            f"The signing key {path} is damaged or of another kind.",
            next_step="Restore it from a backup, or move it away to start with a new key.",
        )
    return key


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyMissingError(
            f"The key {path} cannot be read ({error.strerror}).",
            next_step="Check that the file is there and that you may read it.",
        ) from error
