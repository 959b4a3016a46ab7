"""Provenance Guard: log, mark and screen every picture that a Stable Diffusion WebUI makes.

The package is host-free but for ``provenance_guard.webui``: nothing else imports the WebUI's ``modules``.
Importing it costs nothing heavy; torch, OpenCV and gradio are imported by the rooms that use them.
"""

from __future__ import annotations

__version__ = "0.1.0"
