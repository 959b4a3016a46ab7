"""The part of the txt2img and img2img pages: on or off for this job, and a stricter mode. It can only narrow a policy.

The values come back from the browser or from an API call, so they are wishes: ``door`` decides what they may change.
There are no infotext fields on purpose, because pasted text could switch them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from provenance_guard.webui import options
from provenance_guard.webui.door import Wish

if TYPE_CHECKING:
    from provenance_guard.config import Mode

TITLE = "Provenance Guard"
"""The name of our script, by which its controls are found again."""

_AS_SET = "as set"
_STRICTER: dict[str, Mode] = {"warn": "warn", "quarantine": "quarantine", "block": "block"}


def build(elem_id: Callable[[str], str]) -> list[Any]:
    """Make the controls; the host passes their values to every hook."""
    import gradio

    policy = options.policy_file()
    with gradio.Accordion(TITLE, open=False, elem_id=elem_id("accordion")):
        enabled = gradio.Checkbox(
            True,
            label="Guard this job" if policy is None else "Guard this job (the studio's policy holds in any case)",
            interactive=policy is None,
            elem_id=elem_id("enabled"),
        )
        mode = gradio.Radio(
            [_AS_SET, *_STRICTER],
            value=_AS_SET,
            label="Near-copies in this job (only stricter than the settings)",
            elem_id=elem_id("mode"),
        )
    for control in (enabled, mode):
        control.do_not_save_to_config = True  # A default in ui-config.json would switch every job.
    return [enabled, mode]


def build_extras() -> dict[str, Any]:
    """The control of the Extras step."""
    import gradio

    enabled = gradio.Checkbox(
        True, label=TITLE, interactive=options.policy_file() is None, elem_id="extras_provenance_guard"
    )
    enabled.do_not_save_to_config = True
    return {"enabled": enabled}


def read_extras_wish(controls: Mapping[str, Any]) -> Wish:
    """The Extras control as a wish; the host passes None when the API does not name us."""
    return Wish(enabled=controls.get("enabled") is not False)


def read_wish(controls: Sequence[Any]) -> Wish:
    """The controls' values as a wish; anything unexpected counts as no wish."""
    if len(controls) != 2:
        return Wish()
    enabled, mode = controls
    return Wish(enabled=enabled is not False, mode=_STRICTER.get(mode) if isinstance(mode, str) else None)
