"""What a safetensors file says about itself: the metadata in its header, read without loading any weights.

Format (github.com/huggingface/safetensors): 8 bytes with the header's length (little endian), then the header as JSON; its
member ``__metadata__`` maps names to texts. Trainers write what they like there (``ss_*`` of kohya's scripts, ``modelspec.*``),
and anybody can edit it: a hint, no proof.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from provenance_guard.errors import ResourceError
from provenance_guard.json_types import Json

MAX_HEADER = 100_000_000
"""The format's own limit, in bytes."""
MAX_DEPTH = 20
"""Values nested deeper stay text: real ones have two or three levels, and records are walked recursively."""


def read_metadata(path: Path) -> dict[str, Json]:
    """The metadata of a safetensors file; texts that hold a JSON object or list are decoded, as in ``ss_tag_frequency``.

    Raises ResourceError with the reason: not readable, not safetensors, damaged.
    """
    try:
        header = json.loads(_read_header(path))
    except (ValueError, RecursionError) as error:
        raise _not_safetensors(path, "its header is no JSON") from error
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict):
        raise _not_safetensors(path, "its header has no metadata table")
    return {name: _decode(value) for name, value in metadata.items()}


def shorten(metadata: Mapping[str, Json], limit: int = 2000) -> dict[str, Json]:
    """Metadata that fits into a record: a value of more than ``limit`` characters of JSON only tells its length.

    Nothing is lost: the record has the SHA-256 of the file that holds the rest.
    """
    lengths = {name: len(json.dumps(value)) for name, value in metadata.items()}
    return {
        name: value if lengths[name] <= limit else {"omitted_characters": lengths[name]}
        for name, value in metadata.items()
    }


def _read_header(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= MAX_HEADER:
                raise _not_safetensors(path, "its header has an impossible length")
            header = stream.read(length)
    except OSError as error:
        raise ResourceError(
            f"The model file {path.name} cannot be read ({error.strerror or error}).",
            next_step="Check the path and the permissions.",
        ) from error
    if len(header) < length:
        raise _not_safetensors(path, "it is cut short")
    return header


def _decode(value: object) -> Json:
    text = value if isinstance(value, str) else json.dumps(value)
    if not text.startswith(("{", "[")):
        return text
    try:
        decoded: Json = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return decoded if _is_shallow(decoded, MAX_DEPTH) else text


def _is_shallow(value: Json, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return True
    entries = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(entry, levels - 1) for entry in entries)


def _not_safetensors(path: Path, reason: str) -> ResourceError:
    return ResourceError(
        f"{path.name} is not a sound safetensors file: {reason}.", next_step="Download it again, or convert it."
    )
