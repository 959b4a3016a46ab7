"""An extension for the tests that the host loads after ours: it calls what only the page can call, and can be hostile."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import gradio
from fastapi import Body
from modules import (
    images,
    img2img,
    postprocessing,
    processing,
    script_callbacks,
    scripts,
    shared,
    ui_common,
    ui_tempdir,
)
from PIL import Image

ASKED = Body()
state = {"hostile": False}
originals: list[Image.Image] = []


class Driver(scripts.Script):
    """When hostile: keeps pictures before they are guarded, and puts them wherever an extension can."""

    def title(self):
        return "Driver"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def postprocess_image(self, p, pp, *args):
        if state["hostile"]:
            originals.append(pp.image.copy())

    def postprocess_image_after_composite(self, p, pp, *args):
        if state["hostile"]:
            pp.image = originals[-1].copy()

    def postprocess(self, p, processed, *args):
        if state["hostile"]:
            processed.images = [image.copy() for image in originals]


def before_image_saved(params):
    if state["hostile"] and originals:
        params.image = originals[-1].copy()


def wrap_inner():
    inner = processing.process_images_inner

    def hostile_inner(p):
        processed = inner(p)
        if state["hostile"]:
            processed.images = [image.copy() for image in originals]
        return processed

    processing.process_images_inner = hostile_inner


def encode(image):
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def job(kind, fields):
    p = kind(sd_model=shared.sd_model, **fields)
    p.is_api = True  # seed and sampler come from ``fields``
    p.scripts = scripts.scripts_img2img if hasattr(p, "init_images") else scripts.scripts_txt2img
    p.script_args = [0] + [getattr(control, "value", None) for control in p.scripts.inputs[1:]]
    p.outpath_grids = shared.opts.outdir_txt2img_grids
    p.outpath_samples = shared.opts.outdir_txt2img_samples
    return p


def answer(processed):
    return {"images": [encode(image) for image in processed.images], "comments": processed.comments}


def add_routes(demo, app):
    @app.post("/driver/hostile")
    def hostile(asked: dict = ASKED):
        state["hostile"] = asked["on"]
        originals.clear()
        return {}

    @app.post("/driver/upscale")
    def upscale(asked: dict = ASKED):
        p = job(processing.StableDiffusionProcessingTxt2Img, {**asked["fields"], "enable_hr": True})
        p.txt2img_upscale = True
        p.firstpass_image = Image.open(asked["file"]).convert("RGB")
        p.override_settings["save_images_before_highres_fix"] = False
        return answer(processing.process_images(p))

    @app.post("/driver/img2img-batch")
    def batch(asked: dict = ASKED):
        p = job(processing.StableDiffusionProcessingImg2Img, {**asked["fields"], "init_images": []})
        return answer(img2img.process_batch(p, asked["folder"], asked["output"], "", p.script_args))

    @app.post("/driver/extras")
    def extras(asked: dict = ASKED):
        settings = {"gfpgan_visibility": 0, "codeformer_visibility": 0, "codeformer_weight": 0, "upscale_first": False}
        settings |= {"upscaling_resize": 1.5, "upscaling_resize_w": 512, "upscaling_resize_h": 512, "resize_mode": 0}
        settings |= {"extras_upscaler_1": "Lanczos", "extras_upscaler_2": "None", "extras_upscaler_2_visibility": 0}
        settings |= {"upscaling_crop": True, "input_dir": "", "output_dir": "", "image_folder": ""}
        outputs, html, _ = postprocessing.run_extras(
            extras_mode=0, image=Image.open(asked["file"]), show_extras_results=True, save_output=True, **settings
        )
        return {"images": [encode(output) for output in outputs], "comments": html}

    @app.post("/driver/save")
    def save(asked: dict = ASKED):
        for file in asked["files"]:
            ui_tempdir.register_tmp_file(shared.demo, file)
        entries = [{"name": file, "is_file": True, "data": None} for file in asked["files"]]
        update, _ = ui_common.save_files(json.dumps(asked["info"]), entries, asked["zipped"], -1)
        return {"files": update["value"]}

    @app.post("/driver/gallery")
    def gallery(asked: dict = ASKED):
        with gradio.Blocks():
            component = gradio.Gallery(elem_id="txt2img_gallery")
        (entry,) = component.postprocess([Image.open(asked["file"]).convert("RGB")])
        return {"image": encode(Image.open(entry["name"].split("?")[0]))}

    @app.post("/driver/train")
    def train(asked: dict = ASKED):
        shared.state.job = "train-embedding"
        try:
            p = processing.StableDiffusionProcessingTxt2Img(
                sd_model=shared.sd_model, do_not_save_grid=True, do_not_save_samples=True, **asked["fields"]
            )
            processed = processing.process_images(p)
            image = processed.images[0]
            folder = Path(shared.opts.outdir_txt2img_samples) / "training"
            images.save_image(image, str(folder), "", p.seed, p.prompt, "png", processed.infotexts[0], p=p)
        finally:
            shared.state.job = ""
        return answer(processed)

    @app.get("/driver/guards")
    def standing():
        from provenance_guard.webui import guards

        def layers(function):
            count, inner = 0, getattr(function, "__wrapped__", None)
            while inner is not None:
                count, inner = count + 1, getattr(inner, "__wrapped__", None)
            return count

        return {
            "standing": {place.guards: state for place, state in guards.standing()},
            "layers": {"save": layers(images.save_image), "run": layers(scripts.ScriptRunner.run)},
        }

    @app.post("/driver/reload")
    def reload_ui():
        shared.state.request_restart()
        return {}


wrap_inner()
script_callbacks.on_before_image_saved(before_image_saved)
script_callbacks.on_app_started(add_routes)
