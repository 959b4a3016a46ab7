"""The Check panel: is a picture a near copy, does it carry our mark, and does its record hold.

Nothing is recorded, and the uploaded file goes no further than the program that serves this page.
"""

from __future__ import annotations

import dataclasses
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from provenance_guard import pictures
from provenance_guard.errors import UsageError
from provenance_guard.guard import Guard
from provenance_guard.provenance.sidecar import sidecar_path
from provenance_guard.review.verification import Finding, verify_picture
from provenance_guard.similarity import Match, Verdict, describe_notice
from provenance_guard.similarity.explain import explain_match
from provenance_guard.ui import markup
from provenance_guard.ui.markup import State
from provenance_guard.ui.recent import LEVELS, record_html
from provenance_guard.ui.records import read_story
from provenance_guard.watermark import Detection, Geometry, Payload

_PREVIEW_SIDE = 768
_LEVEL_SENTENCES = {
    "clean": "No reference resembles this picture enough to tell.",
    "review": "A person should compare this picture with the references below.",
    "near_copy": "This picture is a near copy of a reference.",
}
_ANSWERS: dict[str, tuple[State, str]] = {
    "holds": ("fine", "holds"),
    "fails": ("problem", "fails"),
    "unknown": ("note", "unknown"),
}


@dataclass(frozen=True)
class Report:
    """What the panel shows about one picture; texts are HTML, empty when there is nothing to show."""

    summary: str = ""
    preview: Image.Image | None = None
    references: str = ""
    explanation: Image.Image | None = None
    mark: str = ""
    verification: str = ""
    record: str = ""


def add_panel(guard_provider: Callable[[], Guard]) -> None:
    """Add the panel to the Blocks that is being built. A dropped picture is checked at once."""
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            upload = gr.File(
                label="Picture (and its .prov.json)",
                file_count="multiple",
                elem_id="provenance-guard-check-upload",
            )
            gr.HTML(markup.hint("The picture stays on the computer that runs this page, and nothing is recorded."))
            preview = gr.Image(
                label="Picture", interactive=False, visible=False, elem_id="provenance-guard-check-preview"
            )
        with gr.Column(scale=3, min_width=280):
            summary = gr.HTML(elem_id="provenance-guard-check-summary")
            references = gr.HTML(elem_id="provenance-guard-check-references")
            explanation = gr.Image(
                label="What matched",
                show_label=False,
                interactive=False,
                visible=False,
                elem_id="provenance-guard-check-explanation",
            )
            mark = gr.HTML(elem_id="provenance-guard-check-mark")
            verification = gr.HTML(elem_id="provenance-guard-check-verification")
            with gr.Accordion("The record in the ledger", open=False, visible=False) as accordion:
                record = gr.HTML(elem_id="provenance-guard-check-record")

    def check(uploads: Any) -> tuple[Any, ...]:
        report = check_uploads(guard_provider, uploads)
        return (
            report.summary,
            _shown(report.preview),
            report.references,
            _shown(report.explanation),
            report.mark,
            report.verification,
            gr.update(visible=bool(report.record)),
            report.record,
        )

    outputs = [summary, preview, references, explanation, mark, verification, accordion, record]
    upload.change(check, upload, outputs, api_name=False)


def check_uploads(guard_provider: Callable[[], Guard], uploads: Any) -> Report:
    """Check what was dropped (Gradio's file objects, one, several or None). Never raises: errors are in ``summary``."""
    files = _uploaded(uploads)
    if not files:
        return Report()
    with tempfile.TemporaryDirectory(prefix="provenance-guard-") as folder:
        report = markup.attempt(
            lambda: check_picture(guard_provider(), _side_by_side(files, Path(folder))),
            lambda problem: Report(summary=problem),
        )
        return _without_folder(report, folder)


def check_picture(guard: Guard, path: Path) -> Report:
    """Check one picture file, with the sidecar beside it when there is one. Each part fails apart from the others.

    Raises PictureError when the file is no picture that can be checked.
    """
    picture = pictures.open_picture(path)
    preview = picture.image.copy()
    preview.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    references, explanation = markup.attempt(lambda: _compare(guard, picture.image), lambda problem: (problem, None))
    mark, verification, record = markup.attempt(lambda: _verify(guard, path), lambda problem: ("", problem, ""))
    return Report(
        summary="".join(markup.message("note", f"Read with a change: {note}.") for note in picture.notes),
        preview=preview,
        references=markup.heading("References") + references,
        explanation=explanation,
        mark=markup.heading("Mark") + mark if mark else "",
        verification=markup.heading("Verification") + verification,
        record=record,
    )


