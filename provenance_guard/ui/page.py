"""The page: its panels, each in a tab."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import gradio as gr

from provenance_guard.guard import Guard
from provenance_guard.review.health import Check
from provenance_guard.ui import check, health, library, quarantine, recent


def add_panels(
    guard_provider: Callable[[], Guard], extra_checks: Callable[[], Sequence[Check]], *, shared: bool
) -> None:
    """Add all panels to the Blocks that is being built (see ``provenance_guard.ui.add_page``)."""
    with gr.Tabs(elem_id="provenance-guard-panels"):
        with gr.Tab("Recent", elem_id="provenance-guard-tab-recent"):
            recent.add_panel(guard_provider)
        with gr.Tab("Check a picture", elem_id="provenance-guard-tab-check"):
            check.add_panel(guard_provider)
        with gr.Tab("Quarantine", elem_id="provenance-guard-tab-quarantine") as tab:
            quarantine.add_panel(guard_provider, tab, shared=shared)
        with gr.Tab("Library", elem_id="provenance-guard-tab-library") as tab:
            library.add_panel(guard_provider, tab)
        with gr.Tab("Health", elem_id="provenance-guard-tab-health") as tab:
            health.add_panel(guard_provider, extra_checks, tab)
