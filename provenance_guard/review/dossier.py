"""The dossier: everything about one picture that an outsider needs to judge it, in one folder or ZIP file.

    index.html                      what a person reads
    dossier.json                    the manifest: an in-toto statement about all the other files, in a signed DSSE envelope
    pictures/<id>.png               the picture, and its relatives where their files are at hand
    pictures/<id>.png.prov.json     their sidecars
    events/<id>.json                the ledger's events about each record, each with its inclusion proof
    checkpoints/<size>.txt          the signed tree heads in which the proofs end
    keys/<key id>.pub               the public keys that signed
    provenance.json                 the graph in W3C PROV-JSON
    verify.py                       checks it all with Python and `cryptography`, without this software

In profiles ``redacted`` and ``proof-only`` pictures are copies with the same pixels and no metadata, because files carry their prompt.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from provenance_guard import labels, pictures
from provenance_guard.clock import format_time, utc_now
from provenance_guard.errors import GuardError
from provenance_guard.guard import Guard
from provenance_guard.ledger import Event, Ledger, events
from provenance_guard.provenance.dsse import seal_envelope
from provenance_guard.provenance.prov_json import ProvGraph
from provenance_guard.provenance.sidecar import SUFFIX, Sidecar, parse_sidecar
from provenance_guard.provenance.statement import PAYLOAD_TYPE, Profile
from provenance_guard.review import standalone
from provenance_guard.review.dossier_page import write_page
from provenance_guard.review.evidence import (
    Evidence,
    PictureFinder,
    is_public,
    open_ledger,
    opened_context,
    queued_run,
    try_gather,
)
from provenance_guard.review.export import add_to_graph, hand_out
from provenance_guard.review.manifest import MANIFEST, Part, Role, write_manifest
from provenance_guard.review.records import find_release
from provenance_guard.signing import key_id, public_pem

EVENTS_VERSION = 1
MOST_RELATIVES = 100


def build_dossier(
    evidence: Evidence,
    guard: Guard,
    finder: PictureFinder,
    *,
    profile: Profile = "redacted",
    fields: Sequence[str] = (),
) -> dict[str, bytes]:
    """The files of a dossier, by their names in it.

    ``fields`` are the private fields of the picture itself that are opened; its relatives stay sealed unless the profile is
    ``full``. Their files are looked for with ``finder``. Raises GuardError when there is no statement about the picture.
    """
    evidence.statement  # noqa: B018 - raises when there is none
    with open_ledger(guard) as ledger:
        builder = _Builder(guard, ledger, profile)
        builder.add("subject", evidence, fields)
        for role, relative in _relatives(evidence, guard, ledger, finder):
            builder.add(role, relative)
    return builder.finish()


class _Builder:
    """Collects the files of a dossier."""

    def __init__(self, guard: Guard, ledger: Ledger | None, profile: Profile) -> None:
        self._guard = guard
        self._ledger = ledger
        self._profile = profile
        self._content: dict[str, bytes] = {}
        self._graph = ProvGraph()
        self._parts: list[Part] = []

    def add(self, role: Role, evidence: Evidence, fields: Sequence[str] = ()) -> None:
        """Add one picture: its file, sidecar, key and events."""
        part = Part(role, evidence.record_id, events=self._with_queued_run(evidence.events))
        if evidence.sidecar is not None:
            handed_out = hand_out(evidence, self._profile, fields, self._guard, lenient=role != "subject")
            sidecar = parse_sidecar(handed_out, Path(f"{evidence.record_id}{SUFFIX}"))
            part = dataclasses.replace(self._add_picture(part, evidence), sidecar=sidecar)
            self._content[part.sidecar_name] = handed_out
            if key := sidecar.envelope.signing_key():
                self._content[f"keys/{key_id(key)}.pub"] = public_pem(key)
            if self._profile != "proof-only":
                add_to_graph(self._graph, sidecar)
        self._add_events(part)
        self._parts.append(part)

    def finish(self) -> dict[str, bytes]:
        """All files, with page and signed manifest."""
        created, content = format_time(utc_now()), self._content
        if self._profile != "proof-only":
            content["provenance.json"] = _to_json(self._graph.to_json())
        content["verify.py"] = standalone.source()
        content["index.html"] = write_page(self._parts, self._profile, created).encode("utf-8", "replace")
        manifest = write_manifest(content, self._parts, profile=self._profile, created=created)
        return {MANIFEST: seal_envelope(PAYLOAD_TYPE, manifest, self._guard.signer), **content}

    def _add_picture(self, part: Part, evidence: Evidence) -> Part:
        if evidence.picture is None or self._profile == "proof-only":
            return part
        copied, suffix, original = _copy_picture(evidence.picture, evidence.statement, self._profile)
        if copied is None:
            return part
        name = f"pictures/{evidence.record_id}{suffix}"
        self._content[name] = copied
        return dataclasses.replace(part, picture=name, original=original)

    def _with_queued_run(self, found: tuple[Event, ...]) -> tuple[Event, ...]:
        """A record's events, after the one with which its generation was asked for."""
        if self._ledger is None or not found:
            return found
        queued = queued_run(self._ledger, found[0], opened_context(found[0]).get("job"))
        return (queued, *found) if queued else found

    def _add_events(self, part: Part) -> None:
        """The ledger's events about a record, each with its proof; stored bytes only where they hold nothing private."""
        if self._ledger is None or not part.events:
            return
        told: list[dict[str, Any]] = []
        for event in part.events:
            proof = self._guard.ledger.proof(event.seq)
            self._content[f"checkpoints/{proof['tree_size']}.txt"] = str(proof["checkpoint"]).encode("utf-8")
            told_whole = self._profile == "full" or (self._profile == "redacted" and is_public(event))
            content = base64.b64encode(event.stored).decode("ascii") if told_whole and event.stored else None
            told.append({"seq": event.seq, "time": event.time, "type": event.type, "bytes": content, "proof": proof})
        document = {"version": EVENTS_VERSION, "record": part.record_id, "events": told}
        self._content[part.events_name] = _to_json(document)


