"""Pictures of the Extras tab and API pass the same door."""

from __future__ import annotations

import sys

import pytest
from PIL import Image

from provenance_guard.labels import read_labels
from provenance_guard.pictures import pixel_sha256

NAME = "Provenance Guard"


@pytest.fixture
def picture(host):
    """A generated picture as it comes back with its text chunks."""
    processed = host.generate(host.txt2img())
    image = processed.images[0].copy()
    image.info = {"parameters": processed.infotexts[0]}
    return image


def extras(host, image, *, enabled=None, save_output=True):
    (result,) = host.modules.postprocessing.run_postprocessing(
        image, {NAME: {"enabled": enabled}}, folder=str(host.outputs), save_output=save_output
    )
    host.flush()
    return result


def last_record(host):
    return host.ledger_events()[-1].record_id


@pytest.mark.parametrize("save_output", [True, False])
def test_extras_pictures_are_marked_and_recorded(host, picture, save_output):
    parent = picture.info["parameters"].split("Provenance id: ")[1][:32]
    result = extras(host, picture, save_output=save_output)
    released = [event for event in host.ledger_events() if event.type == "picture.released"]
    assert len(released) == 2
    (found,) = released[1].body["record"]["context"]["parents"]
    assert (found["role"], found["record_id"], found["found_by"]) == ("extras_input", parent, "pixels")
    assert pixel_sha256(result) == released[1].body["record"]["pixel_sha256"] != pixel_sha256(picture)
    assert f"Provenance id: {released[1].record_id}" in result.info["postprocessing"]


def test_the_saved_file_is_sealed_with_the_new_id(host, picture):
    extras(host, picture)
    labels = read_labels(host.outputs / "extras.png")
    assert labels.record_id == last_record(host)
    assert labels.record_id not in picture.info["parameters"]


def test_an_uploaded_photograph_is_not_called_generated(host):
    extras(host, host.modules.processing.draw(77, (256, 256)))
    assert not read_labels(host.outputs / "extras.png").source_type.says_generated


def test_transparency_stays(host, picture):
    picture.putalpha(100)
    result = extras(host, picture)
    assert result.mode == "RGBA"
    assert result.getextrema()[3] == (100, 100)


def test_a_near_copy_is_withheld(host, picture, tmp_path):
    folder = tmp_path / "references"
    folder.mkdir()
    host.modules.processing.draw(5, (256, 256)).save(folder / "known.png")
    host.set_options(mode="block", references=str(folder))
    result = extras(host, picture)
    assert "known.png" in result.info["postprocessing"]
    assert len(result.convert("RGB").getcolors(65536)) < 2000
    assert pixel_sha256(Image.open(host.outputs / "extras.png")) == pixel_sha256(result)


def test_none_means_the_default_and_false_switches_off(host, picture):
    assert pixel_sha256(extras(host, picture.copy(), enabled=False)) == pixel_sha256(picture)
    assert pixel_sha256(extras(host, picture.copy(), enabled=None)) != pixel_sha256(picture)


def test_a_policy_file_cannot_be_switched_off(host, picture, tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text('mode = "warn"\n', "utf-8")
    host.modules.shared.cmd_opts.provenance_policy = policy
    assert pixel_sha256(extras(host, picture.copy(), enabled=False)) != pixel_sha256(picture)


@pytest.mark.parametrize("mode", ["warn", "block"])
def test_a_failure_never_reaches_the_host(host, mode, monkeypatch):
    host.set_options(mode=mode)
    picture = host.modules.processing.draw(77, (256, 256))
    monkeypatch.delitem(sys.modules, "provenance_guard.guard", raising=False)
    monkeypatch.setitem(sys.modules, "provenance_guard.guard", None)
    result = extras(host, picture.copy())
    assert (pixel_sha256(result) == pixel_sha256(picture)) is (mode == "warn")
    assert "could not be guarded" in result.info["postprocessing"]


def test_the_step_stands_aside_in_txt2img(host, picture):
    """The option "enable in main UI" calls ``process`` alone; the picture passes the door later."""
    from modules.scripts_postprocessing import PostprocessedImage

    (step,) = host.modules.scripts.postprocessing_scripts_data
    pp = PostprocessedImage(picture)
    step().process(pp, enabled=True)
    assert pp.image is picture
    assert pp.info == {}


def test_the_step_is_last(host):
    assert host.modules.scripts.postprocessing_scripts_data[0].order > 10_000
