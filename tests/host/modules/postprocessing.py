"""The Extras tab (``save_output``) and its API (not)."""

from __future__ import annotations

from typing import Any

from PIL import Image

from modules import images, scripts, scripts_postprocessing, shared


def run_postprocessing(
    image: Image.Image, steps: dict[str, dict[str, Any]], *, folder: str, save_output: bool = True
) -> list[Image.Image]:
    existing = {key: value for key, value in image.info.items() if isinstance(value, str)}
    initial = scripts_postprocessing.PostprocessedImage(image)
    arguments = {
        script.name: steps.get(script.name, {"enabled": None}) for script in scripts.postprocessing_scripts_data
    }
    scripts.scripts_postproc.run(initial, arguments)
    outputs: list[Image.Image] = []
    for pp in [initial, *initial.extra_images]:
        told = ", ".join(f"{key}: {value}" for key, value in pp.info.items() if value is not None)
        pp.image.info = {**existing, "postprocessing": told}
        shared.state.assign_current_image(pp.image)
        if save_output:
            images.save_image(
                pp.image,
                folder,
                "",
                info=told,
                existing_info=existing,
                pnginfo_section_name="extras",
                forced_filename=f"extras-{len(outputs)}" if outputs else "extras",
            )
        outputs.append(pp.image)
    return outputs
