"""Every way out of the real WebUI that is not a plain picture: once with a warning policy, then with what it gave as
references and ``block``. Nothing unmarked and nothing that is withheld may come out."""

from __future__ import annotations

import base64
import io
import threading
import time
import urllib.error
import urllib.request
import zipfile

import pytest
from PIL import Image

from provenance_guard.labels import read_labels
from provenance_guard.pictures import pixel_sha256
from provenance_guard.provenance import restore

SIZE = 256


@pytest.fixture(autouse=True)
def warn(host):
    host.set_policy('mode = "warn"\n')


def block(host, folder, extra="", limits=""):
    host.set_policy(f'mode = "block"\n{extra}[screen]\nreferences = ["{folder.as_posix()}"]\n{limits}')


def shows_content(image):
    """The model's pictures are noise: nearly every pixel has a colour of its own. A notice has few colours."""
    return len(image.convert("RGB").getcolors(1 << 24)) > image.width * image.height / 8


def is_mask(image):
    return all(band == image.convert("RGB").split()[0] for band in image.convert("RGB").split())


def a_drawing():
    return Image.merge("RGB", [Image.radial_gradient("L"), Image.linear_gradient("L"), Image.new("L", (256, 256), 90)])


def outpaint(host, **fields):
    """From a plain picture, because the user's own part of the result stays."""
    return host.img2img(Image.new("RGB", (256, 256), (120, 80, 40)), denoising_strength=0.9, seed=31, **fields)


def img2img(host, **fields):
    return host.img2img(a_drawing(), **{"denoising_strength": 0.9, "seed": 31, **fields})


def inpaint(host, **fields):
    mask = Image.new("L", (256, 256))
    mask.paste(255, (16, 16, 240, 240))
    return img2img(host, mask=host.encode(mask), inpaint_full_res=False, **fields)


JOB = {"prompt": "a cat", "steps": 3, "width": SIZE, "height": SIZE, "seed": 41}
MASKS = {"return_mask": True, "return_mask_composite": True, "save_mask": True, "save_mask_composite": True}
JPEG = {"samples_format": "jpg"}
WAYS = {
    "before-highres-fix": lambda host: host.txt2img(
        enable_hr=True, hr_scale=1.25, hr_upscaler="Latent", denoising_strength=0.7, seed=32,
        override_settings={"save_images_before_highres_fix": True},
    ),
    "before-color-correction": lambda host: img2img(
        host, override_settings={"img2img_color_correction": True, "save_images_before_color_correction": True}
    ),
    "mask composite": lambda host: inpaint(host, override_settings=MASKS),
    "SD upscale": lambda host: img2img(host, script_name="sd upscale", script_args=[None, 64, "Lanczos", 1.5]),
    "poor man's outpainting": lambda host: outpaint(
        host, script_name="poor man's outpainting", script_args=[128, 4, 1, ["left"]]
    ),
    "outpainting mk2": lambda host: outpaint(
        host, script_name="outpainting mk2", script_args=[None, 128, 8, ["left"], 1.0, 0.05], batch_size=2
    ),
    "loopback": lambda host: img2img(host, script_name="loopback", script_args=[2, 0.9, "Linear", "None"]),
    "prompt matrix": lambda host: host.txt2img(
        prompt="a cat|a dog", script_name="prompt matrix", script_args=[False, False, "positive", "comma", 4]
    ),
    "WebP": lambda host: host.txt2img(override_settings={"samples_format": "webp"}, seed=33),
    "Upscale button": lambda host: host.drive(
        "upscale", file=str(first_picture(host)), fields={**JOB, "hr_scale": 1.25, "hr_upscaler": "Latent", "denoising_strength": 0.7}
    ),
    "Extras tab": lambda host: host.drive("extras", file=str(noise(host))),
    "X/Y/Z plot as JPEG": lambda host: host.txt2img(
        seed=35, script_name="x/y/z plot", override_settings=JPEG,
        script_args=[1, "35,36", [], *[0, "", []] * 2, True, True, False, False, False, False, False, 0, False],
    ),
    "img2img batch": lambda host: host.drive(
        "img2img-batch", folder=str(first_picture(host).parent), output=str(host.folder / "data" / "outputs" / "batch"),
        fields={**JOB, "denoising_strength": 0.9},
    ),
}  # fmt: skip


def first_picture(host):
    """A picture of the user's own to start from, in a folder of its own."""
    file = host.folder / "input" / "drawing.png"
    if not file.exists():
        file.parent.mkdir()
        a_drawing().save(file)
    return file


