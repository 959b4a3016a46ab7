"""The reviewer's panel: who may look, what is shown, and what a decision does."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from provenance_guard.config import Config, Policy, QuarantinePolicy, ScreenPolicy
from provenance_guard.guard import Guard
from provenance_guard.provenance.record import Context
from provenance_guard.ui.quarantine import Visitor, decide, show_case, show_list

CONTEXT = Context("webui.txt2img", {"prompt": "a <b>secret</b> castle", "seed": 7}, user="mei")
NOTICE = "[folder]\nauthor = 'A. <i>Mason</i>'\n[pictures.'castle.png']\ntitle = 'The castle'\nlicence = 'all rights reserved'\n"
ALONE, ADA, EVE, NOBODY = Visitor("", False), Visitor("ada", True), Visitor("eve", True), Visitor("", True)


def draw(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse, "RGB").resize((256, 256), Image.Resampling.BICUBIC)


@pytest.fixture
def guard(tmp_path: Path):
    (tmp_path / "references").mkdir()
    draw(1).save(tmp_path / "references" / "castle.png")
    (tmp_path / "references" / "references.toml").write_text(NOTICE, "utf-8")
    policy = Policy(
        mode="quarantine",
        on_error="quarantine",
        screen=ScreenPolicy(references=(tmp_path / "references",)),
        quarantine=QuarantinePolicy(reviewers=("ada",)),
        source=tmp_path / "policy.toml",
    )
    with Guard(Config(tmp_path / "data", tmp_path / "keys", policy)) as guard:
        yield guard


@pytest.fixture
def kept(guard: Guard) -> str:
    return guard.release(draw(1), CONTEXT).record.id


def pictures_in(html: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in found]


@pytest.mark.parametrize("visitor", [ALONE, ADA])
def test_a_reviewer_sees_what_is_kept(guard: Guard, kept: str, visitor: Visitor) -> None:
    listing = show_list(lambda: guard, visitor)
    assert kept in listing and "Near copy of castle.png" in listing and "1 picture waiting" in listing
    case = show_case(lambda: guard, visitor, kept[:8])
    original, evidence = pictures_in(case)
    difference = np.abs(np.asarray(original, float) - np.asarray(draw(1), float)).mean()
    assert original.size == (256, 256) and difference < 8 and evidence.width == 996
    assert "&lt;b&gt;secret&lt;/b&gt;" in case and "<b>" not in case and "mei" in case
    assert "The castle, A. &lt;i&gt;Mason&lt;/i&gt;; licence: all rights reserved" in case
    assert "file=" not in case and str(guard.config.data_directory) not in case


@pytest.mark.parametrize("visitor", [EVE, NOBODY])
def test_nobody_else_sees_or_decides_anything(guard: Guard, kept: str, visitor: Visitor) -> None:
    for html in (show_list(lambda: guard, visitor), show_case(lambda: guard, visitor, kept)):
        assert "reviewers only" in html and kept not in html and pictures_in(html) == []
    for release in (True, False):
        outcome, listing, case = decide(lambda: guard, visitor, kept, "ada", "let me", release=release)
        assert "reviewers only" in outcome and kept not in listing and pictures_in(case) == []
    assert [entry.record_id for entry in guard.quarantine.entries()] == [kept]


def test_without_a_policy_file_there_is_nobody_to_keep_them_from(guard: Guard, kept: str) -> None:
    own = Guard(dataclasses.replace(guard.config, policy=dataclasses.replace(guard.config.policy, source=None)))
    assert kept in show_list(lambda: own, NOBODY)


def test_a_release_takes_the_name_of_the_login(guard: Guard, kept: str) -> None:
    outcome, listing, case = decide(lambda: guard, ADA, kept, "somebody else", "licensed", release=True)
    assert "Released as" in outcome and "No picture is kept" in listing and case == ""
    (released,) = (guard.config.data_directory / "released").glob("*.png")
    assert guard.watermarker.detect(Image.open(released)) is not None
    assert "by ada: licensed" in show_case(lambda: guard, ADA, kept)


def test_a_decision_without_a_reason_changes_nothing(guard: Guard, kept: str) -> None:
    outcome, listing, case = decide(lambda: guard, ALONE, kept, "Ada", " ", release=True)
    assert "needs the reviewer&#x27;s name and a reason" in outcome
    assert kept in listing and len(pictures_in(case)) == 2


def test_destroying(guard: Guard, kept: str) -> None:
    outcome, listing, _ = decide(lambda: guard, ALONE, kept, "Ada", "no licence", release=False)
    assert "Destroyed" in outcome and "No picture is kept" in listing


def test_broken_things_are_told(guard: Guard, kept: str) -> None:
    (guard.config.key_directory / "quarantine-1.key").unlink()
    assert "not in the key folder" in show_list(lambda: guard, ALONE)
    assert "not in the key folder" in show_case(lambda: guard, ALONE, kept)
    assert "No picture" in show_case(lambda: guard, ALONE, "ffff")
    assert show_case(lambda: guard, ALONE, " ") == ""

    def fail() -> Guard:
        raise ZeroDivisionError("boom")

    assert "ZeroDivisionError" in show_list(fail, ALONE)
