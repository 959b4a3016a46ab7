"""Labels written into real files: pixels and other metadata stay, twice is the same as once, damage is refused."""

from __future__ import annotations

import io
import os
import re
import struct
import warnings
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from provenance_guard import extras
from provenance_guard.errors import LabelError, OutputError
from provenance_guard.labels import Labels, SourceType, carry_packet, containers, read_labels, write_labels

GOLDEN = Path(__file__).parents[2] / "golden" / "labels"
LABELS = Labels(SourceType.TRAINED_ALGORITHMIC_MEDIA, "0123456789abcdef" * 2, "pg-commitment-1:" + "5a" * 32)
INFOTEXT = "a cat, 樱花\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, Seed: 1, Size: 64x48"
ICC = b"\x00\x00\x02\x0cprofile" + bytes(300)
EXIF_COMMENT = b"UNICODE\x00" + INFOTEXT.encode("utf-16-be")
EXIF = (
    b"Exif\x00\x00MM\x00*\x00\x00\x00\x08"
    + struct.pack(">HHHLLL", 1, 0x8769, 4, 1, 26, 0)
    + struct.pack(">HHHLL", 1, 0x9286, 7, len(EXIF_COMMENT), 40)
    + EXIF_COMMENT
)
FOREIGN = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Other 1.0">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="uuid:7" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:odd="urn:odd" '
    'xmlns:p="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" odd:note="a &amp; &quot;b&quot;&#10;c" '
    'p:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture">'
    "<dc:creator><rdf:Seq><rdf:li>Zoë 樱</rdf:li></rdf:Seq></dc:creator>"
    '<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">&lt;all&gt; rights</rdf:li></rdf:Alt></dc:rights>'
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()


