"""Where the host's things are. Tests point ``data_path`` to a folder of their own."""

from __future__ import annotations

script_path = ""
data_path = ""
models_path = ""
