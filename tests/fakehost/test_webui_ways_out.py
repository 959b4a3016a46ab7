"""Every way by which pixels leave the host gives marked, screened, recorded pictures, or nothing of them."""

from __future__ import annotations

import base64
import io
from types import SimpleNamespace

import pytest
from PIL import Image

from provenance_guard.labels import read_labels
from provenance_guard.pictures import pixel_sha256


@pytest.fixture
def policy(host, tmp_path):
    """Write the studio's policy; by default near-copies of the pictures of seeds 5 and 6 are withheld."""
    (tmp_path / "references").mkdir()
    for seed in (5, 6):
        host.modules.processing.draw(seed, (256, 256)).save(tmp_path / "references" / f"known-{seed}.png")

    def write(text='mode = "block"\n'):
        file = tmp_path / "policy.toml"
        file.write_text(f'{text}[screen]\nreferences = ["references"]\n', "utf-8")
        host.modules.shared.cmd_opts.provenance_policy = file

    return write


def marked(image):
    from provenance_guard.webui import runtime

    return runtime.guard().watermarker.detect(image) is not None


def files_of(host, pattern="*"):
    return sorted(path for path in host.outputs.parent.rglob(f"{pattern}.*") if path.suffix in (".png", ".jpg"))


def released_pixels(host):
    return {event.body["record"]["pixel_sha256"] for event in host.ledger_events() if event.type == "picture.released"}


def intermediates(host, **fields):
    for name in ("highres_fix", "face_restoration", "color_correction"):
        setattr(host.modules.shared.opts, f"save_images_before_{name}", True)
    return host.txt2img(enable_hr=True, hr_scale=1.25, restore_faces=True, color_corrections=[1], **fields)


STAGES = ("before-highres-fix", "before-face-restoration", "before-color-correction")


@pytest.mark.parametrize("stage", STAGES)
def test_intermediate_files_are_marked_and_recorded(host, policy, stage):
    policy()
    host.generate(intermediates(host, seed=70))
    (file,) = files_of(host, f"*-{stage}")
    with Image.open(file) as image:
        assert marked(image)
        assert pixel_sha256(image) in released_pixels(host)
        record_id = read_labels(file).record_id
        assert f"Provenance id: {record_id}" in image.info["parameters"]


def test_near_copies_in_intermediate_files_are_withheld(host, policy):
    policy()
    processed = host.generate(intermediates(host))
    files = files_of(host)
    assert len(files) == 4
    assert [file.name for file in files if host.shows_content(Image.open(file))] == []
    assert "Before-highres-fix: " in processed.comments


def test_pictures_of_one_job_have_a_record_each(host, policy):
    policy()
    host.generate(intermediates(host, seed=70))
    released = [event.record_id for event in host.ledger_events() if event.type == "picture.released"]
    saved = [event.record_id for event in host.ledger_events() if event.type == "picture.saved"]
    assert len(released) == 4
    assert sorted(saved) == sorted(released)


@pytest.fixture
def inpainting(host):
    for name in ("return_mask", "return_mask_composite", "save_mask", "save_mask_composite"):
        setattr(host.modules.shared.opts, name, True)
    mask = Image.new("L", (256, 256))
    mask.paste(200, (16, 16, 240, 240))

    def job(seed):
        return host.img2img(
            init_images=[host.modules.processing.draw(50, (256, 256))],
            image_mask=mask,
            seed=seed,
            outpath_grids=str(host.outputs.parent / "grids"),
        )

    return job


def test_mask_composites_are_marked_and_masks_are_left_alone(host, policy, inpainting):
    policy()
    processed = host.generate(inpainting(71))
    _, picture, mask, composite = processed.images
    known = released_pixels(host)
    assert {pixel_sha256(picture), pixel_sha256(composite)} <= known
    assert mask.getextrema() == ((0, 255),) * 3
    assert composite.mode == "RGBA"
    for file, image in (("*-mask", mask), ("*-mask-composite", composite)):
        with Image.open(files_of(host, file)[0]) as saved:
            assert pixel_sha256(saved) == pixel_sha256(image)


