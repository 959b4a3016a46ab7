"""The record of one picture, as frozen dataclasses, and its JSON form (schema 1).

A ``Context`` is what the caller knows before the door: who made the picture, from what and how. The door adds what it did
(verdict, decision, mark, pixel hash) and the whole is a ``Record``. Records hold the full private parameters; what may be
public is derived from them (``redaction``, ``labels``).
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, Union

SCHEMA = 1

Json = Union[None, bool, int, float, str, "list[Json]", "dict[str, Json]"]
Origin = Literal["webui.txt2img", "webui.img2img", "webui.extras", "webui.other", "file", "watch"]
ResourceKind = Literal["checkpoint", "vae", "lora", "embedding", "hypernetwork", "text_encoder"]
ParentRole = Literal["init_image", "mask", "first_pass", "extras_input", "control"]


@dataclass(frozen=True)
class Resource:
    """A model file that took part. ``sha256`` is of the whole file, by us (None until hashed); ``declared_hash`` is what the
    host or the file itself claims. ``file_name`` never holds a folder. ``metadata`` is the file's own header, unverified."""

    kind: ResourceKind
    name: str
    file_name: str = ""
    sha256: str | None = None
    declared_hash: str | None = None
    weight: float | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Parent:
    """A picture that this one was made from. ``record_id`` is known when the parent passed this door (by label, mark or hash)."""

    role: ParentRole
    pixel_sha256: str
    record_id: str | None = None


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
        """The record as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Record:
        """Read a record of this or an older schema. Raises ValueError or TypeError on anything else."""
        if not 1 <= int(document["schema"]) <= SCHEMA:
            raise ValueError(f"record schema {document['schema']} is newer than this program knows ({SCHEMA})")
        values = dict(document)
        context = dict(values.pop("context"))
        context["resources"] = tuple(Resource(**entry) for entry in context.get("resources", ()))
        context["parents"] = tuple(Parent(**entry) for entry in context.get("parents", ()))
        values["failures"] = tuple(values.get("failures", ()))
        return cls(context=Context(**context), **values)


def new_record_id() -> str:
    """A fresh random record id: 128 bits as 32 hex digits."""
    return secrets.token_hex(16)


def utc_now() -> datetime:
    """The clock of every time stamp, so that a test can stop it."""
    return datetime.now(timezone.utc)


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, as ``2026-11-22T10:15:30.123Z``."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
