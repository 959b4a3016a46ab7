"""Command-line flags of the WebUI: where a studio's policy, the data and the keys are. Read by ``webui/configuration.py``."""

from __future__ import annotations

import argparse
from pathlib import Path


def preload(parser: argparse.ArgumentParser) -> None:
    """Called by the WebUI before it reads its command line."""
    parser.add_argument(
        "--provenance-policy",
        type=Path,
        metavar="FILE",
        help="Provenance Guard: the policy (TOML) that every picture must pass; keep it outside the WebUI's folder",
    )
    parser.add_argument(
        "--provenance-data",
        type=Path,
        metavar="DIR",
        help="Provenance Guard: folder of the ledger and the reference library",
    )
    parser.add_argument(
        "--provenance-keys",
        type=Path,
        metavar="DIR",
        help="Provenance Guard: folder of the signing and watermark keys; never inside the WebUI's folder",
    )
