"""Every route that the guard covers, driven through the real WebUI's API."""

from __future__ import annotations

import pytest
from PIL import Image, ImageChops

from provenance_guard.labels import SourceType, read_labels
from provenance_guard.pictures import pixel_sha256
from provenance_guard.provenance import restore

WARN = 'mode = "warn"\n'


@pytest.fixture(autouse=True)
def warn(host):
    host.set_policy(WARN)


def block_references(host, folder):
    host.set_policy(f'mode = "block"\n[screen]\nreferences = ["{folder.as_posix()}"]\n')


def record_of(event):
    return restore(event.body["record"], event.openings)


def assert_guarded(host, generation, *, pictures):
    """Each picture is recorded, marked with its own id, saved, labelled and hashed; the run was logged before."""
    ids = [record_id for record_id in generation.ids if record_id]
    assert len(set(ids)) == pictures
    released = generation.of_type("picture.released")
    assert [event.record_id for event in released] == ids
    assert generation.of_type("run.queued")[0].seq < released[0].seq
    shown = [image for image, record_id in zip(generation.images, generation.ids, strict=False) if record_id]
    for image, event in zip(shown, released, strict=True):
        assert host.marked_with(image) == event.record_id[:14]
        assert pixel_sha256(image) == event.body["record"]["pixel_sha256"]
    labelled = {labels.record_id for file in generation.files if (labels := read_labels(file))}
    assert labelled == set(ids)
    assert {event.record_id for event in generation.of_type("picture.saved")} == set(ids)


def test_the_extension_is_loaded(host):
    assert "provenance guard" in host.get("/sdapi/v1/scripts")["txt2img"]
    assert "provenance guard" in host.get("/sdapi/v1/scripts")["img2img"]


def test_txt2img(host):
    generation = host.txt2img()
    assert_guarded(host, generation, pictures=1)
    record = record_of(generation.of_type("picture.released")[0])
    parameters = record["context"]["parameters"]
    assert (parameters["prompt"], parameters["seed"], parameters["steps"]) == ("a cat", 5, 3)
    assert record["context"]["environment"]["webui"]
    assert read_labels(generation.files[0]).source_type is SourceType.TRAINED_ALGORITHMIC_MEDIA


def test_models_are_hashed_in_the_background(host):
    for _ in range(20):
        (event,) = host.txt2img().of_type("picture.released")
        (checkpoint,) = [
            entry for entry in event.body["record"]["context"]["resources"] if entry["kind"] == "checkpoint"
        ]
        if checkpoint["sha256"]:
            break
    assert len(checkpoint["sha256"]) == 64


def test_batches(host):
    generation = host.txt2img(batch_size=2, n_iter=2)
    assert_guarded(host, generation, pictures=4)
    assert len(generation.images) == 5  # the grid comes first
    assert generation.ids[0] is None


def test_img2img(host):
    parent = host.txt2img(seed=77)
    generation = host.img2img(parent.images[0], seed=78)
    assert_guarded(host, generation, pictures=1)
    (found,) = generation.of_type("picture.released")[0].body["record"]["context"]["parents"]
    assert (found["role"], found["record_id"], found["found_by"]) == ("init_image", parent.ids[0], "pixels")


@pytest.mark.parametrize("only_masked", [False, True])
def test_inpaint(host, only_masked):
    source = host.txt2img(seed=80).images[0]
    mask = Image.new("L", source.size)
    mask.paste(255, (64, 64, 192, 192))
    generation = host.img2img(source, mask=host.encode(mask), inpaint_full_res=only_masked, seed=81, mask_blur=0)
    assert_guarded(host, generation, pictures=1)
    roles = [
        parent["role"] for parent in generation.of_type("picture.released")[0].body["record"]["context"]["parents"]
    ]
    assert roles == ["init_image", "mask"]
    change = ImageChops.difference(source.convert("RGB"), generation.images[0].convert("RGB")).crop((0, 0, 48, 48))
    assert max(extreme for _, extreme in change.getextrema()) < 40  # outside the mask only the mark changes


def test_hires(host):
    generation = host.txt2img(enable_hr=True, hr_scale=1.5, hr_upscaler="Latent", denoising_strength=0.5)
    assert_guarded(host, generation, pictures=1)
    assert generation.images[0].size == (384, 384)
    parameters = record_of(generation.of_type("picture.released")[0])["context"]["parameters"]
    assert (parameters["hires_width"], parameters["denoising_strength"]) == (384, 0.5)


def test_xyz_plot(host):
    nothing = [0, "", []]
    arguments = [4, "2,3", [], 1, "5,6", [], *nothing, True, False, True, False, False, False, False, 0, False]
    generation = host.txt2img(script_name="x/y/z plot", script_args=arguments)
    released = generation.of_type("picture.released")
    assert len({event.record_id for event in released}) == 4
    assert {labels.record_id for file in generation.files if (labels := read_labels(file))} == {
        event.record_id for event in released
    }


def test_lora_is_recorded(host):
    loras = host.get("/sdapi/v1/loras")
    if not loras:
        pytest.skip("the install has no LoRA")
    generation = host.txt2img(prompt=f"a cat <lora:{loras[0]['name']}:0.5>")
    resources = record_of(generation.of_type("picture.released")[0])["context"]["resources"]
    (lora,) = [entry for entry in resources if entry["kind"] == "lora"]
    assert (lora["name"], lora["weight"]) == (loras[0]["name"], 0.5)


