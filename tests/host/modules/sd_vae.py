"""The loaded VAE."""

from __future__ import annotations

loaded_vae_file: str | None = None
