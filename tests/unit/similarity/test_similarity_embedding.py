from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from similarity_pictures import draw_scene

from provenance_guard.similarity import EmbeddingAbsence, Library, load_embedder, sanity

open_clip = pytest.importorskip("open_clip")

NAME = "similarity-test-tiny"
CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module", autouse=True)
def model_config(tmp_path_factory: pytest.TempPathFactory) -> None:

    path = tmp_path_factory.mktemp("configs") / f"{NAME}.json"
    path.write_text(json.dumps(CONFIG), "utf-8")
    open_clip.add_model_config(path)


def _train(model: torch.nn.Module, steps: int) -> None:
    """Teach a model the built-in pictures and their copies, so that its weights are honestly trained for the check."""
    originals = sanity.draw_pictures()
    groups = [[picture, *sanity.make_copies(picture)] for picture in originals]
    mean, deviation = np.array(open_clip.OPENAI_DATASET_MEAN), np.array(open_clip.OPENAI_DATASET_STD)
    small = np.stack([[np.asarray(p.resize((32, 32), 3)) / 255.0 for p in group] for group in groups])
    values = torch.tensor(((small - mean) / deviation).transpose(0, 1, 4, 2, 3), dtype=torch.float32)
    labels = torch.arange(len(groups)).repeat_interleave(values.shape[1])
    optimiser = torch.optim.Adam(model.visual.parameters(), lr=1e-3)
    for _ in range(steps):
        unit = torch.nn.functional.normalize(model.encode_image(values.flatten(0, 1)), dim=1)
        logits = unit @ unit.T / 0.1 - 1e9 * torch.eye(len(unit))
        same = (labels[:, None] == labels[None]) & ~torch.eye(len(unit), dtype=torch.bool)
        loss = -(logits.log_softmax(dim=1)[same]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model_config: None) -> Path:
    torch.manual_seed(1)
    model = open_clip.create_model(NAME)
    _train(model, 30)
    path = tmp_path_factory.mktemp("weights") / "trained.pt"
    torch.save({"state_dict": {f"module.{name}": values for name, values in model.state_dict().items()}}, path)
    return path


@pytest.mark.parametrize("seed", [1, 2])
def test_untrained_weights_are_refused(tmp_path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    path = tmp_path / "untrained.pt"
    torch.save(open_clip.create_model(NAME).state_dict(), path)
    refused = load_embedder(NAME, path)
    assert isinstance(refused, EmbeddingAbsence)
    assert "cannot tell copies from strangers" in refused.reason


def test_absence_has_a_reason(tmp_path: Path, trained: Path) -> None:
    assert "configured" in load_embedder(NAME, None).reason
    assert "does not exist" in load_embedder(NAME, tmp_path / "no.pt").reason
    assert "no model" in load_embedder("unheard-of", trained).reason
    assert "cannot be used" in load_embedder("RN50", trained).reason
    broken = tmp_path / "broken.pt"
    broken.write_bytes(trained.read_bytes()[:5000])
    assert "cannot be used" in load_embedder(NAME, broken).reason
    listed = tmp_path / "list.pt"
    torch.save([1, 2, 3], listed)
    assert "cannot be used" in load_embedder(NAME, listed).reason


def test_downloaded_weights_are_found_by_their_name(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrained = open_clip.pretrained
    known = {"by_url": {"url": "https://example.org/v1/tiny.pt"}, "by_hub": {"url": "", "hf_hub": "someone/tiny/"}}
    monkeypatch.setattr(pretrained, "get_pretrained_cfg", lambda name, tag: known.get(tag, {}))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    asked: list[bool] = []

    def from_hub(repository: str, file: str, *, local_files_only: bool) -> str:
        asked.append(local_files_only)
        if file.endswith(".bin"):
            return str(trained)
        raise FileNotFoundError(file)

    monkeypatch.setattr(pretrained, "hf_hub_download", from_hub)
    assert load_embedder(NAME, Path("/somewhere/by_hub")).version == load_embedder(NAME, trained).version
    assert all(asked)
    assert "not downloaded" in load_embedder(NAME, Path("by_url")).reason
    (tmp_path / ".cache" / "clip").mkdir(parents=True)
    (tmp_path / ".cache" / "clip" / "tiny.pt").write_bytes(trained.read_bytes())
    assert load_embedder(NAME, Path("by_url")).algorithm == f"open_clip-{NAME}"
    assert "does not exist" in load_embedder(NAME, Path("by_nobody")).reason


def test_weights_with_code_in_them_are_not_executed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "executed",))

    path = tmp_path / "evil.pt"
    torch.save(Evil(), path)
    assert isinstance(load_embedder(NAME, path), EmbeddingAbsence)
    assert not (tmp_path / "executed").exists()


