"""Pictures of every kind come in upright, 8 bit, RGB or RGBA, or are refused in one sentence; their hash is of the pixels."""

from __future__ import annotations

import builtins
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from provenance_guard import extras, pictures
from provenance_guard.errors import OutputError, PictureError
from provenance_guard.pictures import open_picture, pixel_sha256, save_picture, saved_suffix, to_image, to_tensor

SIZE = (40, 30)


def drawn(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    image = Image.fromarray(np.stack([rows * 8 % 256, columns * 6 % 256, rows * columns % 256], -1).astype(np.uint8))
    if mode == "RGBA":
        image.putalpha(Image.fromarray((columns * 6 % 256).astype(np.uint8)))
        return image
    return image.convert(mode)


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(PictureError) as caught:
        open_picture(path, **options)
    assert caught.value.next_step
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".gif", ".bmp", ".tif", ".avif"])
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    extras.load("pillow_avif")
    if suffix not in Image.registered_extensions():
        pytest.skip("this Pillow has no AVIF")
    picture = open_picture(saved(drawn(), tmp_path / f"with spaces 和 中文{suffix}"))
    assert (picture.image.mode, picture.image.size, picture.frames) == ("RGB", SIZE, 1)


@pytest.mark.parametrize(
    ("mode", "expected"), [("RGB", "RGB"), ("RGBA", "RGBA"), ("L", "RGB"), ("LA", "RGBA"), ("P", "RGB"), ("1", "RGB")]
)
def test_png_modes(tmp_path: Path, mode: str, expected: str) -> None:
    source = drawn("RGBA").convert("LA") if mode == "LA" else drawn(mode)
    picture = open_picture(saved(source, tmp_path / "a.png"))
    assert (picture.mode, picture.image.mode) == (mode, expected)
    assert picture.image.tobytes() == source.convert(expected).tobytes()


def test_a_palette_with_a_transparent_colour_has_alpha(tmp_path: Path) -> None:
    picture = open_picture(saved(drawn("P"), tmp_path / "a.png", transparency=0))
    assert picture.image.mode == "RGBA"
    assert picture.image.getextrema()[3] == (0, 255)


@pytest.mark.parametrize("brightest", [200, 20_000, 65_535])
def test_16_bits_keep_their_brightness(tmp_path: Path, brightest: int) -> None:
    samples = np.linspace(0, brightest, SIZE[0] * SIZE[1]).reshape(SIZE[1], SIZE[0]).astype(np.uint16)
    picture = open_picture(saved(Image.fromarray(samples), tmp_path / "a.png"))
    assert picture.image.mode == "RGB"
    assert any("16" in note for note in picture.notes)
    assert np.abs(np.asarray(picture.image)[..., 0] - samples / 257.0).max() <= 1


def test_cmyk_is_converted_and_noted(tmp_path: Path) -> None:
    picture = open_picture(saved(drawn("CMYK"), tmp_path / "a.jpg"))
    assert picture.image.mode == "RGB"
    assert picture.notes == ("CMYK converted to RGB",)


@pytest.mark.parametrize("value", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path: Path, value: int) -> None:
    upright = drawn()
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # the camera was turned, so its picture is stored turned back
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(value)
    stored = upright.transpose(turn) if turn is not None else upright
    picture = open_picture(saved(stored, tmp_path / "a.png", exif=orientation(value)))
    assert picture.image.tobytes() == upright.tobytes()
    copy = tmp_path / "copy.png"
    save_picture(picture.image, copy, like=picture)
    assert open_picture(copy).image.tobytes() == upright.tobytes()


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animated_is_refused_or_its_first_frame(tmp_path: Path, suffix: str) -> None:
    frames = [drawn(), drawn().rotate(90), drawn().rotate(180)]
    options = {"lossless": True} if suffix == ".webp" else {}
    path = saved(frames[0], tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], duration=40, **options)
    assert "3 frames" in refusal(path)
    picture = open_picture(path, animated="first")
    assert picture.notes == ("first of 3 frames",)
    if suffix != ".gif":
        assert picture.image.convert("RGB").tobytes() == frames[0].tobytes()


