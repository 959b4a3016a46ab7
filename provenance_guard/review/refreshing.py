"""Puts what outsiders said since into sidecars that were written before: time tokens come minutes or hours after a picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from provenance_guard import files
from provenance_guard.errors import GuardError, UsageError
from provenance_guard.json_types import Json
from provenance_guard.ledger import Ledger
from provenance_guard.ledger.anchors.evidence import outside_evidence
from provenance_guard.ledger.proof import Proof
from provenance_guard.provenance.sidecar import SUFFIX, Sidecar, read_sidecar, with_outside

Result = Literal["refreshed", "unchanged", "waiting", "failed"]


@dataclass(frozen=True)
class Refreshed:
    """What became of one sidecar."""

    path: Path
    result: Result
    sentence: str = ""

    def to_json(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {"path": str(self.path), "result": self.result, "sentence": self.sentence}


def find_sidecars(named: Iterable[Path]) -> list[Path]:
    """The sidecars among files and folders that a person named; a picture stands for its sidecar. Raises UsageError."""
    found: list[Path] = []
    for path in named:
        if path.is_dir():
            found += sorted(path.glob(f"*{SUFFIX}"))
        elif path.name.endswith(SUFFIX):
            found.append(path)
        else:
            found.append(path.with_name(path.name + SUFFIX))
    missing = [path for path in found if not path.exists()]
    if missing or not found:
        raise UsageError(
            f"There is no sidecar {missing[0]}." if missing else "There are no sidecars.", next_step="Check the name."
        )
    return found


def refresh_sidecar(path: Path, ledger: Ledger) -> Refreshed:
    """Write the newest evidence from outside into a sidecar of ``ledger``; statement and signature stay as they are.

    Never raises GuardError.
    """
    try:
        sidecar = read_sidecar(path)
        content = refreshed_content(sidecar, ledger)
        if content is None:
            return Refreshed(path, "waiting", "Nobody outside has seen this record yet.")
        if content == path.read_bytes():
            return Refreshed(path, "unchanged")
        files.write_atomically(path, content)
    except GuardError as error:
        return Refreshed(path, "failed", str(error))
    return Refreshed(path, "refreshed")


def refreshed_content(sidecar: Sidecar, ledger: Ledger) -> bytes | None:
    """The content of a sidecar with what the ledger has from outside; None when it has nothing.

    Raises LedgerError when the sidecar is of another ledger, or of events that this one does not have.
    """
    proofs = [Proof.from_json(proof) for proof in (sidecar.ledger_proof, sidecar.file_proof) if proof is not None]
    if not proofs:
        return None
    for proof in proofs:
        if proof.checkpoint.origin != ledger.origin or ledger.event(proof.index).leaf_hash != proof.leaf_hash:
            raise UsageError(
                "It was not written by this ledger.", next_step="Give --data with the folder of its ledger."
            )
    evidence = outside_evidence(ledger, [proof.index for proof in proofs])
    return with_outside(sidecar, evidence.to_json()) if evidence else None
