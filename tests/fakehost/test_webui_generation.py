"""What a generation leaves behind: pictures, files, ledger, and what the user reads."""

from __future__ import annotations

import gc
import hashlib
import json
import time
import weakref

import pytest
from PIL import Image

from provenance_guard.labels import SourceType, read_labels
from provenance_guard.pictures import pixel_sha256

MARKED = "Provenance Guard, {0}: no references to compare with, {1} recorded, {1} marked."


def ids_in(infotexts):
    return [text.split("Provenance id: ")[1][:32] if "Provenance id" in text else None for text in infotexts]


def save_reference(host, folder, seed):
    folder.mkdir(exist_ok=True)
    host.modules.processing.draw(seed, (256, 256)).save(folder / f"reference-{seed}.png")


def of_type(events, kind):
    return [event for event in events if event.type == kind]


def test_batches_are_recorded_one_by_one(host):
    job = host.txt2img(batch_size=2, n_iter=2)
    processed = host.generate(job)
    events = host.ledger_events()
    grid, *ids = ids_in(processed.infotexts)
    assert grid is None  # the grid is none of the pictures
    assert len(set(ids)) == 4
    released = of_type(events, "picture.released")
    assert [event.record_id for event in released] == ids
    assert [event.type for event in events if event.type.startswith("run")] == ["run.queued"]
    assert of_type(events, "run.queued")[0].seq < released[0].seq
    assert processed.comments == MARKED.format("4 pictures", 4) + "\n"
    assert host.reported() == []


