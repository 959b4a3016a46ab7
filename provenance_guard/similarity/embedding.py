"""Embeddings: one vector a picture that says what it shows, from an open_clip model with weights on this disk.

Nothing is downloaded. Untrained or damaged weights give plausible numbers (unrelated pictures reach a cosine of 0.99), so
weights are tried on built-in pictures first (``sanity``) and refused when they cannot tell copies from strangers.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from provenance_guard import extras
from provenance_guard.errors import ExtraMissingError
from provenance_guard.files import sha256_file
from provenance_guard.similarity import sanity

PREPROCESSING = 1
"""Changes when the same picture would be given to a model in another form; part of the version of every embedding."""

_BATCH = 16


class Embedder(Protocol):
    """Turns pictures into unit vectors. ``algorithm`` and ``version`` name the model and the exact weights."""

    @property
    def algorithm(self) -> str: ...

    @property
    def version(self) -> str: ...

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Vectors of length 1, shape (n, dimensions)."""


@dataclass(frozen=True)
class EmbeddingAbsence:
    """There are no embeddings; ``reason`` is a clause that a page can show."""

    reason: str


class OpenClipEmbedder:
    """The picture half of an open_clip model. May be used by several threads."""

    def __init__(self, model: torch.nn.Module, name: str, version: str, device: torch.device) -> None:
        """``model`` is an open_clip model that is loaded already; see ``load_embedder``."""
        self._dtype = torch.float16 if device.type == "cuda" else torch.float32
        self._model = model.to(device=device, dtype=self._dtype).eval()
        self._device = device
        self._lock = threading.Lock()
        self.algorithm = f"open_clip-{name}".replace("/", "-")
        self.version = version

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """See ``Embedder``."""
        parts = [self._embed(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
        return np.concatenate(parts)

    def _embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        batch = torch.from_numpy(np.stack([self._prepare(image) for image in images]))
        with self._lock, torch.inference_mode():
            model: Any = self._model
            vectors = model.encode_image(batch.to(device=self._device, dtype=self._dtype)).float()
            unit = torch.nn.functional.normalize(vectors, dim=1)
        return unit.cpu().numpy()

    def _prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """What open_clip does when it evaluates: shorter side to the model's size, centre square, standardised. (3, H, W)."""
        visual: Any = self._model.visual
        height, width = visual.image_size if isinstance(visual.image_size, (tuple, list)) else (visual.image_size,) * 2
        scale = max(width / image.width, height / image.height)
        size = (max(round(image.width * scale), width), max(round(image.height * scale), height))
        scaled = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
        values = np.asarray(scaled.crop((left, top, left + width, top + height)), np.float32) / 255
        mean, deviation = np.array(visual.image_mean, np.float32), np.array(visual.image_std, np.float32)
        return np.asarray((values - mean) / deviation, np.float32).transpose(2, 0, 1)


def load_embedder(
    name: str, checkpoint: Path | None, device: str | torch.device = "cpu"
) -> Embedder | EmbeddingAbsence:
    """An embedder of the open_clip architecture ``name`` with the weights in ``checkpoint``, or why there is none.

    A checkpoint is a state dictionary (``.pt``, ``.pth``, ``.bin``) or ``.safetensors`` file; nothing in it is executed.
    """
    if checkpoint is None:
        return EmbeddingAbsence("no weight file is configured")
    if not checkpoint.is_file():
        return EmbeddingAbsence(f"the weight file {checkpoint} does not exist")
    open_clip = extras.load("open_clip")
    if open_clip is None:
        return EmbeddingAbsence("open-clip-torch is not installed")
    if name not in open_clip.list_models():
        return EmbeddingAbsence(f"open_clip knows no model {name!r}")
    try:
        model = open_clip.create_model(name)
        mean, deviation = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
        model.visual.image_mean = getattr(model.visual, "image_mean", None) or mean
        model.visual.image_std = getattr(model.visual, "image_std", None) or deviation
        model.load_state_dict(_read_weights(checkpoint))
        version = f"{PREPROCESSING}.{sha256_file(checkpoint)[:16]}"
        embedder = OpenClipEmbedder(model, name, version, torch.device(device))
        reached = sanity.area_under_curve(embedder.embed)
    except _UNUSABLE as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return EmbeddingAbsence(f"the weight file {checkpoint.name} cannot be used with {name} ({reason})")
    if not reached >= sanity.LEAST_AUC:  # Also refuses "not a number".
        return EmbeddingAbsence(
            f"the weights in {checkpoint.name} cannot tell copies from strangers (AUC {reached:.2f}, needed "
            f"{sanity.LEAST_AUC}): they are untrained, damaged or of another model"
        )
    return embedder


_UNUSABLE = (
    ExtraMissingError,
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    pickle.UnpicklingError,
)
"""What reading a file of unknown origin into a model raises: damaged archives, wrong names or shapes, too little memory."""


def _read_weights(checkpoint: Path) -> Mapping[str, torch.Tensor]:
    if checkpoint.suffix == ".safetensors":
        loaded = extras.require("safetensors.torch", purpose="Reading .safetensors weights").load_file(checkpoint)
    else:
        loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict):
        raise ValueError("it holds no state dictionary")
    state = loaded.get("state_dict", loaded)
    return {name.removeprefix("module."): values for name, values in state.items()}
