"""What a picture file says about its own making, whichever program wrote it.

A1111, Forge, SD.Next, Fooocus (in its A1111 scheme), Civitai and ComfyUI nodes that write infotext are parsed. InvokeAI,
ComfyUI, NovelAI, Fooocus and StableSwarmUI write JSON of their own: it is kept raw, with the tool named. All of it is a claim.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from provenance_guard.json_types import Json
from provenance_guard.pictures import Picture
from provenance_guard.provenance.infotext_parser import Infotext, format_infotext, parse_infotext
from provenance_guard.provenance.record import Context
from provenance_guard.provenance.texts import COMMENT, USER_COMMENT, read_texts

__all__ = ["Infotext", "format_infotext", "parse_infotext", "read_generation"]

_INVOKE_CHUNKS = ("invokeai_metadata", "invokeai_graph", "invokeai_workflow", "sd-metadata", "Dream")
_COMFY_CHUNKS = ("prompt", "workflow")
_NOVELAI_CHUNKS = ("Title", "Description", "Software", "Source", "Comment")
# ComfyUI's WebP nodes put the same JSON into camera tags, as "prompt:{...}".
_COMFY_TAG = re.compile(r"(prompt|workflow):\s*(\{.*)", re.IGNORECASE | re.DOTALL)
_EXIF_TIME = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)")


def read_generation(picture: Picture) -> Context:
    """The context (origin ``file``) that a picture's own texts tell. Never raises; a plain picture gives an empty one.

    ``infotext`` is the raw text; for tools with JSON of their own, a JSON object of their texts by chunk name.
    ``environment`` names the ``program`` and, when known, its ``version``.
    """
    texts = read_texts(picture.info)
    name, time = picture.path.name, _claimed_time(texts)
    raw = _infotext(texts)
    if raw is not None:
        infotext = parse_infotext(raw)
        parameters = infotext.parameters()
        if "postprocessing" in texts:  # What the Extras tab did to the picture afterwards.
            parameters["postprocessing"] = texts["postprocessing"]
        return Context(
            origin="file",
            parameters=parameters,
            infotext=raw,
            resources=infotext.resources(),
            environment=_environment(infotext),
            source_name=name,
            claimed_time=time,
        )
    tool, chunks = _foreign(texts)
    if tool:
        kept = json.dumps(chunks, ensure_ascii=False)
        return Context("file", infotext=kept, environment={"program": tool}, source_name=name, claimed_time=time)
    return Context(origin="file", source_name=name, claimed_time=time)


def _infotext(texts: Mapping[str, str]) -> str | None:
    """The infotext in A1111's format, or None."""
    if "parameters" in texts and _json_object(texts["parameters"]) is None:
        return texts["parameters"]
    for name in (USER_COMMENT, COMMENT):
        # Any program may leave a comment: it counts only when it has the fields of a generation.
        if name in texts and {"Steps", "Seed"} & parse_infotext(texts[name]).fields.keys():
            return texts[name]
    return None


def _foreign(texts: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Name and texts of the tool with a format of its own that made the picture; an empty name when there is none."""
    for name in ("parameters", USER_COMMENT, COMMENT):
        tool = _json_tool(texts.get(name, ""))
        if tool:
            return tool, {name: texts[name]}
    if chunks := _present(texts, _INVOKE_CHUNKS):
        return "InvokeAI", chunks
    if texts.get("Software") == "NovelAI" and "Comment" in texts:
        return "NovelAI", _present(texts, _NOVELAI_CHUNKS)
    graphs = {name: text for name, text in _present(texts, _COMFY_CHUNKS).items() if _json_object(text) is not None}
    for tag in ("ImageDescription", "Make", "Model"):
        if match := _COMFY_TAG.match(texts.get(tag, "")):
            graphs[match[1].lower()] = match[2]
    return ("ComfyUI", graphs) if graphs else ("", {})


def _json_tool(text: str) -> str:
    document = _json_object(text)
    if document is None:
        return ""
    if "sui_image_params" in document:
        return "StableSwarmUI"
    version = str(document.get("version", document.get("Version", "")))
    if version.startswith("Fooocus") or "metadata_scheme" in document:
        return "Fooocus"
    return "unknown" if {"prompt", "positive_prompt", "Prompt"} & document.keys() else ""


def _json_object(text: str) -> dict[str, object] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _present(texts: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: texts[name] for name in names if name in texts}


def _environment(infotext: Infotext) -> dict[str, Json]:
    known = {"program": infotext.tool, "version": infotext.fields.get("Version", "")}
    return {name: value for name, value in known.items() if value}


def _claimed_time(texts: Mapping[str, str]) -> str | None:
    """The time of EXIF as RFC 3339 without an offset, because EXIF has none."""
    match = _EXIF_TIME.match(texts.get("DateTimeOriginal", texts.get("DateTime", "")))
    return f"{match[1]}-{match[2]}-{match[3]}T{match[4]}" if match else None
