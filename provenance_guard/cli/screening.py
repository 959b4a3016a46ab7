"""The verbs of the reference library: index, library, screen."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provenance_guard import pictures
from provenance_guard.batch import find_pictures
from provenance_guard.cli.configuration import read_config
from provenance_guard.cli.exit_codes import BLOCKED, ERROR, FINE
from provenance_guard.cli.output import complain, print_json, print_table, progress_callback, track
from provenance_guard.errors import GuardError
from provenance_guard.files import write_atomically
from provenance_guard.guard import Guard
from provenance_guard.similarity import SyncReport, Verdict, describe_notice


def index(arguments: argparse.Namespace) -> int:
    """``index DIR``."""
    with Guard(read_config(arguments, references=[arguments.folder])) as door:
        report = door.library.sync(arguments.folder, progress=progress_callback("index"))
    if arguments.json:
        print_json(_plain(dataclasses.asdict(report)))
    else:
        print(
            f"{arguments.folder}: {report.added} added, {report.updated} updated, {report.removed} removed, "
            f"{report.unchanged} unchanged, {len(report.unreadable)} not readable"
        )
        _print_unreadable(report)
    return FINE


def library(arguments: argparse.Namespace) -> int:
    """``library``."""
    with Guard(read_config(arguments)) as door:
        status = door.library.status()
    document = _plain(dataclasses.asdict(status))
    if arguments.json:
        print_json(document)
        return FINE
    print_table(("what", "value"), [(name.replace("_", " "), _words(value)) for name, value in document.items()])
    return FINE


def screen(arguments: argparse.Namespace) -> int:
    """``screen PICTURES... --references DIR``: exit 3 when the policy would block one of them."""
    config = read_config(arguments, references=arguments.references)
    results: list[dict[str, Any]] = []
    with Guard(config) as door:
        door.sync_references(progress_callback("references"))
        for path in track(find_pictures(arguments.pictures), "screen"):
            results.append(_screen_one(door, path, arguments.explain))
    if arguments.json:
        print_json({"pictures": results})
    else:
        print_table(("picture", "verdict", "probability", "what was found"), map(_row, results))
    levels = {result.get("level") for result in results}
    if any("error" in result for result in results):
        return ERROR
    return BLOCKED if config.policy.withholds_copies and "near_copy" in levels else FINE


def _screen_one(door: Guard, path: Path, explain: Path | None) -> dict[str, Any]:
    try:
        image = pictures.open_picture(path, animated="first").image
        verdict = door.screen(image)
        result = {"picture": str(path), **verdict.to_json()}
        if explain and verdict.matches:
            result["explanation"] = str(_write_explanation(image, verdict, explain / f"{path.name}.why.png"))
        return result
    except GuardError as error:
        complain(f"Error: {error}")
        return {"picture": str(path), "error": str(error)}


def _write_explanation(image: Any, verdict: Verdict, target: Path) -> Path:
    from provenance_guard.similarity.explain import explain_match

    write_atomically(target, explain_match(image, verdict.matches[0]))
    return target


def _row(result: dict[str, Any]) -> tuple[str, str, str, str]:
    name = Path(result["picture"]).name
    if "error" in result:
        return name, "not read", "", result["error"]
    gravest = next(iter(result["matches"]), None)
    level = result["level"].replace("_", " ")
    notes = "; ".join(result.get("notes", ()))
    if gravest is None:
        return name, level, "", notes
    found = filter(None, (gravest["summary"], describe_notice(gravest["notice"])))
    return name, level, f"{gravest['probability']:.2f}", "; ".join(found)


def _print_unreadable(report: SyncReport) -> None:
    for path, reason in report.unreadable:
        print(f"  not readable: {path}: {reason}")


def _plain(value: Any) -> Any:
    """Dataclass content as JSON values: paths as text, tuples as lists."""
    convert: Callable[[Any], Any] = _plain
    if isinstance(value, dict):
        return {str(key): convert(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [convert(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def _words(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(map(_words, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_words(entry)}" for key, entry in value.items())
    return str(value)
