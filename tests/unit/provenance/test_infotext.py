from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_guard.provenance.infotext_parser import format_infotext, parse_infotext, snake_case

SAMPLES = Path(__file__).parents[2] / "golden" / "provenance" / "infotext"

# What the format itself cannot carry: see the module's first lines.
prompts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=200).filter(
    lambda text: not any(line.lstrip().startswith("Negative prompt:") for line in text.split("\n"))
)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9 /_-]{0,18}[A-Za-z0-9]", fullmatch=True)
values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1, max_size=60).filter(
    lambda text: text == text.strip() and text[:1] not in ('"', "[", "{")
)
ENOUGH = {"Steps": "20", "Sampler": "Euler a", "Seed": "1"}


def described(path: Path) -> dict:
    infotext = parse_infotext(path.read_bytes().decode("utf-8"))
    resources = [
        {name: value for name, value in dataclasses.asdict(resource).items() if value not in (None, "", {})}
        for resource in infotext.resources()
    ]
    return {**dataclasses.asdict(infotext), "parameters": infotext.parameters(), "resources": resources}


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.txt")), ids=lambda path: path.stem)
def test_samples_are_parsed_as_in_the_golden_files(path):
    expected = json.loads(path.with_suffix(".json").read_text("utf-8"))
    found = json.loads(json.dumps(described(path)))
    assert found == expected
    assert list(found["fields"]) == list(expected["fields"])


@given(prompts, prompts, st.dictionaries(names, values, max_size=6))
def test_any_prompt_and_any_fields_come_back(prompt, negative_prompt, fields):
    fields = {**ENOUGH, **{name: value for name, value in fields.items() if name != value}}
    found = parse_infotext(format_infotext(prompt, negative_prompt, fields))
    # The writer strips the ends of the whole text, so leading blanks of the prompt are lost.
    assert found.prompt == (prompt.lstrip() if prompt.strip() or negative_prompt else "")
    assert found.negative_prompt == negative_prompt
    assert dict(found.fields) == fields


@given(st.text(max_size=300))
def test_no_text_makes_it_raise(text):
    found = parse_infotext(text)
    found.parameters()
    found.resources()
    json.dumps(found.parameters())


@given(
    st.lists(
        st.sampled_from(
            ["Steps", "Size", ":", ": ", ",", '"', "\\", "\n", "{", "[", "}", "]", "20", "x", "1e999", "nan", "<lora:", ">", "a:",
             "Lora hashes: ", "Hashes: ", "Negative prompt:", "Template: ", " ", "é", "\0"]
        ),
        max_size=40,
    ).map("".join)
)  # fmt: skip
@settings(max_examples=300)
def test_no_broken_infotext_makes_it_raise(text):
    found = parse_infotext(text)
    json.dumps(found.parameters(), allow_nan=False)
    found.resources()


@pytest.mark.parametrize(
    "text",
    ["a" * 100_000, "ab:" * 50_000, 'ab: "x, ' * 20_000, "[" * 100_000, "ab: [" * 20_000, "<lora:x:1>" * 20_000, "\n" * 100_000,
     "Steps: 1\n" * 20_000],
    ids=["letters", "colons", "quotes", "brackets", "open lists", "loras", "lines", "steps"],
)  # fmt: skip
def test_long_texts_take_linear_time(text):
    started = time.process_time()
    parse_infotext(text).resources()
    assert time.process_time() - started < 3


def test_text_without_fields_is_all_prompt():
    found = parse_infotext("a cat, 35mm: f/1.4")
    assert (found.prompt, found.negative_prompt, dict(found.fields), found.tool) == ("a cat, 35mm: f/1.4", "", {}, "")
    assert parse_infotext("").prompt == ""


def test_fields_above_a_foreign_last_line_are_a_part_of_the_prompt():
    # As in the WebUI: somebody pasted a whole infotext into the prompt.
    text = "p\nSteps: 20, Sampler: Euler, Seed: 1\nthat was the old one"
    assert parse_infotext(text).prompt == text
    assert not parse_infotext(text).fields


def test_values_are_quoted_as_the_webui_quotes_them():
    text = format_infotext(
        "p", "", {"A1": "plain", "B1": "a, b", "C1": 'say "hi": now', "D1": "two\nlines", "E1": "E1"}
    )
    assert text == 'p\nA1: plain, B1: "a, b", C1: "say \\"hi\\": now", D1: "two\\nlines", E1'


def test_values_of_the_wrong_type_stay_text():
    found = parse_infotext("p\nSteps: many, Seed: 1.5, CFG scale: nan, Size: big, Clip skip: 2").parameters()
    assert found == {
        "steps": "many",
        "seed": "1.5",
        "cfg_scale": "nan",
        "size": "big",
        "clip_skip": 2,
        "prompt": "p",
        "negative_prompt": "",
    }


def test_numbers_that_no_json_can_hold_stay_text():
    found = parse_infotext(f"p\nSteps: {'9' * 5000}, Seed: -1, CFG scale: 1e999").parameters()
    assert found["steps"] == "9" * 5000
    assert (found["seed"], found["cfg_scale"]) == (-1, "1e999")


@pytest.mark.parametrize(
    ("tag", "weight"),
    [
        ("<lora:a>", 1.0),
        ("<lora:a:0.5>", 0.5),
        ("<lora:a:0.5:0.25>", 0.25),
        ("<lora:a:te=0.5:unet=0.75>", 0.75),
        ("<lora:a:te=0.5>", 0.5),
        ("<lyco:a:-1>", -1.0),
        ("<lora:a:strong>", None),
    ],
)
def test_weights_of_lora_tags(tag, weight):
    (resource,) = parse_infotext(f"a cat {tag}").resources()
    assert (resource.kind, resource.name, resource.weight) == ("lora", "a", weight)


def test_field_names_in_snake_case():
    assert snake_case("CFG scale") == "cfg_scale"
    assert snake_case("ADetailer model 2nd") == "adetailer_model_2nd"
    assert snake_case("Custom-Key/x") == "custom_key_x"
