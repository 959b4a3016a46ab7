"""Checks a dossier with Python and the package `cryptography`, without Provenance Guard:  python verify.py

It checks that every file is as the manifest says, that the manifest and each sidecar are signed, that opened fields fit their
commitments, and that each event is in the signed tree that its checkpoint names. It cannot tell WHOSE keys signed: compare
the key ids below with what the signer handed out. Exit code 0: all holds.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def source() -> bytes:
    """The bytes of this file, to be put into a dossier."""
    return Path(__file__).read_bytes()


def check_folder(folder: Path) -> list[str]:
    """Everything that does not hold in a dossier's folder, as sentences."""
    problems: list[str] = []
    statement, keys = open_envelope(folder / "dossier.json")
    if not keys:
        return ["dossier.json is not signed, or was changed after it was signed."]
    for subject in statement["subject"]:
        path = folder / subject["name"]
        if not path.is_file():
            problems.append(f"{subject['name']} is missing.")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != subject["digest"]["sha256"]:
            problems.append(f"{subject['name']} was changed.")
    for part in statement["predicate"]["parts"]:
        if part["sidecar"]:
            problems += check_sidecar(folder, part, keys)
        if part["events"]:
            for event in json.loads((folder / part["events"]).read_text(encoding="utf-8"))["events"]:
                problems += check_event(event, keys)
    print("signed by the key(s)", *sorted(hashlib.sha256(key).hexdigest() for key in keys))
    return problems


def check_sidecar(folder: Path, part: dict[str, Any], keys: set[bytes]) -> list[str]:
    """Check one sidecar; the keys that signed it are added to ``keys``."""
    statement, signers = open_envelope(folder / part["sidecar"])
    if not signers:
        return [f"{part['sidecar']} is not signed, or was changed after it was signed."]
    keys |= signers
    problems = []
    stated = statement["subject"][0]["digest"]["sha256"]
    if part["original"] and hashlib.sha256((folder / part["picture"]).read_bytes()).hexdigest() != stated:
        problems.append(f"{part['picture']} is not the file that was sealed.")
    envelope = json.loads((folder / part["sidecar"]).read_text(encoding="utf-8"))
    for opening in envelope.get("openings", []):
        pointer = json.loads(opening)[2]
        place = statement["predicate"] if pointer == "/file_name" else statement["predicate"]["record"]
        for step in pointer.split("/")[1:]:
            place = place[int(step)] if isinstance(place, list) else place[step]
        if place != {"commitment": "pg-opening-1:" + hashlib.sha256(opening.encode()).hexdigest()}:
            problems.append(f"{part['sidecar']}: the opened field {pointer} does not fit its commitment.")
    if (proof := statement["predicate"].get("ledger")) is not None:
        problems += check_proof(proof, part["sidecar"], keys)
    return problems


def check_event(event: dict[str, Any], keys: set[bytes]) -> list[str]:
    """Check one event of the ledger against its proof."""
    name = f"event {event['seq']}"
    if event["bytes"] is not None:
        leaf = hashlib.sha256(b"\0" + base64.b64decode(event["bytes"])).hexdigest()
        if leaf != event["proof"]["leaf_hash"]:
            return [f"The content of {name} is not the one that was proven."]
    return check_proof(event["proof"], name, keys)


def check_proof(proof: dict[str, Any], name: str, keys: set[bytes]) -> list[str]:
    """Check an inclusion proof (RFC 9162, section 2.1.3.2) and the checkpoint in which it ends (a C2SP signed note)."""
    text, _, signatures = proof["checkpoint"].rpartition("\n\n")
    origin, size, root = text.split("\n")[:3]
    index, last, node = proof["index"], int(size) - 1, bytes.fromhex(proof["leaf_hash"])
    for step in map(bytes.fromhex, proof["path"]):
        if index % 2 or index == last:
            node = hashlib.sha256(b"\1" + step + node).digest()
            while index % 2 == 0 and index:
                index, last = index // 2, last // 2
        else:
            node = hashlib.sha256(b"\1" + node + step).digest()
        index, last = index // 2, last // 2
    if last or base64.b64encode(node).decode() != root:
        return [f"The proof of {name} does not lead to its checkpoint."]
    for line in signatures.splitlines():
        _, signer, blob = line.split(" ")
        if signer == origin and any(is_signed(key, base64.b64decode(blob)[4:], (text + "\n").encode()) for key in keys):
            return []
    return [f"The checkpoint of {name} is not signed by a key of this dossier."]


def open_envelope(path: Path) -> tuple[Any, set[bytes]]:
    """The statement in a DSSE envelope, and the keys (brought along in it) that signed it."""
    envelope = json.loads(path.read_text(encoding="utf-8"))
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    message = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    keys = set()
    for entry in envelope["signatures"]:
        key = base64.b64decode(entry["publicKey"])
        if is_signed(key, base64.b64decode(entry["sig"]), message):
            keys.add(key)
    return json.loads(payload), keys


def is_signed(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether an Ed25519 signature holds."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


if __name__ == "__main__":
    found = check_folder(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
    print("\n".join(found) if found else "All that can be checked holds.")
    sys.exit(1 if found else 0)
