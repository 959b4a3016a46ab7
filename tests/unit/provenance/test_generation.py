from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from provenance_guard import extras
from provenance_guard.pictures import Picture, open_picture
from provenance_guard.provenance import parse_infotext, read_generation
from provenance_guard.provenance.texts import decode_user_comment, read_texts

INFOTEXT = "a fox, 雪の狐\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, Seed: 5, Size: 64x48, Version: v1.10.1"
IMAGE = Image.new("RGB", (64, 48), (200, 120, 40))


def user_comment(text: str) -> bytes:
    """As piexif and with it the WebUI writes it."""
    return b"UNICODE\0" + text.encode("utf-16-be")


def exif_bytes(comment: bytes = b"", ifd0: dict[int, str] | None = None) -> bytes:
    """A big-endian TIFF directory with ASCII tags, and an EXIF directory with the comment; written by hand."""
    texts = {tag: value.encode() + b"\0" for tag, value in sorted((ifd0 or {}).items())}
    exif_at = 8 + 2 + 12 * (len(texts) + 1) + 4
    data_at = exif_at + 2 + 12 + 4
    head, data = b"MM\0*" + struct.pack(">IH", 8, len(texts) + 1), b""
    for tag, value in texts.items():
        head += struct.pack(">HHII", tag, 2, len(value), data_at + len(data))
        data += value
    head += struct.pack(">HHII", 0x8769, 4, 1, exif_at) + bytes(4)
    exif = struct.pack(">HHHII", 1, 0x9286, 7, len(comment), data_at + len(data)) + bytes(4)
    return b"Exif\0\0" + head + exif + data + comment


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def save_png(path: Path, *chunks: bytes) -> Path:
    IMAGE.save(path)
    content = path.read_bytes()
    header = 8 + 25  # signature and IHDR
    path.write_bytes(content[:header] + b"".join(chunks) + content[header:])
    return path


def save_with_texts(path: Path, **texts: str) -> Path:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    IMAGE.save(path, pnginfo=info)
    return path


def read(path: Path):
    return read_generation(open_picture(path, animated="first"))


def assert_is_infotext(context):
    assert context.origin == "file"
    assert context.infotext == INFOTEXT
    assert context.parameters["prompt"] == "a fox, 雪の狐"
    assert context.parameters["seed"] == 5
    assert context.parameters["width"] == 64
    assert context.environment == {"program": "A1111", "version": "v1.10.1"}
    assert context.generative


def test_webui_png(tmp_path):
    context = read(save_with_texts(tmp_path / "狐 1.png", parameters=INFOTEXT))
    assert_is_infotext(context)
    assert context.source_name == "狐 1.png"


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"iTXt", b"parameters\0\0\0\0\0" + INFOTEXT.encode()),
        png_chunk(b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(INFOTEXT.encode())),
        png_chunk(b"tEXt", b"parameters\0" + INFOTEXT.encode()),  # UTF-8 where the standard has Latin-1
        png_chunk(b"zTXt", b"parameters\0\0" + zlib.compress(INFOTEXT.encode())),
        png_chunk(b"eXIf", exif_bytes(user_comment(INFOTEXT)).removeprefix(b"Exif\0\0")),
    ],
    ids=["iTXt", "compressed iTXt", "tEXt in UTF-8", "zTXt", "eXIf"],
)
def test_every_kind_of_png_chunk(tmp_path, chunk):
    assert_is_infotext(read(save_png(tmp_path / "a.png", chunk)))


def test_latin_1_chunk_keeps_its_accents(tmp_path):
    text = "café à Genève\nSteps: 20, Sampler: Euler a, Seed: 5"
    path = save_png(tmp_path / "a.png", png_chunk(b"tEXt", b"parameters\0" + text.encode("latin-1")))
    assert read(path).parameters["prompt"] == "café à Genève"


@pytest.mark.parametrize(
    "comment",
    [
        user_comment(INFOTEXT),
        b"UNICODE\0" + INFOTEXT.encode("utf-16-le"),
        b"UNICODE\0" + INFOTEXT.encode("utf-16"),
        b"UNICODE\0" + b"\xfe\xff" + INFOTEXT.encode("utf-16-be"),
        b"UNICODE\0" + INFOTEXT.encode(),
        b"ASCII\0\0\0" + INFOTEXT.encode(),
        b"JIS\0\0\0\0\0" + INFOTEXT.encode("shift_jis"),
        b"JIS\0\0\0\0\0" + INFOTEXT.encode("iso2022_jp"),
        b"\0" * 8 + INFOTEXT.encode(),
        INFOTEXT.encode(),
        user_comment(INFOTEXT + "\0\0"),
    ],
    ids=[
        "piexif",
        "little",
        "BOM little",
        "BOM big",
        "UTF-8",
        "ASCII",
        "Shift JIS",
        "JIS",
        "undefined",
        "bare",
        "padded",
    ],
)
@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_exif_comment_in_every_encoding(tmp_path, comment, suffix):
    path = tmp_path / f"a{suffix}"
    IMAGE.save(path, exif=exif_bytes(comment))
    assert_is_infotext(read(path))


