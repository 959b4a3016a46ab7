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


_callbacks: dict[str, list[Callable[..., Any]]] = {}


def clear_callbacks() -> None:
    _callbacks.clear()


def run(kind: str, *arguments: Any) -> list[Any]:
    """Call every callback of one kind (the host has a function for each)."""
    results = []
    for callback in _callbacks.get(kind, []):
        try:
            results.append(callback(*arguments))
        except Exception:
            errors.report(f"Error executing callback {kind}", exc_info=True)
    return results


def on_app_started(callback: Callable[[Any, Any], None], *, name: str | None = None) -> None:
    _callbacks.setdefault("app_started", []).append(callback)


def on_before_image_saved(callback: Callable[[ImageSaveParams], None], *, name: str | None = None) -> None:
    _callbacks.setdefault("before_image_saved", []).append(callback)


def on_image_saved(callback: Callable[[ImageSaveParams], None], *, name: str | None = None) -> None:
    _callbacks.setdefault("image_saved", []).append(callback)


def on_model_loaded(callback: Callable[[Any], None], *, name: str | None = None) -> None:
    _callbacks.setdefault("model_loaded", []).append(callback)


def on_ui_settings(callback: Callable[[], None], *, name: str | None = None) -> None:
    _callbacks.setdefault("ui_settings", []).append(callback)


def on_ui_tabs(callback: Callable[[], Any], *, name: str | None = None) -> None:
    _callbacks.setdefault("ui_tabs", []).append(callback)
