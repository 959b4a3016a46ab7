"""What a label says: the IPTC digital source type, the record id and a commitment. Nothing private.

Source: IPTC Photo Metadata Standard 2025.1 (``Iptc4xmpExt:DigitalSourceType``) and the IPTC NewsCodes vocabulary
"Digital Source Type" (cv.iptc.org). The value is the full URI; a bare term is a common mistake that we read but never write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from provenance_guard.errors import LabelError
from provenance_guard.json_types import Json
from provenance_guard.labels.xmp import Packet, Property
from provenance_guard.provenance.record import Context

_VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_OWN = "urn:provenance-guard:label:1:"
_ID, _COMMITMENT = re.compile(r"[0-9a-f]{32}"), re.compile(r"[a-z0-9-]{1,40}:[0-9a-f]{64}")

DIGITAL_SOURCE_TYPE = Property("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "Iptc4xmpExt", "DigitalSourceType")
RECORD_ID = Property(_OWN, "ProvenanceGuard", "RecordID")
COMMITMENT = Property(_OWN, "ProvenanceGuard", "Commitment")


class SourceType(str, Enum):
    """The terms of the IPTC vocabulary, retired ones included, because files carry them."""

    ALGORITHMIC_MEDIA = "algorithmicMedia"
    ALGORITHMICALLY_ENHANCED = "algorithmicallyEnhanced"
    COMPOSITE = "composite"
    COMPOSITE_CAPTURE = "compositeCapture"
    COMPOSITE_SYNTHETIC = "compositeSynthetic"
    COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA = "compositeWithTrainedAlgorithmicMedia"
    COMPUTATIONAL_CAPTURE = "computationalCapture"
    DATA_DRIVEN_MEDIA = "dataDrivenMedia"
    DIGITAL_ART = "digitalArt"
    DIGITAL_CAPTURE = "digitalCapture"
    DIGITAL_CREATION = "digitalCreation"
    HUMAN_EDITS = "humanEdits"
    MINOR_HUMAN_EDITS = "minorHumanEdits"
    NEGATIVE_FILM = "negativeFilm"
    POSITIVE_FILM = "positiveFilm"
    PRINT = "print"
    SCREEN_CAPTURE = "screenCapture"
    SOFTWARE_IMAGE = "softwareImage"
    TRAINED_ALGORITHMIC_MEDIA = "trainedAlgorithmicMedia"
    VIRTUAL_RECORDING = "virtualRecording"

    @property
    def uri(self) -> str:
        """The value that belongs into a file."""
        return _VOCABULARY + self.value

    @property
    def says_generated(self) -> bool:
        """Whether it tells that a trained model made the picture or a part of it."""
        return self in _GENERATED

    @classmethod
    def parse(cls, text: str) -> SourceType | None:
        """The term of a URI or a bare term; None when it is not in the vocabulary."""
        term = re.sub(r"^https?://cv\.iptc\.org/newscodes/digitalsourcetype/", "", text.strip())
        return cls(term) if term in cls._value2member_map_ else None


_GENERATED = frozenset(
    {
        SourceType.TRAINED_ALGORITHMIC_MEDIA,
        SourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA,
        SourceType.COMPOSITE_SYNTHETIC,
    }
)


@dataclass(frozen=True)
class Labels:
    """What a file says of itself in public. ``record_id`` is 32 hex digits; ``commitment`` is a salted hash in the form
    ``scheme:`` and 64 hex digits: neither tells anything to who does not hold the record. Raises LabelError on other forms."""

    source_type: SourceType | None = None
    record_id: str | None = None
    commitment: str | None = None

    def __post_init__(self) -> None:
        for name, value, form in (("record id", self.record_id, _ID), ("commitment", self.commitment, _COMMITMENT)):
            if value is not None and not form.fullmatch(value):
                raise LabelError(f"{value!r} is no {name}.", next_step="Report this as a bug.")

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {
            "source_type": self.source_type.value if self.source_type else None,
            "record_id": self.record_id,
            "commitment": self.commitment,
        }


def source_type_for(context: Context, *, parents_generated: bool = False) -> SourceType | None:
    """The source type that the known history of a picture supports; None when nothing is known, which claims nothing.

    ``parents_generated``: every picture that this one was made from is known to come from a generative model itself.
    """
    if context.origin == "webui.extras":
        known = context.generative or parents_generated
        return SourceType.TRAINED_ALGORITHMIC_MEDIA if known else SourceType.ALGORITHMICALLY_ENHANCED
    if not context.generative:
        return None
    if _made_from_a_picture(context) and not parents_generated:
        return SourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA
    return SourceType.TRAINED_ALGORITHMIC_MEDIA


def to_properties(labels: Labels) -> dict[Property, str | None]:
    """The XMP properties of a label. Ours are removed (None) when absent; the source type of another tool then stays."""
    values: dict[Property, str | None] = {RECORD_ID: labels.record_id, COMMITMENT: labels.commitment}
    return {DIGITAL_SOURCE_TYPE: labels.source_type.uri, **values} if labels.source_type else values


def from_packet(packet: Packet) -> Labels:
    """The labels in a packet; a value of the wrong form counts as absent."""
    source_type, record_id, commitment = (packet.get(item) for item in (DIGITAL_SOURCE_TYPE, RECORD_ID, COMMITMENT))
    return Labels(
        source_type=SourceType.parse(source_type) if source_type else None,
        record_id=record_id if record_id and _ID.fullmatch(record_id) else None,
        commitment=commitment if commitment and _COMMITMENT.fullmatch(commitment) else None,
    )


def _made_from_a_picture(context: Context) -> bool:
    if context.origin == "webui.txt2img":
        return False
    if context.origin == "webui.img2img" or any(parent.role in ("init_image", "mask") for parent in context.parents):
        return True
    return _infotext_tells_of_an_init_image(context.parameters)


def _infotext_tells_of_an_init_image(parameters: Mapping[str, Json]) -> bool:
    """Infotext of img2img has a denoising strength; so has that of a second, larger pass, which also says ``Hires ...``."""
    if "mask_blur" in parameters or "inpaint_area" in parameters or "init_image_hash" in parameters:
        return True
    return "denoising_strength" in parameters and not any(name.startswith("hires_") for name in parameters)
