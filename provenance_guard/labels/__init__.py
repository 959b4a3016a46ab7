"""Labels that a file carries in public: "AI generated" in IPTC's words, and the id of the record that tells more."""

from __future__ import annotations

from provenance_guard.labels.embedded import LabelResult, carry_packet, read_labels, write_labels
from provenance_guard.labels.iptc import Labels, SourceType, source_type_for

__all__ = ["LabelResult", "Labels", "SourceType", "carry_packet", "read_labels", "source_type_for", "write_labels"]
