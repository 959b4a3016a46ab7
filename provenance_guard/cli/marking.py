"""The verbs of the invisible mark alone: mark, detect."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from provenance_guard import pictures
from provenance_guard.batch import find_pictures
from provenance_guard.cli.configuration import read_config
from provenance_guard.cli.exit_codes import ERROR, FINE
from provenance_guard.cli.output import complain, print_json, print_table, track
from provenance_guard.clock import format_time, utc_now
from provenance_guard.errors import GuardError, KeyMissingError, UsageError
from provenance_guard.guard import Guard
from provenance_guard.json_types import Json
from provenance_guard.provenance.record import new_record_id
from provenance_guard.watermark import Detection, KeyRing, Payload, Watermarker


def mark(arguments: argparse.Namespace) -> int:
    """``mark IN OUT [--payload HEX32 | --robust]``: a marked copy; nothing is recorded."""
    payload = _payload(arguments.payload, robust=arguments.robust)
    picture = pictures.open_picture(arguments.source)
    target: Path = arguments.target
    if target.exists() and target.samefile(arguments.source):
        raise UsageError("The marked copy would overwrite the original.", next_step="Name another file as OUT.")
    if target.suffix.lower() not in pictures.SUFFIXES - {".gif"}:
        raise UsageError(f"{target.name} has no suffix that can carry a mark.", next_step="Use .png, .jpg or .webp.")
    keys = KeyRing(read_config(arguments).key_directory)
    embedding = Watermarker(keys.current(), arguments.strength).embed_measured(picture.image, payload)
    pictures.save_picture(embedding.image, target, like=picture)
    result: dict[str, Json] = {
        "picture": str(target),
        "payload": payload.hex(),
        "strength": arguments.strength,
        "psnr": round(embedding.psnr, 2),
        "margin": round(embedding.margin, 2),
        "weak": embedding.weak,
    }
    if arguments.json:
        print_json(result)
    else:
        print(f"{target}: marked with {payload.hex()} (PSNR {embedding.psnr:.1f} dB)")
        if embedding.weak:
            print("The mark is weak in this picture: do not count on it after compression or cropping.")
    return FINE


def detect(arguments: argparse.Namespace) -> int:
    """``detect PICTURES... [--all]``."""
    config = read_config(arguments)
    detector = Guard(config).detector
    if detector is None:
        raise KeyMissingError(
            f"There is no watermark key in {config.key_directory}.",
            next_step="Name the folder of your keys with --keys.",
        )
    results: list[dict[str, Json]] = []
    for path in track(find_pictures(arguments.pictures), "detect"):
        try:
            image = pictures.open_picture(path).image
            found = detector.detect_all(image) if arguments.all else [detector.detect(image)]
            result = {"picture": str(path), **describe_detection(found[0] if found else None)}
            if arguments.all:
                result["marks"] = [describe_detection(detection) for detection in found]
            results.append(result)
        except GuardError as error:
            results.append({"picture": str(path), "found": False, "error": str(error)})
    if arguments.json:
        print_json({"pictures": results})
    else:
        rows = [row for result in results for row in _rows(result)]
        print_table(("picture", "mark", "record", "time", "confidence"), rows)
        for result in results:
            if "error" in result:
                complain(f"Error: {result['error']}")
    return ERROR if any("error" in result for result in results) else FINE


def describe_detection(detection: Detection | None) -> dict[str, Json]:
    """A detection as plain JSON values: ``found`` and, when it was, what the mark says."""
    if detection is None:
        return {"found": False}
    content = Payload.unpack(detection.payload)
    return {
        "found": True,
        "payload": detection.payload.hex(),
        "record_id": content.record_id_prefix if content else None,
        "time": format_time(content.moment) if content and content.moment else None,
        "confidence": round(detection.confidence, 3),
        "geometry": asdict(detection.geometry),
        "key": detection.key_id,
        "profile": detection.profile,
        "coverage": round(detection.coverage, 3),
    }


def _payload(text: str | None, *, robust: bool) -> bytes:
    if robust and text is not None:
        raise UsageError("--robust and --payload exclude each other.", next_step="Give one of them.")
    if robust:
        return Payload.robust(new_record_id()).pack()
    if text is None:
        return Payload.for_record(new_record_id(), utc_now()).pack()
    try:
        payload = bytes.fromhex(text)
    except ValueError:
        payload = b""
    if len(payload) != 16:
        raise UsageError(f"--payload is {text!r}, not 32 hex digits.", next_step="Give 32 digits out of 0-9 and a-f.")
    return payload


def _rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row for each mark, or one that tells that there is none."""
    marks = result.get("marks") or [result]
    return [_row({"picture": result["picture"], **mark}) for mark in marks]


def _row(result: dict[str, Json]) -> tuple[str, ...]:
    name = Path(str(result["picture"])).name
    if not result["found"]:
        return name, "not read" if "error" in result else "none found", "", "", ""
    return (
        name,
        "found",
        str(result["record_id"] or result["payload"]),
        str(result["time"] or ""),
        str(result["confidence"]),
    )
