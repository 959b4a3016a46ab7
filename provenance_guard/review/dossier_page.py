"""The page of a dossier that a person reads: plain HTML, printable, no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from provenance_guard import __version__
from provenance_guard.ledger import Event
from provenance_guard.provenance.redaction import restore, sealed_fields
from provenance_guard.review.manifest import Part

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid #bbb }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0 }
th { width: 13rem; font-weight: 600 } td { overflow-wrap: anywhere; white-space: pre-wrap }
.events th { width: auto; border-bottom: 1px solid #bbb } .events td { white-space: normal }
img { max-width: 100%; max-height: 26rem; border: 1px solid #bbb } code { font-size: .85em; overflow-wrap: anywhere }
@media print { body { margin: 0; max-width: none } section { break-inside: avoid } }
"""

_PROFILES = {
    "full": "Everything that was recorded is told, private fields included.",
    "redacted": "Private fields are sealed, but for those that are told below. A sealed field can be opened later: what opens it must "
    "fit the commitment that was signed at the time.",
    "proof-only": "Only proofs are told: that a record of this file exists in the ledger.",
}
_ROLES = {
    "subject": "The picture",
    "ancestor": "A picture that it came from",
    "child": "A picture that came from it",
}
_ORIGINS = {
    "webui.txt2img": "the WebUI, generated from text",
    "webui.img2img": "the WebUI, generated from a picture",
    "webui.extras": "the WebUI, post-processed",
    "file": "a file that was passed through the door",
    "watch": "a file that appeared in a watched folder",
    "import": "an existing file; what it tells of its making is a claim",
}
_EVENTS = {
    "run.queued": "The generation was asked for, before it ran.",
    "picture.released": "The finished picture passed the checks and was recorded.",
    "picture.blocked": "The finished picture was recorded, and withheld by the policy.",
    "picture.saved": "The file was saved and fingerprinted.",
    "picture.imported": "The existing file was taken in. Times from before are claims of the file.",
    "picture.selected": "A person chose this attempt.",
    "picture.rejected": "A person discarded this attempt.",
    "note.added": "A person wrote a note.",
}


def write_page(parts: Sequence[Part], profile: str, created: str) -> str:
    """The page for the parts of a dossier; the first one is what it is about."""
    subject, relatives = parts[0], parts[1:]
    body = [
        f"<h1>Dossier of record {escape(subject.record_id)}</h1>",
        f"<p>Made {escape(created)} with Provenance Guard {escape(__version__)}. {escape(_PROFILES[profile])}</p>",
        *_section(subject, profile),
    ]
    if relatives:
        body.append("<h2>Where it came from, and what came from it</h2>")
        for part in relatives:
            body += _section(part, profile)
    body += _explanation()
    content = "\n".join(body)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Dossier {escape(subject.record_id)}</title><style>{_STYLE}</style></head>\n<body>\n{content}\n</body></html>\n"
    )


def _section(part: Part, profile: str) -> Iterator[str]:
    yield f"<section><h2>{escape(_ROLES[part.role])}</h2>"
    if part.picture:
        yield f'<p><img src="{escape(part.picture)}" alt="The picture of record {escape(part.record_id)}"></p>'
        told = (
            "This is the very file that was sealed."
            if part.original
            else "This copy has the same pixels as the sealed file."
        )
        yield f"<p>{told}</p>"
    elif part.sidecar and profile != "proof-only":
        yield "<p>The picture's file was not at hand when this dossier was made.</p>"
    yield _table(_facts(part))
    if part.events:
        yield "<h3>What was written down, when</h3>"
        yield _event_table(part.events)
    yield "</section>"


def _facts(part: Part) -> Iterator[tuple[str, object]]:
    yield "Record", part.record_id
    sidecar = part.sidecar
    if sidecar is None:
        yield "Content", "not told here: no file was saved, or it was erased"
        return
    yield "File name", sidecar.file_name
    yield "SHA-256 of the file", sidecar.file_sha256
    yield "SHA-256 of the pixels", sidecar.pixel_sha256
    yield "Signed with key", sidecar.verify().key_id
    if sidecar.profile == "proof-only":
        return
    public, openings = sidecar.sealed
    record: Mapping[str, Any] = restore(public, openings)
    context: Mapping[str, Any] = record.get("context") or {}
    yield "Recorded at", f"{record.get('time')} by the clock of the computer that wrote it"
    yield "Came from", _ORIGINS.get(str(context.get("origin")), context.get("origin"))
    yield "Time that the file claims", context.get("claimed_time")
    yield "Size", f"{record.get('width')} x {record.get('height')} pixels"
    yield "User", context.get("user")
    yield "Made from the file", context.get("source_name")
    for name, value in (context.get("parameters") or {}).items():
        yield name.replace("_", " ").capitalize(), value
    for resource in context.get("resources") or ():
        weight = f", weight {resource['weight']}" if resource.get("weight") is not None else ""
        digest = f"SHA-256 {resource['sha256']}" if resource.get("sha256") else "hash not known"
        yield f"Model ({resource.get('kind')})", f"{resource.get('name') or 'name sealed'}, {digest}{weight}"
    for parent in context.get("parents") or ():
        known = parent.get("record_id") or f"unknown, pixels {parent.get('pixel_sha256')}"
        yield f"Made from ({parent.get('role')})", known
    yield "Compared with references", (record.get("verdict") or {}).get("level")
    yield "Decision", (record.get("decision") or {}).get("action")
    yield "What went wrong", "; ".join(record.get("failures") or ())
    opened = {pointer for pointer in sealed_fields(public) if any(f'"{pointer}"' in text for text in openings)}
    yield "Sealed fields", ", ".join(pointer for pointer in sealed_fields(public) if pointer not in opened)


def _table(facts: Iterable[tuple[str, object]]) -> str:
    rows = [
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in facts
        if value not in (None, "", [])
    ]
    return f"<table>{''.join(rows)}</table>"


def _event_table(events: Iterable[Event]) -> str:
    rows = [
        f"<tr><td>{event.seq}</td><td>{escape(event.time)}</td><td>{escape(_EVENTS.get(event.type, event.type))}</td></tr>"
        for event in events
    ]
    head = "<tr><th>Number</th><th>Time (the writer's clock)</th><th>What happened</th></tr>"
    return f'<table class="events">{head}{"".join(rows)}</table>'


def _explanation() -> Iterator[str]:
    yield "<h2>What this shows, and what it does not</h2><ul>"
    yield "<li>Each statement is signed: it has not been changed since, and one key signed it. Whose key that is must be learnt elsewhere.</li>"
    yield "<li>Each event is proven to be in a log whose checkpoint is signed. Who kept such a checkpoint, or a time token on one, can show that "
    yield "nothing before it was changed, removed or put in, without trusting the owner of the log.</li>"
    yield "<li>Times are by the writer's own clock, unless an outsider's token is there.</li>"
    yield "<li>Nothing here says that a picture is authentic, human-made, lawful or free of somebody's rights.</li></ul>"
    yield "<h2>How to check it</h2><p>With Provenance Guard: <code>provenance-guard verify</code> and the name of this folder or ZIP file. "
    yield "Without it: <code>python verify.py</code> in this folder, with Python 3.10 or newer and the package <code>cryptography</code>. "
    yield "Neither needs a network.</p>"