def test_1x1(tmp_path: Path) -> None:
    assert open_picture(saved(drawn(size=(1, 1)), tmp_path / "a.png")).image.size == (1, 1)


def test_a_panorama_of_20_000_pixels(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (20_000, 60), (10, 20, 30)), tmp_path / "a.png")
    assert open_picture(path).image.size == (20_000, 60)


def test_missing_empty_text_and_folder(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("I am not a picture", "utf-8")
    (tmp_path / "folder.png").mkdir()
    assert "does not exist" in refusal(tmp_path / "missing.png")
    assert "does not exist" in refusal(tmp_path / "text.png" / "inside.png") or os.name != "nt"
    assert "0 bytes" in refusal(tmp_path / "empty.png")
    assert "not a picture" in refusal(tmp_path / "text.png")
    assert "folder" in refusal(tmp_path / "folder.png")


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(drawn(), tmp_path / "a.png")

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(builtins, "open", forbidden)  # root may read everything, so modes would test nothing
    assert "No permission" in refusal(path)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [13_400, 40_000, 2_000_000])
@pytest.mark.parametrize("pillow_limit", ["its own", None])
def test_a_bomb_is_refused_before_decoding(
    tmp_path: Path, side: int, pillow_limit: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pillow_limit is None:  # some hosts switch Pillow's own check off
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    assert "178 million" in refusal(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".gif", ".bmp"])
def test_every_truncation_is_refused(tmp_path: Path, suffix: str) -> None:
    path = saved(drawn(), tmp_path / f"a{suffix}")
    whole = path.read_bytes()
    for length in range(1, len(whole) - 64, 41):
        path.write_bytes(whole[:length])
        refusal(path)