def _relatives(
    evidence: Evidence, guard: Guard, ledger: Ledger | None, finder: PictureFinder
) -> Iterator[tuple[Role, Evidence]]:
    """The pictures that this one came from, nearest first, and those that came from it, as far as the ledger knows them."""
    if ledger is None or evidence.statement.profile == "proof-only":
        return
    seen, waiting, count = {evidence.record_id}, _parents(evidence.statement.sealed[0]), 0
    while waiting and count < MOST_RELATIVES:
        record_id = waiting.pop(0)
        if record_id in seen or not (release := find_release(ledger, record_id)):
            continue
        seen.add(record_id)
        count += 1
        yield "ancestor", try_gather(record_id, guard, ledger, finder)
        waiting += _parents(release.body.get(events.RECORD_KEY) or {})
    for record_id in _children(ledger, evidence.record_id):
        if record_id not in seen:
            seen.add(record_id)
            yield "child", try_gather(record_id, guard, ledger, finder)


def _parents(public: Mapping[str, Any]) -> list[str]:
    parents = (public.get("context") or {}).get("parents") or ()
    return [parent["record_id"] for parent in parents if parent.get("record_id")]


def _children(ledger: Ledger, record_id: str) -> list[str]:
    found = ledger.search(f"parent:{record_id}", limit=MOST_RELATIVES)
    return list(dict.fromkeys(event.record_id for event in reversed(found) if event.record_id))


def _copy_picture(picture: Path, sidecar: Sidecar, profile: Profile) -> tuple[bytes | None, str, bool]:
    """The picture's bytes for the dossier, their suffix, and whether they are the sealed ones.

    A picture that is neither the sealed file nor has its pixels is left out: it would be another picture.
    """
    check = sidecar.verify(picture=picture)
    if profile == "full" and check.file:
        return picture.read_bytes(), picture.suffix.lower(), True
    if not check.pixels and not check.file:
        return None, "", False
    image = pictures.open_picture(picture, animated="first").image
    # The pixels alone: a picture that was read brings its EXIF along, and Pillow would save that.
    bare = Image.frombytes(image.mode, image.size, image.tobytes())
    buffer = BytesIO()
    bare.save(buffer, format="PNG")
    content = buffer.getvalue()
    label = None
    with suppress(GuardError):
        label = labels.read_labels(picture)
    return (_labelled(content, label) if label else content), ".png", False


def _labelled(content: bytes, label: labels.Labels) -> bytes:
    """A copy keeps what the picture says of itself: that it is AI generated."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy.png"
        path.write_bytes(content)
        labels.write_labels(path, label)
        return path.read_bytes()


def _to_json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
