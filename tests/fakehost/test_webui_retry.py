"""A near-copy is made again with a new seed: what comes out, what is told, and what the rest of the job keeps."""

from __future__ import annotations

import pytest
from PIL import Image

from provenance_guard.ledger.opening import opened_body
from provenance_guard.pictures import pixel_sha256


@pytest.fixture
def near_copies(host, tmp_path):
    """References that the pictures of some seeds are near-copies of, under a policy file."""

    def set_policy(*seeds: int, text: str = 'mode = "block"', attempts: int = 2) -> None:
        folder = tmp_path / "references"
        folder.mkdir(exist_ok=True)
        for seed in seeds:
            host.modules.processing.draw(seed, (256, 256)).save(folder / f"reference-{seed}.png")
        policy = tmp_path / "policy.toml"
        policy.write_text(
            f'{text}\n[retry]\nattempts = {attempts}\n[screen]\nreferences = ["references"]\n', encoding="utf-8"
        )
        host.modules.shared.cmd_opts.provenance_policy = policy

    return set_policy


@pytest.fixture
def next_seeds(host, monkeypatch):
    """The seeds that further tries get."""
    from provenance_guard.webui import retry

    def give(*seeds: int) -> None:
        following = iter(seeds)
        monkeypatch.setattr(retry.random, "randrange", lambda _: next(following))

    return give


def tries(host):
    """Number, decision and seed of every try in the ledger, in order."""
    found = []
    for event in host.ledger_events():
        if event.type in ("picture.released", "picture.blocked") and "attempt" in event.body:
            record = opened_body(event)["record"]
            seed = record["context"]["parameters"]["seed"]
            found.append((event.body["attempt"]["number"], record["decision"]["action"], seed))
    return found


def is_original(host, image, seed):
    return len(image.getcolors(256 * 256) or ()) >= len(host.modules.processing.draw(seed, (256, 256)).getcolors(65536))


def test_the_second_try_takes_the_place_of_the_first(host, near_copies, next_seeds):
    near_copies(6)
    next_seeds(77)
    job = host.txt2img(batch_size=3)
    processed = host.generate(job)
    _, first, second, third = processed.images
    assert [f"Seed: {seed}," in text for seed, text in zip((5, 77, 7), processed.infotexts[1:], strict=True)] == [
        True
    ] * 3
    assert job.all_seeds == processed.all_seeds == [5, 77, 7]
    for image, seed in zip((first, second, third), (5, 77, 7), strict=True):
        assert is_original(host, image, seed)
    assert tries(host) == [(1, "retry", 6), (2, "allow", 77)]
    events = [event for event in host.ledger_events() if "attempt" in event.body]
    assert events[1].body["attempt"]["first"] == events[0].record_id
    assert f"Provenance id: {events[1].record_id}" in processed.infotexts[2]
    assert "Provenance decision" not in processed.infotexts[2]
    assert "Picture 2: Made again once with a new seed. The first: Near copy of reference-6.png" in processed.comments
    assert "3 pictures: none close to the reference, 3 recorded, 3 marked." in processed.comments
    for image, seed in zip((first, second, third), (5, 77, 7), strict=True):
        (file,) = host.outputs.glob(f"*-{seed}.png")
        assert pixel_sha256(Image.open(file)) == pixel_sha256(image)
    assert len(list(host.outputs.glob("*.png"))) == 3
    assert host.reported() == []


@pytest.mark.parametrize(
    ("text", "action"),
    [('mode = "block"', "block"), ('mode = "quarantine"', "quarantine"), ('mode = "warn"', "warn")],
)
def test_after_the_last_try_the_mode_applies(host, near_copies, next_seeds, text, action):
    near_copies(5, 6, 7, text=text)
    next_seeds(6, 7)
    processed = host.generate(host.txt2img())
    assert tries(host) == [(1, "retry", 5), (2, "retry", 6), (3, action, 7)]
    assert is_original(host, processed.images[0], 7) is (action == "warn")
    assert f"Provenance decision: {action}" in processed.infotexts[0]
    assert "Seed: 7," in processed.infotexts[0]
    assert "Made again 2 times" in processed.comments
    from provenance_guard.webui import runtime

    kept = runtime.guard().quarantine.entries()
    assert len(kept) == (action == "quarantine")


def test_without_tries_nothing_is_made_again(host, near_copies):
    near_copies(5, attempts=0)
    host.generate(host.txt2img())
    assert tries(host) == []
    assert [event.type for event in host.ledger_events()].count("run.queued") == 1


def test_every_try_is_logged_before_it_runs(host, near_copies, next_seeds):
    near_copies(5, 6)
    next_seeds(6, 77)
    host.generate(host.txt2img())
    queued = [opened_body(event) for event in host.ledger_events() if event.type == "run.queued"]
    assert [body["context"]["parameters"]["seeds"] for body in queued] == [[5], [6], [77]]


