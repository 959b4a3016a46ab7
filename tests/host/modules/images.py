"""Saving with callbacks, text chunks and the numbering option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from modules import script_callbacks, shared


def save_image(
    image: Image.Image,
    path: str,
    basename: str,
    *,
    extension: str = "png",
    info: str | None = None,
    p: Any = None,
    existing_info: dict[str, Any] | None = None,
    pnginfo_section_name: str = "parameters",
    suffix: str = "",
) -> str:
    texts = dict(existing_info or {})
    if info is not None:
        texts[pnginfo_section_name] = info
    filename = str(Path(path) / f"{basename}{suffix}.{extension}")
    params = script_callbacks.ImageSaveParams(image, p, filename, texts)
    script_callbacks.run("before_image_saved", params)
    image, filename = params.image, params.filename
    written = _free_name(Path(filename))
    written.parent.mkdir(parents=True, exist_ok=True)
    if extension == "png":
        chunks = PngInfo()
        for key, value in params.pnginfo.items():
            chunks.add_text(key, str(value))
        image.save(written, pnginfo=chunks if shared.opts.enable_pnginfo else None)
    else:
        image.convert("RGB").save(written, quality=shared.opts.jpeg_quality)
    image.already_saved_as = filename
    script_callbacks.run("image_saved", params)
    return filename


def _free_name(path: Path) -> Path:
    number, free = 0, path
    while shared.opts.save_images_replace_action != "Replace" and free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free
