"""The Health panel: what is installed, what is missing and what that costs, and whether all is sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import gradio as gr

from provenance_guard.guard import Guard
from provenance_guard.review.health import Check, examine
from provenance_guard.ui import markup
from provenance_guard.ui.markup import State

_ORDER: tuple[State, ...] = ("problem", "note", "fine")
_SUMMARIES: dict[State, str] = {
    "fine": "Everything is in place.",
    "note": "No problem was found; the notes below tell what is missing and what that costs.",
    "problem": "Something needs attention; see the problems below.",
}


def add_panel(guard_provider: Callable[[], Guard], extra_checks: Callable[[], Sequence[Check]], tab: gr.Tab) -> None:
    """Add the panel to the Blocks that is being built; it examines when its tab is opened and when asked."""
    again = gr.Button(
        "Examine again", elem_id="provenance-guard-health-refresh", elem_classes="provenance-guard-button", size="sm"
    )
    report = gr.HTML(elem_id="provenance-guard-health")

    def show() -> str:
        return show_health(guard_provider, extra_checks)

    tab.select(show, None, report, api_name=False)
    again.click(show, None, report, api_name=False)


def show_health(guard_provider: Callable[[], Guard], extra_checks: Callable[[], Sequence[Check]]) -> str:
    """The examination as HTML. The two sources of checks fail apart."""
    problems: list[str] = []

    def failed(problem: str) -> list[Check]:
        problems.append(problem)
        return []

    checks = markup.attempt(lambda: examine(guard_provider().config), failed)
    checks += markup.attempt(lambda: list(extra_checks()), failed)
    return "".join(problems) + checks_html(checks, complete=not problems)


def checks_html(checks: Sequence[Check], *, complete: bool = True) -> str:
    """The checks as a list, problems first, under one summary; no summary when some could not be made."""
    ordered = sorted(checks, key=lambda check: _ORDER.index(check.state))
    worst: State = ordered[0].state if ordered else "fine"
    summary = markup.message(worst, _SUMMARIES[worst]) if complete else ""
    return summary + markup.findings((check.state, check.state, check.subject, check.sentence) for check in ordered)
