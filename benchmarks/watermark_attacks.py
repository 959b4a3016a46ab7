"""What happens to pictures on their way: the changes that the watermark benchmark puts marked pictures through."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from provenance_guard import extras

Pixels = npt.NDArray[np.float32]
Draws = np.random.Generator
Change = Callable[[Image.Image, Draws], Image.Image]

BICUBIC, LANCZOS, BILINEAR = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BILINEAR


@dataclass(frozen=True)
class Attack:
    """A named change of a picture, in a family that is reported together."""

    name: str
    family: str
    change: Change

    def __call__(self, image: Image.Image) -> Image.Image:
        """The changed picture; the same random draws every time."""
        return self.change(image, np.random.default_rng(sum(self.name.encode())))


def stored(form: str, **options: object) -> Change:
    """Saved in a lossy format and read again."""

    def change(image: Image.Image, _: Draws) -> Image.Image:
        content = io.BytesIO()
        image.save(content, form, **options)
        return Image.open(content).convert("RGB")

    return change


def jpeg(quality: int) -> Change:
    """JPEG as Pillow writes it: 4:2:0 chroma."""
    return stored("JPEG", quality=quality)


def scaled(factor: float, factor_y: float | None = None, resample: Image.Resampling = BICUBIC) -> Change:
    """Made smaller or larger."""

    def change(image: Image.Image, _: Draws) -> Image.Image:
        width, height = image.size
        return image.resize((round(width * factor), round(height * (factor_y or factor))), resample)

    return change


def scaled_and_back(factor: float) -> Change:
    """Made smaller, then its old size."""

    def change(image: Image.Image, draws: Draws) -> Image.Image:
        return scaled(factor)(image, draws).resize(image.size, BICUBIC)

    return change


def scaled_by_chance(low: float, high: float) -> Change:
    """Scaled by a factor drawn between two limits."""

    def change(image: Image.Image, draws: Draws) -> Image.Image:
        return scaled(float(np.exp(draws.uniform(np.log(low), np.log(high)))))(image, draws)

    return change


def fitted(width: int, height: int | None = None) -> Change:
    """Brought to a size in pixels; the height follows unless given."""

    def change(image: Image.Image, _: Draws) -> Image.Image:
        return image.resize((width, height or round(image.height * width / image.width)), LANCZOS)

    return change


def cropped(area: float, *, centre: bool = False) -> Change:
    """A part of that share of the area, of the same shape, at any place."""

    def change(image: Image.Image, draws: Draws) -> Image.Image:
        width, height = (round(side * area**0.5) for side in image.size)
        free_x, free_y = image.width - width, image.height - height
        left, top = (free_x // 2, free_y // 2) if centre else (draws.integers(free_x + 1), draws.integers(free_y + 1))
        return image.crop((int(left), int(top), int(left) + width, int(top) + height))

    return change


def corner_cut(image: Image.Image, _: Draws) -> Image.Image:
    """The strip where a visible mark would sit, cut off at the right and at the bottom."""
    return image.crop((0, 0, image.width - image.width // 9, image.height - image.height // 11))


def turned(degrees: float) -> Change:
    """Turned, black corners kept."""
    return lambda image, _: image.rotate(degrees, BICUBIC)


def turned_inside(degrees: float) -> Change:
    """Turned and cut to the part without black corners."""

    def change(image: Image.Image, _: Draws) -> Image.Image:
        margin = np.tan(np.radians(abs(degrees))) * max(image.size) / 2 + 2
        return image.rotate(degrees, BICUBIC).crop(
            (int(margin), int(margin), int(image.width - margin), int(image.height - margin))
        )

    return change


def flipped(method: Image.Transpose) -> Change:
    """Mirrored or turned by right angles."""
    return lambda image, _: image.transpose(method)


def levels(function: Callable[[Pixels, Draws], npt.NDArray[np.floating]]) -> Change:
    """A function of the samples in 0..255."""

    def change(image: Image.Image, draws: Draws) -> Image.Image:
        result = function(np.asarray(image, np.float32), draws)
        return Image.fromarray(np.clip(np.rint(result), 0, 255).astype(np.uint8))

    return change


def enhanced(tool: type[ImageEnhance._Enhance], factor: float) -> Change:
    """One of Pillow's enhancers."""
    return lambda image, _: tool(image).enhance(factor)


def opencv(function: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]) -> Change:
    """An OpenCV function of 8-bit samples."""
    return lambda image, _: Image.fromarray(function(np.asarray(image)))


def noise(sigma: float) -> Change:
    """White noise of a deviation in levels."""
    return levels(lambda pixels, draws: pixels + draws.normal(0, sigma, pixels.shape))


def salt_and_pepper(share: float) -> Change:
    """Pixels set to black or white."""

    def change(pixels: Pixels, draws: Draws) -> Pixels:
        chance = draws.random(pixels.shape[:2])
        changed = pixels.copy()
        changed[chance < share / 2] = 0
        changed[chance > 1 - share / 2] = 255
        return changed

    return levels(change)


