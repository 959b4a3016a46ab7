"""Our tab in the WebUI: the same page as stand-alone, with what only the host can tell about itself."""

from __future__ import annotations

import html
import logging
from typing import Any

from provenance_guard.webui import runtime

logger = logging.getLogger(__name__)


def build() -> list[tuple[Any, str, str]]:
    """The tab as the host wants it: blocks, title, element id. A broken installation shows its reason instead."""
    import gradio

    with gradio.Blocks(analytics_enabled=False) as page:
        try:
            from provenance_guard import ui
            from provenance_guard.webui import health

            ui.add_page(runtime.guard, extra_checks=health.examine_host)
        except Exception as error:
            logger.exception("the page could not be built")
            gradio.HTML(
                "<p>Provenance Guard cannot show its page: "
                f"{html.escape(type(error).__name__)}: {html.escape(str(error))}</p>"
                "<p>Look at the console for what install.py said, and restart the WebUI.</p>"
            )
    return [(page, "Provenance Guard", "provenance_guard")]
