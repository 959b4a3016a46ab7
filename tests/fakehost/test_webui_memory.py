"""Where references are compared, and who gets the memory back."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("flag", "expected"), [("", "cuda:0"), ("medvram", "cpu"), ("lowvram", "cpu"), ("always_low_vram", "cpu")]
)
def test_a_host_that_saves_memory_keeps_its_device_for_models(host, monkeypatch, flag: str, expected: str) -> None:
    from provenance_guard.webui import runtime

    monkeypatch.setattr(host.modules.devices, "device", "cuda:0", raising=False)
    if flag:
        monkeypatch.setattr(host.modules.shared.cmd_opts, flag, True, raising=False)
    guard = runtime.guard()
    assert str(guard.library._device) == expected
    assert str(guard.device) == "cuda:0"


def test_the_memory_is_handed_back_when_the_extension_is_unloaded(host, blocking) -> None:
    from provenance_guard.webui import runtime

    host.generate(host.txt2img())
    library = runtime.guard().library
    assert library._cascade is not None
    host.call("script_unloaded")
    assert library._cascade is None
