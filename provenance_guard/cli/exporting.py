"""The verb that hands evidence out: export."""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from provenance_guard import files
from provenance_guard.cli.configuration import read_config
from provenance_guard.cli.exit_codes import FINE
from provenance_guard.cli.output import print_json
from provenance_guard.errors import GuardError, UsageError
from provenance_guard.provenance.statement import Profile

_ENDINGS = {"sidecar": ".prov.json", "prov-json": ".provenance.json", "dossier": ".dossier.zip"}


def export(arguments: argparse.Namespace) -> int:
    """``export RECORD|FILE``: a sidecar, a graph or a dossier of one picture, opened no further than asked for."""
    from provenance_guard.guard import Guard
    from provenance_guard.review.dossier import build_dossier
    from provenance_guard.review.evidence import PictureFinder, gather
    from provenance_guard.review.export import hand_out, to_prov_json

    profile: Profile = "proof-only" if arguments.profile == "proof" else arguments.profile
    fields = [name.strip() for text in arguments.disclose for name in text.split(",") if name.strip()]
    named = Path(arguments.record)
    finder = PictureFinder(arguments.pictures, beside=named if named.is_file() else None)
    with Guard(read_config(arguments)) as door:
        evidence = gather(arguments.record, door, finder)
        suffix = evidence.picture.suffix if evidence.picture and arguments.format == "sidecar" else ""
        target: Path = arguments.out or Path(f"{evidence.record_id[:12]}{suffix}{_ENDINGS[arguments.format]}")
        _refuse_to_replace(target)
        if arguments.format == "dossier":
            _write_dossier(build_dossier(evidence, door, finder, profile=profile, fields=fields), target)
        elif arguments.format == "prov-json":
            graph = to_prov_json(evidence, profile, fields, door)
            files.write_atomically(target, (json.dumps(graph, indent=1) + "\n").encode("ascii"))
        else:
            files.write_atomically(target, hand_out(evidence, profile, fields, door))
    written = {
        "record_id": evidence.record_id,
        "format": arguments.format,
        "profile": profile,
        "disclosed": fields,
        "written": str(target),
    }
    if arguments.json:
        print_json(written)
    else:
        print(f"{arguments.format.capitalize()} of record {evidence.record_id} ({profile}): {target}")
        if arguments.format == "dossier":
            print("Check it, here or elsewhere: provenance-guard verify", target)
    return FINE


def _refuse_to_replace(target: Path) -> None:
    """Evidence is never written over: the file there may be the creator's only full one."""
    if target.exists() and (target.is_file() or any(target.iterdir())):
        raise UsageError(f"{target} exists already.", next_step="Name another file with --out.")


def _write_dossier(content: Mapping[str, bytes], target: Path) -> None:
    """Write a ZIP file, or a folder when the name has no suffix ``.zip``."""
    if target.suffix.lower() == ".zip":
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in content.items():
                packed = zipfile.ZIP_STORED if name.startswith("pictures/") else zipfile.ZIP_DEFLATED
                archive.writestr(zipfile.ZipInfo(name), data, compress_type=packed)
        files.write_atomically(target, buffer.getvalue())
        return
    try:
        for name, data in content.items():
            files.write_atomically(target / name, data)
    except GuardError:
        _remove_folder(target, content)
        raise


def _remove_folder(target: Path, content: Mapping[str, bytes]) -> None:
    """Nothing half-written stays behind."""
    for name in content:
        (target / name).unlink(missing_ok=True)