@pytest.mark.parametrize("how", ["interrupted", "skipped", "stopping_generation"])
def test_a_user_who_stops_the_job_stops_the_tries(host, near_copies, next_seeds, monkeypatch, how):
    near_copies(5, 6, text='mode = "block"', attempts=5)
    next_seeds(6, 77)
    painted = []
    paint = host.modules.processing.StableDiffusionProcessingTxt2Img.paint

    def paint_and_stop(p, seed):
        painted.append(seed)
        if seed == 6:
            setattr(host.modules.shared.state, how, True)
        return paint(p, seed)

    monkeypatch.setattr(host.modules.processing.StableDiffusionProcessingTxt2Img, "paint", paint_and_stop)
    processed = host.generate(host.txt2img())
    assert painted == [5, 6]
    assert tries(host) == [(1, "retry", 5), (2, "block", 6)]
    assert not is_original(host, processed.images[0], 6)


@pytest.mark.parametrize(("mode", "shown"), [("block", False), ("quarantine", False), ("warn", True)])
def test_a_try_that_breaks_leaves_the_first_picture_to_the_mode(
    host, near_copies, next_seeds, monkeypatch, mode, shown
):
    near_copies(5, text=f'mode = "{mode}"')
    next_seeds(6)
    paint = host.modules.processing.StableDiffusionProcessingTxt2Img.paint

    def break_at_6(p, seed):
        if seed == 6:
            raise MemoryError
        return paint(p, seed)

    monkeypatch.setattr(host.modules.processing.StableDiffusionProcessingTxt2Img, "paint", break_at_6)
    processed = host.generate(host.txt2img(batch_size=2, seed=4))
    assert tries(host) == [(1, "retry", 5), (1, mode, 5)]
    assert is_original(host, processed.images[2], 5) is shown
    assert "Seed: 5," in processed.infotexts[2]
    assert is_original(host, processed.images[1], 4)
    assert host.reported() == []


def test_the_progress_of_the_job_is_given_back(host, near_copies, next_seeds, monkeypatch):
    near_copies(5)
    next_seeds(77)
    state, told = host.modules.shared.state, []
    state.job_no, state.job_count, state.job = 3, 8, "Batch 4 out of 8"
    paint = host.modules.processing.StableDiffusionProcessingTxt2Img.paint

    def paint_and_look(p, seed):
        told.append((seed, state.textinfo, state.job_count))
        state.job_no += 1
        return paint(p, seed)

    monkeypatch.setattr(host.modules.processing.StableDiffusionProcessingTxt2Img, "paint", paint_and_look)
    host.generate(host.txt2img())
    assert told == [(5, None, 8), (77, "Provenance Guard: try 2 of 3", 1)]
    assert (state.job_no, state.job_count, state.job, state.textinfo) == (4, 8, "Batch 4 out of 8", None)


def test_in_img2img_each_picture_is_made_again_from_its_own_source(host, near_copies, next_seeds):
    near_copies(6)
    next_seeds(77)
    sources = [host.modules.processing.draw(seed, (256, 256)) for seed in (40, 41)]
    job = host.img2img(init_images=sources, batch_size=2, seed=5)
    processed = host.generate(job)
    assert job.init_images == sources and job.all_seeds == [5, 77]
    assert is_original(host, processed.images[2], 77)
    (record,) = (
        opened_body(event)["record"]
        for event in host.ledger_events()
        if event.type == "picture.released" and "attempt" in event.body
    )
    assert [parent["pixel_sha256"] for parent in record["context"]["parents"]] == [pixel_sha256(sources[1])]


def test_the_prompt_of_the_picture_is_used_and_nothing_leaks_into_the_job(host, near_copies, next_seeds):
    near_copies(6)
    next_seeds(77)
    job = host.txt2img(
        batch_size=2, enable_hr=True, hr_scale=1.0, styles=["a style"], extra_generation_params={"Mine": 1}
    )
    host.generate(job)
    assert (job.batch_size, job.styles, job.hr_prompt, job.comments) == (2, ["a style"], "", {})
    assert set(job.extra_generation_params) == {"Mine", "Provenance id", "Provenance decision"}
    record = next(
        opened_body(event)["record"]
        for event in host.ledger_events()
        if event.body.get("attempt", {}).get("number") == 2
    )
    assert record["context"]["parameters"]["prompt"] == "a cat"
    assert record["context"]["parameters"]["batch_size"] == 1


def test_cells_of_a_plot_are_made_again_each_for_itself(host, near_copies, next_seeds):
    near_copies(5)
    next_seeds(77, 78)
    job = host.txt2img()
    cells = [host.modules.processing.copy_for_cell(job, steps=steps) for steps in (10, 20)]
    texts = [text for cell in cells for text in host.generate(cell).infotexts]
    assert ["Seed: 77," in texts[0], "Seed: 78," in texts[1]] == [True, True]


def test_a_failing_step_is_not_tried_again(host, near_copies, monkeypatch):
    from provenance_guard.similarity import Library

    near_copies(5, attempts=3)

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Library, "screen", fail)
    processed = host.generate(host.txt2img())
    assert tries(host) == []
    assert not is_original(host, processed.images[0], 5)
