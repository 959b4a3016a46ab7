"""The host's globals."""

from __future__ import annotations

import argparse
from typing import Any

from modules.options import OptionInfo, Options
from modules.sd_models import Model
from modules.shared_state import State

__all__ = ["OptionInfo", "cmd_opts", "loaded_hypernetworks", "opts", "sd_model", "state"]


_DEFAULTS: dict[str, Any] = {
    "enable_pnginfo": True,
    "samples_save": True,
    "grid_save": True,
    "return_grid": True,
    "return_mask": False,
    "return_mask_composite": False,
    "save_mask": False,
    "save_mask_composite": False,
    "save_init_img": False,
    "export_for_4chan": False,
    "target_side_length": 4000,
    "disabled_extensions": [],
    "disable_all_extensions": "none",
    "samples_format": "png",
    "jpeg_quality": 80,
    "save_images_replace_action": "Replace",
    "save_images_before_highres_fix": False,
    "save_images_before_face_restoration": False,
    "save_images_before_color_correction": False,
    "live_previews_enable": True,
    "postprocessing_disable_in_extras": [],
    "postprocessing_enable_in_main_ui": [],
    "postprocessing_operation_order": [],
    "CLIP_stop_at_last_layers": 1,
    "eta_noise_seed_delta": 0,
    "randn_source": "GPU",
    "sd_vae": "Automatic",
}

opts = Options({key: OptionInfo(default, key) for key, default in _DEFAULTS.items()})
cmd_opts = argparse.Namespace(provenance_policy=None, provenance_data=None, provenance_keys=None)
state = State()
sd_model: Model | None = None
loaded_hypernetworks: list[Any] = []
