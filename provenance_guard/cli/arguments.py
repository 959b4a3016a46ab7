"""The frozen command line: verbs, options and their help. Imports nothing heavy, so that ``--help`` is instant."""

from __future__ import annotations

import argparse
from pathlib import Path

from provenance_guard import __version__
from provenance_guard.cli.checkpoint_arguments import add_checkpoint_actions, add_trust_options

EPILOG = "exit codes: 0 fine, 1 error, 2 wrong use, 3 the policy blocked a picture"


def build_parser() -> argparse.ArgumentParser:
    """All verbs. Each sub-parser names its verb in ``verb``."""
    parser = argparse.ArgumentParser(
        prog="provenance-guard",
        description="Log, mark and screen generated pictures.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"provenance-guard {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    guard = _verb(verbs, "guard", "pass pictures through the whole door: screen, mark, record, label; originals stay")
    _pictures(guard)
    _references(guard)
    guard.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for marked copies and sidecars")
    guard.add_argument("--resume", action="store_true", help="skip pictures that an interrupted run has already done")

    screen = _verb(verbs, "screen", "compare pictures with the references; nothing is written into or beside them")
    _pictures(screen)
    _references(screen)
    screen.add_argument("--explain", type=Path, metavar="DIR", help="write a picture of why, for every match, into DIR")

    _marking(verbs)

    index = _verb(verbs, "index", "build or refresh the reference library from a folder")
    index.add_argument("folder", type=Path, metavar="DIR")

    _verb(verbs, "library", "show what is in the reference library and what could not be read")

    _quarantine(_verb(verbs, "quarantine", "review withheld pictures that were kept: list, show, release, destroy"))

    log = _verb(verbs, "log", "read and search the ledger, newest first; `log import DIR` takes in existing pictures")
    _log_options(log)

    show = _verb(verbs, "show", "show one record in full")
    show.add_argument("record", metavar="RECORD", help="record id, or its first characters")

    export = _verb(verbs, "export", "hand out evidence about one picture: a sidecar, a graph or a dossier")
    export.add_argument("record", metavar="RECORD|FILE", help="record id or its first characters, picture, or sidecar")
    export.add_argument(
        "--format", choices=("sidecar", "prov-json", "dossier"), default="sidecar", help="default: sidecar"
    )
    export.add_argument(
        "--profile",
        choices=("full", "redacted", "proof"),
        default="redacted",
        help="how much is told: everything, all but private fields (default), or only that there is a record",
    )
    export.add_argument(
        "--disclose", action="append", default=[], metavar="FIELDS", help="private fields to open, as prompt,seed"
    )
    export.add_argument(
        "--pictures", type=Path, action="append", default=[], metavar="DIR", help="where to look for picture files"
    )
    export.add_argument("--out", type=Path, metavar="FILE", help="what to write; a dossier can be a folder, too")

    verify = _verb(verbs, "verify", "check pictures, their sidecars or a ledger: each question with its own verdict")
    _pictures(verify)
    add_trust_options(verify)

    add_checkpoint_actions(
        _verb(verbs, "checkpoint", "sign the ledger as it is, hand that out, have it dated and witnessed")
    )

    watch = _verb(verbs, "watch", "guard every picture that appears in a folder, whatever program writes it")
    watch.add_argument("folder", type=Path, metavar="DIR")
    _references(watch, required=False)
    watch.add_argument("--out", type=Path, metavar="DIR", help="folder for the marked copies (default: DIR/guarded)")
    watch.add_argument("--present", action="store_true", help="also the pictures that are already there")

    _ledger_verb(verbs)

    demo = _verb(verbs, "demo", "do the whole job on the pictures that come with the project")
    demo.add_argument("--out", type=Path, default=Path("demo-output"), metavar="DIR", help="default: ./demo-output")

    ui = _verb(verbs, "ui", "open the page in the browser")
    ui.add_argument("--port", type=int, default=7870)
    ui.add_argument("--no-browser", action="store_true", help="only print the address")

    _verb(verbs, "doctor", "tell what is installed, what is missing and what that costs, and whether all is sound")
    return parser


def _marking(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    mark = _verb(verbs, "mark", "put the invisible mark into a copy of a picture")
    mark.add_argument("source", type=Path, metavar="IN")
    mark.add_argument("target", type=Path, metavar="OUT")
    mark.add_argument(
        "--payload", metavar="HEX32", help="the 128 bits to carry, as 32 hex digits (default: a fresh id)"
    )
    mark.add_argument("--strength", choices=("invisible", "balanced", "strong"), default="invisible")

    mark.add_argument(
        "--robust",
        action="store_true",
        help="a short id in 64 bits instead: bears more in pictures of 512 pixels and below",
    )

    detect = _verb(verbs, "detect", "look for the mark in pictures")
    _pictures(detect)
    detect.add_argument(
        "--all", action="store_true", help="look for every mark, as in a collage; takes several times as long"
    )

    keys = _verb(verbs, "keys", "look after the keys of the mark")
    keys.add_argument(
        "action",
        choices=("list", "create", "rotate", "export", "import"),
        help="list; make the first key; make a new one for new marks; copy one for a colleague; read a colleague's marks",
    )
    keys.add_argument(
        "words", nargs="*", metavar="KEY FILE", help="export: a key's id and the file to write; import: the file"
    )


def _verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog=EPILOG)
    parser.add_argument("--json", action="store_true", help="print one JSON document to stdout")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of ledger and library")
    parser.add_argument("--keys", type=Path, metavar="DIR", help="folder of keys")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="the policy (TOML) that holds")
    parser.add_argument("--verbose", action="store_true", help="show log messages and tracebacks")
    return parser


def _quarantine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "show", "release", "destroy"), help="what to do with them")
    parser.add_argument("record", nargs="?", default="", metavar="RECORD", help="record id, or its first characters")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="show: write the original and what matched into DIR; release: the released picture (default: DATA/released)",
    )
    parser.add_argument("--reviewer", default="", metavar="NAME", help="release, destroy: who decides")
    parser.add_argument("--reason", default="", metavar="TEXT", help="release, destroy: why")


