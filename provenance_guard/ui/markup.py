"""HTML for the panels. Every function takes plain text and escapes it, unless its name says ``html``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Literal, TypeVar

from provenance_guard.errors import GuardError

logger = logging.getLogger(__name__)

State = Literal["fine", "note", "problem"]
T = TypeVar("T")

_SIGNS: dict[State, str] = {"fine": "✓", "note": "!", "problem": "✕"}
_PREFIX = "provenance-guard"


def attempt(work: Callable[[], T], failed: Callable[[str], T]) -> T:
    """What ``work`` returns; when it raises, what ``failed`` makes of the error in plain words (HTML)."""
    try:
        return work()
    except GuardError as error:
        return failed(message("problem", str(error)))
    except Exception as error:
        logger.exception("the page met an unexpected error")
        return failed(message("problem", f"Unexpected {type(error).__name__}: {error}"))


def message(state: State, text: str) -> str:
    """One sentence with a coloured edge."""
    return f'<div class="{_PREFIX}-message {_PREFIX}-{state}"><p>{escape(text)}</p></div>'


def hint(text: str) -> str:
    """A quiet line."""
    return f'<p class="{_PREFIX}-hint">{escape(text)}</p>'


def heading(text: str) -> str:
    """A heading inside a panel."""
    return f'<h3 class="{_PREFIX}-heading">{escape(text)}</h3>'


def badge(state: State, text: str) -> str:
    """A word in a coloured frame. The sign says the same as the colour."""
    return f'<span class="{_PREFIX}-badge {_PREFIX}-{state}">{_SIGNS[state]} {escape(text)}</span>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values; a pair with an empty value is left out."""
    lines = [f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs if value]
    return f'<dl class="{_PREFIX}-facts">{"".join(lines)}</dl>' if lines else ""


def findings(lines: Iterable[tuple[State, str, str, str]]) -> str:
    """A list of checks: state, the word for it, what was looked at, and what was found."""
    items = [
        f"<li>{badge(state, word)}<div><strong>{escape(subject)}</strong><p>{escape(sentence)}</p></div></li>"
        for state, word, subject, sentence in lines
    ]
    return f'<ul class="{_PREFIX}-findings">{"".join(items)}</ul>'


def html_table(header: Sequence[str], html_rows: Iterable[Sequence[str]], *, caption: str = "") -> str:
    """A table. The cells are HTML; the header and the caption are plain text.

    Each cell knows its column's name, so that a narrow screen can show a row as a card.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join(
        "<tr>"
        + "".join(f'<td data-column="{escape(name)}">{cell}</td>' for name, cell in zip(header, row, strict=True))
        + "</tr>"
        for row in html_rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<table class="{_PREFIX}-table">{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def percent(share: float) -> str:
    """A share 0..1 as whole per cent; never "100 %" or "0 %" for what is only near it."""
    if 0 < share < 0.01:
        return "below 1 %"
    if 0.99 < share < 1:
        return "above 99 %"
    return f"{round(100 * share)} %"


def count(number: int, noun: str) -> str:
    """A number with its noun, in the plural when it is not one."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def moment(time: str) -> str:
    """An RFC 3339 time in UTC for a person: without the T, the fraction and the Z."""
    return time.replace("T", " ").split(".")[0].removesuffix("Z")
