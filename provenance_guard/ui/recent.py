"""The Recent panel: the last records, a filter, and one record in full."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any

import gradio as gr

from provenance_guard.guard import Guard
from provenance_guard.review.records import describe_mark
from provenance_guard.similarity import describe_notice
from provenance_guard.ui import markup
from provenance_guard.ui.markup import State
from provenance_guard.ui.records import (
    Entry,
    Page,
    Story,
    list_entries,
    read_story,
    texts,
    verdict_level,
)

NOTHING = (
    "Nothing recorded yet: generate a picture in the WebUI, or pass pictures through the command line with: "
    "python run.py guard PICTURES --references DIR --out DIR"
)

ACTIONS: dict[str, tuple[State, str]] = {
    "allow": ("fine", "allowed"),
    "warn": ("note", "warned"),
    "retry": ("note", "made again"),
    "quarantine": ("problem", "kept for review"),
    "block": ("problem", "withheld"),
}
LEVELS: dict[str, tuple[State, str]] = {
    "clean": ("fine", "clean"),
    "review": ("note", "review"),
    "near_copy": ("problem", "near copy"),
}
_MARKS: dict[str, State] = {"yes": "fine", "weak": "note", "none": "note"}
_FIRST_PARAMETERS = ("Prompt", "Negative prompt", "Seed", "Steps", "Sampler")
_ANY = "any decision"
_HEADER = ("Time (UTC)", "Picture", "Verdict", "Decision", "Mark", "Failures")

# A click on a row writes the record's id into the visible field below, whose change event does the rest.
_OPEN_ROW = (
    "const field = this.getRootNode().querySelector("
    "'#provenance-guard-record-id textarea, #provenance-guard-record-id input');"
    "field.value = this.dataset.record;"
    "field.dispatchEvent(new Event('input', {bubbles: true}));"
)


def add_panel(guard_provider: Callable[[], Guard]) -> None:
    """Add the panel to the Blocks that is being built; it fills itself when the page is loaded."""
    position = gr.State(0)
    with gr.Row(elem_classes="provenance-guard-bar"):
        text = gr.Textbox(
            label="Find",
            placeholder='words, "a phrase", begin*, lora:name, seed:42',
            elem_id="provenance-guard-recent-text",
            scale=3,
        )
        action = gr.Dropdown(
            choices=[_ANY, *(word for _, word in ACTIONS.values())],
            value=_ANY,
            label="Decision",
            elem_id="provenance-guard-recent-action",
            scale=1,
        )
        refresh = gr.Button("Refresh", elem_id="provenance-guard-recent-refresh", size="sm")
    listing = gr.HTML(elem_id="provenance-guard-recent-list")
    with gr.Row(elem_classes="provenance-guard-pages"):
        newer = gr.Button("Newer", interactive=False, elem_id="provenance-guard-recent-newer", size="sm")
        older = gr.Button("Older", interactive=False, elem_id="provenance-guard-recent-older", size="sm")
    chosen = gr.Textbox(
        label="Record",
        placeholder="choose a picture above, or enter a record id or its first characters",
        elem_id="provenance-guard-record-id",
    )
    details = gr.HTML(elem_id="provenance-guard-record")
    with gr.Accordion("The record as stored", open=False, visible=False, elem_id="provenance-guard-record-raw") as raw:
        document = gr.JSON(show_label=False)

    filters, page = [text, action], [listing, newer, older, position]

    def first(text: str, action: str) -> tuple[Any, ...]:
        return show_list(guard_provider, 0, text, action)

    def turn(step: int) -> Callable[..., tuple[Any, ...]]:
        return lambda text, action, number: show_list(guard_provider, max(0, number + step), text, action)

    def open_record(prefix: str) -> tuple[Any, ...]:
        return show_record(guard_provider, prefix)

    refresh.click(first, filters, page, api_name=False)
    text.submit(first, filters, page, api_name=False)
    action.change(first, filters, page, api_name=False)
    newer.click(turn(-1), [*filters, position], page, api_name=False)
    older.click(turn(+1), [*filters, position], page, api_name=False)
    chosen.change(open_record, chosen, [details, raw, document], api_name=False, show_progress="hidden")
    gr.context.Context.root_block.load(first, filters, page, api_name=False)


def show_list(guard_provider: Callable[[], Guard], number: int, text: str, action: str) -> tuple[Any, ...]:
    """One page of the list: its HTML, the two buttons, and the page's number (from 0)."""
    actions = {word: key for key, (_, word) in ACTIONS.items()}

    def work() -> tuple[Any, ...]:
        page = list_entries(guard_provider(), number=number, text=text or "", action=actions.get(action, ""))
        more = page is not None and page.more
        return list_html(page), gr.update(interactive=number > 0), gr.update(interactive=more), number

    return markup.attempt(work, lambda problem: (problem, gr.update(), gr.update(), number))


def show_record(guard_provider: Callable[[], Guard], prefix: str) -> tuple[Any, ...]:
    """One record: its HTML, whether the stored form is shown, and that form."""
    prefix = (prefix or "").strip().lower()
    if not prefix:
        return "", gr.update(visible=False), None
    if not re.fullmatch(r"[0-9a-f]{4,32}", prefix):
        hint = markup.message("note", "A record id has 32 digits out of 0-9 and a-f; give at least the first four.")
        return hint, gr.update(visible=False), None

    def work() -> tuple[Any, ...]:
        story = read_story(guard_provider(), prefix)
        return record_html(story), gr.update(visible=True), dict(story.record)

    return markup.attempt(work, lambda problem: (problem, gr.update(visible=False), None))