def test_saved_files_are_labelled_hashed_and_have_a_sidecar(host):
    processed = host.generate(host.txt2img())
    (file,) = host.outputs.glob("*.png")
    labels = read_labels(file)
    assert labels.source_type is SourceType.TRAINED_ALGORITHMIC_MEDIA
    assert [labels.record_id] == ids_in(processed.infotexts)
    (saved,) = of_type(host.ledger_events(), "picture.saved")
    assert saved.body["file_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert file.with_name(file.name + ".prov.json").exists()
    with Image.open(file) as reopened:
        assert pixel_sha256(reopened) == saved.body["pixel_sha256"] == pixel_sha256(processed.images[0])
        assert reopened.info["parameters"] == processed.infotexts[0]


def test_gallery_picture_carries_the_mark_of_its_record(host):
    from provenance_guard.watermark import Payload
    from provenance_guard.webui import runtime

    processed = host.generate(host.txt2img(width=512, height=512))
    detection = runtime.guard().watermarker.detect(processed.images[0])
    assert ids_in(processed.infotexts)[0].startswith(Payload.unpack(detection.payload).record_id_prefix)


def test_the_queued_run_tells_all_seeds(host):
    host.generate(host.txt2img(batch_size=2, n_iter=2, seed=41))
    from provenance_guard.provenance import restore

    (queued,) = of_type(host.ledger_events(), "run.queued")
    asked = restore(queued.body, queued.openings)["context"]["parameters"]
    assert asked["seeds"] == [41, 42, 43, 44]
    assert asked["prompts"] == ["a cat"]


def test_a_near_copy_is_withheld_and_the_batch_goes_on(host, tmp_path):
    save_reference(host, tmp_path / "references", 6)
    host.set_options(mode="block", references=str(tmp_path / "references"))
    processed = host.generate(host.txt2img(batch_size=3))
    original = host.modules.processing.draw(6, (256, 256))
    _, first, second, third = processed.images
    assert second.size == original.size
    assert len(second.getcolors(256 * 256) or ()) < len(original.getcolors(256 * 256))
    assert [f"Seed: {seed}," in text for seed, text in zip((5, 6, 7), processed.infotexts[1:], strict=True)] == [
        True
    ] * 3
    assert ["Provenance decision: block" in text for text in processed.infotexts[1:]] == [False, True, False]
    (blocked,) = of_type(host.ledger_events(), "picture.blocked")
    assert blocked.record_id == ids_in(processed.infotexts)[2]
    assert "reference-6.png" in processed.comments
    assert "3 pictures: 1 close to the reference, 3 recorded, 2 marked, 1 withheld." in processed.comments
    files = sorted(host.outputs.glob("*.png"))
    assert [pixel_sha256(Image.open(file)) for file in files] == [
        pixel_sha256(image) for image in (first, second, third)
    ]
    assert read_labels(files[1]) is None  # a placeholder is no generated picture


def test_a_near_copy_is_only_announced_in_mode_warn(host, tmp_path):
    save_reference(host, tmp_path / "references", 5)
    host.set_options(mode="warn", references=str(tmp_path / "references"))
    processed = host.generate(host.txt2img())
    assert "Provenance decision: warn" in processed.infotexts[0]
    assert "reference-5.png" in processed.comments
    assert "1 marked" in processed.comments


def test_a_job_may_be_stricter_than_the_options(host, tmp_path):
    save_reference(host, tmp_path / "references", 5)
    host.set_options(mode="warn", references=str(tmp_path / "references"))
    processed = host.generate(host.txt2img(), True, "block")
    assert "Provenance decision: block" in processed.infotexts[0]


def test_the_owner_may_switch_a_job_off(host):
    processed = host.generate(host.txt2img(), False, "as set")
    assert pixel_sha256(processed.images[0]) == pixel_sha256(host.modules.processing.draw(5, (256, 256)))
    assert processed.comments == "Provenance Guard was off for this job.\n"
    assert ids_in(processed.infotexts) == [None]


def test_a_policy_file_cannot_be_switched_off(host, tmp_path):
    policy = tmp_path / "policy.toml"
    save_reference(host, tmp_path / "references", 5)
    policy.write_text('mode = "block"\n[screen]\nreferences = ["references"]\n', "utf-8")
    host.modules.shared.cmd_opts.provenance_policy = policy
    host.set_options(mode="off", near_copy=1.0)
    processed = host.generate(host.txt2img(), False, "as set")
    assert "Provenance decision: block" in processed.infotexts[0]


def test_options_cannot_be_set_by_a_request(host, tmp_path):
    host.call("ui_settings")
    save_reference(host, tmp_path / "references", 5)
    host.set_options(mode="block", references=str(tmp_path / "references"))
    job = host.txt2img(override_settings={"provenance_guard_mode": "off", "provenance_guard_references": ""})
    processed = host.generate(job)
    assert "Provenance decision: block" in processed.infotexts[0]


def test_strange_controls_count_as_no_wish(host):
    processed = host.generate(host.txt2img(), "false", {"mode": "off"})
    assert processed.comments == MARKED.format("1 picture", 1) + "\n"


def test_cells_of_a_plot_have_their_own_ids(host):
    job = host.txt2img()
    cells = [host.modules.processing.copy_for_cell(job, steps=steps) for steps in (10, 20)]
    infotexts = [text for cell in cells for text in host.generate(cell).infotexts]
    assert len(set(ids_in(infotexts))) == 2


def test_an_init_image_is_recognised_by_its_pixels(host):
    parent = host.generate(host.txt2img())
    host.generate(host.img2img(init_images=[parent.images[0].copy()], seed=9, denoising_strength=0.5))
    record = of_type(host.ledger_events(), "picture.released")[-1].body["record"]
    (found,) = record["context"]["parents"]
    assert found["role"] == "init_image"
    assert found["record_id"] == ids_in(parent.infotexts)[0]
    assert found["found_by"] == "pixels"
    assert record["context"]["origin"] == "webui.img2img"
    assert record["context"]["parameters"]["denoising_strength"] == 0.5


def test_a_changed_init_image_is_known_by_its_label_and_a_mask_is_recorded(host):
    parent = host.generate(host.txt2img())
    changed = parent.images[0].resize((200, 200))
    changed.info["parameters"] = parent.infotexts[0]
    mask = Image.new("L", (256, 256), 255)
    host.generate(host.img2img(init_images=[changed], image_mask=mask, denoising_strength=0.5))
    record = of_type(host.ledger_events(), "picture.released")[-1].body["record"]
    first, second = record["context"]["parents"]
    assert (first["record_id"], first["found_by"]) == (ids_in(parent.infotexts)[0], "label")
    assert (second["role"], second["record_id"]) == ("mask", None)


def test_jpeg_files_are_labelled_too(host):
    host.modules.shared.opts.samples_format = "jpg"
    processed = host.generate(host.txt2img())
    (file,) = host.outputs.glob("*.jpg")
    assert [read_labels(file).record_id] == ids_in(processed.infotexts)


def test_the_file_is_found_when_the_host_adds_a_number(host):
    host.modules.shared.opts.save_images_replace_action = "Add number suffix"
    first, second = host.generate(host.txt2img()), host.generate(host.txt2img())
    files = {file.name: read_labels(file).record_id for file in host.outputs.glob("*.png")}
    assert files == {"00000-5.png": ids_in(first.infotexts)[0], "00000-5-1.png": ids_in(second.infotexts)[0]}


def test_unsaved_pictures_are_recorded(host):
    processed = host.generate(host.txt2img(do_not_save_samples=True))
    events = host.ledger_events()
    assert [event.record_id for event in of_type(events, "picture.released")] == ids_in(processed.infotexts)
    assert of_type(events, "picture.saved") == []


def test_reload_of_the_ui_doubles_nothing(host):
    host.generate(host.txt2img())
    host.load_extension()
    host.load_extension()
    host.generate(host.txt2img(seed=8))
    assert len(of_type(host.ledger_events(), "picture.released")) == 2
    assert len(of_type(host.ledger_events(), "picture.saved")) == 2


def test_remembering_keeps_no_pixels_alive(host):
    job = host.txt2img()
    processed = host.generate(job)
    gone = weakref.ref(processed.images[0])
    gc.disable()
    try:
        processed.images.clear()
        assert gone() is None
    finally:
        gc.enable()


def test_models_are_recorded_with_hashes_of_our_own(host, tmp_path):
    import networks
    from modules import sd_hijack, sd_models, sd_vae, shared
    from modules.textual_inversion.textual_inversion import Embedding
    from network import Network, NetworkOnDisk

    files = {name: tmp_path / name for name in ("model.safetensors", "vae.pt", "style.safetensors", "word.pt")}
    for name, path in files.items():
        path.write_bytes(name.encode() * 1000)
    header = json.dumps({"__metadata__": {"ss_num_train_images": "250"}}).encode()
    files["style.safetensors"].write_bytes(len(header).to_bytes(8, "little") + header)
    shared.sd_model = sd_models.Model(sd_models.CheckpointInfo(str(files["model.safetensors"]), "model", "claimed"))
    sd_vae.loaded_vae_file = str(files["vae.pt"])
    on_disk = NetworkOnDisk("style", str(files["style.safetensors"]), "f" * 64, {})
    networks.loaded_networks.append(Network("style", on_disk))
    sd_hijack.model_hijack.embedding_db.word_embeddings["word"] = Embedding("word", str(files["word.pt"]))

    host.generate(host.txt2img(extra_generation_params={"TI hashes": "word: 0123456789ab, gone: 0"}))
    from provenance_guard.provenance import restore

    event = of_type(host.ledger_events(), "picture.released")[0]
    models = restore(event.body["record"], event.openings)["context"]["resources"]
    assert {model["file_name"]: model["sha256"] for model in models} == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()
    }
    lora = next(model for model in models if model["kind"] == "lora")
    assert (lora["declared_hash"], lora["weight"]) == ("f" * 64, 1.0)
    assert lora["metadata"]["ss_num_train_images"] in ("250", 250)


def test_a_checkpoint_is_hashed_when_it_is_loaded(host, tmp_path):
    from modules import sd_models

    from provenance_guard.webui import runtime

    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights" * 1000)
    host.call("model_loaded", sd_models.Model(sd_models.CheckpointInfo(str(path), "model", None)))
    for _ in range(200):
        if runtime.hasher().known(path):
            break
        time.sleep(0.05)
    assert runtime.hasher().known(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_references_are_read_when_the_host_has_started(host, tmp_path):
    from provenance_guard.webui import runtime

    save_reference(host, tmp_path / "references", 5)
    host.set_options(references=str(tmp_path / "references"))
    host.call("app_started", None, None)
    for _ in range(200):
        if runtime.guard()._references_synced:
            break
        time.sleep(0.05)
    assert runtime.guard()._references_synced


@pytest.mark.parametrize("key", ["mode", "near_copy", "review", "strength"])
def test_defaults_of_options_are_those_of_the_policy(host, key):
    from provenance_guard.config import Policy
    from provenance_guard.webui import options

    policy = Policy()
    defaults = {"mode": policy.mode, "strength": policy.mark.strength}
    defaults |= {"near_copy": policy.screen.near_copy, "review": policy.screen.review}
    assert options.default(key) == defaults[key]
