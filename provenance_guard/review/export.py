"""Hand out what is known about one picture: as a sidecar, or as a graph in W3C PROV-JSON."""

from __future__ import annotations

from collections.abc import Iterable

from provenance_guard.errors import UsageError
from provenance_guard.guard import Guard
from provenance_guard.json_types import Json
from provenance_guard.provenance.dsse import write_envelope
from provenance_guard.provenance.prov_json import ProvGraph
from provenance_guard.provenance.redaction import restore
from provenance_guard.provenance.sidecar import Sidecar, parse_sidecar, proof_only_sidecar, redact_sidecar
from provenance_guard.provenance.statement import Profile
from provenance_guard.review.evidence import Evidence

SHORT_NAMES = {"negative": "negative_prompt", "init": "source_name", "file": "file_name"}
"""What a person may write for a private field instead of its name in the record."""


def hand_out(
    evidence: Evidence, profile: Profile, fields: Iterable[str], guard: Guard, *, lenient: bool = False
) -> bytes:
    """The sidecar of a picture in the profile in which it is handed out.

    Raises UsageError when fields are asked for that the profile does not open one by one, or when ``full`` is asked for and
    some fields cannot be opened here (``lenient``: then what can be opened is); SidecarError when there is no statement, or it was
    changed after it was signed.
    """
    source, chosen = evidence.statement, [SHORT_NAMES.get(name, name) for name in fields]
    if chosen and profile != "redacted":
        raise UsageError(
            f"Profile {profile!r} opens {'everything' if profile == 'full' else 'nothing'}.",
            next_step="Use --disclose with --profile redacted.",
        )
    if profile == "proof-only":
        return proof_only_sidecar(source, guard.signer)
    # Only a statement of the first version has to be signed again, and only that needs the key.
    signer = guard.signer if source.predicate.get("openings") else None
    redacted = redact_sidecar(source, fields=chosen, signer=signer)
    if profile == "redacted":
        return redacted
    if source.profile != "full" and not lenient:
        raise UsageError(
            f"Some private fields of record {evidence.record_id} cannot be opened here.",
            next_step="Export where the ledger is, or use --profile redacted.",
        )
    return write_envelope(source.envelope)


def to_prov_json(evidence: Evidence, profile: Profile, fields: Iterable[str], guard: Guard) -> dict[str, Json]:
    """The graph of one record, as far as the profile opens it. Raises as ``hand_out``, and UsageError for ``proof-only``."""
    if profile == "proof-only":
        raise UsageError("A graph tells a record, and proofs alone have none.", next_step="Use --profile redacted.")
    graph = ProvGraph()
    add_to_graph(graph, parse_sidecar(hand_out(evidence, profile, fields, guard), evidence.statement.path))
    return graph.to_json()


def add_to_graph(graph: ProvGraph, sidecar: Sidecar) -> None:
    """Add a record to a graph as far as its sidecar opens it."""
    public, openings = sidecar.sealed
    graph.add_record(restore(public, openings), public, file_sha256=sidecar.file_sha256, file_name=sidecar.file_name)
