"""How the API answers."""

from __future__ import annotations

import base64
import io
from typing import Any

from modules import shared


def encode_pil_to_base64(image: Any) -> bytes | str:
    if isinstance(image, str):
        return image
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue())


def answer(processed: Any) -> list[bytes | str]:
    """The pictures of a txt2img or img2img answer."""
    return [encode_pil_to_base64(image) for image in processed.images + getattr(processed, "extra_images", [])]


def progress() -> bytes | str | None:
    """``current_image`` of ``/sdapi/v1/progress``."""
    image = shared.state.current_image
    return encode_pil_to_base64(image) if image else None