def hue_turned(degrees: int) -> Change:
    """All hues moved around the circle."""

    def change(image: Image.Image, _: Draws) -> Image.Image:
        hue, saturation, value = image.convert("HSV").split()
        moved = hue.point(lambda level: (level + degrees * 256 // 360) % 256)
        return Image.merge("HSV", (moved, saturation, value)).convert("RGB")

    return change


def holes(count: int, area: float) -> Change:
    """Rectangles of one colour that cover a share of the picture together."""

    def change(image: Image.Image, draws: Draws) -> Image.Image:
        image = image.copy()
        width, height = (round(side * (area / count) ** 0.5) for side in image.size)
        for _ in range(count):
            left, top = draws.integers(image.width - width + 1), draws.integers(image.height - height + 1)
            image.paste((90, 110, 100), (int(left), int(top), int(left) + width, int(top) + height))
        return image

    return change


def in_a_collage(image: Image.Image, draws: Draws) -> Image.Image:
    """Pasted on a larger, busy sheet."""
    width, height = round(image.width * 1.6), round(image.height * 1.6)
    coarse = draws.integers(0, 255, (height // 16, width // 16, 3)).astype(np.uint8)
    sheet = Image.fromarray(coarse).resize((width, height), BICUBIC)
    sheet.paste(image, (round(image.width * 0.37), round(image.height * 0.21)))
    return sheet


def captioned(image: Image.Image, _: Draws) -> Image.Image:
    """Large lines of text over the picture."""
    image = image.copy()
    pencil = ImageDraw.Draw(image)
    letters = Image.new("L", (150, 12), 0)
    ImageDraw.Draw(letters).text((1, 0), "SOLD AS SEEN, ASK AT THE DESK", fill=255)
    band = letters.resize((image.width, image.height // 9), BICUBIC)
    for row in range(3):
        image.paste((250, 250, 240), (0, image.height * (1 + 3 * row) // 10), band)
    pencil.line((0, 0, *image.size), fill=(200, 30, 30), width=max(2, image.width // 100))
    return image


def framed_by_a_screen(image: Image.Image, draws: Draws) -> Image.Image:
    """A screenshot: shown at another size inside a window, saved without loss."""
    shown = scaled(1.13, resample=BILINEAR)(image, draws)
    screen = Image.new("RGB", (shown.width + 260, shown.height + 190), (32, 33, 36))
    ImageDraw.Draw(screen).rectangle((0, 0, screen.width, 70), fill=(53, 54, 58))
    screen.paste(shown, (131, 97))
    return screen


def meme(image: Image.Image, draws: Draws) -> Image.Image:
    """White bars above and below, text, smaller, two JPEGs."""
    sheet = Image.new("RGB", (image.width, round(image.height * 1.3)), "white")
    sheet.paste(image, (0, round(image.height * 0.15)))
    return chained(captioned, scaled(0.8), jpeg(60), jpeg(50))(sheet, draws)


def palette(image: Image.Image, _: Draws) -> Image.Image:
    """256 colours, dithered."""
    return image.quantize(256).convert("RGB")


def wiener(image: Image.Image, _: Draws) -> Image.Image:
    """A local Wiener filter, 5 pixels wide, for noise of 5 levels."""
    pixels = np.asarray(image, np.float32)
    mean = cv2.blur(pixels, (5, 5))
    variance = np.maximum(cv2.blur(pixels * pixels, (5, 5)) - mean * mean, 1e-3)
    result = mean + np.maximum(variance - 25, 0) / variance * (pixels - mean)
    return Image.fromarray(np.clip(np.rint(result), 0, 255).astype(np.uint8))


def denoised(strength: int) -> Change:
    """Non-local means."""
    return opencv(lambda pixels: cv2.fastNlMeansDenoisingColored(pixels, None, strength, strength, 5, 15))


def repainted(image: Image.Image, draws: Draws) -> Image.Image:
    """A stand-in for regeneration: half the size, denoised, bilateral, enlarged, new grain."""
    small = scaled(0.5)(image, draws)
    smooth = cv2.bilateralFilter(np.asarray(denoised(5)(small, draws)), 5, 25, 3)
    return noise(2)(Image.fromarray(smooth).resize(image.size, LANCZOS), draws)


def chained(*changes: Change) -> Change:
    """One change after the other."""

    def change(image: Image.Image, draws: Draws) -> Image.Image:
        for step in changes:
            image = step(image, draws)
        return image

    return change


def _attacks() -> list[Attack]:
    families: dict[str, dict[str, Change]] = {
        "none": {"none": lambda image, _: image},
        "jpeg": {f"jpeg {quality}": jpeg(quality) for quality in (95, 90, 80, 70, 60, 50, 40, 30)}
        | {
            "jpeg 75, 60": chained(jpeg(75), jpeg(60)),
            "jpeg 80, moved, 70": chained(jpeg(80), lambda image, _: image.crop((3, 5, *image.size)), jpeg(70)),
        },
        "hard jpeg": {"jpeg 20": jpeg(20), "jpeg 10": jpeg(10)},
        "other codecs": {
            "webp 80": stored("WEBP", quality=80),
            "webp 50": stored("WEBP", quality=50),
            "webp 30": stored("WEBP", quality=30),
            "jpeg 2000, 1:20": stored("JPEG2000", quality_mode="rates", quality_layers=[20]),
            "jpeg 2000, 1:40": stored("JPEG2000", quality_mode="rates", quality_layers=[40]),
            **({"avif 50": stored("AVIF", quality=50)} if _writes_avif() else {}),
            "256 colours": palette,
        },
        "scale and back": {f"x{factor} and back": scaled_and_back(factor) for factor in (0.75, 0.5, 0.33)},
        "unknown scale": {f"x{factor}": scaled(factor) for factor in (0.5, 0.67, 0.75, 0.9, 1.25, 1.5, 2.0)}
        | {"x0.5 to 2": scaled_by_chance(0.5, 2), "x0.33": scaled(0.33)},
        "stretch": {
            "0.9 x 1": scaled(0.9, 1.0),
            "1.05 x 0.97": scaled(1.05, 0.97),
            "square of 400": fitted(400, 400),
        },
        "crop": {
            "crop 75 %": cropped(0.75),
            "crop 50 %": cropped(0.5),
            "crop 25 %": cropped(0.25),
            "crop 25 %, centre": cropped(0.25, centre=True),
            "corner cut, jpeg 80": chained(corner_cut, jpeg(80)),
            "crop 50 % enlarged": chained(cropped(0.5), scaled(1.41)),
        },
        "hard crop": {"crop 10 %": cropped(0.1), "crop 10 %, centre": cropped(0.1, centre=True)},
        "rotation": {f"turned {degrees}": turned(degrees) for degrees in (0.5, 1, 5, 20, 45)}
        | {
            "quarter turn": flipped(Image.Transpose.ROTATE_90),
            "half turn": flipped(Image.Transpose.ROTATE_180),
            "mirror": flipped(Image.Transpose.FLIP_LEFT_RIGHT),
            "upside down": flipped(Image.Transpose.FLIP_TOP_BOTTOM),
            "turned 3, cut, jpeg 80": chained(turned_inside(3), jpeg(80)),
        },
        "tone": {
            "brighter": enhanced(ImageEnhance.Brightness, 1.4),
            "darker": enhanced(ImageEnhance.Brightness, 0.6),
            "contrast 1.4": enhanced(ImageEnhance.Contrast, 1.4),
            "contrast 0.6": enhanced(ImageEnhance.Contrast, 0.6),
            "gamma 0.7": levels(lambda pixels, _: 255 * (pixels / 255) ** 0.7),
            "gamma 1.4": levels(lambda pixels, _: 255 * (pixels / 255) ** 1.4),
            "hue": hue_turned(25),
            "grey": lambda image, _: image.convert("L").convert("RGB"),
            "negative": lambda image, _: ImageOps.invert(image),
            "equalised": lambda image, _: ImageOps.equalize(image),
            "4 bits": lambda image, _: ImageOps.posterize(image, 4),
        },
        "noise": {
            "noise 5": noise(5),
            "noise 10": noise(10),
            "noise 15": noise(15),
            "noise 25": noise(25),
            "salt and pepper": salt_and_pepper(0.02),
        },
        "filters": {
            "blur 1": lambda image, _: image.filter(ImageFilter.GaussianBlur(1)),
            "blur 2": lambda image, _: image.filter(ImageFilter.GaussianBlur(2)),
            "median 3": opencv(lambda pixels: cv2.medianBlur(pixels, 3)),
            "median 5": opencv(lambda pixels: cv2.medianBlur(pixels, 5)),
            "sharpened": lambda image, _: image.filter(ImageFilter.UnsharpMask(2, 120, 2)),
        },
        "covered": {
            "hole of 25 %": holes(1, 0.25),
            "four holes of 10 %": holes(4, 0.4),
            "collage": in_a_collage,
            "text over it": captioned,
        },
        "shared": {
            "screenshot": framed_by_a_screen,
            "1080 wide, jpeg 75": chained(fitted(1080), jpeg(75)),
            "640 wide, jpeg 70": chained(fitted(640), jpeg(70)),
            "meme": meme,
        },
        "combined": {
            "crop 50 %, x0.85, jpeg 70": chained(cropped(0.5), scaled(0.85), jpeg(70)),
            "crop 25 %, x1.25, jpeg 50": chained(cropped(0.25), scaled(1.25), jpeg(50)),
            "crop 25 %, x0.8, jpeg 50": chained(cropped(0.25), scaled(0.8), jpeg(50)),
            "turned 2, crop 50 %, x1.2, jpeg 60": chained(turned(2), cropped(0.5, centre=True), scaled(1.2), jpeg(60)),
        },
        "denoisers": {
            "wiener": wiener,
            "non-local means 8": denoised(8),
            "non-local means 15": denoised(15),
            "repainted": repainted,
        },
    }
    return [Attack(name, family, change) for family, table in families.items() for name, change in table.items()]


def _writes_avif() -> bool:
    extras.load("pillow_avif")  # Newer releases of Pillow need no plug-in.
    return ".avif" in Image.registered_extensions()


ATTACKS = _attacks()