def _ledger_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "look after the ledger: prune, erase, backup, restore, recover"
    ledger = verbs.add_parser("ledger", help=text, description=text[0].upper() + text[1:] + ".", epilog=EPILOG)
    actions = ledger.add_subparsers(dest="action", required=True, metavar="ACTION")

    prune = _verb(actions, "prune", "remove the content of old events; the tree stays verifiable")
    prune.add_argument("--older-than", type=int, metavar="DAYS", help="what was written so many days ago or earlier")
    prune.add_argument("--before", metavar="DATE", help="what was written before this UTC date or time")

    erase = _verb(actions, "erase", "remove personal data for good: all that is recorded about records, or by a user")
    erase.add_argument("records", nargs="*", metavar="RECORD", help="record ids, or their first characters")
    erase.add_argument("--user", metavar="NAME", help="all records of this user")
    for parser in (prune, erase):
        parser.add_argument("--reason", metavar="TEXT", help="why; it is recorded for good, so name no person")

    backup = _verb(actions, "backup", "copy the ledger while it is in use")
    backup.add_argument("file", type=Path, metavar="FILE", help="the copy to write")
    restore = _verb(actions, "restore", "put a backup in the place of the ledger; the present one is kept beside it")
    restore.add_argument("file", type=Path, metavar="FILE", help="the backup")
    backup.add_argument("--force", action="store_true", help="replace a file that is there")
    restore.add_argument(
        "--force", action="store_true", help="also when newer events go missing, or it is another ledger"
    )
    for parser in (prune, erase, restore):
        parser.add_argument("--yes", action="store_true", help="do not ask")

    recover = _verb(actions, "recover", "save what is readable of a damaged ledger into a new file")
    recover.add_argument("file", type=Path, metavar="FILE", help="the new ledger to write")
    recover.add_argument("--source", type=Path, metavar="FILE", help="the damaged one (default: the ledger)")


def _log_options(log: argparse.ArgumentParser) -> None:
    log.add_argument(
        "action", nargs="?", choices=("import",), help="import: record pictures that are on the disk already"
    )
    log.add_argument(
        "folders", type=Path, nargs="*", metavar="DIR", help="with import: files, or folders and all below"
    )
    log.add_argument(
        "--since", metavar="TIME", help="only from this UTC date or time on, as 2026-11-22 or 2026-11-22T10:00"
    )
    log.add_argument("--until", metavar="TIME", help="only up to this UTC date (its whole day) or time")
    log.add_argument("--picture", type=Path, metavar="FILE", help="only what is known about this picture")
    log.add_argument("--limit", type=int, default=50, metavar="N", help="at most N events (default 50)")
    log.add_argument(
        "--prompt", metavar="WORDS", help='only with these words in the prompt; "a phrase" in quotes, and beginnings*'
    )
    for option, metavar, text in (
        ("model", "NAME", "name or hash of a checkpoint or VAE"),
        ("lora", "NAME", "name or hash of a LoRA, embedding or hypernetwork"),
        ("seed", "N", "seed, or variation seed"),
        ("parent", "ID", "what was made from this record or these pixels; the first characters are enough"),
        ("verdict", "LEVEL", "clean, review or near_copy"),
        ("decision", "WORD", "what the policy decided: allow, warn, block, ..."),
        ("user", "NAME", "user or job"),
        ("file", "NAME", "name of a file"),
    ):
        log.add_argument(
            f"--{option}", action="append", default=[], metavar=metavar, help=f"only {text}; given twice: any of them"
        )


def _pictures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", type=Path, nargs="+", metavar="PICTURES", help="files, or folders of pictures")


def _references(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument(
        "--references",
        type=Path,
        action="append",
        default=[],
        required=required,
        metavar="DIR",
        help="folder to compare with",
    )
