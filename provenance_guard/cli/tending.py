"""The verbs that look after the installation: doctor, ui."""

from __future__ import annotations

import argparse
import dataclasses

from provenance_guard.cli.configuration import read_config
from provenance_guard.cli.exit_codes import ERROR, FINE
from provenance_guard.cli.output import print_json, print_table
from provenance_guard.errors import ConfigError


def doctor(arguments: argparse.Namespace) -> int:
    """``doctor``: exit 1 when something needs somebody to act."""
    from provenance_guard.review.health import Check, examine

    try:
        checks = examine(read_config(arguments))
    except ConfigError as error:
        checks = [Check("policy", "problem", str(error))]
    if arguments.json:
        print_json({"checks": [dataclasses.asdict(check) for check in checks]})
    else:
        print_table(("what", "state", "finding"), [(check.subject, check.state, check.sentence) for check in checks])
    return ERROR if any(check.state == "problem" for check in checks) else FINE


def ui(arguments: argparse.Namespace) -> int:
    """``ui``: serve the page on this computer until Ctrl-C."""
    from provenance_guard.guard import Guard
    from provenance_guard.ui import launch

    with Guard(read_config(arguments)) as door:
        launch(door, port=arguments.port, open_browser=not arguments.no_browser)
    return FINE
