"""Pictures drawn by code for the demo: landscapes, a city, patterns. The same numbers give the same pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]
OVERSAMPLING = 2


class Canvas:
    """A picture of ``width`` x ``height`` that is drawn twice as large, so that edges come out smooth."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        self.width, self.height = width * OVERSAMPLING, height * OVERSAMPLING
        self.random = np.random.default_rng(seed)
        self.image = Image.new("RGB", (self.width, self.height))

    @property
    def draw(self) -> ImageDraw.ImageDraw:
        return ImageDraw.Draw(self.image)

    def finish(self) -> Image.Image:
        return self.image.resize((self.width // OVERSAMPLING, self.height // OVERSAMPLING), Image.Resampling.LANCZOS)

    def sky(self, *stops: Colour, bottom: float = 1.0) -> None:
        """A vertical gradient through the colours, from the top to the share ``bottom`` of the height."""
        rows = np.linspace(0, len(stops) - 1, int(self.height * bottom))
        columns = [np.interp(rows, range(len(stops)), [stop[channel] for stop in stops]) for channel in range(3)]
        pixels = np.repeat(np.stack(columns, 1)[:, None], self.width, 1)
        self.image.paste(Image.fromarray(pixels.round().astype(np.uint8)), (0, 0))

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        """Light around a point, in shares of width, height and width."""
        mask = Image.new("L", (256, 256), 0)
        across = np.linspace(-1, 1, 256)
        distance = np.hypot(across[:, None], across[None, :])
        mask = Image.fromarray((255 * strength * np.clip(1 - distance, 0, 1) ** 2).astype(np.uint8))
        side = int(2 * radius * self.width)
        place = (int(x * self.width) - side // 2, int(y * self.height) - side // 2)
        self.image.paste(colour, place, mask.resize((side, side), Image.Resampling.BICUBIC))

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        centre_x, centre_y, extent = x * self.width, y * self.height, radius * self.width
        self.draw.ellipse((centre_x - extent, centre_y - extent, centre_x + extent, centre_y + extent), fill=colour)

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        """A filled shape, its corners in shares of width and height."""
        self.draw.polygon([(x * self.width, y * self.height) for x, y in points], fill=colour)

    def clouds(self, colour: Colour, top: float, bottom: float, cover: float) -> None:
        """Drifting clouds between two heights."""
        noise = _noise(self.random, (40, 24))
        amount = np.clip((noise - (1 - cover)) / max(cover, 0.01), 0, 1) * np.sin(np.linspace(0, np.pi, 40))[:, None]
        mask = Image.fromarray((190 * amount).astype(np.uint8))
        box = (self.width, int((bottom - top) * self.height))
        self.image.paste(colour, (0, int(top * self.height)), mask.resize(box, Image.Resampling.BICUBIC))

    def ridge(self, base: float, rise: float, roughness: float, colour: Colour, fade: Colour) -> np.ndarray:
        """Hills whose crest wanders around ``base``; darker at the crest, ``fade`` at the foot. Gives the crest's heights."""
        crest = base - rise * _walk(self.random, self.width, roughness)
        rows = np.arange(self.height)[:, None] / self.height
        depth = np.clip((rows - crest[None, :]) / 0.35, 0, 1)[..., None]
        hill = np.array(colour) * (1 - depth) + np.array(fade) * depth
        mask = Image.fromarray(((rows >= crest[None, :]) * 255).astype(np.uint8))
        self.image.paste(Image.fromarray(hill.round().astype(np.uint8)), (0, 0), mask)
        return crest

    def lettering(self, text: str, x: float, y: float, scale: int, colour: Colour) -> None:
        """Block letters (Pillow's built-in bitmap font), centred."""
        load = getattr(ImageFont, "load_default_imagefont", None) or ImageFont.load_default
        mask = Image.new("1", (6 * len(text), 12))
        ImageDraw.Draw(mask).text((0, 0), text, fill=1, font=load())
        factor = scale * OVERSAMPLING
        letters = mask.convert("L").resize((mask.width * factor, mask.height * factor), Image.Resampling.NEAREST)
        self.image.paste(
            colour, (int(x * self.width) - letters.width // 2, int(y * self.height) - letters.height // 2), letters
        )


def sunset_hills() -> Image.Image:
    """Five ranges of hills under an evening sky, with firs in front."""
    canvas = Canvas(768, 512, 11)
    canvas.sky((52, 44, 96), (146, 74, 122), (238, 138, 96), (253, 206, 130), bottom=0.75)
    canvas.clouds((252, 178, 140), 0.05, 0.42, 0.55)
    canvas.glow(0.66, 0.5, 0.4, (255, 226, 150), 0.9)
    canvas.disc(0.66, 0.5, 0.05, (255, 244, 206))
    for step, tone in enumerate(((190, 116, 132), (150, 88, 122), (108, 66, 108), (70, 48, 88), (38, 32, 60))):
        faded = tuple(int(level + (255 - level) * 0.22) for level in tone)
        crest = canvas.ridge(0.56 + 0.085 * step, 0.1 - 0.008 * step, 0.5 + 0.1 * step, tone, faded)  # type: ignore[arg-type]
    for x in canvas.random.uniform(0.01, 0.99, 34):
        _fir(canvas, x, float(crest[int(x * canvas.width)]) + 0.02, canvas.random.uniform(0.05, 0.14), (20, 20, 40))
    for x, y in ((0.24, 0.22), (0.28, 0.2), (0.31, 0.235), (0.2, 0.25)):
        _bird(canvas, x, y, 0.012)
    return canvas.finish()


def night_city() -> Image.Image:
    """Towers with lit windows on the water, under a moon; a sign over the quay."""
    canvas = Canvas(512, 768, 23)
    canvas.sky((8, 10, 34), (22, 26, 70), (60, 48, 104), bottom=0.72)
    for x, y in zip(canvas.random.uniform(0, 1, 160), canvas.random.uniform(0, 0.5, 160), strict=True):
        canvas.disc(x, y, canvas.random.uniform(0.0008, 0.0024), (214, 220, 250))
    canvas.glow(0.76, 0.14, 0.3, (200, 206, 250), 0.55)
    canvas.disc(0.76, 0.14, 0.075, (240, 238, 222))
    for x, y, radius in ((0.74, 0.13, 0.014), (0.785, 0.15, 0.02), (0.755, 0.165, 0.009)):
        canvas.disc(x, y, radius, (222, 218, 200))
    left = -0.03
    while left < 1:
        width, top = canvas.random.uniform(0.08, 0.17), canvas.random.uniform(0.24, 0.55)
        _tower(canvas, left, top, left + width, 0.72)
        left += width + canvas.random.uniform(-0.02, 0.015)
    water = canvas.image.crop((0, int(0.44 * canvas.height), canvas.width, int(0.72 * canvas.height)))
    water = water.transpose(Image.Transpose.FLIP_TOP_BOTTOM).filter(ImageFilter.GaussianBlur(5))
    water = Image.blend(water, Image.new("RGB", water.size, (14, 20, 52)), 0.45)
    canvas.image.paste(water, (0, int(0.72 * canvas.height)))
    for y in canvas.random.uniform(0.73, 0.99, 90):
        x, length = canvas.random.uniform(0, 1), canvas.random.uniform(0.02, 0.12)
        canvas.polygon([(x, y), (x + length, y), (x + length, y + 0.0012), (x, y + 0.0012)], (86, 92, 150))
    canvas.polygon([(0.2, 0.655), (0.8, 0.655), (0.8, 0.725), (0.2, 0.725)], (30, 12, 40))
    canvas.glow(0.5, 0.69, 0.36, (255, 84, 160), 0.35)
    canvas.lettering("NIGHT MARKET", 0.5, 0.693, 4, (255, 168, 210))
    return canvas.finish()


def lighthouse() -> Image.Image:
    """A striped lighthouse on a cliff over a morning sea."""
    canvas = Canvas(768, 512, 5)
    canvas.sky((92, 150, 204), (166, 204, 226), (244, 232, 210), bottom=0.6)
    canvas.clouds((255, 255, 255), 0.02, 0.5, 0.6)
    horizon = 0.58
    shades = np.linspace(0, 1, 70)
    for share in shades:
        y, tone = horizon + share * (1 - horizon), (int(54 - 24 * share), int(124 - 60 * share), int(160 - 54 * share))
        canvas.polygon([(0, y), (1, y), (1, y + 0.02), (0, y + 0.02)], tone)
        for x in canvas.random.uniform(0, 1, 9):
            length = canvas.random.uniform(0.01, 0.03 + 0.07 * share)
            canvas.polygon(
                [(x, y), (x + length / 2, y - 0.004 - 0.006 * share), (x + length, y)],
                tuple(level + 26 for level in tone),  # type: ignore[arg-type]
            )
    canvas.polygon(
        [(0, 1), (0, 0.5), (0.1, 0.47), (0.2, 0.5), (0.34, 0.52), (0.4, 0.6), (0.38, 0.7), (0.47, 0.82), (0.5, 1)],
        (96, 84, 74),
    )
    canvas.polygon(
        [(0, 0.53), (0, 0.5), (0.1, 0.47), (0.2, 0.5), (0.34, 0.52), (0.395, 0.59), (0.2, 0.56)], (98, 134, 78)
    )
    for crack in range(26):
        x, y = canvas.random.uniform(0.01, 0.38), canvas.random.uniform(0.62, 0.95)
        tone = (80, 70, 62) if crack % 2 else (118, 104, 90)
        canvas.polygon([(x, y), (x + 0.035, y + 0.015), (x + 0.02, y + 0.05)], tone)
    for band in range(6):
        top, bottom = 0.14 + band * 0.061, 0.14 + (band + 1) * 0.061
        wide_top, wide_bottom = 0.033 + 0.0035 * band, 0.033 + 0.0035 * (band + 1)
        colour = (196, 52, 48) if band % 2 == 0 else (246, 242, 234)
        canvas.polygon(
            [
                (0.22 - wide_top, top),
                (0.22 + wide_top, top),
                (0.22 + wide_bottom, bottom),
                (0.22 - wide_bottom, bottom),
            ],
            colour,
        )
    canvas.polygon([(0.178, 0.125), (0.262, 0.125), (0.262, 0.14), (0.178, 0.14)], (52, 56, 66))
    canvas.polygon([(0.195, 0.075), (0.245, 0.075), (0.245, 0.125), (0.195, 0.125)], (255, 232, 150))
    canvas.polygon([(0.188, 0.075), (0.252, 0.075), (0.22, 0.03)], (150, 40, 42))
    canvas.glow(0.22, 0.1, 0.2, (255, 240, 180), 0.55)
    for x, y, size in ((0.62, 0.6, 0.03), (0.8, 0.64, 0.05), (0.71, 0.592, 0.016)):
        _sailing_boat(canvas, x, y, size)
    return _on_paper(canvas.finish(), canvas.random)


def fan_tiles() -> Image.Image:
    """Overlapping fans in blues and gold, like a tiled wall."""
    canvas = Canvas(640, 640, 31)
    canvas.sky((18, 60, 92), (14, 44, 74))
    palette: tuple[Colour, ...] = (
        (22, 96, 124),
        (34, 130, 142),
        (232, 180, 92),
        (242, 226, 190),
        (196, 92, 74),
        (20, 66, 100),
    )
    for row in range(16):
        for column in range(-1, 7):
            x, y = (column + 0.5 * (row % 2)) / 6 + 0.083, (row + 1) / 12 - 0.02
            first = int(canvas.random.integers(len(palette)))
            for ring in range(5):
                colour = palette[(first + ring * 2) % len(palette)]
                canvas.disc(x, y, 0.0835 - 0.0165 * ring, colour)
    light = _noise(canvas.random, (24, 24))
    mask = Image.fromarray((70 * light).astype(np.uint8)).resize(canvas.image.size, Image.Resampling.BICUBIC)
    canvas.image.paste((255, 244, 214), (0, 0), mask)
    return canvas.finish()


def balloons() -> Image.Image:
    """Hot-air balloons over fields."""
    canvas = Canvas(704, 512, 47)
    canvas.sky((70, 140, 214), (150, 200, 236), (236, 240, 226), bottom=0.8)
    canvas.clouds((255, 255, 255), 0.0, 0.55, 0.5)
    canvas.ridge(0.72, 0.08, 0.5, (126, 160, 150), (150, 180, 150))
    canvas.ridge(0.8, 0.06, 0.6, (120, 160, 92), (170, 190, 104))
    for stripe in range(12):
        left = stripe / 12
        tone = ((196, 178, 92), (146, 174, 80), (112, 150, 74))[stripe % 3]
        canvas.polygon([(left, 0.9), (left + 0.09, 0.9), (left * 1.5 - 0.2, 1), (left * 1.5 - 0.36, 1)], tone)
    for x, y, size, first, second in (
        (0.27, 0.34, 0.135, (214, 62, 58), (250, 214, 112)),
        (0.62, 0.26, 0.1, (60, 92, 170), (240, 240, 240)),
        (0.83, 0.47, 0.062, (84, 152, 108), (244, 196, 92)),
        (0.47, 0.58, 0.042, (150, 84, 160), (250, 226, 200)),
    ):
        _balloon(canvas, x, y, size=size, colours=(first, second))
    return canvas.finish()


def blossom_mountain() -> Image.Image:
    """A snow-topped mountain behind a lake, framed by a branch in blossom."""
    canvas = Canvas(576, 704, 61)
    canvas.sky((120, 168, 214), (190, 212, 228), (250, 226, 220), bottom=0.66)
    canvas.clouds((255, 250, 248), 0.1, 0.5, 0.45)
    canvas.polygon([(0.06, 0.66), (0.42, 0.24), (0.5, 0.225), (0.58, 0.25), (0.98, 0.66)], (92, 110, 150))
    canvas.polygon([(0.5, 0.225), (0.58, 0.25), (0.98, 0.66), (0.62, 0.66), (0.55, 0.45)], (78, 94, 134))
    snow = [(0.335, 0.34), (0.42, 0.24), (0.5, 0.225), (0.58, 0.25), (0.67, 0.342), (0.61, 0.325), (0.57, 0.37)]
    canvas.polygon([*snow, (0.52, 0.33), (0.47, 0.385), (0.43, 0.33), (0.385, 0.365)], (246, 248, 252))
    canvas.ridge(0.62, 0.03, 0.7, (74, 112, 100), (90, 130, 112))
    lake = canvas.image.crop((0, int(0.34 * canvas.height), canvas.width, int(0.66 * canvas.height)))
    lake = lake.transpose(Image.Transpose.FLIP_TOP_BOTTOM).filter(ImageFilter.GaussianBlur(4))
    lake = Image.blend(lake, Image.new("RGB", lake.size, (150, 186, 206)), 0.35).resize(
        (canvas.width, canvas.height - int(0.66 * canvas.height))
    )
    canvas.image.paste(lake, (0, int(0.66 * canvas.height)))
    _branch(canvas, -0.06, 0.02, angle=0.25, length=0.15, depth=6)
    _branch(canvas, 1.06, 0.0, angle=2.75, length=0.17, depth=6)
    return canvas.finish()


def northern_lights_poster() -> Image.Image:
    """A studio's own poster: aurora over a cabin, with lettering."""
    canvas = Canvas(480, 640, 83)
    canvas.sky((6, 14, 36), (12, 36, 66), (22, 62, 84), bottom=0.86)
    for x, y in zip(canvas.random.uniform(0, 1, 90), canvas.random.uniform(0, 0.55, 90), strict=True):
        canvas.disc(x, y, canvas.random.uniform(0.001, 0.003), (226, 236, 246))
    for band, colour in enumerate(((64, 226, 150), (90, 200, 210), (150, 110, 214))):
        for position in np.linspace(-0.1, 1.1, 46):
            height = 0.28 + 0.07 * np.sin(7 * position + 2 * band) + 0.05 * band
            canvas.glow(float(position), float(height), 0.11 - 0.015 * band, colour, 0.2)
    canvas.ridge(0.72, 0.12, 0.7, (24, 44, 66), (34, 60, 80))
    canvas.ridge(0.82, 0.03, 0.4, (214, 226, 238), (236, 242, 248))
    canvas.polygon([(0.4, 0.8), (0.6, 0.8), (0.6, 0.72), (0.4, 0.72)], (92, 56, 40))
    canvas.polygon([(0.37, 0.725), (0.63, 0.725), (0.5, 0.64)], (226, 232, 240))
    canvas.polygon([(0.47, 0.79), (0.53, 0.79), (0.53, 0.74), (0.47, 0.74)], (255, 214, 120))
    canvas.glow(0.5, 0.77, 0.16, (255, 200, 110), 0.5)
    canvas.lettering("NORTHERN LIGHTS", 0.5, 0.905, 4, (30, 52, 78))
    canvas.lettering("A WINTER STORY", 0.5, 0.955, 2, (90, 112, 138))
    return canvas.finish()


def robot_mascot() -> Image.Image:
    """A studio's own mascot: a round robot on dots."""
    canvas = Canvas(512, 512, 97)
    canvas.sky((250, 214, 150), (246, 180, 120))
    for row in range(13):
        for column in range(13):
            canvas.disc(column / 12, row / 12 + (column % 2) / 24, 0.011, (252, 228, 178))
    canvas.disc(0.5, 0.62, 0.27, (58, 110, 128))
    canvas.disc(0.5, 0.6, 0.255, (84, 150, 166))
    canvas.disc(0.5, 0.66, 0.13, (232, 240, 236))
    for x, tone in ((0.44, (226, 88, 76)), (0.5, (246, 190, 80)), (0.56, (110, 180, 110))):
        canvas.disc(x, 0.66, 0.022, tone)
    canvas.draw.rounded_rectangle(
        (0.27 * canvas.width, 0.14 * canvas.height, 0.73 * canvas.width, 0.45 * canvas.height), 90, fill=(58, 110, 128)
    )
    canvas.draw.rounded_rectangle(
        (0.3 * canvas.width, 0.17 * canvas.height, 0.7 * canvas.width, 0.42 * canvas.height), 70, fill=(236, 246, 244)
    )
    for x in (0.41, 0.59):
        canvas.disc(x, 0.28, 0.045, (40, 58, 76))
        canvas.disc(x + 0.012, 0.266, 0.014, (255, 255, 255))
    canvas.draw.arc(
        (0.43 * canvas.width, 0.29 * canvas.height, 0.57 * canvas.width, 0.385 * canvas.height),
        20,
        160,
        (226, 88, 76),
        8,
    )
    canvas.polygon([(0.493, 0.14), (0.507, 0.14), (0.507, 0.07), (0.493, 0.07)], (58, 110, 128))
    canvas.disc(0.5, 0.06, 0.025, (226, 88, 76))
    for side in (-1, 1):
        canvas.polygon(
            [(0.5 + side * 0.23, 0.54), (0.5 + side * 0.36, 0.44), (0.5 + side * 0.39, 0.48), (0.5 + side * 0.25, 0.6)],
            (58, 110, 128),
        )
        canvas.disc(0.5 + side * 0.385, 0.45, 0.04, (226, 88, 76))
    return canvas.finish()


def _on_paper(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """The grain of watercolour paper."""
    grain = random.normal(0, 4, (image.height, image.width, 1))
    return Image.fromarray((np.asarray(image) + grain).round().clip(0, 255).astype(np.uint8))


def _noise(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Smooth fractal noise in 0..1."""
    total = np.zeros(shape)
    for octave in range(4):
        cells = (max(2, shape[0] >> (3 - octave)), max(2, shape[1] >> (3 - octave)))
        coarse = Image.fromarray(random.random(cells).astype(np.float32))
        total += np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)) / 2**octave
    return (total - total.min()) / (total.max() - total.min())


def _walk(random: np.random.Generator, length: int, roughness: float) -> np.ndarray:
    """A wandering line in about -1..1: sines of rising frequency and falling height."""
    along = np.linspace(0, 1, length)
    line = np.zeros(length)
    for octave in range(7):
        line += np.sin(2 * np.pi * (2**octave * along * 0.9 + random.random())) * (roughness / 1.6) ** octave
    return line / np.abs(line).max()


def _fir(canvas: Canvas, x: float, foot: float, height: float, colour: Colour) -> None:
    for layer in range(4):
        top, width = foot - height * (1 - 0.22 * layer), height * (0.09 + 0.055 * layer)
        canvas.polygon([(x, top), (x - width, top + height * 0.42), (x + width, top + height * 0.42)], colour)


def _bird(canvas: Canvas, x: float, y: float, size: float) -> None:
    for side in (-1, 1):
        canvas.polygon(
            [(x, y), (x + side * size, y - size * 0.7), (x + side * size * 0.9, y - size * 0.45)], (50, 36, 70)
        )


def _tower(canvas: Canvas, left: float, top: float, right: float, bottom: float) -> None:
    shade = int(canvas.random.integers(16, 44))
    canvas.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], (shade, shade + 4, shade + 26))
    lights: tuple[Colour, ...] = ((255, 214, 130), (250, 190, 100), (190, 214, 250))
    for y in np.arange(top + 0.015, bottom - 0.02, 0.017):
        for x in np.arange(left + 0.012, right - 0.012, 0.02):
            if canvas.random.random() < 0.42:
                tone = lights[int(canvas.random.integers(3))]
                canvas.polygon([(x, y), (x + 0.01, y), (x + 0.01, y + 0.009), (x, y + 0.009)], tone)


def _sailing_boat(canvas: Canvas, x: float, y: float, size: float) -> None:
    canvas.polygon(
        [(x - size, y), (x + size, y), (x + size * 0.6, y + size * 0.5), (x - size * 0.6, y + size * 0.5)],
        (110, 66, 50),
    )
    canvas.polygon([(x, y - size * 3), (x, y - size * 0.15), (x + size * 0.95, y - size * 0.15)], (250, 248, 240))
    canvas.polygon(
        [(x - size * 0.1, y - size * 2.5), (x - size * 0.1, y - size * 0.15), (x - size * 0.8, y - size * 0.15)],
        (236, 122, 90),
    )


def _balloon(canvas: Canvas, x: float, y: float, *, size: float, colours: tuple[Colour, Colour]) -> None:
    width, height = size * canvas.width, size * canvas.width * 1.12
    centre_x, centre_y = x * canvas.width, y * canvas.height
    for gore in range(7):
        share = np.cos(np.pi * gore / 14)
        colour = colours[gore % 2]
        canvas.draw.ellipse(
            (centre_x - width * share, centre_y - height, centre_x + width * share, centre_y + height), fill=colour
        )
        if share < 0.2:
            break
    throat, basket = centre_y + height * 0.93, centre_y + height * 1.35
    for side in (-1, 1):
        canvas.draw.line(
            (centre_x + side * width * 0.3, throat, centre_x + side * width * 0.12, basket), (80, 62, 50), 3
        )
    canvas.draw.rounded_rectangle(
        (centre_x - width * 0.15, basket, centre_x + width * 0.15, basket + width * 0.24), 4, fill=(126, 84, 52)
    )


def _branch(canvas: Canvas, x: float, y: float, *, angle: float, length: float, depth: int) -> None:
    """A twig that forks until it ends in blossom; ``angle`` in radians, 0 to the right, growing downwards."""
    end_x, end_y = x + np.cos(angle) * length, y + np.sin(angle) * length * 0.6
    thickness = max(2, int(depth * depth * 0.9))
    canvas.draw.line(
        (x * canvas.width, y * canvas.height, end_x * canvas.width, end_y * canvas.height), (86, 60, 56), thickness
    )
    if depth <= 4:
        for _ in range(5):
            near_x, near_y = end_x + canvas.random.normal(0, 0.022), end_y + canvas.random.normal(0, 0.018)
            canvas.disc(
                near_x, near_y, canvas.random.uniform(0.011, 0.019), (248, 190 + int(canvas.random.integers(40)), 212)
            )
            canvas.disc(near_x, near_y, 0.004, (226, 110, 150))
    if depth > 1:
        for turn in (-0.42, 0.36):
            bend = turn + canvas.random.normal(0, 0.12)
            _branch(canvas, end_x, end_y, angle=angle + bend, length=length * 0.66, depth=depth - 1)
