"""The guards are in place, come last, do not stack, are given back, and a broken installation does not switch them off."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from provenance_guard.pictures import pixel_sha256


def places(host):
    """The host's functions where guards stand."""
    modules = host.modules
    return {
        "composite": vars(modules.scripts.ScriptRunner)["postprocess_image_after_composite"],
        "inner": modules.processing.process_images_inner,
        "run": vars(modules.scripts.ScriptRunner)["run"],
        "save": modules.images.save_image,
        "write": modules.images.save_image_with_geninfo,
        "grid": modules.images.image_grid,
        "legend": modules.images.draw_grid_annotations,
        "extras": vars(modules.scripts_postprocessing.ScriptPostprocessingRunner)["run"],
        "preview": vars(modules.shared_state.State)["current_image"],
        "options": vars(modules.options.Options)["__setattr__"],
        "api": modules.api.api.encode_pil_to_base64,
    }


def test_every_guard_is_in_place(host):
    from provenance_guard.webui import guards

    assert {place.guards: standing for place, standing in guards.standing() if standing != "in place"} in (
        {},
        {"galleries": "not loaded"},  # without Gradio
    )


def test_reload_does_not_stack_and_unload_gives_everything_back(host):
    guarded = places(host)
    host.call("script_unloaded")
    bare = places(host)
    assert not any(bare[name] is guarded[name] for name in bare)
    assert bare["preview"] is None
    for _ in range(3):
        host.load_extension()
    again = places(host)
    assert [getattr(function, "__wrapped__", None) for function in again.values() if callable(function)] == [
        function for function in bare.values() if callable(function)
    ]
    host.call("script_unloaded")
    assert places(host) == bare


def test_an_unloaded_extension_does_nothing(host, blocking):
    host.call("script_unloaded")
    host.modules.scripts.scripts_data.clear()
    processed = host.generate(host.txt2img())
    assert pixel_sha256(processed.images[0]) == pixel_sha256(host.modules.processing.draw(5, (256, 256)))


def test_what_another_extension_wraps_around_a_guard_is_guarded_again(host, blocking):
    """It may have been loaded after us; when the host has started we are the outermost once more."""
    from provenance_guard.webui import guards

    processing = host.modules.processing
    ours = processing.process_images_inner

    def smuggle(p):
        processed = ours(p)
        processed.images = [processing.draw(5, (256, 256))]
        return processed

    processing.process_images_inner = smuggle
    assert dict((place.guards, standing) for place, standing in guards.standing())["every job"] == "covered"
    host.call("app_started", None, None)
    assert dict((place.guards, standing) for place, standing in guards.standing())["every job"] == "in place"
    assert not host.shows_content(host.generate(host.txt2img(seed=60)).images[0])


def test_a_guard_that_another_extension_wraps_passes_on_after_unload(host, blocking):
    processing = host.modules.processing
    processing.process_images_inner = functools.partial(processing.process_images_inner)
    host.call("script_unloaded")
    host.modules.scripts.scripts_data.clear()
    assert host.shows_content(host.generate(host.txt2img()).images[0])


HOSTILE = """
from modules import processing, script_callbacks, scripts
originals = []
class Hostile(scripts.Script):
    def title(self): return "Hostile"
    def show(self, is_img2img): return scripts.AlwaysVisible
    def postprocess_image(self, p, pp, *args): originals.append(pp.image.copy())
    def postprocess_image_after_composite(self, p, pp, *args): pp.image = originals[-1].copy()
    def postprocess(self, p, processed, *args): processed.images[:] = [image.copy() for image in originals]
def before(params): params.image = originals[-1].copy()
script_callbacks.on_before_image_saved(before)
"""


def test_an_extension_later_in_order_gets_nothing_past(host, blocking, tmp_path):
    folder = tmp_path / "zz-hostile" / "scripts"
    folder.mkdir(parents=True)
    (folder / "zz.py").write_text(HOSTILE, "utf-8")
    host.load_extension(folder.parent)
    host.call("app_started", None, None)
    processed = host.generate(host.txt2img(batch_size=2))
    assert host.reported() == []
    assert [host.shows_content(image) for image in processed.images] == [False, True]  # seeds 5 and 6
    files = sorted(host.outputs.glob("*.png"))
    assert len(files) == 2
    known = {event.body["record"]["pixel_sha256"] for event in host.ledger_events() if event.type == "picture.released"}
    assert pixel_sha256(processed.images[1]) in known
    for file in files:
        with Image.open(file) as image:
            assert not host.shows_content(image) or pixel_sha256(image) in known


@pytest.mark.parametrize("policed", [True, False])
def test_a_package_that_cannot_be_imported_withholds_under_a_policy(host, blocking, policed, monkeypatch):
    if not policed:
        host.modules.shared.cmd_opts.provenance_policy = None
    for name in [name for name in sys.modules if name.startswith("provenance_guard")]:
        monkeypatch.delitem(sys.modules, name)
    host.call("script_unloaded")
    monkeypatch.setitem(sys.modules, "provenance_guard.webui.door", None)
    host.load_extension()
    processed = host.generate_unguarded(host.txt2img(seed=61))
    assert host.shows_content(processed.images[0]) is not policed
    assert "Provenance Guard cannot be loaded" in processed.comments
    assert [host.shows_content(Image.open(file)) for file in host.outputs.glob("*.png")] == [not policed]
    host.modules.shared.state.current_image = Image.new("RGB", (8, 8))
    assert (host.modules.shared.state.current_image is None) is policed
    results = host.modules.postprocessing.run_postprocessing(
        host.modules.processing.draw(62, (64, 64)), {}, folder=str(host.outputs)
    )
    assert (results[0].getpixel((0, 60)) == (64, 64, 64)) is policed


def test_the_stand_in_goes_when_the_package_is_back(host, blocking, monkeypatch):
    host.call("script_unloaded")
    bare = places(host)
    import provenance_guard_fallback

    provenance_guard_fallback.stand_in(ImportError("gone"))
    host.load_extension()
    host.call("script_unloaded")
    assert places(host) == bare


def test_the_guards_stand_without_the_heavy_parts(host):
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "for name in ('cv2', 'cryptography', 'imagehash', 'gradio'): sys.modules[name] = None\n"
        "from modules import paths; paths.data_path = '.'\n"
        "from modules.api import api\n"
        "from modules import images, processing, postprocessing\n"
        "from provenance_guard.webui import hooks, guards\n"
        "hooks.register()\n"
        "print([place.guards for place, standing in guards.standing() if standing != 'in place'])"
    )
    project = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, str(project), str(project / "tests" / "host")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "['galleries']", done.stderr
