"""The Gradio page: the same panels for the WebUI's tab and for the stand-alone page.

Gradio is an extra: importing this room does not import it, using the room does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from provenance_guard import extras

if TYPE_CHECKING:
    from provenance_guard.guard import Guard
    from provenance_guard.review.health import Check

__all__ = ["add_page", "launch"]

_PURPOSE = "The page"


def add_page(guard_provider: Callable[[], Guard], *, extra_checks: Callable[[], Sequence[Check]] | None = None) -> None:
    """Add the panels to the Gradio ``Blocks`` that is being built.

    ``guard_provider`` is asked at every use, so that it may give another guard after a change of settings; what it raises
    is shown in the panel. The page is taken for one that several people may open, as a host's tab is: kept pictures are shown
    to the policy's reviewers only. ``extra_checks`` adds lines to the Health panel (what a host knows about itself).
    Raises ExtraMissingError without Gradio.
    """
    extras.require("gradio", purpose=_PURPOSE)
    from provenance_guard.ui import page

    page.add_panels(guard_provider, extra_checks or (lambda: ()), shared=True)


def launch(guard: Guard, *, port: int = 7870, open_browser: bool = True) -> None:
    """Serve the stand-alone page on this computer only, until Ctrl-C.

    Raises ExtraMissingError without Gradio, UsageError when the port is taken.
    """
    extras.require("gradio", purpose=_PURPOSE)
    from provenance_guard.ui import server

    server.serve(guard, port=port, open_browser=open_browser)
