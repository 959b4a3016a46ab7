"""The demo's pictures: small, told where they come from, drawn again by code, with infotext as the WebUI writes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from provenance_guard.pictures import open_picture
from provenance_guard.provenance.infotext import read_generation

EXAMPLES = Path(__file__).parents[3] / "examples"
GENERATED = sorted((EXAMPLES / "generated").iterdir())
REFERENCES = sorted((EXAMPLES / "references").iterdir())


def test_the_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in EXAMPLES.rglob("*") if path.is_file()) < 3_000_000


@pytest.mark.parametrize("path", [*GENERATED, *REFERENCES], ids=lambda path: path.name)
def test_every_picture_opens_and_has_a_source(path: Path) -> None:
    picture = open_picture(path)
    assert f"`{path.name}`" in (EXAMPLES / "SOURCES.md").read_text("utf-8")
    if path in GENERATED:
        assert 512 <= min(picture.image.size) <= max(picture.image.size) <= 768


def test_infotext_is_found_where_it_should_be() -> None:
    found = {path.name: read_generation(open_picture(path)) for path in GENERATED}
    without = [name for name, context in found.items() if not context.generative]
    assert without == ["download (3).png"]
    assert found["00003-1170233941.jpg"].parameters["seed"] == 1170233941
    assert found["00004-44120976.webp"].parameters["seed"] == 44120976
    assert "樱花" in str(found["00008-樱花 与 雪山.png"].parameters["prompt"])
    loras = [resource for resource in found["00002-913350088.png"].resources if resource.kind == "lora"]
    assert {resource.declared_hash for resource in loras} == {"6b1f7e20c3d4", "90aa14c2e7b5"}


def test_drawing_again_gives_the_same_files(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(EXAMPLES / "draw.py"), str(tmp_path)], check=True, timeout=120)
    drawn = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    plates = {path.name for path in REFERENCES if path.suffix == ".jpg"}
    assert drawn == sorted(path.relative_to(EXAMPLES) for path in [*GENERATED, *REFERENCES] if path.name not in plates)
    for name in drawn:
        with Image.open(tmp_path / name) as again, Image.open(EXAMPLES / name) as committed:
            assert again.size == committed.size
            assert again.info.get("parameters") == committed.info.get("parameters")
            assert again.info.get("exif") == committed.info.get("exif")
