"""XMP packets: read simple properties, and set ours among those of other tools without losing any.

Source: ISO 16684-1:2019 (XMP data model, RDF/XML serialisation), sections 6 and 7. A packet is parsed with the standard
library; document types and entities are refused before, so that a hostile packet cannot expand. Text, order and name-space
prefixes of other tools are kept; only XML comments are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from provenance_guard.errors import LabelError
from provenance_guard.labels.containers.damage import MAX_PACKET

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_META = "adobe:ns:meta/"
_XML = "http://www.w3.org/XML/1998/namespace"
_RDF_ROOT, _DESCRIPTION, _ABOUT, _RESOURCE = (
    f"{{{_RDF}}}{name}" for name in ("RDF", "Description", "about", "resource")
)
_USUAL_PREFIXES = {_META: "x", _RDF: "rdf"}
_MAX_DEPTH = 100
_HEADER, _TRAILER = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n', '\n<?xpacket end="w"?>'


@dataclass(frozen=True)
class Property:
    """The name of a simple (text) property; ``prefix`` is what we write, readers go by ``namespace``."""

    namespace: str
    prefix: str
    name: str

    @property
    def tag(self) -> str:
        return f"{{{self.namespace}}}{self.name}"


class Packet:
    """The properties of one file, possibly gathered from several packets."""

    def __init__(self, packets: Iterable[bytes] = ()) -> None:
        """Parse packets; a property that stands in several is taken from the first. Raises LabelError on a damaged one."""
        self._prefixes: dict[str, str] = {}
        self._root: ElementTree.Element | None = None
        for packet in packets:
            root = self._parse(packet)
            if root is None:
                continue
            if self._root is None:
                self._root = root
            else:
                self._absorb(root)

    def get(self, item: Property) -> str | None:
        """The text of a simple property, in any of its three RDF forms; None when it is absent or not simple."""
        for description in self._descriptions():
            if item.tag in description.attrib:
                return description.attrib[item.tag].strip()
            for element in description:
                if element.tag == item.tag and len(element) == 0:
                    return (element.get(_RESOURCE) or element.text or "").strip()
        return None

    def set(self, values: Mapping[Property, str | None]) -> None:
        """Give these properties these values, None removes; all in one description of their own, at the end."""
        tags = {item.tag for item in values}
        for description in self._descriptions():
            _remove_properties(description, tags)
            if len(description) == 0 and set(description.attrib) <= {_ABOUT}:
                self._rdf().remove(description)
        chosen = [(item, value) for item, value in values.items() if value is not None]
        if not chosen:
            return
        own = ElementTree.Element(_DESCRIPTION, {_ABOUT: self._about()})
        for item, value in chosen:
            self._prefixes.setdefault(item.namespace, item.prefix)
            element = ElementTree.SubElement(own, item.tag)
            element.text, element.tail = value, "\n   "
        own.text, own[-1].tail, own.tail = "\n   ", "\n  ", "\n "
        self._rdf().append(own)

    def to_bytes(self) -> bytes:
        """The packet in UTF-8, with its header and trailer; the same properties give the same bytes."""
        self._rdf()
        assert self._root is not None
        return (_HEADER + _Writer(self._root, self._prefixes).text + _TRAILER).encode("utf-8")

    def _rdf(self) -> ElementTree.Element:
        if self._root is None:
            self._root = ElementTree.Element(f"{{{_META}}}xmpmeta")
            self._root.text = "\n "
            rdf = ElementTree.SubElement(self._root, _RDF_ROOT)
            rdf.text, rdf.tail = "\n  ", "\n"
        return next(self._root.iter(_RDF_ROOT))

    def _about(self) -> str:
        """What all descriptions of a packet say they are about: usually nothing, which means the file."""
        return next((description.get(_ABOUT, "") for description in self._descriptions()), "")

    def _descriptions(self) -> list[ElementTree.Element]:
        return [] if self._root is None else self._rdf().findall(_DESCRIPTION)

    def _parse(self, packet: bytes) -> ElementTree.Element | None:
        text = _decode(packet)
        if not text:
            return None
        root = self._read_tree(text)
        if next(root.iter(_RDF_ROOT), None) is None:
            raise _unreadable("it holds no RDF")
        return root

    def _read_tree(self, text: str) -> ElementTree.Element:
        parser: Any = ElementTree.XMLPullParser(("start", "end", "start-ns"))
        depth, root = 0, None
        try:
            parser.feed(text)
            parser.close()
            for event, value in parser.read_events():
                if event == "start-ns":
                    prefix, namespace = value
                    self._prefixes.setdefault(namespace, prefix)
                    continue
                depth += 1 if event == "start" else -1
                root = value if root is None else root
                if depth > _MAX_DEPTH:
                    raise _unreadable("it is nested too deeply")
        except (ElementTree.ParseError, ValueError) as error:
            raise _unreadable(str(error)) from None
        if root is None:
            raise _unreadable("it holds no element")
        return root

    def _absorb(self, root: ElementTree.Element) -> None:
        """Add the descriptions of a further packet, without the properties that are there already."""
        present = {_ABOUT}
        for description in self._descriptions():
            present |= {element.tag for element in description} | set(description.attrib)
        about = self._about()
        for description in next(root.iter(_RDF_ROOT)).findall(_DESCRIPTION):
            _remove_properties(description, present)
            if len(description) or description.attrib:
                description.set(_ABOUT, about)
                self._rdf().append(description)


class _Writer:
    """Serialises a tree with the prefixes it came with, all declared on the root element."""

    def __init__(self, root: ElementTree.Element, known: Mapping[str, str]) -> None:
        self._prefixes: dict[str, str] = {_XML: "xml"}
        self._known = {**known, **_USUAL_PREFIXES}
        body = self._element(root)
        declared = "".join(
            f" xmlns:{prefix}={quoteattr(namespace)}"
            for namespace, prefix in self._prefixes.items()
            if namespace != _XML
        )
        name = self._name(root.tag)
        self.text = f"<{name}{declared}{body[len(name) + 1 :]}"

    def _element(self, element: ElementTree.Element) -> str:
        name = self._name(element.tag)
        attributes = "".join(f" {self._name(key)}={quoteattr(value)}" for key, value in element.attrib.items())
        inside = _text(element.text) + "".join(self._element(child) + _text(child.tail) for child in element)
        return f"<{name}{attributes}>{inside}</{name}>" if inside else f"<{name}{attributes}/>"

    def _name(self, tag: str) -> str:
        if not tag.startswith("{"):
            return tag
        namespace, local = tag[1:].split("}", 1)
        if namespace not in self._prefixes:
            self._prefixes[namespace] = self._free_prefix(self._known.get(namespace, ""))
        return f"{self._prefixes[namespace]}:{local}"

    def _free_prefix(self, wanted: str) -> str:
        taken = self._prefixes.values()
        if wanted and wanted not in taken:
            return wanted
        number = 1
        while f"ns{number}" in taken:
            number += 1
        return f"ns{number}"


def _text(value: str | None) -> str:
    return escape(value or "", {"\r": "&#13;"})


def _decode(packet: bytes) -> str:
    """The XML of a packet, without its header, trailer and padding. Raises LabelError on what is not plain XMP."""
    if len(packet) > MAX_PACKET:
        raise _unreadable("it is far too large")
    try:
        text = packet.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _unreadable("it is not UTF-8") from None
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", text):
        raise _unreadable("it holds a document type or entities, which are refused for safety")
    text = re.sub(r"<\?xpacket.*?\?>", "", text, flags=re.DOTALL)
    return text.strip("\ufeff\x00 \t\r\n")


def _remove_properties(description: ElementTree.Element, tags: set[str]) -> None:
    for tag in tags & set(description.attrib):
        del description.attrib[tag]
    for element in [element for element in description if element.tag in tags]:
        description.remove(element)


def _unreadable(problem: str) -> LabelError:
    return LabelError(
        f"The picture's XMP metadata cannot be read: {problem}.",
        next_step="Remove or repair its XMP metadata; the file was left unchanged.",
    )