def verdict_html(verdict: Verdict) -> str:
    """What the screen says, each match with its numbers."""
    state = LEVELS[verdict.level][0]
    if verdict.references == 0:
        return markup.message("note", "There is no reference to compare with: see the Library panel.")
    rows = [
        (
            escape(_name(match.reference)),
            markup.percent(match.probability),
            markup.percent(match.copied_share_picture),
            markup.percent(match.copied_share_reference),
            escape(describe_notice(match.notice.to_json())),
        )
        for match in verdict.matches
    ]
    header = ("Reference", "Probability of a copy", "Of this picture", "Of the reference", "What is said of it")
    table = markup.html_table(header, rows, caption="Share of the area that matched") if rows else ""
    compared = f"Compared with {markup.count(verdict.references, 'reference')} in {verdict.seconds:.1f} seconds."
    notes = "".join(markup.hint(note) for note in (compared, *verdict.notes))
    return markup.message(state, _LEVEL_SENTENCES[verdict.level]) + table + notes


def mark_html(detection: Detection | None) -> str:
    """The mark that was found, or that none was."""
    if detection is None:
        return markup.message(
            "note", "No mark of a key known here was found. That does not tell where the picture is from."
        )
    content = Payload.unpack(detection.payload)
    facts = [
        ("Record", f"begins with {content.record_id_prefix}" if content else ""),
        ("Marked at", f"{content.moment:%Y-%m-%d %H:%M:%S} UTC" if content and content.moment else ""),
        ("Payload", "" if content else detection.payload.hex()),
        ("Confidence", f"{markup.percent(detection.confidence)} of the code bits arrived (chance is 50 %)"),
        ("Since then", describe_geometry(detection.geometry)),
        ("Key", detection.key_id),
    ]
    return markup.message("fine", "This picture carries a mark made with a key known here.") + markup.facts(facts)


def describe_geometry(geometry: Geometry) -> str:
    """What happened to the picture since it was marked, in words."""
    changes = list(_changes(geometry))
    return ", ".join(changes) if changes else "neither scaled nor turned"


def findings_html(findings: tuple[Finding, ...]) -> str:
    """Each question with its own answer; there is no overall one."""
    return markup.findings((*_ANSWERS[finding.verdict], finding.subject, finding.sentence) for finding in findings)


def _uploaded(uploads: Any) -> list[tuple[str, Path]]:
    """The file names and where Gradio put them. Gradio 3 gives file wrappers, Gradio 4 texts; both have ``name``."""
    listed = uploads if isinstance(uploads, list) else [uploads] if uploads else []
    return [(Path(getattr(entry, "orig_name", entry.name)).name, Path(entry.name)) for entry in listed]


def _side_by_side(files: list[tuple[str, Path]], folder: Path) -> Path:
    """Copy the picture into ``folder`` under its own name, and the sidecar beside it. Raises UsageError."""
    sidecars = [path for name, path in files if name.endswith(".json")]
    images = [(name, path) for name, path in files if not name.endswith(".json")]
    if len(images) != 1 or len(sidecars) > 1:
        raise UsageError(
            "One picture can be checked at a time.", next_step="Drop one picture, with its .prov.json when you have it."
        )
    name, path = images[0]
    target = folder / name
    shutil.copyfile(path, target)
    for sidecar in sidecars:
        shutil.copyfile(sidecar, sidecar_path(target))
    return target


def _compare(guard: Guard, image: Image.Image) -> tuple[str, Image.Image | None]:
    verdict = guard.screen(image)
    html = verdict_html(verdict)
    if not verdict.matches:
        return html, None
    return markup.attempt(lambda: (html, _explain(image, verdict.matches[0])), lambda problem: (html + problem, None))


def _explain(image: Image.Image, match: Match) -> Image.Image | None:
    return Image.open(io.BytesIO(explain_match(image, match)))


def _verify(guard: Guard, path: Path) -> tuple[str, str, str]:
    result = verify_picture(path, guard)
    return mark_html(result.detection), findings_html(result.findings), _record_html(guard, result.record_id)


def _record_html(guard: Guard, record_id: str | None) -> str:
    """The record as the ledger has it; empty when it is not in this ledger."""
    if record_id is None:
        return ""
    return markup.attempt(lambda: record_html(read_story(guard, record_id)), lambda problem: "")


def _changes(geometry: Geometry) -> Iterator[str]:
    if abs(geometry.scale - 1) > 0.005:
        yield f"scaled to {round(100 * geometry.scale)} %"
    if abs(geometry.scale_x / geometry.scale_y - 1) > 0.005:
        yield "stretched"
    if abs(geometry.angle) > 0.05:
        yield f"turned by {geometry.angle:.1f} degrees"
    if geometry.mirrored:
        yield "mirrored"
    if geometry.inverted:
        yield "inverted"


def _without_folder(report: Report, folder: str) -> Report:
    """A person knows the picture by its name; where our copy of it lay says nothing."""
    lying = escape(folder + os.sep)
    texts = {name: value.replace(lying, "") for name, value in vars(report).items() if isinstance(value, str)}
    return dataclasses.replace(report, **texts)


def _name(path: Path) -> str:
    return path.name.encode("utf-8", "replace").decode("utf-8")


def _shown(image: Image.Image | None) -> Any:
    return gr.update(value=image, visible=image is not None)
