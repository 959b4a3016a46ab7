"""The verb of the reviewer: quarantine list, show, release, destroy."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

from provenance_guard.cli.configuration import read_config
from provenance_guard.cli.exit_codes import FINE
from provenance_guard.cli.output import print_json, print_table
from provenance_guard.errors import UsageError
from provenance_guard.files import write_atomically
from provenance_guard.gate.quarantine import Case, Entry
from provenance_guard.guard import Guard
from provenance_guard.review import releasing
from provenance_guard.similarity import describe_notice


def quarantine(arguments: argparse.Namespace) -> int:
    """``quarantine list|show|release|destroy``."""
    if arguments.action != "list" and not arguments.record:
        raise UsageError(
            f"`quarantine {arguments.action}` needs a record.", next_step="`quarantine list` shows what is kept."
        )
    with Guard(read_config(arguments)) as guard:
        action = {"list": _list, "show": _show, "release": _release, "destroy": _destroy}[arguments.action]
        return action(guard, arguments)


def _list(guard: Guard, arguments: argparse.Namespace) -> int:
    entries = guard.quarantine.entries()
    if arguments.json:
        print_json({"pictures": [_entry_json(entry) for entry in entries]})
    elif entries:
        print_table(("record", "withheld at", "size", "why"), map(_row, entries))
    else:
        print("No picture is kept.")
    return FINE


def _show(guard: Guard, arguments: argparse.Namespace) -> int:
    case = releasing.open_case(guard, arguments.record)
    written = _write_out(case, arguments.out) if arguments.out else {}
    if arguments.json:
        print_json({**_entry_json(case.entry), "record": dict(case.entry.record), **written})
        return FINE
    print(f"{case.entry.record_id}, withheld at {case.entry.time}")
    for reason in case.entry.reasons:
        print(f"  {reason}")
    for match in (case.entry.record.get("verdict") or {}).get("matches") or ():
        print(f"  {match['reference']}: {describe_notice(match.get('notice') or {}) or 'nothing is said of it'}")
    for what, path in written.items():
        print(f"{what}: {path}")
    if not written:
        print("--out DIR writes the picture and what matched, unmarked and unencrypted, for you to look at.")
    return FINE


def _release(guard: Guard, arguments: argparse.Namespace) -> int:
    freed = releasing.release_picture(
        guard, arguments.record, reviewer=arguments.reviewer, reason=arguments.reason, folder=arguments.out
    )
    if arguments.json:
        print_json(freed.to_json())
    else:
        print(f"Released as {freed.path}, record {freed.release.record.id}.")
    return FINE


def _destroy(guard: Guard, arguments: argparse.Namespace) -> int:
    record_id = releasing.destroy_picture(guard, arguments.record, reviewer=arguments.reviewer, reason=arguments.reason)
    if arguments.json:
        print_json({"record_id": record_id, "destroyed": True})
    else:
        print(f"Destroyed {record_id}. What the ledger says about it stays.")
    return FINE


def _write_out(case: Case, folder: Path) -> dict[str, str]:
    """The original and the evidence as files that only their owner can read."""
    stream = io.BytesIO()
    case.image.save(stream, "PNG")
    written = {"picture": folder / f"{case.entry.record_id}.png"}
    write_atomically(written["picture"], stream.getvalue(), private=True)
    if case.evidence:
        written["evidence"] = folder / f"{case.entry.record_id}.why.png"
        write_atomically(written["evidence"], case.evidence, private=True)
    return {what: str(path) for what, path in written.items()}


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "record_id": entry.record_id,
        "time": entry.time or None,
        "bytes": entry.bytes,
        "reasons": list(entry.reasons),
        "problem": entry.problem or None,
    }


def _row(entry: Entry) -> tuple[str, str, str, str]:
    why = entry.problem or " ".join(entry.reasons)
    return entry.record_id, entry.time, f"{entry.bytes / 1e6:.1f} MB", why
