"""What a user of the WebUI may try to get round a policy, and what another extension may leave by mistake."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageCms

from provenance_guard.pictures import pixel_sha256


def anything_shown(host, processed):
    files = [Image.open(file) for file in host.outputs.rglob("*.png")]
    return any(host.shows_content(image) for image in [*processed.images, *files])


@pytest.mark.parametrize("controls", [(False, "as set"), (None, None), (), ([], {}), (False, "as set", 1)])
def test_script_arguments(host, blocking, controls):
    assert not anything_shown(host, host.generate(host.txt2img(), *controls))


@pytest.mark.parametrize(
    "settings",
    [
        {"provenance_guard_mode": "off"},
        {"provenance_guard_references": "", "provenance_guard_near_copy": 1.0},
        {"samples_save": False},
        {"disabled_extensions": ["sd-webui-provenance-guard"]},
        {"disable_all_extensions": "all"},
        {"save_images_before_highres_fix": True},
    ],
)
def test_settings_for_one_job(host, blocking, settings):
    host.call("ui_settings")
    assert not anything_shown(host, host.generate(host.txt2img(override_settings=settings)))


@pytest.mark.parametrize("key", ["mode", "references", "near_copy", "previews", "retry"])
def test_options_over_the_api(host, blocking, key):
    host.call("ui_settings")
    before = host.modules.shared.opts.data.get(f"provenance_guard_{key}")
    assert not host.modules.shared.opts.set(f"provenance_guard_{key}", "off", is_api=True)
    assert host.modules.shared.opts.data.get(f"provenance_guard_{key}") == before


def test_options_on_the_page(host, blocking):
    host.set_options(mode="off", near_copy=1.0, review=1.0, previews="allow", references="")
    assert not anything_shown(host, host.generate(host.txt2img()))


def test_the_extension_cannot_be_disabled_under_a_policy(host, blocking, tmp_path):
    extensions = host.modules.extensions
    extensions.extensions.append(extensions.Extension("my-clone", str(Path(__file__).parents[2])))
    opts = host.modules.shared.opts
    opts.disabled_extensions = ["another", "my-clone", "sd-webui-provenance-guard"]
    assert opts.disabled_extensions == ["another"]
    for value in ("all", "extra"):
        opts.disable_all_extensions = value
        assert opts.disable_all_extensions == "none"
    host.modules.shared.cmd_opts.provenance_policy = None
    opts.disable_all_extensions = "extra"
    assert opts.disable_all_extensions == "extra"
    extensions.extensions.clear()


@pytest.mark.parametrize(
    "settings",
    [
        {"postprocessing_disable_in_extras": ["Provenance Guard"]},
        {"postprocessing_operation_order": ["Provenance Guard", "Upscale"]},
    ],
)
def test_extras_without_our_step(host, blocking, settings):
    for key, value in settings.items():
        setattr(host.modules.shared.opts, key, value)

    class Upscale(host.modules.scripts_postprocessing.ScriptPostprocessing):
        name = "Upscale"

        def process(self, pp, **_):
            pp.image = pp.image.resize((512, 512))

    host.modules.scripts.postprocessing_scripts_data.append(Upscale)
    upload = host.modules.processing.draw(5, (256, 256))
    (result,) = host.modules.postprocessing.run_postprocessing(upload, {}, folder=str(host.outputs))
    assert result.size == (512, 512)
    assert not host.shows_content(result)


def test_a_skipped_extras_picture_is_guarded_too(host, blocking):
    host.modules.shared.state.skipped = True
    upload = host.modules.processing.draw(5, (256, 256))
    (result,) = host.modules.postprocessing.run_postprocessing(upload, {}, folder=str(host.outputs))
    assert not host.shows_content(result)


def test_downloads_of_data_and_keys_are_refused(host, blocking):
    demo = SimpleNamespace(blocked_paths=["theirs"])
    host.call("app_started", demo, None)
    host.call("app_started", demo, None)
    assert demo.blocked_paths[0] == "theirs"
    assert {str(host.keys), str(blocking), str(host.data_path / ".provenance-guard")} <= set(demo.blocked_paths)
    assert len(demo.blocked_paths) == len(set(demo.blocked_paths))


# Bad input


@pytest.mark.parametrize(
    "left", [None, "a path", 7, np.zeros((8, 8, 3), np.uint8)], ids=["none", "text", "int", "array"]
)
def test_something_that_is_no_picture(host, blocking, left):
    """A script leaves it in the last hook; the rest of the batch goes on."""

    class Broken(host.modules.scripts.Script):
        def postprocess_image_after_composite(self, p, pp, *_):
            if p.batch_index == 0:
                pp.image = left

    job = host.txt2img(seed=30, batch_size=2)
    job.scripts.alwayson_scripts.append(Broken())
    processed = host.generate(job)
    _, first, second = processed.images
    assert first.size == second.size == (256, 256)
    assert [host.shows_content(first), host.shows_content(second)] == [False, True]
    assert "A script left" in processed.comments


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGBa", "CMYK", "LAB", "I;16", "F"])
def test_picture_modes(host, blocking, mode):
    class Converting(host.modules.scripts.Script):
        def postprocess_image_after_composite(self, p, pp, *_):
            pp.image = convert(pp.image, mode)

    job = host.txt2img()
    job.scripts.alwayson_scripts.append(Converting())
    processed = host.generate(job)
    assert len(processed.images) == 1
    assert processed.images[0].size == (256, 256)
    assert not anything_shown(host, processed)
    assert processed.comments


def convert(image, mode):
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L"), dtype=np.uint16) * 257)
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    if mode == "RGBa":
        return image.convert("RGBA").convert("RGBa")
    return image.convert(mode)


@pytest.mark.parametrize(
    "returned", [None, [], (), "nothing", [None], ["missing.png"], [object()]], ids=lambda value: repr(value)[:12]
)
def test_what_a_script_may_return(host, blocking, returned):
    class Odd:
        title = staticmethod(lambda: "odd")

        def run(self, p, *_):
            return returned if returned is None else SimpleNamespace(images=returned, infotexts=[], comments="")

    processed = host.run_script(host.txt2img(), Odd())
    if isinstance(returned, list) and returned:
        assert not host.shows_content(processed.images[0])
        assert "no picture" in processed.comments


def test_arrays_files_and_captions_that_a_script_returns(host, blocking, tmp_path):
    picture = host.modules.processing.draw(5, (256, 256))
    picture.save(tmp_path / "copy.png")

    class Odd:
        title = staticmethod(lambda: "odd")

        def run(self, p, *_):
            items = [np.asarray(picture), str(tmp_path / "copy.png"), (picture, "a caption")]
            return SimpleNamespace(images=items, infotexts=["", "", ""], comments="")

    array, file, (captioned, caption) = host.run_script(host.txt2img(), Odd()).images
    assert caption == "a caption"
    assert not any(host.shows_content(image) for image in (array, file, captioned))


def test_a_reference_folder_that_vanishes_while_generating(host, blocking, tmp_path):
    """What was indexed before still counts; the user is told."""
    assert not anything_shown(host, host.generate(host.txt2img()))
    for file in (tmp_path / "references").iterdir():
        file.unlink()
    (tmp_path / "references").rmdir()
    processed = host.generate(host.txt2img())
    assert not anything_shown(host, processed)
    assert processed.comments


def test_a_ledger_that_another_process_holds(host, blocking, monkeypatch):
    from provenance_guard.ledger import database

    monkeypatch.setattr(database, "BUSY_SECONDS", 0.3)
    host.generate(host.txt2img(seed=31))
    host.flush()
    from provenance_guard.webui import runtime

    runtime._guard.close()
    runtime._guard = None
    other = sqlite3.connect(host.data_path / ".provenance-guard" / "ledger.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        begun = time.monotonic()
        processed = host.generate_unguarded(host.txt2img(seed=32))
        assert time.monotonic() - begun < 60
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert not host.shows_content(processed.images[0])
    assert "ledger" in processed.comments.lower()
    assert host.shows_content(host.generate(host.txt2img(seed=33)).images[0])


OTHER = """
import sys
from pathlib import Path
from PIL import Image, ImageCms
from provenance_guard.config import Config
from provenance_guard.guard import Guard
from provenance_guard.provenance import Context
data, keys = map(Path, sys.argv[1:])
with Guard(Config(data_directory=data, key_directory=keys)) as guard:
    for number in range(5):
        guard.release(Image.effect_noise((128, 128), 50 + number).convert("RGB"), Context(origin="file"))
