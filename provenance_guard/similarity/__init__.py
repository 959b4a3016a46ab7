"""The near-copy screen: compare a picture with the user's references."""

from __future__ import annotations

from provenance_guard.similarity.embedding import Embedder, EmbeddingAbsence, load_embedder
from provenance_guard.similarity.explain import explain_match
from provenance_guard.similarity.indexing import SyncReport
from provenance_guard.similarity.library import Library, LibraryStatus
from provenance_guard.similarity.references import Notice, describe_notice
from provenance_guard.similarity.scores import Dimensions, Geometry, Match, Verdict

__all__ = [
    "Dimensions",
    "Embedder",
    "EmbeddingAbsence",
    "Geometry",
    "Library",
    "LibraryStatus",
    "Match",
    "Notice",
    "SyncReport",
    "Verdict",
    "describe_notice",
    "explain_match",
    "load_embedder",
]
