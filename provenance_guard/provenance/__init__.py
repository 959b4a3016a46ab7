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
    build_statement,
    read_sidecar,
    redacted_statement,
    sidecar_path,
    sign_envelope,
)

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
    "parse_infotext",
    "read_generation",
    "read_metadata",
    "read_sidecar",
    "redact",
    "redacted_statement",
    "resource_from_file",
    "restore",
    "sealed_fields",
    "sidecar_path",
    "sign_envelope",
    "verify_opening",
]
