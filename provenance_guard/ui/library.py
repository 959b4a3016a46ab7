"""The Library panel: what pictures are compared with, and what could not be read."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from provenance_guard.errors import GuardError
from provenance_guard.guard import Guard
from provenance_guard.similarity import LibraryStatus, SyncReport
from provenance_guard.ui import markup

_SHOWN = 200


def add_panel(guard_provider: Callable[[], Guard], tab: gr.Tab) -> None:
    """Add the panel to the Blocks that is being built; it fills itself when its tab is opened."""
    refresh = gr.Button(
        "Refresh", elem_id="provenance-guard-library-refresh", elem_classes="provenance-guard-button", size="sm"
    )
    report = gr.HTML(elem_id="provenance-guard-library-report")
    status = gr.HTML(elem_id="provenance-guard-library")

    def show() -> str:
        return show_status(guard_provider)

    def sync(progress: Any = gr.Progress()) -> tuple[str, str]:  # noqa: B008  (Gradio looks for it among the defaults)
        return synchronise(guard_provider, progress), show_status(guard_provider)

    tab.select(show, None, status, api_name=False, show_progress="hidden")
    refresh.click(sync, None, [report, status], api_name=False)


def show_status(guard_provider: Callable[[], Guard]) -> str:
    """What is in the library, as HTML."""

    def work() -> str:
        guard = guard_provider()
        return status_html(guard.library.status(), guard.config.policy.screen.references)

    return markup.attempt(work, lambda problem: problem)


def synchronise(guard_provider: Callable[[], Guard], progress: Callable[..., Any]) -> str:
    """Bring every reference folder up to date and tell what changed, as HTML. A folder that fails does not stop the others."""

    def work() -> str:
        guard = guard_provider()
        demanded = (folder.absolute() for folder in guard.config.policy.screen.references)
        folders = dict.fromkeys((*demanded, *guard.library.status().folders))
        return "".join(_sync_folder(guard, folder, progress) for folder in folders)

    return markup.attempt(work, lambda problem: problem)


def status_html(status: LibraryStatus, demanded: tuple[Path, ...]) -> str:
    """``demanded`` are the folders that the policy names: shown when not in the library yet as well, and when there are any,
    the only ones that pictures are compared with."""
    folders = {**dict.fromkeys(folder.absolute() for folder in demanded), **status.folders}
    if not folders:
        return markup.message(
            "note",
            "No reference folder yet: there is nothing to compare with. Name one under [screen] references in the policy "
            "or in the WebUI's settings, or index one with: python run.py index DIR",
        )
    compared = {folder.absolute() for folder in demanded} or set(folders)
    rows = [
        (
            escape(_readable(path)),
            "not indexed yet" if count is None else f"{count:,}",
            "yes" if path in compared else "no, the policy does not name it",
        )
        for path, count in folders.items()
    ]
    html = [
        markup.html_table(
            ("Folder", "Pictures", "Compared with"), rows, caption=markup.count(status.references, "reference")
        ),
        markup.heading("How pictures are compared"),
        markup.facts((name, f"{markup.count(count, 'picture')} indexed") for name, count in status.algorithms.items()),
        _embedding_html(status),
    ]
    if status.unreadable:
        html.append(_unreadable_html(status.unreadable))
    return "".join(html)


def _embedding_html(status: LibraryStatus) -> str:
    if status.embedding:
        return markup.message("fine", f"Comparison by meaning is active: {status.embedding}.")
    return markup.message(
        "note",
        f"Comparison by meaning is off: {status.embedding_reason}. Near-copies are found without it; pictures that only "
        "show the same subject are not.",
    )


def _unreadable_html(unreadable: tuple[tuple[Path, str], ...]) -> str:
    rows = [
        (escape(_readable(path)), escape(reason.replace(str(path), path.name))) for path, reason in unreadable[:_SHOWN]
    ]
    left = len(unreadable) - len(rows)
    table = markup.html_table(
        ("File", "Why"), rows, caption=f"{markup.count(len(unreadable), 'file')} could not be read"
    )
    return table + (markup.hint(f"and {left:,} more") if left else "")


def _sync_folder(guard: Guard, folder: Path, progress: Callable[..., Any]) -> str:
    def step(done: int, total: int, name: str) -> None:
        progress((done, max(total, 1)), desc=_readable(Path(folder.name, name)), unit="pictures")

    try:
        return _report_html(guard.library.sync(folder, progress=step))
    except GuardError as error:
        return markup.message("problem", str(error))


def _report_html(report: SyncReport) -> str:
    text = (
        f"{_readable(report.folder)}: {report.added} added, {report.updated} updated, {report.removed} removed, "
        f"{report.unchanged} unchanged, {len(report.unreadable)} not readable."
    )
    notes = "".join(markup.message("note", note) for note in report.notes)
    return markup.message("note" if report.unreadable else "fine", text) + notes


def _readable(path: Path) -> str:
    """A path as text that can be sent, whatever bytes its name has."""
    return str(path).encode("utf-8", "replace").decode("utf-8")
