"""The real WebUI, started for the tests. They run only when ``WEBUI_DIR`` points to an installed A1111 v1.10.1.

``WEBUI_PYTHON`` is the interpreter of that install (default: its ``venv``). Everything is written to a folder of our own;
of the install only the code and the models are used, and the first checkpoint that it finds. ``WEBUI_FLAGS`` replaces the
flags for a computer without a GPU.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from provenance_guard.ledger import Event, Ledger
from provenance_guard.watermark import Detection, KeyRing, Payload, Watermarker

PROJECT = Path(__file__).parents[2]
CPU_FLAGS = "--skip-torch-cuda-test --use-cpu all --no-half --disable-nan-check"
START_SECONDS = 300
SETTINGS = {
    "samples_format": "png",
    "save_images_before_highres_fix": False,
    "save_images_before_color_correction": False,
    "img2img_color_correction": False,
    "return_mask": False,
    "return_mask_composite": False,
    "save_mask": False,
    "save_mask_composite": False,
    "save_incomplete_images": False,
}
"""The options that a test overrides for one job: the host restores only those that stand in its settings file."""


@pytest.fixture(scope="session")
def webui_dir() -> Path:
    named = os.environ.get("WEBUI_DIR")
    if not named:
        pytest.skip("WEBUI_DIR does not point to an installed WebUI")
    return Path(named).absolute()


@pytest.fixture(scope="session")
def webui_python(webui_dir: Path) -> str:
    inside = webui_dir / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    return os.environ.get("WEBUI_PYTHON") or str(inside)


@dataclass
class RealHost:
    """A running WebUI with our extension, and what it wrote."""

    url: str
    folder: Path
    policy: Path
    process: subprocess.Popen[bytes]
    log: Path
    size: int = 256
    _watermarker: Watermarker | None = field(default=None, repr=False)

    def set_policy(self, text: str) -> None:
        """Write the studio's policy anew; the next picture is judged by it."""
        self.policy.write_text(text, "utf-8")

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Call the API; raises AssertionError with the host's answer when it refuses."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code} {error.read().decode()}") from error

    def get(self, path: str) -> Any:
        """Call the API."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def txt2img(self, **fields: Any) -> Generation:
        """Generate and save."""
        return self._generate("/sdapi/v1/txt2img", fields)

    def img2img(self, image: Image.Image, **fields: Any) -> Generation:
        """Generate from a picture and save."""
        return self._generate(
            "/sdapi/v1/img2img", {"init_images": [self.encode(image)], "denoising_strength": 0.6, **fields}
        )

    def extras(self, image: Image.Image, **fields: Any) -> Image.Image:
        """Run the Extras API on one picture."""
        answer = self.post("/sdapi/v1/extra-single-image", image=self.encode(image), **fields)
        return decode(answer["image"])

    def events(self, since: int = 0) -> list[Event]:
        """The ledger from event ``since`` on."""
        path = self.folder / "provenance" / "ledger.sqlite3"
        if not path.exists():
            return []
        with Ledger.open_read_only(path) as ledger:
            return [event for event in ledger.events() if event.seq >= since]

    def wait_for_files(self) -> None:
        """Files are finished behind the answer; a note of each lies in the data folder until then."""
        notes = self.folder / "provenance" / "unsealed"
        deadline = time.monotonic() + 60
        while any(notes.glob("*.json")):
            assert time.monotonic() < deadline, "files are not finished"
            time.sleep(0.05)

    def saved_files(self) -> set[Path]:
        """All pictures in the host's output folders."""
        data = self.folder / "data"
        return {
            path
            for folder in (data / "outputs", data / "output", data / "log")
            for path in folder.rglob("*")
            if path.suffix in (".png", ".jpg", ".webp")
        }

    def drive(self, path: str, **body: Any) -> Generation:
        """Call the test extension, for what only the page can do."""
        before, since = self.saved_files(), len(self.events())
        answer = self.post(f"/driver/{path}", **body)
        self.wait_for_files()
        info = {"infotexts": [], "comments": answer.get("comments", ""), "files": answer.get("files", [])}
        pictures = [decode(image) for image in answer.get("images", [])]
        return Generation(pictures, info, sorted(self.saved_files() - before), self.events(since))

    def detect(self, image: Image.Image) -> Detection | None:
        """Look for a mark with the host's keys."""
        if self._watermarker is None:
            keys = KeyRing(self.folder / "keys")
            self._watermarker = Watermarker(keys.current(), known=keys.all())
        return self._watermarker.detect(image)

    def marked_with(self, image: Image.Image) -> str | None:
        """The first 14 digits of the record id in a picture's mark."""
        detection = self.detect(image)
        payload = Payload.unpack(detection.payload) if detection else None
        return payload.record_id_prefix if payload else None

    def encode(self, image: Image.Image) -> str:
        """A PNG with its text chunks, as the API takes and gives it."""
        chunks = PngInfo()
        for key, value in image.info.items():
            if isinstance(value, str):
                chunks.add_text(key, value)
        stream = io.BytesIO()
        image.save(stream, "PNG", pnginfo=chunks)
        return base64.b64encode(stream.getvalue()).decode()

    def _generate(self, path: str, fields: dict[str, Any]) -> Generation:
        before, since = self.saved_files(), len(self.events())
        body = {"prompt": "a cat", "seed": 5, "steps": 3, "width": self.size, "height": self.size, "save_images": True}
        answer = self.post(path, **body | fields)
        self.wait_for_files()
        return Generation(
            [decode(image) for image in answer["images"]],
            json.loads(answer["info"]),
            sorted(self.saved_files() - before),
            self.events(since),
        )


