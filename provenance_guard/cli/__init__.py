"""The command line: parse, run one verb, turn errors into one sentence and an exit code."""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from collections.abc import Sequence

from provenance_guard.cli.arguments import build_parser
from provenance_guard.cli.exit_codes import INTERRUPTED
from provenance_guard.cli.output import complain, forgive_encodings, print_json
from provenance_guard.errors import GuardError

_MODULES = {
    "guard": "guarding",
    "watch": "guarding",
    "demo": "guarding",
    "screen": "screening",
    "index": "screening",
    "library": "screening",
    "mark": "marking",
    "detect": "marking",
    "keys": "keeping",
    "quarantine": "quarantining",
    "log": "reading",
    "show": "reading",
    "verify": "reading",
    "export": "exporting",
    "checkpoint": "checkpointing",
    "ledger": "upkeep",
    "doctor": "tending",
    "ui": "tending",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code (see ``arguments.EPILOG``)."""
    forgive_encodings()
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if arguments.verbose else logging.ERROR,
        format="%(levelname)s %(name)s: %(message)s",
    )
    try:
        module = importlib.import_module(f"provenance_guard.cli.{_MODULES[arguments.verb]}")
        return int(getattr(module, arguments.verb)(arguments))
    except GuardError as error:
        return _fail(error, as_json=arguments.json, verbose=arguments.verbose)
    except ModuleNotFoundError as error:
        missing = GuardError(
            f"A required package is not installed ({error.name}).",
            next_step="Run this command through run.py, or install the project with: python -m pip install .",
        )
        return _fail(missing, as_json=arguments.json, verbose=arguments.verbose)
    except KeyboardInterrupt:
        complain("Interrupted.")
        return INTERRUPTED


def _fail(error: GuardError, *, as_json: bool, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    if as_json:
        print_json({"error": error.message, "next_step": error.next_step})
    complain(f"Error: {error}")
    return error.exit_code