def noise(host):
    """A picture of many colours that did not come out of the model."""
    file = host.folder / "noise" / "noise.png"
    if not file.exists():
        file.parent.mkdir()
        bands = [Image.effect_noise((SIZE // 8, SIZE // 8), 90).resize((SIZE, SIZE), Image.BICUBIC) for _ in "RGB"]
        Image.merge("RGB", bands).save(file)
    return file


def pictures_of(generation):
    return [*generation.images, *(Image.open(file) for file in generation.files)]


def tiles_of(image):
    """The corners of a picture that was joined of tiles: the screen may miss a whole that only a part of is left."""
    right, bottom = image.width - SIZE, image.height - SIZE
    corners = {(left, top) for left in (0, right) for top in (0, bottom)} if right > 0 and bottom >= 0 else ()
    return [image.crop((left, top, left + SIZE, top + SIZE)) for left, top in sorted(corners)]


@pytest.mark.parametrize("way", WAYS)
def test_way_out(host, tmp_path, way):
    run = WAYS[way]
    first = run(host)
    records = {event.record_id[:14] for event in first.of_type("picture.released")}
    content = [image for image in pictures_of(first) if shows_content(image) and not is_mask(image)]
    assert len(content) >= 2
    assert [image.size for image in content if host.marked_with(image) not in records] == []
    assert first.of_type("picture.saved")
    folder = tmp_path / "references"
    folder.mkdir()
    for number, image in enumerate(content):
        for part, picture in enumerate([image, *tiles_of(image)]):
            picture.convert("RGB").save(folder / f"known-{number}-{part}.png")
    # A tile shares as little as half of its area with the joined picture: what the screen says of it lies near the limit.
    block(host, folder, limits="near_copy = 0.5\n")
    second = run(host)
    assert second.of_type("picture.blocked")
    assert len(second.files) == len(first.files)
    assert [image.size for image in pictures_of(second) if shows_content(image) and not is_mask(image)] == []


@pytest.fixture
def known(host, tmp_path):
    """A reference library with the very picture that seed 5 makes; its file."""
    generation = host.txt2img()
    (tmp_path / "references").mkdir()
    generation.images[0].convert("RGB").save(tmp_path / "references" / "known.png")
    block(host, tmp_path / "references")
    return tmp_path / "references" / "known.png"


def test_extras_batch(host, known):
    picture = Image.open(known)
    data = [{"data": host.encode(image), "name": "a.png"} for image in (picture, a_drawing())]
    answer = host.post("/sdapi/v1/extra-batch-images", imageList=data, upscaling_resize=1.0, upscaler_1="Lanczos")
    images = [Image.open(io.BytesIO(base64.b64decode(image))) for image in answer["images"]]
    assert [shows_content(image) for image in images] == [False, True]
    assert host.marked_with(images[1])


@pytest.mark.parametrize(
    "settings",
    [
        {"postprocessing_disable_in_extras": ["Provenance Guard"]},
        {"postprocessing_operation_order": ["Provenance Guard", "Upscale"]},
        {"prioritized_callbacks_script_postprocess_image_after_composite": ["sd-webui-provenance-guard/provenance_guard.py/script_postprocess_image_after_composite/ProvenanceGuardScript"]},
        {"prioritized_callbacks_before_image_saved": ["zz-driver/zz_driver.py/before_image_saved"]},
    ],
)  # fmt: skip
def test_options_that_would_get_round(host, known, settings):
    host.post("/sdapi/v1/options", **settings)
    try:
        assert not shows_content(host.extras(Image.open(known), upscaling_resize=1.5, upscaler_1="Lanczos"))
        assert [image.size for image in pictures_of(host.txt2img()) if shows_content(image)] == []
    finally:
        host.post("/sdapi/v1/options", **{key: [] for key in settings})


def test_our_options_stay_over_the_api(host, known):
    for key, value in {"mode": "off", "references": "", "near_copy": 1.0, "previews": "allow"}.items():
        host.post("/sdapi/v1/options", **{f"provenance_guard_{key}": value})
    options = host.get("/sdapi/v1/options")
    assert options["provenance_guard_mode"] == "warn"
    assert not shows_content(host.txt2img().images[0])


def test_the_extension_cannot_be_disabled(host, known):
    host.post("/sdapi/v1/options", disabled_extensions=["sd-webui-provenance-guard", "another"])
    host.post("/sdapi/v1/options", disable_all_extensions="all")
    options = host.get("/sdapi/v1/options")
    assert (options["disabled_extensions"], options["disable_all_extensions"]) == (["another"], "none")
    host.post("/sdapi/v1/options", disabled_extensions=[])


def test_an_extension_later_in_order_gets_nothing_past(host, known):
    host.post("/driver/hostile", on=True)
    try:
        generation = host.txt2img(batch_size=2)
    finally:
        host.post("/driver/hostile", on=False)
    known_pixels = {event.body["record"]["pixel_sha256"] for event in generation.of_type("picture.released")}
    shown = [image for image in pictures_of(generation) if shows_content(image)]
    assert shown
    assert [image.size for image in shown if pixel_sha256(image) not in known_pixels] == []
    assert not any(shows_content(image) for image in generation.images[:1])


def test_the_gallery_shows_nothing_that_did_not_pass(host, known):
    answer = host.post("/driver/gallery", file=str(known))
    picture = Image.open(io.BytesIO(base64.b64decode(answer["image"])))
    # The very pixels of the reference came out of the guard before; one changed pixel makes it another picture.
    assert shows_content(picture)
    changed = Image.open(known)
    changed.putpixel((0, 0), (1, 2, 3))
    changed.save(known.parent.parent / "changed.png")
    answer = host.post("/driver/gallery", file=str(known.parent.parent / "changed.png"))
    assert not shows_content(Image.open(io.BytesIO(base64.b64decode(answer["image"]))))


@pytest.mark.parametrize("zipped", [False, True])
def test_save_and_zip(host, zipped):
    generation = host.txt2img(seed=42)
    info = {**generation.info, "index_of_first_image": 0}
    saved = host.drive("save", files=[str(generation.files[0])], info=info, zipped=zipped)
    (file,) = saved.files
    assert [read_labels(file).record_id] == generation.ids
    assert host.marked_with(Image.open(file)) == generation.ids[0][:14]
    assert file.with_name(f"{file.name}.prov.json").exists()
    assert len(saved.of_type("picture.saved")) == 1
    if zipped:
        with zipfile.ZipFile(saved.info["files"][0]) as archive:
            assert archive.read(archive.namelist()[0]) == file.read_bytes()


def test_training_previews_are_screened_and_not_stamped(host, known):
    first = host.drive("train", fields={**JOB, "seed": 43})
    assert shows_content(first.images[0])
    assert host.detect(first.images[0]) is None
    assert [read_labels(file) for file in first.files] == [None]
    second = host.drive("train", fields={**JOB, "seed": 5})
    assert [shows_content(image) for image in pictures_of(second)] == [False, False]


@pytest.mark.parametrize(("wanted", "sharp"), [("allow", True), ("blur", False), ("off", None)])
def test_live_previews(host, known, wanted, sharp):
    block(host, known.parent, f'previews = "{wanted}"\n')
    host.post(
        "/sdapi/v1/options", show_progress_every_n_steps=1, show_progress_type="Full", live_previews_image_format="png"
    )
    ids, seen, done = f"task(driver-{wanted})", [], threading.Event()

    def watch():
        while not done.is_set():
            for path, body in (
                ("/sdapi/v1/progress", None),
                ("/internal/progress", {"id_task": ids, "id_live_preview": -1}),
            ):
                try:
                    answer = host.post(path, **body) if body else host.get(path)
                except (AssertionError, urllib.error.URLError):
                    continue
                text = answer.get("current_image") or (answer.get("live_preview") or "").partition(",")[2]
                if text:
                    seen.append(Image.open(io.BytesIO(base64.b64decode(text))))
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        generation = host.txt2img(steps=25, seed=5, force_task_id=ids)
    finally:
        done.set()
        watcher.join()
    assert generation.images
    if sharp is None:
        assert seen == []
    else:
        assert seen
        details = [sum(image.convert("L").resize((64, 64)).filter(__import__("PIL.ImageFilter").ImageFilter.FIND_EDGES).histogram()[40:]) for image in seen]  # fmt: skip
        assert (max(details) > 500) is sharp


def test_an_interrupted_picture(host, known):
    """The half-done picture goes through the door like any other."""
    since = len(host.events())

    def interrupt():
        while not host.get("/sdapi/v1/progress?skip_current_image=true")["state"]["sampling_step"]:
            time.sleep(0.05)
        host.post("/sdapi/v1/interrupt")

    stop = threading.Thread(target=interrupt)
    stop.start()
    generation = host.txt2img(steps=150, seed=44, override_settings={"save_incomplete_images": True})
    stop.join()
    assert all(host.marked_with(image) for image in pictures_of(generation))
    (event,) = [event for event in host.events(since) if event.type == "picture.released"]
    assert restore(event.body["record"], event.openings)["context"]["parameters"]["unfinished"]


@pytest.mark.parametrize("inside", ["provenance/ledger.sqlite3", "keys", "policy.toml"])
def test_nothing_of_ours_can_be_downloaded(host, inside):
    path = host.folder / inside
    targets = [path] if path.is_file() else [entry for entry in path.iterdir() if entry.is_file()]
    assert targets
    for target in targets:
        for name in (str(target), str(target).replace("/", "%2F"), f"extensions/../../../{target}"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{host.url}/file={name}", timeout=20)
            assert refused.value.code in (403, 404)


def test_reload_ui_does_not_stack(host):
    before = host.get("/driver/guards")
    assert set(before["standing"].values()) == {"in place"}
    host.post("/driver/reload")
    deadline = time.monotonic() + 120
    time.sleep(3)
    while True:
        try:
            after = host.get("/driver/guards")
            break
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline
            time.sleep(1)
    assert after == before
    generation = host.txt2img(seed=45)
    assert len(generation.of_type("picture.released")) == 1
    assert len(generation.of_type("picture.saved")) == 1
