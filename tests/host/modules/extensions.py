"""Installed extensions."""

from __future__ import annotations


class Extension:
    def __init__(self, name: str, path: str, enabled: bool = True, is_builtin: bool = False) -> None:
        self.name = name
        self.path = path
        self.enabled = enabled
        self.is_builtin = is_builtin
        self.commit_hash = ""
        self.remote: str | None = None

    def read_info_from_repo(self) -> None:
        self.commit_hash = "c0ffee"
        self.remote = "https://example.invalid/extension.git"


extensions: list[Extension] = []
