"""What stands in the WebUI when the package itself cannot be imported: it withholds what a policy might withhold.

Without it a broken installation would switch the guard off. It uses the standard library, Pillow and the host, and nothing
of ours. It cannot read a policy, so a policy file counts as one that withholds; without one the owner's option counts.
"""

from __future__ import annotations

import logging
import os
import textwrap
from collections.abc import Callable
from typing import Any

from modules import images, processing, script_callbacks, scripts, scripts_postprocessing, shared, shared_state
from PIL import Image, ImageDraw

logger = logging.getLogger(__name__)

_PLAIN = (64, 64, 64)

_originals: list[tuple[Any, str, Any]] = []


def stand_in(error: BaseException) -> None:
    """Guard the host's ways out until the WebUI is restarted in order, and say under every gallery what is wrong."""
    reason = (
        f"Provenance Guard cannot be loaded ({type(error).__name__}: {error}). Restart the WebUI, or install it anew."
    )
    logger.error("%s", reason, exc_info=error)
    stand_aside()
    withholds = _withholds()

    def notice(picture: Any) -> Any:
        return _notice(picture, reason) if withholds else picture

    def run_job(original: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        processed = original(*arguments, **named)
        if processed is not None:
            for name in ("images", "extra_images"):
                setattr(processed, name, [notice(picture) for picture in getattr(processed, name, None) or ()])
            processed.comments = f"{getattr(processed, 'comments', '')}{reason}\n"
        return processed

    def write_file(original: Callable[..., Any], picture: Any, *arguments: Any, **named: Any) -> Any:
        return original(notice(picture), *arguments, **named)

    def run_steps(original: Callable[..., Any], runner: Any, pp: Any, *arguments: Any, **named: Any) -> None:
        original(runner, pp, *arguments, **named)
        for finished in [pp, *pp.extra_images]:
            finished.image = notice(finished.image)
            finished.info["Provenance decision"] = reason

    _wrap(processing, "process_images_inner", run_job)
    _wrap(scripts.ScriptRunner, "run", run_job)
    _wrap(images, "save_image_with_geninfo", write_file)
    _wrap(scripts_postprocessing.ScriptPostprocessingRunner, "run", run_steps)
    if withholds:
        _put(shared_state.State, "current_image", property(lambda _: None, lambda *_: None))
    script_callbacks.on_script_unloaded(stand_aside)


def stand_aside() -> None:
    """Give the host its functions back."""
    while _originals:
        owner, name, original = _originals.pop()
        setattr(owner, name, original)


def _withholds() -> bool:
    named = getattr(shared.cmd_opts, "provenance_policy", None) or os.environ.get("PROVENANCE_GUARD_POLICY")
    return bool(named) or getattr(shared.opts, "provenance_guard_mode", "warn") in ("quarantine", "block")


def _wrap(owner: Any, name: str, handler: Callable[..., Any]) -> None:
    original = getattr(owner, name)
    _put(owner, name, lambda *arguments, **named: handler(original, *arguments, **named))


def _put(owner: Any, name: str, replacement: Any) -> None:
    _originals.append((owner, name, vars(owner)[name]))
    setattr(owner, name, replacement)


def _notice(picture: Any, reason: str) -> Image.Image:
    size = picture.size if isinstance(picture, Image.Image) else (512, 512)
    notice = Image.new("RGB", size, _PLAIN)
    try:
        columns = max(10, size[0] // 7)
        ImageDraw.Draw(notice).multiline_text((4, 4), textwrap.fill(f"Picture withheld. {reason}", columns))
    except Exception:
        logger.warning("the notice stays without words", exc_info=True)
    return notice
