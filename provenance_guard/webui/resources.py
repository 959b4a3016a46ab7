"""The model files behind a picture, as the host has really loaded them, with hashes of our own.

What the host calls a hash is no evidence: a LoRA declares its own, and all VAE files share one cache entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provenance_guard.provenance import Resource, ResourceHasher, resource_from_file
from provenance_guard.provenance.record import ResourceKind
from provenance_guard.webui import compat

_PATIENCE = 0.2
"""Seconds that a picture waits for hashes still being worked out; a large checkpoint's comes with a later picture."""


@dataclass(frozen=True)
class ModelFile:
    """A model file in use. ``declared_hash`` is what the host or the file claims."""

    kind: ResourceKind
    name: str
    path: Path
    declared_hash: str | None = None
    weight: float | None = None


def request_hashes(p: Any, hasher: ResourceHasher) -> None:
    """Have the files of a run hashed in the background, while the host is sampling."""
    for file in model_files(p):
        hasher.request(file.path)


def describe_models(p: Any, hasher: ResourceHasher) -> tuple[Resource, ...]:
    """The model files of a run for the record."""
    files = list(model_files(p))
    wait([hasher.request(file.path) for file in files], timeout=_PATIENCE)
    return tuple(
        resource_from_file(
            file.kind, file.path, hasher, name=file.name, declared_hash=file.declared_hash, weight=file.weight
        )
        for file in files
    )


def model_files(p: Any) -> Iterator[ModelFile]:
    """Checkpoint, VAE, LoRAs as they took effect, embeddings met in the prompts, hypernetworks."""
    checkpoint = compat.checkpoint()
    if checkpoint is not None:
        yield ModelFile("checkpoint", checkpoint.name_for_extra, Path(checkpoint.filename), checkpoint.sha256)
    vae = compat.vae_file()
    if vae is not None:
        yield ModelFile("vae", vae.stem, vae)
    for module in compat.forge_modules():
        yield ModelFile("module", module.stem, module)
    for network in compat.loaded_networks():
        on_disk = network.network_on_disk
        yield ModelFile("lora", network.name, Path(on_disk.filename), on_disk.hash, network.unet_multiplier)
    for name in _embeddings_used(p):
        file = compat.embedding_file(name)
        if file is not None:
            yield ModelFile("embedding", name, file)
    for network in compat.hypernetworks():
        yield ModelFile("hypernetwork", network.name, Path(network.filename))


def _embeddings_used(p: Any) -> list[str]:
    """The host tells the embeddings that it met in the prompts as ``name: hash, name: hash``."""
    told = (getattr(p, "extra_generation_params", None) or {}).get("TI hashes")
    return [pair.split(":")[0].strip() for pair in told.split(",")] if isinstance(told, str) else []
