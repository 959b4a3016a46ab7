"""The Quarantine panel: withheld pictures that were kept, for a reviewer to release or to destroy.

The pictures are shown inside the answer to the reviewer's own browser, never as files: what a file server has, others can ask
for. Every handler asks anew who is there, because a page is no lock.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr
from PIL import Image

from provenance_guard.gate.quarantine import Case, Entry
from provenance_guard.guard import Guard
from provenance_guard.review import releasing
from provenance_guard.similarity import describe_notice
from provenance_guard.ui import markup

_SIDE = 768
"""The longest side of a picture as it is shown."""

_HEADER = ("Withheld at (UTC)", "Record", "Why")
_SCRIPT = (
    "const field = this.getRootNode().querySelector("
    "'#provenance-guard-quarantine-id textarea, #provenance-guard-quarantine-id input');"
    "field.value = this.dataset.record;"
    "field.dispatchEvent(new Event('input', {bubbles: true}));"
)
_EMPTY = 'No picture is kept. A policy with mode = "quarantine" keeps what it withholds.'
_CLOSED = (
    "Kept pictures are shown to reviewers only. Their names stand in the policy file ([quarantine] reviewers), and they are "
    "logged in here under that name (--gradio-auth); or they use the command line: python run.py quarantine list"
)


def add_panel(guard_provider: Callable[[], Guard], tab: gr.Tab, *, shared: bool) -> None:
    """Add the panel to the Blocks that is being built. ``shared``: other people than the key's owner may open the page."""
    with gr.Row(elem_classes="provenance-guard-bar"):
        refresh = gr.Button("Refresh", elem_id="provenance-guard-quarantine-refresh", size="sm")
    listing = gr.HTML(elem_id="provenance-guard-quarantine-list")
    chosen = gr.Textbox(
        label="Record",
        placeholder="choose a picture above, or enter a record id or its first characters",
        elem_id="provenance-guard-quarantine-id",
    )
    details = gr.HTML(elem_id="provenance-guard-quarantine-case")
    with gr.Row():
        name = gr.Textbox(
            label="Reviewer",
            placeholder="your name; where you are logged in, that name counts",
            elem_id="provenance-guard-quarantine-reviewer",
        )
        reason = gr.Textbox(
            label="Reason",
            placeholder="why this picture may leave, or must not",
            elem_id="provenance-guard-quarantine-reason",
        )
    with gr.Row(elem_classes="provenance-guard-bar"):
        release = gr.Button("Release", variant="primary", elem_id="provenance-guard-quarantine-release", size="sm")
        destroy = gr.Button("Destroy", variant="stop", elem_id="provenance-guard-quarantine-destroy", size="sm")
    result = gr.HTML(elem_id="provenance-guard-quarantine-result")

    def list_all(request: gr.Request) -> str:
        return show_list(guard_provider, _visitor(request, shared))

    def open_one(prefix: str, request: gr.Request) -> str:
        return show_case(guard_provider, _visitor(request, shared), prefix)

    def release_one(prefix: str, name: str, reason: str, request: gr.Request) -> tuple[str, str, str]:
        return decide(guard_provider, _visitor(request, shared), prefix, name, reason, release=True)

    def destroy_one(prefix: str, name: str, reason: str, request: gr.Request) -> tuple[str, str, str]:
        return decide(guard_provider, _visitor(request, shared), prefix, name, reason, release=False)

    given, changed = [chosen, name, reason], [result, listing, details]
    tab.select(list_all, None, listing, api_name=False)
    refresh.click(list_all, None, listing, api_name=False)
    chosen.change(open_one, chosen, details, api_name=False, show_progress="hidden")
    release.click(release_one, given, changed, api_name=False)
    destroy.click(destroy_one, given, changed, api_name=False)


@dataclass(frozen=True)
class Visitor:
    """Who asks. ``name`` is the one of the log-in, empty without; ``shared`` as in ``add_panel``."""

    name: str
    shared: bool

    def may_review(self, guard: Guard) -> bool:
        """Where a policy file keeps pictures from the people at the page, only those it names; else whoever is there."""
        policy = guard.config.policy
        return (
            not self.shared or policy.source is None or (bool(self.name) and self.name in policy.quarantine.reviewers)
        )


