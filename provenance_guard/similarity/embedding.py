"""Embeddings: one vector a picture that says what it shows, from a model with weights on this disk.

Two kinds of model are known: open_clip architectures, and copy detectors in one TorchScript file (such as SSCD, Pizzi et al. 2022,
which the user has to bring: it may not be passed on). Nothing is downloaded. Untrained or damaged weights give plausible numbers
(unrelated pictures reach a cosine of 0.99), so weights are tried on built-in pictures first (``sanity``) and refused when they cannot
tell copies from strangers.
"""

from __future__ import annotations

import pickle
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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
_TILES, _TILE = 6, 64


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


@dataclass(frozen=True)
class Form:
    """What a model wants to see: ``size`` (height, width) in pixels, ``mean`` and ``deviation`` of the colours. A picture is
    ``stretched`` to the size, or else its centre is cut out."""

    size: tuple[int, int]
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    stretched: bool

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """The picture as the model wants it: (3, H, W)."""
        height, width = self.size
        scale = max(width / image.width, height / image.height)
        size = (max(round(image.width * scale), width), max(round(image.height * scale), height))
        scaled = image.convert("RGB").resize((width, height) if self.stretched else size, Image.Resampling.BICUBIC)
        left, top = (scaled.width - width) // 2, (scaled.height - height) // 2
        values = np.asarray(scaled.crop((left, top, left + width, top + height)), np.float32) / 255
        standard = (values - np.array(self.mean, np.float32)) / np.array(self.deviation, np.float32)
        return np.asarray(standard, np.float32).transpose(2, 0, 1)


