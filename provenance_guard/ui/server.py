"""The stand-alone page: served to this computer only, with nothing fetched from elsewhere."""

from __future__ import annotations

import logging
import os
import re
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import gradio as gr
import uvicorn
from fastapi import FastAPI

from provenance_guard.errors import UsageError
from provenance_guard.guard import Guard
from provenance_guard.ui import page

ADDRESS = "127.0.0.1"
TITLE = "Provenance Guard"

_STYLE_SHEET = Path(__file__).resolve().parents[2] / "style.css"
_ALONE = "footer { display: none !important; } .gradio-container { max-width: 1200px !important; margin: 0 auto; }"
_FONTS = ("system-ui", "sans-serif")
_FIXED_FONTS = ("ui-monospace", "monospace")

# Everything from this address; Gradio needs inline scripts and styles, blob: and data: pictures and workers.
_CONTENT_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws: data: blob:; "
    "frame-ancestors 'none'"
)
_OUTSIDE_TAGS = re.compile(rb"<(?:link|script|meta)\b[^>]*https?://[^>]*>(?:\s*</script>)?", re.IGNORECASE)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def serve(guard: Guard, *, port: int, open_browser: bool) -> None:
    """Serve the page of ``guard`` until Ctrl-C. Uploads live in a folder that vanishes at the end. Raises UsageError."""
    with _listen(port) as listener, tempfile.TemporaryDirectory(prefix="provenance-guard-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        _bypass_proxies()
        address = f"http://{ADDRESS}:{listener.getsockname()[1]}"
        app = LocalOnly(build_app(guard), Path(folder))
        options = uvicorn.Config(app, log_level="warning", ws_max_size=1 << 30, timeout_graceful_shutdown=1)
        print(f"The page is at {address} (this computer only). Stop with Ctrl-C.", flush=True)
        if open_browser:
            threading.Timer(1.0, webbrowser.open, [address]).start()
        with suppress(KeyboardInterrupt):  # The way to stop it, so no error.
            _Server(options).run(sockets=[listener])


def build_app(guard: Guard) -> FastAPI:
    """The page as an application for any ASGI server."""
    with gr.Blocks(title=TITLE, theme=_theme(), css=_style(), analytics_enabled=False) as blocks:
        gr.HTML(f'<h1 class="provenance-guard-title">{TITLE}</h1>')
        page.add_panels(lambda: guard, lambda: (), shared=False)
    blocks.show_api = False
    blocks.queue(api_open=False)
    app: FastAPI = gr.mount_gradio_app(FastAPI(docs_url=None, redoc_url=None, openapi_url=None), blocks, path="/")
    return app


class _Server(uvicorn.Server):
    """Ctrl-C ends it at once, although a browser that is still open keeps Gradio 4's event stream open."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # The cut streams would each print a traceback.
        await super().shutdown(sockets)


class LocalOnly:
    """Lets only this computer's own browser in, serves no file but uploads and results, and keeps the page off the net.

    Gradio 3 answers any origin, offers every file below the working directory, and its page asks two other hosts for a script and
    fonts. A web page opened in the same browser, or a name that is pointed to 127.0.0.1, must not reach the records through that.
    """

    def __init__(self, app: App, folder: Path) -> None:
        self._app = app
        self._folder = folder.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection (ASGI 3)."""
        if scope["type"] == "lifespan" or self._is_allowed(scope):
            page_asked = scope["type"] == "http" and scope["path"] == "/"
            await self._app(scope, receive, _OfflinePage(send).send if page_asked else send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": b"Not allowed from here."})

    def _is_allowed(self, scope: Scope) -> bool:
        try:
            return self._is_from_here(scope) and self._is_served(scope["path"])
        except ValueError:  # a host or a path that cannot be one
            return False

    def _is_from_here(self, scope: Scope) -> bool:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        origin = headers.get(b"origin")
        if urlsplit(f"//{host}").hostname not in (ADDRESS, "localhost"):
            return False
        return origin is None or urlsplit(origin).netloc == host

    def _is_served(self, path: str) -> bool:
        name, separator, value = path.lstrip("/").partition("=")
        if name == "proxy":
            return False
        if not (separator and name == "file"):
            return not path.startswith("/file/")
        return Path(unquote(value)).resolve().is_relative_to(self._folder)


class _OfflinePage:
    """Sends on an HTML answer without its outside links, and with a policy that makes the browser refuse any other."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        """One message of the answer; held back until the answer is complete."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if self._start is None or message.get("more_body"):
            return
        body = _OUTSIDE_TAGS.sub(b"", self._body)
        headers = [(name, value) for name, value in self._start["headers"] if name != b"content-length"]
        headers += [(b"content-length", str(len(body)).encode("ascii"))]
        headers += [(b"content-security-policy", _CONTENT_POLICY.encode("ascii"))]
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # On Windows this option would allow two programs on one port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ADDRESS, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"The page cannot be served on port {port} ({reason}).",
            next_step="Close the program that uses it, or choose another one with --port.",
        ) from error
    return listener


def _bypass_proxies() -> None:
    """Gradio 3 calls its own address over HTTP, and would do so through a proxy that the environment names."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), ADDRESS, "localhost")))


def _theme() -> gr.themes.Base:
    """Gradio's plain theme with the system's own fonts, so that none is fetched."""
    return gr.themes.Default(font=list(_FONTS), font_mono=list(_FIXED_FONTS))


def _style() -> str:
    """The style sheet that the WebUI loads by itself; the page works without it, if less well dressed."""
    own = _STYLE_SHEET.read_text("utf-8") if _STYLE_SHEET.is_file() else ""
    return own + _ALONE