print("done")
"""


def test_two_processes_on_one_data_directory(host, blocking):
    host.generate(host.txt2img(seed=34))
    folders = [str(host.data_path / ".provenance-guard"), str(host.keys)]
    other = subprocess.Popen([sys.executable, "-c", OTHER, *folders], stdout=subprocess.PIPE, text=True)
    decisions = [host.shows_content(host.generate(host.txt2img(seed=seed)).images[0]) for seed in (35, 5, 36)]
    assert other.communicate(timeout=300)[0].strip() == "done"
    assert decisions == [True, False, True]
    from provenance_guard.ledger import verify_ledger
    from provenance_guard.webui import runtime

    host.flush()
    assert verify_ledger(runtime.guard().config.ledger_path).problems == ()


def test_files_that_an_earlier_process_left_are_finished(host, monkeypatch):
    from provenance_guard.labels import read_labels
    from provenance_guard.webui import sealing

    monkeypatch.setattr(sealing, "_PATIENCE", 0.0)
    with monkeypatch.context() as killed:  # the process ends before the worker comes to the file
        killed.setattr(sealing, "_finish", lambda *_: None)
        processed = host.generate(host.txt2img(seed=38))
    (file,) = host.outputs.glob("*.png")
    notes = host.data_path / ".provenance-guard" / sealing.FOLDER
    assert read_labels(file) is None
    assert len(list(notes.iterdir())) == 1
    sealing.resume()
    assert read_labels(file).record_id in processed.infotexts[0]
    assert file.with_name(f"{file.name}.prov.json").exists()
    assert list(notes.iterdir()) == []
    assert [event.type for event in host.ledger_events()][-1] == "picture.saved"
    assert sealing.troubles() == []


def test_a_note_of_a_file_that_cannot_be_finished_is_told(host, monkeypatch, tmp_path):
    from provenance_guard.webui import sealing

    monkeypatch.setattr(sealing, "_PATIENCE", 0.0)
    host.generate(host.txt2img(seed=39))
    notes = host.data_path / ".provenance-guard" / sealing.FOLDER
    notes.mkdir(exist_ok=True)
    picture = tmp_path / "strange.png"
    host.modules.processing.draw(5, (64, 64)).save(picture)
    (notes / "a.json").write_text("{", "utf-8")
    (notes / "b.json").write_text(f'{{"version": 1, "record": "{"0" * 32}", "file": "{picture.as_posix()}"}}', "utf-8")
    sealing.resume()
    assert list(notes.iterdir()) == []
    processed = host.generate(host.txt2img(seed=40))
    assert "strange.png was not labelled" in processed.comments
    assert "could not be finished" in processed.comments


def test_pixels_of_a_picture_that_passed_stay_what_they_were(host, blocking):
    """Examining a list again changes nothing in it."""
    from provenance_guard.webui import job, sweep

    processed = host.generate(host.txt2img(seed=41))
    before = [pixel_sha256(image) for image in processed.images]
    events = len(host.ledger_events())
    sweep.sweep_processed(processed, host.txt2img(), job.Job())
    assert [pixel_sha256(image) for image in processed.images] == before
    assert len(host.ledger_events()) == events