def test_near_copies_in_mask_composites_and_their_grids_are_withheld(host, policy, inpainting):
    policy()
    processed = host.generate(inpainting(5))
    assert len(processed.images) == 4
    assert not any(host.shows_content(image) for image in processed.images)
    assert len(files_of(host)) == 4
    assert not any(host.shows_content(Image.open(file)) for file in files_of(host))


def test_init_images_that_the_host_keeps_are_not_stamped(host, policy):
    policy()
    host.modules.shared.opts.save_init_img = True
    upload = host.modules.processing.draw(5, (256, 256))  # even a near-copy: it is the user's own
    host.generate(host.img2img(init_images=[upload], seed=72))
    (file,) = files_of(host, "init-*")
    assert pixel_sha256(Image.open(file)) == pixel_sha256(upload)
    assert read_labels(file) is None


class Join:
    """What SD upscale does: jobs for the tiles, a joined picture that no hook sees."""

    title = staticmethod(lambda: "join")

    def __init__(self, host, seeds):
        self.host, self.seeds = host, seeds

    def run(self, p, *_):
        processing, images = self.host.modules.processing, self.host.modules.images
        p.do_not_save_samples = p.do_not_save_grid = True
        tiles = []
        for seed in self.seeds:
            p.seed = seed
            processed = processing.process_images(p)
            tiles += processed.images
        joined = images.combine_grid(tiles)
        images.save_image(joined, p.outpath_samples, "", 1, p.prompt, info=processed.infotexts[0], p=p)
        return processing.Processed(p, [joined], [processed.infotexts[0]])


def test_joined_pictures_are_marked_and_recorded(host, policy):
    policy()
    job = host.txt2img(width=256, height=512)
    processed = host.run_script(job, Join(host, [73, 74]))
    (joined,) = processed.images
    assert joined.size == (512, 512)
    assert marked(joined)
    assert pixel_sha256(joined) in released_pixels(host)
    (file,) = files_of(host)
    assert pixel_sha256(Image.open(file)) == pixel_sha256(joined)
    record_id = read_labels(file).record_id
    assert f"Provenance id: {record_id}" in Image.open(file).info["parameters"]
    assert processed.infotexts[0].count("Provenance id") == 1


def test_a_near_copy_in_a_joined_picture_is_withheld(host, policy, tmp_path):
    policy()
    draw = host.modules.processing.draw
    whole = host.modules.images.combine_grid([draw(75, (256, 512)), draw(76, (256, 512))])
    for file in (tmp_path / "references").iterdir():
        file.unlink()
    whole.save(tmp_path / "references" / "whole.png")
    processed = host.run_script(host.txt2img(width=256, height=512), Join(host, [75, 76]))
    assert not host.shows_content(processed.images[0])
    assert not any(host.shows_content(Image.open(file)) for file in files_of(host))
    assert "withheld" in processed.comments


class Plot:
    """What X/Y/Z plot does: a job for each cell, a grid of them, a legend."""

    title = staticmethod(lambda: "plot")

    def __init__(self, host, seeds):
        self.host, self.seeds = host, seeds

    def run(self, p, *_):
        processing, images = self.host.modules.processing, self.host.modules.images
        cells, texts = [], []
        for seed in self.seeds:
            processed = processing.process_images(processing.copy_for_cell(p, seed=seed))
            cells.append(processed.images[0])
            texts.append(processed.infotexts[0])
        cells.append(Image.new("RGB", (256, 256)))  # a cell that failed
        grid = images.draw_grid_annotations(images.image_grid(cells, rows=1), 256, 256, [], [])
        result = processing.Processed(p, [grid, *cells], [texts[0], *texts])
        images.save_image(grid, str(self.host.outputs), "xyz_grid", info=texts[0], p=result, grid=True)
        return result


def test_a_plot_inherits_from_its_cells(host, policy):
    policy()
    processed = host.run_script(host.txt2img(), Plot(host, [77, 78]))
    host.flush()
    released = [event for event in host.ledger_events() if event.type == "picture.released"]
    assert len(released) == 2  # the grid has no record of its own
    assert processed.images[0].size == (768, 276)
    cells = [processed.images[0].crop((256 * n, 20, 256 * n + 256, 276)) for n in range(2)]
    assert [pixel_sha256(cell) for cell in cells] == [event.body["record"]["pixel_sha256"] for event in released]