class ModelEmbedder:
    """A loaded model. May be used by several threads. Moves to the CPU when the memory of its device is short."""

    def __init__(
        self,
        model: torch.nn.Module,
        encode: Callable[[Any, torch.Tensor], torch.Tensor],
        form: Form,
        names: tuple[str, str],
        device: torch.device,
    ) -> None:
        """``encode`` gives the vectors (n, dimensions) of a batch (n, 3, H, W); ``names`` are algorithm and version."""
        self._encode, self._form = encode, form
        self._lock = threading.Lock()
        self._move(model, device)
        self.algorithm, self.version = names

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """See ``Embedder``."""
        parts = [self._embed(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
        return np.concatenate(parts)

    def _embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        batch = torch.from_numpy(np.stack([self._form.prepare(image) for image in images]))
        with self._lock, torch.inference_mode():
            try:
                vectors = self._run(batch)
            except torch.cuda.OutOfMemoryError:
                self._move(self._model, torch.device("cpu"))
                torch.cuda.empty_cache()
                vectors = self._run(batch)
        if vectors.ndim != 2 or len(vectors) != len(images):
            raise ValueError(f"the model gives vectors of shape {tuple(vectors.shape)}")
        return torch.nn.functional.normalize(vectors, dim=1).numpy()

    def _run(self, batch: torch.Tensor) -> torch.Tensor:
        return self._encode(self._model, batch.to(device=self._device, dtype=self._kind)).float().cpu()

    def _move(self, model: torch.nn.Module, device: torch.device) -> None:
        self._device = device
        self._kind = torch.float16 if device.type == "cuda" else torch.float32
        self._model = model.to(device=device, dtype=self._kind).eval()


TORCHSCRIPT = "torchscript"
"""The name of the algorithm when the checkpoint is a TorchScript file."""


def load_embedder(
    name: str, checkpoint: Path | None, device: str | torch.device = "cpu"
) -> Embedder | EmbeddingAbsence:
    """An embedder with the weights in ``checkpoint``, or why there is none.

    The checkpoint is the state dictionary (``.pt``, ``.pth``, ``.bin``) or ``.safetensors`` file of the open_clip architecture
    ``name``; nothing in it is executed. Or it is a TorchScript file, whatever ``name`` is, that turns pictures (n, 3, 320, 320),
    standardised as for ImageNet, into vectors (n, dimensions). Such a file is a program: use one from a source that you trust.

    When there is no such file, its name may be that of one of open_clip's own sets of weights for ``name`` (``laion2b_s34b_b79k``):
    then it is read from where open_clip or Hugging Face keep what was downloaded before.
    """
    if checkpoint is None:
        return EmbeddingAbsence("no weight file is configured")
    if not checkpoint.is_file():
        found = _find_downloaded(name, checkpoint.name)
        if isinstance(found, EmbeddingAbsence):
            return found
        checkpoint = found
    is_script = _is_torchscript(checkpoint)
    load, name = (_load_torchscript, TORCHSCRIPT) if is_script else (_load_open_clip, name)
    try:
        embedder = load(name, checkpoint, torch.device(device))
        if isinstance(embedder, EmbeddingAbsence):
            return embedder
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


def _find_downloaded(name: str, tag: str) -> Path | EmbeddingAbsence:
    """The file of a set of weights that open_clip knows by the name ``tag``. Asks no other computer."""
    open_clip = extras.load("open_clip")
    if open_clip is None:
        return EmbeddingAbsence("open-clip-torch is not installed")
    known = open_clip.pretrained.get_pretrained_cfg(name, tag)
    if not known:
        return EmbeddingAbsence(f"the weight file {tag} does not exist, and open_clip has no such weights for {name}")
    kept = [Path("~/.cache/clip").expanduser() / known["url"].rpartition("/")[2]] if known.get("url") else []
    repository, _, file = (known.get("hf_hub") or "").rpartition("/")
    for wanted in (file,) if file else _HUB_FILES:
        if repository:
            with suppress(OSError, ValueError):  # It is not there.
                kept.append(Path(open_clip.pretrained.hf_hub_download(repository, wanted, local_files_only=True)))
    there = [path for path in kept if path.is_file()]
    if not there:
        return EmbeddingAbsence(
            f"the weights {tag} of {name} were not downloaded yet, and nothing is downloaded by itself"
        )
    return there[0]


def without_composition(image: Image.Image) -> Image.Image:
    """The picture cut into tiles that change places: what is left for a model to see is texture, palette and stroke, the style."""
    side = _TILES * _TILE
    square = image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    shuffled = Image.new("RGB", (side, side))
    for place, tile in enumerate(np.random.default_rng(_TILES).permutation(_TILES**2).tolist()):
        left, top = tile % _TILES * _TILE, tile // _TILES * _TILE
        part = square.crop((left, top, left + _TILE, top + _TILE))
        shuffled.paste(part, (place % _TILES * _TILE, place // _TILES * _TILE))
    return shuffled


def _load_open_clip(name: str, checkpoint: Path, device: torch.device) -> Embedder | EmbeddingAbsence:
    open_clip = extras.load("open_clip")
    if open_clip is None:
        return EmbeddingAbsence("open-clip-torch is not installed")
    if name not in open_clip.list_models():
        return EmbeddingAbsence(f"open_clip knows no model {name!r}")
    model = open_clip.create_model(name)
    model.load_state_dict(_read_weights(checkpoint))
    visual = model.visual
    size = visual.image_size if isinstance(visual.image_size, (tuple, list)) else (visual.image_size,) * 2
    mean = getattr(visual, "image_mean", None) or open_clip.OPENAI_DATASET_MEAN
    deviation = getattr(visual, "image_std", None) or open_clip.OPENAI_DATASET_STD
    form = Form((size[0], size[1]), tuple(mean), tuple(deviation), stretched=False)
    names = (f"open_clip-{name}".replace("/", "-"), _version(checkpoint))
    return ModelEmbedder(model, lambda loaded, batch: loaded.encode_image(batch), form, names, device)


def _load_torchscript(name: str, checkpoint: Path, device: torch.device) -> Embedder:
    read: Any = torch.jit.load
    model = read(str(checkpoint), map_location="cpu")
    return ModelEmbedder(
        model, lambda loaded, batch: loaded(batch), _COPY_DETECTOR, (name, _version(checkpoint)), device
    )


def _is_torchscript(checkpoint: Path) -> bool:
    """Whether a file is an archive with compiled code in it; a state dictionary is an archive without."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _version(checkpoint: Path) -> str:
    return f"{PREPROCESSING}.{sha256_file(checkpoint)[:16]}"


_COPY_DETECTOR = Form((320, 320), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), stretched=True)
"""How SSCD's own documentation prepares pictures for batches."""


_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")

_UNUSABLE = (
    ExtraMissingError,
    OSError,
    AttributeError,
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
