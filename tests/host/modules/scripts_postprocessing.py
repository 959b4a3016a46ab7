"""Steps of the Extras tab. The runner does not catch what a step raises."""

from __future__ import annotations

from typing import Any

from PIL import Image


class PostprocessedImageSharedInfo:
    target_width: int | None = None
    target_height: int | None = None


class PostprocessedImage:
    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self.info: dict[str, Any] = {}
        self.shared = PostprocessedImageSharedInfo()
        self.extra_images: list[Any] = []


class ScriptPostprocessing:
    name: str = ""
    order = 1000

    def ui(self) -> Any: ...

    def process(self, pp: PostprocessedImage, **args: Any) -> None: ...

    def process_firstpass(self, pp: PostprocessedImage, **args: Any) -> None: ...
