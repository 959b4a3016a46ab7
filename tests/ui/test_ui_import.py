from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import provenance_guard
from provenance_guard import ui
from provenance_guard.errors import ExtraMissingError
from provenance_guard.guard import Guard

PACKAGE = Path(provenance_guard.__file__).parent


def test_importing_the_room_does_not_import_gradio() -> None:
    code = "import sys, provenance_guard.ui; sys.exit('gradio' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, check=False).returncode == 0


def test_only_the_page_and_the_webui_import_gradio() -> None:
    rooms = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^\s*(?:import|from) gradio\b", path.read_text("utf-8"), re.MULTILINE)
    }
    assert "ui" in rooms
    assert rooms <= {"ui", "webui"}


def test_importing_gradio_asks_no_other_computer() -> None:
    code = """
import socket, threading
asked = []
socket.getaddrinfo = lambda host, *_, **__: asked.append(host) or []
from provenance_guard import extras
extras.require("gradio", purpose="The page")
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join(10)
assert not asked, asked
"""
    environment = {name: value for name, value in os.environ.items() if name != "GRADIO_ANALYTICS_ENABLED"}
    run = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(run, cwd=PACKAGE.parent, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_gradio_the_error_names_the_next_step(new_guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)  # What Python keeps for a module that is not there.
    with pytest.raises(ExtraMissingError, match="pip install gradio"):
        ui.launch(new_guard, port=0, open_browser=False)
    with pytest.raises(ExtraMissingError, match="The page needs gradio"):
        ui.add_page(lambda: new_guard)
