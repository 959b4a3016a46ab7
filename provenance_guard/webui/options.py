"""The extension's page in the WebUI's settings, and the name of the policy file. Imports nothing that may be missing.

Options can be changed by anyone who can open the page, so they only narrow a policy file (``configuration``). None of them
can be set through the API (``restrict_api``) and none is filled in from pasted infotext.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modules import extensions, shared

from provenance_guard import paths
from provenance_guard.webui import compat

PREFIX = "provenance_guard_"
SECTION = ("provenance_guard", "Provenance Guard")


@dataclass(frozen=True)
class Option:
    """One line of the settings page."""

    key: str
    default: Any
    label: str
    component: str
    arguments: dict[str, Any] = field(default_factory=dict)
    info: str = ""


OPTIONS = (
    Option(
        "mode",
        "warn",
        "What happens to a near-copy of a reference",
        "Radio",
        {"choices": ["off", "warn", "quarantine", "block"]},
        "off: nothing is compared; quarantine: withheld, but kept for a reviewer; a policy file may demand more",
    ),
    Option(
        "retry",
        0,
        "How often a near-copy is generated anew with another seed first",
        "Slider",
        {"minimum": 0, "maximum": 20, "step": 1},
    ),
    Option(
        "previews",
        "allow",
        "Live previews, which show a picture before it is compared",
        "Radio",
        {"choices": ["allow", "blur", "off"]},
        "off by itself where near-copies are withheld",
    ),
    Option(
        "references",
        "",
        "Reference folders, one per line",
        "Textbox",
        {"lines": 3},
        "pictures that yours must not come near to; added to those of a policy file",
    ),
    Option(
        "near_copy",
        0.85,
        "Probability from which a picture counts as a near-copy",
        "Slider",
        {"minimum": 0.05, "maximum": 1.0, "step": 0.01},
    ),
    Option(
        "review",
        0.5,
        "Probability from which a person should look at it",
        "Slider",
        {"minimum": 0.05, "maximum": 1.0, "step": 0.01},
    ),
    Option("mark", True, "Put an invisible watermark into every picture", "Checkbox"),
    Option(
        "strength",
        "invisible",
        "Strength of the watermark",
        "Radio",
        {"choices": ["invisible", "balanced", "strong"]},
    ),
    Option("label", True, "Say in the file's metadata that it is AI generated", "Checkbox"),
    Option("sidecar", True, "Write a signed sidecar (.prov.json) next to every file", "Checkbox"),
    Option(
        "device",
        "auto",
        "Where pictures are compared and marked",
        "Radio",
        {"choices": ["auto", "cpu"]},
        "auto: on the device that generates",
    ),
    Option(
        "embedding_checkpoint",
        "",
        "Weight file of the CLIP model for semantic similarity",
        "Textbox",
        info="a file, or the name of weights that open_clip has downloaded; empty: hashes and local features only",
    ),
)


def register_options() -> None:
    """Add our section to the settings page."""
    import gradio

    for option in OPTIONS:
        component = getattr(gradio, option.component)
        entry = shared.OptionInfo(
            option.default, option.label, component, option.arguments, section=SECTION, restrict_api=True
        )
        shared.opts.add_option(PREFIX + option.key, entry.info(option.info) if option.info else entry)


def value(key: str) -> Any:
    """The option's value; its default when the host has not registered it yet."""
    return compat.option(PREFIX + key, default(key))


def default(key: str) -> Any:
    """The option's default."""
    return next(option.default for option in OPTIONS if option.key == key)


def policy_file() -> Path | None:
    """The policy file named by ``--provenance-policy`` or ``$PROVENANCE_GUARD_POLICY``."""
    chosen = compat.flag("provenance_policy")
    return Path(chosen).absolute() if chosen else paths.policy_file()


def keep_us_enabled(original: Callable[..., None], opts: Any, key: str, new: Any) -> None:
    """``Options.__setattr__``: under a policy file nobody switches us off in the Extensions tab or over the API."""
    if key in ("disabled_extensions", "disable_all_extensions") and policy_file() is not None:
        ours = _our_names()
        new = [name for name in new if name not in ours] if isinstance(new, (list, tuple)) else "none"
    original(opts, key, new)


def _our_names() -> set[str]:
    """How the host calls the folder that we lie in."""
    here = Path(__file__).resolve().parents[2]
    found = {entry.name for entry in extensions.extensions if Path(entry.path).resolve() == here}
    return found | {here.name, "sd-webui-provenance-guard"}
