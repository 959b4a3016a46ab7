"""The parts that the door is made of, opened at first use, and what the ledger is told beside the pictures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from PIL import Image

from provenance_guard.config import Config, Policy
from provenance_guard.errors import KeyMissingError, LedgerError
from provenance_guard.gate.quarantine import Quarantine
from provenance_guard.json_types import Json
from provenance_guard.ledger import Event, Ledger, events
from provenance_guard.ledger.anchors.notary import Notary
from provenance_guard.passage import Session
from provenance_guard.provenance.lineage import find_parent
from provenance_guard.provenance.record import Parent, ParentRole
from provenance_guard.provenance.redaction import redact
from provenance_guard.signing import Signer
from provenance_guard.similarity import Library, SyncReport, Verdict
from provenance_guard.similarity.embedding import load_embedder
from provenance_guard.watermark import KeyRing, Watermarker

Own = TypeVar("Own", bound="Parts")


class Parts:
    """Opens each part at first use, so that a broken one fails its own step only.

    Safe to call from several threads, and from several processes on one data directory.
    """

    def __init__(
        self,
        config: Config,
        *,
        device: torch.device | str | None = None,
        compare_on: torch.device | str | None = None,
        session: Session | None = None,
    ) -> None:
        """``compare_on``: where references are compared, ``device`` when None. ``session`` is given by a program that is meant to be at
        its post all the time: see ``keep_session``."""
        self.config = config
        self.session = session or Session()
        self._device = device
        self._compare_on = compare_on
        self._lock = threading.RLock()
        self._sync_lock = threading.RLock()  # its own: a long sync must not hold up the ledger
        self._signer: Signer | None = None
        self._ledger: Ledger | None = None
        self._notary: Notary | None = None
        self._library: Library | None = None
        self._watermarker: Watermarker | None = None
        self._references_synced = False

    @property
    def device(self) -> torch.device:
        """Where tensors are computed: the caller's device, the configured one, or the best there is."""
        chosen = self._device or self.config.settings.device
        if chosen == "auto":
            chosen = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.device(chosen)

    @property
    def signer(self) -> Signer:
        """The Ed25519 key that signs sidecars and checkpoints, made at first use."""
        with self._lock:
            if self._signer is None:
                self._ensure_keys()
                self._signer = Signer.open(self.config.key_directory)
            return self._signer

    @property
    def ledger(self) -> Ledger:
        """The ledger in the data directory."""
        with self._lock:
            if self._ledger is None:
                self._ledger = Ledger.open(self.config.ledger_path, self.signer)
                self._notary = Notary(self._ledger, self.config.settings.timestamping)
                self._notary.start()
            return self._ledger

    @property
    def library(self) -> Library:
        """The reference library in the data directory, as it is (see ``sync_references``)."""
        with self._lock:
            if self._library is None:
                settings = self.config.settings
                device = torch.device(self._compare_on) if self._compare_on else self.device
                embedder = load_embedder(settings.embedding_model, settings.embedding_checkpoint, device)
                self._library = Library.open(self.config.library_path, device=device, embedder=embedder)
            return self._library

    def hand_back(self) -> None:
        """Give back the memory that the references take on the device and in the process; the next screen loads them anew."""
        with self._lock:
            library = self._library
        if library is not None:
            library.hand_back()

    @property
    def quarantine(self) -> Quarantine:
        """The kept originals in the data directory."""
        return Quarantine(self.config.quarantine_path, self.config.key_directory)

    @property
    def watermarker(self) -> Watermarker:
        """Marks with the current key and detects with all known ones."""
        with self._lock:
            if self._watermarker is None:
                self._ensure_keys()
                keys = KeyRing(self.config.key_directory)
                self._watermarker = Watermarker(keys.current(), self.config.policy.mark.strength, known=keys.all())
            return self._watermarker

    @property
    def detector(self) -> Watermarker | None:
        """Looks for marks of every known key; None when there is no key yet. Unlike ``watermarker`` it makes none."""
        known = KeyRing(self.config.key_directory).all()
        return Watermarker(known[0], known=known) if known else None

    @property
    def public_key(self) -> bytes | None:
        """The public signing key of this installation, None when there is none yet. Unlike ``signer`` it makes none."""
        try:
            return Signer.open(self.config.key_directory, create=False).public_bytes
        except KeyMissingError:
            return None

    def sync_references(self, progress: Callable[[int, int, str], None] | None = None) -> list[SyncReport]:
        """Bring the library up to date with the policy's reference folders. Raises LibraryError."""
        with self._sync_lock:
            reports = [self.library.sync(folder, progress=progress) for folder in self.config.policy.screen.references]
            self._references_synced = True
            return reports

    def screen(self, image: Image.Image, *, policy: Policy | None = None) -> Verdict:
        """Compare one picture with the references; nothing is recorded. The references are synced before the first one.

        Raises GuardError when that is not possible.
        """
        limits = (policy or self.config.policy).screen
        with self._sync_lock:
            if not self._references_synced:
                self.sync_references()
        return self.library.screen(
            image,
            folders=limits.references or None,  # a policy without folders means everything that was ever indexed
            review=limits.review,
            near_copy=limits.near_copy,
            semantic_review=limits.semantic_review,
        )

    def find_parent(self, role: ParentRole, image: Image.Image, *, label_id: str | None = None) -> Parent:
        """Recognise a picture that goes into another one, by its pixels or by the record id that its file claims."""

        def find_pixels(digest: str) -> str | None:
            return next(
                (event.record_id for event in reversed(self.ledger.find_pixels(digest)) if event.record_id), None
            )

        return find_parent(role, image, find_pixels=find_pixels, label_id=label_id)

    # What the ledger is told beside the pictures

    def log_decision(
        self, kind: str, record_id: str, *, public: Mapping[str, Json], private: Mapping[str, Json]
    ) -> Event:
        """Append a reviewer's decision about a record; ``private`` is sealed like the private fields of a record.

        Raises LedgerError and what else keeps the ledger from being opened.
        """
        sealed, openings = redact(private)
        return self._append(kind, {**public, **sealed}, record_id=record_id, openings=openings)

    def keep_session(self, kind: str = "") -> None:
        """Tell the ledger that the program is at work, before there is a picture; ``kind`` is an event that says it once more.

        Raises LedgerError and what else keeps the ledger from being opened.
        """
        with self._lock:
            self.session.start(self.ledger)
            if kind:
                self._append(kind, {"session": self.session.id})

    def log_gap(self, found: Mapping[str, Json], names: Sequence[str]) -> Event:
        """Remember what was made while no session ran; the ``names`` of files are private. Raises LedgerError."""
        sealed, openings = redact({"names": [*names]})
        return self._append(events.GAP_FOUND, {**found, **sealed, "session": self.session.id}, openings=openings)

    def end_session(self) -> None:
        """Tell the ledger that the program is not at work any more. Does nothing when it never told that it was."""
        with self._lock:
            if self._ledger is not None:
                self.session.end(self._ledger)

    # Inside

    def _append(
        self, kind: str, body: dict[str, Json], *, record_id: str | None = None, openings: Sequence[str] = ()
    ) -> Event:
        with self._lock:
            if self._ledger is not None and not self.config.ledger_path.exists():
                if self._notary is not None:
                    self._notary.close()
                self._notary = self._ledger = (
                    None  # What is written to a deleted file is lost, and SQLite does not tell.
                )
                raise LedgerError(
                    f"The ledger {self.config.ledger_path} was deleted while it was in use.",
                    next_step="Restore it from a backup; else a new one begins with the next picture.",
                )
            self.session.start(self.ledger)
        return self.ledger.append(kind, body, record_id=record_id, openings=openings)

    def _ensure_keys(self) -> None:
        """Both keys are made together, before the ledger is. Where a ledger is, a missing key must not be replaced silently."""
        keys, data = self.config.key_directory, self.config.data_directory
        if not self.config.ledger_path.exists():
            Signer.open(keys)
            KeyRing(keys).current()
            return
        for kind, pattern in (("signing", "signing-*.pem"), ("watermark", "watermark-*.key")):
            if not any(keys.glob(pattern)):
                raise KeyMissingError(
                    f"There is a ledger in {data}, but no {kind} key in {keys}.",
                    next_step="Restore the keys from a backup, or move the ledger away to start anew.",
                )

    def close(self) -> None:
        """Sign a last checkpoint and close ledger and library."""
        with self._lock:
            for part in (self._notary, self._ledger, self._library):
                if part is not None:
                    part.close()
            self._notary = self._ledger = self._library = None

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