def test_a_near_copy_in_a_cell_is_not_in_the_plot(host, policy):
    policy()
    processed = host.run_script(host.txt2img(), Plot(host, [77, 5]))
    cells = [processed.images[0].crop((256 * n, 20, 256 * n + 256, 276)) for n in range(2)]
    assert [host.shows_content(cell) for cell in cells] == [True, False]


def test_a_grid_that_a_callback_changes_is_a_picture_of_its_own(host, policy):
    policy()
    copied = host.modules.processing.draw(5, (256, 256))

    def smuggle(params):
        params.imgs[0] = copied

    host.modules.script_callbacks.on_image_grid(smuggle)
    processed = host.generate(host.txt2img(seed=80, batch_size=2, outpath_grids=str(host.outputs)))
    assert not host.shows_content(processed.images[0])
    assert [host.shows_content(image) for image in processed.images[1:]] == [True, True]


def test_an_interrupted_picture_passes_too(host, policy):
    policy()
    host.modules.shared.state.interrupted = True
    processed = host.generate(host.txt2img())
    assert not host.shows_content(processed.images[0])


def test_pictures_beside_the_list_are_swept(host, policy):
    """Forge and reForge keep ControlNet's maps in a list of their own."""
    policy()
    draw = host.modules.processing.draw
    processed = host.generate(host.txt2img(seed=81, extra_result_images=[draw(5, (256, 256)), draw(82, (512, 512))]))
    assert [host.shows_content(image) for image in processed.extra_images] == [False, True]
    assert marked(processed.extra_images[1])


def test_a_job_without_scripts_is_guarded(host, policy):
    policy()
    job = host.txt2img()
    job.scripts = None
    processed = host.modules.processing.process_images(job)
    assert not host.shows_content(processed.images[0])
    assert not any(host.shows_content(Image.open(file)) for file in files_of(host))


@pytest.mark.parametrize("job_name", ["train-embedding", "train_hypernetwork"])
def test_training_previews_are_screened_and_not_stamped(host, policy, job_name):
    policy()
    host.modules.shared.state.job = job_name
    results = []
    for seed in (83, 5):
        job = host.txt2img(seed=seed, width=512, height=512)
        job.scripts = None
        results.append(host.modules.processing.process_images(job).images[0])
    assert pixel_sha256(results[0]) == pixel_sha256(host.modules.processing.draw(83, (512, 512)))
    assert not host.shows_content(results[1])
    assert all(read_labels(file) is None for file in files_of(host))


def preview_of(host):
    """What the browser and the API would show now."""
    answer = host.modules.api.api.progress()
    return Image.open(io.BytesIO(base64.b64decode(answer))) if answer else None


@pytest.mark.parametrize(("wanted", "seen"), [("allow", "sharp"), ("blur", "blurred"), ("off", "nothing")])
def test_live_previews(host, policy, wanted, seen):
    policy(f'mode = "block"\npreviews = "{wanted}"\n')
    sharp = host.modules.processing.draw(5, (256, 256))
    host.modules.shared.state.assign_current_image(sharp)
    shown = preview_of(host)
    if seen == "nothing":
        assert shown is None
    else:
        assert (pixel_sha256(shown) == pixel_sha256(sharp)) is (seen == "sharp")
        assert shown.size == sharp.size


def test_previews_are_off_where_near_copies_are_withheld(host, policy):
    policy()
    host.modules.shared.state.current_image = host.modules.processing.draw(5, (256, 256))
    assert preview_of(host) is None


def test_a_preview_that_was_allowed_does_not_let_the_picture_pass(host, policy):
    policy('mode = "block"\npreviews = "allow"\n')
    host.modules.shared.state.assign_current_image(host.modules.processing.draw(5, (256, 256)))
    assert not host.shows_content(host.generate(host.txt2img()).images[0])


def test_the_save_button_keeps_mark_and_record(host, policy):
    policy()
    processed = host.generate(host.txt2img(seed=84, width=512, height=512))
    MyObject = type("MyObject", (), {})  # the host's name for it
    p = MyObject()
    p.infotexts = processed.infotexts
    folder = host.outputs.parent / "saved"
    host.modules.images.save_image(processed.images[0].copy(), str(folder), "", 84, info=p.infotexts[0], p=p)
    (file,) = files_of(host, "saved/*") or [next(folder.glob("*.png"))]
    assert read_labels(file).record_id in processed.infotexts[0]
    assert (folder / f"{file.name}.prov.json").exists()
    saved = [event for event in host.ledger_events() if event.type == "picture.saved"]
    assert len(saved) == 2


