from __future__ import annotations

import pytest

from provenance_guard.provenance import compare, parse_infotext

SAME = [
    ({"cfg_scale": 7}, {"cfg_scale": 7.0}),
    ({"cfg_scale": "7"}, {"cfg_scale": 7.0}),
    ({"denoising_strength": 0.7}, {"denoising_strength": 0.699999988}),
    ({"denoising_strength": "0.70"}, {"denoising_strength": 0.7}),
    ({"seed": 18446744073709551615}, {"seed": "18446744073709551615"}),
    ({"sampler": "DPM++ 2M Karras"}, {"sampler": "DPM++ 2M", "schedule_type": "Karras"}),
    ({"sampler": "DPM++ 2M Karras", "schedule_type": "Automatic"}, {"sampler": "dpm++ 2m", "schedule_type": "karras"}),
    ({"sampler": "DPM++ 2M Karras", "schedule_type": "Karras"}, {"sampler": "DPM++ 2M", "schedule_type": "Karras"}),
    ({"sampler": "Euler a"}, {"sampler": "euler_a", "schedule_type": "Automatic"}),
    ({"prompt": "a fox\r\nin snow "}, {"prompt": "a fox\nin snow"}),
    ({}, {}),
    ({"tiling": True}, {"tiling": "True"}),
]

DIFFERENT = [
    ({"seed": 18446744073709551615}, {"seed": 18446744073709551614}, "seed"),
    ({"steps": 20}, {"steps": 21}, "steps"),
    ({"cfg_scale": 7.0}, {"cfg_scale": 7.001}, "cfg_scale"),
    ({"width": 512}, {}, "width"),
    ({"sampler": "Euler"}, {"sampler": "Euler a"}, "sampler"),
    ({"sampler": "DPM++ 2M Karras"}, {"sampler": "DPM++ 2M", "schedule_type": "Exponential"}, "schedule_type"),
    ({"sampler": "DPM++ 2M Karras"}, {"sampler": "DPM++ 2M"}, "schedule_type"),
    ({"prompt": "a fox"}, {"prompt": "A fox"}, "prompt"),
    ({"tiling": True}, {"tiling": 1}, "tiling"),
    ({"clip_skip": "2x"}, {"clip_skip": 2}, "clip_skip"),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_the_same_in_other_words(left, right):
    assert compare(left, right) == compare(right, left) == ()


@pytest.mark.parametrize(("left", "right", "name"), DIFFERENT)
def test_real_differences_are_named(left, right, name):
    assert [one.name for one in compare(left, right)] == [name]
    assert [one.name for one in compare(right, left)] == [name]


def test_a_difference_tells_both_values():
    (difference,) = compare({"seed": 1, "steps": 20}, {"steps": 20})
    assert (difference.name, difference.left, difference.right) == ("seed", 1, None)


def test_two_infotexts_of_different_programs():
    old = parse_infotext("a fox\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 5, Size: 64x64")
    new = parse_infotext(
        "a fox\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.0, Seed: 6, Size: 64x64"
    )
    assert [one.name for one in compare(old.parameters(), new.parameters())] == ["seed"]
