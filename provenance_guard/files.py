"""Files on disk: whole or not at all, and fingerprinted."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from provenance_guard.errors import OutputError

_CHUNK = 1 << 20
_NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def write_atomically(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write ``content`` so that a reader sees the old file or the whole new one, also after a crash or on a full disk.

    ``private`` makes the file readable by its owner only (mode 0600 where the system has modes).
    Raises OutputError with the reason and the next step; nothing half-written stays behind.
    """
    with staged_file(path, private=private) as staged:
        staged.write_bytes(content)


@contextmanager
def staged_file(path: Path, *, private: bool = False) -> Iterator[Path]:
    """A temporary file beside ``path`` that becomes ``path`` when the block ends well, and vanishes when it does not.

    The temporary name keeps the suffix of ``path``, so that libraries which choose a format by suffix may write it.
    A file that is replaced keeps its permissions, and a symbolic link keeps pointing to it.
    Raises OutputError for what the operating system refuses.
    """
    staged: Path | None = None
    try:
        path = Path(os.path.realpath(path)) if path.is_symlink() else path
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".staged-", suffix=path.suffix, dir=path.parent)
        os.close(descriptor)  # mkstemp made it 0600
        staged = Path(name)
        yield staged
        _flush_to_disk(staged)
        if not private:
            staged.chmod(_permissions(path))
        staged.replace(path)
        staged = None
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        if staged is not None:
            staged.unlink(missing_ok=True)


def create_once(path: Path, content: bytes, *, private: bool = False) -> bool:
    """Write ``content`` to ``path`` unless a file is there already; True when this call made it.

    Of two processes that try at once exactly one wins, and nobody ever sees a half-written file. Raises OutputError.
    """
    if path.exists():
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".staged-", suffix=path.suffix, dir=path.parent)
        staged = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            if not private:
                staged.chmod(0o666 & ~_umask())
            return _claim_name(staged, path)
        finally:
            staged.unlink(missing_ok=True)
    except OSError as error:
        raise _output_error(path, error) from error


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hex digits. Raises OSError when it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _claim_name(staged: Path, path: Path) -> bool:
    # A hard link is made only when the name is free, on every system; a rename would replace the other's file on POSIX.
    try:
        os.link(staged, path)
    except FileExistsError:
        return False
    except OSError:
        return _copy_exclusively(staged, path)  # FAT and some network disks have no links.
    return True


def _copy_exclusively(staged: Path, path: Path) -> bool:
    try:
        with path.open("xb") as stream:
            path.chmod(staged.stat().st_mode & 0o777)
            stream.write(staged.read_bytes())
            os.fsync(stream.fileno())
    except FileExistsError:
        return False
    return True


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _permissions(path: Path) -> int:
    """Those of the file that is there, else what a new file gets."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        return 0o666 & ~_umask()


def _umask() -> int:
    # The umask can only be read by setting it, which would race with other threads; a fixed sane value serves.
    return 0o022


def _output_error(path: Path, error: OSError) -> OutputError:
    if error.errno in _NO_ROOM:
        return OutputError(
            f"The disk is full: {path.name} could not be written.",
            next_step=f"Free space on the disk of {path.parent} and try again.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(
            f"No permission to write {path}.", next_step="Choose another folder, or make this one writable."
        )
    if error.errno == errno.ENAMETOOLONG:
        return OutputError(
            f"The file name is too long for this disk: {path.name}.",
            next_step="Rename the picture to something shorter.",
        )
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return OutputError(
            f"{path.parent} is not a folder.", next_step="Name a folder, or remove the file that is in its place."
        )
    return OutputError(
        f"{path} could not be written ({error.strerror or error}).",
        next_step="Check the disk and the path and try again.",
    )
