"""Public forms of a record: private fields become salted commitments that can be opened one by one later.

What is public is listed here; everything else is sealed, so that a field nobody thought of is private.

Format ``pg-opening-1``, after the disclosures of SD-JWT (RFC 9901 section 4.2). What opens a sealed field is the text

    ["pg-opening-1","<salt, 32 hex digits>","<JSON pointer of the field, RFC 6901>",<the value>]

as JSON without blanks in ASCII. The commitment to it is the SHA-256 of that text, and the field stands in the public form as
``{"commitment": "pg-opening-1:<64 hex digits>"}``. Openings are kept as the texts that were hashed, so nobody has to write the
same JSON twice. A pointer that ends in ``*`` stands for all members of an object that have no name here: they are sealed
together, because their names may tell something too.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Union

from provenance_guard.errors import SidecarError, UsageError
from provenance_guard.json_types import Json
from provenance_guard.provenance.folders import without_folders

FORMAT = "pg-opening-1"
SALT_BYTES = 16
REST = "*"

_ASK_AGAIN = "It was changed, belongs to another record or is of a newer version: get it again from the creator."

_PUBLIC, _NUMBER, _SEALED = "public", "number", "sealed"
_Rule = Union[str, "dict[str, _Rule]", "list[_Rule]"]

_PARAMETERS: dict[str, _Rule] = {
    # Texts are sealed even where they look harmless: a misread infotext may put words of the prompt anywhere.
    **dict.fromkeys(("steps", "cfg_scale", "width", "height", "denoising_strength", "clip_skip"), _NUMBER),
    **dict.fromkeys(("prompt", "negative_prompt", "hires_prompt", "hires_negative_prompt", "styles"), _SEALED),
    **dict.fromkeys(("seed", "subseed", "sampler", "schedule_type", "model", "model_hash", "vae"), _SEALED),
}
_RESOURCE: dict[str, _Rule] = {
    **dict.fromkeys(("kind", "sha256", "weight"), _PUBLIC),
    **dict.fromkeys(("name", "file_name", "declared_hash", "metadata"), _SEALED),
}
_CONTEXT: dict[str, _Rule] = {
    **dict.fromkeys(("origin", "parents", "source_sha256"), _PUBLIC),
    **dict.fromkeys(("infotext", "environment", "user", "job", "source_name", "claimed_time"), _SEALED),
    "parameters": _PARAMETERS,
    "resources": [_RESOURCE],
}
_RECORD: dict[str, _Rule] = {
    **dict.fromkeys(("schema", "id", "time", "pixel_sha256", "width", "height"), _PUBLIC),
    "context": _CONTEXT,
    "verdict": {"level": _PUBLIC},
    "decision": {"action": _PUBLIC},
    "mark": {"present": _PUBLIC},
    "failures": _SEALED,
}


@dataclass(frozen=True)
class Opening:
    """An opening, read: which field of the public form it opens, and to what."""

    pointer: str
    value: Json

    @property
    def field(self) -> str:
        """The last part of the pointer, as ``prompt``."""
        return self.pointer.rsplit("/", 1)[-1]


def write_opening(pointer: str, value: Json, salt: bytes) -> str:
    """The opening text of one field; ``salt`` is 16 random bytes, used for nothing else."""
    return json.dumps([FORMAT, salt.hex(), pointer, value], separators=(",", ":"))


def read_opening(text: str) -> Opening:
    """Read an opening text. Raises SidecarError when it is none, or of a newer format."""
    try:
        name, _, pointer, value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        name, pointer, value = None, None, None
    if name != FORMAT or not isinstance(pointer, str):
        raise SidecarError(
            "An opening cannot be read.", next_step="Update Provenance Guard, or get the openings again."
        )
    return Opening(pointer, value)


def commitment_to(opening: str) -> str:
    """The commitment to an opening text, as it stands in public forms."""
    return f"{FORMAT}:{hashlib.sha256(opening.encode('utf-8', 'backslashreplace')).hexdigest()}"


def verify_opening(commitment: str, opening: str) -> bool:
    """Whether an opening text opens a commitment."""
    return commitment_to(opening) == commitment


def redact(
    record: Mapping[str, Json], *, make_salt: Callable[[int], bytes] = secrets.token_bytes
) -> tuple[dict[str, Json], tuple[str, ...]]:
    """The public form of a record (``Record.to_json()``), and the openings of all that was sealed in it.

    Folders are taken off paths first, prompts aside; empty values stay as they are. ``make_salt`` is for fixed test data.
    """
    openings: list[str] = []

    def seal(value: Json, pointer: str) -> Json:
        if value is None or value == "" or (isinstance(value, (list, dict)) and not value):
            return value
        openings.append(write_opening(pointer, value, make_salt(SALT_BYTES)))
        return {"commitment": commitment_to(openings[-1])}

    def walk(value: Json, rule: _Rule, pointer: str) -> Json:
        if rule == _PUBLIC or (rule == _NUMBER and isinstance(value, (int, float))):
            return value
        if isinstance(rule, list) and isinstance(value, list):
            return [walk(entry, rule[0], f"{pointer}/{position}") for position, entry in enumerate(value)]
        if isinstance(rule, dict) and isinstance(value, dict):
            public = {name: walk(value[name], rule[name], f"{pointer}/{name}") for name in rule if name in value}
            rest = {name: entry for name, entry in value.items() if name not in rule}
            return {**public, REST: seal(rest, f"{pointer}/{REST}")} if rest else public
        return seal(value, pointer)

    bare = {name: without_folders(value, name=name) for name, value in record.items()}
    public = walk(bare, _RECORD, "")
    return (public if isinstance(public, dict) else {}), tuple(openings)


def disclose(public: Mapping[str, Json], openings: Iterable[str], fields: Iterable[str]) -> tuple[str, ...]:
    """Those of ``openings`` that open the chosen fields, each checked against its commitment in ``public``.

    A field is named by its JSON pointer or by the pointer's last part (``prompt``). Raises UsageError for a field that is not
    sealed there, SidecarError for an opening that does not fit.
    """
    known = [(text, read_opening(text)) for text in openings]
    chosen: list[str] = []
    for name in fields:
        found = [text for text, opening in known if name in (opening.pointer, opening.field)]
        if not found:
            sealed = sorted({opening.field for _, opening in known})
            raise UsageError(
                f"There is no sealed field {name!r} that could be opened.",
                next_step=f"Sealed are: {', '.join(sealed)}." if sealed else "Nothing is sealed here.",
            )
        chosen += [text for text in found if text not in chosen]
    restore(public, chosen)  # Raises when one does not fit.
    return tuple(chosen)


def restore(public: Mapping[str, Json], openings: Iterable[str]) -> dict[str, Json]:
    """The record as far as ``openings`` tell it; fields that stay sealed are left out.

    Raises SidecarError when an opening does not fit its commitment, or has none.
    """
    try:
        return _restore(public, openings)
    except RecursionError as error:
        raise SidecarError("The record is nested too deeply to be one.", next_step=_ASK_AGAIN) from error


def _restore(public: Mapping[str, Json], openings: Iterable[str]) -> dict[str, Json]:
    document: dict[str, Any] = json.loads(json.dumps(public))
    for text in openings:
        opening = read_opening(text)
        holder = _follow(document, opening.pointer)
        if holder is None or not verify_opening(_commitment_in(holder.get(opening.field)) or "", text):
            raise SidecarError(f"The opened field {opening.pointer} does not fit its commitment.", next_step=_ASK_AGAIN)
        if opening.field == REST and isinstance(opening.value, dict):
            del holder[REST]
            holder.update(opening.value)
        else:
            holder[opening.field] = opening.value
    for pointer in list(_find_sealed(document, "")):
        holder = _follow(document, pointer)
        if holder is not None:
            del holder[pointer.rsplit("/", 1)[-1]]
    return document


def sealed_fields(public: Mapping[str, Json]) -> tuple[str, ...]:
    """The JSON pointers of everything that is sealed in a public form."""
    return tuple(_find_sealed(public, ""))


def _commitment_in(value: object) -> str | None:
    if isinstance(value, Mapping) and set(value) == {"commitment"}:
        commitment = value["commitment"]
        if isinstance(commitment, str) and commitment.startswith(f"{FORMAT}:"):
            return commitment
    return None


def _follow(document: dict[str, Any], pointer: str) -> dict[str, Any] | None:
    """The object in which the field of ``pointer`` stands."""
    place: Any = document
    for part in pointer.split("/")[1:-1]:
        if isinstance(place, dict):
            place = place.get(part)
        elif isinstance(place, list) and part.isdecimal() and int(part) < len(place):
            place = place[int(part)]
        else:
            return None
    return place if isinstance(place, dict) else None


def _find_sealed(value: object, pointer: str) -> Iterator[str]:
    if _commitment_in(value) is not None:
        yield pointer
    elif isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _find_sealed(entry, f"{pointer}/{name}")
    elif isinstance(value, list):
        for position, entry in enumerate(value):
            yield from _find_sealed(entry, f"{pointer}/{position}")
