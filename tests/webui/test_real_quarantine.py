"""Withheld originals in the real WebUI: kept, released by a reviewer, and never to be had from the file server."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from provenance_guard.config import Config, load_policy
from provenance_guard.guard import Guard
from provenance_guard.labels import read_labels
from provenance_guard.review.releasing import release_picture


@pytest.fixture
def kept(host, tmp_path):
    """The record id of a near-copy that the policy keeps."""
    host.set_policy('mode = "warn"\n')
    folder = tmp_path / "references"
    folder.mkdir()
    host.txt2img(seed=700).images[0].convert("RGB").save(folder / "known.png")
    host.set_policy(f'mode = "quarantine"\n[screen]\nreferences = ["{folder.as_posix()}"]\n')
    generation = host.txt2img(seed=700)
    assert "Provenance decision: quarantine" in generation.infotexts[0]
    assert host.marked_with(generation.images[0]) is None
    return generation.ids[0]


def open_guard(host):
    """A reviewer's guard on the folders of the running WebUI."""
    return Guard(Config(host.folder / "provenance", host.folder / "keys", load_policy(host.policy)))


def status_of(host, path):
    try:
        with urllib.request.urlopen(f"{host.url}{path}", timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_kept_picture_cannot_be_downloaded(host, kept):
    secrets = [
        host.folder / "provenance" / "quarantine" / f"{kept}.kept",
        host.folder / "provenance" / "ledger.sqlite3",
        host.folder / "keys" / "quarantine-1.key",
        host.policy,
    ]
    for path in secrets:
        assert path.exists()
        assert status_of(host, f"/file={path.as_posix()}") in (403, 404)
        assert status_of(host, f"/file/{path.as_posix()}") in (403, 404)


def test_a_reviewer_releases_it_while_the_webui_runs(host, kept, tmp_path):
    with open_guard(host) as guard:
        freed = release_picture(guard, kept, reviewer="Ada", reason="licensed", folder=tmp_path / "out")
    assert read_labels(freed.path).record_id == freed.release.record.id
    assert [event.type for event in host.events() if event.record_id == kept] == [
        "picture.blocked",
        "quarantine.released",
    ]
    assert host.txt2img(seed=701).images, "the WebUI goes on with the same ledger"
