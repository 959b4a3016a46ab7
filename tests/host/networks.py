"""The Lora extension's module of the loaded networks."""

from __future__ import annotations

from network import Network

loaded_networks: list[Network] = []
