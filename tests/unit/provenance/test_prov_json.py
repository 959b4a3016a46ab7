"""The PROV-JSON export is read by a library of others, and says what the record says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prov.model import (
    PROV_ATTR_ACTIVITY,
    PROV_ATTR_ENTITY,
    ProvActivity,
    ProvAgent,
    ProvDerivation,
    ProvDocument,
    ProvEntity,
    ProvGeneration,
    ProvUsage,
)

from provenance_guard.provenance import prov_json
from provenance_guard.provenance.prov_json import ProvGraph
from provenance_guard.provenance.record import Context, Parent, Record, Resource
from provenance_guard.provenance.redaction import disclose, redact, restore

GOLDEN = Path(__file__).parents[2] / "golden" / "provenance" / "prov-1.json"
PARENT = Record(
    "ff" * 16, "2026-11-22T10:10:00.000Z", Context("file", parents=(Parent("source", "ee" * 32),)), "cd" * 32, 64, 48
)
RECORD = Record(
    id="00112233445566778899aabbccddeeff",
    time="2026-11-22T10:15:30.123Z",
    context=Context(
        origin="webui.img2img",
        parameters={"prompt": "a red fox, 雪", "seed": 965400086, "steps": 20, "cfg_scale": 7.5, "extra": {"a": [1]}},
        resources=(
            Resource("checkpoint", "dreamer", "dreamer.safetensors", sha256="ab" * 32),
            Resource("lora", "tiny", weight=0.8),
        ),
        parents=(Parent("init_image", "cd" * 32, "ff" * 16, "pixels"), Parent("mask", "aa" * 32)),
        user="Jo Né",
    ),
    pixel_sha256="12" * 32,
    width=64,
    height=48,
    verdict={"level": "clean"},
    decision={"action": "allow"},
)


def fixed_salts():
    counter = iter(range(1, 1000))
    return lambda size: next(counter).to_bytes(size, "big")


def graph(*fields: str, everything: bool = False) -> dict:
    built = ProvGraph()
    for record in (RECORD, PARENT):
        public, openings = redact(record.to_json(), make_salt=fixed_salts())
        chosen = openings if everything else disclose(public, openings, fields if record is RECORD else ())
        built.add_record(restore(public, chosen), public, file_sha256="34" * 32)
    return built.to_json()


def load(document: dict) -> ProvDocument:
    return ProvDocument.deserialize(content=json.dumps(document), format="json")


def test_it_is_the_golden_file(monkeypatch):
    monkeypatch.setattr(prov_json, "__version__", "0.1.0")
    assert graph("prompt", "user") == json.loads(GOLDEN.read_text("utf-8"))


@pytest.mark.parametrize("fields", [(), ("prompt", "user"), ("name", "seed")])
def test_the_prov_library_reads_and_writes_it(fields):
    document = load(graph(*fields))
    again = ProvDocument.deserialize(content=document.serialize(format="json"), format="json")
    assert document == again
    assert {kind: len(list(document.get_records(kind))) for kind in (ProvEntity, ProvActivity, ProvAgent)} == {
        ProvEntity: 6,  # two pictures, two of unknown origin, two models
        ProvActivity: 2,
        ProvAgent: 2 if "user" in fields else 1,
    }
    made = {
        str(next(iter(one.get_attribute(PROV_ATTR_ENTITY)))): str(next(iter(one.get_attribute(PROV_ATTR_ACTIVITY))))
        for one in document.get_records(ProvGeneration)
    }
    assert made == {f"record:{RECORD.id}": f"run:{RECORD.id}", f"record:{PARENT.id}": f"run:{PARENT.id}"}
    assert len(list(document.get_records(ProvUsage))) == 5
    # What came from what: the parent of the record, and the parent's own parent; a mask is used, nothing comes from it.
    assert len(list(document.get_records(ProvDerivation))) == 2


def test_every_relation_is_between_things_that_are_there():
    document = graph(everything=True)
    known = {name for kind in ("entity", "activity", "agent") for name in document[kind]}
    for kind in set(document) - {"prefix", "entity", "activity", "agent"}:
        for relation in document[kind].values():
            assert set(relation.values()) <= known


def test_nothing_sealed_is_told():
    text = json.dumps(graph("seed"), ensure_ascii=False)
    assert "965400086" in text
    for word in ("fox", "Jo", "dreamer", "tiny"):
        assert word not in text
    assert "/context/parameters/prompt pg-opening-1:" in text


def test_everything_opened_is_told():
    text = json.dumps(graph(everything=True), ensure_ascii=False)
    for word in ("a red fox, 雪", "Jo Né", "dreamer", "tiny", "965400086"):
        assert word in text
