"""The state of the running job."""

from __future__ import annotations

from typing import Any


class State:
    interrupted = False
    skipped = False
    stopping_generation = False
    job = ""
    job_no = 0
    job_count = 0
    processing_has_refined_job_count = False
    sampling_step = 0
    sampling_steps = 0
    current_latent: Any = None
    textinfo: str | None = None
    current_image: Any = None
    id_live_preview = 0

    def begin(self, job: str = "(unknown)") -> None:
        self.current_image = None
        self.id_live_preview = 0
        self.interrupted = self.skipped = False
        self.textinfo = None
        self.job = job

    def assign_current_image(self, image: Any) -> None:
        self.current_image = image
        self.id_live_preview += 1
