"""Where data and keys live when nobody says otherwise.

Data (ledger, library index) and keys have different homes on purpose: the WebUI serves everything under its data
directory through ``/file=``, so keys must never be in there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

APPLICATION = "provenance-guard"
DATA_VARIABLE = "PROVENANCE_GUARD_DATA"
KEYS_VARIABLE = "PROVENANCE_GUARD_KEYS"
POLICY_VARIABLE = "PROVENANCE_GUARD_POLICY"


def data_directory() -> Path:
    """The folder of ledger and library: ``$PROVENANCE_GUARD_DATA``, else the operating system's per-user data folder."""
    return _chosen(DATA_VARIABLE) or _home_for(
        windows="LOCALAPPDATA", linux="XDG_DATA_HOME", linux_default=".local/share"
    )


def key_directory() -> Path:
    """The folder of keys: ``$PROVENANCE_GUARD_KEYS``, else ``keys`` in the per-user configuration folder."""
    chosen = _chosen(KEYS_VARIABLE)
    return chosen or _home_for(windows="APPDATA", linux="XDG_CONFIG_HOME", linux_default=".config") / "keys"


def policy_file() -> Path | None:
    """The studio's policy named by ``$PROVENANCE_GUARD_POLICY``, or None."""
    return _chosen(POLICY_VARIABLE)


def _chosen(variable: str) -> Path | None:
    value = os.environ.get(variable, "").strip()
    return Path(value).expanduser().absolute() if value else None


def _home_for(*, windows: str, linux: str, linux_default: str) -> Path:
    if sys.platform == "win32":
        base = Path(os.environ.get(windows) or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get(linux) or Path.home() / linux_default)
    return base / APPLICATION