def test_what_a_browser_uploads_to_the_save_button_is_not_stamped(host, policy):
    policy()
    upload = host.modules.processing.draw(5, (256, 256))
    p = type("MyObject", (), {})()
    host.modules.images.save_image(upload, str(host.outputs / "saved"), "", 5, info="a cat", p=p)
    (file,) = (host.outputs / "saved").glob("*.png")
    assert pixel_sha256(Image.open(file)) == pixel_sha256(host.modules.processing.draw(5, (256, 256)))


def test_a_small_copy_for_a_board_is_guarded(host, policy):
    policy()
    host.modules.shared.opts.export_for_4chan = True
    host.modules.shared.opts.target_side_length = 100
    host.generate(host.txt2img())
    assert len(files_of(host)) == 2
    assert not any(host.shows_content(Image.open(file)) for file in files_of(host))


def test_extras_with_several_results(host, policy):
    """A step may split a picture; every part passes."""
    policy()
    draw, extras = host.modules.processing.draw, host.modules.scripts_postprocessing

    class Split(extras.ScriptPostprocessing):
        name, order = "Split", 99_999

        def process(self, pp, **_):
            pp.extra_images.append(draw(6, (256, 256)))
            pp.image = draw(85, (512, 512))

    host.modules.scripts.postprocessing_scripts_data.append(Split)
    results = host.modules.postprocessing.run_postprocessing(draw(86, (256, 256)), {}, folder=str(host.outputs))
    assert [host.shows_content(image) for image in results] == [True, False]
    assert marked(results[0])


def test_the_api_answers_with_nothing_that_did_not_pass(host, policy):
    policy()
    unknown = SimpleNamespace(images=[host.modules.processing.draw(87, (256, 256))])
    (answer,) = host.modules.api.api.answer(unknown)
    assert not host.shows_content(Image.open(io.BytesIO(base64.b64decode(answer))))
    passed = host.generate(host.txt2img(seed=88))
    (answer,) = host.modules.api.api.answer(passed)
    assert pixel_sha256(Image.open(io.BytesIO(base64.b64decode(answer)))) == pixel_sha256(passed.images[0])


def test_a_gallery_shows_nothing_that_did_not_pass(host, policy):
    gradio = pytest.importorskip("gradio")
    policy()
    host.call("app_started", None, None)
    unknown = host.modules.processing.draw(89, (256, 256))
    passed = host.generate(host.txt2img(seed=90)).images[0]
    with gradio.Blocks():
        theirs, other = gradio.Gallery(elem_id="txt2img_gallery"), gradio.Gallery(elem_id="of_another_extension")
        first, (second, caption) = theirs.postprocess([unknown, (passed, "a caption")])
        (upload,) = other.postprocess([unknown])
    shown = [Image.open(entry["name"]) for entry in (first, second)]
    assert caption == "a caption"
    assert not host.shows_content(shown[0])
    assert pixel_sha256(shown[1]) == pixel_sha256(passed)
    assert pixel_sha256(Image.open(upload["name"])) == pixel_sha256(unknown)


@pytest.mark.parametrize("where", ["alpha", "colours"])
def test_infotext_in_the_lowest_bits_makes_no_other_picture(host, policy, where):
    """Forge and reForge write it there between our guard and the file."""
    policy()

    def write_stealthily(params):
        if where == "alpha":
            params.image.putalpha(255)
        pixels = params.image.load()
        for x in range(100):
            values = list(pixels[x, 7])
            values[-1] = values[-1] & ~1 | x & 1
            pixels[x, 7] = tuple(values)

    host.modules.script_callbacks.on_before_image_saved(write_stealthily)
    processed = host.generate(host.txt2img(seed=91, width=512, height=512))
    assert len([event for event in host.ledger_events() if event.type == "picture.released"]) == 1
    (file,) = files_of(host)
    with Image.open(file) as saved:
        assert saved.mode == ("RGBA" if where == "alpha" else "RGB")
        assert marked(saved)
    assert read_labels(file).record_id in processed.infotexts[0]