def show_list(guard_provider: Callable[[], Guard], visitor: Visitor) -> str:
    """What is kept, oldest first, as HTML."""

    def work() -> str:
        guard = guard_provider()
        if not visitor.may_review(guard):
            return markup.message("note", _CLOSED)
        entries = guard.quarantine.entries()
        if not entries:
            return markup.message("note", _EMPTY)
        caption = f"{markup.count(len(entries), 'picture')} waiting, oldest first"
        return markup.html_table(_HEADER, map(_row, entries), caption=caption)

    return markup.attempt(work, str)


def show_case(guard_provider: Callable[[], Guard], visitor: Visitor, prefix: str) -> str:
    """One kept picture, what it resembles, and why it was withheld, as HTML."""

    def work() -> str:
        guard = guard_provider()
        if not visitor.may_review(guard):
            return markup.message("note", _CLOSED)
        return case_html(releasing.open_case(guard, prefix))

    return markup.attempt(work, str) if (prefix or "").strip() else ""


def decide(
    guard_provider: Callable[[], Guard], visitor: Visitor, prefix: str, name: str, reason: str, *, release: bool
) -> tuple[str, str, str]:
    """Release or destroy a kept picture: what came of it, the list and the case as they are then, all HTML."""

    def work() -> str:
        guard = guard_provider()
        if not visitor.may_review(guard):
            return markup.message("note", _CLOSED)
        reviewer = visitor.name or name or ""
        if release:
            freed = releasing.release_picture(guard, prefix or "", reviewer=reviewer, reason=reason or "")
            return markup.message("fine", f"Released as {freed.path}, record {freed.release.record.id}.")
        record_id = releasing.destroy_picture(guard, prefix or "", reviewer=reviewer, reason=reason or "")
        return markup.message("fine", f"Destroyed {record_id}. What the ledger says about it stays.")

    outcome = markup.attempt(work, str)
    still_there = show_case(guard_provider, visitor, prefix) if "provenance-guard-fine" not in outcome else ""
    return outcome, show_list(guard_provider, visitor), still_there


def case_html(case: Case) -> str:
    """A kept picture with its evidence and its record."""
    record = case.entry.record
    context = record.get("context") or {}
    parameters = context.get("parameters") or {}
    shown = [("The picture, as it was made", _as_uri(case.image))]
    if case.evidence:
        shown.append(("What matched", _as_uri(Image.open(io.BytesIO(case.evidence)))))
    facts = [
        ("Record", case.entry.record_id),
        ("Withheld at", f"{markup.moment(case.entry.time)} UTC"),
        ("User", str(context.get("user") or "")),
        ("Came from", str(context.get("origin") or "")),
        ("Source file", str(context.get("source_name") or "")),
        ("Prompt", str(parameters.get("prompt") or "")),
        ("Seed", str(parameters.get("seed", ""))),
        ("Size", f"{record.get('width')} x {record.get('height')} pixels"),
        *_references(record),
    ]
    reasons = "".join(markup.message("problem", reason) for reason in case.entry.reasons)
    pictures = "".join(
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<img alt="{escape(title)}" src="{uri}" style="max-width: 100%"></figure>'
        for title, uri in shown
    )
    return reasons + markup.facts(facts) + pictures


def _references(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The references that matched, each with what its owner says of it: only a person can tell whether it may be copied."""
    for match in (record.get("verdict") or {}).get("matches") or ():
        known = describe_notice(match.get("notice") or {}) or "nothing is said of it"
        yield "Reference", f"{match.get('reference', '')}: {match.get('summary', '')}. {known[:1].upper()}{known[1:]}."


def _row(entry: Entry) -> tuple[str, ...]:
    button = (
        f'<button type="button" class="provenance-guard-open" data-record="{escape(entry.record_id)}" '
        f'onclick="{escape(_SCRIPT)}">{escape(entry.record_id)}</button>'
    )
    why = markup.message("problem", entry.problem) if entry.problem else escape(" ".join(entry.reasons))
    return escape(markup.moment(entry.time)) or "unknown", button, why


def _as_uri(image: Image.Image) -> str:
    shown = image.convert("RGB")
    shown.thumbnail((_SIDE * 2, _SIDE) if image.width > image.height else (_SIDE, _SIDE * 2))
    stream = io.BytesIO()
    shown.save(stream, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _visitor(request: Any, shared: bool) -> Visitor:
    return Visitor(str(getattr(request, "username", None) or ""), shared)
