"""The text that AUTOMATIC1111's WebUI and its kin write into pictures, parsed and written.

    a prompt, of any number of lines
    Negative prompt: what to avoid, of any number of lines
    Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x768, Lora hashes: "tiny: ab12, other: cd34"

The format has no escapes for prompts: a prompt that holds a line ``Negative prompt:`` cannot be told from a negative prompt.
Values with a comma, colon or line break stand in quotes, as JSON text. Infotext is a claim: anybody can edit it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from provenance_guard.json_types import Json
from provenance_guard.provenance.infotext_resources import read_resources
from provenance_guard.provenance.record import Resource

_NEGATIVE = "Negative prompt:"
_MINIMUM_FIELDS = 3  # With fewer the WebUI takes the last line for a part of the prompt, and so do we.
_QUOTED = re.compile(r'"(?:\\.|[^\\"])*"(?=\s*(?:,|$))')
_KEY_CHARACTERS = re.compile(r"[\w \-/]")
_WORD = re.compile(r"\w")
_SIZE = re.compile(r"(\d{1,9})\s*[xX×]\s*(\d{1,9})")
_INTEGER = re.compile(r"[+-]?\d{1,20}")
# Lines that the dynamic prompts extension once added below the fields.
_TRAILER = re.compile(r"(Template|Negative Template): ?(.*)")

# Fields with another name in records than their own in snake case.
_RENAMED = {"variation_seed": "subseed", "variation_seed_strength": "subseed_strength"}
_SIZES = {
    "size": ("width", "height"),
    "hires_resize": ("hires_width", "hires_height"),
    "hires_size": ("hires_width", "hires_height"),
    "first_pass_size": ("first_pass_width", "first_pass_height"),
    "seed_resize_from": ("seed_resize_from_width", "seed_resize_from_height"),
}
_INTEGERS = frozenset(
    [
        "steps",
        "seed",
        "subseed",
        "clip_skip",
        "hires_steps",
        "ensd",
        "eta_noise_seed_delta",
        "mask_blur",
        "masked_area_padding",
        "width",
        "height",
        "batch_size",
        "batch_pos",
    ]
)
_FLOATS = frozenset(
    [
        "cfg_scale",
        "denoising_strength",
        "subseed_strength",
        "hires_upscale",
        "hires_cfg_scale",
        "distilled_cfg_scale",
        "hires_distilled_cfg_scale",
        "image_cfg_scale",
        "hypernet_strength",
        "eta",
        "sigma_churn",
        "sigma_tmin",
        "sigma_tmax",
        "sigma_noise",
        "refiner_switch_at",
        "noise_multiplier",
        "conditional_mask_weight",
        "token_merging_ratio",
        "token_merging_ratio_hr",
        "ngms",
        "guidance_rescale",
        "schedule_max_sigma",
        "schedule_min_sigma",
        "schedule_rho",
        "pad_conds_weight",
        "sharpness",
    ]
)


@dataclass(frozen=True)
class Infotext:
    """A parsed infotext. ``fields`` are the raw values by the names they have in the text, in its order; a name that occurs
    twice has its last value. ``tool`` is the program that seems to have written it, ``""`` when nothing tells."""

    prompt: str = ""
    negative_prompt: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    tool: str = ""

    def parameters(self) -> dict[str, Json]:
        """Typed values under snake-case names, as in ``record.Context.parameters``; sizes become width and height.

        A value that is not of its field's type (``Steps: many``) stays as text.
        """
        values: dict[str, Json] = {}
        for name, raw in self.fields.items():
            values.update(_typed(snake_case(name), raw))
        return {**values, "prompt": self.prompt, "negative_prompt": self.negative_prompt}

    def resources(self) -> tuple[Resource, ...]:
        """The models that the text names, with the hashes and weights that it claims for them."""
        return read_resources(self.fields, f"{self.prompt}\n{self.fields.get('Hires prompt', '')}")


def parse_infotext(text: str) -> Infotext:
    """Parse any text. Never raises; what has no fields is all prompt."""
    lines = text.replace("\r\n", "\n").strip().split("\n")
    position, fields = _find_fields(lines)
    prompt, negative_prompt = _split_prompts(lines[:position])
    for line in lines[position + 1 :]:
        if trailer := _TRAILER.fullmatch(line):
            fields.setdefault(trailer[1], trailer[2])
    return Infotext(prompt, negative_prompt, fields, _guess_tool(fields))


def format_infotext(prompt: str, negative_prompt: str, fields: Mapping[str, str]) -> str:
    """Write infotext exactly as the WebUI does (``processing.create_infotext`` of v1.10.1)."""
    pairs = ", ".join(name if name == value else f"{name}: {_quote(value)}" for name, value in fields.items())
    negative = f"\n{_NEGATIVE} {negative_prompt}" if negative_prompt else ""
    return f"{prompt}{negative}\n{pairs}".strip()


def snake_case(name: str) -> str:
    """A field name as it stands in records: ``CFG scale`` is ``cfg_scale``."""
    return re.sub(r"\W+", "_", name.lower()).strip("_")


def _find_fields(lines: list[str]) -> tuple[int, dict[str, str]]:
    """The index of the line of fields (the number of lines when there is none), and what it holds."""
    for position in range(len(lines) - 1, -1, -1):
        pairs = _read_pairs(lines[position])
        if len(pairs) >= _MINIMUM_FIELDS:
            return position, dict(pairs)
        if not _TRAILER.fullmatch(lines[position]):
            break
    return len(lines), {}


def _split_prompts(lines: list[str]) -> tuple[str, str]:
    for position, line in enumerate(lines):
        if line.lstrip().startswith(_NEGATIVE):
            first = line.lstrip().removeprefix(_NEGATIVE).removeprefix(" ")
            return "\n".join(lines[:position]), "\n".join([first, *lines[position + 1 :]])
    return "\n".join(lines), ""


def _read_pairs(line: str) -> list[tuple[str, str]]:
    # By hand and not with one regular expression: that needs quadratic time on a long line without colons.
    pairs: list[tuple[str, str]] = []
    start = 0
    while (colon := line.find(":", start)) >= 0:
        key = _key_before(line, start, colon)
        start = colon + 1
        if len(key) >= 2:
            value, start = _read_value(line, start)
            pairs.append((key, value))
    return pairs


def _key_before(line: str, start: int, colon: int) -> str:
    first = colon
    while first > start and _KEY_CHARACTERS.match(line[first - 1]):
        first -= 1
    word = _WORD.search(line, first, colon)
    return line[word.start() : colon] if word else ""


def _read_value(line: str, start: int) -> tuple[str, int]:
    """The value that begins at ``start``, and where the next pair may begin."""
    while start < len(line) and line[start].isspace():
        start += 1
    if quoted := _QUOTED.match(line, start):
        return _unquote(quoted[0]), quoted.end()
    if line[start : start + 1] in ("{", "["):
        end = _json_end(line, start)
        if end is not None:
            return line[start:end], end
    comma = line.find(",", start)
    end = comma if comma >= 0 else len(line)
    return line[start:end].rstrip(), end


def _json_end(line: str, start: int) -> int | None:
    """Where an unquoted JSON value ends, as Civitai's ``Civitai resources: [{...}]``; None when it is none."""
    try:
        _, end = json.JSONDecoder().raw_decode(line, start)
    except (ValueError, RecursionError):
        return None
    return end if line[end:].lstrip()[:1] in ("", ",") else None


