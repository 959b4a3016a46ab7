"""What the user sees: settings, accordion, tab, health. Needs Gradio."""

from __future__ import annotations

import functools
import sys

import pytest

gradio = pytest.importorskip("gradio")


def labels_in(blocks):
    return [getattr(component, "label", None) for component in blocks.blocks.values()]


def test_every_option_is_on_the_page_and_out_of_reach_of_requests(host):
    from provenance_guard.webui import options

    host.call("ui_settings")
    registered = host.modules.shared.opts.data_labels
    ours = {key: info for key, info in registered.items() if key.startswith("provenance_guard_")}
    assert len(ours) == len(options.OPTIONS)
    assert all(info.restrict_api and info.infotext is None for info in ours.values())
    assert {info.section for info in ours.values()} == {options.SECTION}


@pytest.mark.parametrize("policed", [False, True])
def test_accordion(host, tmp_path, policed):
    if policed:
        host.modules.shared.cmd_opts.provenance_policy = tmp_path / "policy.toml"
    script = host.modules.scripts.scripts_data[0]()
    with gradio.Blocks():
        enabled, mode = script.ui(False)
    assert enabled.interactive is not policed
    assert (enabled.value, mode.value) == (True, "as set")
    assert getattr(script, "infotext_fields", None) is None
    assert all(control.do_not_save_to_config for control in (enabled, mode))


def test_extras_control(host):
    step = host.modules.scripts.postprocessing_scripts_data[0]()
    with gradio.Blocks():
        assert list(step.ui()) == ["enabled"]


def test_tab(host):
    ((tab, title, element_id),) = host.call("ui_tabs")[0]
    assert (title, element_id) == ("Provenance Guard", "provenance_guard")
    assert "Recent" in labels_in(tab)
    assert host.reported() == []


def test_tab_tells_why_it_is_empty(host, monkeypatch):
    monkeypatch.setitem(sys.modules, "provenance_guard.webui.health", None)
    ((tab, _, _),) = host.call("ui_tabs")[0]
    (text,) = [component.value for component in tab.blocks.values() if isinstance(component, gradio.HTML)]
    assert "cannot show its page" in text
    assert "provenance_guard.webui.health" in text


def test_health_tells_whether_the_guards_stand(host):
    from provenance_guard.webui import health

    host.call("app_started", None, None)
    assert [check.state for check in health.examine_host()] == ["fine", "note"]
    assert "12 of 12 guards" in health.examine_host()[0].sentence
    host.set_options(mode="block")
    images = host.modules.images
    images.save_image = functools.partial(images.save_image)
    (problem,) = [check.sentence for check in health.examine_host() if check.state == "problem"]
    assert "around the guard of pictures to be saved" in problem


def test_health_tells_which_options_take_from_the_work(host):
    from provenance_guard.webui import health

    host.set_options(mode="block", previews="allow")
    host.modules.shared.opts.enable_pnginfo = False
    host.modules.shared.opts.samples_format = "gif"
    told = " ".join(check.sentence for check in health.examine_host())
    assert "carry no infotext" in told
    assert "'gif' carry no label" in told
    assert "Live previews" not in told  # "allow" is the option's default, and who withholds wants none


def test_doctor_reads_how_the_guards_stood(host):
    from provenance_guard.review.health import examine
    from provenance_guard.webui import health, runtime

    def told():
        return [(check.state, check.sentence) for check in examine(runtime.guard().config) if check.subject == "WebUI"]

    assert told() == []
    health.leave_word()
    ((state, sentence),) = told()
    assert state == "fine"
    assert "ways out were guarded" in sentence
    host.call("script_unloaded")
    health.leave_word()
    ((state, sentence),) = told()
    assert (state, "every job (off)" in sentence) == ("note", True)