def encoded(name: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    drawn(size=(20, 16)).save(stream, format=name, **options)
    return stream.getvalue()


WHOLE = {
    "png": encoded("PNG", exif=orientation(6)),
    "jpg": encoded("JPEG", exif=orientation(6)),
    "webp": encoded("WEBP", exif=orientation(6)),
    "gif": encoded("GIF"),
    "tif": encoded("TIFF"),
}


@given(data=st.data(), kind=st.sampled_from(sorted(WHOLE)))
@settings(max_examples=250, deadline=None)
def test_altered_bytes_give_a_picture_or_one_sentence(
    data: st.DataObject, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"altered.{kind}"
    path.write_bytes(content)
    try:
        picture = open_picture(path, animated="first")
    except PictureError as error:
        assert error.next_step
        return
    assert picture.image.mode in ("RGB", "RGBA")


def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\xff\xff\xff\xff\xff\xff\xff\x7f"
    picture = open_picture(saved(drawn(), tmp_path / "a.png", exif=exif))
    assert picture.image.tobytes() == drawn().tobytes()
    save_picture(picture.image, tmp_path / "copy.png", like=picture)
    assert open_picture(tmp_path / "copy.png").image.tobytes() == drawn().tobytes()


def test_fewer_pixels_when_fewer_are_enough(tmp_path: Path) -> None:
    path = saved(drawn(size=(1600, 800)), tmp_path / "a.jpg")
    assert open_picture(path, longest_side=400).image.size == (400, 200)
    assert open_picture(path).image.size == (1600, 800)


# The pixel hash


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
@pytest.mark.parametrize(
    ("suffix", "options"), [(".png", {}), (".webp", {"lossless": True, "exact": True}), (".tif", {})]
)
def test_the_hash_survives_lossless_formats(tmp_path: Path, mode: str, suffix: str, options: dict[str, Any]) -> None:
    image = drawn(mode)
    picture = open_picture(saved(image, tmp_path / f"a{suffix}", **options))
    assert pixel_sha256(picture.image) == pixel_sha256(image)


def test_metadata_does_not_count(tmp_path: Path) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", "a cat")
    path = saved(drawn(), tmp_path / "a.png", pnginfo=chunks, exif=orientation(1))
    assert pixel_sha256(open_picture(path).image) == pixel_sha256(drawn())


def test_opaque_alpha_does_not_count_and_real_alpha_does() -> None:
    opaque, clear = drawn(), drawn()
    opaque.putalpha(255)
    clear.putalpha(254)
    assert pixel_sha256(opaque) == pixel_sha256(drawn())
    assert pixel_sha256(clear) != pixel_sha256(drawn())


@given(st.integers(0, SIZE[0] - 1), st.integers(0, SIZE[1] - 1), st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_every_pixel_counts(x: int, y: int, channel: int) -> None:
    image = drawn()
    colour = list(image.getpixel((x, y)))
    colour[channel] ^= 1
    image.putpixel((x, y), tuple(colour))
    assert pixel_sha256(image) != pixel_sha256(drawn())


def test_shape_counts() -> None:
    assert len({pixel_sha256(Image.new("RGB", size)) for size in ((4, 6), (6, 4), (2, 12), (24, 1))}) == 4


def test_the_hash_is_pinned() -> None:
    """Records hold it for ever: these values must never change."""
    assert pixel_sha256(Image.new("RGB", (2, 1), (1, 2, 3))) == (
        "affa2ed923593cc89267362e96ed8d23c101c9ba3d4bed5a4b3e7f59953b8491"
    )


# Tensors and copies

COMMENT = b"UNICODE\x00" + "a cat, 樱花".encode("utf-16-be")
COMMENTED_EXIF = (  # orientation 6, and a UserComment as the WebUI writes it
    b"Exif\x00\x00MM\x00*\x00\x00\x00\x08"
    + struct.pack(">HHHLHH", 2, 0x0112, 3, 1, 6, 0)
    + struct.pack(">HHLLL", 0x8769, 4, 1, 38, 0)
    + struct.pack(">HHHLLL", 1, 0x9286, 7, len(COMMENT), 56, 0)
    + COMMENT
)


def test_tensor_and_back() -> None:
    tensor = to_tensor(drawn())
    assert (tuple(tensor.shape), tensor.dtype) == ((3, SIZE[1], SIZE[0]), torch.float32)
    assert 0 <= float(tensor.min()) <= float(tensor.max()) <= 1
    assert to_image(tensor).tobytes() == drawn().tobytes()
    assert to_image(tensor * 3 - 1).size == SIZE  # values outside 0..1 are clipped


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif"])
def test_a_copy_keeps_infotext_profile_and_comment(tmp_path: Path, suffix: str) -> None:
    extras.load("pillow_avif")
    if suffix not in Image.registered_extensions():
        pytest.skip("this Pillow has no AVIF")
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", "a cat, 樱花\nSteps: 20")
    options: dict[str, Any] = {"exif": COMMENTED_EXIF, "icc_profile": bytes(200)}
    if suffix == ".png":
        options["pnginfo"] = chunks
    picture = open_picture(saved(drawn(), tmp_path / f"a{suffix}", **options))
    copy = tmp_path / f"copy{saved_suffix(picture)}"
    save_picture(picture.image, copy, like=picture)
    with Image.open(copy) as image:
        image.load()
        assert image.getexif().get_ifd(0x8769)[0x9286] == COMMENT
        assert 0x0112 not in image.getexif() or image.getexif()[0x0112] == 1
        assert image.info["icc_profile"] == bytes(200)
        if suffix == ".png":
            assert image.info["parameters"] == "a cat, 樱花\nSteps: 20"
        assert image.size == (SIZE[1], SIZE[0])


def test_what_a_format_cannot_hold_is_one_sentence(tmp_path: Path) -> None:
    picture = open_picture(saved(drawn(), tmp_path / "a.png"))
    with pytest.raises(OutputError) as caught:
        save_picture(Image.new("RGB", (17_000, 4)), tmp_path / "wide.webp", like=picture)
    assert "PNG" in caught.value.next_step
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.png"]


def test_suffixes_are_those_that_open() -> None:
    assert {".png", ".jpg", ".jpeg", ".webp"} <= pictures.SUFFIXES
