"""Every question about the host in one place: what it is, what it has, where its things are.

AUTOMATIC1111 1.10 is the reference; reForge and Forge differ in the places named here. Nothing in this file raises
because a host lacks something: the answer is then empty.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules import devices, extensions, launch_utils, paths, progress, scripts, sd_hijack, sd_vae, shared

from provenance_guard.json_types import Json

if TYPE_CHECKING:
    import torch

AFFECTING_OPTIONS = (
    "CLIP_stop_at_last_layers",
    "eta_noise_seed_delta",
    "randn_source",
    "sd_vae",
    "sd_vae_encode_method",
    "sd_vae_decode_method",
    "sd_noise_schedule",
    "token_merging_ratio",
    "token_merging_ratio_img2img",
    "token_merging_ratio_hr",
    "s_churn",
    "s_tmin",
    "s_tmax",
    "s_noise",
    "s_min_uncond",
    "img2img_color_correction",
    "inpainting_mask_weight",
    "initial_noise_multiplier",
    "img2img_extra_noise",
    "upcast_attn",
    "fp8_storage",
    "cross_attention_optimization",
    "emphasis",
    "comma_padding_backtrack",
    "use_old_emphasis_implementation",
    "use_old_scheduling",
    "use_old_hires_fix_width_height",
    "use_old_karras_scheduler_sigmas",
    "use_downcasted_alpha_bar",
    "hires_fix_use_firstpass_conds",
    "face_restoration_model",
    "samples_format",
    "jpeg_quality",
)
"""Options that change the picture or its file; those that differ from their defaults are recorded."""

_MEMORY_SAVERS = ("medvram", "medvram_sdxl", "lowvram", "always_low_vram", "always_no_vram")

OUTPUT_OPTIONS = (
    "outdir_samples",
    "outdir_txt2img_samples",
    "outdir_img2img_samples",
    "outdir_extras_samples",
    "outdir_grids",
    "outdir_txt2img_grids",
    "outdir_img2img_grids",
)
"""Options that name folders of pictures which the host makes; the Save button only copies."""


def has_composite_hook() -> bool:
    """Whether the host has the last hook for one picture before file and gallery; SD.Next has only an earlier one."""
    return hasattr(scripts.Script, "postprocess_image_after_composite")


def data_path() -> Path:
    """The folder that the host serves to browsers through ``/file=``."""
    return Path(paths.data_path).absolute()


def option(key: str, default: Any = None) -> Any:
    """An option's value, whether or not it is registered yet."""
    return getattr(shared.opts, key, default)


def flag(name: str) -> Any:
    """A command-line flag's value; None when the host does not know the flag."""
    return getattr(shared.cmd_opts, name, None)


def changed_options() -> dict[str, Json]:
    """The options of ``AFFECTING_OPTIONS`` that this host knows and that are not at their default."""
    labels = shared.opts.data_labels
    known = {key: option(key) for key in AFFECTING_OPTIONS if key in labels}
    return {key: value for key, value in known.items() if value != labels[key].default}


def current_job() -> str | None:
    """The task id that the host runs now."""
    return progress.current_task or shared.state.job or None


def interrupted() -> bool:
    """Whether the user stopped the job, so that its picture is unfinished."""
    return bool(shared.state.interrupted)


def is_training() -> bool:
    """Whether the host trains an embedding or a hypernetwork: its pictures are previews for whoever trains."""
    return str(shared.state.job or "").replace("_", "-").startswith("train-")


def is_save_button(p: Any) -> bool:
    """Whether ``p`` is what the Save button makes of the browser's JSON. The host's class for it is local to a function."""
    return type(p).__name__ == "MyObject"


def output_folders() -> list[Path]:
    """Where the host saves pictures."""
    return [Path(folder).absolute() for key in OUTPUT_OPTIONS if (folder := str(option(key, "") or "").strip())]


def last_generation_note() -> Path:
    """The file that the host writes anew with every generation, whatever becomes of its pictures."""
    return data_path() / "params.txt"


