"""Near-copies made again with a new seed, in the real WebUI: every kind of job, and what the rest of it keeps."""

from __future__ import annotations

import threading
import time

import pytest
from PIL import Image

from provenance_guard.gate.quarantine import Quarantine
from provenance_guard.ledger.opening import opened_body

SMALL = {"width": 128, "height": 128}


def make_references(host, folder, images):
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(images):
        image.convert("RGB").save(folder / f"known-{number}.png")


def set_policy(host, folder, *, mode="block", attempts=3, near_copy=0.85):
    host.set_policy(
        f'mode = "{mode}"\n[retry]\nattempts = {attempts}\n'
        f'[screen]\nreferences = ["{folder.as_posix()}"]\nnear_copy = {near_copy}\n'
    )


def tries(generation):
    """(number, decision, seed) of all that was tried more than once."""
    found = []
    for event in generation.events:
        if event.type in ("picture.released", "picture.blocked") and "attempt" in event.body:
            record = opened_body(event)["record"]
            seed = record["context"]["parameters"]["seed"]
            found.append((event.body["attempt"]["number"], record["decision"]["action"], seed))
    return found


def seeds_in(texts):
    return [int(text.split("Seed: ")[1].split(",")[0]) for text in texts]


def a_drawing():
    return Image.merge("RGB", [Image.radial_gradient("L"), Image.linear_gradient("L"), Image.new("L", (256, 256), 90)])


def inpaint(host, **fields):
    mask = Image.new("L", (256, 256))
    mask.paste(255, (32, 32, 224, 224))
    return host.img2img(a_drawing(), mask=host.encode(mask), denoising_strength=1.0, **fields)


JOBS = {
    "txt2img 2x2": lambda host: host.txt2img(batch_size=2, n_iter=2, seed=500),
    "hires, batch of 2": lambda host: host.txt2img(
        enable_hr=True, hr_scale=1.5, hr_upscaler="Latent", denoising_strength=0.9, batch_size=2, seed=500, **SMALL
    ),
    "LoRA, batch of 2": lambda host: host.txt2img(prompt="a cat <lora:tinylora:0.5>", batch_size=2, n_iter=2, seed=500),
    "img2img, batch of 2": lambda host: host.img2img(a_drawing(), denoising_strength=1.0, batch_size=2, seed=500),
    "inpaint, batch of 2": lambda host: inpaint(host, inpaint_full_res=False, batch_size=2, seed=500),
    "inpaint only masked, batch of 2": lambda host: inpaint(host, inpaint_full_res=True, batch_size=2, seed=500),
}


@pytest.mark.parametrize("job", JOBS)
def test_one_picture_is_made_again_and_the_others_stay(host, tmp_path, job):
    host.set_policy('mode = "warn"\n')
    before = JOBS[job](host)
    pictures = [image for image, record_id in zip(before.images, before.ids, strict=False) if record_id]
    make_references(host, tmp_path / "references", [pictures[1]])
    set_policy(host, tmp_path / "references")
    after = JOBS[job](host)

    tried = tries(after)
    assert tried[0] == (1, "retry", 501) and tried[-1][1] in ("allow", "warn"), tried
    new_seed = tried[-1][2]
    own = [number for number, record_id in enumerate(after.ids) if record_id]
    expected = [500 + number for number in range(len(own))]
    expected[1] = new_seed
    assert seeds_in(after.infotexts[number] for number in own) == expected
    assert after.info["all_seeds"] == expected
    assert len({after.ids[number] for number in own}) == len(own)
    assert len(after.images) == len(before.images)
    for number in own:
        image = after.images[number]
        assert image.size == before.images[number].size
        assert host.marked_with(image) == after.ids[number][:14]
    assert sorted(file.name.split("-")[1].split(".")[0] for file in after.files if "grid" not in file.name) == sorted(
        map(str, expected)
    )
    released = {event.record_id for event in after.of_type("picture.released")}
    assert released == {after.ids[number] for number in own}
    assert {event.record_id for event in after.of_type("picture.saved")} == released
    first = next(event for event in after.events if "attempt" in event.body)
    later = [
        event.body["attempt"]["first"] for event in after.events if event.body.get("attempt", {}).get("number", 0) > 1
    ]
    assert set(later) == {first.record_id}
    queued = after.of_type("run.queued")
    assert len(queued) == len(tried)
    if job.startswith("LoRA"):
        resources = [
            [entry["kind"] for entry in opened_body(event)["record"]["context"]["resources"]]
            for event in after.of_type("picture.released")
        ]
        assert all("lora" in kinds for kinds in resources), resources


@pytest.fixture
def always_a_copy(host, tmp_path):
    """A job whose every picture is a near-copy: nearly all of it is outside the mask, and known."""
    host.set_policy('mode = "warn"\n')
    source = host.txt2img(seed=600).images[0].convert("RGB")
    make_references(host, tmp_path / "references", [source])
    mask = Image.new("L", (256, 256))
    mask.paste(255, (16, 16, 64, 64))

    def run(**fields):
        return host.img2img(
            source, mask=host.encode(mask), inpaint_full_res=True, denoising_strength=0.9, seed=601, **fields
        )

    return run


@pytest.mark.parametrize("mode", ["warn", "quarantine", "block"])
def test_when_every_try_is_a_near_copy_the_mode_applies(host, tmp_path, always_a_copy, mode):
    set_policy(host, tmp_path / "references", mode=mode, attempts=2)
    generation = always_a_copy()
    assert [(number, action) for number, action, _ in tries(generation)] == [(1, "retry"), (2, "retry"), (3, mode)]
    assert f"Provenance decision: {mode}" in generation.infotexts[0]
    assert seeds_in(generation.infotexts) == [tries(generation)[-1][2]]
    kept = Quarantine(host.folder / "provenance" / "quarantine", host.folder / "keys").entries()
    ids = {entry.record_id for entry in kept if not entry.problem}
    assert (generation.ids[0] in ids) is (mode == "quarantine")
    assert (host.marked_with(generation.images[0]) is not None) is (mode == "warn")


def test_an_interrupt_ends_the_tries(host, tmp_path, always_a_copy):
    set_policy(host, tmp_path / "references", attempts=20)
    result = []
    thread = threading.Thread(target=lambda: result.append(always_a_copy(steps=20)))
    thread.start()
    told = set()
    while thread.is_alive() and not any("try 3" in text for text in told):
        told.add(host.get("/sdapi/v1/progress?skip_current_image=true")["textinfo"] or "")
        time.sleep(0.02)
    host.post("/sdapi/v1/interrupt")
    thread.join(120)
    (generation,) = result
    tried = tries(generation)
    assert any("Provenance Guard: try 3 of 21" in text for text in told), told
    assert 3 <= len(tried) < 21 and tried[-1][1] == "block", tried
    assert host.txt2img(seed=7).images[0].size == (256, 256), "the WebUI stays usable"
