"""``log import``: existing pictures are taken into the ledger."""

from __future__ import annotations

import argparse
from collections import Counter

from provenance_guard.backfill import OUTCOMES, find_outputs, import_pictures
from provenance_guard.cli.configuration import read_config
from provenance_guard.cli.exit_codes import ERROR, FINE
from provenance_guard.cli.output import complain, print_json, print_table, progress_callback
from provenance_guard.errors import UsageError
from provenance_guard.guard import Guard


def import_outputs(arguments: argparse.Namespace) -> int:
    """``log import DIR...``: exit 1 when a file could not be read; the others are taken in all the same."""
    if not arguments.folders:
        raise UsageError("There is nothing to import.", next_step="Name a folder: log import DIR")
    sources = find_outputs(arguments.folders)
    with Guard(read_config(arguments)) as door:
        try:
            outcomes = import_pictures(sources, door, progress_callback("import"))
        except KeyboardInterrupt:
            complain("Interrupted. What was taken in is safe; the same command goes on from there.")
            raise
    counts: Counter[str] = Counter(outcome.outcome for outcome in outcomes)
    if arguments.json:
        print_json({"pictures": [outcome.to_json() for outcome in outcomes], "summary": dict(counts)})
    else:
        unreadable = [outcome for outcome in outcomes if outcome.outcome == "unreadable"]
        if unreadable:
            print_table(("not readable", "why"), [(str(outcome.source), outcome.reason) for outcome in unreadable])
            print()
        print(", ".join(f"{counts[name]} {name}" for name in OUTCOMES if counts[name]))
    return ERROR if counts["unreadable"] else FINE
