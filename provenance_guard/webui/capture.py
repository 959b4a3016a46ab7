"""What is known about a generation, read from the processing object, the model files and the host, never from infotext.

Infotext is text that a user can edit, and the hashes in it are what a file or a cache claims. ``p`` is the host's
``StableDiffusionProcessing``; fields that a host does not have are left out.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from provenance_guard import pictures
from provenance_guard.json_types import Json
from provenance_guard.provenance.record import Context, Parent, ParentRole, Resource
from provenance_guard.webui import compat, job

PARAMETERS = {
    "sampler": "sampler_name",
    "schedule_type": "scheduler",
    "steps": "steps",
    "cfg_scale": "cfg_scale",
    "width": "width",
    "height": "height",
    "batch_size": "batch_size",
    "batch_count": "n_iter",
    "styles": "styles",
    "variation_seed_strength": "subseed_strength",
    "seed_resize_from_width": "seed_resize_from_w",
    "seed_resize_from_height": "seed_resize_from_h",
    "denoising_strength": "denoising_strength",
    "restore_faces": "restore_faces",
    "tiling": "tiling",
    "eta": "eta",
    "model": "sd_model_name",
    "model_hash": "sd_model_hash",
    "vae": "sd_vae_name",
    "vae_hash": "sd_vae_hash",
    "refiner": "refiner_checkpoint",
    "refiner_switch_at": "refiner_switch_at",
    "distilled_cfg_scale": "distilled_cfg_scale",
    "hires": "enable_hr",
    "hires_upscale": "hr_scale",
    "hires_upscaler": "hr_upscaler",
    "hires_steps": "hr_second_pass_steps",
    "hires_width": "hr_upscale_to_x",
    "hires_height": "hr_upscale_to_y",
    "hires_prompt": "hr_prompt",
    "hires_negative_prompt": "hr_negative_prompt",
    "hires_sampler": "hr_sampler_name",
    "hires_schedule_type": "hr_scheduler",
    "hires_checkpoint": "hr_checkpoint_name",
    "resize_mode": "resize_mode",
    "mask_blur": "mask_blur",
    "inpainting_fill": "inpainting_fill",
    "inpaint_full_resolution": "inpaint_full_res",
    "inpaint_padding": "inpaint_full_res_padding",
    "inpaint_mask_inverted": "inpainting_mask_invert",
    "initial_noise_multiplier": "initial_noise_multiplier",
    "image_cfg_scale": "image_cfg_scale",
}
"""Names in the record and the fields of ``p`` that they are read from."""

_EMPTY: tuple[object, ...] = (None, "", [], {})
_RECORD_ID = re.compile(rf"{job.ID_KEY}: ([0-9a-f]{{32}})\b")


def capture_run(p: Any) -> Context:
    """A run before it starts: all its seeds and prompts."""
    parameters = _read_parameters(p) | {"seeds": list(p.all_seeds), "prompts": _distinct(p.all_prompts)}
    return Context(origin=_origin(p), parameters=parameters, user=p.user, job=compat.current_job())


def capture_picture(p: Any, index: int, parents: tuple[Parent, ...]) -> Context:
    """One finished picture: number ``index`` of the running batch."""
    return Context(
        origin=_origin(p),
        parameters=_read_parameters(p) | _of_picture(p, index),
        resources=tuple(resources(p)),
        parents=parents,
        environment=_environment(),
        user=p.user,
        job=compat.current_job(),
    )


def capture_extras(source: Image.Image, steps: Mapping[str, Any]) -> Context:
    """A picture that was only changed. ``steps`` are what the other Extras steps tell of their work.

    Its infotext is that of the picture that came in, as it came in.
    """
    infotext = source.info.get("parameters")
    return Context(
        origin="webui.extras",
        infotext=infotext if isinstance(infotext, str) else None,
        parents=(describe_parent("extras_input", source),),
        environment=compat.versions() | compat.device_description() | {"extras": _plain(dict(steps))},
        job=compat.current_job(),
    )


def capture_parents(p: Any) -> tuple[Parent, ...]:
    """The pictures that a run starts from. To be read before the host prepares them (hook ``process``)."""
    return tuple(describe_parent(role, image) for role, image in _sources(p))


def describe_parent(role: ParentRole, image: Image.Image) -> Parent:
    """A picture that came in, with the record id that its text claims."""
    claimed = claimed_record_id(image)
    return Parent(role, pictures.pixel_sha256(image), claimed, "label" if claimed else None)


def claimed_record_id(image: Image.Image) -> str | None:
    """The record id in a picture's text chunks: the newest when an Extras step added its own. Anybody can copy such text."""
    texts = (image.info.get(key) for key in ("extras", "postprocessing", "parameters"))
    found = (_RECORD_ID.search(text) for text in texts if isinstance(text, str))
    return next((match[1] for match in found if match), None)


