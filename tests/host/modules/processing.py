"""Generation in the host's order of hooks. The "model" draws soft coloured noise from the seed."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from modules import images, scripts, shared


@dataclass
class StableDiffusionProcessing:
    prompt: str = ""
    negative_prompt: str = ""
    styles: list[str] = field(default_factory=list)
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = 0
    seed_resize_from_h: int = -1
    seed_resize_from_w: int = -1
    sampler_name: str | None = "Euler"
    scheduler: str | None = "Automatic"
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 20
    cfg_scale: float = 7.0
    width: int = 256
    height: int = 256
    restore_faces: bool | None = None
    tiling: bool | None = None
    do_not_save_samples: bool = False
    eta: float | None = None
    denoising_strength: float | None = None
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None
    firstpass_image: Image.Image | None = None
    outpath_samples: str = ""
    extra_generation_params: dict[str, Any] = field(default_factory=dict)
    override_settings: dict[str, Any] = field(default_factory=dict)
    scripts: scripts.ScriptRunner | None = None
    script_args: list[Any] = field(default_factory=list)
    comments: dict[str, int] = field(default_factory=dict)
    user: str | None = None
    is_api: bool = False
    iteration: int = 0
    batch_index: int = 0
    all_prompts: list[str] = field(default_factory=list)
    all_negative_prompts: list[str] = field(default_factory=list)
    all_seeds: list[int] = field(default_factory=list)
    all_subseeds: list[int] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    negative_prompts: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    subseeds: list[int] = field(default_factory=list)
    sd_model_name: str | None = None
    sd_model_hash: str | None = None
    sd_vae_name: str | None = None
    sd_vae_hash: str | None = None

    def comment(self, text: str) -> None:
        self.comments[text] = 1

    def paint(self, seed: int) -> Image.Image:
        return draw(seed, (self.width, self.height))


@dataclass
class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    enable_hr: bool = False
    hr_scale: float = 2.0
    hr_upscaler: str | None = None
    hr_second_pass_steps: int = 0
    hr_upscale_to_x: int = 0
    hr_upscale_to_y: int = 0
    hr_prompt: str = ""
    hr_negative_prompt: str = ""
    hr_sampler_name: str | None = None
    hr_scheduler: str | None = None
    hr_checkpoint_name: str | None = None


@dataclass
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    init_images: list[Any] | None = None
    image_mask: Any = None
    resize_mode: int = 0
    mask_blur: int = 4
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: int = 0
    initial_noise_multiplier: float | None = None
    image_cfg_scale: float | None = None


class Processed:
    def __init__(self, p: StableDiffusionProcessing, images_list: list[Image.Image], infotexts: list[str]) -> None:
        self.images = images_list
        self.infotexts = infotexts
        self.all_seeds = p.all_seeds
        self.comments = "".join(f"{comment}\n" for comment in p.comments)


def draw(seed: int, size: tuple[int, int]) -> Image.Image:
    """The picture that a seed gives."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse, "RGB").resize(size, Image.Resampling.BICUBIC)


def create_infotext(
    p: Any,
    all_prompts: list[str],
    all_seeds: list[int],
    all_subseeds: list[int],
    comments: Any = None,
    iteration: int = 0,
    position_in_batch: int = 0,
    use_main_prompt: bool = False,
    index: int | None = None,
    all_negative_prompts: list[str] | None = None,
) -> str:
    if use_main_prompt:
        index = 0
    elif index is None:
        index = position_in_batch + iteration * p.batch_size
    parameters: dict[str, Any] = {
        "Steps": p.steps,
        "Sampler": p.sampler_name,
        "Seed": all_seeds[index],
        "Size": f"{p.width}x{p.height}",
        **p.extra_generation_params,
    }
    for key, value in parameters.items():
        if callable(value):
            parameters[key] = value(**locals())
    told = ", ".join(f"{key}: {value}" for key, value in parameters.items() if value is not None)
    return f"{all_prompts[index]}\n{told}"


def process_images(p: StableDiffusionProcessing) -> Processed:
    runner = p.scripts or scripts.ScriptRunner([], is_img2img=False)
    runner.call("before_process", p)
    stored = {key: getattr(shared.opts, key) for key in p.override_settings}
    for key, value in p.override_settings.items():
        shared.opts.set(key, value, is_api=True)
    try:
        return _process_images_inner(p, runner)
    finally:
        for key, value in stored.items():
            setattr(shared.opts, key, value)


def _process_images_inner(p: StableDiffusionProcessing, runner: scripts.ScriptRunner) -> Processed:
    if shared.sd_model is not None:
        p.sd_model_name = shared.sd_model.sd_checkpoint_info.name_for_extra
    count = p.batch_size * p.n_iter
    first = p.seed if p.seed >= 0 else random.randrange(2**32)
    p.all_prompts, p.all_negative_prompts = [p.prompt] * count, [p.negative_prompt] * count
    p.all_seeds, p.all_subseeds = [first + number for number in range(count)], [0] * count
    runner.call("process", p)
    output: list[Image.Image] = []
    infotexts: list[str] = []
    for n in range(p.n_iter):
        p.iteration = n
        batch = slice(n * p.batch_size, (n + 1) * p.batch_size)
        p.prompts, p.negative_prompts = p.all_prompts[batch], p.all_negative_prompts[batch]
        p.seeds, p.subseeds = p.all_seeds[batch], p.all_subseeds[batch]
        runner.call("process_batch", p, batch_number=n, prompts=p.prompts, seeds=p.seeds, subseeds=p.subseeds)
        if n == 0:  # the host writes params.txt here
            create_infotext(p, p.all_prompts, p.all_seeds, p.all_subseeds, position_in_batch=0, iteration=0)
        for i, seed in enumerate(p.seeds):
            p.batch_index = i
            pp = scripts.PostprocessImageArgs(p.paint(seed))
            runner.call("postprocess_image", p, pp)
            runner.call("postprocess_image_after_composite", p, pp)
            image = pp.image
            if shared.opts.samples_save and not p.do_not_save_samples:
                name = f"{len(output):05}-{p.seeds[i]}"
                images.save_image(
                    image, p.outpath_samples, name, extension=shared.opts.samples_format, info=_infotext(p, i), p=p
                )
            text = _infotext(p, i)  # the host asks a second time, after saving
            infotexts.append(text)
            image.info["parameters"] = text
            output.append(image)
    if len(output) > 1:
        infotexts.insert(0, create_infotext(p, p.prompts, p.seeds, p.subseeds, use_main_prompt=True))
        output.insert(0, _grid(output))
    processed = Processed(p, output, infotexts)
    runner.call("postprocess", p, processed)
    return processed


def _infotext(p: StableDiffusionProcessing, index: int) -> str:
    return create_infotext(p, p.prompts, p.seeds, p.subseeds, index=index, all_negative_prompts=p.negative_prompts)


def copy_for_cell(p: StableDiffusionProcessing, **changes: Any) -> StableDiffusionProcessing:
    """What X/Y/Z plot does for a cell: a shallow copy that shares every dictionary."""
    cell = dataclasses.replace(p)
    cell.__dict__.update(p.__dict__)
    cell.__dict__.update(changes)
    return cell


def _grid(pictures: list[Image.Image]) -> Image.Image:
    grid = Image.new("RGB", (sum(picture.width for picture in pictures), pictures[0].height))
    left = 0
    for picture in pictures:
        grid.paste(picture, (left, 0))
        left += picture.width
    return grid
