"""What the door does with a picture that may not leave: kept for a reviewer, or tried again with another seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from provenance_guard.batch import Batch
from provenance_guard.config import Config, Policy, ScreenPolicy
from provenance_guard.guard import Guard
from provenance_guard.ledger.opening import opened_body
from provenance_guard.passage import Attempt
from provenance_guard.pictures import pixel_sha256
from provenance_guard.provenance.record import Context

CONTEXT = Context("webui.txt2img", {"prompt": "a secret castle", "seed": 7}, user="mei")


def draw(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse, "RGB").resize((112, 112), Image.Resampling.BICUBIC)


COPY, INNOCENT = draw(1), draw(2)


@pytest.fixture
def guard(tmp_path: Path):
    (tmp_path / "references").mkdir()
    draw(1).save(tmp_path / "references" / "castle.png")
    policy = Policy(
        mode="quarantine", on_error="quarantine", screen=ScreenPolicy(references=(tmp_path / "references",))
    )
    with Guard(Config(tmp_path / "data", tmp_path / "keys", policy)) as guard:
        yield guard


def test_the_original_is_kept_with_its_record_and_what_matched(guard: Guard) -> None:
    release = guard.release(COPY, CONTEXT)
    assert release.decision.action == "quarantine" and release.blocked
    assert "kept for a reviewer" in release.decision.reasons[-1]
    case = guard.quarantine.open(release.record.id)
    assert pixel_sha256(case.image) == pixel_sha256(COPY) == release.record.pixel_sha256
    assert case.evidence.startswith(b"\x89PNG")
    assert case.entry.record["context"]["parameters"]["prompt"] == "a secret castle"
    assert case.entry.record["verdict"]["level"] == "near_copy"
    event = next(guard.ledger.events(record_id=release.record.id))
    assert event.type == "picture.blocked"
    assert event.body["quarantine"] == {"file_sha256": release.kept.sha256}


@pytest.mark.parametrize("mode", ["off", "warn", "block"])
def test_other_modes_keep_nothing(guard: Guard, mode: str) -> None:
    policy = Policy(mode=mode, screen=guard.config.policy.screen)
    assert guard.release(COPY, CONTEXT, policy=policy).kept is None
    assert guard.quarantine.entries() == []


def test_retry_then_quarantine(guard: Guard) -> None:
    first = guard.release(COPY, CONTEXT, attempt=Attempt(more=True))
    assert first.decision.action == "retry" and first.blocked and first.kept is None
    second = guard.release(COPY, CONTEXT, attempt=Attempt(2, more=True, first=first.record.id))
    last = guard.release(COPY, CONTEXT, attempt=Attempt(3, first=first.record.id))
    assert (second.decision.action, last.decision.action) == ("retry", "quarantine")
    tries = [opened_body(event) for event in guard.ledger.events(type="picture.blocked")]
    assert [body["attempt"] for body in tries] == [
        {"number": 1, "first": None},
        {"number": 2, "first": first.record.id},
        {"number": 3, "first": first.record.id},
    ]
    assert [entry.record_id for entry in guard.quarantine.entries()] == [last.record.id]


@pytest.mark.parametrize(("mode", "action"), [("warn", "warn"), ("block", "block"), ("quarantine", "quarantine")])
def test_retry_then_whatever_the_mode_says(guard: Guard, mode: str, action: str) -> None:
    policy = Policy(mode=mode, screen=guard.config.policy.screen)
    assert guard.release(COPY, CONTEXT, policy=policy, attempt=Attempt(more=True)).decision.action == "retry"
    assert guard.release(COPY, CONTEXT, policy=policy, attempt=Attempt(2)).decision.action == action


def test_a_try_that_succeeds_is_linked_to_the_first(guard: Guard) -> None:
    first = guard.release(COPY, CONTEXT, attempt=Attempt(more=True))
    second = guard.release(INNOCENT, CONTEXT, attempt=Attempt(2, first=first.record.id))
    assert second.decision.action == "allow"
    event = next(guard.ledger.events(record_id=second.record.id))
    assert event.body["attempt"] == {"number": 2, "first": first.record.id}


def test_a_first_try_that_succeeds_is_nothing_special(guard: Guard) -> None:
    release = guard.release(INNOCENT, CONTEXT, attempt=Attempt(more=True))
    assert "attempt" not in next(guard.ledger.events(record_id=release.record.id)).body


def test_the_command_line_keeps_what_it_withholds(guard: Guard, tmp_path: Path) -> None:
    COPY.save(tmp_path / "copy.png")
    outcome = Batch(guard, tmp_path / "out").guard_file(tmp_path / "copy.png")
    assert (outcome.outcome, outcome.output) == ("blocked", None)
    assert outcome.to_json()["kept"] is True and outcome.to_json()["decision"]["action"] == "quarantine"
    assert [entry.record_id for entry in guard.quarantine.entries()] == [outcome.release.record.id]
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
