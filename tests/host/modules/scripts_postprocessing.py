"""Steps of the Extras tab. The runner does not catch what a step raises."""

from __future__ import annotations

import copy
from typing import Any

from PIL import Image

from modules import shared


class PostprocessedImageSharedInfo:
    target_width: int | None = None
    target_height: int | None = None


class PostprocessedImage:
    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self.info: dict[str, Any] = {}
        self.shared = PostprocessedImageSharedInfo()
        self.extra_images: list[Any] = []
        self.disable_processing = False

    def create_copy(self, new_image: Image.Image) -> PostprocessedImage:
        pp = PostprocessedImage(new_image)
        pp.shared = self.shared
        pp.info = copy.copy(self.info)
        return pp


class ScriptPostprocessing:
    name: str = ""
    order = 1000

    def ui(self) -> Any: ...

    def process(self, pp: PostprocessedImage, **args: Any) -> None: ...

    def process_firstpass(self, pp: PostprocessedImage, **args: Any) -> None: ...


class ScriptPostprocessingRunner:
    def __init__(self) -> None:
        self.scripts: list[ScriptPostprocessing] | None = None

    def scripts_in_preferred_order(self) -> list[ScriptPostprocessing]:
        if self.scripts is None:
            from modules import scripts

            self.scripts = [kind() for kind in scripts.postprocessing_scripts_data]
        wanted = list(shared.opts.postprocessing_operation_order)
        kept = [script for script in self.scripts if script.name not in shared.opts.postprocessing_disable_in_extras]
        place = {name: number for number, name in enumerate(wanted)}
        return sorted(kept, key=lambda script: (place.get(script.name, len(wanted)), script.order, script.name))

    def run(self, pp: PostprocessedImage, args: dict[str, dict[str, Any]]) -> None:
        """``args``: by script (the host gives one flat list)."""
        scripts = self.scripts_in_preferred_order()
        for script in scripts:
            script.process_firstpass(pp, **args.get(script.name, {}))
        pictures = [pp]
        for script in scripts:
            if shared.state.skipped:
                break
            for picture in pictures.copy():
                script.process(picture, **args.get(script.name, {}))
                pictures += [
                    extra if isinstance(extra, PostprocessedImage) else picture.create_copy(extra)
                    for extra in picture.extra_images
                ]
                picture.extra_images.clear()
        pp.extra_images = pictures[1:]
