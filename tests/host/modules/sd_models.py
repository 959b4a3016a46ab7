"""The loaded checkpoint."""

from __future__ import annotations


class CheckpointInfo:
    def __init__(self, filename: str, name_for_extra: str, sha256: str | None) -> None:
        self.filename = filename
        self.name_for_extra = name_for_extra
        self.sha256 = sha256


class Model:
    def __init__(self, sd_checkpoint_info: CheckpointInfo) -> None:
        self.sd_checkpoint_info = sd_checkpoint_info
