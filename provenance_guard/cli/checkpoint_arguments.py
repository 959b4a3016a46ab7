"""The options of the verb ``checkpoint``, which has actions, and what ``verify`` takes for known from elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_checkpoint_actions(parser: argparse.ArgumentParser) -> None:
    """Give the verb's parser its actions. Options that every verb has may stand before or after the action."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    parser.set_defaults(action="make")

    _action(actions, "make", "sign the ledger as it is (what `checkpoint` alone does)")
    _action(actions, "list", "show the checkpoints, who has dated or signed them, and who is still to be asked")

    export = _action(actions, "export", "write the newest checkpoint, for a person, a repository or a witness to keep")
    export.add_argument(
        "--out", type=Path, metavar="FILE", help="default: stdout; a .json file holds the time tokens as well"
    )
    export.add_argument(
        "--since", type=int, metavar="SIZE", help="add the proof that it continues the checkpoint over SIZE events"
    )
    export.add_argument(
        "--tokens",
        type=Path,
        metavar="DIR",
        help="write the newest dated checkpoint, its time tokens and their roots as files for openssl and ots",
    )

    _action(actions, "stamp", "have the newest checkpoint dated now by the authorities and calendars of the settings")

    add = _action(actions, "add", "take over what a witness has signed, or an exported checkpoint")
    add.add_argument("file", type=Path, metavar="FILE", help="the checkpoint as it came back")
    add.add_argument(
        "--witness", action="append", default=[], metavar="KEY", help="verifier key (NAME+ID+KEY) of a witness you know"
    )

    cosign = _action(
        actions, "cosign", "as a witness: check that a ledger only grew since you last signed, and sign it"
    )
    cosign.add_argument("file", type=Path, metavar="FILE", help="the exported checkpoint")
    cosign.add_argument("--name", required=True, metavar="NAME", help="your name in the signature, as example.org/ada")
    cosign.add_argument("--key", type=Path, metavar="FILE", help="the owner's .pub file, for a ledger new to you")
    cosign.add_argument("--out", type=Path, metavar="FILE", help="default: stdout")

    refresh = _action(actions, "refresh", "put the time tokens and cosignatures that came later into sidecars")
    refresh.add_argument("sidecars", type=Path, nargs="+", metavar="SIDECARS", help="sidecars, or folders of them")


def add_trust_options(parser: argparse.ArgumentParser) -> None:
    """Give ``verify`` the options that tell what the one who checks knows already."""
    known = parser.add_argument_group("what you know from elsewhere (each may be given more than once)")
    known.add_argument(
        "--checkpoint",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="an exported checkpoint, a sidecar or a time token that was kept elsewhere: shows that a ledger was rolled back",
    )
    known.add_argument(
        "--key",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="the .pub file of somebody who may have signed",
    )
    known.add_argument(
        "--roots",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="root certificates (PEM) of time authorities",
    )
    known.add_argument(
        "--witness", action="append", default=[], metavar="KEY", help="verifier key (NAME+ID+KEY) of a witness"
    )


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    absent = argparse.SUPPRESS  # what was given before the action stays
    parser.add_argument("--json", action="store_true", default=absent, help="print one JSON document to stdout")
    parser.add_argument("--data", type=Path, metavar="DIR", default=absent, help="folder of ledger and library")
    parser.add_argument("--keys", type=Path, metavar="DIR", default=absent, help="folder of keys")
    parser.add_argument("--policy", type=Path, metavar="FILE", default=absent, help="the policy (TOML) that holds")
    parser.add_argument("--verbose", action="store_true", default=absent, help="show log messages and tracebacks")
    return parser
