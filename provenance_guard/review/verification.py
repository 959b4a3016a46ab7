"""Examine a file that is offered as evidence: what can be checked about it, each question with its own answer (see ``verdicts``).

``verify_file`` takes a picture, a sidecar or a ledger. Further kinds of file have a row in ``_KINDS``: what recognises them,
and what examines them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from provenance_guard import files, labels, pictures
from provenance_guard.errors import GuardError, SidecarError
from provenance_guard.guard import Guard
from provenance_guard.ledger import Event, Ledger, events, verify_proof
from provenance_guard.ledger.anchors.testimony import Testimony
from provenance_guard.ledger.events import read_event
from provenance_guard.ledger.proof import Proof
from provenance_guard.provenance.sidecar import SUFFIX, Sidecar, picture_path, read_sidecar, sidecar_path
from provenance_guard.review.dossier_check import is_dossier, verify_dossier
from provenance_guard.review.ledger_check import contradiction, verify_ledger_file
from provenance_guard.review.outside import claimed_time, hear_ledger, hear_sidecar, heard_before, read_time
from provenance_guard.review.records import FILE_EVENTS, find_release
from provenance_guard.review.trust import with_own_trust
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
    examination = _Examination(path, guard, trust)
    try:
        return examination.run()
    finally:
        examination.close()


def identify_record(path: Path, guard: Guard) -> str | None:
    """The record that a picture belongs to: by file hash, sidecar, label, pixels or mark, in this order."""
    examination = _Examination(path, guard, None)
    examination.close()
    return examination.record_id


class _Examination:
    """Gathers everything about one file, then answers."""

    def __init__(self, path: Path, guard: Guard, trust: Trust | None) -> None:
        self.path = path
        self.guard = guard
        self.trust = with_own_trust(trust, guard)
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
        heard = self._try("independence", lambda: self._heard(release)) or []
        before = self._try("time", lambda: self._heard_before(release))
        answers = [
            self._content(),
            self._record(release),
            self._chain(release),
            time_finding(heard, self._claimed_time(release), not_before=before),
            self._identity(),
            independence_finding(heard),
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
            return self._changed_content(check is not None)
        if self.record_id:
            return Finding("content", "unknown", "The record of this picture is known, its sealed file is not.")
        return Finding("content", "unknown", "There is neither a sidecar nor a ledger entry to compare with.")

    def _changed_content(self, named_by_sidecar: bool) -> Finding:
        payload = Payload.unpack(self.detection.payload) if self.detection else None
        if payload and self.record_id and self.record_id.startswith(payload.record_id_prefix):
            told = "Only the mark is that of the record: this is not the sealed picture, but one that was made from it"
            if named_by_sidecar:
                return Finding("content", "fails", f"{told}. Its pixels were changed.")
            return Finding("content", "unknown", f"{told}; what was changed in it cannot be told from the mark.")
        return Finding("content", "fails", "The picture is not the one that was sealed: its pixels were changed.")

    def _saved(self) -> Event | None:
        """The event that names this file; the last one of the record when it names other files only."""
        if not self.ledger or not self.record_id:
            return None
        found = [event for event in self.ledger.events(record_id=self.record_id) if event.type in FILE_EVENTS]
        for key, digest in ((events.FILE_KEY, self.file_sha256), (events.PIXEL_KEY, self.pixel_sha256)):
            for event in reversed(found):
                if digest is not None and event.body.get(key) == digest:
                    return event
        return found[-1] if found else None

    def _record(self, release: Event | None) -> Finding:
        if self.sidecar and (check := self.sidecar_check):
            if not check.signature:
                return Finding("record", "fails", "The sidecar was changed after it was signed.")
            if self.sidecar.newer:
                return Finding("record", "unknown", " ".join(check.notes))
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
        try:
            if self.sidecar and self.sidecar.ledger_proof is not None:
                return self._chain_of_sidecar(self.sidecar)
            return self._chain_of_ledger(release)
        except GuardError as error:
            return Finding("chain", "fails", str(error))

    def _chain_of_sidecar(self, sidecar: Sidecar) -> Finding:
        vouching = sidecar.envelope.signing_key(self.trust.keys.values())
        # Keys change: an older one may have signed the tree.
        keys = [*([vouching] if vouching else []), *self.trust.keys.values()]
        known, size = True, 0
        for document, differs in (
            (sidecar.ledger_proof, self._differs_from_record),
            (sidecar.file_proof, self._differs_from_file),
        ):
            if document is None:
                continue
            proof = Proof.from_json(document)
            if self.ledger and (difference := contradiction(self.ledger, proof.checkpoint)):
                return Finding("chain", "fails", difference)
            result = verify_proof(document, self._stored(proof), public_keys=keys)
            signed = result.signed_by is not None or any(map(result.checkpoint.names, keys))
            if not (result.leaf_matches and result.included) or (signed and not result.holds):
                return Finding("chain", "fails", result.problem)
            if proof.event is not None and (difference := differs(read_event(proof.event))):
                return Finding("chain", "fails", difference)
            known, size = known and signed, max(size, proof.checkpoint.size)
        if not known:
            told = "The checkpoint over the record is signed with a key that is not known here; give it with --key."
            return Finding("chain", "unknown", told)
        told = f"The record is in the ledger of {size} events that its checkpoint signs."
        return Finding("chain", "holds", told)

    def _stored(self, proof: Proof) -> bytes | None:
        """What the ledger at hand holds at the place of a proof, when it is the ledger of that proof."""
        if self.ledger is None or self.ledger.origin != proof.checkpoint.origin:
            return None
        return self.ledger.event(proof.index).stored or None

    def _chain_of_ledger(self, release: Event | None) -> Finding:
        if release is None or self.ledger is None:
            return Finding("chain", "unknown", "There is no inclusion proof to check.")
        if all(checkpoint.size <= release.seq for checkpoint in self.ledger.checkpoints()):
            told = f"The record is event {release.seq} of the ledger; no signed checkpoint covers it yet."
            return Finding("chain", "unknown", told)
        result = verify_proof(
            self.ledger.proof(release.seq), release.stored or None, public_keys=[*self.trust.keys.values()]
        )
        if not result.holds:
            return Finding("chain", "fails", result.problem)
        told = f"The record is in the ledger of {result.checkpoint.size} events that its checkpoint signs."
        return Finding("chain", "holds", told)

    def _differs_from_record(self, event: Event) -> str:
        sidecar = self.sidecar
        same = sidecar and (sidecar.profile == "proof-only" or event.body.get(events.RECORD_KEY) == sidecar.sealed[0])
        return "" if same else "The event that the sidecar proves holds another record than the sidecar tells."

    def _differs_from_file(self, event: Event) -> str:
        sidecar = self.sidecar
        same = sidecar and (event.body.get(events.FILE_KEY), event.record_id) == (
            sidecar.file_sha256,
            sidecar.record_id,
        )
        return "" if same else "The event that the sidecar proves names another file than the sidecar does."

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

    def _heard(self, release: Event | None) -> list[Testimony]:
        heard, problems = hear_sidecar(self.sidecar, self.trust) if self.sidecar else ([], [])
        self.problems += problems
        if not heard and release and self.ledger:
            saved = self._saved()
            heard = hear_ledger(self.ledger, [release.seq, *([saved.seq] if saved else [])], self.trust)
        return heard

    def _heard_before(self, release: Event | None) -> Testimony | None:
        return heard_before(self.ledger, release.seq, self.trust) if self.ledger and release else None

    def _claimed_time(self, release: Event | None) -> datetime | None:
        """What the writer's clock said: by the ledger at hand, or by the record in the sidecar."""
        if release:
            return read_time(release.time)
        return claimed_time(self.sidecar) if self.sidecar else None

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
        moment = f", {payload.moment:%Y-%m-%d %H:%M UTC}" if payload.moment else ""
        return Finding(
            "mark", "holds", f"The picture carries the mark of record {payload.record_id_prefix}...{moment}."
        )


_KINDS: tuple[tuple[Callable[[Path], bool], Callable[[Path, Guard, Trust | None], Verification]], ...] = (
    (lambda path: path.suffix == ".sqlite3", verify_ledger_file),
    (is_dossier, lambda path, guard, trust: verify_dossier(path, guard, trust, verify_picture)),
)
