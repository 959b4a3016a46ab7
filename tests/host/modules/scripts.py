"""Always-on scripts and their runner; what a hook raises is reported and forgotten, as in the host."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from modules import errors, script_callbacks, scripts_postprocessing

AlwaysVisible = object()


class PostprocessImageArgs:
    def __init__(self, image: Image.Image) -> None:
        self.image = image


class Script:
    args_from = 0
    args_to = 0
    is_img2img = False

    def title(self) -> str:
        raise NotImplementedError

    def ui(self, is_img2img: bool) -> Any: ...

    def run(self, p: Any, *args: Any) -> Any: ...

    def show(self, is_img2img: bool) -> Any:
        return True

    def elem_id(self, item_id: str) -> str:
        return f"script_{'img2img' if self.is_img2img else 'txt2img'}_{item_id}"

    def before_process(self, p: Any, *args: Any) -> None: ...

    def process(self, p: Any, *args: Any) -> None: ...

    def process_batch(self, p: Any, *args: Any, **kwargs: Any) -> None: ...

    def postprocess_image(self, p: Any, pp: PostprocessImageArgs, *args: Any) -> None: ...

    def postprocess_image_after_composite(self, p: Any, pp: PostprocessImageArgs, *args: Any) -> None: ...

    def postprocess(self, p: Any, processed: Any, *args: Any) -> None: ...


class PostProcessMaskOverlayArgs:
    def __init__(self, index: int, mask_for_overlay: Image.Image | None, overlay_image: Image.Image | None) -> None:
        self.index = index
        self.mask_for_overlay = mask_for_overlay
        self.overlay_image = overlay_image


class ScriptRunner:
    def __init__(self, classes: list[type[Script]], *, is_img2img: bool) -> None:
        self.alwayson_scripts: list[Script] = []
        self.selectable_scripts: list[Script] = []
        for script_class in classes:
            script = script_class()
            script.is_img2img = is_img2img
            visible = script.show(is_img2img)
            kind = self.alwayson_scripts if visible is AlwaysVisible else self.selectable_scripts
            kind.append(script)

    def run(self, p: Any, *args: Any) -> Any:
        if not args or not args[0]:
            return None
        return self.selectable_scripts[args[0] - 1].run(p)

    def before_process(self, p: Any) -> None:
        self._call("before_process", p)

    def process(self, p: Any) -> None:
        self._call("process", p)

    def process_batch(self, p: Any, **kwargs: Any) -> None:
        self._call("process_batch", p, **kwargs)

    def postprocess_image(self, p: Any, pp: PostprocessImageArgs) -> None:
        self._call("postprocess_image", p, pp)

    def postprocess_image_after_composite(self, p: Any, pp: PostprocessImageArgs) -> None:
        self._call("postprocess_image_after_composite", p, pp)

    def postprocess(self, p: Any, processed: Any) -> None:
        self._call("postprocess", p, processed)

    def _call(self, hook: str, p: Any, *arguments: Any, **named: Any) -> None:
        for script in self.alwayson_scripts:
            try:
                getattr(script, hook)(p, *arguments, *p.script_args[script.args_from : script.args_to], **named)
            except Exception:
                errors.report(f"Error running {hook}", exc_info=True)


scripts_data: list[type[Script]] = []
postprocessing_scripts_data: list[type[scripts_postprocessing.ScriptPostprocessing]] = []
scripts_postproc = scripts_postprocessing.ScriptPostprocessingRunner()


def load_scripts(*extensions: Path) -> None:
    """Execute the extensions' ``scripts/*.py`` anew, as at start and at "Reload UI"."""
    global scripts_postproc
    scripts_data.clear()
    postprocessing_scripts_data.clear()
    script_callbacks.clear_callbacks()
    for extension in extensions:
        for path in sorted((extension / "scripts").glob("*.py")):
            search_path = sys.path
            sys.path = [str(extension), *sys.path]
            try:
                _register(_execute(path))
            except Exception:
                errors.report(f"Error loading script: {path.name}", exc_info=True)
            finally:
                sys.path = search_path
    scripts_postproc = scripts_postprocessing.ScriptPostprocessingRunner()


def _execute(path: Path) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location(path.name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def _register(names: dict[str, Any]) -> None:
    for value in names.values():
        if inspect.isclass(value) and issubclass(value, Script) and value is not Script:
            scripts_data.append(value)
        elif inspect.isclass(value) and issubclass(value, scripts_postprocessing.ScriptPostprocessing):
            postprocessing_scripts_data.append(value)
