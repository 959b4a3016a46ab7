"""The configuration that follows from command-line flags, the policy file and the options."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from provenance_guard import paths
from provenance_guard.config import (
    Config,
    LabelPolicy,
    MarkPolicy,
    Policy,
    RetryPolicy,
    ScreenPolicy,
    Settings,
    follow_mode,
    load_policy,
    load_settings,
)
from provenance_guard.errors import ConfigError
from provenance_guard.webui import compat, options

DATA_FOLDER = ".provenance-guard"
"""In the WebUI's data folder; the leading dot keeps ``/file=`` from serving it."""


def read_config() -> Config:
    """The configuration that holds now. Raises ConfigError."""
    file = options.policy_file()
    return Config(
        data_directory=_data_directory(),
        key_directory=_key_directory(),
        policy=_narrow_policy(load_policy(file)) if file else _own_policy(),
        settings=_read_settings(),
    )


def private_paths() -> list[Path]:
    """What nobody may download: data, keys, the policy file, and what they are links to. Raises ConfigError."""
    file = options.policy_file()
    named = [_data_directory(), _key_directory(), *([file] if file else [])]
    return list(dict.fromkeys([*named, *(path.resolve() for path in named)]))


def _data_directory() -> Path:
    chosen = compat.flag("provenance_data") or os.environ.get(paths.DATA_VARIABLE)
    folder = Path(chosen).absolute() if chosen else compat.data_path() / DATA_FOLDER
    inside = _parts_below(folder, compat.data_path())
    if inside is not None and not any(part.startswith(".") for part in inside):
        raise ConfigError(
            folder,
            "the ledger may not lie in the WebUI's folder, where a browser can read it",
            next_step="Name another folder with --provenance-data, or one whose name begins with a dot.",
        )
    return folder


def _key_directory() -> Path:
    folder = Path(compat.flag("provenance_keys") or paths.key_directory()).absolute()
    if _parts_below(folder, compat.data_path()) is not None:
        raise ConfigError(
            folder,
            "keys may not lie in the WebUI's folder, where a browser can read them",
            next_step="Name another folder with --provenance-keys.",
        )
    return folder


def _parts_below(folder: Path, parent: Path) -> tuple[str, ...] | None:
    """The path from ``parent`` down to ``folder``; None when it lies elsewhere."""
    folder, parent = folder.resolve(), parent.resolve()
    return folder.relative_to(parent).parts if folder.is_relative_to(parent) else None


def _own_policy() -> Policy:
    """Without a policy file the options are the policy."""
    wanted = Policy(
        mode=options.value("mode"),
        previews=options.value("previews"),
        screen=ScreenPolicy(
            references=_option_references(),
            near_copy=options.value("near_copy"),
            review=min(options.value("review"), options.value("near_copy")),
        ),
        retry=RetryPolicy(attempts=int(options.value("retry"))),
        mark=MarkPolicy(enabled=options.value("mark"), strength=options.value("strength")),
        label=LabelPolicy(enabled=options.value("label")),
    )
    return follow_mode(wanted, {"previews"} if _wish("previews") else ())


def _narrow_policy(policy: Policy) -> Policy:
    """A policy file with the options' wishes, as far as they are stricter. An option left at its default is no wish."""
    narrowed = policy.narrow(
        mode=_wish("mode"), previews=_wish("previews"), near_copy=_wish("near_copy"), review=_wish("review")
    )
    references = tuple(dict.fromkeys((*policy.screen.references, *_option_references())))
    return dataclasses.replace(narrowed, screen=dataclasses.replace(narrowed.screen, references=references))


def _wish(key: str) -> Any:
    chosen = options.value(key)
    return None if chosen == options.default(key) else chosen


def _option_references() -> tuple[Path, ...]:
    lines = (line.strip().strip('"') for line in str(options.value("references")).splitlines())
    return tuple(Path(line).expanduser().absolute() for line in lines if line)


def _read_settings() -> Settings:
    weights = str(options.value("embedding_checkpoint")).strip()
    return dataclasses.replace(
        load_settings(_data_directory() / "settings.toml"),  # who dates checkpoints, and what else has no option
        sidecar=options.value("sidecar"),
        device=options.value("device"),
        embedding_checkpoint=Path(weights).expanduser().absolute() if weights else None,
    )
