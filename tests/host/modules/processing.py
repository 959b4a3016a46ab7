"""Generation in the host's order of hooks. The "model" draws soft coloured noise from the seed."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass, field
from pathlib import Path
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
    do_not_reload_embeddings: bool = False
    eta: float | None = None
    denoising_strength: float | None = None
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None
    firstpass_image: Image.Image | None = None
    outpath_samples: str = ""
    outpath_grids: str = ""
    do_not_save_grid: bool = False
    color_corrections: list[Any] | None = None
    extra_result_images: list[Any] = field(default_factory=list)
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

    def init(self) -> None:
        """Before the batches."""

    def paint(self, seed: int) -> Image.Image:
        """What the model makes of a seed, decoded."""
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
    all_hr_prompts: list[str] = field(default_factory=list)
    all_hr_negative_prompts: list[str] = field(default_factory=list)

    def init(self) -> None:
        self.all_hr_prompts = [self.hr_prompt or prompt for prompt in self.all_prompts]
        self.all_hr_negative_prompts = [self.hr_negative_prompt or prompt for prompt in self.all_negative_prompts]

    def paint(self, seed: int) -> Image.Image:
        first = super().paint(seed)
        if not self.enable_hr:
            return first
        if shared.opts.save_images_before_highres_fix and not self.do_not_save_samples:
            images.save_image(
                first,
                self.outpath_samples,
                "",
                seed,
                self.prompt,
                shared.opts.samples_format,
                info=_infotext(self, self.seeds.index(seed)),
                p=self,
                suffix="-before-highres-fix",
            )
        return first.resize((int(self.width * self.hr_scale), int(self.height * self.hr_scale)))


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
    mask_for_overlay: Image.Image | None = None

    def init(self) -> None:
        if self.image_mask is not None:
            self.mask_for_overlay = self.image_mask.point(lambda level: min(255, level * 2))
        if shared.opts.save_init_img:
            for number, img in enumerate(self.init_images or []):
                images.save_image(
                    img,
                    str(Path(self.outpath_samples).parent / "init"),
                    "",
                    forced_filename=f"init-{number}",
                    existing_info=img.info,
                )


class Processed:
    def __init__(self, p: StableDiffusionProcessing, images_list: list[Image.Image], infotexts: list[str]) -> None:
        self.images = images_list
        self.extra_images = p.extra_result_images  # Forge and reForge
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
    if p.scripts is not None:
        p.scripts.before_process(p)
    stored = {key: getattr(shared.opts, key) for key in p.override_settings}
    for key, value in p.override_settings.items():
        shared.opts.set(key, value, is_api=True)
    try:
        return process_images_inner(p)
    finally:
        for key, value in stored.items():
            setattr(shared.opts, key, value)


def process_images_inner(p: StableDiffusionProcessing) -> Processed:
    runner = p.scripts or scripts.ScriptRunner([], is_img2img=False)
    if shared.sd_model is not None:
        p.sd_model_name = shared.sd_model.sd_checkpoint_info.name_for_extra
    count = p.batch_size * p.n_iter
    first = p.seed if p.seed >= 0 else random.randrange(2**32)
    p.all_prompts, p.all_negative_prompts = [p.prompt] * count, [p.negative_prompt] * count
    p.all_seeds, p.all_subseeds = [first + number for number in range(count)], [0] * count
    runner.process(p)
    p.init()
    output: list[Any] = []
    infotexts: list[str] = []
    for n in range(p.n_iter):
        p.iteration = n
        batch = slice(n * p.batch_size, (n + 1) * p.batch_size)
        p.prompts, p.negative_prompts = p.all_prompts[batch], p.all_negative_prompts[batch]
        p.seeds, p.subseeds = p.all_seeds[batch], p.all_subseeds[batch]
        runner.process_batch(p, batch_number=n, prompts=p.prompts, seeds=p.seeds, subseeds=p.subseeds)
        if n == 0:  # the host writes params.txt here
            create_infotext(p, p.all_prompts, p.all_seeds, p.all_subseeds, position_in_batch=0, iteration=0)
        save = bool(shared.opts.samples_save and not p.do_not_save_samples)
        decoded = [p.paint(seed) for seed in p.seeds]
        for i, painted in enumerate(decoded):
            p.batch_index = i
            shared.state.assign_current_image(painted.resize((64, 64)))
            _finish(p, painted, i, save, runner, output, infotexts)
    if len(output) > 1 and not p.do_not_save_grid:
        grid = images.image_grid(output, p.batch_size)
        text = create_infotext(p, p.prompts, p.seeds, p.subseeds, use_main_prompt=True)
        if shared.opts.return_grid:
            infotexts.insert(0, text)
            output.insert(0, grid)
        if shared.opts.grid_save and p.outpath_grids:
            images.save_image(grid, p.outpath_grids, "grid", p.all_seeds[0], p.prompt, info=text, p=p, grid=True)
    processed = Processed(p, output, infotexts)
    runner.postprocess(p, processed)
    return processed


def _finish(p: Any, image: Any, i: int, save: bool, runner: Any, output: list[Any], infotexts: list[str]) -> None:
    """One decoded picture, as far as files and gallery."""

    def save_as(picture: Any, suffix: str = "") -> None:
        images.save_image(
            picture,
            p.outpath_samples,
            "",
            p.seeds[i],
            p.prompts[i],
            shared.opts.samples_format,
            info=_infotext(p, i),
            p=p,
            suffix=suffix,
        )

    if p.restore_faces:
        if save and shared.opts.save_images_before_face_restoration:
            save_as(image.copy(), "-before-face-restoration")
        image = image.copy()
    if p.scripts is not None:
        pp = scripts.PostprocessImageArgs(image)
        runner.postprocess_image(p, pp)
        image = pp.image
    if p.color_corrections is not None:
        if save and shared.opts.save_images_before_color_correction:
            save_as(image.copy(), "-before-color-correction")
        image = image.point(lambda level: min(255, level + 3))
    denoised = image
    image = image.copy()
    if p.scripts is not None:
        pp = scripts.PostprocessImageArgs(image)
        runner.postprocess_image_after_composite(p, pp)
        image = pp.image
    if save:
        save_as(image)
    text = _infotext(p, i)  # the host asks a second time, after saving
    infotexts.append(text)
    image.info["parameters"] = text
    output.append(image)
    mask = getattr(p, "mask_for_overlay", None)
    if mask is None:
        return
    if shared.opts.return_mask or shared.opts.save_mask:
        image_mask = mask.convert("RGB")
        if save and shared.opts.save_mask:
            save_as(image_mask, "-mask")
        if shared.opts.return_mask:
            output.append(image_mask)
    if shared.opts.return_mask_composite or shared.opts.save_mask_composite:
        composite = Image.composite(denoised.convert("RGBA"), Image.new("RGBA", denoised.size), mask)
        if save and shared.opts.save_mask_composite:
            save_as(composite, "-mask-composite")
        if shared.opts.return_mask_composite:
            output.append(composite)


def _infotext(p: StableDiffusionProcessing, index: int) -> str:
    return create_infotext(p, p.prompts, p.seeds, p.subseeds, index=index, all_negative_prompts=p.negative_prompts)


def copy_for_cell(p: StableDiffusionProcessing, **changes: Any) -> StableDiffusionProcessing:
    """What X/Y/Z plot does for a cell: a shallow copy that shares every dictionary."""
    cell = dataclasses.replace(p)
    cell.__dict__.update(p.__dict__)
    cell.__dict__.update(changes)
    return cell
