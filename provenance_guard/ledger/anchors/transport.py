"""One exchange with an authority over HTTP: bounded in time and size, with its failures told in plain words."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request

from provenance_guard import __version__
from provenance_guard.ledger.anchors.anchor import MAX_REPLY_BYTES, AnchorError

TIMEOUT_SECONDS = 10.0
_CHUNK = 1 << 16


def exchange(
    url: str, body: bytes | None, *, content_type: str = "", accept: str = "", timeout: float = TIMEOUT_SECONDS
) -> bytes:
    """POST ``body`` to ``url`` (GET when it is None) and return the whole answer, at most 1 MiB.

    ``timeout`` (seconds) bounds the whole of it. Raises AnchorError with reason ``unreachable``, or ``malformed`` when the answer
    is too large.
    """
    headers = {"User-Agent": f"provenance-guard/{__version__}", "Accept": accept or "*/*"}
    if content_type:
        headers["Content-Type"] = content_type
    deadline = time.monotonic() + timeout
    try:
        request = urllib.request.Request(url, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return _read(answer, url, deadline)
    except urllib.error.HTTPError as error:
        raise unreachable(url, f"it answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise unreachable(url, str(error.reason)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise unreachable(url, str(error) or type(error).__name__) from error


def unreachable(url: str, why: str) -> AnchorError:
    """The error of an authority that does not answer."""
    return AnchorError(
        "unreachable",
        f"{url} cannot be reached ({why}).",
        next_step="It is asked again later; nothing else waits for it.",
    )


def _read(answer: http.client.HTTPResponse, url: str, deadline: float) -> bytes:
    content = b""
    while chunk := answer.read1(_CHUNK):
        content += chunk
        if len(content) > MAX_REPLY_BYTES:
            raise AnchorError("malformed", f"{url} answers without end.", next_step="Check the address.")
        if time.monotonic() > deadline:
            raise unreachable(url, "it answers too slowly")
    return content
