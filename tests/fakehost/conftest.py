"""The stand-in of the WebUI, planted where the hooks look for the host and taken away again."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

PROJECT = Path(__file__).parents[2]
HOST = PROJECT / "tests" / "host"


@dataclass
class FakeHost:
    """A running host with our extension loaded."""

    data_path: Path
    outputs: Path
    keys: Path
    modules: Any

    def load_extension(self, *others: Path) -> None:
        """Start, or "Reload UI"; ``others`` are extensions that the host loads after us."""
        self.call("script_unloaded")
        self.modules.scripts.load_scripts(PROJECT, *others)

    def call(self, kind: str, *arguments: Any) -> list[Any]:
        """Run the callbacks of one kind."""
        return self.modules.script_callbacks.run(kind, *arguments)

    def set_options(self, **values: Any) -> None:
        """Set our own options by their short names."""
        for key, value in values.items():
            setattr(self.modules.shared.opts, f"provenance_guard_{key}", value)

    def txt2img(self, **fields: Any) -> Any:
        """A prepared job; run it with ``generate``."""
        return self._prepare(self.modules.processing.StableDiffusionProcessingTxt2Img, is_img2img=False, fields=fields)

    def img2img(self, **fields: Any) -> Any:
        """A prepared img2img job."""
        return self._prepare(self.modules.processing.StableDiffusionProcessingImg2Img, is_img2img=True, fields=fields)

    def _prepare(self, kind: Any, *, is_img2img: bool, fields: dict[str, Any]) -> Any:
        job = kind(**{"prompt": "a cat", "seed": 5, "outpath_samples": str(self.outputs), **fields})
        scripts = self.modules.scripts
        job.scripts = scripts.ScriptRunner(scripts.scripts_data, is_img2img=is_img2img)
        return job

    def generate(self, job: Any, *controls: Any) -> Any:
        """Run a job and wait for its files; ``controls`` are the values of our accordion's controls."""
        try:
            return self.generate_unguarded(job, *controls)
        finally:
            self.flush()

    def generate_unguarded(self, job: Any, *controls: Any) -> Any:
        """Run a job whether or not our package can be imported."""
        for script in job.scripts.alwayson_scripts:
            script.args_from, script.args_to = 0, len(controls)
        job.script_args = list(controls)
        return self.modules.processing.process_images(job)

    def run_script(self, job: Any, script: Any) -> Any:
        """Run a job with a selected script."""
        job.scripts.selectable_scripts.append(script)
        return job.scripts.run(job, len(job.scripts.selectable_scripts))

    def flush(self) -> None:
        """Wait until what runs behind is done."""
        from provenance_guard.webui import sealing

        assert sealing.flush(120)

    @staticmethod
    def shows_content(image: Image.Image) -> bool:
        """Whether it is one of the stand-in's pictures, smooth noise of many thousand colours; a notice has far fewer."""
        return len(image.convert("RGB").getcolors(1 << 24)) > 4000

    def reported(self) -> list[str]:
        """What the host printed and forgot."""
        return self.modules.errors.reported

    def ledger_events(self) -> list[Any]:
        """All events in order, when what runs behind is done."""
        self.flush()
        from provenance_guard.webui import runtime

        return list(runtime.guard().ledger.events())


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHost]:
    monkeypatch.syspath_prepend(str(HOST))
    for variable in ("PROVENANCE_GUARD_POLICY", "PROVENANCE_GUARD_DATA", "PROVENANCE_GUARD_KEYS"):
        monkeypatch.delenv(variable, raising=False)
    _forget_modules()
    import modules
    import networks
    from modules import errors, images, postprocessing, processing, script_callbacks, scripts, shared
    from modules.api import api

    assert Path(modules.__file__).is_relative_to(HOST)
    assert Path(networks.__file__).is_relative_to(HOST)
    assert all((errors, images, postprocessing, processing, script_callbacks, scripts, shared, api))
    from modules import paths

    paths.data_path = str(tmp_path / "webui")
    fake = FakeHost(tmp_path / "webui", tmp_path / "webui" / "outputs", tmp_path / "keys", modules)
    shared.cmd_opts.provenance_keys = fake.keys
    fake.load_extension()
    yield fake
    _join_threads("provenance-guard")  # What app_started began would go on in the folders of the next test
    fake.call("script_unloaded")  # Gradio outlives this host, and must not keep its guard
    _join_threads("provenance-guard-presence")
    _close_guard()
    _forget_modules()


@pytest.fixture
def blocking(host, tmp_path):
    """A policy that withholds near-copies of the picture of seed 5."""
    (tmp_path / "references").mkdir()
    host.modules.processing.draw(5, (256, 256)).save(tmp_path / "references" / "known.png")
    policy = tmp_path / "policy.toml"
    policy.write_text('mode = "block"\n[screen]\nreferences = ["references"]\n', "utf-8")
    host.modules.shared.cmd_opts.provenance_policy = policy
    return policy


def _join_threads(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(60)
            assert not thread.is_alive(), f"{name} still runs at the end of the test"


def _close_guard() -> None:
    sealing = sys.modules.get("provenance_guard.webui.sealing")
    if sealing is not None:
        sealing.flush(20)
    runtime = sys.modules.get("provenance_guard.webui.runtime")
    if runtime is not None and runtime._guard is not None:
        runtime._guard.close()


def _forget_modules() -> None:
    """Every test gets a host of its own, and our hooks afresh with it."""
    for name in list(sys.modules):
        if name in ("modules", "network", "networks") or name.startswith(("modules.", "provenance_guard.webui")):
            del sys.modules[name]
