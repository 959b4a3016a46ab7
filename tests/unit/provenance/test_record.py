from __future__ import annotations

import json
from types import MappingProxyType

import pytest

from provenance_guard.provenance import Context, Parent, Record, Resource, new_record_id


def make_record(**context) -> Record:
    return Record(new_record_id(), "2026-11-22T10:15:30.123Z", Context("file", **context), "12" * 32, 64, 48)


def test_a_record_comes_back_from_json():
    record = make_record(
        parameters={"prompt": "狐", "seed": 2**64 - 1, "cfg_scale": 7.5, "hires": None},
        resources=(Resource("lora", "tiny", weight=0.5, metadata={"ss_tag_frequency": {"fox": 3}}),),
        parents=(Parent("mask", "ab" * 32),),
    )
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_what_json_cannot_say_is_kept_as_text():
    document = make_record(
        parameters=MappingProxyType({"a": float("nan"), "b": float("-inf"), "c": (1, 2), "d": {3: Context}})
    ).to_json()
    json.dumps(document, allow_nan=False)
    assert document["context"]["parameters"] == {"a": "nan", "b": "-inf", "c": [1, 2], "d": {"3": str(Context)}}


@pytest.mark.parametrize(
    "change",
    [{"schema": 2}, {"schema": 0}, {"schema": None}, {"schema": True}, {"context": None}, {"context": 5}, {"unknown": 1},
     {"context": {"origin": "file", "resources": [5]}}, {"context": {"origin": "file", "parents": 5}}, {"failures": 5}],
)  # fmt: skip
def test_what_is_no_record_is_one_kind_of_error(change):
    with pytest.raises(ValueError):
        Record.from_json({**make_record().to_json(), **change})


def test_a_record_without_a_field_is_told():
    document = make_record().to_json()
    del document["pixel_sha256"]
    with pytest.raises(ValueError, match="damaged"):
        Record.from_json(document)


def test_ids_are_128_random_bits():
    ids = {new_record_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(bytes.fromhex(one)) == 16 for one in ids)


def test_generative_is_known_by_origin_parameters_or_text():
    assert not Context("file").generative
    assert not Context("webui.extras").generative
    assert Context("webui.txt2img").generative
    assert Context("file", infotext="{}").generative
    assert Context("watch", parameters={"seed": 1}).generative
