"""Where the trust of the one who checks comes from: the settings, his own key, and the files that he names."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography import x509

from provenance_guard.errors import ConfigError, GuardError, KeyMissingError, LedgerError, UsageError
from provenance_guard.guard import Guard
from provenance_guard.ledger.anchors import rfc3161
from provenance_guard.ledger.anchors.evidence import CheckpointBundle, OutsideEvidence
from provenance_guard.ledger.checkpoint import Checkpoint
from provenance_guard.ledger.proof import Proof
from provenance_guard.ledger.witness import CosignRequest, Witness
from provenance_guard.provenance.sidecar import SUFFIX, Sidecar, parse_sidecar
from provenance_guard.review.verdicts import Trust
from provenance_guard.signing import read_public_key

OWN_KEY = "the key of this installation"
MAX_BYTES = 64 << 20


def read_trust(
    *,
    keys: Iterable[Path] = (),
    roots: Iterable[Path] = (),
    witnesses: Iterable[str] = (),
    checkpoints: Iterable[Path] = (),
) -> Trust:
    """What the files say that a person names. Raises GuardError with the reason when one cannot be used."""
    trust = Trust(
        keys={path.name.removesuffix(".pub"): read_public_key(path) for path in keys},
        roots=tuple(root for path in roots for root in _read_roots(path)),
        witnesses=tuple(Witness.parse(text) for text in witnesses),
    )
    for path in checkpoints:
        trust = _with_checkpoints(trust, path)
    return trust


def with_own_trust(trust: Trust | None, guard: Guard) -> Trust:
    """``trust`` with what this installation knows: its own key, and the authorities and witnesses of its settings."""
    trust = trust or Trust()
    settings = guard.config.settings
    known_roots = []
    for authority in settings.timestamping.authorities:
        try:
            known_roots += _read_roots(authority.roots)
        except GuardError:  # Its tokens are then told to be untrusted; `doctor` and `checkpoint list` tell why.
            continue
    return dataclasses.replace(
        trust,
        keys={**trust.keys, **own_keys(guard)},
        roots=(*trust.roots, *(root for root in known_roots if root not in trust.roots)),
        witnesses=(*trust.witnesses, *(_configured_witness(text, guard) for text in settings.witnesses)),
    )


def own_keys(guard: Guard) -> dict[str, bytes]:
    """The public signing keys of this installation by name: the present one, and those that were used before."""
    present = guard.public_key
    found = {OWN_KEY: present} if present else {}
    for path in sorted(guard.config.key_directory.glob("signing-*.pub")):
        with suppress(KeyMissingError):
            key = read_public_key(path)
            if key != present:
                found[f"an earlier key of this installation ({path.stem})"] = key
    return found


def _configured_witness(text: str, guard: Guard) -> Witness:
    try:
        return Witness.parse(text)
    except UsageError as error:
        raise ConfigError(guard.config.data_directory / "settings.toml", error.message.rstrip(".")) from error


def _read_roots(path: Path) -> list[x509.Certificate]:
    try:
        return rfc3161.read_roots(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path} holds no certificates that can be read.", next_step="Give the authority's roots in PEM form."
        ) from error


def _with_checkpoints(trust: Trust, path: Path) -> Trust:
    """``trust`` with the checkpoints in a file: a note, a request to a witness, an exported bundle, a sidecar, or a bare token."""
    content = _read(path)
    imprint = rfc3161.imprint_of(content) if content[:1] == b"\x30" else None
    if imprint is not None:
        return dataclasses.replace(trust, imprints=(*trust.imprints, imprint))
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _no_checkpoint(path) from error
    found = _in_json(text, path) if text.lstrip().startswith("{") else (CosignRequest.parse(text).checkpoint,)
    if not found:
        raise _no_checkpoint(path)
    return dataclasses.replace(trust, checkpoints=(*trust.checkpoints, *found))


def _in_json(text: str, path: Path) -> tuple[Checkpoint, ...]:
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _no_checkpoint(path) from error
    if isinstance(document, dict) and "payload" in document:
        return sidecar_checkpoints(parse_sidecar(text.encode("utf-8"), path))
    return (CheckpointBundle.from_json(document).checkpoint,)


def sidecar_checkpoints(sidecar: Sidecar) -> tuple[Checkpoint, ...]:
    """The checkpoints that a sidecar's proofs end in. Raises LedgerError when one is damaged."""
    proofs = [Proof.from_json(proof) for proof in (sidecar.ledger_proof, sidecar.file_proof) if proof is not None]
    if sidecar.outside is not None:
        proofs += OutsideEvidence.from_json(sidecar.outside).proofs
    return tuple(dict.fromkeys(proof.checkpoint for proof in proofs))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror or error}).", next_step="Check the name and try again."
        ) from error


def _no_checkpoint(path: Path) -> LedgerError:
    return LedgerError(
        f"{path} holds no checkpoint.", next_step=f"Give an exported checkpoint, a time token, or a {SUFFIX} sidecar."
    )
