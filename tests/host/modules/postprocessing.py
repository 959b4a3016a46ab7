"""The Extras tab (``save_output``) and its API (not)."""

from __future__ import annotations

from typing import Any

from PIL import Image

from modules import images, scripts, scripts_postprocessing


def run_postprocessing(
    image: Image.Image, steps: dict[str, dict[str, Any]], *, folder: str, save_output: bool = True
) -> Image.Image:
    existing = {key: value for key, value in image.info.items() if isinstance(value, str)}
    pp = scripts_postprocessing.PostprocessedImage(image)
    ordered = sorted((step() for step in scripts.postprocessing_scripts_data), key=lambda step: step.order)
    arguments = {step.name: steps.get(step.name, {"enabled": None}) for step in ordered}
    for step in ordered:
        step.process_firstpass(pp, **arguments[step.name])
    for step in ordered:
        step.process(pp, **arguments[step.name])
    told = ", ".join(f"{key}: {value}" for key, value in pp.info.items() if value is not None)
    pp.image.info = {**existing, "postprocessing": told}
    if save_output:
        images.save_image(pp.image, folder, "extras", info=told, existing_info=existing, pnginfo_section_name="extras")
    return pp.image
