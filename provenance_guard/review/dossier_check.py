"""Examine a dossier: its manifest, every file in it, the picture and its relatives, every event. Needs nothing from elsewhere."""

from __future__ import annotations

import base64
import binascii
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from provenance_guard import files
from provenance_guard.errors import GuardError, SidecarError
from provenance_guard.guard import Guard
from provenance_guard.ledger import verify_proof
from provenance_guard.provenance.sidecar import Sidecar, read_sidecar
from provenance_guard.review.manifest import MANIFEST, is_inside, not_a_dossier, read_manifest
from provenance_guard.review.outside import claimed_time, hear_sidecar
from provenance_guard.review.trust import with_own_trust
from provenance_guard.review.verdicts import Finding, Trust, Verification, independence_finding, time_finding
from provenance_guard.signing import key_id

MAX_FILES = 10_000
MAX_BYTES = 4 << 30

VerifyPicture = Callable[[Path, Guard, "Trust | None"], Verification]


def is_dossier(path: Path) -> bool:
    """Whether a path is a dossier's folder, or a ZIP file that can only be one."""
    return (path / MANIFEST).is_file() or (path.suffix.lower() == ".zip" and path.is_file())


def verify_dossier(path: Path, guard: Guard, trust: Trust | None, verify_picture: VerifyPicture) -> Verification:
    """Check a dossier, folder or ZIP; ``verify_picture`` examines a picture that lies beside its sidecar. Never raises GuardError."""
    try:
        with _unpacked(path) as folder:
            return _Examination(path, folder, guard, trust, verify_picture).run()
    except GuardError as error:
        return Verification(path, (Finding("record", "fails", str(error)),))


class _Examination:
    def __init__(
        self, path: Path, folder: Path, guard: Guard, trust: Trust | None, verify_picture: VerifyPicture
    ) -> None:
        self.path = path
        self.folder = folder
        self.guard = guard
        self.trust = with_own_trust(trust, guard)
        self.verify_picture = verify_picture
        self.envelope, self.statement = read_manifest(folder / MANIFEST)
        self.signer = self.envelope.signing_key(self.trust.keys.values())
        self.keys = {self.signer} if self.signer else set()

    def run(self) -> Verification:
        parts = self.statement["predicate"]["parts"]
        about = str(self.statement["predicate"].get("record", ""))
        findings = [*self._check_manifest()]
        for part in parts:
            found = [*self._check_part(part)]
            if part["role"] == "subject":
                findings += found
            else:  # Of relatives only what is wrong: their own dossiers tell the rest.
                findings += [
                    replace(
                        finding, sentence=f"{str(part['role']).capitalize()} {part['record'][:8]}: {finding.sentence}"
                    )
                    for finding in found
                    if finding.verdict == "fails"
                ]
        proven = [finding for part in parts for finding in self._check_events(part)]
        findings += [finding for finding in proven if finding.verdict == "fails"]
        if proven and all(finding.verdict == "holds" for finding in proven):
            findings.append(Finding("chain", "holds", f"All {len(proven)} events in the dossier are in signed trees."))
        return Verification(self.path, tuple(findings), about or None)

    def _check_manifest(self) -> Iterator[Finding]:
        if self.signer is None:
            yield Finding(
                "record", "fails", "The dossier's manifest is not signed, or was changed after it was signed."
            )
            return
        listed = {str(subject["name"]): subject["digest"]["sha256"] for subject in self.statement["subject"]}
        wrong = [finding for name, digest in listed.items() if (finding := self._check_file(name, digest))]
        yield from wrong
        extra = sorted(_names_in(self.folder) - set(listed) - {MANIFEST})
        for name in extra:
            yield Finding("record", "fails", f"{name} was put into the dossier: the manifest does not list it.")
        if not wrong and not extra:
            told = f"All {len(listed)} files are as the manifest lists them, which is signed with key {key_id(self.signer)[:16]}."
            yield Finding("record", "holds", told)

    def _check_file(self, name: str, digest: str) -> Finding | None:
        path = self.folder / name
        if not path.is_file():
            return Finding("content", "fails", f"{name} is missing from the dossier.")
        if files.sha256_file(path) != digest:
            return Finding("content", "fails", f"{name} was changed after the dossier was made.")
        return None

    def _check_part(self, part: Mapping[str, Any]) -> Iterator[Finding]:
        if not part["sidecar"]:
            return
        try:
            sidecar = read_sidecar(self.folder / part["sidecar"])
        except SidecarError as error:
            yield Finding("record", "fails", str(error))
            return
        if key := sidecar.envelope.signing_key(self.trust.keys.values()):
            self.keys.add(key)
            if part["role"] == "subject" and self.signer and key != self.signer:
                told = f"The dossier was put together with key {key_id(self.signer)[:16]}, the record signed with key {key_id(key)[:16]}."
                yield Finding("identity", "unknown", told)
        if sidecar.record_id != part["record"]:
            yield Finding("record", "fails", f"The sidecar of record {part['record'][:8]} is of another record.")
        if part["picture"] and (self.folder / part["picture"]).is_file():
            yield from self.verify_picture(self.folder / part["picture"], self.guard, self.trust).findings
        else:
            yield from self._check_sidecar_alone(sidecar)

    def _check_sidecar_alone(self, sidecar: Sidecar) -> Iterator[Finding]:
        check = sidecar.verify(self.trust.keys)
        yield Finding(
            "content", "unknown", f"The picture is not in the dossier; its file has SHA-256 {sidecar.file_sha256}."
        )
        if not check.signature:
            yield Finding("record", "fails", "The sidecar was changed after it was signed.")
        elif not check.openings:
            yield Finding("record", "fails", "A private field in the sidecar does not fit its commitment.")
        else:
            yield Finding("record", "holds", "The sidecar is as it was signed.")
        heard, problems = hear_sidecar(sidecar, self.trust)
        yield from problems or [independence_finding(heard)]
        yield time_finding(heard, claimed_time(sidecar))

    def _check_events(self, part: Mapping[str, Any]) -> Iterator[Finding]:
        if not part["events"] or not (path := self.folder / part["events"]).is_file():
            return
        try:
            for event in json.loads(path.read_bytes())["events"]:
                stored = None if event["bytes"] is None else base64.b64decode(event["bytes"], validate=True)
                result = verify_proof(event["proof"], stored, public_keys=self.keys)
                name = f"event {event['seq']}"
                if result.holds:
                    yield Finding("chain", "holds", f"{name.capitalize()} is in the signed tree.")
                else:
                    yield Finding("chain", "fails", f"{name.capitalize()}: {result.problem}")
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            yield Finding("chain", "fails", f"{part['events']} is damaged ({error}).")
        except GuardError as error:
            yield Finding("chain", "fails", f"{part['events']}: {error}")


def _names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The dossier as a folder."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="dossier-") as name:
        folder = Path(name)
        try:
            with zipfile.ZipFile(path) as archive:
                _extract(archive, folder)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
            raise not_a_dossier(f"the ZIP file cannot be read: {error}") from error
        inner = [entry for entry in folder.iterdir() if entry.is_dir()]
        # Some programs pack the folder itself.
        yield inner[0] if not (folder / MANIFEST).exists() and len(inner) == 1 else folder


def _extract(archive: zipfile.ZipFile, folder: Path) -> None:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise not_a_dossier("it is far too large")
    for entry in entries:
        if not is_inside(entry.filename):
            raise not_a_dossier(f"it holds a file that would lie outside of it ({entry.filename!r})")
        target = folder / entry.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, target.open("wb") as sink:  # zipfile stops at the stated size
            while chunk := source.read(1 << 20):
                sink.write(chunk)
