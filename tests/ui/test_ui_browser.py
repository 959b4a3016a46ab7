"""The stand-alone page in a real browser: started as a user starts it, used with the mouse, no other host asked."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from provenance_guard.provenance.sidecar import sidecar_path

ROOT = Path(__file__).resolve().parents[2]
IN_CI = bool(os.environ.get("CI"))
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WAIT = 60_000  # milliseconds; a busy machine takes its time


@pytest.fixture(scope="module")
def address(installation: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page, served by the command line in a process of its own."""
    folder = tmp_path_factory.mktemp("page")
    policy = folder / "policy.toml"
    policy.write_text(f"[screen]\nreferences = ['{installation.references}']\n", "utf-8")
    config = installation.config
    options = ["--data", config.data_directory, "--keys", config.key_directory, "--policy", policy]
    command = [sys.executable, "-u", "-m", "provenance_guard", "ui", "--port", "0", "--no-browser", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "errors.txt").open("w+b") as errors:
        server = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=errors, cwd=folder, env=environment
        )
        try:
            assert server.stdout is not None
            line = server.stdout.readline().decode()
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            errors.seek(0)
            assert found, line + errors.read().decode(errors="replace")
            yield found[0]
        finally:
            if os.name == "posix":
                server.send_signal(signal.SIGINT)  # As Ctrl-C does.
                assert server.wait(30) == 0
            else:
                server.terminate()


@pytest.fixture
def page(chromium: Path, address: str) -> Iterator[Any]:
    """The page in Chromium. Fails when the browser met an error or asked any other host."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        if IN_CI:
            raise
        pytest.skip("playwright is not installed, so the page is not tested in a browser.")
    problems: list[str] = []
    hosts: set[str] = set()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), args=QUIET)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(WAIT)
        page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.on("websocket", lambda socket: hosts.add(urlsplit(socket.url).netloc))
        page.goto(address)
        page.wait_for_selector("#provenance-guard-recent-list .provenance-guard-table")
        yield page
        browser.close()
    assert problems == []
    assert hosts - {""} == {urlsplit(address).netloc}  # data: and blob: pictures have no host


def open_tab(page: Any, name: str) -> None:
    """Gradio 3 makes its tabs buttons, Gradio 4 tabs."""
    page.get_by_role("tab", name=name, exact=True).or_(page.get_by_role("button", name=name, exact=True)).first.click()


def test_a_marked_picture_is_dropped_and_judged(page: Any, installation: Any) -> None:
    open_tab(page, "Check a picture")
    files = [str(installation.copy), str(sidecar_path(installation.copy))]
    page.set_input_files("#provenance-guard-check-upload input[type=file]", files)
    page.wait_for_selector("#provenance-guard-check-verification .provenance-guard-findings")
    assert "This picture is a near copy of a reference" in page.inner_text("#provenance-guard-check-references")
    assert "carries a mark" in page.inner_text("#provenance-guard-check-mark")
    verification = page.inner_text("#provenance-guard-check-verification")
    assert "byte for byte" in verification  # The upload reached us unchanged.
    assert "fails" not in verification
    page.wait_for_selector("#provenance-guard-check-explanation img")
    # Another picture in its place: the panel forgets the first.
    page.get_by_label(re.compile("Clear|Remove", re.IGNORECASE)).first.click()
    page.wait_for_function("!document.querySelector('#provenance-guard-check-mark').innerText.includes('carries')")


def test_a_record_is_found_and_opened(page: Any) -> None:
    page.fill("#provenance-guard-recent-text textarea, #provenance-guard-recent-text input", "harbour <i>")
    page.press("#provenance-guard-recent-text textarea, #provenance-guard-recent-text input", "Enter")
    page.wait_for_function("document.querySelectorAll('.provenance-guard-open').length === 1")
    page.click(".provenance-guard-open")
    page.wait_for_selector("#provenance-guard-record .provenance-guard-facts")
    text = page.inner_text("#provenance-guard-record")
    assert "<script>alert('x')</script>" in text
    assert "sea_painter" in text
    page.get_by_text("The record as stored").click()
    page.wait_for_selector("#provenance-guard-record-raw >> text=pixel_sha256")


def test_library_and_health_fill_themselves_when_opened(page: Any) -> None:
    open_tab(page, "Library")
    page.wait_for_selector("#provenance-guard-library >> text=1 file could not be read")
    page.click("#provenance-guard-library-refresh")
    page.wait_for_selector("#provenance-guard-library-report >> text=1 unchanged, 1 not readable")
    open_tab(page, "Health")
    page.wait_for_selector("#provenance-guard-health >> text=The ledger is sound")


def test_a_narrow_screen_needs_no_sideways_scrolling(page: Any) -> None:
    page.set_viewport_size({"width": 420, "height": 800})
    page.click(".provenance-guard-open >> nth=0")
    page.wait_for_selector("#provenance-guard-record .provenance-guard-facts")
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