def _quote(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if any(mark in value for mark in ",\n:") else value


def _unquote(text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else text


def _typed(name: str, raw: str) -> dict[str, Json]:
    name = _RENAMED.get(name, name)
    size = _SIZE.fullmatch(raw) if name in _SIZES else None
    if size:
        width, height = _SIZES[name]
        return {width: int(size[1]), height: int(size[2])}
    if name in _INTEGERS and _INTEGER.fullmatch(raw):
        return {name: int(raw)}
    if name in _FLOATS and (number := _finite(raw)) is not None:
        return {name: number}
    return {name: raw}


def _finite(raw: str) -> float | None:
    try:
        number = float(raw)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _version_starts(*beginnings: str) -> Callable[[Mapping[str, str]], bool]:
    return lambda fields: fields.get("Version", "").startswith(beginnings)


_TOOLS: tuple[tuple[str, Callable[[Mapping[str, str]], bool]], ...] = (
    ("SD.Next", lambda fields: fields.get("App", "").startswith("SD.Next")),
    ("Fooocus", _version_starts("Fooocus")),
    ("ComfyUI", _version_starts("ComfyUI")),
    ("Forge", _version_starts("f0.", "f1.", "f2.", "neo", "forge")),
    ("Forge", lambda fields: "Module 1" in fields),
    ("SD.Next", lambda fields: "Operations" in fields and "Pipeline" in fields),
    ("Civitai", lambda fields: "Civitai resources" in fields),
    ("A1111", _version_starts("v1.", "1.")),
    ("A1111", lambda fields: "Steps" in fields and "Sampler" in fields),
)


def _guess_tool(fields: Mapping[str, str]) -> str:
    return next((tool for tool, fits in _TOOLS if fits(fields)), "")
