"""Two processes write at once and are killed at any moment: nothing acknowledged is lost, the chain never breaks."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from provenance_guard.ledger import Ledger, verify_ledger

WRITER = Path(__file__).with_name("ledger_writer.py")
ROOT = Path(__file__).parents[3]
# Two kills a round. A long run: PROVENANCE_GUARD_KILL_ROUNDS=100 python -m pytest tests/unit/ledger -k killed
ROUNDS = int(os.environ.get("PROVENANCE_GUARD_KILL_ROUNDS", "4"))


def start(path: Path, output: Path) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(WRITER.parent)])}
    with output.open("wb") as stream:
        return subprocess.Popen([sys.executable, str(WRITER), str(path)], stdout=stream, env=environment)


def wait_for_output(outputs: list[Path], processes: list[subprocess.Popen]) -> None:
    deadline = time.monotonic() + 60
    while not all(output.stat().st_size for output in outputs):
        assert all(process.poll() is None for process in processes), "a writer ended by itself"
        assert time.monotonic() < deadline, "the writers did not begin to write"
        time.sleep(0.01)


def write_and_kill(path: Path, outputs: list[Path], chance: random.Random) -> None:
    processes = [start(path, output) for output in outputs]
    try:
        wait_for_output(outputs, processes)
        time.sleep(chance.uniform(0, 0.4))
        for process in chance.sample(processes, 2):
            assert process.poll() is None, "a writer ended by itself"
            process.kill()
            time.sleep(chance.choice((0, chance.uniform(0, 0.1))))
    finally:
        for process in processes:
            process.kill()
            process.wait()


def acknowledged(output: Path) -> dict[int, str]:
    lines = output.read_text().split("\n")[:-1]  # what has no line end was not acknowledged
    return {int(seq): leaf for seq, leaf in (line.split() for line in lines)}


def test_killed_writers_lose_nothing(path, tmp_path, signer):
    chance = random.Random(ROUNDS)
    outputs = [tmp_path / "writer-0.txt", tmp_path / "writer-1.txt"]
    expected: dict[int, str] = {}
    for number in range(ROUNDS):
        write_and_kill(path, outputs, chance)
        for output in outputs:
            told = acknowledged(output)
            assert told, "nothing was acknowledged: the round shows nothing"
            assert not told.keys() & expected.keys(), "a number was given twice"
            expected.update(told)
        report = verify_ledger(path, public_keys=[signer.public_bytes])
        assert report.sound, (number, report.problems)
        with Ledger.open_read_only(path) as ledger:
            stored = {event.seq: event.leaf_hash.hex() for event in ledger.events()}
        assert expected.items() <= stored.items()
    print(f"{2 * ROUNDS} kills, {len(expected)} events acknowledged, {report.size} stored")


def test_two_writers_take_turns(path, tmp_path, signer):
    """Without kills: two processes open the same new file at once, and both get on."""
    outputs = [tmp_path / "writer-0.txt", tmp_path / "writer-1.txt"]
    write_and_kill(path, outputs, random.Random(1))
    with Ledger.open(path, signer) as ledger:
        assert len(list(ledger.events(type="key.added"))) == 1
        assert ledger.append("note.added", {}).seq == ledger.size - 1
    assert verify_ledger(path, public_keys=[signer.public_bytes]).sound


def test_one_new_file_may_be_opened_by_many_at_once(tmp_path, signer):
    """None of them takes the half that another has made for a database of somebody else."""
    together = threading.Barrier(3)

    def open_new_file(number: int) -> None:
        together.wait()
        Ledger.open(tmp_path / f"{number}.sqlite3", signer).close()

    with ThreadPoolExecutor(3) as pool:
        for number in range(25):
            list(pool.map(open_new_file, [number] * 3))
