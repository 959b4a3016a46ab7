"""Where the loaded embeddings are found."""

from __future__ import annotations

from modules.textual_inversion.textual_inversion import EmbeddingDatabase


class StableDiffusionModelHijack:
    def __init__(self) -> None:
        self.embedding_db = EmbeddingDatabase()


model_hijack = StableDiffusionModelHijack()
