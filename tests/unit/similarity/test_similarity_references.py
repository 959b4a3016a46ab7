from __future__ import annotations

from pathlib import Path

import pytest
from similarity_pictures import draw_scene

from provenance_guard.errors import LibraryError
from provenance_guard.similarity import Library
from provenance_guard.similarity.references import Notice, describe_notice, parse

TEXT = """
[folder]
name = "Scenes"
author = "A. Painter"
near_copy = 0.9

[pictures."inner/2.png"]
title = "Second scene"
licence = "CC0-1.0"
source = "https://example.org/2"
cleared = true
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "references"
    (folder / "inner").mkdir(parents=True)
    draw_scene(1).save(folder / "1.png")
    draw_scene(2).save(folder / "inner" / "2.png")
    return folder


def test_notices_come_with_the_match(folder: Path, tmp_path: Path) -> None:
    (folder / "references.toml").write_text(TEXT, "utf-8")
    library = Library.open(tmp_path / "data")
    assert library.sync(folder).unreadable == ()
    match = library.screen(draw_scene(1)).matches[0]
    assert match.notice == Notice(folder="Scenes", author="A. Painter", near_copy=0.9)
    assert match.to_json()["notice"] == {"folder": "Scenes", "author": "A. Painter", "near_copy": 0.9}
    assert match.level == "near_copy"


def test_a_cleared_reference_is_named_and_blocks_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "references.toml").write_text(TEXT, "utf-8")
    library = Library.open(tmp_path / "data")
    library.sync(folder)
    verdict = library.screen(draw_scene(2))
    assert verdict.level == "clean"
    match = verdict.matches[0]
    assert match.reference.name == "2.png"
    assert match.probability > 0.9
    assert match.notice.title == "Second scene"
    assert "cleared" in match.summary
    # The same picture elsewhere is not cleared.
    draw_scene(2).save(folder / "same.png")
    library.sync(folder)
    assert library.screen(draw_scene(2)).level == "near_copy"


def test_thresholds_of_a_folder_and_of_a_picture(folder: Path, tmp_path: Path) -> None:
    library = Library.open(tmp_path / "data")
    library.sync(folder)
    turned = draw_scene(1).rotate(4)
    assert library.screen(turned).level == "near_copy"
    (folder / "references.toml").write_text("[folder]\nnear_copy = 1.0\n", "utf-8")
    library.sync(folder)
    assert library.screen(turned).level == "review"
    (folder / "references.toml").write_text(
        '[folder]\nnear_copy = 1.0\n[pictures."1.png"]\nnear_copy = 0.2\nreview = 0.1\n', "utf-8"
    )
    library.sync(folder)
    assert library.screen(turned).level == "near_copy"
    (folder / "references.toml").unlink()
    library.sync(folder)
    assert library.screen(turned).matches[0].notice == Notice()


def test_the_match_that_makes_the_level_comes_first(folder: Path, tmp_path: Path) -> None:
    draw_scene(1).crop((30, 20, 450, 340)).save(folder / "part.png")
    (folder / "references.toml").write_text("[pictures.'1.png']\nnear_copy = 1.0\n", "utf-8")
    library = Library.open(tmp_path / "data")
    library.sync(folder)
    first, second, *_ = library.screen(draw_scene(1)).matches
    assert [first.reference.name, first.level] == ["part.png", "near_copy"]
    assert [second.reference.name, second.level] == ["1.png", "review"]
    assert second.probability >= first.probability


def test_a_notice_in_words() -> None:
    notice = parse(TEXT, Path("references.toml"))
    assert describe_notice(notice.of("inner/2.png").to_json()) == (
        "Second scene, A. Painter; licence: CC0-1.0; source: https://example.org/2; cleared"
    )
    assert describe_notice(notice.of("1.png").to_json()) == "Scenes, A. Painter"
    assert describe_notice({}) == ""


def test_a_broken_file_is_named_and_what_was_said_before_stays(folder: Path, tmp_path: Path) -> None:
    (folder / "references.toml").write_text(TEXT, "utf-8")
    library = Library.open(tmp_path / "data")
    library.sync(folder)
    (folder / "references.toml").write_text("[folder\n", "utf-8")
    (path, reason), *others = library.sync(folder).unreadable
    assert path == folder / "references.toml"
    assert "not valid TOML" in reason
    assert not others
    assert library.screen(draw_scene(2)).level == "clean"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("colour = 1", "unknown table or key 'colour'"),
        ("[folder]\nnear = 0.5", "unknown key 'near'"),
        ("[folder]\nfolder = 'x'\nnear_copy = true", "must be a number"),
        ("[folder]\nnear_copy = 85", "must be a number from 0 to 1"),
        ("[folder]\ntitle = 3", "must be text"),
        ("[folder]\nreview = 0.9\nnear_copy = 0.5", "above near_copy"),
        ("pictures = 3", "must be a table"),
        ("[pictures]\n'1.png' = 3", "must be a table"),
        ("[pictures.'1.png']\nname = 'x'", "unknown key 'name'"),
        ("[pictures.'1.png']\ncleared = 'yes'", "must be true or false"),
    ],
)
def test_what_is_wrong_is_told(text: str, problem: str) -> None:
    with pytest.raises(LibraryError, match=problem):
        parse(text, Path("references.toml"))
