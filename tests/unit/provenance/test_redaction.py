from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance_guard.errors import SidecarError, UsageError
from provenance_guard.provenance.folders import strip_folders, without_folders
from provenance_guard.provenance.record import Context, Record, Resource, bare_name
from provenance_guard.provenance.redaction import (
    commitment_to,
    disclose,
    read_opening,
    redact,
    restore,
    sealed_fields,
    verify_opening,
    write_opening,
)

words = st.text(st.characters(categories=["Lu", "Ll", "Lo"]), min_size=6, max_size=12).map(lambda text: f"Secret{text}")
plain = st.one_of(words, st.lists(words, max_size=2), st.dictionaries(words, words, max_size=2))


def make_record(**context) -> Record:
    return Record(
        "00112233445566778899aabbccddeeff",
        "2026-11-22T10:15:30.123Z",
        Context("webui.txt2img", **context),
        "12" * 32,
        64,
        48,
    )


def test_opening_and_commitment_are_the_documented_bytes():
    opening = write_opening("/context/user", "joé", bytes(range(16)))
    assert opening == '["pg-opening-1","000102030405060708090a0b0c0d0e0f","/context/user","jo\\u00e9"]'
    expected = "pg-opening-1:" + hashlib.sha256(opening.encode("ascii")).hexdigest()
    assert expected == "pg-opening-1:8b32b3f97e21f6a5f62b4c8c3eed36bb287bbc0d4574dda358ef89f074cfa196"
    assert commitment_to(opening) == expected
    assert verify_opening(expected, opening)
    assert not verify_opening(expected, opening.replace("jo", "Jo"))
    assert (read_opening(opening).pointer, read_opening(opening).value) == ("/context/user", "joé")


def test_equal_values_have_different_commitments():
    first, _ = redact(make_record(user="joe").to_json())
    second, _ = redact(make_record(user="joe").to_json())
    assert first["context"]["user"] != second["context"]["user"]


@given(
    words,
    words,
    st.dictionaries(words, plain, max_size=3),
    plain,
    st.sampled_from(["steps", "sampler", "seed", "cfg_scale"]),
)
def test_no_private_word_is_ever_public(prompt, user, extension_fields, metadata, misread_field):
    record = make_record(
        parameters={"prompt": prompt, misread_field: prompt, "width": 64, **extension_fields},
        infotext=prompt,
        user=user,
        job=user,
        source_name=user,
        claimed_time=user,
        environment={user: user},
        resources=(Resource("lora", user, user, declared_hash=user, metadata={user: metadata}),),
    )
    document = {
        **record.to_json(),
        "verdict": {"level": "clean", user: user},
        "failures": [user],
        "unforeseen": {user: user},
    }
    public, openings = redact(document)
    assert "Secret" not in json.dumps(public)
    assert public["context"]["parameters"]["width"] == 64
    assert restore(public, openings) == document


@given(st.dictionaries(words, plain, max_size=4))
def test_everything_opened_is_the_whole_record(extension_fields):
    record = make_record(parameters={"prompt": "a fox", "seed": 5, **extension_fields}, user="joe")
    public, openings = redact(record.to_json())
    assert Record.from_json(restore(public, openings)) == record


def test_sealed_fields_are_named_and_empty_ones_are_not_sealed():
    public, openings = redact(make_record(parameters={"prompt": "a fox"}, user="").to_json())
    assert sealed_fields(public) == ("/context/parameters/prompt",)
    assert [read_opening(text).field for text in openings] == ["prompt"]
    assert public["context"]["user"] == ""
    assert restore(public, ())["context"]["parameters"] == {}


def test_fields_are_opened_by_name_or_pointer():
    record = make_record(parameters={"prompt": "a fox", "seed": 5, "custom": "x"}, user="joe")
    public, openings = redact(record.to_json())
    assert restore(public, disclose(public, openings, ["prompt", "prompt"]))["context"]["parameters"] == {
        "prompt": "a fox"
    }
    assert restore(public, disclose(public, openings, ["/context/user"]))["context"]["user"] == "joe"
    assert restore(public, disclose(public, openings, ["*"]))["context"]["parameters"] == {"custom": "x"}
    assert disclose(public, openings, []) == ()
    with pytest.raises(UsageError, match="colour"):
        disclose(public, openings, ["colour"])


def test_an_opening_fits_only_its_own_place():
    public, openings = redact(make_record(parameters={"prompt": "a fox", "negative_prompt": "a cat"}).to_json())
    moved = [text.replace("/context/parameters/prompt", "/context/parameters/negative_prompt") for text in openings[:1]]
    with pytest.raises(SidecarError, match="does not fit"):
        restore(public, moved)
    other, _ = redact(make_record(parameters={"prompt": "a fox"}).to_json())
    with pytest.raises(SidecarError, match="does not fit"):
        disclose(other, openings, ["prompt"])


@pytest.mark.parametrize(
    "opening",
    ["", "{}", "[]", "5", '["pg-opening-2","00","/context/user",1]', '["pg-opening-1","00",5,1]', "[" * 100_000,
     '["pg-opening-1","00","/context/resources/7/name","x"]', '["pg-opening-1","00","","x"]', '["pg-opening-1","00","/id","x"]'],
    ids=range(10),
)  # fmt: skip
def test_bad_openings_are_told(opening):
    public, _ = redact(make_record(user="joe").to_json())
    with pytest.raises(SidecarError) as caught:
        restore(public, [opening])
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/joe/in.png", "in.png"),
        ("C:\\Users\\Joe Smith\\a b.png does not exist.", "a b.png does not exist."),
        ("c:/Users/Joe/a.png", "a.png"),
        ("\\\\nas\\joe\\a.png", "a.png"),
        ('{"image": "C:\\\\Users\\\\Joe\\\\a.png"}', '{"image": "a.png"}'),
        ("screen: /home/joe smith/references does not exist.", "screen: references does not exist."),
        ("file:///home/joe/a.png", "a.png"),
        ("file:///C:/Users/joe/a.png", "a.png"),
        ("~/models/a.ckpt, (/mnt/joe/b.ckpt)", "a.ckpt, (b.ckpt)"),
        ("key:/home/joe/a", "key:a"),
        ("https://example.org/a/b.png", "https://example.org/a/b.png"),
        ("and/or 1/2, f/1.4, <lora:style/fox:1>, 3:4", "and/or 1/2, f/1.4, <lora:style/fox:1>, 3:4"),
        ("2026-11-22T10:15:30Z", "2026-11-22T10:15:30Z"),
    ],
)
def test_folders_are_taken_off_paths(text, expected):
    assert strip_folders(text) == expected


@given(st.text(max_size=300))
def test_stripping_folders_never_fails_and_is_done_at_once(text):
    once = strip_folders(text)
    assert "/home/joe/" not in strip_folders(f"/home/joe/{once}")


def test_prompts_keep_their_own_words():
    value = {"prompt": "the /old/ mill", "adetailer_prompt": "/a/b", "note": "/home/joe/a", "list": ["/home/joe/b"]}
    assert without_folders(value) == {**value, "note": "a", "list": ["b"]}


def test_names_in_records_have_no_folders():
    assert Resource("lora", "x", "/home/joe/x.safetensors").file_name == "x.safetensors"
    assert Resource("lora", "x", r"C:\joe\x.safetensors").file_name == "x.safetensors"
    assert Context("file", source_name=r"\\nas\joe\in.png").source_name == "in.png"
    assert bare_name("in.png") == "in.png"
