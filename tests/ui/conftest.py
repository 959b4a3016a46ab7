"""One installation with a few pictures that passed the real door, shared by the tests of the page. Tests only read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from provenance_guard import pictures
from provenance_guard.config import Config, Policy, ScreenPolicy
from provenance_guard.guard import Guard
from provenance_guard.provenance.record import Context, Parent, Resource

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PLAIN = EXAMPLES / "generated" / "00001-2087351147.png"
REFERENCE = EXAMPLES / "references" / "potter-mr-jackson.jpg"

CONTEXT = Context(
    "webui.txt2img",
    {"prompt": "a harbour <script>alert('x')</script> at dawn", "negative_prompt": "blurry", "seed": 2087351147},
    resources=(
        Resource("checkpoint", "sea_painter", sha256="ab" * 32),
        Resource("lora", "ink", declared_hash="ffff0000", weight=0.8),
    ),
    parents=(Parent("init_image", "cd" * 32, record_id="ef" * 16),),
    environment={"webui": "v1.10.1"},
    user="mei",
)


@dataclass(frozen=True)
class Installation:
    """A configuration whose ledger holds two saved pictures and a withheld one, and the saved files."""

    config: Config
    plain: Path
    copy: Path
    references: Path


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    home = tmp_path_factory.mktemp("installation of the page")
    references = home / "references"
    references.mkdir()
    (references / REFERENCE.name).write_bytes(REFERENCE.read_bytes())
    (references / "cut short.jpg").write_bytes(REFERENCE.read_bytes()[:2000])
    screen = ScreenPolicy(references=(references,))
    config = Config(home / "data", home / "keys", Policy(mode="warn", screen=screen))
    plain, copy = home / "harbour <i>.png", home / "copy.png"
    plain_image = pictures.open_picture(PLAIN).image.convert("RGB").resize((384, 384))
    copy_image = pictures.open_picture(REFERENCE).image.convert("RGB").resize((384, 480))
    with Guard(config) as guard:
        for path, image in ((plain, plain_image), (copy, copy_image)):
            release = guard.release(image, CONTEXT)
            release.image.save(path)
            assert guard.seal(release, path).failures == ()
        withheld = guard.release(copy_image, CONTEXT, policy=Policy(mode="block", screen=screen))
        assert withheld.blocked
    return Installation(config, plain, copy, references)


@pytest.fixture
def guard(installation: Installation) -> Guard:
    return Guard(installation.config)


@pytest.fixture
def new_guard(tmp_path: Path) -> Guard:
    """An installation in which nothing happened yet."""
    return Guard(Config(tmp_path / "data", tmp_path / "keys", Policy(mode="warn")))
