"""The handlers of every panel, called as Gradio calls them, on real ledgers, libraries and pictures."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import sqlite3
import time
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from provenance_guard import ui
from provenance_guard.config import Config, Policy, ScreenPolicy
from provenance_guard.errors import ConfigError
from provenance_guard.guard import Guard
from provenance_guard.ledger import Ledger, NewEvent
from provenance_guard.provenance.record import Context
from provenance_guard.provenance.sidecar import sidecar_path
from provenance_guard.review.health import Check
from provenance_guard.ui import check, health, library, recent
from provenance_guard.ui.records import PAGE_SIZE, list_entries

STRANGER = Path(__file__).resolve().parents[2] / "examples" / "generated" / "00002-913350088.png"
CONTEXT = Context("webui.txt2img", {"prompt": "a pond"})
OVERCLAIMS = re.compile(r"authentic|infring|human-made|genuine|\bfake\b", re.IGNORECASE)
NO_PROGRESS = lambda *_, **__: None  # noqa: E731


def upload(*paths: Path) -> list[Any]:
    """What Gradio 3 hands to a handler: the place of its copy, and the file's own name beside it."""
    return [SimpleNamespace(name=str(path), orig_name=path.name) for path in paths]


def words(html: str) -> str:
    """The text of a piece of HTML, as a reader sees it."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def first_record(guard: Guard, action: str) -> str:
    page = list_entries(guard, action=action)
    assert page is not None
    return page.entries[0].record_id


class TestPage:
    def test_builds_inside_blocks_and_names_its_elements(self, guard: Guard) -> None:
        with gr.Blocks(analytics_enabled=False) as blocks:
            ui.add_page(lambda: guard)
        names = {block.elem_id for block in blocks.blocks.values() if getattr(block, "elem_id", None)}
        assert len(names) > 15
        assert all(name.startswith("provenance-guard-") for name in names)

    def test_can_be_built_more_than_once(self, guard: Guard) -> None:
        for _ in range(2):  # The WebUI builds its page again at "Reload UI".
            with gr.Blocks(analytics_enabled=False):
                ui.add_page(lambda: guard)

    def test_building_asks_for_no_guard(self) -> None:
        def broken() -> Guard:
            raise AssertionError("asked for the guard while the page was built")

        with gr.Blocks(analytics_enabled=False):
            ui.add_page(broken)


class TestRecent:
    def list(self, guard: Guard, number: int = 0, text: str = "", action: str = "any decision") -> str:
        return recent.show_list(lambda: guard, number, text, action)[0]

    def test_an_empty_installation_says_so_and_stays_empty(self, new_guard: Guard) -> None:
        assert "Nothing recorded yet" in self.list(new_guard)
        assert not new_guard.config.data_directory.exists()

    def test_lists_the_newest_first_with_name_verdict_and_decision(self, guard: Guard) -> None:
        text = words(self.list(guard))
        assert text.index("withheld") < text.index("copy.png") < text.index("harbour <i>.png")
        assert "near copy" in text
        assert "warned" in text

    def test_names_and_prompts_cannot_inject_html(self, guard: Guard) -> None:
        record = recent.show_record(lambda: guard, first_record(guard, "warn"))[0]
        assert "<script" not in record
        assert "<i>" not in self.list(guard)
        assert "a harbour <script>alert('x')</script> at dawn" in words(record)

    @pytest.mark.parametrize(
        ("text", "action", "expected"),
        [
            ("", "withheld", 1),
            ("", "allowed", 1),
            ("HARBOUR <i>", "any decision", 1),
            ("at dawn", "any decision", 3),
            ("seed:2087351147", "warned", 1),
            ("lora:ink harb*", "any decision", 3),
            ("sea_painter", "any decision", 3),
            ("no such words", "any decision", 0),
        ],
    )
    def test_filters_by_text_and_decision(self, guard: Guard, text: str, action: str, expected: int) -> None:
        html = self.list(guard, text=text, action=action)
        assert html.count("data-record=") == expected
        assert expected or "No record fits" in html

    def test_shows_a_record_in_full(self, guard: Guard) -> None:
        html, shown, stored = recent.show_record(lambda: guard, first_record(guard, "warn")[:8].upper())
        text = words(html)
        for expected in (
            "copy.png",
            "Near copy of potter-mr-jackson.jpg",
            "Seed 2087351147",
            "Checkpoint sea_painter SHA-256 abab",
            "declared hash ffff0000, not verified, weight 0.8",
            f"record {'ef' * 16}",
            "picture.saved",
            "bytes of proof",
        ):
            assert expected.lower() in text.lower()
        assert shown["visible"] is True
        assert stored["context"]["parameters"]["seed"] == 2087351147

    @pytest.mark.parametrize(
        ("prefix", "expected"),
        [("", ""), ("xyz", "32 digits"), ("ab", "at least the first four"), ("0" * 32, "There is no record")],
    )
    def test_a_wrong_record_id_gives_a_sentence(self, guard: Guard, prefix: str, expected: str) -> None:
        assert expected in recent.show_record(lambda: guard, prefix)[0]

    def test_ten_thousand_records_are_paged(self, new_guard: Guard) -> None:
        record = {"context": {"source_name": "", "parameters": {"prompt": "x" * 400}}, "decision": {"action": "allow"}}

        def event(number: int) -> NewEvent:
            named = {**record, "context": {**record["context"], "source_name": f"picture {number}.png"}}
            return NewEvent("picture.released", {"record": named}, f"{number:032x}")

        with new_guard.ledger as ledger:
            ledger.append_many(event(number) for number in range(10_000))
        html, newer, older, number = recent.show_list(lambda: new_guard, 0, "", "any decision")
        assert html.count("data-record=") == PAGE_SIZE
        assert "picture 9999.png" in html
        assert (newer["interactive"], older["interactive"], number) == (False, True, 0)
        started = time.process_time()
        html, newer, older, number = recent.show_list(lambda: new_guard, 399, "", "any decision")
        assert time.process_time() - started < 20  # About one second; the limit only catches a square growth.
        assert "picture 0.png" in html
        assert "the oldest is here" in html
        assert (newer["interactive"], older["interactive"], number) == (True, False, 399)

    def test_a_picture_that_was_compared_with_nothing_is_not_called_clean(self, new_guard: Guard) -> None:
        new_guard.release(Image.new("RGB", (80, 80), "teal"), CONTEXT)
        html = self.list(new_guard)
        assert "not compared" in html
        assert "clean" not in html

    def test_a_damaged_ledger_gives_a_sentence(self, new_guard: Guard) -> None:
        path = new_guard.config.ledger_path
        path.parent.mkdir(parents=True)
        path.write_bytes(b"no database at all" * 100)
        assert "is not a ledger" in words(self.list(new_guard))

    def test_an_erased_record_is_told_as_erased(self, new_guard: Guard) -> None:
        with new_guard.ledger as ledger:
            ledger.append("picture.released", {"record": {"decision": {"action": "allow"}}}, record_id="1" * 32)
        with sqlite3.connect(new_guard.config.ledger_path) as connection:
            connection.execute("UPDATE event SET bytes = NULL WHERE record_id IS NOT NULL")
        assert "(erased)" in self.list(new_guard)
        assert "was erased" in recent.show_record(lambda: new_guard, "1111")[0]


class TestCheck:
    def test_a_sealed_copy_of_a_reference(self, guard: Guard, copy: Path, sidecar: Path) -> None:
        report = check.check_uploads(lambda: guard, upload(copy, sidecar))
        assert report.summary == ""
        assert "near copy of a reference" in report.references
        assert "potter-mr-jackson.jpg" in report.references
        assert report.explanation is not None
        assert report.explanation.width > 300
        assert "carries a mark" in report.mark
        assert "begins with" in words(report.mark)
        assert words(report.verification).count("holds") >= 5
        assert "fails" not in report.verification
        assert "Seed" in report.record

    def test_a_stranger(self, guard: Guard, tmp_path: Path) -> None:
        stranger = tmp_path / "外 name with spaces.png"
        Image.open(STRANGER).convert("RGB").resize((200, 200)).save(stranger)
        report = check.check_uploads(lambda: guard, upload(stranger))
        assert "No reference resembles" in report.references
        assert report.explanation is None
        assert "No mark of a key known here" in report.mark
        assert "fails" not in report.verification
        assert report.record == ""

    def test_a_changed_sidecar_is_told(self, guard: Guard, copy: Path, sidecar: Path, tmp_path: Path) -> None:
        changed = tmp_path / sidecar.name
        envelope = json.loads(sidecar.read_text("utf-8"))
        statement = base64.b64decode(envelope["payload"]).replace(b'"action"', b'"acting"', 1)
        envelope["payload"] = base64.b64encode(statement).decode("ascii")
        changed.write_text(json.dumps(envelope), "utf-8")
        assert "fails" in words(check.check_uploads(lambda: guard, upload(copy, changed)).verification)

    def test_a_damaged_sidecar_is_told_by_its_name_alone(self, guard: Guard, copy: Path, tmp_path: Path) -> None:
        damaged = tmp_path / f"{copy.name}.prov.json"
        damaged.write_text("{}", "utf-8")
        text = words(check.check_uploads(lambda: guard, upload(copy, damaged)).verification)
        assert "fails" in text
        assert damaged.name in text
        assert f"/{damaged.name}" not in text

    def test_checking_records_nothing(self, guard: Guard, copy: Path) -> None:
        path = guard.config.ledger_path
        with Ledger.open_read_only(path) as ledger:
            before = ledger.size
        check.check_uploads(lambda: guard, upload(copy))
        with Ledger.open_read_only(path) as ledger:
            assert ledger.size == before

    @pytest.mark.parametrize("kind", ["animated", "truncated", "empty", "text"])
    def test_what_is_no_picture_gives_its_sentence(self, guard: Guard, copy: Path, tmp_path: Path, kind: str) -> None:
        path = tmp_path / f"{kind}.gif"
        if kind == "animated":
            frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
            frames[0].save(path, save_all=True, append_images=frames[1:])
        else:
            path.write_bytes({"truncated": copy.read_bytes()[:5000], "empty": b"", "text": b"hello"}[kind])
        report = check.check_uploads(lambda: guard, upload(path))
        expected = {
            "animated": "animated (2 frames)",
            "truncated": "cut short",
            "empty": "empty",
            "text": "not a picture",
        }
        assert f"{kind}.gif" in report.summary
        assert expected[kind] in report.summary
        assert str(tmp_path) not in report.summary
        assert report.verification == ""

    def test_two_pictures_are_refused(self, guard: Guard, copy: Path, installation: Any) -> None:
        report = check.check_uploads(lambda: guard, upload(copy, installation.plain))
        assert "One picture can be checked at a time" in report.summary

    def test_nothing_dropped_clears_the_panel(self, guard: Guard) -> None:
        assert check.check_uploads(lambda: guard, None) == check.Report()

    def test_a_part_that_fails_does_not_hide_the_others(self, installation: Any, tmp_path: Path) -> None:
        screen = ScreenPolicy(references=(tmp_path / "gone",))
        config = dataclasses.replace(installation.config, policy=Policy(screen=screen))
        report = check.check_uploads(lambda: Guard(config), upload(installation.copy))
        assert "gone" in report.references
        assert "carries a mark" in report.mark

    def test_an_unexpected_error_is_shown_with_its_type(self, copy: Path) -> None:
        def broken() -> Guard:
            raise RuntimeError("the sky fell")

        assert "Unexpected RuntimeError: the sky fell" in check.check_uploads(broken, upload(copy)).summary

    @pytest.fixture
    def copy(self, installation: Any) -> Path:
        return installation.copy

    @pytest.fixture
    def sidecar(self, copy: Path) -> Path:
        return sidecar_path(copy)


class TestLibrary:
    def test_an_empty_library_tells_what_to_do(self, new_guard: Guard) -> None:
        assert "No reference folder yet" in library.show_status(lambda: new_guard)

    def test_tells_folders_counts_and_unreadable_files(self, guard: Guard, installation: Any) -> None:
        text = words(library.show_status(lambda: guard))
        assert f"{installation.references} 1 yes" in text
        assert "1 file could not be read" in text
        assert "cut short.jpg is damaged or cut short" in text
        assert "Comparison by meaning is off: no weight file" in text

    def test_tells_which_folders_the_policy_does_not_name(self, tmp_path: Path, installation: Any) -> None:
        other, named = tmp_path / "other", tmp_path / "named"
        for folder in (other, named):
            folder.mkdir()
        guard = Guard(Config(tmp_path / "data", tmp_path / "keys", Policy(screen=ScreenPolicy(references=(named,)))))
        guard.library.sync(other)
        text = words(library.show_status(lambda: guard))
        assert f"{named} not indexed yet yes" in text
        assert f"{other} 0 no, the policy does not name it" in text

    def test_refresh_reports_each_folder_and_its_progress(self, guard: Guard) -> None:
        steps: list[tuple[int, int]] = []
        html = library.synchronise(lambda: guard, lambda share, **_: steps.append(share))
        assert "1 unchanged, 1 not readable" in words(html)
        assert steps[-1][0] == steps[-1][1]

    def test_a_missing_folder_does_not_stop_the_others(self, tmp_path: Path, installation: Any) -> None:
        screen = ScreenPolicy(references=(tmp_path / "gone", installation.references))
        guard = Guard(Config(tmp_path / "data", tmp_path / "keys", Policy(screen=screen)))
        text = words(library.synchronise(lambda: guard, NO_PROGRESS))
        assert "gone does not exist" in text
        assert "1 added" in text


class TestHealth:
    def test_a_used_installation_has_no_problem(self, guard: Guard) -> None:
        html = health.show_health(lambda: guard, lambda: ())
        assert "The ledger is sound" in html
        assert "No problem was found" in html

    def test_lines_of_a_host_are_added_and_problems_come_first(self, guard: Guard) -> None:
        extra = [Check("guards", "problem", "The gallery is not guarded.")]
        text = words(health.show_health(lambda: guard, lambda: extra))
        assert text.startswith("Something needs attention")
        assert text.index("The gallery is not guarded") < text.index("fine")

    def test_a_broken_configuration_is_told_and_the_host_s_lines_stay(self) -> None:
        def broken() -> Guard:
            raise ConfigError(Path("policy.toml"), "mode is 'maybe'", line=3)

        text = words(health.show_health(broken, lambda: [Check("guards", "fine", "All hooks are in place.")]))
        assert "policy.toml, line 3: mode is 'maybe'." in text
        assert "All hooks are in place" in text
        assert "No problem" not in text


def test_no_verdict_overclaims(guard: Guard, installation: Any) -> None:
    report = check.check_uploads(lambda: guard, upload(installation.copy))
    shown = [
        *(value for value in dataclasses.asdict(report).values() if isinstance(value, str)),
        recent.show_list(lambda: guard, 0, "", "any decision")[0],
        library.show_status(lambda: guard),
        health.show_health(lambda: guard, lambda: ()),
        *(path.read_text("utf-8") for path in Path(ui.__file__).parent.glob("*.py")),
    ]
    assert not OVERCLAIMS.search("\n".join(shown))
