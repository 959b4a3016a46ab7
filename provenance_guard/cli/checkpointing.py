"""The verb ``checkpoint``: sign the ledger's state, hand it out, have it dated, witness that of others."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from provenance_guard import files
from provenance_guard.cli.configuration import read_config
from provenance_guard.cli.exit_codes import ERROR, FINE
from provenance_guard.cli.output import complain, print_json, print_table
from provenance_guard.clock import utc_now
from provenance_guard.config import Config
from provenance_guard.errors import ConfigError, LedgerError, UsageError
from provenance_guard.ledger import Checkpoint, Ledger
from provenance_guard.ledger.anchors.acceptance import accept
from provenance_guard.ledger.anchors.anchor import Anchor, anchored_text
from provenance_guard.ledger.anchors.evidence import CheckpointBundle
from provenance_guard.ledger.anchors.keeping import kept_anchors, read_turn
from provenance_guard.ledger.anchors.queue import anchor_newest, is_due
from provenance_guard.ledger.witness import CosignRequest, Witness, WitnessBook
from provenance_guard.signing import Signer, read_public_key

WITNESS_FOLDER = "witness"


def checkpoint(arguments: argparse.Namespace) -> int:
    """``checkpoint [ACTION]``."""
    actions: dict[str, Callable[[argparse.Namespace, Config], int]] = {
        "make": _make,
        "list": _list,
        "export": _export,
        "stamp": _stamp,
        "add": _add,
        "cosign": _cosign,
        "refresh": _refresh,
    }
    return actions[arguments.action](arguments, read_config(arguments))


def _make(arguments: argparse.Namespace, config: Config) -> int:
    with _open(config) as ledger:
        newest = _newest(ledger)
    if arguments.json:
        print_json(_to_json(newest))
    else:
        print(f"Signed: the first {newest.size} events of {newest.origin}, root {newest.root.hex()}.")
        print("Keep it elsewhere with: checkpoint export --out FILE")
    return FINE


def _list(arguments: argparse.Namespace, config: Config) -> int:
    with Ledger.open_read_only(config.ledger_path) as ledger:
        checkpoints = ledger.checkpoints()
        anchors = kept_anchors(ledger)
        asked = config.settings.timestamping
        names = [*(authority.url for authority in asked.authorities), *asked.calendars]
        waiting = [
            {"authority": name, "due": bool(checkpoints) and is_due(ledger, name, checkpoints[-1])}
            | asdict(read_turn(ledger, name))
            for name in names
        ]
    known = sorted({a.size for a in anchors} | {one.size for one in checkpoints if _to_json(one)["witnesses"]})
    if arguments.json:
        listed = [
            _to_json(one)
            | {
                "anchors": [_about(a) for a in anchors if a.size == one.size],
                "covered_by": _covered_by(one.size, known),
            }
            for one in checkpoints
        ]
        print_json({"checkpoints": listed, "authorities": waiting})
        return FINE
    rows = []
    for one in checkpoints:
        dated = [f"{a.kind} {a.authority}" for a in anchors if a.size == one.size]
        later = _covered_by(one.size, known)
        others = f"covered by the one over {later} events" if later else "nobody outside"
        rows.append((str(one.size), one.root.hex()[:16], "; ".join([*dated, *_to_json(one)["witnesses"]]) or others))
    print_table(("events", "root", "known to"), rows)
    for turn in waiting:
        state = "has dated all there is" if not turn["due"] else turn["sentence"] or "is to be asked"
        print(f"{turn['authority']}: {state}")
    return FINE


def _export(arguments: argparse.Namespace, config: Config) -> int:
    with _open(config) as ledger:
        newest = _newest(ledger)
        bundle = CheckpointBundle(newest, tuple(kept_anchors(ledger, newest.size)))
        dated = _newest_dated(ledger)
        text = newest.text()
        if arguments.since is not None:
            if not 0 <= arguments.since <= newest.size:
                raise UsageError(f"--since is {arguments.since}.", next_step=f"Give a number from 0 to {newest.size}.")
            path = tuple(ledger.consistency_proof(arguments.since, newest.size))
            text = CosignRequest(arguments.since, path, newest).text()
    out: Path | None = arguments.out
    if out is not None:
        as_bundle = out.suffix == ".json"
        content = json.dumps(bundle.to_json(), indent=1) + "\n" if as_bundle else text
        files.write_atomically(out, content.encode("utf-8"))
    written = _write_tokens(arguments.tokens, dated) if arguments.tokens and dated else []
    if arguments.json:
        print_json(_to_json(newest) | {"file": str(out) if out else None, "text": text, "tokens": written})
    elif out is None:
        _print_text(text)
    else:
        print(
            f"The checkpoint over {newest.size} events is in {out}. Check a ledger against it: verify --checkpoint {out} LEDGER"
        )
    return FINE


def _stamp(arguments: argparse.Namespace, config: Config) -> int:
    asked = config.settings.timestamping
    if not asked.authorities and not asked.calendars:
        raise UsageError(
            "Nobody is configured who could be asked for the time.",
            next_step=f"Name authorities or calendars in {config.data_directory / 'settings.toml'}; docs/ledger.md tells how.",
        )
    with _open(config) as ledger:
        newest = _newest(ledger)
        outcomes = anchor_newest(ledger, asked, force=True)
    if arguments.json:
        print_json(_to_json(newest) | {"outcomes": [asdict(outcome) for outcome in outcomes]})
    else:
        rows = [(o.authority, o.result, str(o.size), " ".join(filter(None, (o.reason, o.sentence)))) for o in outcomes]
        print_table(("asked", "result", "events", "why"), rows)
    return ERROR if any(outcome.result == "failed" for outcome in outcomes) else FINE


def _add(arguments: argparse.Namespace, config: Config) -> int:
    try:
        configured = [Witness.parse(text) for text in config.settings.witnesses]
    except UsageError as error:
        raise ConfigError(config.data_directory / "settings.toml", error.message.rstrip(".")) from error
    witnesses = [*configured, *(Witness.parse(text) for text in arguments.witness)]
    text = _read_text(arguments.file)
    with _open(config) as ledger:
        accepted = accept(ledger, text, witnesses)
    if arguments.json:
        print_json(_to_json(accepted.checkpoint) | {"cosigned": [asdict(line) for line in accepted.lines]})
        return FINE
    print(f"The checkpoint over {accepted.checkpoint.size} events is kept with all signatures.")
    for line in accepted.lines:
        print(line.sentence)
    return FINE


def _cosign(arguments: argparse.Namespace, config: Config) -> int:
    request = CosignRequest.parse(_read_text(arguments.file))
    signer = Signer.open(config.key_directory)
    key = read_public_key(arguments.key) if arguments.key else None
    book = WitnessBook(config.key_directory / WITNESS_FOLDER)
    signed = book.cosign(request, arguments.name, signer, utc_now(), log_key=key)
    witness = Witness(arguments.name, signer.public_bytes)
    if arguments.out:
        files.write_atomically(arguments.out, signed.text().encode("utf-8"))
    if arguments.json:
        print_json(_to_json(signed) | {"witness_key": witness.text()})
        return FINE
    if arguments.out is None:
        _print_text(signed.text())
    else:
        print(f"You have signed {signed.size} events of {signed.origin}. Give {arguments.out} back to its owner.")
    complain(f"Others check your signature with this key: {witness.text()}")
    return FINE


def _refresh(arguments: argparse.Namespace, config: Config) -> int:
    from provenance_guard.review.refreshing import find_sidecars, refresh_sidecar

    results = []
    with Ledger.open_read_only(config.ledger_path) as ledger:
        results = [refresh_sidecar(path, ledger) for path in find_sidecars(arguments.sidecars)]
    if arguments.json:
        print_json({"sidecars": [result.to_json() for result in results]})
    else:
        print_table(("sidecar", "result", "why"), [(r.path.name, r.result, r.sentence) for r in results])
    return ERROR if any(result.result == "failed" for result in results) else FINE


@contextmanager
def _open(config: Config) -> Iterator[Ledger]:
    """The ledger, for writing, with its key; makes neither."""
    if not config.ledger_path.exists():
        raise LedgerError(f"There is no ledger at {config.ledger_path}.", next_step="Guard a picture first.")
    signer = Signer.open(config.key_directory, create=False)
    with Ledger.open(config.ledger_path, signer, create=False) as ledger:
        yield ledger


def _newest(ledger: Ledger) -> Checkpoint:
    newest = ledger.checkpoint()
    if newest is None:
        raise LedgerError("The ledger is empty.", next_step="Guard a picture first.")
    return newest


def _newest_dated(ledger: Ledger) -> CheckpointBundle | None:
    """The newest checkpoint that somebody has dated; the newest of all need not be."""
    anchors = kept_anchors(ledger)
    for one in reversed(ledger.checkpoints()):
        if mine := tuple(anchor for anchor in anchors if anchor.size == one.size):
            return CheckpointBundle(one, mine)
    return None


def _write_tokens(folder: Path, bundle: CheckpointBundle) -> list[str]:
    """The checkpoint as it was dated, the tokens, and the roots, each in a file that other programs read."""
    stem = f"checkpoint-{bundle.checkpoint.size}"
    content = {f"{stem}.txt": anchored_text(bundle.checkpoint)}
    for number, anchor in enumerate(bundle.anchors, 1):
        if anchor.kind == "rfc3161":
            content[f"{stem}-{number}.tsr"] = anchor.reply
            content[f"{stem}-{number}-roots.pem"] = "".join(anchor.roots).encode("ascii")
        else:
            content[f"{stem}.txt.{number}.ots"] = anchor.reply
    for name, data in content.items():
        files.write_atomically(folder / name, data)
    return [str(folder / name) for name in content]


def _to_json(one: Checkpoint) -> dict[str, Any]:
    witnesses = [line.name for line in one.signatures if line.name != one.origin]
    return {"origin": one.origin, "size": one.size, "root": one.root.hex(), "note": one.text(), "witnesses": witnesses}


def _covered_by(size: int, known: list[int]) -> int | None:
    """The first checkpoint from ``size`` on that somebody outside knows: it covers all events of the smaller ones."""
    return next((larger for larger in known if larger >= size), None)


def _about(anchor: Anchor) -> dict[str, Any]:
    return {"kind": anchor.kind, "authority": anchor.authority, "received": anchor.received}


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes()[: 64 << 20].decode("utf-8").replace("\r\n", "\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).", next_step="Check the name.") from error
    except UnicodeDecodeError as error:
        raise LedgerError(f"{path} holds no checkpoint.", next_step="Use it as it was exported.") from error


def _print_text(text: str) -> None:
    """A note byte for byte: UTF-8 with plain line feeds, whatever the console's own encoding is."""
    sys.stdout.flush()
    if hasattr(sys.stdout, "buffer"):
        sys.stdout.buffer.write(text.encode("utf-8"))
        sys.stdout.buffer.flush()
    else:
        sys.stdout.write(text)