def test_avif(tmp_path):
    extras.load("pillow_avif")
    if ".avif" not in Image.registered_extensions():
        pytest.skip("AVIF cannot be written here")
    path = tmp_path / "a.avif"
    IMAGE.save(path, exif=exif_bytes(user_comment(INFOTEXT)))
    assert_is_infotext(read(path))


def test_gif_comment(tmp_path):
    path = tmp_path / "a.gif"
    IMAGE.save(path, comment=INFOTEXT.encode())
    assert_is_infotext(read(path))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50))
def test_any_prompt_survives_the_exif_comment_of_piexif(prompt):
    text = f"{prompt}\nSteps: 20, Sampler: Euler a, Seed: 5"
    assert decode_user_comment(user_comment(text)) == text
    assert decode_user_comment(b"UNICODE\0" + text.encode("utf-16-le")) == text


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(content):
    decode_user_comment(content)
    decode_user_comment(b"UNICODE\0" + content)
    decode_user_comment(b"JIS\0\0\0\0\0" + content)
    read_texts({"exif": content, "comment": content, "parameters": content})
    read_texts({"exif": b"Exif\0\0MM\0*\0\0\0\x08" + content})


def test_damaged_exif_leaves_the_picture_readable():
    whole = exif_bytes(user_comment(INFOTEXT), {0x010F: "Maker"})
    for cut in range(0, len(whole), 7):
        read_texts({"exif": whole[:cut]})
        read_texts({"exif": whole[:cut] + b"\xff" * (len(whole) - cut)})


def test_plain_pictures_tell_nothing(tmp_path):
    path = tmp_path / "a.jpg"
    IMAGE.save(
        path, exif=exif_bytes(b"ASCII\0\0\0On holiday: with Ann", {0x010F: "Canon", 0x0132: "2024:05:01 12:30:00"})
    )
    context = read(path)
    assert not context.generative
    assert (context.infotext, context.parameters, context.environment) == (None, {}, {})
    assert context.source_name == "a.jpg"
    assert context.claimed_time == "2024-05-01T12:30:00"


def test_prompt_alone_in_the_parameters_chunk_counts(tmp_path):
    context = read(save_with_texts(tmp_path / "a.png", parameters="just a fox"))
    assert context.parameters == {"prompt": "just a fox", "negative_prompt": ""}
    assert context.generative


def test_extras_chunk_is_kept(tmp_path):
    path = save_with_texts(tmp_path / "a.png", parameters=INFOTEXT, postprocessing="Postprocess upscale by: 4")
    assert read(path).parameters["postprocessing"] == "Postprocess upscale by: 4"


FOREIGN = {
    "InvokeAI": {"invokeai_metadata": '{"app_version": "5.0.0", "positive_prompt": "a fox"}', "invokeai_graph": "{}"},
    "ComfyUI": {"prompt": '{"3": {"class_type": "KSampler"}}', "workflow": '{"nodes": []}'},
    "NovelAI": {"Software": "NovelAI", "Description": "a fox", "Comment": '{"steps": 28, "seed": 5}'},
    "Fooocus": {"parameters": '{"prompt": "a fox", "version": "Fooocus v2.5.5"}', "fooocus_scheme": "fooocus"},
    "StableSwarmUI": {"parameters": '{"sui_image_params": {"prompt": "a fox"}}'},
}


@pytest.mark.parametrize("tool", FOREIGN)
def test_foreign_tools_are_named_and_kept_raw(tmp_path, tool):
    context = read(save_with_texts(tmp_path / "a.png", **FOREIGN[tool]))
    assert context.environment == {"program": tool}
    kept = json.loads(context.infotext)
    assert kept == {name: text for name, text in FOREIGN[tool].items() if name != "fooocus_scheme"}
    assert context.parameters == {}
    assert context.generative


def test_comfyui_webp_hides_its_graph_in_camera_tags(tmp_path):
    path = tmp_path / "a.webp"
    IMAGE.save(path, exif=exif_bytes(ifd0={0x0110: 'prompt:{"3": {}}', 0x010F: 'workflow:{"nodes": []}'}))
    context = read(path)
    assert context.environment == {"program": "ComfyUI"}
    assert json.loads(context.infotext) == {"prompt": '{"3": {}}', "workflow": '{"nodes": []}'}


def test_infotext_goes_before_a_graph(tmp_path):
    path = save_with_texts(tmp_path / "a.png", parameters=INFOTEXT, prompt='{"3": {}}', workflow="{}")
    assert read(path).infotext == INFOTEXT


def test_a_prompt_chunk_that_is_no_graph_is_no_comfyui(tmp_path):
    assert not read(save_with_texts(tmp_path / "a.png", prompt="a fox")).generative


def test_deep_json_is_no_reason_to_fail():
    picture = Picture(Path("a.png"), IMAGE, "PNG", "RGB", 1, {"parameters": '{"a":' * 20_000, "prompt": "{" * 20_000})
    assert read_generation(picture).infotext == '{"a":' * 20_000


def test_the_raw_text_is_what_was_parsed(tmp_path):
    context = read(save_with_texts(tmp_path / "a.png", parameters=INFOTEXT))
    assert parse_infotext(context.infotext).parameters() == context.parameters
