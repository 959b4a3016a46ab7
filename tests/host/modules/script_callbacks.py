"""Callbacks; what one raises is reported and forgotten, as in the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image

from modules import errors


class ImageSaveParams:
    def __init__(self, image: Image.Image, p: Any, filename: str, pnginfo: dict[str, Any]) -> None:
        self.image = image
        self.p = p
        self.filename = filename
        self.pnginfo = pnginfo


class ImageGridLoopParams:
    def __init__(self, imgs: list[Any], cols: int, rows: int) -> None:
        self.imgs = imgs
        self.cols = cols
        self.rows = rows


_KINDS = (
    "app_started",
    "before_image_saved",
    "image_grid",
    "image_saved",
    "model_loaded",
    "script_unloaded",
    "ui_settings",
    "ui_tabs",
)
callback_map: dict[str, list[Callable[..., Any]]] = {f"callbacks_{kind}": [] for kind in _KINDS}


def clear_callbacks() -> None:
    for callbacks in callback_map.values():
        callbacks.clear()


def run(kind: str, *arguments: Any) -> list[Any]:
    """Call every callback of one kind (the host has a function for each)."""
    results = []
    for callback in callback_map[f"callbacks_{kind}"]:
        try:
            results.append(callback(*arguments))
        except Exception:
            errors.report(f"Error executing callback {kind}", exc_info=True)
    return results


def on_app_started(callback: Callable[[Any, Any], None], *, name: str | None = None) -> None:
    callback_map["callbacks_app_started"].append(callback)


def on_before_image_saved(callback: Callable[[ImageSaveParams], None], *, name: str | None = None) -> None:
    callback_map["callbacks_before_image_saved"].append(callback)


def on_image_grid(callback: Callable[[ImageGridLoopParams], None], *, name: str | None = None) -> None:
    callback_map["callbacks_image_grid"].append(callback)


def on_image_saved(callback: Callable[[ImageSaveParams], None], *, name: str | None = None) -> None:
    callback_map["callbacks_image_saved"].append(callback)


def on_model_loaded(callback: Callable[[Any], None], *, name: str | None = None) -> None:
    callback_map["callbacks_model_loaded"].append(callback)


def on_script_unloaded(callback: Callable[[], None], *, name: str | None = None) -> None:
    callback_map["callbacks_script_unloaded"].append(callback)


def on_ui_settings(callback: Callable[[], None], *, name: str | None = None) -> None:
    callback_map["callbacks_ui_settings"].append(callback)


def on_ui_tabs(callback: Callable[[], Any], *, name: str | None = None) -> None:
    callback_map["callbacks_ui_tabs"].append(callback)
