"""Open, convert and fingerprint pictures, whatever their mode: the one way in for every room."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from provenance_guard import extras
from provenance_guard.errors import OutputError, PictureError
from provenance_guard.files import staged_file

if TYPE_CHECKING:
    import torch

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff"})
MAX_PIXELS = 178_000_000
"""Above this many pixels (13,300 x 13,300) a picture is refused before decoding: it is a mistake or a decompression bomb.
Pillow itself refuses a little above that, unless a host has switched its check off."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture. ``image`` is upright (EXIF orientation applied), 8 bit, mode RGB or RGBA.

    ``info`` is what Pillow found beside the pixels (text chunks, ``exif``, ``icc_profile``); ``notes`` says in plain words
    what the conversion lost or changed (16 bits to 8, CMYK to RGB, first of 12 frames).
    """

    path: Path
    image: Image.Image
    format: str
    mode: str
    frames: int
    info: dict[str, object]
    notes: tuple[str, ...] = field(default=())


def open_picture(
    path: Path, *, animated: Literal["refuse", "first"] = "refuse", longest_side: int | None = None
) -> Picture:
    """Decode the picture in ``path`` completely.

    ``animated`` says what to do with more than one frame: refuse, or take the first one. ``longest_side`` allows a format
    that can (JPEG) to decode faster into fewer pixels, but never into fewer than that.
    Raises PictureError with the reason (missing, empty, truncated, no picture, too large, animated, not readable).
    """
    extras.load("pillow_avif")  # Registers AVIF with Pillow releases that lack it.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Our own limit follows.
            source = Image.open(path)
    except FileNotFoundError:
        raise PictureError(f"{path} does not exist.", next_step="Check the name and try again.") from None
    except IsADirectoryError:
        raise PictureError(f"{path} is a folder, not a picture.", next_step="Name the pictures in it.") from None
    except PermissionError:
        raise PictureError(
            f"No permission to read {path}.", next_step="Make the file readable and try again."
        ) from None
    except UnidentifiedImageError:
        raise PictureError(f"{_empty_or_unknown(path)}", next_step=_EXPORT_AGAIN) from None
    except Image.DecompressionBombError:
        raise _too_large(path) from None
    except Exception as error:  # Decoders raise anything at all on damaged bytes.
        raise PictureError(f"{path} cannot be read ({error}).", next_step=_EXPORT_AGAIN) from error
    with source:
        return _decode(path, source, animated, longest_side)


def to_tensor(image: Image.Image, device: torch.device | str = "cpu") -> torch.Tensor:
    """The colours of a picture as floats, shape (3, H, W), range 0..1; transparency is dropped, not blended."""
    import torch  # takes seconds to import, which reading a ledger must not cost

    pixels = np.array(image.convert("RGB"), dtype=np.uint8)
    return torch.from_numpy(pixels).to(device).permute(2, 0, 1).float().div_(255)


def to_image(tensor: torch.Tensor) -> Image.Image:
    """A float tensor (3, H, W) in 0..1 as an RGB picture, rounded to the nearest of 256 levels."""
    import torch

    levels = tensor.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())


def pixel_sha256(image: Image.Image) -> str:
    """SHA-256 of the pixels alone, the same whatever file format or metadata carries them losslessly.

    Hashed: the ASCII line ``pg-pixels-1 <mode> <width> <height>\\n``, then the rows of 8-bit samples. Mode is RGB or RGBA;
    an alpha channel that is opaque everywhere does not count, because formats add and drop it at will.
    """
    if image.mode not in ("RGB", "RGBA"):
        image = image.convert("RGBA" if _has_alpha(image) else "RGB")
    if image.mode == "RGBA" and image.getextrema()[3] == (255, 255):
        image = image.convert("RGB")
    digest = hashlib.sha256(f"pg-pixels-1 {image.mode} {image.width} {image.height}\n".encode("ascii"))
    digest.update(image.tobytes())
    return digest.hexdigest()


_ORIENTATION = 0x0112  # EXIF tag
_EXPORT_AGAIN = "Export or download the picture again, or convert it to PNG."


def _decode(path: Path, source: Image.Image, animated: str, longest_side: int | None) -> Picture:
    if source.width * source.height > MAX_PIXELS:
        raise _too_large(path)
    try:
        frames = int(getattr(source, "n_frames", 1) or 1)
        if frames > 1 and animated == "refuse" and source.format != "MPO":
            raise _animated(path, frames)
        notes = [f"first of {frames} frames"] if frames > 1 else []
        if longest_side is not None:
            shrink = max(1.0, max(source.size) / longest_side)
            source.draft(None, (ceil(source.width / shrink), ceil(source.height / shrink)))  # None keeps the mode
        source.load()
        image = _to_8_bit(_turned_upright(source, notes), source.format, notes)
    except PictureError:
        raise
    except MemoryError:
        raise _too_large(path) from None
    except Exception as error:  # Decoders raise anything at all on damaged bytes.
        raise PictureError(f"{path} is damaged or cut short ({error}).", next_step=_EXPORT_AGAIN) from error
    return Picture(path, image, source.format or "", source.mode, frames, dict(source.info), tuple(notes))


def _turned_upright(source: Image.Image, notes: list[str]) -> Image.Image:
    try:
        return ImageOps.exif_transpose(source) or source
    except Exception:  # EXIF is free-form and often damaged; the pixels are fine without it.
        notes.append("unreadable EXIF: orientation not applied")
        return source


def _to_8_bit(image: Image.Image, source_format: str | None, notes: list[str]) -> Image.Image:
    if image.mode in ("RGB", "RGBA"):
        return image.copy()
    if image.mode.startswith("I") or image.mode == "F":
        notes.append("16 or 32 bits a sample reduced to 8")
        return _scale_samples(image, sixteen_bits=image.mode.startswith("I;16") or source_format == "PNG").convert(
            "RGB"
        )
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        notes.append(f"{image.mode} converted to RGB")
        return image.convert("RGB")
    return image.convert("RGBA" if _has_alpha(image) else "RGB")


def _scale_samples(image: Image.Image, *, sixteen_bits: bool) -> Image.Image:
    """Grey samples of any range as 8 bits. Where the format does not tell what white is, the range in use does."""
    samples = np.nan_to_num(np.asarray(image, dtype=np.float64))
    top = 65535.0 if sixteen_bits else float(samples.max())
    white = next((level for level in (1.0 if image.mode == "F" else 255.0, 255.0, 65535.0) if top <= level), top)
    return Image.fromarray(np.clip(samples * (255.0 / white) + 0.5, 0, 255).astype(np.uint8))


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _empty_or_unknown(path: Path) -> str:
    if path.stat().st_size == 0:
        return f"{path} is empty (0 bytes)."
    return f"{path} is not a picture, or of a format that is not supported here."


def _animated(path: Path, frames: int) -> PictureError:
    return PictureError(
        f"{path} is animated ({frames} frames).", next_step="Save the frames as single pictures and pass those."
    )


def _too_large(path: Path) -> PictureError:
    return PictureError(
        f"{path} has more pixels than can be handled ({MAX_PIXELS // 1_000_000} million).",
        next_step="Scale it down or cut it into parts.",
    )


def saved_suffix(picture: Picture) -> str:
    """The suffix for a copy of ``picture``: its own where the format carries a mark well, else ``.png``."""
    return {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp", "AVIF": ".avif"}.get(picture.format, ".png")


def save_picture(image: Image.Image, path: Path, *, like: Picture) -> None:
    """Write ``image`` to ``path`` whole or not at all, in the format of its suffix, with the metadata of ``like``.

    Text chunks, EXIF (orientation reset, the pixels are upright) and colour profile are kept. Raises OutputError.
    """
    with staged_file(path) as staged:
        flat = image.convert("RGB") if path.suffix.lower() in (".jpg", ".jpeg") else image
        try:
            flat.save(staged, **_save_options(path.suffix.lower(), like))
        except ValueError as error:  # Too many pixels a side, metadata longer than a segment.
            raise OutputError(
                f"{path.name} cannot be written in its format ({error}).", next_step="Convert the picture to PNG first."
            ) from error


def _save_options(suffix: str, like: Picture) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if exif := _upright_exif(like):
        options["exif"] = exif
    if profile := like.info.get("icc_profile"):
        options["icc_profile"] = profile
    if suffix == ".png":
        options["pnginfo"] = _text_chunks(like.info)
    elif suffix in (".jpg", ".jpeg"):
        options |= {"quality": 95, "subsampling": "4:4:4"}
    elif suffix in (".webp", ".avif"):
        options["quality"] = 95
    if suffix == ".webp" and (packet := like.info.get("xmp")):
        options["xmp"] = packet
    return options


def _text_chunks(info: Mapping[str, object]) -> PngInfo:
    chunks = PngInfo()
    for keyword, value in info.items():
        if not isinstance(value, str):
            continue
        if value.isascii() and not keyword.startswith("XML:"):
            chunks.add_text(keyword, value)
        else:
            chunks.add_itxt(keyword, value)
    return chunks


def _upright_exif(picture: Picture) -> bytes:
    raw = picture.info.get("exif")
    if not isinstance(raw, bytes):
        return b""
    exif = Image.Exif()
    try:
        exif.load(raw)
        if _ORIENTATION not in exif:
            return raw
        del exif[_ORIENTATION]
        return exif.tobytes()
    except Exception:  # Damaged EXIF: nothing in it can be trusted to be about these pixels.
        return b""
