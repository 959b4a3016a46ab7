"""Grids inherit what their pictures went through. Each function takes the place of one of the host's in ``images``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from modules import script_callbacks
from PIL import Image

from provenance_guard.webui import job, seen, sweep

logger = logging.getLogger(__name__)


def image_grid(original: Callable[..., Any], images: Sequence[Any], *rest: Any, **named: Any) -> Any:
    """``images.image_grid``. The host calls it for live previews too: those hold no picture that passed."""
    work, passed = job.current(), False
    try:
        if work is not None and any(isinstance(image, Image.Image) and seen.has_passed(image) for image in images):
            sweep.sweep_list(images, work.p, work.job, [])
            passed = all(seen.knows(image) for image in images)
    except Exception:
        logger.warning("a grid could not be examined; it is treated as a picture", exc_info=True)
    grid = original(images, *rest, **named)
    # A callback may have changed what is drawn: then the grid is a picture like any other.
    if passed and not script_callbacks.callback_map.get("callbacks_image_grid"):
        seen.remember(grid)
    return grid


def annotate(original: Callable[..., Any], grid: Any, *rest: Any, **named: Any) -> Any:
    """``images.draw_grid_annotations``: legends around a grid."""
    passed = isinstance(grid, Image.Image) and seen.knows(grid)
    annotated = original(grid, *rest, **named)
    if passed and isinstance(annotated, Image.Image):
        seen.remember(annotated)
    return annotated
