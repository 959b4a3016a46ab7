"""Faults inside a batch of the host, under every action: nothing against the policy in gallery or files, and the rest goes on."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

SIZE = (128, 128)
WITHHOLDING = ("quarantine", "block")
SEEDS = (5, 6, 7)
"""The picture of seed 6 is a near-copy; the fault hits that of seed 5."""


@pytest.fixture(
    params=[("warn", "quarantine"), ("quarantine", "warn"), ("quarantine", "block"), ("block", "quarantine")]
)
def policy(request, host, tmp_path):
    mode, on_error = request.param
    folder = tmp_path / "references"
    folder.mkdir()
    host.modules.processing.draw(6, SIZE).save(folder / "known.png")
    path = tmp_path / "policy.toml"
    path.write_text(
        f'mode = "{mode}"\non_error = "{on_error}"\n[screen]\nreferences = ["references"]\n', encoding="utf-8"
    )
    host.modules.shared.cmd_opts.provenance_policy = path
    return request.param


def shows(image, original):
    first, second = (np.asarray(picture.convert("L").resize(SIZE), float).ravel() for picture in (image, original))
    return bool(first.std() > 0 and np.corrcoef(first, second)[0, 1] > 0.5)


def failing_once(function, error):
    """The function, which fails the first time it is called."""
    state = {"failed": False}

    def call(*arguments, **named):
        if not state["failed"]:
            state["failed"] = True
            raise error
        return function(*arguments, **named)

    return call


FAULTS = {
    "screen: no memory": ("provenance_guard.similarity", "Library", "screen", MemoryError()),
    "mark raises": ("provenance_guard.watermark", "Watermarker", "embed_measured", ZeroDivisionError("boom")),
    "label: full disk": ("provenance_guard", "labels", "write_labels", OSError(28, "No space left on device")),
    "sidecar: full disk": ("provenance_guard.provenance", "sidecar", "sign_envelope", OSError(28, "No space left")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_in_a_batch(host, policy, monkeypatch, fault):
    import importlib

    mode, on_error = policy
    module, owner, name, error = FAULTS[fault]
    target = getattr(importlib.import_module(module), owner, None) or importlib.import_module(f"{module}.{owner}")
    monkeypatch.setattr(target, name, failing_once(getattr(target, name), error))
    processed = host.generate(host.txt2img(batch_size=3, width=SIZE[0], height=SIZE[1]))
    host.flush()
    pictures = processed.images[1:]
    shown = [
        shows(image, host.modules.processing.draw(seed, SIZE)) for image, seed in zip(pictures, SEEDS, strict=True)
    ]
    assert shown == [on_error not in WITHHOLDING, mode not in WITHHOLDING, True]
    assert [f"Seed: {seed}," in text for text, seed in zip(processed.infotexts[1:], SEEDS, strict=True)] == [True] * 3
    for file in host.outputs.glob("*.png"):
        seed = int(file.stem.split("-")[1])
        if not shown[SEEDS.index(seed)]:
            assert not shows(Image.open(file), host.modules.processing.draw(seed, SIZE))
    from provenance_guard.webui import runtime

    kept = {
        int(entry.record["context"]["parameters"]["seed"])
        for entry in runtime.guard().quarantine.entries()
        if entry.record
    }
    expected = ({5} if on_error == "quarantine" else set()) | ({6} if mode == "quarantine" else set())
    assert kept == expected
    assert host.reported() == []
    assert not runtime.guard().release(pictures[2], _context()).blocked, "the WebUI stays usable"


def _context():
    from provenance_guard.provenance.record import Context

    return Context("webui.txt2img", {"seed": 7})


@pytest.mark.parametrize("fault", ["full disk", "no key", "folder is a file"])
def test_a_quarantine_that_fails_shows_nothing(host, policy, monkeypatch, fault):
    mode, _ = policy
    if mode != "quarantine":
        pytest.skip("this policy keeps no near-copies")
    from provenance_guard.gate import container, quarantine

    if fault == "full disk":
        monkeypatch.setattr(
            quarantine.files, "write_atomically", failing_once(quarantine.files.write_atomically, OSError(28, "full"))
        )
    elif fault == "no key":
        monkeypatch.setattr(container, "current_key", failing_once(container.current_key, OSError(13, "denied")))
    else:
        folder = host.data_path / ".provenance-guard" / "quarantine"
        folder.parent.mkdir(parents=True)
        folder.write_bytes(b"")
    processed = host.generate(host.txt2img(seed=6, width=SIZE[0], height=SIZE[1]))
    assert not shows(processed.images[0], host.modules.processing.draw(6, SIZE))
    assert "could not be kept" in processed.comments
    assert host.reported() == []
