"""Records as a graph in W3C PROV-JSON (w3.org/submissions/prov-json, data model: w3.org/TR/prov-dm).

| PROV | is here |
|---|---|
| entity | a picture (``record:<id>``, or ``pixels:<hash>`` when only its pixels are known); a model file (``model:<sha256>``) |
| activity | ``run:<id>``: the generation, edit or import that a record is about |
| agent | this software; the user, when that field is opened |
| wasGeneratedBy, used, wasDerivedFrom, wasAssociatedWith, wasAttributedTo | between them |

What is not opened stays a commitment: ``pg:commitment`` names the field by its JSON pointer, and the commitment to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from provenance_guard import __version__
from provenance_guard.json_types import Json
from provenance_guard.provenance.redaction import sealed_fields

PREFIXES = {
    "pg": "urn:provenance-guard:terms:1:",
    "record": "urn:provenance-guard:record:",
    "run": "urn:provenance-guard:run:",
    "pixels": "urn:provenance-guard:pixels:",
    "model": "urn:sha256:",
    "agent": "urn:provenance-guard:agent:",
}

_KINDS = ("entity", "activity", "agent")
_RELATIONS = ("wasGeneratedBy", "used", "wasDerivedFrom", "wasAssociatedWith", "wasAttributedTo")
_SOFTWARE = "agent:provenance-guard"
_ACTIVITY_OF_ORIGIN = {
    "webui.txt2img": "pg:Generation",
    "webui.img2img": "pg:Generation",
    "webui.extras": "pg:Edit",
    "import": "pg:Import",
}


class ProvGraph:
    """Collects records, and writes them as one document."""

    def __init__(self) -> None:
        self._things: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}
        self._relations: dict[str, list[dict[str, str]]] = {kind: [] for kind in _RELATIONS}
        self._things["agent"][_SOFTWARE] = {"prov:type": _name("prov:SoftwareAgent"), "pg:version": __version__}

    def add_record(
        self, told: Mapping[str, Any], public: Mapping[str, Any], *, file_sha256: str | None = None, file_name: str = ""
    ) -> None:
        """Add a record: ``told`` as far as it is opened (``redaction.restore``), ``public`` its public form."""
        entity, run = f"record:{told['id']}", f"run:{told['id']}"
        context: Mapping[str, Any] = told.get("context") or {}
        self._things["entity"][entity] = _cleaned(
            {
                "prov:type": _name("pg:Picture"),
                "pg:recordedAt": _time(told.get("time")),
                "pg:pixelSha256": told.get("pixel_sha256"),
                "pg:fileSha256": file_sha256,
                "pg:fileName": file_name,
                "pg:width": told.get("width"),
                "pg:height": told.get("height"),
                "pg:commitment": [*_sealed(public)],
            }
        )
        self._things["activity"][run] = _cleaned(
            {
                "prov:type": _name(_ACTIVITY_OF_ORIGIN.get(context.get("origin", ""), "pg:Activity")),
                "pg:origin": context.get("origin"),
                "pg:claimedTime": context.get("claimed_time"),
                "pg:verdict": (told.get("verdict") or {}).get("level"),
                "pg:decision": (told.get("decision") or {}).get("action"),
                "pg:marked": (told.get("mark") or {}).get("present"),
                **{f"pg:{_camel(name)}": _scalar(value) for name, value in (context.get("parameters") or {}).items()},
            }
        )
        self._relate("wasGeneratedBy", entity=entity, activity=run)
        self._relate("wasAssociatedWith", activity=run, agent=_SOFTWARE)
        self._add_user(context.get("user"), entity, run)
        self._add_models(context.get("resources") or (), told["id"], run)
        self._add_parents(context.get("parents") or (), entity, run)

    def to_json(self) -> dict[str, Json]:
        """The document; equal records give an equal document."""
        document: dict[str, Json] = {"prefix": {**PREFIXES}}
        for kind in _KINDS:
            if self._things[kind]:
                document[kind] = dict(sorted(self._things[kind].items()))
        for kind in _RELATIONS:
            if relations := self._relations[kind]:
                document[kind] = {f"_:{kind}{number}": {**one} for number, one in enumerate(relations, 1)}
        return document

    def _relate(self, kind: str, **ends: str) -> None:
        relation = {f"prov:{end}": name for end, name in ends.items()}
        if relation not in self._relations[kind]:
            self._relations[kind].append(relation)

    def _add_user(self, user: object, entity: str, run: str) -> None:
        if isinstance(user, str) and user:
            agent = f"agent:user-{hashlib.sha256(user.encode('utf-8', 'replace')).hexdigest()[:16]}"
            self._things["agent"][agent] = {"prov:type": _name("prov:Person"), "prov:label": user}
            self._relate("wasAssociatedWith", activity=run, agent=agent)
            self._relate("wasAttributedTo", entity=entity, agent=agent)

    def _add_models(self, resources: Iterable[Mapping[str, Any]], record_id: str, run: str) -> None:
        for number, resource in enumerate(resources):
            digest = resource.get("sha256")
            model = f"model:{digest}" if digest else f"run:{record_id}-model-{number}"
            self._things["entity"][model] = _cleaned(
                {
                    **self._things["entity"].get(model, {}),
                    "prov:type": _name("pg:Model"),
                    "pg:kind": resource.get("kind"),
                    "pg:sha256": digest,
                    "pg:name": resource.get("name"),
                    "pg:fileName": resource.get("file_name"),
                }
            )
            self._relate("used", activity=run, entity=model)

    def _add_parents(self, parents: Iterable[Mapping[str, Any]], entity: str, run: str) -> None:
        for parent in parents:
            record_id, pixels = parent.get("record_id"), parent.get("pixel_sha256")
            name = f"record:{record_id}" if record_id else f"pixels:{pixels}"
            known = self._things["entity"].setdefault(name, {"prov:type": _name("pg:Picture")})
            known.setdefault("pg:pixelSha256", pixels)
            self._relate("used", activity=run, entity=name)
            if parent.get("role") != "mask":
                self._relate("wasDerivedFrom", generatedEntity=entity, usedEntity=name, activity=run)


def _sealed(public: Mapping[str, Any]) -> Iterator[str]:
    for pointer in sealed_fields(public):
        place: Any = public
        for part in pointer.split("/")[1:]:
            place = place[int(part)] if isinstance(place, list) else place[part]
        yield f"{pointer} {place['commitment']}"


def _cleaned(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}


def _name(qualified: str) -> dict[str, str]:
    return {"$": qualified, "type": "prov:QUALIFIED_NAME"}


def _time(text: object) -> dict[str, str] | None:
    return {"$": text, "type": "xsd:dateTime"} if isinstance(text, str) and text else None


def _scalar(value: object) -> Any:
    """Numbers and texts as they are; a list or mapping as its text, because PROV has no nested values."""
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def _camel(name: str) -> str:
    first, *rest = [part for part in "".join(c if c.isalnum() and c.isascii() else " " for c in name).split()] or ["x"]
    return first + "".join(part.capitalize() for part in rest)
