"""The invisible watermark: a blind, keyed block-DCT mark that carries 16 bytes."""

from __future__ import annotations

from provenance_guard.watermark.codec import Embedding, Watermarker
from provenance_guard.watermark.detector import Detection, Geometry
from provenance_guard.watermark.keys import Key, KeyRing
from provenance_guard.watermark.payload import Payload
from provenance_guard.watermark.perceptual import STRENGTHS, Strength

__all__ = ["STRENGTHS", "Detection", "Embedding", "Geometry", "Key", "KeyRing", "Payload", "Strength", "Watermarker"]
