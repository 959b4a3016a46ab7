"""What is known about a generation, read from the processing object, the model files and the host, never from infotext.

Infotext is text that a user can edit. ``p`` is the host's ``StableDiffusionProcessing``; what a host does not have is left
out. Names are those of infotext in snake case, so that a record and the infotext of its file can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from provenance_guard.json_types import Json
from provenance_guard.provenance import Context, Parent
from provenance_guard.provenance.infotext_parser import snake_case
from provenance_guard.provenance.record import ParentRole
from provenance_guard.webui import compat, job, resources, runtime

if TYPE_CHECKING:
    from provenance_guard.guard import Guard

_FIELDS = {
    "sampler": "sampler_name",
    "schedule_type": "scheduler",
    "steps": "steps",
    "cfg_scale": "cfg_scale",
    "width": "width",
    "height": "height",
    "batch_size": "batch_size",
    "batch_count": "n_iter",
    "styles": "styles",
    "subseed_strength": "subseed_strength",
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
}
_HIRES_FIELDS = {
    "denoising_strength": "denoising_strength",
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
}
_IMG2IMG_FIELDS = {
    "denoising_strength": "denoising_strength",
    "resize_mode": "resize_mode",
    "image_cfg_scale": "image_cfg_scale",
    "noise_multiplier": "initial_noise_multiplier",
}
_INPAINT_FIELDS = {
    "mask_blur": "mask_blur",
    "masked_content": "inpainting_fill",
    "inpaint_only_masked": "inpaint_full_res",
    "masked_area_padding": "inpaint_full_res_padding",
    "mask_inverted": "inpainting_mask_invert",
}
"""Names in the record, and the fields of ``p`` that they are read from."""

_EMPTY: tuple[object, ...] = (None, "", [], {})
_RECORD_ID = re.compile(rf"{job.ID_KEY}: ([0-9a-f]{{32}})\b")


def capture_run(p: Any) -> Context:
    """A run before it starts: all its prompts and seeds."""
    asked: dict[str, Json] = {
        "prompts": _distinct(p.all_prompts),
        "negative_prompts": _distinct(p.all_negative_prompts),
        "seeds": _plain(p.all_seeds),
        "subseeds": _plain(p.all_subseeds),
    }
    return Context(origin=_origin(p), parameters=_parameters(p) | asked, user=p.user, job=compat.current_job())


def capture_picture(p: Any, index: int, parents: tuple[Parent, ...]) -> Context:
    """One finished picture: number ``index`` of the running batch."""
    its_own: dict[str, Json] = {
        "prompt": p.prompts[index],
        "negative_prompt": p.negative_prompts[index],
        "seed": p.seeds[index],
        "subseed": p.subseeds[index],
        "batch_number": p.iteration,
        "batch_pos": index,
        "unfinished": compat.interrupted(),
    }
    return Context(
        origin=_origin(p),
        parameters=_parameters(p) | its_own,
        resources=resources.describe_models(p, runtime.hasher()),
        parents=parents,
        environment=_environment() | {"options": compat.changed_options()},
        user=p.user,
        job=compat.current_job(),
    )


def capture_beside(p: Any, made_as: str, known: Mapping[str, Any], guard: Guard) -> Context:
    """A picture beside the finished ones: ``made_as`` says what it is, ``known`` what its caller tells of it.

    ``p`` may be anything that the host or another extension gives in that place, and None.
    """
    told: dict[str, Json] = {}
    for name, field in (("prompt", "prompt"), ("negative_prompt", "negative_prompt"), ("seed", "seed")):
        value = known.get(name, getattr(p, field, None))
        if value not in _EMPTY:
            told[name] = _plain(value)
    if getattr(p, "all_seeds", None):
        told["seeds"] = _plain(p.all_seeds)
    is_job = hasattr(p, "outpath_samples")
    return Context(
        origin=_origin(p) if is_job else "webui.other",
        parameters=(_parameters(p) | told) if is_job else told,
        resources=resources.describe_models(p, runtime.hasher()) if is_job else (),
        parents=tuple(_recognise(role, image, guard) for role, image in _sources(p)) if is_job else (),
        environment=_environment() | {"options": compat.changed_options(), "made_as": made_as},
        user=getattr(p, "user", None),
        job=compat.current_job(),
    )


def capture_parents(p: Any, guard: Guard) -> tuple[Parent, ...]:
    """The pictures that a run starts from. To be read before the host prepares them (hook ``process``)."""
    return tuple(_recognise(role, image, guard) for role, image in _sources(p))


def capture_extras(source: Image.Image, steps: Mapping[str, Any], guard: Guard) -> Context:
    """A picture that was only changed. ``steps`` are what the other Extras steps tell of their work.

    Its infotext is that of the picture that came in, as it came in.
    """
    infotext = source.info.get("parameters")
    return Context(
        origin="webui.extras",
        infotext=infotext if isinstance(infotext, str) else None,
        parents=(_recognise("extras_input", source, guard),),
        environment=_environment() | {"extras": _plain(dict(steps))},
        job=compat.current_job(),
    )


def _recognise(role: ParentRole, image: Image.Image, guard: Guard) -> Parent:
    return guard.find_parent(role, image, label_id=_claimed_record_id(image))


def _claimed_record_id(image: Image.Image) -> str | None:
    """The record id in a picture's text chunks: that of a later Extras step first. Anybody can copy such text."""
    texts = (image.info.get(key) for key in ("extras", "postprocessing", "parameters"))
    found = (_RECORD_ID.search(text) for text in texts if isinstance(text, str))
    return next((match[1] for match in found if match), None)


def _parameters(p: Any) -> dict[str, Json]:
    """What the host adds to the infotext by itself, then the fields of ``p``, which win."""
    fields = dict(_FIELDS)
    if getattr(p, "enable_hr", False):
        fields |= _HIRES_FIELDS
    if getattr(p, "init_images", None):
        fields |= _IMG2IMG_FIELDS
    if getattr(p, "image_mask", None):
        fields |= _INPAINT_FIELDS
    extra = getattr(p, "extra_generation_params", None) or {}
    told = {snake_case(key): value for key, value in extra.items() if not callable(value)}
    read = {name: getattr(p, field, None) for name, field in fields.items()}
    found = {name: _plain(value) for name, value in (told | {k: v for k, v in read.items() if v not in _EMPTY}).items()}
    clip_skip = compat.option("CLIP_stop_at_last_layers", 1)
    if clip_skip > 1:
        found["clip_skip"] = clip_skip
    return {name: value for name, value in found.items() if value not in _EMPTY}


def _environment() -> dict[str, Json]:
    return compat.versions() | compat.device_description()


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
