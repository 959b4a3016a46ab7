"""The record of one picture, as frozen dataclasses, and its JSON form (schema 1).

A ``Context`` is what the caller knows before the door: who made the picture, from what and how. The door adds what it did
(verdict, decision, mark, pixel hash) and the whole is a ``Record``. Records hold the full private parameters; what may be
public is derived from them (``redaction``, ``labels``).
"""

from __future__ import annotations

import dataclasses
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from provenance_guard.json_types import Json

SCHEMA = 1

Origin = Literal["webui.txt2img", "webui.img2img", "webui.extras", "webui.other", "file", "watch", "import"]
ResourceKind = Literal["checkpoint", "vae", "lora", "embedding", "hypernetwork", "text_encoder", "module"]
ParentRole = Literal["source", "init_image", "mask", "first_pass", "extras_input", "control"]
FoundBy = Literal["pixels", "mark", "label"]


@dataclass(frozen=True)
class Resource:
    """A model file that took part. ``sha256`` is of the whole file, by us (None until hashed); ``declared_hash`` is what the
    host or the file itself claims. ``file_name`` never holds a folder. ``metadata`` is the file's own header, unverified.
    The kind ``module`` is Forge's word for a VAE or text encoder, when it does not say which."""

    kind: ResourceKind
    name: str = ""
    file_name: str = ""
    sha256: str | None = None
    declared_hash: str | None = None
    weight: float | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "file_name", bare_name(self.file_name))


@dataclass(frozen=True)
class Parent:
    """A picture that this one was made from. ``record_id`` is known when the parent passed this door, ``found_by`` says how:
    the very pixels, the mark in them, or only the label of its file (which anybody can copy)."""

    role: ParentRole
    pixel_sha256: str
    record_id: str | None = None
    found_by: FoundBy | None = None


@dataclass(frozen=True)
class Context:
    """What a caller knows about a picture before it passes the door.

    ``parameters`` are typed values under the infotext's own field names in snake case (``prompt``, ``negative_prompt``,
    ``seed``, ``steps``, ``sampler``, ``cfg_scale``, ``width``, ``height``, ``denoising_strength`` ...). ``infotext`` is kept
    raw when that is all there is; ``source_name`` and ``source_sha256`` are of the file that came in, when a file came in;
    ``claimed_time`` is a time that only the file claims.
    """

    origin: Origin
    parameters: Mapping[str, Json] = field(default_factory=dict)
    infotext: str | None = None
    resources: tuple[Resource, ...] = ()
    parents: tuple[Parent, ...] = ()
    environment: Mapping[str, Json] = field(default_factory=dict)
    user: str | None = None
    job: str | None = None
    source_name: str | None = None
    source_sha256: str | None = None
    claimed_time: str | None = None

    def __post_init__(self) -> None:
        if self.source_name is not None:
            object.__setattr__(self, "source_name", bare_name(self.source_name))

    @property
    def generative(self) -> bool:
        """Whether a generative model is known to have made or changed the picture."""
        return self.origin in ("webui.txt2img", "webui.img2img") or bool(self.parameters) or bool(self.infotext)


@dataclass(frozen=True)
class Record:
    """One picture's provenance as it left the door. ``id`` is 32 hex digits; ``time`` is UTC, RFC 3339.

    ``verdict``, ``decision`` and ``mark`` are the JSON forms of what the screen, the gate and the watermark said, None when
    the step did not run; ``failures`` says in words what went wrong, so that nothing is silently off.
    """

    id: str
    time: str
    context: Context
    pixel_sha256: str
    width: int
    height: int
    verdict: Mapping[str, Json] | None = None
    decision: Mapping[str, Json] | None = None
    mark: Mapping[str, Json] | None = None
    failures: tuple[str, ...] = ()
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Json]:
        """The record as plain JSON values: text keys, lists, finite numbers; what JSON cannot say is kept as text."""
        return {item.name: _to_json(getattr(self, item.name)) for item in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Record:
        """Read a record of this or an older schema. Raises ValueError on anything else."""
        schema = document.get("schema")
        if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
            raise ValueError("this is no record: it has no schema number")
        if schema > SCHEMA:
            raise ValueError(f"record schema {schema} is newer than this program knows ({SCHEMA})")
        try:
            values = dict(document)
            context = dict(values.pop("context"))
            context["resources"] = tuple(Resource(**entry) for entry in context.get("resources", ()))
            context["parents"] = tuple(Parent(**entry) for entry in context.get("parents", ()))
            values["failures"] = tuple(values.get("failures", ()))
            return cls(context=Context(**context), **values)
        except (KeyError, TypeError) as error:
            raise ValueError(f"the record is damaged ({error})") from error


def bare_name(path: str) -> str:
    """The last part of a path of any system: records never tell folders, which hold user names."""
    return re.split(r"[\\/]", path)[-1]


def _to_json(value: object) -> Json:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _to_json(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _to_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(entry) for entry in value]
    return str(value)


def new_record_id() -> str:
    """A fresh random record id: 128 bits as 32 hex digits."""
    return secrets.token_hex(16)
