"""The verbs that pass pictures through the whole door: guard, watch, demo."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from provenance_guard.batch import OUTCOMES, Batch, Outcome, find_pictures, watch_folder
from provenance_guard.cli.configuration import read_config
from provenance_guard.cli.exit_codes import BLOCKED, ERROR, FINE
from provenance_guard.cli.output import complain, print_json, print_table, progress_callback, track
from provenance_guard.config import Config
from provenance_guard.errors import GuardError, OutputError, UsageError
from provenance_guard.guard import Guard
from provenance_guard.review.records import describe_mark

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def guard(arguments: argparse.Namespace) -> int:
    """``guard PICTURES... --references DIR --out DIR``."""
    config = read_config(arguments, references=arguments.references)
    outcomes = _guard_pictures(config, find_pictures(arguments.pictures), arguments.out, resume=arguments.resume)
    _report(outcomes, as_json=arguments.json)
    return _exit_code(outcomes)


def demo(arguments: argparse.Namespace) -> int:
    """``demo``: the whole job on the project's own pictures. A blocked one is what the demo wants to show: exit 0."""
    if not EXAMPLES.is_dir():
        raise GuardError("The demo's pictures are not here.", next_step="Run the demo from a checkout of the project.")
    out: Path = arguments.out
    arguments.data, arguments.keys = out / "data", out / "keys"  # The demo must not touch the user's own ledger.
    arguments.policy = arguments.policy or EXAMPLES / "policy.toml"
    config = read_config(arguments, references=[EXAMPLES / "references"])
    outcomes = _guard_pictures(config, find_pictures([EXAMPLES / "generated"]), out, resume=False)
    _report(outcomes, as_json=arguments.json)
    if not arguments.json:
        print(f"\nMarked copies and sidecars are in {out}; the withheld ones are not.")
        print(f"Look at one:    python run.py verify {_quote(_first_output(outcomes, out))} {_folders(out)}")
        print(f"Open the page:  python run.py ui {_folders(out)}")
    return ERROR if any(outcome.outcome == "failed" for outcome in outcomes) else FINE


def watch(arguments: argparse.Namespace) -> int:
    """``watch DIR``: runs until Ctrl-C."""
    config = read_config(arguments, references=arguments.references)
    folder: Path = arguments.folder
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", next_step="Name the folder in which pictures appear.")
    out = arguments.out or folder / "guarded"
    outcomes: list[Outcome] = []
    with _open_guard(config) as door:
        batch = Batch(door, _writable(out), origin="watch")
        complain(f"Watching {folder}; copies that may leave go to {out}. Stop with Ctrl-C.")
        try:
            for path in watch_folder(folder, include_present=arguments.present):
                outcomes.append(batch.guard_file(path))
                if not arguments.json:
                    print("  ".join(_row(outcomes[-1])), flush=True)
        except KeyboardInterrupt:
            complain("Stopped.")
    if arguments.json:
        _report(outcomes, as_json=True)
    return _exit_code(outcomes)


def _guard_pictures(config: Config, pictures: list[Path], out: Path, *, resume: bool) -> list[Outcome]:
    outcomes: list[Outcome] = []
    with _open_guard(config) as door:
        batch = Batch(door, _writable(out), resume=resume)
        try:
            for path in track(pictures, "guard"):
                outcomes.append(batch.guard_file(path))
        except KeyboardInterrupt:
            complain(f"Interrupted after {len(outcomes)} of {len(pictures)}. Go on with: the same command and --resume")
            raise
    return outcomes


def _open_guard(config: Config) -> Guard:
    door = Guard(config)
    try:
        door.sync_references(progress_callback("references"))
    except GuardError as error:
        if config.policy.on_error == "warn":
            complain(f"Warning: {error}")
        else:
            door.close()
            raise
    return door


def _writable(folder: Path) -> Path:
    """``folder``, made when missing. Raises OutputError now, rather than after an hour of work."""
    probe = folder / ".provenance-guard-probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"Nothing can be written into {folder} ({error.strerror}).", next_step="Choose another folder for --out."
        ) from error
    return folder


def _report(outcomes: list[Outcome], *, as_json: bool) -> None:
    counts = Counter(outcome.outcome for outcome in outcomes)
    if as_json:
        summary = {name: counts[name] for name in OUTCOMES if counts[name]}
        print_json({"pictures": [outcome.to_json() for outcome in outcomes], "summary": summary})
        return
    print_table(("picture", "outcome", "verdict", "mark", "why"), (_row(outcome) for outcome in outcomes))
    print("\n" + ", ".join(f"{counts[name]} {name}" for name in OUTCOMES if counts[name]))


def _row(outcome: Outcome) -> tuple[str, str, str, str, str]:
    release = outcome.release
    verdict = release.verdict if release else None
    return (
        outcome.source.name,
        outcome.outcome,
        verdict.level.replace("_", " ") if verdict else "",
        describe_mark(release.record.mark) if release and outcome.output else "",
        _why(outcome),
    )


def _why(outcome: Outcome) -> str:
    if outcome.error:
        return str(outcome.error)
    reasons = list(outcome.release.decision.reasons) if outcome.release else []
    sealed = outcome.sealed
    problems = [*sealed.failures, *sealed.notes] if sealed else []
    return "; ".join([*reasons, *problems, *outcome.notes])


def _exit_code(outcomes: Iterable[Outcome]) -> int:
    kinds = {outcome.outcome for outcome in outcomes}
    return ERROR if "failed" in kinds else BLOCKED if "blocked" in kinds else FINE


def _first_output(outcomes: list[Outcome], out: Path) -> Path:
    return next((outcome.output for outcome in outcomes if outcome.output), out)


def _folders(out: Path) -> str:
    return f"--data {_quote(out / 'data')} --keys {_quote(out / 'keys')}"


def _quote(path: Path) -> str:
    return f'"{path}"' if " " in str(path) else str(path)
