"""Reviewers: nothing leaves without a name, a reason and a ledger entry, and nothing is lost when something breaks."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from provenance_guard import files, labels
from provenance_guard.config import Config, Policy, ScreenPolicy
from provenance_guard.errors import GuardError, KeyMissingError, LedgerError, OutputError, QuarantineError, UsageError
from provenance_guard.gate import quarantine as quarantine_module
from provenance_guard.guard import Guard
from provenance_guard.ledger import Ledger, events, verify_ledger
from provenance_guard.ledger.opening import opened_body
from provenance_guard.provenance.record import Context
from provenance_guard.review.releasing import destroy_picture, open_case, release_picture
from provenance_guard.review.verification import verify_picture
from provenance_guard.watermark import Payload, Watermarker

CONTEXT = Context("webui.txt2img", {"prompt": "a secret castle", "seed": 7}, user="mei", source_name="castle.png")
WHO = {"reviewer": "Ada Reviewer", "reason": "our own plate, licensed"}


def draw(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse, "RGB").resize((256, 256), Image.Resampling.BICUBIC)


def open_guard(home: Path) -> Guard:
    policy = Policy(mode="quarantine", on_error="block", screen=ScreenPolicy(references=(home / "references",)))
    return Guard(Config(home / "data", home / "keys", policy))


@pytest.fixture
def guard(tmp_path: Path):
    (tmp_path / "references").mkdir()
    draw(1).save(tmp_path / "references" / "castle.png")
    with open_guard(tmp_path) as guard:
        yield guard


@pytest.fixture
def kept(guard: Guard) -> str:
    return guard.release(draw(1), CONTEXT).record.id


def test_a_released_picture_is_marked_labelled_sealed_and_told(guard: Guard, kept: str, tmp_path: Path) -> None:
    freed = release_picture(guard, kept[:8], **WHO, folder=tmp_path / "out")
    assert freed.path == tmp_path / "out" / "castle.png"
    record_id = freed.release.record.id
    assert record_id != kept and freed.record_id == kept
    image = Image.open(freed.path)
    detection = guard.watermarker.detect(image)
    assert detection and Payload.unpack(detection.payload).record_id_prefix == record_id[:14]
    assert labels.read_labels(freed.path).record_id == record_id
    findings = {finding.subject: finding.verdict for finding in verify_picture(freed.path, guard).findings}
    assert "fails" not in findings.values() and findings["content"] == "holds"
    assert guard.quarantine.entries() == []
    told = [event for event in guard.ledger.events(record_id=kept) if event.type == events.QUARANTINE_RELEASED]
    assert [opened_body(event) for event in told] == [{"released_as": record_id, **WHO}]
    assert b"Ada" not in told[0].stored and b"licensed" not in told[0].stored
    record = opened_body(next(guard.ledger.events(record_id=record_id)))["record"]
    assert record["decision"]["action"] == "warn"
    assert WHO["reviewer"] in record["decision"]["reasons"][0] and WHO["reason"] in record["decision"]["reasons"][0]
    assert record["verdict"]["level"] == "near_copy"
    assert record["context"]["parameters"]["prompt"] == "a secret castle"
    saved, released = (
        next(event.seq for event in guard.ledger.events(type=kind))
        for kind in (events.PICTURE_SAVED, events.QUARANTINE_RELEASED)
    )
    assert released < saved, "the decision is in the ledger before a pixel leaves"


@pytest.mark.parametrize("who", [{"reviewer": "", "reason": "x"}, {"reviewer": "x", "reason": " \n"}])
def test_no_decision_without_name_and_reason(guard: Guard, kept: str, who: dict[str, str]) -> None:
    for decide in (release_picture, destroy_picture):
        with pytest.raises(UsageError, match="name and a reason"):
            decide(guard, kept, **who)
    assert [entry.record_id for entry in guard.quarantine.entries()] == [kept]
    assert not list(guard.ledger.events(type=events.QUARANTINE_DESTROYED))


def test_a_destroyed_picture_is_gone_and_the_ledger_says_by_whom(guard: Guard, kept: str) -> None:
    assert destroy_picture(guard, kept[:10], **WHO) == kept
    assert guard.quarantine.entries() == []
    (event,) = guard.ledger.events(type=events.QUARANTINE_DESTROYED)
    assert event.record_id == kept and opened_body(event) == WHO
    with pytest.raises(QuarantineError, match=r"Destroyed at .* by Ada Reviewer: our own plate"):
        release_picture(guard, kept, **WHO)


def test_what_was_released_cannot_be_decided_again(guard: Guard, kept: str) -> None:
    release_picture(guard, kept, **WHO)
    for decide in (release_picture, destroy_picture):
        with pytest.raises(QuarantineError, match=r"Released at .* by Ada Reviewer"):
            decide(guard, kept, reviewer="Bob", reason="me too")


def test_of_two_reviewers_one_wins(guard: Guard, kept: str, tmp_path: Path) -> None:
    start, won, lost = threading.Barrier(4), [], []

    def decide(number: int) -> None:
        with open_guard(tmp_path) as own:
            start.wait()
            try:
                who = {"reviewer": f"reviewer {number}", "reason": "because"}
                own_folder = tmp_path / str(number)
                won.append(
                    release_picture(own, kept, **who, folder=own_folder)
                    if number % 2
                    else destroy_picture(own, kept, **who)
                )
            except GuardError as error:
                lost.append(str(error))

    threads = [threading.Thread(target=decide, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and len(lost) == 3
    assert all("by reviewer" in reason for reason in lost), lost
    decided = [event for event in guard.ledger.events(record_id=kept) if event.type.startswith("quarantine.")]
    assert len(decided) == 1
    assert verify_ledger(guard.config.ledger_path).sound


def test_a_lost_key_leaves_only_destroying(guard: Guard, kept: str) -> None:
    (guard.config.key_directory / "quarantine-1.key").unlink()
    with pytest.raises(KeyMissingError):
        release_picture(guard, kept, **WHO)
    assert destroy_picture(guard, kept, **WHO) == kept


def test_a_damaged_container_leaves_only_destroying(guard: Guard, kept: str) -> None:
    path = guard.quarantine.folder / f"{kept}.kept"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(QuarantineError, match="damaged"):
        release_picture(guard, kept, **WHO)
    assert destroy_picture(guard, kept, **WHO) == kept


def failing(error: Exception):
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_what_cannot_be_recorded_is_not_released(
    guard: Guard, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard.signer.sign(b"")
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", failing(LedgerError("The ledger is locked.", next_step="Wait.")))
        with pytest.raises(QuarantineError, match="still kept"):
            release_picture(guard, kept, **WHO, folder=tmp_path / "out")
        with pytest.raises(LedgerError):
            destroy_picture(guard, kept, **WHO)
    assert not (tmp_path / "out").exists()
    assert [entry.record_id for entry in guard.quarantine.entries()] == [kept]


@pytest.mark.parametrize("step", ["save", "seal"])
def test_a_release_that_is_cut_short_can_be_made_again(
    guard: Guard, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with monkeypatch.context() as patch:
        if step == "save":
            patch.setattr(files, "_flush_to_disk", failing(OSError(28, "No space left on device")))
        else:
            patch.setattr(labels, "write_labels", failing(OSError(28, "No space left on device")))
        with pytest.raises(OutputError if step == "save" else QuarantineError):
            release_picture(guard, kept, **WHO, folder=tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    assert [entry.record_id for entry in guard.quarantine.entries()] == [kept]
    assert release_picture(guard, kept, **WHO, folder=tmp_path / "out").path.exists()


@pytest.mark.parametrize("step", ["mark", "record"])
def test_a_release_that_fails_keeps_one_original_and_not_two(
    guard: Guard, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    policy = dataclasses.replace(guard.config.policy, on_error="quarantine")
    owner, name = (Watermarker, "embed_measured") if step == "mark" else (Ledger, "append")
    with Guard(dataclasses.replace(guard.config, policy=policy)) as keeping, monkeypatch.context() as patch:
        patch.setattr(owner, name, failing(MemoryError()))
        with pytest.raises(QuarantineError, match="still kept"):
            release_picture(keeping, kept, **WHO, folder=tmp_path / "out")
    assert [entry.record_id for entry in guard.quarantine.entries()] == [kept]
    assert not (tmp_path / "out").exists()


def test_a_name_that_is_taken_is_not_overwritten(guard: Guard, kept: str, tmp_path: Path) -> None:
    (tmp_path / "castle.png").write_bytes(b"mine")
    freed = release_picture(guard, kept, **WHO, folder=tmp_path)
    assert (tmp_path / "castle.png").read_bytes() == b"mine"
    assert freed.path.exists() and freed.path.name != "castle.png"


def test_looking_changes_nothing(guard: Guard, kept: str) -> None:
    size = guard.ledger.size
    case = open_case(guard, kept[:6])
    assert case.evidence.startswith(b"\x89PNG") and case.image.size == (256, 256)
    assert guard.ledger.size == size and len(guard.quarantine.entries()) == 1
    assert quarantine_module.SUFFIX == ".kept"
