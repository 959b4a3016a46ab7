"""The type of what JSON can hold, for everything that is written down."""

from __future__ import annotations

from typing import Union

Json = Union[None, bool, int, float, str, "list[Json]", "dict[str, Json]"]
