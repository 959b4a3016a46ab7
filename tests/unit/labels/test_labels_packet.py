"""XMP packets from anywhere: read, merged and written without losing what others wrote."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_guard.errors import LabelError
from provenance_guard.labels.xmp import Packet, Property

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
OURS = Property("urn:ours:", "ours", "Value")
SECOND = Property("urn:ours:", "ours", "Second")

texts = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff"), max_size=20)
names = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True)
spaces = st.sampled_from(["urn:a", "urn:b", "http://c/#", "urn:ours:"])


def tree_of(packet: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(re.sub(rb"<\?xpacket.*?\?>", b"", packet).strip())


@st.composite
def foreign_packets(draw: st.DrawFn) -> bytes:
    root = ElementTree.Element("{adobe:ns:meta/}xmpmeta")
    rdf = ElementTree.SubElement(root, f"{RDF}RDF")
    for _ in range(draw(st.integers(0, 3))):
        description = ElementTree.SubElement(rdf, f"{RDF}Description", {f"{RDF}about": ""})
        for space, name, value in draw(st.lists(st.tuples(spaces, names, texts), max_size=3)):
            description.set(f"{{{space}}}{name}", value)
        for space, name, value in draw(st.lists(st.tuples(spaces, names, texts), max_size=3)):
            element = ElementTree.SubElement(description, f"{{{space}}}{name}")
            element.text = value
            if draw(st.booleans()):
                item = ElementTree.SubElement(ElementTree.SubElement(element, f"{RDF}Bag"), f"{RDF}li")
                item.text, item.tail = draw(texts), draw(st.sampled_from([None, "\n ", "tail"]))
    return ElementTree.tostring(root)


def facts(element: ElementTree.Element) -> tuple:
    return (
        element.tag,
        dict(element.attrib),
        element.text or "",
        [(facts(child), child.tail or "") for child in element],
    )


def foreign_descriptions(packet: bytes) -> list:
    descriptions = tree_of(packet).iter(f"{RDF}Description")
    return [facts(item) for item in descriptions if len(item) or set(item.attrib) - {f"{RDF}about"}]


@given(packet=foreign_packets(), value=texts.map(str.strip))
@settings(max_examples=200, deadline=None)
def test_setting_keeps_everything_else_and_is_idempotent(packet: bytes, value: str) -> None:
    merged = Packet([packet])
    merged.set({OURS: value})
    once = merged.to_bytes()
    again = Packet([once])
    assert again.get(OURS) == value
    assert foreign_descriptions(once)[:-1] == foreign_descriptions(packet)
    again.set({OURS: value})
    assert again.to_bytes() == once
    again.set({OURS: None})
    assert foreign_descriptions(again.to_bytes()) == foreign_descriptions(packet)


@given(content=st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode)))
@settings(max_examples=300, deadline=None)
def test_arbitrary_packets_give_properties_or_a_label_error(content: bytes) -> None:
    for packet in (
        content,
        b"<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>" + content + b"</rdf:RDF>",
    ):
        try:
            merged = Packet([packet])
            merged.set({OURS: "x"})
        except LabelError:
            continue
        assert Packet([merged.to_bytes()]).get(OURS) == "x"


@pytest.mark.parametrize(
    "packet",
    [
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b"<a><!ENTITY b SYSTEM 'file:///etc/passwd'></a>",
        "<a>é</a>".encode("latin-1"),
        "<a/>".encode("utf-16"),
        b"<a",
        b"<a><b></a>",
        b"<a/>",
        b"<r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>" + b"<a>" * 5000 + b"</a>" * 5000 + b"</r:RDF>",
    ],
)
def test_hostile_and_broken_packets_are_refused(packet: bytes) -> None:
    with pytest.raises(LabelError) as caught:
        Packet([packet])
    assert "unchanged" in caught.value.next_step


def test_empty_and_padded_packets_are_fine() -> None:
    for packet in (b"", b"\x00\x00", b"\xef\xbb\xbf  \n", b'<?xpacket begin=""?>   <?xpacket end="w"?>\x00'):
        assert Packet([packet]).get(OURS) is None


def test_a_prefix_with_two_meanings_stays_unambiguous() -> None:
    packet = (
        b"<r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        b"<r:Description xmlns:a='urn:1' a:n='one'/><r:Description xmlns:a='urn:2' a:n='two'/>"
        b"<r:Description xmlns='urn:3'><n>three</n></r:Description></r:RDF>"
    )
    merged = Packet([packet])
    merged.set({OURS: "x"})
    read = Packet([merged.to_bytes()])
    assert [read.get(Property(space, "", "n")) for space in ("urn:1", "urn:2", "urn:3")] == ["one", "two", "three"]


def test_all_our_values_stand_together() -> None:
    packet = Packet()
    packet.set({OURS: "1", SECOND: "2"})
    packet.set({OURS: "3", SECOND: None})
    read = Packet([packet.to_bytes()])
    assert (read.get(OURS), read.get(SECOND)) == ("3", None)
    assert packet.to_bytes().count(b"<rdf:Description") == 1