@pytest.mark.parametrize("image_format", ["jpg", "webp"])
def test_other_file_formats(host, image_format):
    generation = host.txt2img(override_settings={"samples_format": image_format})
    (file,) = generation.files
    assert [read_labels(file).record_id] == generation.ids


def test_extras(host):
    parent = host.txt2img(seed=90)
    since = len(host.events())
    result = host.extras(parent.images[0], upscaling_resize=1.5, upscaler_1="Lanczos")
    (event,) = [event for event in host.events(since) if event.type == "picture.released"]
    assert result.size == (384, 384)
    assert host.marked_with(result) == event.record_id[:14]
    (found,) = event.body["record"]["context"]["parents"]
    assert (found["role"], found["record_id"]) == ("extras_input", parent.ids[0])


@pytest.fixture
def known(host, tmp_path):
    """A reference library with the very picture that seed 5 makes."""
    (tmp_path / "references").mkdir()
    host.txt2img().images[0].convert("RGB").save(tmp_path / "references" / "known.png")
    block_references(host, tmp_path / "references")
    return "known.png"


def assert_placeholder(host, image, size):
    assert image.size == size
    assert host.detect(image) is None
    assert len(image.convert("RGB").getcolors(1 << 20)) < 3000  # the model's noise has many times as many


def test_near_copy_is_withheld_in_a_batch(host, known):
    generation = host.txt2img(seed=4, batch_size=3)
    decisions = ["Provenance decision: block" in text for text in generation.infotexts]
    assert decisions == [False, False, True, False]  # grid, 4, 5, 6
    assert [event.record_id for event in generation.of_type("picture.blocked")] == [generation.ids[2]]
    assert_placeholder(host, generation.images[2], (256, 256))
    assert generation.info["all_seeds"] == [4, 5, 6]
    assert len(generation.of_type("picture.saved")) == 2
    placeholder = pixel_sha256(generation.images[2])
    assert [pixel_sha256(Image.open(file)) for file in generation.files].count(placeholder) == 1


def test_near_copy_is_withheld_in_extras(host, known, tmp_path):
    picture = Image.open(tmp_path / "references" / known)
    picture.load()
    result = host.extras(picture, upscaling_resize=1.0)
    assert_placeholder(host, result, (256, 256))


def a_drawing():
    return Image.merge("RGB", [Image.radial_gradient("L"), Image.linear_gradient("L"), Image.new("L", (256, 256), 90)])


def inpaint(host, **fields):
    mask = Image.new("L", (256, 256))
    mask.paste(255, (32, 32, 224, 224))
    return host.img2img(a_drawing(), mask=host.encode(mask), denoising_strength=0.9, seed=31, **fields)


ROUTES = {
    "img2img": lambda host: host.img2img(a_drawing(), denoising_strength=0.9, seed=31),
    "inpaint": lambda host: inpaint(host, inpaint_full_res=False),
    "inpaint only masked": lambda host: inpaint(host, inpaint_full_res=True),
    "hires": lambda host: host.txt2img(
        enable_hr=True, hr_scale=1.5, hr_upscaler="Latent", denoising_strength=0.5, seed=32
    ),
    "jpg": lambda host: host.txt2img(override_settings={"samples_format": "jpg"}, seed=33),
}


@pytest.mark.parametrize("route", ROUTES)
def test_near_copy_is_withheld_on_this_route(host, tmp_path, route):
    run = ROUTES[route]
    first = run(host)
    (tmp_path / "references").mkdir()
    Image.open(first.files[0]).convert("RGB").save(tmp_path / "references" / "known.png")
    block_references(host, tmp_path / "references")
    second = run(host)
    assert [event.record_id for event in second.of_type("picture.blocked")] == second.ids
    assert second.of_type("picture.saved") == []
    assert_placeholder(host, second.images[0], first.images[0].size)


def test_near_copy_is_withheld_in_a_cell_of_a_plot(host, known):
    arguments = [1, "4,5", [], *[0, "", []] * 2, True, True, False, False, False, False, False, 0, False]
    generation = host.txt2img(script_name="x/y/z plot", script_args=arguments)
    assert len(generation.of_type("picture.blocked")) == 1
    assert len(generation.of_type("picture.saved")) == 1


@pytest.mark.parametrize(
    "attempt",
    [
        {"alwayson_scripts": {"Provenance Guard": {"args": [False, "as set"]}}},
        {"override_settings": {"provenance_guard_mode": "off", "provenance_guard_references": ""}},
        {"infotext": "a cat\nSteps: 3, Sampler: Euler, Seed: 5, Size: 256x256, Provenance decision: allow"},
    ],
)
def test_a_request_cannot_switch_the_guard_off(host, known, attempt):
    generation = host.txt2img(**attempt)
    assert "Provenance decision: block" in generation.infotexts[0]


def test_a_broken_policy_withholds_everything(host):
    host.set_policy('mode = "blok"\n')
    generation = host.txt2img()
    assert_placeholder(host, generation.images[0], (256, 256))
    assert generation.events == []
