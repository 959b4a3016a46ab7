"""The verb that looks after the ledger: prune, erase, backup, restore, recover."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from provenance_guard.cli.configuration import read_config
from provenance_guard.cli.exit_codes import ERROR, FINE
from provenance_guard.cli.output import complain, print_json
from provenance_guard.cli.times import read_time
from provenance_guard.clock import utc_now
from provenance_guard.config import Config
from provenance_guard.errors import LedgerError, UsageError
from provenance_guard.ledger import Ledger, recover_ledger
from provenance_guard.ledger.upkeep import erase_events, leftovers, prunable_events, restore_ledger
from provenance_guard.signing import Signer


def ledger(arguments: argparse.Namespace) -> int:
    """``ledger ACTION``."""
    actions = {"prune": _prune, "erase": _erase, "backup": _back_up, "restore": _restore, "recover": _recover}
    return actions[arguments.action](arguments, read_config(arguments))


def _prune(arguments: argparse.Namespace, config: Config) -> int:
    before = _moment(arguments)
    with _open(config) as opened:
        seqs = prunable_events(opened, before)
        asked = f"The content of {len(seqs)} events from before {before:%Y-%m-%d %H:%M} UTC will be gone for good."
        return _erase_asked(arguments, opened, seqs, asked, arguments.reason or "pruned by age")


def _erase(arguments: argparse.Namespace, config: Config) -> int:
    from provenance_guard.gate.quarantine import SUFFIX
    from provenance_guard.review.erasure import events_of_user, personal_events
    from provenance_guard.review.records import complete_record_id

    if bool(arguments.records) == (arguments.user is not None):
        raise UsageError("Say whose data is to be erased.", next_step="Give record ids, or --user NAME.")
    with _open(config) as opened:
        records = [complete_record_id(opened, prefix) for prefix in arguments.records]
        runs: list[int] = []
        if arguments.user is not None:
            records, runs = events_of_user(opened, arguments.user)
        seqs = sorted({*personal_events(opened, records), *runs})
        asked = f"Everything that {len(seqs)} events say about {len(records)} record(s) will be gone for good."
        kept = [path for record in records if (path := config.quarantine_path / f"{record}{SUFFIX}").exists()]
        return _erase_asked(arguments, opened, seqs, asked, arguments.reason or "personal data", kept=kept)


def _erase_asked(
    arguments: argparse.Namespace,
    opened: Ledger,
    seqs: list[int],
    asked: str,
    reason: str,
    *,
    kept: Sequence[Path] = (),
) -> int:
    if seqs:
        _confirm(f"{asked} Their places in the tree stay, so the ledger remains verifiable.", arguments)
        erase_events(opened, seqs, reason)
    left = [str(path) for path in (*kept, *(leftovers(opened.path) if seqs else ()))]
    if arguments.json:
        print_json({"erased": len(seqs), "events": seqs, "may_still_hold_it": left})
        return FINE
    print(f"{len(seqs)} events erased." if seqs else "There is nothing to erase.")
    if seqs:
        print("Sidecars, exports and backups elsewhere are beyond this program's reach.")
    for path in left:
        print(f"It may still be in {path}: {_how_to_remove(path)}.")
    return FINE


def _how_to_remove(path: str) -> str:
    if path.endswith("-wal"):
        return "close the programs that use the ledger"
    return "delete that file" if path.endswith(".sqlite3") else "use `quarantine destroy`"


def _back_up(arguments: argparse.Namespace, config: Config) -> int:
    target: Path = arguments.file
    if target.exists() and not arguments.force:
        raise UsageError(f"{target} exists already.", next_step="Name another file, or use --force.")
    with Ledger.open_read_only(config.ledger_path) as opened:
        opened.back_up(target)
    with Ledger.open_read_only(target) as copy:
        size = copy.size
    return _report(arguments, {"written": str(target), "events": size}, f"{size} events are in {target}.")


def _restore(arguments: argparse.Namespace, config: Config) -> int:
    target = config.ledger_path
    if target.exists():
        _confirm(f"The ledger {target} will be replaced by {arguments.file}; it is kept beside it.", arguments)
    done = restore_ledger(arguments.file, target, _signer(config), force=arguments.force)
    told = f"{done.after} events restored."
    if done.kept:
        told += f" The ledger that was there ({_counted(done.before)}) is kept as {done.kept}."
    kept = str(done.kept) if done.kept else None
    return _report(arguments, {"events": done.after, "events_before": done.before, "kept": kept}, told)


def _recover(arguments: argparse.Namespace, config: Config) -> int:
    source: Path = arguments.source or config.ledger_path
    saved = recover_ledger(source, arguments.file)
    lost = [f"{gap.start}-{gap.stop - 1}" if len(gap) > 1 else str(gap.start) for gap in saved.lost]
    document = {
        "written": str(saved.path),
        "kept": saved.kept,
        "lost": lost,
        "without_content": list(saved.without_content),
        "continues": saved.continues,
    }
    lines = [f"{saved.kept} events of {source} were saved into {saved.path}."]
    lines.append(f"Lost: event(s) {', '.join(lost)}." if lost else "No event is lost.")
    if saved.without_content:
        lines.append(f"{len(saved.without_content)} event(s) left only their hash, erased ones among them.")
    if saved.continues:
        lines.append("It can be continued: put it in the place of the damaged one.")
    else:
        lines.append("It can be read and verified, but not continued: keep it, and begin a new ledger.")
    _report(arguments, document, "\n".join(lines))
    return ERROR if lost else FINE


def _report(arguments: argparse.Namespace, document: dict[str, Any], told: str) -> int:
    if arguments.json:
        print_json(document)
    else:
        print(told)
    return FINE


def _open(config: Config) -> Ledger:
    if not config.ledger_path.exists():
        raise LedgerError(f"There is no ledger at {config.ledger_path}.", next_step="Check --data.")
    return Ledger.open(config.ledger_path, _signer(config), create=False)


def _signer(config: Config) -> Signer:
    return Signer.open(config.key_directory, create=not config.ledger_path.exists())


def _moment(arguments: argparse.Namespace) -> datetime:
    if (arguments.before is None) == (arguments.older_than is None):
        raise UsageError("Say how old content must be to go.", next_step="Give --older-than DAYS or --before DATE.")
    if arguments.before is not None:
        return read_time(arguments.before, "--before")
    try:
        return utc_now() - timedelta(days=arguments.older_than)
    except OverflowError:
        raise UsageError("--older-than is no number of days.", next_step="Write 365 for a year.") from None


def _confirm(text: str, arguments: argparse.Namespace) -> None:
    """Ask a person before something is destroyed. Raises UsageError when nobody says yes."""
    if arguments.yes:
        return
    complain(text)
    if not sys.stdin.isatty():
        raise UsageError("Nobody is here to be asked, so nothing was done.", next_step="Use --yes to do it.")
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("Nothing was done.", next_step="Answer y, or use --yes.")


def _counted(size: int | None) -> str:
    return "damaged" if size is None else f"{size} events"
