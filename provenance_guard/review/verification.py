"""Examine a file that is offered as evidence: what can be checked about it, each question with its own answer (see ``verdicts``).

``verify_file`` takes a picture, a sidecar or a ledger. Further kinds of file have a row in ``_KINDS``: what recognises them,
and what examines them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from provenance_guard import files, labels, pictures
from provenance_guard.errors import GuardError, SidecarError
from provenance_guard.guard import Guard
from provenance_guard.ledger import Event, Ledger, events, verify_ledger, verify_proof
from provenance_guard.ledger.anchors.testimony import Testimony
from provenance_guard.provenance.sidecar import SUFFIX, Sidecar, picture_path, read_sidecar, sidecar_path
from provenance_guard.review.dossier_check import is_dossier, verify_dossier
from provenance_guard.review.records import find_release
from provenance_guard.review.verdicts import (
    Finding,
    Subject,
    Trust,
    Verification,
    independence_finding,
    time_finding,
)
from provenance_guard.watermark import Detection, Payload

__all__ = ["Finding", "Trust", "Verification", "identify_record", "verify_file", "verify_ledger_file", "verify_picture"]


def verify_file(path: Path, guard: Guard, trust: Trust | None = None) -> Verification:
    """Examine a file of any known kind; what no kind recognises is taken for a picture. Never raises GuardError."""
    examine = next((examine for recognises, examine in _KINDS if recognises(path)), verify_picture)
    return examine(path, guard, trust)


def verify_picture(path: Path, guard: Guard, trust: Trust | None = None) -> Verification:
    """Check the picture in ``path`` against its sidecar, the ledger in ``guard``'s data directory, its labels and its mark.

    ``path`` may also be the sidecar, which stands for the picture beside it. Changes nothing. What is damaged becomes a
    finding; never raises GuardError.
    """
    if path.name.endswith(SUFFIX):
        path = picture_path(path)
    examination = _Examination(path, guard, trust or Trust())
    try:
        return examination.run()
    finally:
        examination.close()


def verify_ledger_file(path: Path, guard: Guard, trust: Trust | None = None) -> Verification:
    """Check a whole ledger: its sequence, chain, tree, checkpoints and signatures. Never raises GuardError."""
    trust = _with_own_key(trust or Trust(), guard)
    try:
        report = verify_ledger(path, public_keys=[*trust.keys.values()] or None, known_checkpoints=trust.checkpoints)
    except GuardError as error:
        return Verification(path, (Finding("chain", "fails", str(error)),))
    if report.sound:
        told = f"All {report.size} events are as they were written, {report.signed_size} of them under a signed checkpoint."
        return Verification(path, (Finding("chain", "holds", told),))
    return Verification(path, tuple(Finding("chain", "fails", problem.sentence) for problem in report.problems))


def identify_record(path: Path, guard: Guard) -> str | None:
    """The record that a picture belongs to: by file hash, sidecar, label, pixels or mark, in this order."""
    examination = _Examination(path, guard, Trust())
    examination.close()
    return examination.record_id


class _Examination:
    """Gathers everything about one file, then answers."""

    def __init__(self, path: Path, guard: Guard, trust: Trust) -> None:
        self.path = path
        self.guard = guard
        self.trust = _with_own_key(trust, guard)
        self.problems: list[Finding] = []
        self.image = self._try("content", lambda: pictures.open_picture(path, animated="first").image)
        self.file_sha256 = files.sha256_file(path) if path.is_file() else None
        self.pixel_sha256 = pictures.pixel_sha256(self.image) if self.image else None
        self.sidecar = self._read_sidecar()
        self.sidecar_check = self.sidecar.verify(self.trust.keys, picture=path) if self.sidecar else None
        self.labels = self._try("labels", lambda: labels.read_labels(path)) if self.image else None
        self.detection = self._try("mark", self._detect) if self.image else None
        self.ledger = self._try("chain", self._open_ledger)
        self.record_id = self._try("record", self._identify)

    def run(self) -> Verification:
        release = self._try("record", self._release)
        answers = [
            self._content(),
            self._record(release),
            self._chain(release),
            time_finding(self._testimonies(), self._claimed_time(release)),
            self._identity(),
            independence_finding(self._testimonies()),
            self._labels(),
            self._mark(),
        ]
        failed = {finding.subject for finding in self.problems}
        findings = [*self.problems, *(answer for answer in answers if answer.subject not in failed)]
        return Verification(self.path, tuple(findings), self.record_id, self.detection)

    def close(self) -> None:
        if self.ledger:
            self.ledger.close()

    # Gathering

    def _try(self, subject: Subject, step: Any) -> Any:
        try:
            return step()
        except GuardError as error:
            self.problems.append(Finding(subject, "fails", str(error)))
            return None

    def _read_sidecar(self) -> Sidecar | None:
        if not sidecar_path(self.path).exists():
            return None
        try:
            return read_sidecar(sidecar_path(self.path))
        except SidecarError as error:
            self.problems.append(Finding("record", "fails", str(error)))
            return None

    def _detect(self) -> Detection | None:
        detector = self.guard.detector
        return detector.detect(self.image) if detector and self.image else None

    def _release(self) -> Event | None:
        return find_release(self.ledger, self.record_id) if self.ledger and self.record_id else None

    def _open_ledger(self) -> Ledger | None:
        path = self.guard.config.ledger_path
        return Ledger.open_read_only(path) if path.exists() else None

    def _identify(self) -> str | None:
        if self.ledger and self.file_sha256 and (saved := self._newest(self.ledger.find_file(self.file_sha256))):
            return saved
        if self.sidecar:
            return self.sidecar.record_id
        if self.labels and self.labels.record_id:
            return self.labels.record_id
        if self.ledger and self.pixel_sha256 and (same := self._newest(self.ledger.find_pixels(self.pixel_sha256))):
            return same
        payload = Payload.unpack(self.detection.payload) if self.detection else None
        if payload and self.ledger:
            found = self.ledger.find_records(payload.record_id_prefix, limit=1)
            return found[0] if found else None
        return None

    @staticmethod
    def _newest(found: list[Event]) -> str | None:
        return next((event.record_id for event in reversed(found) if event.record_id), None)

    # Answering

    def _content(self) -> Finding:
        check = self.sidecar_check
        saved = self._try("chain", self._saved)
        if (check and check.file) or (saved and saved.body.get(events.FILE_KEY) == self.file_sha256):
            return Finding("content", "holds", "The file is byte for byte the one that was sealed.")
        if (check and check.pixels) or (saved and saved.body.get(events.PIXEL_KEY) == self.pixel_sha256):
            return Finding(
                "content", "holds", "The pixels are those that were sealed; the file around them was rewritten."
            )
        if check or saved:
            return Finding("content", "fails", "The picture is not the one that was sealed: its pixels were changed.")
        if self.record_id:
            return Finding("content", "unknown", "The record of this picture is known, its sealed file is not.")
        return Finding("content", "unknown", "There is neither a sidecar nor a ledger entry to compare with.")

    def _saved(self) -> Event | None:
        if not self.ledger or not self.record_id:
            return None
        found = self.ledger.events(record_id=self.record_id, type=events.PICTURE_SAVED, newest_first=True)
        return next(iter(found), None)

    def _record(self, release: Event | None) -> Finding:
        if self.sidecar and (check := self.sidecar_check):
            if not check.signature:
                return Finding("record", "fails", "The sidecar was changed after it was signed.")
            if not check.openings:
                return Finding("record", "fails", "A private field in the sidecar does not fit its commitment.")
            if (
                release
                and self.sidecar.profile != "proof-only"
                and self.sidecar.sealed[0] != release.body.get("record")
            ):
                return Finding("record", "fails", "The sidecar and the ledger tell different records.")
            return Finding("record", "holds", "The sidecar is as it was signed.")
        if release:
            return Finding("record", "holds", f"The ledger has the record as event {release.seq}.")
        if self.record_id:
            return Finding(
                "record", "unknown", f"The picture names record {self.record_id}, which is not in this ledger."
            )
        return Finding("record", "unknown", "No record of this picture is known here.")

    def _chain(self, release: Event | None) -> Finding:
        vouching = self.sidecar.envelope.signing_key(self.trust.keys.values()) if self.sidecar else None
        keys = [vouching] if vouching else []
        proof = self.sidecar.ledger_proof if self.sidecar else None
        if proof is None and release and self.ledger:
            try:
                proof = self.guard.ledger.proof(release.seq)
                keys = list(self.trust.keys.values())
            except GuardError as error:
                return Finding("chain", "fails", str(error))
        if proof is None:
            return Finding("chain", "unknown", "There is no inclusion proof to check.")
        try:
            result = verify_proof(proof, release.stored if release else None, public_keys=keys)
        except GuardError as error:
            return Finding("chain", "fails", str(error))
        if not result.holds:
            return Finding("chain", "fails", result.problem)
        return Finding(
            "chain",
            "holds",
            f"The record is in the ledger of {result.checkpoint.size} events that its checkpoint signs.",
        )

    def _identity(self) -> Finding:
        check = self.sidecar_check
        if not check:
            return Finding("identity", "unknown", "Nothing signed lies beside the picture.")
        if not check.signature:
            return Finding("identity", "unknown", "The signature does not hold, so nobody vouches.")
        name = f"key {(check.key_id or '')[:16]}"
        if check.signer:
            return Finding("identity", "holds", f"Signed with {name}, which is {check.signer}.")
        return Finding("identity", "unknown", f"Signed with {name}; whose key that is must be learnt elsewhere.")

    def _testimonies(self) -> tuple[Testimony, ...]:
        return ()

    def _claimed_time(self, release: Event | None) -> datetime | None:
        time = release.time if release else None
        return datetime.fromisoformat(time.replace("Z", "+00:00")) if time else None

    def _labels(self) -> Finding:
        found = self.labels
        if found is None or (found.source_type is None and found.record_id is None):
            return Finding("labels", "unknown", "The file carries no label.")
        said = (
            f"The file says {found.source_type.value}" if found.source_type else "The file says nothing of its source"
        )
        if found.record_id and self.record_id and found.record_id != self.record_id:
            return Finding("labels", "fails", f"{said}, but its label names another record ({found.record_id}).")
        return Finding("labels", "holds", f"{said}.")

    def _mark(self) -> Finding:
        if self.detection is None:
            return Finding("mark", "unknown", "No mark of a key known here was found.")
        payload = Payload.unpack(self.detection.payload)
        if payload is None:
            return Finding("mark", "holds", f"The picture carries the mark {self.detection.payload.hex()}.")
        if self.record_id and not self.record_id.startswith(payload.record_id_prefix):
            return Finding("mark", "fails", f"The mark names another record ({payload.record_id_prefix}...).")
        moment = payload.moment.strftime("%Y-%m-%d %H:%M UTC")
        return Finding(
            "mark", "holds", f"The picture carries the mark of record {payload.record_id_prefix}..., {moment}."
        )


_KINDS: tuple[tuple[Callable[[Path], bool], Callable[[Path, Guard, Trust | None], Verification]], ...] = (
    (lambda path: path.suffix == ".sqlite3", verify_ledger_file),
    (is_dossier, lambda path, guard, trust: verify_dossier(path, guard, trust, verify_picture)),
)


def _with_own_key(trust: Trust, guard: Guard) -> Trust:
    """Who checks on the machine that signed knows its key."""
    key = guard.public_key
    return dataclasses.replace(trust, keys={**trust.keys, "the key of this installation": key}) if key else trust