def stopped() -> bool:
    """Whether the user stopped or skipped what the host is doing, so that nothing more should be made for this picture."""
    return any(bool(getattr(shared.state, name, False)) for name in ("interrupted", "skipped", "stopping_generation"))


def show_activity(text: str | None) -> None:
    """What the progress bar says in front of the percentage; None clears it."""
    shared.state.textinfo = text


def refuse_downloads(demo: Any, private: Sequence[Path]) -> None:
    """Have Gradio refuse ``/file=`` for these folders and files, wherever they lie. ``demo`` is None without the page."""
    if demo is not None:
        blocked = list(getattr(demo, "blocked_paths", None) or ())
        demo.blocked_paths = blocked + [str(path) for path in private if str(path) not in blocked]


def device() -> torch.device:
    """The device that generates."""
    import torch  # loaded by the host long ago

    return torch.device(devices.device or "cpu")


def saves_memory() -> bool:
    """Whether the host was told to keep the memory of the device free, by its own options or by those of Forge."""
    return any(flag(name) for name in _MEMORY_SAVERS)


def device_description() -> dict[str, Json]:
    """Device and number formats of the run."""
    import torch

    chosen = device()
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else chosen.type
    formats = {key: str(getattr(devices, key, "")) for key in ("dtype", "dtype_unet", "dtype_vae")}
    return {"device": name, **formats}


@lru_cache(maxsize=1)
def versions() -> dict[str, Json]:
    """Versions and commits of host and extensions. Reads the extensions' repositories once, which takes a moment."""
    import torch

    return {
        "webui": launch_utils.git_tag(),
        "webui_commit": launch_utils.commit_hash(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "extensions": [_describe_extension(extension) for extension in extensions.extensions if extension.enabled],
    }


def _describe_extension(extension: Any) -> Json:
    if not extension.is_builtin:
        extension.read_info_from_repo()
    described: dict[str, Json] = {"name": extension.name, "builtin": bool(extension.is_builtin)}
    if extension.commit_hash:
        described |= {"commit": extension.commit_hash, "remote": extension.remote}
    return described


def checkpoint() -> Any | None:
    """The host's description of the loaded checkpoint: filename, name_for_extra, sha256. Only for use in a run, because a
    host without a loaded model would load one to answer."""
    return getattr(shared.sd_model, "sd_checkpoint_info", None)


def vae_file() -> Path | None:
    """The loaded VAE file, None when the checkpoint's own is used."""
    name = getattr(sd_vae, "loaded_vae_file", None)
    return Path(name) if name else None


def forge_modules() -> list[Path]:
    """Forge's "additional modules" (VAE and text encoders in one list); empty elsewhere."""
    return [Path(name) for name in option("forge_additional_modules", None) or []]


def loaded_networks() -> list[Any]:
    """The LoRAs that took effect: name, te_multiplier, unet_multiplier, network_on_disk."""
    module = sys.modules.get("networks")
    return list(getattr(module, "loaded_networks", []))


def embedding_file(name: str) -> Path | None:
    """The file of a loaded textual inversion embedding."""
    database = getattr(getattr(sd_hijack, "model_hijack", None), "embedding_db", None)
    found = getattr(database, "word_embeddings", {}).get(name)
    return Path(found.filename) if found is not None and found.filename else None


def hypernetworks() -> list[Any]:
    """The hypernetworks in use: name, filename."""
    return list(getattr(shared, "loaded_hypernetworks", []))


def written_file(requested: str) -> Path:
    """The file that the host really wrote for ``requested``.

    With the option "Add number suffix" the host writes ``name-1.png`` beside an existing ``name.png`` and does not tell.
    """
    path = Path(requested)
    if option("save_images_replace_action", "Replace") == "Replace":
        return path
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, 10_000))
    existing = [path] if path.exists() else []
    for candidate in numbered:
        if not candidate.exists():
            break
        existing.append(candidate)
    return max(existing, key=lambda file: file.stat().st_mtime_ns, default=path)
