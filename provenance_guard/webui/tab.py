"""Our tab in the WebUI: the same page as stand-alone, with what only the host can tell about itself."""

from __future__ import annotations

import html
from typing import Any

from provenance_guard.webui import door, runtime


def build() -> list[tuple[Any, str, str]]:
    """The tab as the host wants it: blocks, title, element id. A broken installation shows its reason instead."""
    import gradio

    with gradio.Blocks(analytics_enabled=False) as page:
        try:
            from provenance_guard import ui
            from provenance_guard.webui import health

            ui.add_page(runtime.guard, extra_checks=health.examine_host)
        except Exception as error:
            gradio.HTML(f"<p>{html.escape(door.explain('Provenance Guard cannot show its page', error))}</p>")
    return [(page, "Provenance Guard", "provenance_guard")]