def drawn(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    pixels = np.stack([rows * 5 % 256, columns * 3 % 256, (rows * columns) % 256], -1).astype(np.uint8)
    image = Image.fromarray(pixels)
    if mode == "RGBA":
        image.putalpha(Image.fromarray((columns * 4 % 256).astype(np.uint8)))
        return image
    return image.convert(mode)


def text_chunks() -> PngImagePlugin.PngInfo:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", INFOTEXT)
    chunks.add_text("Software", "other")
    return chunks


CASES = {
    "plain.png": ("RGB", {}),
    "alpha.png": ("RGBA", {"icc_profile": ICC}),
    "palette.png": ("P", {}),
    "grey.png": ("L", {}),
    "text.png": ("RGB", {"pnginfo": text_chunks(), "exif": EXIF}),
    "plain.jpg": ("RGB", {}),
    "progressive.jpg": ("RGB", {"progressive": True, "exif": EXIF, "icc_profile": ICC}),
    "cmyk.jpg": ("CMYK", {}),
    "grey.jpg": ("L", {"exif": EXIF}),
    "lossy.webp": ("RGB", {}),
    "lossless.webp": ("RGB", {"lossless": True}),
    "lossy-alpha.webp": ("RGBA", {"exif": EXIF}),
    "lossless-alpha.webp": ("RGBA", {"lossless": True}),
    "odd-size.webp": ("RGB", {"icc_profile": ICC, "exif": EXIF}),
}


@pytest.fixture(params=CASES)
def picture(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    mode, options = CASES[request.param]
    path = tmp_path / f"樱 花 {request.param}"
    drawn(mode, (63, 47) if "odd" in request.param else (64, 48)).save(path, **options)
    return path


def decoded(path: Path) -> tuple:
    with Image.open(path) as image:
        image.load()
        beside = {key: value for key, value in image.info.items() if key not in ("xmp", "XML:com.adobe.xmp")}
        return image.format, image.mode, image.size, image.tobytes(), beside


def test_pixels_and_other_metadata_survive(picture: Path) -> None:
    before = decoded(picture)
    assert write_labels(picture, LABELS).written
    assert decoded(picture) == before
    assert read_labels(picture) == LABELS


def test_every_other_byte_survives(picture: Path) -> None:
    """Taking our part out again gives the original parts in the original order."""
    original = picture.read_bytes()
    write_labels(picture, LABELS)
    labelled = picture.read_bytes()
    name = containers.identify(original)
    assert name is not None
    parts = {"PNG": png_parts, "JPEG": jpeg_parts, "WEBP": webp_parts}[name]
    kept = [part for part in parts(labelled) if b"provenance-guard" not in part]
    if name == "WEBP":
        kept = [part for part in kept if not part.startswith(b"VP8X")]
        assert kept == [part for part in parts(original) if not part.startswith(b"VP8X")]
    else:
        assert kept == parts(original)
    assert len(parts(labelled)) - len(kept) == (2 if name == "WEBP" else 1)


def test_twice_gives_the_same_bytes_and_does_not_write(picture: Path) -> None:
    write_labels(picture, LABELS)
    once, written = picture.read_bytes(), picture.stat().st_mtime_ns
    assert write_labels(picture, LABELS).written
    assert picture.read_bytes() == once
    assert picture.stat().st_mtime_ns == written


def test_new_labels_replace_ours(picture: Path) -> None:
    write_labels(picture, LABELS)
    newer = Labels(SourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA, "f" * 32)
    write_labels(picture, newer)
    assert read_labels(picture) == newer
    assert picture.read_bytes().count(b"RecordID>") == 2  # one opening and one closing tag


@pytest.mark.parametrize("target", ["b.png", "b.jpg", "b.webp"])
@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_a_copy_takes_the_packet_along(tmp_path: Path, kind: str, target: str) -> None:
    source, copy = with_foreign_packet(tmp_path, kind), tmp_path / target
    drawn().save(copy)
    assert carry_packet(source, copy)
    write_labels(copy, LABELS)
    (packet,) = containers.read_packets(containers.identify(copy.read_bytes()), copy.read_bytes())
    assert "Zoë 樱".encode() in packet
    assert read_labels(copy) == LABELS


def test_a_copy_does_not_take_our_record_id_along(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        drawn().save(tmp_path / name)
    write_labels(tmp_path / "a.jpg", LABELS)
    assert carry_packet(tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert read_labels(tmp_path / "b.jpg") == Labels(SourceType.TRAINED_ALGORITHMIC_MEDIA)


def test_a_copy_of_a_picture_without_a_packet_stays_as_it_is(tmp_path: Path) -> None:
    for source, copy in (("a.png", "b.jpg"), ("a.gif", "b.png"), ("a.jpg", "b.gif")):
        drawn().save(tmp_path / source)
        drawn().save(tmp_path / copy)
        content = (tmp_path / copy).read_bytes()
        assert not carry_packet(tmp_path / source, tmp_path / copy)
        assert (tmp_path / copy).read_bytes() == content


def test_a_file_without_labels_reads_as_none(picture: Path) -> None:
    assert read_labels(picture) is None


def test_webp_canvas_alpha_and_animation_flags(tmp_path: Path) -> None:
    for name, image, options, expected in (
        ("a.webp", drawn("RGB", (65, 33)), {}, 0x04),
        ("b.webp", drawn("RGBA", (65, 33)), {"lossless": True}, 0x14),
        ("c.webp", drawn("RGB", (65, 33)), {"exif": EXIF}, 0x0C),
    ):
        image.save(tmp_path / name, **options)
        write_labels(tmp_path / name, LABELS)
        header = next(part for part in webp_parts((tmp_path / name).read_bytes()) if part.startswith(b"VP8X"))
        assert header[8] == expected
        assert int.from_bytes(header[12:15], "little") + 1 == 65
        assert int.from_bytes(header[15:18], "little") + 1 == 33


def test_animated_webp_and_png_keep_their_frames(tmp_path: Path) -> None:
    frames = [drawn(), drawn().rotate(90), drawn().rotate(180)]
    for name in ("moving.webp", "moving.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=50)
        write_labels(tmp_path / name, LABELS)
        with Image.open(tmp_path / name) as image:
            assert image.n_frames == 3
            for number in range(3):
                image.seek(number)
                image.load()
        assert read_labels(tmp_path / name) == LABELS


def with_foreign_packet(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"foreign.{kind}"
    if kind == "png":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", FOREIGN.decode())
        drawn().save(path, pnginfo=chunks)
    elif kind == "webp":
        drawn().save(path, xmp=FOREIGN)
    else:
        drawn().save(path)
        body = b"http://ns.adobe.com/xap/1.0/\x00" + FOREIGN
        content = path.read_bytes()
        path.write_bytes(content[:20] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + content[20:])
    return path


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_properties_of_other_tools_survive(tmp_path: Path, kind: str) -> None:
    path = with_foreign_packet(tmp_path, kind)
    assert read_labels(path) == Labels(SourceType.DIGITAL_CAPTURE)
    write_labels(path, LABELS)
    write_labels(path, LABELS)
    (packet,) = containers.read_packets(containers.identify(path.read_bytes()), path.read_bytes())
    tree = ElementTree.fromstring(re.sub(rb"<\?xpacket.*?\?>", b"", packet).strip())
    assert [item.text for item in tree.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li")] == [
        "Zoë 樱",
        "<all> rights",
    ]
    about = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}about"
    descriptions = list(tree.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"))
    assert [item.get(about) for item in descriptions] == ["uuid:7", "uuid:7"]
    assert descriptions[0].get("{urn:odd}note") == 'a & "b"\nc'
    assert tree.get("{adobe:ns:meta/}xmptk") == "Other 1.0"
    assert b"xmlns:dc=" in packet
    assert b"xmlns:odd=" in packet  # prefixes of others are kept
    assert packet.count(b"DigitalSourceType>") == 2
    assert b"digitalCapture" not in packet
    assert read_labels(path) == LABELS


@pytest.mark.parametrize("chunk", ["tEXt", "zTXt", "iTXt", "compressed iTXt"])
def test_a_stale_packet_in_any_png_text_chunk_is_replaced(tmp_path: Path, chunk: str) -> None:
    """Some programs copy the text chunks of an input picture wholesale, our label among them, into the wrong chunk."""
    stale = tmp_path / "input.png"
    drawn().save(stale)
    write_labels(stale, Labels(SourceType.TRAINED_ALGORITHMIC_MEDIA, "a" * 32))
    (packet,) = containers.read_packets("PNG", stale.read_bytes())
    chunks = PngImagePlugin.PngInfo()
    if chunk == "tEXt":
        chunks.add(b"tEXt", b"XML:com.adobe.xmp\x00" + packet)
    elif chunk == "zTXt":
        chunks.add(b"zTXt", b"XML:com.adobe.xmp\x00\x00" + zlib.compress(packet))
    else:
        chunks.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=chunk.startswith("compressed"))
    path = tmp_path / "output.png"
    drawn().save(path, pnginfo=chunks)
    assert read_labels(path).record_id == "a" * 32
    write_labels(path, LABELS)
    assert read_labels(path) == LABELS
    assert path.read_bytes().count(b"XML:com.adobe.xmp") == 1


def test_two_packets_become_one_that_has_both(tmp_path: Path) -> None:
    path = tmp_path / "two.png"
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", FOREIGN.decode())
    chunks.add_itxt("XML:com.adobe.xmp", FOREIGN.decode().replace("dc:creator", "dc:contributor"))
    drawn().save(path, pnginfo=chunks)
    write_labels(path, LABELS)
    (packet,) = containers.read_packets("PNG", path.read_bytes())
    assert packet.count(b"<dc:creator>") == packet.count(b"<dc:contributor>") == packet.count(b"<dc:rights>") == 1


def test_a_statement_that_says_generated_is_not_weakened(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    drawn().save(path)
    write_labels(path, LABELS)
    for weaker in (SourceType.ALGORITHMICALLY_ENHANCED, None):
        result = write_labels(path, Labels(weaker, "e" * 32))
        assert result.labels == read_labels(path) == Labels(SourceType.TRAINED_ALGORITHMIC_MEDIA, "e" * 32)


def test_jpeg_with_exif_icc_and_multi_picture_segments(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    drawn().save(path, format="MPO", save_all=True, append_images=[drawn().rotate(180)], exif=EXIF, icc_profile=ICC)
    with Image.open(path) as image:
        assert image.format == "MPO"
        image.seek(1)
        second = image.tobytes()
    write_labels(path, LABELS)
    assert read_labels(path) == LABELS
    with Image.open(path) as image:
        image.seek(1)
        assert image.tobytes() == second
    kinds = [part[4:8] for part in jpeg_parts(path.read_bytes())]
    assert kinds.index(b"Exif") < kinds.index(b"http") < kinds.index(b"MPF\x00")


def test_a_packet_behind_the_multi_picture_segment_is_not_moved(tmp_path: Path) -> None:
    """Its size cannot change without breaking the offsets to the further pictures."""
    path = tmp_path / "phone.jpg"
    drawn().save(path, format="MPO", save_all=True, append_images=[drawn()])
    parts = jpeg_parts(path.read_bytes())
    body = b"http://ns.adobe.com/xap/1.0/\x00" + FOREIGN
    parts.insert(-1, b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body)
    content = b"\xff\xd8" + b"".join(parts)
    path.write_bytes(content)
    with pytest.raises(LabelError, match="further pictures"):
        write_labels(path, LABELS)
    assert path.read_bytes() == content


def test_extended_xmp_is_left_alone(tmp_path: Path) -> None:
    path = with_foreign_packet(tmp_path, "jpg")
    extension = b"http://ns.adobe.com/xmp/extension/\x00" + b"0" * 32 + struct.pack(">LL", 4, 0) + b"<a/>"
    content = path.read_bytes()
    segment = b"\xff\xe1" + struct.pack(">H", len(extension) + 2) + extension
    path.write_bytes(content[:20] + segment + content[20:])
    write_labels(path, LABELS)
    assert path.read_bytes().count(segment) == 1
    assert read_labels(path) == LABELS


def test_what_follows_the_picture_survives(picture: Path) -> None:
    with picture.open("ab") as stream:
        stream.write(b"trailer of another program")
    write_labels(picture, LABELS)
    assert picture.read_bytes().endswith(b"trailer of another program")
    assert read_labels(picture) == LABELS


@pytest.mark.parametrize("name", ["a.gif", "a.bmp", "a.tiff", "a.avif"])
def test_formats_without_labels_are_a_result(tmp_path: Path, name: str) -> None:
    if name.endswith("avif"):
        extras.load("pillow_avif")
        if ".avif" not in Image.registered_extensions():
            pytest.skip("this Pillow has no AVIF")
    path = tmp_path / name
    drawn().save(path)
    content = path.read_bytes()
    result = write_labels(path, LABELS)
    assert not result.written
    assert name.split(".")[1].upper() in result.reason
    assert result.to_json()["labels"] is None
    assert path.read_bytes() == content
    assert read_labels(path) is None


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "really-a-jpeg.png"
    drawn().save(path, format="JPEG")
    assert write_labels(path, LABELS).format == "JPEG"
    assert read_labels(path) == LABELS


def test_every_truncation_is_refused_and_leaves_the_file(tmp_path: Path) -> None:
    for name, options in (
        ("a.png", {}),
        ("a.jpg", {}),
        ("b.jpg", {"progressive": True}),
        ("a.webp", {}),
        ("x.webp", {"exif": EXIF}),
    ):
        path = tmp_path / name
        drawn(size=(16, 16)).save(path, **options)
        whole = path.read_bytes()
        for length in range(0, len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(LabelError) as caught:
                write_labels(path, LABELS)
            assert caught.value.next_step
            assert path.read_bytes() == whole[:length], (name, length)


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    drawn().save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(LabelError, match="checksum"):
        write_labels(path, LABELS)
    assert path.read_bytes() == content


def test_a_damaged_packet_is_refused_not_lost(tmp_path: Path) -> None:
    for packet in (
        '<!DOCTYPE x [<!ENTITY a "b">]><x/>',
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"/>',
        "<rdf:RDF",
        "<a>" * 5000 + "</a>" * 5000,
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">&lol;</rdf:RDF>',
    ):
        path = tmp_path / "a.png"
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", packet)
        drawn(size=(8, 8)).save(path, pnginfo=chunks)
        content = path.read_bytes()
        with pytest.raises(LabelError):
            write_labels(path, LABELS)
        with pytest.raises(LabelError):
            read_labels(path)
        assert path.read_bytes() == content


def test_an_expanding_text_chunk_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"zTXt", b"XML:com.adobe.xmp\x00\x00" + zlib.compress(bytes(40 << 20), 9))
    drawn(size=(8, 8)).save(path, pnginfo=chunks)
    with pytest.raises(LabelError, match="too large"):
        read_labels(path)


def test_a_packet_too_large_for_a_jpeg_segment_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    drawn().save(path)
    body = b"http://ns.adobe.com/xap/1.0/\x00" + FOREIGN
    body = body.replace(b"Zo\xc3\xab", b"x" * (65500 - len(body)))
    content = path.read_bytes()
    path.write_bytes(content[:20] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + content[20:])
    content = path.read_bytes()
    with pytest.raises(LabelError, match="JPEG segment"):
        write_labels(path, LABELS)
    assert path.read_bytes() == content


def test_missing_files_folders_and_other_files(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no picture", "utf-8")
    for path in (tmp_path / "missing.png", tmp_path, tmp_path / "note.txt"):
        with pytest.raises(LabelError):
            write_labels(path, LABELS)
        with pytest.raises(LabelError):
            read_labels(path)


def test_a_full_disk_leaves_the_old_file(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = picture.read_bytes()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="disk is full"):
        write_labels(picture, LABELS)
    assert picture.read_bytes() == content
    assert [item.name for item in picture.parent.iterdir()] == [picture.name]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
def test_a_private_file_stays_private(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    drawn().save(path)
    path.chmod(0o600)
    write_labels(path, LABELS)
    assert path.stat().st_mode & 0o777 == 0o600


def test_golden_packet(tmp_path: Path) -> None:
    """The exact bytes that we have written since version 1."""
    path = tmp_path / "a.png"
    drawn().save(path)
    write_labels(path, LABELS)
    (packet,) = containers.read_packets("PNG", path.read_bytes())
    assert packet == (GOLDEN / "packet-1.xmp").read_bytes()
    (tmp_path / "foreign").mkdir()
    foreign = with_foreign_packet(tmp_path / "foreign", "webp")
    write_labels(foreign, LABELS)
    (packet,) = containers.read_packets("WEBP", foreign.read_bytes())
    assert packet == (GOLDEN / "packet-1-merged.xmp").read_bytes()


def test_pillow_reads_the_packet_where_it_looks_for_it(tmp_path: Path) -> None:
    pytest.importorskip("defusedxml")
    for name in ("a.png", "a.jpg"):
        drawn().save(tmp_path / name)
        write_labels(tmp_path / name, LABELS)
        with Image.open(tmp_path / name) as image, warnings.catch_warnings():
            warnings.simplefilter("error")
            description = image.getxmp()["xmpmeta"]["RDF"]["Description"]
        assert description["DigitalSourceType"] == SourceType.TRAINED_ALGORITHMIC_MEDIA.uri


def saved(name: str, **options: object) -> bytes:
    stream = io.BytesIO()
    drawn(size=(12, 9)).save(stream, format=name, **options)
    return stream.getvalue()


WHOLE = {"PNG": saved("PNG"), "JPEG": saved("JPEG"), "WEBP": saved("WEBP", exif=EXIF)}
HEADS = {"PNG": WHOLE["PNG"][:8], "JPEG": b"\xff\xd8\xff", "WEBP": b"RIFF"}


@given(data=st.data(), name=st.sampled_from(sorted(WHOLE)))
@settings(max_examples=300, deadline=None)
def test_altered_bytes_give_labels_or_a_label_error(data: st.DataObject, name: str) -> None:
    content = bytearray(WHOLE[name])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    survives(bytes(content))


@given(tail=st.binary(max_size=200), name=st.sampled_from(sorted(HEADS)))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_give_labels_or_a_label_error(tail: bytes, name: str) -> None:
    head = HEADS[name]
    survives(head + tail if name != "WEBP" else head + tail[:4].ljust(4, b"\0") + b"WEBP" + tail[4:])


def survives(content: bytes) -> None:
    name = containers.identify(content)
    if not containers.can_carry(name):
        return
    try:
        containers.read_packets(name, content)
        changed = containers.replace_packets(name, content, b"<x/>")
    except LabelError:
        return
    assert containers.read_packets(name, changed) == (b"<x/>",)


@given(content=st.binary(max_size=60))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_gives_labels_or_a_label_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.png"
    path.write_bytes(content)
    try:
        read_labels(path)
    except LabelError as error:
        assert error.next_step


def png_parts(content: bytes) -> list[bytes]:
    parts, position = [], 8
    while position < len(content):
        end = position + 12 + int.from_bytes(content[position : position + 4], "big")
        parts.append(content[position:end])
        position = end
    return parts


def jpeg_parts(content: bytes) -> list[bytes]:
    parts, position = [], 2
    while content[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        parts.append(content[position:end])
        position = end
    return [*parts, content[position:]]


def webp_parts(content: bytes) -> list[bytes]:
    parts, position = [], 12
    while position < len(content):
        length = int.from_bytes(content[position + 4 : position + 8], "little")
        parts.append(content[position : position + 8 + length + length % 2])
        position += 8 + length + length % 2
    return parts
