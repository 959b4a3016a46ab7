"""The picture that stands where a withheld one would have been: same size, plain words, nothing of the original."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from provenance_guard.gate.policy import Decision

_TOP, _BOTTOM = (58, 74, 98), (92, 108, 128)
_PANEL, _EDGE, _TEXT, _SOFT = (44, 56, 76), (150, 166, 186), (244, 246, 250), (196, 206, 220)
_GLYPH_WIDTH, _LINE_HEIGHT = 6, 12
"""The built-in bitmap font: every glyph 6 pixels wide and 11 high, plus 1 between lines."""

_LARGEST_SCALE = 24
_SMALLEST_PANEL = 80
_REASONS_SHOWN = 3


def placeholder(size: tuple[int, int], decision: Decision, record_id: str = "", mode: str = "RGB") -> Image.Image:
    """A friendly notice of ``size`` pixels that says why the picture was withheld and under which record id.

    It is made from the arguments alone, so that it cannot hold a pixel of the withheld picture. What does not fit is left
    out, the reasons first and the record id last; a picture too small for any word is a plain panel.
    """
    width, height = size
    notice = _background(width, height)
    margin = 1
    if min(width, height) >= _SMALLEST_PANEL:
        margin = min(width, height) // 24
        _draw_panel(ImageDraw.Draw(notice), width, height, margin)
    room = (width - 4 * margin, height - 4 * margin)
    block = _largest_fitting(_wordings(decision, record_id), room)
    if block is not None:
        _draw_block(notice, block)
    return notice if mode == "RGB" else notice.convert(mode)


@dataclass(frozen=True)
class _Block:
    """Lines set at a whole multiple of the bitmap font; the first ``heading_lines`` are the heading."""

    lines: tuple[str, ...]
    heading_lines: int
    scale: int


_Wording = tuple[str, tuple[str, ...]]


def _wordings(decision: Decision, record_id: str) -> Iterator[_Wording]:
    """Heading and paragraphs, from the fullest to the tersest."""
    reasons = tuple(_printable(reason) for reason in decision.reasons[:_REASONS_SHOWN])
    record = (f"Record {record_id}",) if record_id else ()
    closing = ("Your other pictures are not affected. The record keeps the details.",)
    yield "Picture withheld", (*reasons, *closing, *record)
    yield "Picture withheld", (*reasons, *record)
    yield "Picture withheld", (*reasons[:1], *record)
    yield "Picture withheld", ("A policy applies.", *record)
    yield "Withheld", record
    yield "Withheld", (record_id,) if record_id else ()
    yield "Withheld", ()


def _largest_fitting(wordings: Iterator[_Wording], room: tuple[int, int]) -> _Block | None:
    """The fullest wording that fits at a comfortable size; a smaller size before fewer words, but never below legible."""
    comfortable = max(1, min(room) // 220)
    for heading, paragraphs in wordings:
        for scale in range(_LARGEST_SCALE, comfortable - 1, -1):
            block = _set(heading, paragraphs, scale, room)
            if block is not None:
                return block
    return None


def _set(heading: str, paragraphs: tuple[str, ...], scale: int, room: tuple[int, int]) -> _Block | None:
    columns = room[0] // (_GLYPH_WIDTH * scale)
    rows = room[1] // (_LINE_HEIGHT * scale)
    if columns < len(heading) and columns < max(map(len, heading.split())):
        return None
    heading_lines = textwrap.wrap(heading, columns)
    lines = list(heading_lines)
    for paragraph in paragraphs:
        if not _breaks_well(paragraph, columns):
            return None
        if len(paragraphs) > 1 or columns >= 20:
            lines.append("")
        lines += _wrap(paragraph, columns)
    if len(lines) > rows:
        return None
    return _Block(tuple(lines), len(heading_lines), scale)


def _breaks_well(paragraph: str, columns: int) -> bool:
    """Words stay whole; only ids and file names may be cut, and not into crumbs."""
    longest = max(map(len, paragraph.split()), default=0)
    return longest <= columns or (longest >= 16 and columns >= 8)


def _wrap(paragraph: str, columns: int) -> list[str]:
    words = paragraph.split()
    identifier = words[-1] if words else ""
    if len(identifier) == 32 and len(identifier) > columns:  # a record id in even pieces is easier to type
        piece = next(length for length in (16, 8, 4, 1) if length <= columns)
        pieces = [identifier[start : start + piece] for start in range(0, len(identifier), piece)]
        return textwrap.wrap(" ".join(words[:-1]), columns) + pieces
    return textwrap.wrap(paragraph, columns)


def _background(width: int, height: int) -> Image.Image:
    gradient = Image.linear_gradient("L").resize((width, height), Image.Resampling.BILINEAR)
    return Image.composite(
        Image.new("RGB", (width, height), _BOTTOM), Image.new("RGB", (width, height), _TOP), gradient
    )


def _draw_panel(draw: ImageDraw.ImageDraw, width: int, height: int, margin: int) -> None:
    draw.rounded_rectangle(
        (margin, margin, width - 1 - margin, height - 1 - margin),
        radius=2 * margin,
        fill=_PANEL,
        outline=_EDGE,
        width=max(1, margin // 6),
    )


def _draw_block(notice: Image.Image, block: _Block) -> None:
    line_height = _LINE_HEIGHT * block.scale
    top = (notice.height - line_height * len(block.lines)) // 2
    for number, line in enumerate(block.lines):
        if line:
            stencil = _stencil(line, block.scale)
            left = (notice.width - stencil.width) // 2
            colour = _TEXT if number < block.heading_lines else _SOFT
            notice.paste(colour, (left, top + number * line_height), stencil)


def _stencil(line: str, scale: int) -> Image.Image:
    """A line of text as a mask, every font pixel ``scale`` pixels wide."""
    font = _bitmap_font()
    mask = Image.new("1", (len(line) * _GLYPH_WIDTH, _LINE_HEIGHT))
    ImageDraw.Draw(mask).text((0, 1), line, fill=1, font=font)
    return mask.resize((mask.width * scale, mask.height * scale), Image.Resampling.NEAREST)


def _bitmap_font() -> ImageFont.ImageFont:
    """Pillow's built-in bitmap font, which is the same in every release; from 10.1 ``load_default`` is another one."""
    load = getattr(ImageFont, "load_default_imagefont", None) or ImageFont.load_default
    font: ImageFont.ImageFont = load()
    return font


def _printable(text: str) -> str:
    """What the font has no glyph for becomes a question mark."""
    return text.encode("latin-1", "replace").decode("latin-1")
