"""What is known about a picture: its record, the infotext it came with, the model files behind it, its sidecar."""

from __future__ import annotations

from provenance_guard.provenance.comparison import Difference, compare
from provenance_guard.provenance.infotext import Infotext, format_infotext, parse_infotext, read_generation
from provenance_guard.provenance.record import Context, Parent, Record, Resource, new_record_id
from provenance_guard.provenance.redaction import (
    commitment_to,
    disclose,
    redact,
    restore,
    sealed_fields,
    verify_opening,
)
from provenance_guard.provenance.sidecar import (
    Sidecar,
    SidecarCheck,
    build_statement,
    read_sidecar,
    redacted_statement,
    sidecar_path,
    sign_envelope,
)

__all__ = [
    "Context",
    "Difference",
    "Infotext",
    "Parent",
    "Record",
    "Resource",
    "Sidecar",
    "SidecarCheck",
    "build_statement",
    "commitment_to",
    "compare",
    "disclose",
    "format_infotext",
    "new_record_id",
    "parse_infotext",
    "read_generation",
    "read_sidecar",
    "redact",
    "redacted_statement",
    "restore",
    "sealed_fields",
    "sidecar_path",
    "sign_envelope",
    "verify_opening",
]
