"""The verbs that read what was recorded: log, show, verify."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from itertools import islice
from typing import Any

from provenance_guard.cli.configuration import read_config
from provenance_guard.cli.exit_codes import ERROR, FINE
from provenance_guard.cli.output import print_json, print_table, track
from provenance_guard.cli.times import read_time
from provenance_guard.errors import UsageError
from provenance_guard.ledger import Event, Ledger
from provenance_guard.ledger.opening import opened_body
from provenance_guard.ledger.search import in_field
from provenance_guard.review.records import as_lines, complete_record_id

_ID_DIGITS = 32
_FILTERS = {"decision": "action"}
"""Options of ``log`` whose search field has another name."""
_FILTER_OPTIONS = ("model", "lora", "seed", "parent", "verdict", "decision", "user", "file")


def log(arguments: argparse.Namespace) -> int:
    """``log``: the newest events, or those that are searched for; ``log import DIR`` takes in existing pictures."""
    if arguments.action == "import":
        from provenance_guard.cli.importing import import_outputs

        return import_outputs(arguments)
    since = read_time(arguments.since, "--since") if arguments.since else None
    until = read_time(arguments.until, "--until", end=True) if arguments.until else None
    words, filters = _search_terms(arguments)
    config = read_config(arguments)
    with Ledger.open_read_only(config.ledger_path) as ledger:
        if words or filters:
            events = ledger.search(words, filters, since=since, until=until, limit=arguments.limit)
        elif arguments.picture:
            from provenance_guard.guard import Guard
            from provenance_guard.review.verification import identify_record

            record_id = identify_record(arguments.picture, Guard(config))
            found: Iterable[Event] = (
                ledger.events(since=since, until=until, record_id=record_id, newest_first=True) if record_id else ()
            )
            events = list(islice(found, arguments.limit))
        else:
            events = list(islice(ledger.events(since=since, until=until, newest_first=True), arguments.limit))
    if arguments.json:
        print_json({"events": [_event_json(event) for event in events]})
    elif events:
        print_table(("number", "time", "event", "record", "what"), map(_event_row, events))
    elif words or filters:
        print("Nothing that is recorded fits. Give fewer words; light* finds every word that begins so.")
    else:
        print("Nothing is recorded about this picture." if arguments.picture else "Nothing is recorded yet.")
    return FINE


def _search_terms(arguments: argparse.Namespace) -> tuple[str, dict[str, list[str]]]:
    """The words and filters of ``log``. Raises UsageError when they cannot be combined, or have nothing to look for."""
    filters = {_FILTERS.get(name, name): values for name in _FILTER_OPTIONS if (values := getattr(arguments, name))}
    for name, values in (*filters.items(), ("prompt", [arguments.prompt] if arguments.prompt is not None else [])):
        if not all(any(map(str.isalnum, value)) for value in values):
            raise UsageError(f"--{name} has no word to look for.", next_step="Give letters or digits.")
    if arguments.picture and (filters or arguments.prompt):
        raise UsageError("--picture names one picture already.", next_step="Leave the other filters out.")
    filters["parent"] = [value if len(value) >= _ID_DIGITS else f"{value}*" for value in filters.get("parent", ())]
    return in_field("prompt", arguments.prompt or ""), {name: values for name, values in filters.items() if values}


def show(arguments: argparse.Namespace) -> int:
    """``show RECORD``: everything that the ledger holds about one record."""
    config = read_config(arguments)
    with Ledger.open_read_only(config.ledger_path) as ledger:
        record_id = complete_record_id(ledger, arguments.record)
        events = list(ledger.events(record_id=record_id))
    if arguments.json:
        print_json({"record_id": record_id, "events": [_event_json(event) for event in events]})
        return FINE
    for event in events:
        print(f"event {event.seq}  {event.time}  {event.type}")
        for line in as_lines(opened_body(event)):
            print(f"  {line}")
    return FINE


def verify(arguments: argparse.Namespace) -> int:
    """``verify FILES...``: exit 1 when something that could be checked does not hold."""
    from provenance_guard.batch import find_pictures
    from provenance_guard.guard import Guard
    from provenance_guard.review.dossier_check import is_dossier
    from provenance_guard.review.trust import read_trust
    from provenance_guard.review.verification import Verification, verify_file

    trust = read_trust(
        keys=arguments.key, roots=arguments.roots, witnesses=arguments.witness, checkpoints=arguments.checkpoint
    )
    results: list[Verification] = []
    with Guard(read_config(arguments)) as door:
        named = [path for one in arguments.pictures for path in ([one] if is_dossier(one) else find_pictures([one]))]
        for path in track(named, "verify"):
            results.append(verify_file(path, door, trust))
    if arguments.json:
        print_json({"pictures": [result.to_json() for result in results]})
    else:
        for result in results:
            print(f"{result.path}")
            print_table(
                ("", "verdict", "why"),
                [(finding.subject, finding.verdict, finding.sentence) for finding in result.findings],
            )
            print()
    return FINE if all(result.holds for result in results) else ERROR


def _event_json(event: Event) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "time": event.time,
        "type": event.type,
        "record_id": event.record_id,
        "leaf_hash": event.leaf_hash.hex(),
        "body": opened_body(event),
    }


def _event_row(event: Event) -> tuple[str, str, str, str, str]:
    return str(event.seq), event.time, event.type, (event.record_id or "")[:14], _what(event)


def _what(event: Event) -> str:
    """The few words that tell one event from another."""
    body = opened_body(event)
    record = body.get("record") or {}
    if record:
        context, decision = record.get("context") or {}, record.get("decision") or {}
        reasons = "; ".join(decision.get("reasons") or ())
        return " ".join(filter(None, (context.get("source_name"), decision.get("action"), reasons)))
    if name := body.get("file_name"):
        return str(name)
    prompt = ((body.get("context") or {}).get("parameters") or {}).get("prompt")
    return str(prompt)[:80] if prompt else ""
