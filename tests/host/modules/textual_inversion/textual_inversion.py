"""Textual inversion embeddings."""

from __future__ import annotations


class Embedding:
    def __init__(self, name: str, filename: str) -> None:
        self.name = name
        self.filename = filename


class EmbeddingDatabase:
    def __init__(self) -> None:
        self.word_embeddings: dict[str, Embedding] = {}