@dataclass(frozen=True)
class Generation:
    """What one call of the API gave, and the files and ledger events that it left."""

    images: list[Image.Image]
    info: dict[str, Any]
    files: list[Path]
    events: list[Event]

    @property
    def infotexts(self) -> list[str]:
        return self.info["infotexts"]

    @property
    def ids(self) -> list[str | None]:
        """The record id in each infotext."""
        return [text.split("Provenance id: ")[1][:32] if "Provenance id" in text else None for text in self.infotexts]

    def of_type(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.type == kind]


def decode(text: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image


@pytest.fixture(scope="session")
def host(webui_dir: Path, webui_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHost]:
    folder = tmp_path_factory.mktemp("webui")
    extensions = folder / "data" / "extensions"
    extensions.mkdir(parents=True)
    (extensions / "sd-webui-provenance-guard").symlink_to(PROJECT, target_is_directory=True)
    (extensions / "zz-driver").symlink_to(Path(__file__).parent / "zz-driver", target_is_directory=True)
    policy, log, port = folder / "policy.toml", folder / "host.log", _free_port()
    policy.write_text("", "utf-8")
    (folder / "data" / "config.json").write_text(json.dumps(SETTINGS), "utf-8")
    flags = [
        *("--skip-prepare-environment", "--api", "--port", str(port)),
        *("--data-dir", str(folder / "data"), "--models-dir", str(webui_dir / "models")),
        *("--embeddings-dir", str(webui_dir / "embeddings"), "--do-not-download-clip"),
        *("--provenance-policy", str(policy), "--provenance-data", str(folder / "provenance")),
        *("--provenance-keys", str(folder / "keys")),
        *shlex.split(os.environ.get("WEBUI_FLAGS", CPU_FLAGS)),
    ]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [webui_python, "launch.py", *flags], cwd=webui_dir, stdout=stream, stderr=subprocess.STDOUT
        )
    running = RealHost(f"http://127.0.0.1:{port}", folder, policy, process, log)
    try:
        _wait_until_ready(running)
        yield running
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(host: RealHost) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and host.process.poll() is None:
        try:
            host.get("/driver/guards")  # the last thing to come: every extension has been told that the host runs
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(1)
    pytest.fail(f"the WebUI did not start:\n{host.log.read_text('utf-8', 'replace')[-4000:]}")
