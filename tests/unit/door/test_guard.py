from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from provenance_guard import labels, pictures
from provenance_guard.config import Config, LabelPolicy, MarkPolicy, Policy, ScreenPolicy, Settings
from provenance_guard.guard import Guard, Release
from provenance_guard.ledger import events, verify_ledger
from provenance_guard.ledger.opening import opened_body
from provenance_guard.provenance.record import Context
from provenance_guard.provenance.sidecar import read_sidecar
from provenance_guard.review.records import find_release
from provenance_guard.review.verification import verify_picture
from provenance_guard.watermark import Payload

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
INNOCENT = EXAMPLES / "generated" / "00001-2087351147.png"
REFERENCE = EXAMPLES / "references" / "potter-mr-jackson.jpg"
CONTEXT = Context(
    "webui.txt2img",
    {"prompt": "a secret castle", "negative_prompt": "rain", "seed": 4294967295, "steps": 20},
    user="mei",
    source_name="/home/mei/pictures/castle.png",
)


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One reference, so that its library is quick to make."""
    folder = tmp_path_factory.mktemp("references")
    (folder / REFERENCE.name).write_bytes(REFERENCE.read_bytes())
    return folder


@pytest.fixture
def innocent() -> Image.Image:
    return pictures.open_picture(INNOCENT).image.resize((320, 320))


@pytest.fixture
def near_copy() -> Image.Image:
    return pictures.open_picture(REFERENCE).image.resize((320, 320))


def config_for(
    tmp_path: Path, references: Path, mode: str = "block", on_error: str = "block", **more: object
) -> Config:
    policy = Policy(mode=mode, on_error=on_error, screen=ScreenPolicy(references=(references,)), **more)  # type: ignore[arg-type]
    return Config(tmp_path / "data", tmp_path / "keys", policy)


def save_and_seal(guard: Guard, release: Release, path: Path) -> Path:
    release.image.save(path)
    sealed = guard.seal(release, path)
    assert sealed.failures == ()
    return path


def test_an_innocent_picture_leaves_marked_recorded_labelled_and_sealed(tmp_path, references, innocent):
    with Guard(config_for(tmp_path, references)) as guard:
        release = guard.release(innocent, CONTEXT)
        assert (release.decision.action, release.failures, release.blocked) == ("allow", (), False)
        assert release.image.size == innocent.size
        assert ImageChops.difference(release.image, innocent).getbbox(), "the mark must be in the pixels"
        path = save_and_seal(guard, release, tmp_path / "out.png")
        detection = guard.watermarker.detect(Image.open(path))
        assert detection and Payload.unpack(detection.payload).record_id_prefix == release.record.id[:14]
        assert labels.read_labels(path).record_id == release.record.id
        findings = {finding.subject: finding.verdict for finding in verify_picture(path, guard).findings}
    alone = dict.fromkeys(("time", "independence"), "unknown")  # nobody outside has seen it
    assert findings == dict.fromkeys(("content", "record", "chain", "identity", "labels", "mark"), "holds") | alone
    report = verify_ledger(tmp_path / "data" / "ledger.sqlite3")
    assert report.sound


def test_the_record_survives_the_ledger_with_every_private_field(tmp_path, references, innocent):
    with Guard(config_for(tmp_path, references)) as guard:
        release = guard.release(innocent, CONTEXT)
        event = find_release(guard.ledger, release.record.id)
        record = opened_body(event)["record"]
    assert record["context"]["parameters"] == dict(CONTEXT.parameters)
    assert record["context"]["user"] == "mei"
    assert record["context"]["source_name"] == "castle.png"


def test_what_is_hashed_and_what_is_public_holds_no_private_text(tmp_path, references, innocent):
    with Guard(config_for(tmp_path, references)) as guard:
        guard.admit(CONTEXT)
        release = guard.release(innocent, CONTEXT)
        path = save_and_seal(guard, release, tmp_path / "out.png")
        stored = b"".join(event.stored for event in guard.ledger.events())
        sidecar = path.with_name("out.png.prov.json").read_bytes()
    assert b"a secret castle" not in stored and b"mei" not in stored
    assert b"a secret castle" not in path.read_bytes()
    assert str(tmp_path).encode() not in stored
    assert str(tmp_path) not in json.dumps(dict(read_sidecar(path.with_name("out.png.prov.json")).predicate))
    assert str(tmp_path).encode() not in sidecar


def test_a_tensor_on_its_way_from_the_model_passes_too(tmp_path, references, innocent):
    with Guard(config_for(tmp_path, references)) as guard:
        release = guard.release(pictures.to_tensor(innocent), CONTEXT)
        assert release.failures == () and release.image.size == innocent.size
        assert guard.watermarker.detect(release.image) is not None


def test_a_file_that_can_carry_no_label_is_told_so(tmp_path, references, innocent):
    with Guard(config_for(tmp_path, references)) as guard:
        release = guard.release(innocent, CONTEXT)
        release.image.save(tmp_path / "out.bmp")
        sealed = guard.seal(release, tmp_path / "out.bmp")
        saved = next(guard.ledger.events(type=events.PICTURE_SAVED))
    assert not sealed.labelled and sealed.notes and not sealed.withheld
    assert saved.body["label"]["written"] is False


def test_a_near_copy_is_withheld_and_leaves_no_pixel(tmp_path, references, near_copy):
    with Guard(config_for(tmp_path, references)) as guard:
        release = guard.release(near_copy, CONTEXT)
        kinds = [event.type for event in guard.ledger.events(record_id=release.record.id)]
        sealed = guard.seal(release, tmp_path / "placeholder.png")
    assert release.blocked and release.verdict.level == "near_copy"
    assert release.image.size == near_copy.size
    assert "potter-mr-jackson.jpg" in release.decision.reasons[0]
    assert kinds == [events.PICTURE_BLOCKED]
    assert sealed.event is None and not sealed.labelled
    with Guard(config_for(tmp_path / "other", references)) as guard:
        verdict = guard.screen(release.image)
    assert verdict.level == "clean", "the placeholder must not resemble what it hides"


def test_in_warn_mode_a_near_copy_leaves_with_a_warning(tmp_path, references, near_copy):
    with Guard(config_for(tmp_path, references, mode="warn")) as guard:
        release = guard.release(near_copy, CONTEXT)
    assert release.decision.action == "warn" and not release.blocked
    assert release.record.mark["present"]


def test_a_job_can_narrow_the_policy(tmp_path, references, near_copy):
    config = config_for(tmp_path, references, mode="warn")
    with Guard(config) as guard:
        assert guard.release(near_copy, CONTEXT, policy=config.policy.narrow(mode="block")).blocked
        assert guard.release(near_copy, CONTEXT, policy=config.policy.narrow(mode="off")).verdict is not None


def test_switched_off_pictures_are_still_marked_and_recorded(tmp_path, references, near_copy):
    with Guard(config_for(tmp_path, references, mode="off")) as guard:
        release = guard.release(near_copy, CONTEXT)
        assert release.verdict is None and not release.blocked
        assert find_release(guard.ledger, release.record.id) is not None
    assert not (tmp_path / "data" / "library").exists()


@pytest.mark.parametrize(("on_error", "blocked"), [("block", True), ("warn", False)])
def test_a_vanished_reference_folder_ends_in_on_error(tmp_path, innocent, on_error, blocked):
    with Guard(config_for(tmp_path, tmp_path / "gone", on_error=on_error)) as guard:
        release = guard.release(innocent, CONTEXT)
        recorded = find_release(guard.ledger, release.record.id)
    assert release.blocked is blocked
    assert any("gone" in failure for failure in release.failures)
    assert recorded.type == (events.PICTURE_BLOCKED if blocked else events.PICTURE_RELEASED)


@pytest.mark.parametrize(("on_error", "blocked"), [("block", True), ("warn", False)])
def test_a_corrupt_ledger_ends_in_on_error(tmp_path, references, innocent, on_error, blocked):
    with Guard(config_for(tmp_path, references)) as guard:
        guard.release(innocent, CONTEXT)
    (tmp_path / "data" / "ledger.sqlite3").write_bytes(b"this is not a database" * 400)
    with Guard(config_for(tmp_path, references, on_error=on_error)) as guard:
        release = guard.release(innocent, CONTEXT)
    assert release.blocked is blocked
    assert release.event is None
    assert any(failure.startswith("record:") for failure in release.failures)


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("screen", RuntimeError("CUDA error")),
        ("mark", MemoryError()),
        ("record", OSError(28, "No space left on device")),
    ],
)
def test_any_exception_in_any_step_ends_in_on_error(tmp_path, references, innocent, monkeypatch, step, error):
    def fail(*_: object, **__: object) -> None:
        raise error

    with Guard(config_for(tmp_path, references)) as guard:
        guard.release(innocent, CONTEXT)
        target, name = {
            "screen": (guard.library, "screen"),
            "mark": (guard.watermarker, "embed_measured"),
            "record": (guard.ledger, "append"),
        }[step]
        monkeypatch.setattr(target, name, fail)
        release = guard.release(innocent, CONTEXT)
        assert release.blocked
        assert release.failures and release.failures[0].startswith(f"{step}: {type(error).__name__}")
        monkeypatch.undo()
        assert not guard.release(innocent, CONTEXT).blocked, "the next picture must pass again"


def test_a_key_that_is_gone_is_never_replaced_silently(tmp_path, references, innocent):
    with Guard(config_for(tmp_path, references)) as guard:
        guard.release(innocent, CONTEXT)
    for key in (tmp_path / "keys").iterdir():
        key.unlink()
    with Guard(config_for(tmp_path, references)) as guard:
        release = guard.release(innocent, CONTEXT)
    assert release.blocked
    assert any("Restore the keys" in failure for failure in release.failures)
    assert not any((tmp_path / "keys").iterdir())


def test_sealing_that_fails_withholds_the_file_when_the_policy_says_so(tmp_path, references, innocent, monkeypatch):
    with Guard(config_for(tmp_path, references)) as guard:
        release = guard.release(innocent, CONTEXT)
        path = tmp_path / "out.png"
        release.image.save(path)
        monkeypatch.setattr(labels, "write_labels", lambda *_: (_ for _ in ()).throw(OSError("disk trouble")))
        sealed = guard.seal(release, path)
    assert sealed.withheld and not path.exists()
    assert not path.with_name("out.png.prov.json").exists()


def test_a_picture_too_small_for_the_mark_is_told_so(tmp_path, references):
    with Guard(config_for(tmp_path, references)) as guard:
        release = guard.release(Image.new("RGB", (40, 40), (120, 30, 200)), CONTEXT)
    assert not release.blocked
    assert release.record.mark["present"] is False and release.record.mark["reason"]


def test_mark_and_label_can_be_switched_off_by_the_policy(tmp_path, references, innocent):
    off = {"mark": MarkPolicy(enabled=False), "label": LabelPolicy(enabled=False)}
    with Guard(config_for(tmp_path, references, **off)) as guard:
        release = guard.release(innocent, CONTEXT)
        path = save_and_seal(guard, release, tmp_path / "out.png")
        assert guard.watermarker.detect(release.image) is None
    assert release.record.mark is None
    assert labels.read_labels(path) is None


def test_without_sidecar_when_the_user_wants_none(tmp_path, references, innocent):
    config = config_for(tmp_path, references)
    quiet = Config(config.data_directory, config.key_directory, config.policy, Settings(sidecar=False))
    with Guard(quiet) as guard:
        release = guard.release(innocent, CONTEXT)
        release.image.save(tmp_path / "out.png")
        sealed = guard.seal(release, tmp_path / "out.png")
    assert sealed.sidecar is None and sealed.event is not None


def test_the_configured_user_stands_in_where_the_caller_knows_none(tmp_path, references, innocent):
    config = config_for(tmp_path, references)
    named = Config(config.data_directory, config.key_directory, config.policy, Settings(user="studio seat 4"))
    with Guard(named) as guard:
        users = [guard.release(innocent, context).record.context.user for context in (CONTEXT, Context("file"))]
    assert users == ["mei", "studio seat 4"]


def test_a_queued_run_is_remembered_with_its_seed(tmp_path, references):
    with Guard(config_for(tmp_path, references)) as guard:
        admission = guard.admit(CONTEXT)
        assert admission.failures == ()
        body = opened_body(next(guard.ledger.events(type=events.RUN_QUEUED)))
    assert body["context"]["parameters"]["seed"] == 4294967295


def test_two_guards_on_one_data_directory_keep_one_chain(tmp_path, references, innocent):
    config = config_for(tmp_path, references)
    with Guard(config) as first, Guard(config) as second:
        for guard in (first, second, first, second):
            assert guard.release(innocent, CONTEXT).failures == ()
    assert verify_ledger(tmp_path / "data" / "ledger.sqlite3").sound


def test_img2img_of_an_own_picture_is_no_composite_of_a_photograph(tmp_path, references, innocent):
    with Guard(config_for(tmp_path, references)) as guard:
        first = guard.release(innocent, CONTEXT)
        said = []
        for parent in (guard.find_parent("init_image", first.image), guard.find_parent("init_image", innocent)):
            release = guard.release(innocent, Context("webui.img2img", {"seed": 1}, parents=(parent,)))
            path = save_and_seal(guard, release, tmp_path / "out.png")
            said.append(labels.read_labels(path).source_type.value)
    assert said == ["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"]


def test_a_lossy_file_with_new_metadata_still_has_the_sealed_pixels(tmp_path, references, innocent):
    with Guard(config_for(tmp_path, references)) as guard:
        release = guard.release(innocent, CONTEXT)
        path = save_and_seal(guard, release, tmp_path / "out.jpg")
        path.write_bytes(path.read_bytes()[:2] + b"\xff\xfe\x00\x07hello" + path.read_bytes()[2:])  # a JPEG comment
        findings = {finding.subject: finding for finding in verify_picture(path, guard).findings}
    assert findings["content"].verdict == "holds" and "rewritten" in findings["content"].sentence


def test_verification_finds_a_changed_record_in_the_ledger(tmp_path, references, innocent):
    with Guard(config_for(tmp_path, references)) as guard:
        release = guard.release(innocent, CONTEXT)
        path = save_and_seal(guard, release, tmp_path / "out.png")
    with sqlite3.connect(tmp_path / "data" / "ledger.sqlite3") as connection:
        connection.execute(
            "UPDATE event SET bytes = replace(bytes, 'webui.txt2img', 'webui.img2img') WHERE record_id IS NOT NULL"
        )
    connection.close()
    with Guard(config_for(tmp_path, references)) as guard:
        findings = {finding.subject: finding.verdict for finding in verify_picture(path, guard).findings}
    assert findings["record"] == "fails"
