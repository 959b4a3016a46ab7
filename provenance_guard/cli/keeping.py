"""The verb of the watermark's keys: keys."""

from __future__ import annotations

import argparse
from pathlib import Path

from provenance_guard.cli.configuration import read_config
from provenance_guard.cli.exit_codes import FINE
from provenance_guard.cli.output import print_json, print_table
from provenance_guard.errors import UsageError
from provenance_guard.json_types import Json
from provenance_guard.watermark import Key, KeyRing


def keys(arguments: argparse.Namespace) -> int:
    """``keys list | create | rotate | export KEY FILE | import FILE``."""
    ring = KeyRing(read_config(arguments).key_directory)
    action = {"list": _list, "create": _create, "rotate": _rotate, "export": _export, "import": _import}
    words: list[str] = arguments.words
    expected = {"export": 2, "import": 1}.get(arguments.action, 0)
    if len(words) != expected:
        raise UsageError(
            f"keys {arguments.action} takes {expected} names, not {len(words)}.",
            next_step="Write: keys export KEY FILE, keys import FILE, or list, create or rotate alone.",
        )
    action[arguments.action](ring, arguments)
    return FINE


def _list(ring: KeyRing, arguments: argparse.Namespace) -> None:
    known = ring.all()
    current = next((key.id for key in known if not key.imported), None)
    rows = [_describe(key, current) for key in known]
    if arguments.json:
        print_json({"directory": str(ring.directory), "keys": rows})
    elif rows:
        print_table(("key", "created", "used for"), [(str(row["id"]), str(row["created"]), _use(row)) for row in rows])
    else:
        print(f"There is no watermark key in {ring.directory} yet; the first mark makes one, and so does: keys create")


def _create(ring: KeyRing, arguments: argparse.Namespace) -> None:
    if any(not key.imported for key in ring.all()):
        raise UsageError(
            f"There is a watermark key of your own in {ring.directory}.",
            next_step="Use keys rotate to put a new one in its place; marks made so far stay readable.",
        )
    _tell(ring.create(), "made; new marks get it. Keep a copy of the file in a safe place", ring, arguments)


def _rotate(ring: KeyRing, arguments: argparse.Namespace) -> None:
    _tell(ring.create(), "made; new marks get it, marks made with the older keys stay readable", ring, arguments)


def _export(ring: KeyRing, arguments: argparse.Namespace) -> None:
    name, target = arguments.words
    key = ring.export(name, Path(target))
    _tell(key, f"copied to {target}. Who has this file can read your marks, and forge them: hand it over privately",
          ring, arguments)  # fmt: skip


def _import(ring: KeyRing, arguments: argparse.Namespace) -> None:
    _tell(ring.add(Path(arguments.words[0])), "is known now: marks made with it are read", ring, arguments)


def _tell(key: Key, what: str, ring: KeyRing, arguments: argparse.Namespace) -> None:
    if arguments.json:
        own = (known.id for known in ring.all() if not known.imported)
        print_json(_describe(key, next(own, None)))
    else:
        print(f"Key {key.id} {what}.")


def _describe(key: Key, current: str | None) -> dict[str, Json]:
    return {"id": key.id, "created": key.created, "imported": key.imported, "current": key.id == current}


def _use(row: dict[str, Json]) -> str:
    if row["current"]:
        return "marking and reading"
    return "reading (a colleague's)" if row["imported"] else "reading (an older one of yours)"
