"""How fast the ledger is: python benchmarks/ledger.py [--events 100000] [--search N [--search-ledger FILE]] [--folder DIR] [--json FILE]

Appends run beside plain SQLite (same pragmas, same bytes, one index, no hashing), in turns, so that both meet the same load.
Prints a Markdown table; ``--json`` writes the same numbers for machines.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402

from provenance_guard.clock import utc_now  # noqa: E402
from provenance_guard.ledger import Ledger, NewEvent, events, merkle, store, verify_ledger  # noqa: E402
from provenance_guard.provenance.redaction import redact  # noqa: E402
from provenance_guard.signing import Signer  # noqa: E402

WORDS = [
    "a",
    "quiet",
    "harbour",
    "at",
    "dawn",
    "with",
    "fishing",
    "boats",
    "and",
    "gulls",
    "oil",
    "painting",
    "masterpiece",
    "highly",
    "detailed",
    "soft",
    "light",
]
ROUNDS = 5
BEGINNING = datetime(2026, 1, 1, tzinfo=timezone.utc)


def new_event(number: int) -> NewEvent:
    """An event of about 3.75 KB, like that of a generated picture."""
    chance = random.Random(number)
    opening = json.dumps(["salt", "/context/parameters/prompt", " ".join(chance.choices(WORDS, k=30))])
    record = {
        "id": f"{number:032x}",
        "pixel_sha256": chance.randbytes(32).hex(),
        "context": {
            "parameters": {"prompt": {"commitment": events.commitment(opening)}, "steps": 30, "cfg_scale": 7.0},
            "resources": [{"kind": "lora", "sha256": chance.randbytes(32).hex(), "weight": 0.8} for _ in range(20)],
        },
        "verdict": {"level": "clean", "scores": [chance.random() for _ in range(30)]},
    }
    return NewEvent("picture.released", {"record": record}, f"{number:032x}", (opening,))


class PlainSqlite:
    """What a log without any proof would do."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=FULL")
        self.connection.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY, time TEXT, record_id TEXT, body BLOB)")
        self.connection.execute("CREATE INDEX event_record ON event (record_id)")

    def append_many(self, new_events: Sequence[NewEvent]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        for new in new_events:
            row = (time.time(), new.record_id, json.dumps(new.body), json.dumps(new.openings))
            self.connection.execute("INSERT INTO event (time, record_id, body) VALUES (?, ?, ? || ?)", row)
        self.connection.execute("COMMIT")


def timed(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def compare_appends(folder: Path, signer: Signer, group: int, groups: int) -> dict[str, float]:
    """Events per second, ours and plain; the ratio is the median of those of single rounds."""
    ours: list[float] = []
    plain: list[float] = []
    with Ledger.open(folder / f"ours-{group}.sqlite3", signer) as ledger:
        other = PlainSqlite(folder / f"plain-{group}.sqlite3")
        with closing(other.connection):
            ledger.append("session.started", {})
            for number in range(ROUNDS):
                batches = [
                    [new_event((number * groups + index) * group + member) for member in range(group)]
                    for index in range(groups)
                ]
                for speeds, target in ((plain, other), (ours, ledger)):
                    seconds = timed(lambda: [target.append_many(batch) for batch in batches])  # noqa: B023
                    speeds.append(group * groups / seconds)
    ratios = [mine / theirs for mine, theirs in zip(ours, plain, strict=True)]
    return {
        f"append, {group} per commit, ledger (events/s)": statistics.median(ours),
        f"append, {group} per commit, plain SQLite (events/s)": statistics.median(plain),
        f"append, {group} per commit, ledger to plain": statistics.median(ratios),
    }


def fill(path: Path, signer: Signer, count: int) -> None:
    with Ledger.open(path, signer) as ledger:
        for start in range(0, count, 1000):
            ledger.append_many([new_event(number) for number in range(start, min(start + 1000, count))])


def measure_reading(path: Path, signer: Signer) -> dict[str, float]:
    """Verification, proofs and look-ups in a large ledger."""
    wall, cpu = time.perf_counter(), time.process_time()
    report = verify_ledger(path, public_keys=[signer.public_bytes])
    numbers = {
        "events in the ledger": float(report.size),
        "verify, wall (s)": time.perf_counter() - wall,
        "verify, CPU (s)": time.process_time() - cpu,
    }
    assert report.sound, report.problems
    chance = random.Random(1)
    with Ledger.open(path, signer) as ledger:
        places = [chance.randrange(ledger.size) for _ in range(300)]
        sizes = [chance.randrange(1, ledger.size) for _ in range(300)]
        pixels = [ledger.event(seq).body.get("record", {}).get("pixel_sha256", "") for seq in places]
        moments = [datetime.fromisoformat(ledger.event(seq).time.replace("Z", "+00:00")) for seq in places]
        root, size = ledger.root(), ledger.size
        for seq in places[:20]:
            leaf = ledger.event(seq).leaf_hash
            assert merkle.verify_inclusion(leaf, seq, size, ledger.inclusion_proof(seq), root)
        for name, action, arguments in (
            ("inclusion proof", ledger.inclusion_proof, places),
            ("proof for a sidecar", ledger.proof, places),
            ("consistency proof", ledger.consistency_proof, sizes),
            ("find by pixel hash", ledger.find_pixels, pixels),
            ("read one event", ledger.event, places),
            ("first ten events since a time", lambda since: list(ledger.events(since=since, limit=10)), moments),
        ):
            times = [1000 * timed(lambda: action(argument)) for argument in arguments]  # noqa: B023
            numbers[f"{name}, median (ms)"] = statistics.median(times)
            numbers[f"{name}, slowest of 300 (ms)"] = max(times)
    numbers["open and close (ms)"] = 1000 * timed(lambda: Ledger.open(path, signer).close())
    numbers["file size (MB)"] = path.stat().st_size / 1e6
    return numbers


SEARCHES: dict[str, tuple[str, dict[str, list[str]], dict[str, int]]] = {
    "a common word": ("word0", {}, {}),
    "a common word, oldest hundredth": ("word0", {}, {"until": 1}),
    "a common word, newest hundredth": ("word0", {}, {"since": 99}),
    "a rare word, since the middle": ("word19000", {}, {"since": 50}),
    "two common words": ("word0 word3", {}, {}),
    "five words": ("word0 word1 word2 word30 word200", {}, {}),
    "a rare word": ("word19000", {}, {}),
    "a common and a rare word": ("word0 word19000", {}, {}),
    "a phrase of common words": ('"word0 word1 word2"', {}, {}),
    "a phrase of words that all have, but never so": ('"hands bad blurry"', {}, {}),
    "words that never meet": ("word19000 word19001", {}, {}),
    "any of two models": ("", {"model": ["model_1", "model_2"]}, {}),
    "any of four LoRAs, a verdict and a word": (
        "word5",
        {"lora": ["style_1", "style_2", "style_3", "style_4"], "verdict": ["near_copy"]},
        {},
    ),
    "a model and a verdict": ("", {"model": ["model_1"], "verdict": ["near_copy"]}, {}),
    "two halves that never meet": ("model:model_1 model:model_2", {}, {}),
    "a decision, which nearly all have": ("", {"action": ["allow"]}, {}),
    "a beginning of 111 words": ("word199*", {}, {}),
    "a beginning of 11,111 words": ("word1*", {}, {}),
    "a beginning of all words": ("wo*", {}, {}),
    "a beginning of all words, with a rare word": ("wo* word19000", {}, {}),
    "a seed": ("", {"seed": ["12345"]}, {}),
    "a parent": ("", {"parent": [f"{99:032x}"]}, {}),
}


def new_picture(number: int, chance: random.Random, vocabulary: list[str], weights: list[float]) -> NewEvent:
    """An event as the door writes it, with a prompt of 25 words."""
    record: dict[str, object] = {
        "schema": 1,
        "id": f"{number:032x}",
        "time": "2026-11-22T10:15:30.123Z",
        "pixel_sha256": f"{number:064x}",
        "context": {
            "origin": "webui.txt2img",
            "parameters": {
                "prompt": " ".join(chance.choices(vocabulary, cum_weights=weights, k=25)),
                "negative_prompt": "blurry, bad hands",
                "seed": chance.randrange(1 << 32),
                "steps": 30,
            },
            "resources": [
                {"kind": "checkpoint", "name": f"model_{number % 2 + 1}", "sha256": "ab" * 32},
                {"kind": "lora", "name": f"style_{chance.randrange(200)}", "sha256": "cd" * 32},
            ],
            "parents": [{"role": "init_image", "record_id": f"{number - 1:032x}"}] if number % 3 == 0 else [],
        },
        "verdict": {"level": "near_copy" if chance.random() < 0.001 else "clean"},
        "decision": {"action": "allow" if number % 20 else "warn"},
    }
    public, openings = redact(record)  # type: ignore[arg-type]
    return NewEvent("picture.released", {"record": public}, f"{number:032x}", openings)


def fill_for_search(path: Path, signer: Signer, count: int) -> None:
    """Prompts from a vocabulary of 20,000 words with Zipf's distribution; a hundredth of the pictures each minute."""
    chance = random.Random(1)
    vocabulary = [f"word{number}" for number in range(20_000)]
    weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(vocabulary))))
    with Ledger.open(path, signer) as ledger:
        for start in range(ledger.size, count, 1000):
            store.utc_now = lambda start=start: BEGINNING + timedelta(minutes=100 * start // count)  # type: ignore[misc]
            last = min(start + 1000, count)
            ledger.append_many([new_picture(seq, chance, vocabulary, weights) for seq in range(start, last)])
        store.utc_now = utc_now


def measure_search(path: Path, signer: Signer, count: int) -> dict[str, float]:
    """``Ledger.search`` as callers use it, the fifty newest hits read and opened, in a ledger of ``count`` pictures."""
    fill_for_search(path, signer, count)
    with Ledger.open_read_only(path) as ledger:
        numbers = {"search: events in the ledger": float(ledger.size)}
        begin = time.process_time()
        ledger.search("word0", limit=1)
        numbers["search: first one, which makes the index, CPU (s)"] = time.process_time() - begin
        for name, (text, filters, minutes) in SEARCHES.items():
            moments = {key: BEGINNING + timedelta(minutes=minute) for key, minute in minutes.items()}
            times = [1000 * timed(lambda: ledger.search(text, filters, **moments)) for _ in range(7)]  # noqa: B023
            numbers[f"search: {name}, median (ms)"] = statistics.median(times)
            numbers[f"search: {name}, first (ms)"] = times[0]
    numbers["search: ledger size (MB)"] = path.stat().st_size / 1e6
    numbers["search: index size (MB)"] = sum(entry.stat().st_size for entry in path.parent.glob("*.search*")) / 1e6
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="size of the large ledger")
    parser.add_argument("--search", type=int, default=0, metavar="N", help="measure search over N pictures as well")
    parser.add_argument(
        "--search-ledger", type=Path, metavar="FILE", help="where they are kept, and found again next time"
    )
    parser.add_argument("--folder", type=Path, help="where to write (default: the folder for temporary files)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers as JSON too")
    arguments = parser.parse_args()
    signer = Signer(Ed25519PrivateKey.generate())
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        numbers: dict[str, float] = {"bytes per event": float(len(json.dumps(new_event(1).body)))}
        for group, groups in ((1, 100), (64, 8), (512, 2)):
            numbers.update(compare_appends(folder, signer, group, groups))
        fill(folder / "large.sqlite3", signer, arguments.events)
        numbers.update(measure_reading(folder / "large.sqlite3", signer))
        if arguments.search:
            path = arguments.search_ledger or folder / "search" / "large.sqlite3"
            numbers.update(measure_search(path, signer, arguments.search))
    print("| what | value |\n|---|---:|")
    for what, value in numbers.items():
        print(f"| {what} | {value:,.3g} |" if value < 1000 else f"| {what} | {value:,.0f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