def test_trained_weights_give_unit_vectors_that_name_their_weights(trained: Path, tmp_path: Path) -> None:
    embedder = load_embedder(NAME, trained)
    assert not isinstance(embedder, EmbeddingAbsence)
    vectors = embedder.embed([draw_scene(seed) for seed in range(18)])
    assert vectors.shape == (18, 32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(18), abs=1e-5)
    assert embedder.embed([draw_scene(17)])[0] == pytest.approx(vectors[17], abs=1e-4)
    again = tmp_path / "again.safetensors"
    pytest.importorskip("safetensors.torch").save_file(torch.load(trained)["state_dict"], again)
    other = load_embedder(NAME, again)
    assert other.version != embedder.version
    assert other.embed([draw_scene(0)])[0] == pytest.approx(vectors[0], abs=1e-5)


def test_a_library_gains_embeddings_when_weights_appear(trained: Path, tmp_path: Path) -> None:
    references = tmp_path / "references"
    references.mkdir()
    for number, picture in enumerate(sanity.draw_pictures()):
        picture.save(references / f"{number}.png")
    with Library.open(tmp_path / "data") as without:
        without.sync(references)
        assert any("No semantic comparison" in note for note in without.screen(sanity.draw_pictures()[5]).notes)
    embedder = load_embedder(NAME, trained)
    with Library.open(tmp_path / "data", embedder=embedder) as library:
        library.sync(references)
        status = library.status()
        assert status.embedding == f"{embedder.algorithm} {embedder.version}"
        assert status.algorithms[status.embedding] == 8
        verdict = library.screen(sanity.draw_pictures()[5])
        assert verdict.notes == ()
        assert verdict.matches[0].reference.name == "5.png"
        dimensions = verdict.matches[0].dimensions
        assert dimensions.semantic == pytest.approx(1.0, abs=0.01)
        assert dimensions.style == pytest.approx(1.0, abs=0.05)
        assert 0 < dimensions.semantic_above_background < 1.5
        assert library.screen(sanity.draw_pictures()[5], near_copy=1.1, review=1.1).level == "review"


class _Pooled(torch.nn.Module):
    """A small copy detector: coarse patterns of light and dark, whichever side is left."""

    def __init__(self, useful: bool) -> None:
        super().__init__()
        self.useful = useful

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        grey = pictures.mean(dim=1, keepdim=True)
        if not self.useful:
            return torch.ones(len(pictures), 8) + 0.01 * grey.mean(dim=(1, 2, 3))[:, None]
        small = torch.nn.functional.adaptive_avg_pool2d(grey, 10)
        small = small - torch.nn.functional.avg_pool2d(small, 5, 1, 2)
        both = small + small.flip(3)
        return both.flatten(1)


def _save_script(path: Path, useful: bool) -> Path:
    torch.jit.script(_Pooled(useful)).save(str(path))
    return path


def test_a_torchscript_copy_detector_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanity, "LEAST_AUC", 0.6)  # It stands in for a trained model; only the way there is tested.
    embedder = load_embedder("ViT-B-32", _save_script(tmp_path / "detector.torchscript.pt", useful=True))
    assert not isinstance(embedder, EmbeddingAbsence), embedder.reason
    references = tmp_path / "references"
    references.mkdir()
    for seed in range(4, 8):
        draw_scene(seed).save(references / f"{seed}.png")
    with Library.open(tmp_path / "data", embedder=embedder) as library:
        library.sync(references)
        assert library.status().embedding == f"torchscript {embedder.version}"
        dimensions = library.screen(draw_scene(4)).matches[0].dimensions
        assert dimensions.semantic == pytest.approx(1.0, abs=0.01)
        assert dimensions.semantic_above_background > 0.3
        assert dimensions.style is not None


def test_a_torchscript_file_that_tells_nothing_is_refused(tmp_path: Path) -> None:
    refused = load_embedder("torchscript", _save_script(tmp_path / "useless.pt", useful=False))
    assert "cannot tell copies from strangers" in refused.reason
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"no archive")
    assert isinstance(load_embedder("torchscript", broken), EmbeddingAbsence)


def test_a_model_moves_to_the_cpu_when_its_device_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanity, "LEAST_AUC", 0.0)
    embedder = load_embedder("torchscript", _save_script(tmp_path / "detector.pt", useful=True))
    expected = embedder.embed([draw_scene(1)])
    run, calls = embedder._run, []

    def refuse_once(batch: torch.Tensor) -> torch.Tensor:
        calls.append(batch)
        if len(calls) == 1:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return run(batch)

    monkeypatch.setattr(embedder, "_run", refuse_once)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert embedder.embed([draw_scene(1)]) == pytest.approx(expected, abs=1e-6)
