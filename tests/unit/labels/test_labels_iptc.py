"""What a label says: the vocabulary, and which term the known history of a picture supports."""

from __future__ import annotations

import dataclasses

import pytest

from provenance_guard.errors import LabelError
from provenance_guard.labels import Labels, SourceType, iptc, source_type_for
from provenance_guard.labels.xmp import Packet
from provenance_guard.provenance.record import Context, Parent

GENERATED = SourceType.TRAINED_ALGORITHMIC_MEDIA
COMPOSITE = SourceType.COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA
ENHANCED = SourceType.ALGORITHMICALLY_ENHANCED
INIT_IMAGE = Parent("init_image", "0" * 64)
MASK = Parent("mask", "0" * 64)


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (Context("webui.txt2img"), GENERATED),
        (Context("webui.txt2img", {"denoising_strength": 0.5}), GENERATED),  # a hires pass
        (Context("webui.img2img", parents=(INIT_IMAGE,)), COMPOSITE),
        (Context("webui.img2img", parents=(INIT_IMAGE, MASK)), COMPOSITE),
        (Context("webui.img2img"), COMPOSITE),
        (Context("webui.extras"), ENHANCED),
        (Context("webui.extras", infotext="a cat"), GENERATED),  # a generated picture, made larger
        (Context("webui.other", {"seed": 1}), GENERATED),
        (Context("webui.other", {"seed": 1}, parents=(INIT_IMAGE,)), COMPOSITE),
        (Context("webui.other"), None),
        (Context("file"), None),
        (Context("watch"), None),
        (Context("file", {"seed": 1}, infotext="a cat"), GENERATED),
        (Context("file", {"seed": 1, "denoising_strength": 0.75}), COMPOSITE),
        (Context("file", {"seed": 1, "denoising_strength": 0.5, "hires_upscale": 2}), GENERATED),
        (Context("watch", {"seed": 1, "mask_blur": 4}), COMPOSITE),
    ],
)
def test_source_type_for(context: Context, expected: SourceType | None) -> None:
    assert source_type_for(context) is expected


@pytest.mark.parametrize("origin", ["webui.img2img", "webui.extras", "webui.other"])
def test_generated_parents_make_the_whole_generated(origin: str) -> None:
    context = Context(origin, {"seed": 1}, parents=(INIT_IMAGE,))
    assert source_type_for(context, parents_generated=True) is GENERATED


def test_terms_are_full_uris_of_the_vocabulary() -> None:
    assert GENERATED.uri == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert COMPOSITE.uri.endswith("/compositeWithTrainedAlgorithmicMedia")
    assert ENHANCED.uri.endswith("/algorithmicallyEnhanced")
    for term in SourceType:
        assert SourceType.parse(term.uri) is term


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trainedAlgorithmicMedia", GENERATED),  # the common mistake, read all the same
        (" https://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia\n", GENERATED),
        ("TRAINED_ALGORITHMIC_MEDIA", None),
        ("http://cv.iptc.org/newscodes/digitalsourcetype/", None),
        ("http://example.org/trainedAlgorithmicMedia", None),
        ("", None),
    ],
)
def test_reading_a_term(text: str, expected: SourceType | None) -> None:
    assert SourceType.parse(text) is expected


@pytest.mark.parametrize(
    "values",
    [
        {"record_id": "a cat on a mat"},
        {"record_id": "F" * 32},
        {"record_id": "f" * 31},
        {"record_id": "f" * 32 + "\n"},
        {"commitment": "f" * 64},
        {"commitment": "/home/someone:" + "f" * 64},
        {"commitment": "pg-commitment-1:" + "f" * 63},
    ],
)
def test_nothing_but_ids_and_commitments_can_be_said(values: dict[str, str]) -> None:
    with pytest.raises(LabelError):
        Labels(**values)
    assert {field.name for field in dataclasses.fields(Labels)} == {"source_type", "record_id", "commitment"}


def rdf(inside: str) -> bytes:
    return (
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        'xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:o="urn:provenance-guard:label:1:">'
        f"{inside}</rdf:RDF>"
    ).encode()


@pytest.mark.parametrize(
    "inside",
    [
        f'<rdf:Description e:DigitalSourceType="{GENERATED.uri}"/>',
        f"<rdf:Description><e:DigitalSourceType>\n {GENERATED.uri} </e:DigitalSourceType></rdf:Description>",
        f'<rdf:Description><e:DigitalSourceType rdf:resource="{GENERATED.uri}"/></rdf:Description>',
        f'<rdf:Description/><rdf:Description rdf:about="" e:DigitalSourceType="{GENERATED.uri}"/>',
    ],
)
def test_the_forms_in_which_a_property_is_written(inside: str) -> None:
    assert iptc.from_packet(Packet([rdf(inside)])) == Labels(GENERATED)


def test_values_of_the_wrong_form_count_as_absent() -> None:
    inside = '<rdf:Description e:DigitalSourceType="AI" o:RecordID="me" o:Commitment="x"/>'
    assert iptc.from_packet(Packet([rdf(inside)])) == Labels()


def test_labels_as_json() -> None:
    assert Labels(GENERATED, "a" * 32).to_json() == {
        "source_type": "trainedAlgorithmicMedia",
        "record_id": "a" * 32,
        "commitment": None,
    }
