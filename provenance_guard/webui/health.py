"""Whether the guards stand in the host, and what its own settings do to them: lines for the Health panel, and for ``doctor``.

``doctor`` runs in a process of its own, so what it can know of a running WebUI is left for it in a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from provenance_guard import files
from provenance_guard.clock import format_time, utc_now
from provenance_guard.review.health import GUARDS_FILE, Check, State
from provenance_guard.webui import compat, door, guards, options, runtime, sealing

_SUBJECT = "WebUI"
_FLAGS = {
    "allow_code": "run any code",
    "enable_insecure_extension_access": "install any extension over the network",
}
_LABELLED = ("png", "jpg", "jpeg", "webp")


def examine_host() -> list[Check]:
    """The guards, and options of the host that take from what they write."""
    return [Check(_SUBJECT, state, sentence) for state, sentence in (*_examine_guards(), *_examine_options())]


def leave_word() -> None:
    """Write for ``doctor`` how the guards stand now. Raises ConfigError, OutputError."""
    told = {
        "version": 1,
        "time": format_time(utc_now()),
        "webui": compat.versions()["webui"],
        "guards": {place.guards: standing for place, standing in guards.standing()},
    }
    files.write_atomically(runtime.guard().config.data_directory / GUARDS_FILE, json.dumps(told, indent=1).encode())


def _examine_guards() -> Iterator[tuple[State, str]]:
    severe: State = "problem" if door.blocks_on_error() else "note"
    standing = list(guards.standing())
    in_place = [place for place, state in standing if state == "in place"]
    yield (
        "fine",
        f"WebUI {compat.versions()['webui']}: {len(in_place)} of {len(standing)} guards are in place and come last.",
    )
    for place, state in standing:
        if state == "covered":
            yield severe, f"Another extension has put itself around the guard of {place.guards}. Restart the WebUI."
        elif state in ("missing", "off"):
            yield (
                severe,
                f"This host has nothing where the guard of {place.guards} would stand ({place.module}.{place.name}).",
            )
    if not compat.has_composite_hook():
        yield "note", "This host may still change a picture after it was marked."
    if sealing.waiting():
        yield "note", f"{sealing.waiting()} file(s) are just being labelled and hashed."


def _examine_options() -> Iterator[tuple[State, str]]:
    if options.policy_file() is None:
        yield "note", "No policy file: everybody who can open the settings can change what is guarded."
    for name, allowed in _FLAGS.items():
        if compat.flag(name) and options.policy_file() is not None:
            yield "problem", f"The flag --{name.replace('_', '-')} lets a user {allowed}, which no guard withstands."
    if not compat.option("enable_pnginfo", True):
        yield "note", "Files carry no infotext: 'Write infotext to metadata of the generated image' is off."
    saved_as = str(compat.option("samples_format", "png")).lower()
    if saved_as not in _LABELLED:
        yield "note", f"Files of the format {saved_as!r} carry no label; the mark and the record are all they have."
    policy = runtime.guard().config.policy
    if compat.option("live_previews_enable", False) and policy.withholds_copies and policy.previews == "allow":
        yield "note", "Live previews show a picture before it is screened: the policy allows them."
