"""What outsiders said about one record: gathered from its sidecar or its ledger, checked, and told."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from itertools import islice

from provenance_guard.clock import parse_time
from provenance_guard.errors import GuardError
from provenance_guard.ledger import Ledger, events
from provenance_guard.ledger.anchors.evidence import OutsideEvidence, outside_evidence
from provenance_guard.ledger.anchors.examination import examine_checkpoint
from provenance_guard.ledger.anchors.keeping import kept_anchors, stored_checkpoint
from provenance_guard.ledger.anchors.testimony import Testimony
from provenance_guard.ledger.proof import Proof
from provenance_guard.provenance.sidecar import Sidecar
from provenance_guard.review.verdicts import Finding, Trust

MOST_WORDS = 10  # that are looked through for a trusted one


def hear_sidecar(sidecar: Sidecar, trust: Trust) -> tuple[list[Testimony], list[Finding]]:
    """What the evidence in a sidecar says from outside, and what is wrong with it. Never raises for what is in it."""
    if sidecar.outside is None:
        return [], []
    try:
        evidence = OutsideEvidence.from_json(sidecar.outside)
        proofs = [Proof.from_json(proof) for proof in (sidecar.ledger_proof, sidecar.file_proof) if proof is not None]
    except GuardError as error:
        return [], [Finding("independence", "fails", str(error))]
    key = sidecar.envelope.signing_key(trust.keys.values())
    if not proofs or not all(evidence.covers(proof) for proof in proofs):
        told = "The evidence from outside that lies in the sidecar is about something else than this record."
        return [], [Finding("independence", "fails", told)]
    if evidence.checkpoint.signed_by([*([key] if key else []), *trust.keys.values()]) is None:
        told = "The evidence from outside is about a checkpoint that another key signed than the sidecar; give that one too."
        return [], [Finding("independence", "unknown", told)]
    return hear(evidence, trust), []


def claimed_time(sidecar: Sidecar) -> datetime | None:
    """When the record was made by its writer's own clock, as the sidecar tells."""
    holder = sidecar.predicate.get("record", sidecar.predicate)
    return read_time(holder.get("time")) if isinstance(holder, Mapping) else None


def read_time(told: object) -> datetime | None:
    """A time as records and events tell it (RFC 3339); None when it is none."""
    try:
        moment = parse_time(told) if isinstance(told, str) else None
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None


def hear_ledger(ledger: Ledger, seqs: list[int], trust: Trust) -> list[Testimony]:
    """What the ledger has from outside about events. Raises LedgerError when it is damaged."""
    evidence = outside_evidence(ledger, seqs)
    return hear(evidence, trust) if evidence else []


def hear(evidence: OutsideEvidence, trust: Trust) -> list[Testimony]:
    """The testimonies about the checkpoint of some evidence."""
    return examine_checkpoint(evidence.checkpoint, evidence.anchors, roots=trust.roots, witnesses=trust.witnesses)


def heard_before(ledger: Ledger, seq: int, trust: Trust) -> Testimony | None:
    """The last word of a trusted outsider that the ledger had when it wrote event ``seq``: the event was written after it."""
    newest = ledger.events(type=events.TIMESTAMP_ATTACHED, newest_first=True)
    for event in islice((event for event in newest if event.seq < seq), MOST_WORDS):
        size = event.body.get("size")
        with suppress(GuardError):
            checkpoint = stored_checkpoint(ledger, size) if isinstance(size, int) and 0 < size <= event.seq else None
            if checkpoint is None:
                continue
            said = examine_checkpoint(checkpoint, kept_anchors(ledger, checkpoint.size), roots=trust.roots)
            heard = [entry for entry in said if entry.holds and entry.time]
            if heard:
                return max(heard, key=lambda entry: entry.time or datetime.min)
    return None
