"""The door that every picture passes, whoever calls: WebUI hook, Extras, command line, folder watcher.

    capture -> screen -> decide -> mark -> record | the caller saves | label -> hash -> ledger -> sidecar
               `---------- Guard.release --------'                     `--------- Guard.seal ----------'

``release`` decides what may leave and puts the mark into the pixels; ``seal`` finishes the file that the caller saved.
No step is allowed to fail silently or to break the caller: a failure becomes a sentence in the result and in the ledger,
and the policy's ``on_error`` says whether the picture may leave all the same.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from provenance_guard import files, labels, pictures
from provenance_guard.clock import format_time, utc_now
from provenance_guard.config import Policy
from provenance_guard.errors import MarkError
from provenance_guard.gate.placeholder import placeholder
from provenance_guard.gate.policy import Decision, approve, decide
from provenance_guard.gate.quarantine import Kept
from provenance_guard.json_types import Json
from provenance_guard.ledger import Event, events
from provenance_guard.parts import Parts
from provenance_guard.passage import (
    Admission,
    Approval,
    Attempt,
    RedactedRecord,
    Release,
    SavedFile,
    Sealed,
    Session,
    Steps,
    read_back,
)
from provenance_guard.provenance import sidecar
from provenance_guard.provenance.record import Context, Parent, Record, bare_name, new_record_id
from provenance_guard.provenance.redaction import redact
from provenance_guard.provenance.statement import FILE_NAME, build_statement, seal_file_name
from provenance_guard.similarity import Verdict
from provenance_guard.watermark import Payload

_PLAIN = (64, 64, 64)
"""The colour of a placeholder when even that could not be drawn."""

__all__ = ["Admission", "Approval", "Attempt", "Guard", "Release", "Sealed", "Session"]


class Guard(Parts):
    """Knows all parts and their order. Safe to call from several threads, and from several processes on one data directory."""

    def admit(self, context: Context) -> Admission:
        """Remember a run before it starts, seed included, so that a crashed one is not lost. Never raises."""
        steps = Steps()
        asked: dict[str, Json] = {
            "origin": context.origin,
            "parameters": dict(context.parameters),
            "user": context.user,
            "job": context.job,
        }
        public, openings = redact({"context": asked})
        event = steps.attempt("record", lambda: self._append(events.RUN_QUEUED, public, openings=openings))
        return Admission(event, tuple(steps.failures))

    def release(
        self,
        image: Image.Image | torch.Tensor,
        context: Context,
        *,
        policy: Policy | None = None,
        attempt: Attempt | None = None,
        approval: Approval | None = None,
    ) -> Release:
        """Screen, decide, mark and record one finished picture. Never raises because a step failed.

        ``image`` is a Pillow picture or a float tensor (3, H, W) in 0..1 on any device. ``policy`` is the configured one,
        narrowed by the job. ``attempt`` is for callers that can make the picture anew; ``approval`` is a reviewer's, in place of
        the screen. The result's ``image`` has the size of ``image``.
        """
        if isinstance(image, torch.Tensor):
            image = pictures.to_image(image)
        policy = policy or self.config.policy
        context = dataclasses.replace(context, user=context.user or self.config.settings.user or None)
        steps = Steps()
        record_id, now = new_record_id(), utc_now()
        screened = policy.mode != "off" and approval is None
        verdict = steps.attempt("screen", lambda: self.screen(image, policy=policy)) if screened else None

        def judge() -> Decision:
            if approval:
                return approve(policy, approval.sentence, steps.failures)
            return decide(policy, verdict, steps.failures, may_retry=attempt is not None and attempt.more)

        decision = judge()
        outgoing, mark = image, None
        if not decision.withholds and policy.mark.enabled:
            payload = Payload.for_record(record_id, now).pack()
            outgoing, mark = steps.attempt("mark", lambda: self._mark(image, payload)) or (image, None)
        pixel_sha256 = steps.attempt("hash", lambda: pictures.pixel_sha256(outgoing)) or ""
        decision = judge()
        record = Record(
            id=record_id,
            time=format_time(now),
            context=context,
            pixel_sha256=pixel_sha256,
            width=image.width,
            height=image.height,
            verdict=_without_folders(verdict) if verdict else approval.verdict if approval else None,
            decision=decision.to_json(),
            mark=mark,
            failures=tuple(steps.failures),
        )
        kept = None
        if decision.action == "quarantine" and approval is None:  # what a reviewer releases is kept until it is out
            kept = steps.attempt("quarantine", lambda: self.quarantine.keep(image, record.to_json(), verdict))
            decision = decision.with_original_kept() if kept else decision.with_original_lost()
            record = dataclasses.replace(record, decision=decision.to_json(), failures=tuple(steps.failures))
        redacted = redact(record.to_json())
        event = steps.attempt("record", lambda: self._append_record(record, redacted, decision, kept, attempt))
        if event is None:  # a picture that could not be recorded may not leave either
            decision = judge()
            if decision.action == "quarantine" and kept is None and approval is None:
                kept = steps.attempt("quarantine", lambda: self.quarantine.keep(image, record.to_json(), verdict))
            if kept:
                decision = decision.with_original_kept()
            elif decision.action == "quarantine" and approval is None:
                decision = decision.with_original_lost()
        if decision.withholds:
            notice = steps.attempt("placeholder", lambda: placeholder(image.size, decision, record_id))
            outgoing = notice or Image.new("RGB", image.size, _PLAIN)
        failures = tuple(steps.failures)
        return Release(outgoing, record, redacted, decision, verdict, event, policy, failures, kept)

    def seal(self, release: Release, path: Path, *, image: Image.Image | None = None) -> Sealed:
        """Finish the file that the caller saved ``release.image`` to: label, hash, ledger, sidecar. Never raises.

        A blocked release has only a placeholder to show: its file is left as it is. When a step fails and the policy's
        ``on_error`` withholds, the file and its sidecar are removed again; with ``quarantine``, the picture is kept first.
        ``image`` are its pixels, for a caller that keeps a release without them; else they are read from the file.
        """
        if release.blocked:
            return Sealed(path)
        steps = Steps()
        label = steps.attempt("label", lambda: self._label(release, path)) if release.policy.label.enabled else None
        file = steps.attempt("hash", lambda: read_back(path))
        event, written = None, None
        if file:
            event = steps.attempt("record", lambda: self._append_saved(release, file, label))
        if file and event and self.config.settings.sidecar:
            written = steps.attempt("sidecar", lambda: self._write_sidecar(release, file, event))
        withheld = bool(steps.failures) and release.policy.withholds_on_error
        if withheld:
            self._take_back(release, image, path, steps)
        return Sealed(
            path,
            file_sha256=file.sha256 if file else None,
            sidecar=None if withheld else written,
            labelled=bool(label and label.written),
            event=event,
            withheld=withheld,
            failures=tuple(steps.failures),
            notes=(label.reason,) if label and not label.written else (),
        )

    # Steps

    def _mark(self, image: Image.Image, payload: bytes) -> tuple[Image.Image, dict[str, Json]]:
        try:
            embedding = self.watermarker.embed_measured(image, payload)
        except MarkError as error:  # The picture cannot carry a mark: say so, and do not pretend.
            return image, {"present": False, "reason": str(error)}
        return embedding.image, {
            "present": True,
            "payload": payload.hex(),
            "strength": self.config.policy.mark.strength,
            "psnr": round(embedding.psnr, 2),
            "margin": round(embedding.margin, 2),
            "weak": embedding.weak,
        }

    def _take_back(self, release: Release, image: Image.Image | None, path: Path, steps: Steps) -> None:
        """Remove a file that could not be finished; keep its picture where the policy says so."""
        decision = decide(dataclasses.replace(release.policy, mode="off"), None, steps.failures)
        failures = (*release.failures, *steps.failures)
        record = dataclasses.replace(release.record, decision=decision.to_json(), failures=failures)
        kept = None
        if decision.action == "quarantine":
            kept = steps.attempt(
                "quarantine",
                lambda: self.quarantine.keep(_pixels(release, image, path), record.to_json(), release.verdict),
            )
        steps.attempt("withhold", lambda: _remove(path, sidecar.sidecar_path(path)))
        if not any(failure.startswith("record:") for failure in steps.failures):  # else it would only fail again
            body: dict[str, Json] = {"quarantine": kept.to_json() if kept else None}
            steps.attempt("record", lambda: self._append(events.PICTURE_WITHHELD, body, record_id=record.id))

    def _append_record(
        self, record: Record, sealed: RedactedRecord, decision: Decision, kept: Kept | None, attempt: Attempt | None
    ) -> Event:
        """The ledger keeps private fields as commitments with their openings beside, so that they can be erased later."""
        kind = events.PICTURE_BLOCKED if decision.withholds else events.PICTURE_RELEASED
        public, openings = sealed
        body: dict[str, Json] = {"record": dict(public)}
        if kept:
            body["quarantine"] = kept.to_json()
        if attempt and (attempt.number > 1 or attempt.first or decision.action == "retry"):
            body["attempt"] = attempt.to_json()
        return self._append(kind, body, record_id=record.id, openings=openings)

    def _append_saved(self, release: Release, file: SavedFile, label: labels.LabelResult | None) -> Event:
        name, opening = seal_file_name(file.path.name)  # sealed, because file names often hold the prompt
        body: dict[str, Json] = {
            FILE_NAME: name,
            events.FILE_KEY: file.sha256,
            events.PIXEL_KEY: file.pixel_sha256,
            "label": label.to_json() if label else None,
            "pixels_as_released": file.pixel_sha256 == release.record.pixel_sha256,  # false for lossy formats
        }
        return self._append(events.PICTURE_SAVED, body, record_id=release.record.id, openings=[opening])

    def _label(self, release: Release, path: Path) -> labels.LabelResult:
        context = release.record.context
        source_type = labels.source_type_for(context, parents_generated=self._made_from_generated(context))
        statement = labels.Labels(source_type=source_type, record_id=release.record.id)
        return labels.write_labels(path, statement)

    def _made_from_generated(self, context: Context) -> bool:
        """Whether every picture that went into this one is known to have been generated here; a mere claim does not count."""
        parents = [parent for parent in context.parents if parent.role != "mask"]
        return bool(parents) and all(parent.found_by != "label" and self._is_generated(parent) for parent in parents)

    def _is_generated(self, parent: Parent) -> bool:
        if parent.record_id is None:
            return False
        known = next(self.ledger.events(record_id=parent.record_id, type=events.PICTURE_RELEASED), None)
        origin = known.body["record"]["context"]["origin"] if known and not known.erased else None
        return origin in ("webui.txt2img", "webui.img2img")

    def _write_sidecar(self, release: Release, file: SavedFile, saved: Event) -> Path:
        public, openings = release.redacted
        statement = build_statement(
            public,
            file.sha256,
            file.pixel_sha256,
            file_name=saved.body[FILE_NAME],
            ledger_proof=self.ledger.proof(release.event.seq, with_event=True) if release.event else None,
            file_proof=self.ledger.proof(saved.seq, with_event=True),
        )
        target = sidecar.sidecar_path(file.path)
        content = sidecar.sign_envelope(statement, self.signer, [*openings, *saved.openings])
        files.write_atomically(target, content)
        return target


def _without_folders(verdict: Verdict) -> dict[str, Json]:
    """A verdict for the record: references by file name, because folders hold user names."""
    document: dict[str, Any] = verdict.to_json()
    for match in document["matches"]:
        match["reference"] = bare_name(match["reference"])
    return document


def _pixels(release: Release, image: Image.Image | None, path: Path) -> Image.Image:
    """What was released: from the caller, from ``release`` when it still holds them, or from the file."""
    if image is not None:
        return image
    if release.image.size == (release.record.width, release.record.height):
        return release.image
    return pictures.open_picture(path, animated="first").image


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
