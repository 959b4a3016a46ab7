"""From command-line options to a ``Config``."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from provenance_guard import paths
from provenance_guard.config import Config, Policy, load_policy, load_settings
from provenance_guard.errors import LibraryError


def read_config(arguments: argparse.Namespace, *, references: Sequence[Path] = ()) -> Config:
    """The configuration that holds for one command: policy file or default, the given reference folders added.

    Raises ConfigError, or LibraryError when a given reference folder is not there.
    """
    data = (arguments.data or paths.data_directory()).absolute()
    file = arguments.policy or paths.policy_file()
    policy = load_policy(file) if file else Policy()
    return Config(
        data_directory=data,
        key_directory=(arguments.keys or paths.key_directory()).absolute(),
        policy=add_references(policy, references),
        settings=load_settings(data / "settings.toml"),
    )


def add_references(policy: Policy, folders: Sequence[Path]) -> Policy:
    """``policy`` with more folders to compare with. Raises LibraryError when one is not there."""
    for folder in folders:
        if not folder.is_dir():
            raise LibraryError(
                f"The reference folder {folder} does not exist.", next_step="Check the name and try again."
            )
    together = dict.fromkeys((*policy.screen.references, *(folder.absolute() for folder in folders)))
    return dataclasses.replace(policy, screen=dataclasses.replace(policy.screen, references=tuple(together)))