def list_html(page: Page | None) -> str:
    """The list, or why it is empty."""
    if page is None:
        return markup.message("note", NOTHING)
    if not page.entries:
        return markup.message(
            "note",
            "No record fits. Give fewer words or another decision above; light* finds every word that begins so.",
        )
    last = page.first + len(page.entries) - 1
    caption = f"Records {page.first} to {last}, newest first" + ("" if page.more else " (the oldest is here)")
    return markup.html_table(_HEADER, map(_row, page.entries), caption=caption)


def record_html(story: Story) -> str:
    """One record for a person: what happened, why, from what, and where it is written down."""
    record = story.record
    if not record:
        return markup.message("note", "The content of this record was erased; its place in the ledger remains.")
    context = record.get("context") or {}
    decision = record.get("decision") or {}
    html = [
        markup.heading(story.file_name or context.get("source_name") or "Not saved"),
        markup.facts(_outcome(story)),
        *(
            markup.message(ACTIONS.get(decision.get("action", ""), ("note", ""))[0], reason)
            for reason in _reasons(record)
        ),
    ]
    sections: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("Parameters", _parameters(context.get("parameters"))),
        ("Models", _models(context.get("resources"))),
        ("Made from", _parents(context.get("parents"))),
        ("Environment", _mapping(context.get("environment"))),
    )
    for title, values in sections:
        if lines := markup.facts((name, _plain(value)) for name, value in values.items()):
            html += [markup.heading(title), lines]
    return "".join(html)


def _row(entry: Entry) -> tuple[str, ...]:
    name = (
        f'<button type="button" class="provenance-guard-open" data-record="{escape(entry.record_id)}" '
        f'onclick="{escape(_OPEN_ROW)}">{escape(entry.name)}</button>'
    )
    return (
        escape(markup.moment(entry.time)),
        name,
        markup.badge(*LEVELS.get(entry.level, ("note", entry.level or "not compared"))),
        markup.badge(*ACTIONS.get(entry.action, ("note", entry.action or "none"))),
        markup.badge(_MARKS[entry.mark], entry.mark) if entry.action in ("allow", "warn") else "none",
        markup.badge("problem", str(entry.failures)) if entry.failures else "0",
    )


def _outcome(story: Story) -> Iterator[tuple[str, str]]:
    record = story.record
    context, verdict, mark = (record.get(key) or {} for key in ("context", "verdict", "mark"))
    matches = verdict.get("matches") or [{}]
    action = (record.get("decision") or {}).get("action", "")
    yield "Record", story.record_id
    yield "Time", f"{markup.moment(record.get('time', ''))} UTC"
    yield "Came from", context.get("origin", "")
    yield "Source file", context.get("source_name") or ""
    yield "Claimed time", context.get("claimed_time") or ""
    yield "User", context.get("user") or ""
    yield "Size", f"{record.get('width')} x {record.get('height')} pixels"
    yield "Verdict", LEVELS.get(verdict_level(record), ("note", "not compared with any reference"))[1]
    yield "Nearest reference", matches[0].get("summary", "")
    yield "What is said of it", describe_notice(matches[0].get("notice") or {})
    yield "Decision", ACTIONS.get(action, ("note", action))[1]
    yield "Mark", {"yes": "in the picture", "weak": "in the picture, but weak"}.get(describe_mark(mark), "none")
    yield "Why no mark", mark.get("reason", "")
    yield "Pixel SHA-256", record.get("pixel_sha256", "")
    yield "Ledger events", ", ".join(f"{event.seq} ({event.type})" for event in story.events)
    yield "Proof", story.proof


def _reasons(record: Mapping[str, Any]) -> list[str]:
    reasons = texts((record.get("decision") or {}).get("reasons"))
    told = " ".join(reasons)
    return reasons + [failure for failure in texts(record.get("failures")) if failure.rstrip(".") not in told]


def _mapping(values: Any) -> dict[str, Any]:
    """Named values as they are kept in a record; one line when they were erased."""
    if not values:
        return {}
    return {_words(name): value for name, value in values.items()} if isinstance(values, Mapping) else {"All": values}


def _parameters(values: Any) -> dict[str, Any]:
    """The parameters, those first that a person looks for first."""
    named = _mapping(values)
    return {**{name: named[name] for name in _FIRST_PARAMETERS if name in named}, **named}


def _models(resources: Any) -> dict[str, str]:
    lines: dict[str, str] = {}
    for resource in resources or ():
        weight = f", weight {resource['weight']}" if resource.get("weight") is not None else ""
        digest, declared = resource.get("sha256"), resource.get("declared_hash")
        known = f"SHA-256 {digest}" if digest else f"declared hash {declared}, not verified" if declared else "no hash"
        lines[f"{_words(resource.get('kind', ''))} {resource.get('name', '')}"] = known + weight
    return lines


def _parents(parents: Any) -> dict[str, str]:
    lines: dict[str, str] = {}
    for number, parent in enumerate(parents or (), 1):
        record = parent.get("record_id")
        known = f"record {record}" if record else f"pixel SHA-256 {parent.get('pixel_sha256', '')}"
        lines[f"{number}. {_words(parent.get('role', ''))}"] = known
    return lines


def _words(name: str) -> str:
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_plain(entry)}" for name, entry in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(entry) for entry in value)
    return str(value)
