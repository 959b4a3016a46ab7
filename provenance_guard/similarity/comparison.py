"""What verification found for one candidate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from provenance_guard.similarity.alignment import Agreement
from provenance_guard.similarity.calibration import Evidence
from provenance_guard.similarity.geometry import Model
from provenance_guard.similarity.normalise import NormalPicture
from provenance_guard.similarity.references import Notice


@dataclass(frozen=True)
class Semantic:
    """How alike two pictures are to a trained model: the ``cosine`` of their embeddings, and how far that is ``above`` what the
    picture reaches with unrelated ones."""

    cosine: float
    above: float


@dataclass(frozen=True)
class Comparison:
    """The outcome for one candidate: ``file`` is where it lies, ``notice`` what is said of it. ``model`` and ``agreement`` are None
    when nothing could be laid over the picture."""

    file: Path
    notice: Notice
    evidence: Evidence
    probability: float
    model: Model | None
    agreement: Agreement | None
    semantic: Semantic | None
    orientation: str
    reference: NormalPicture


def with_agreement(evidence: Evidence, agreement: Agreement) -> Evidence:
    """The evidence of a model completed by how the aligned pictures agree."""
    return replace(
        evidence,
        correlation=agreement.correlation,
        best_correlation=agreement.best_correlation,
        agreeing=agreement.agreeing,
        windows=agreement.windows,
        share_query=agreement.share_query,
        share_reference=agreement.share_reference,
    )
