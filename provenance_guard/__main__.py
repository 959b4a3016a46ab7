"""``python -m provenance_guard``: the command line."""

from __future__ import annotations

import sys

from provenance_guard.cli import main

sys.exit(main())
