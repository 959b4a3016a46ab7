"""Labels in picture files: written, merged with what is there, and read back."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from provenance_guard import files
from provenance_guard.errors import LabelError
from provenance_guard.json_types import Json
from provenance_guard.labels import containers, iptc
from provenance_guard.labels.iptc import Labels
from provenance_guard.labels.xmp import Packet


@dataclass(frozen=True)
class LabelResult:
    """``written``: the file carries the labels now (also when it did before). ``labels`` is what it says; ``reason`` tells
    in a sentence why nothing could be written. ``format`` is the file's true format, whatever its suffix says."""

    written: bool
    format: str
    labels: Labels | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values, as kept in the record."""
        labels = self.labels.to_json() if self.labels else None
        return {"written": self.written, "format": self.format, "labels": labels, "reason": self.reason}


def write_labels(path: Path, labels: Labels) -> LabelResult:
    """Put labels into the XMP of the picture in ``path``; pixels and all other metadata stay as they are, byte for byte.

    Labels of ours are replaced. A source type of any tool that says "generated" is never replaced by one that does not.
    Writing the same labels twice gives the same bytes. A format without support is a result, not an error.
    Raises LabelError when the file cannot be read, is no picture or is damaged (it is left as it was), and OutputError when
    it cannot be written.
    """
    content = _read(path)
    name = _identify(path, content)
    if not containers.can_carry(name):
        return LabelResult(
            False, name, reason=f"Labels are not supported for {name} files; the sidecar still holds them."
        )
    packet = Packet(containers.read_packets(name, content))
    present = iptc.from_packet(packet)
    if present.source_type and present.source_type.says_generated:
        keeps = labels.source_type is None or not labels.source_type.says_generated
        labels = dataclasses.replace(labels, source_type=present.source_type) if keeps else labels
    packet.set(iptc.to_properties(labels))
    changed = containers.replace_packets(name, content, packet.to_bytes())
    if changed != content:
        files.write_atomically(path, changed)
    return LabelResult(True, name, labels)


def read_labels(path: Path) -> Labels | None:
    """The labels in the XMP of a picture; None when there are none, or its format carries none.

    Raises LabelError when the file cannot be read, is no picture, or is damaged.
    """
    content = _read(path)
    name = _identify(path, content)
    if not containers.can_carry(name):
        return None
    labels = iptc.from_packet(Packet(containers.read_packets(name, content)))
    return None if labels == Labels() else labels


def carry_packet(source: Path, target: Path) -> bool:
    """Give ``target``, a copy saved by a library that drops it, the XMP of ``source``: marks and names of others must survive.

    Our own record id stays behind, because it belongs to the very picture that was labelled. False when there is nothing to carry, or a format carries none. Raises LabelError and OutputError as ``write_labels``.
    """
    original, copy = _read(source), _read(target)
    names = _identify(source, original), _identify(target, copy)
    if not all(map(containers.can_carry, names)):
        return False
    packets = containers.read_packets(names[0], original)
    if not packets:
        return False
    packet = Packet(packets)
    packet.set(iptc.to_properties(Labels()))
    changed = containers.replace_packets(names[1], copy, packet.to_bytes())
    if changed != copy:
        files.write_atomically(target, changed)
    return True


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LabelError(
            f"{path} cannot be read ({error.strerror or error}).", next_step="Check the name and the permissions."
        ) from error


def _identify(path: Path, content: bytes) -> str:
    name = containers.identify(content)
    if name is None:
        raise LabelError(f"{path} is not a picture of a known format.", next_step="Save it as PNG, JPEG or WebP.")
    return name