def resources(p: Any) -> Iterator[Resource]:
    """The model files that take part, LoRAs as they were really loaded."""
    checkpoint = compat.checkpoint()
    if checkpoint is not None:
        yield _describe("checkpoint", checkpoint.name_for_extra, Path(checkpoint.filename), checkpoint.sha256)
    vae = compat.vae_file()
    if vae is not None:
        yield _describe("vae", vae.stem, vae)
    for module in compat.forge_modules():
        yield _describe("module", module.stem, module)
    for network in compat.loaded_networks():
        on_disk = network.network_on_disk
        found = _describe("lora", network.name, Path(on_disk.filename), on_disk.hash)
        yield dataclasses.replace(found, weight=network.unet_multiplier)
    for name in _embeddings_used(p):
        file = compat.embedding_file(name)
        if file is not None:
            yield _describe("embedding", name, file)
    for network in compat.hypernetworks():
        yield _describe("hypernetwork", network.name, Path(network.filename))


def _describe(
    kind: Literal["checkpoint", "vae", "lora", "embedding", "hypernetwork", "module"],
    name: str,
    path: Path,
    declared_hash: str | None = None,
) -> Resource:
    return Resource(kind, name, path.name, declared_hash=declared_hash)


def _read_parameters(p: Any) -> dict[str, Json]:
    hires = bool(getattr(p, "enable_hr", False))
    fields = {name: field for name, field in PARAMETERS.items() if hires or not name.startswith("hires")}
    found = {name: _plain(getattr(p, field, None)) for name, field in fields.items()}
    extra = {key: _plain(value) for key, value in p.extra_generation_params.items() if not callable(value)}
    parameters: dict[str, Json] = {name: value for name, value in found.items() if value not in _EMPTY}
    if extra:
        parameters["extra"] = extra
    return parameters


def _of_picture(p: Any, index: int) -> dict[str, Json]:
    return {
        "prompt": p.prompts[index],
        "negative_prompt": p.negative_prompts[index],
        "seed": p.seeds[index],
        "variation_seed": p.subseeds[index],
        "iteration": p.iteration,
        "batch_index": index,
        "unfinished": compat.interrupted(),
    }


def _environment() -> dict[str, Json]:
    return compat.versions() | compat.device_description() | {"options": compat.changed_options()}


def _origin(p: Any) -> Literal["webui.txt2img", "webui.img2img"]:
    return "webui.img2img" if getattr(p, "init_images", None) else "webui.txt2img"


def _sources(p: Any) -> Iterator[tuple[ParentRole, Image.Image]]:
    candidates: list[tuple[ParentRole, Any]] = [
        ("init_image", image) for image in getattr(p, "init_images", None) or []
    ]
    candidates.append(("mask", getattr(p, "image_mask", None)))
    candidates.append(("first_pass", getattr(p, "firstpass_image", None)))
    for role, image in candidates:
        if isinstance(image, Image.Image):
            yield role, image


def _embeddings_used(p: Any) -> list[str]:
    """The host tells the embeddings it met in the prompts as ``name: hash, name: hash``."""
    told = p.extra_generation_params.get("TI hashes")
    return [pair.split(":")[0].strip() for pair in told.split(",")] if isinstance(told, str) else []


def _distinct(texts: list[str]) -> list[Json]:
    return list(dict.fromkeys(texts))


def _plain(value: Any) -> Json:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return str(value)
