"""What is known about a picture: its record, the infotext it came with, the model files behind it, its sidecar."""

from __future__ import annotations

from provenance_guard.provenance.comparison import Difference, compare
from provenance_guard.provenance.infotext import Infotext, format_infotext, parse_infotext, read_generation
from provenance_guard.provenance.lineage import Ancestor, ancestors, find_parent
from provenance_guard.provenance.record import Context, Parent, Record, Resource, new_record_id
from provenance_guard.provenance.redaction import (
    commitment_to,
    disclose,
    redact,
    restore,
    sealed_fields,
    verify_opening,
)
from provenance_guard.provenance.resources import ResourceHasher, resource_from_file
from provenance_guard.provenance.safetensors import read_metadata
from provenance_guard.provenance.sidecar import (
    Sidecar,
    SidecarCheck,
    open_sidecar,
    proof_only_sidecar,
    read_sidecar,
    redact_sidecar,
    sidecar_path,
    sign_envelope,
)
from provenance_guard.provenance.statement import build_statement, seal_file_name

__all__ = [
    "Ancestor",
    "Context",
    "Difference",
    "Infotext",
    "Parent",
    "Record",
    "Resource",
    "ResourceHasher",
    "Sidecar",
    "SidecarCheck",
    "ancestors",
    "build_statement",
    "commitment_to",
    "compare",
    "disclose",
    "find_parent",
    "format_infotext",
    "new_record_id",
    "open_sidecar",
    "parse_infotext",
    "proof_only_sidecar",
    "read_generation",
    "read_metadata",
    "read_sidecar",
    "redact",
    "redact_sidecar",
    "resource_from_file",
    "restore",
    "seal_file_name",
    "sealed_fields",
    "sidecar_path",
    "sign_envelope",
    "verify_opening",
]
