"""The Lora extension's description of a network and its file."""

from __future__ import annotations

from typing import Any


class NetworkOnDisk:
    def __init__(self, name: str, filename: str, hash: str, metadata: dict[str, Any]) -> None:
        self.name = name
        self.filename = filename
        self.hash = hash
        self.metadata = metadata


class Network:
    def __init__(self, name: str, network_on_disk: NetworkOnDisk) -> None:
        self.name = name
        self.network_on_disk = network_on_disk
        self.te_multiplier = 1.0
        self.unet_multiplier = 1.0
