"""The models that an infotext names: checkpoint, VAE, LoRAs, embeddings, with the hashes that it claims for them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from provenance_guard.provenance.record import Resource, ResourceKind

_TAG = re.compile(r"<(lora|lyco|hypernet):([^:<>]+)((?::[^:<>]*)*)>")
_NAME_AND_HASH = re.compile(r"(.+?) \[([0-9a-fA-F]{8,64})\]")
_HASH = re.compile(r"[0-9a-fA-F]{4,64}")
_NO_MODEL = frozenset({"None", "Automatic", "Default (model)"})
_CIVITAI_KINDS: dict[str, ResourceKind] = {
    "checkpoint": "checkpoint",
    "lora": "lora",
    "lycoris": "lora",
    "embed": "embedding",
    "textualinversion": "embedding",
    "vae": "vae",
}


def read_resources(fields: Mapping[str, str], prompt: str) -> tuple[Resource, ...]:
    """What the raw ``fields`` of an infotext and the tags in its ``prompt`` name, each model once."""
    once = {
        (found.kind, found.name, found.declared_hash, found.weight): found
        for found in (*_models(fields), *_networks(fields, prompt))
    }
    return tuple(once.values())


def _models(fields: Mapping[str, str]) -> Iterator[Resource]:
    hashes = _civitai_hashes(fields)
    if "Model" in fields or "Model hash" in fields:
        declared = fields.get("Model hash") or hashes.get("model")
        yield Resource("checkpoint", fields.get("Model", ""), declared_hash=declared)
    for name in ("Refiner", "Hires checkpoint"):
        if name in fields:
            yield _with_hash("checkpoint", fields[name], fields.get(f"{name} hash"))
    vae, vae_hash = fields.get("VAE", ""), fields.get("VAE hash") or hashes.get("vae")
    if (vae or vae_hash) and vae not in _NO_MODEL:
        yield Resource("vae", vae, declared_hash=vae_hash)
    for name, value in fields.items():
        if re.fullmatch(r"Module \d+", name):
            yield Resource("module", value)
    if "Hypernet" in fields:
        strength = _number(fields.get("Hypernet strength", ""))
        yield Resource("hypernetwork", fields["Hypernet"], declared_hash=fields.get("Hypernet hash"), weight=strength)
    for entry in _json_value(fields, "Civitai resources", list):
        kind = _CIVITAI_KINDS.get(str(entry.get("type", "")).lower()) if isinstance(entry, dict) else None
        if kind is not None:
            yield Resource(kind, str(entry.get("modelName", "")), weight=_number(str(entry.get("weight", ""))))


def _networks(fields: Mapping[str, str], prompt: str) -> Iterator[Resource]:
    civitai = _civitai_hashes(fields)
    lora_hashes = _listed_hashes(fields.get("Lora hashes", ""))
    lora_hashes |= {name[5:]: (digest, None) for name, digest in civitai.items() if name.startswith("lora:")}
    embeddings = _listed_hashes(fields.get("TI hashes", ""))
    embeddings |= {name[6:]: (digest, None) for name, digest in civitai.items() if name.startswith("embed:")}
    tagged = set()
    for kind, name, arguments in _TAG.findall(prompt):
        digest, _ = lora_hashes.get(name, (None, None))
        resource: ResourceKind = "hypernetwork" if kind == "hypernet" else "lora"
        yield Resource(resource, name, declared_hash=digest, weight=_weight(arguments))
        tagged.add(name)
    for name, (digest, weight) in lora_hashes.items():
        if name not in tagged:
            yield Resource("lora", name, declared_hash=digest, weight=weight)
    for name, (digest, _) in embeddings.items():
        yield Resource("embedding", name, declared_hash=digest)


def _weight(arguments: str) -> float | None:
    """The weight in ``:0.8``, ``:0.8:0.5`` (text encoder, UNet) or ``:te=0.8:unet=0.5``; 1 when the tag has none."""
    given = [argument.strip() for argument in arguments.split(":")[1:]]
    if not given:
        return 1.0
    named = dict(argument.split("=", 1) for argument in given if "=" in argument)
    plain = [argument for argument in given if "=" not in argument]
    chosen = named.get("unet") or (plain[1] if len(plain) > 1 else None) or (plain[0] if plain else named.get("te"))
    return _number(chosen or "")


def _listed_hashes(text: str) -> dict[str, tuple[str | None, float | None]]:
    """``name: hash, name: hash`` as the WebUI writes it, or ``name: hash: weight`` as Fooocus does."""
    found: dict[str, tuple[str | None, float | None]] = {}
    for entry in text.split(","):
        name, *rest = (part.strip() for part in entry.split(":"))
        if name and rest:
            digest = rest[0] if _HASH.fullmatch(rest[0]) else None
            found[name] = (digest, _number(rest[1]) if len(rest) > 1 else None)
    return found


def _civitai_hashes(fields: Mapping[str, str]) -> dict[str, str]:
    """``Hashes: {"model": "...", "lora:name": "..."}``, as the Civitai extension and ComfyUI nodes write it."""
    return {name: str(digest) for name, digest in _json_value(fields, "Hashes", dict).items()}


def _json_value(fields: Mapping[str, str], name: str, kind: type) -> Any:
    try:
        value = json.loads(fields[name])
    except (KeyError, ValueError, RecursionError):
        return kind()
    return value if isinstance(value, kind) else kind()


def _with_hash(kind: ResourceKind, text: str, declared: str | None) -> Resource:
    match = _NAME_AND_HASH.fullmatch(text)
    return Resource(kind, match[1], declared_hash=match[2]) if match else Resource(kind, text, declared_hash=declared)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < 1e6 else None
