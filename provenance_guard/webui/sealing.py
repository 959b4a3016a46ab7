"""Files are finished behind the generation: label, hash, ledger, sidecar. Where a failure would withhold the picture, before.

A note of every file that waits lies in the data folder until it is done, so that a process that ends in between loses
nothing: the next one finishes the file, or tells that it could not.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provenance_guard.webui import compat, door

if TYPE_CHECKING:
    from PIL import Image

    from provenance_guard.guard import Guard, Release
    from provenance_guard.webui.door import Passage

logger = logging.getLogger(__name__)

FOLDER = "unsealed"
"""In the data folder: one note for each file that waits."""

_PATIENCE = 20.0
"""Seconds before a note that was found is taken for one that nobody works on."""

_WAITING_AT_MOST = 200
"""So many files may wait; then a picture waits for its own file, so that a slow disk shows."""

_lock = threading.Lock()
_worker: ThreadPoolExecutor | None = None
_waiting: set[Future[None]] = set()
_troubles: list[str] = []


def seal(image: Image.Image, passage: Passage, requested: str, *, at_once: bool = False) -> Passage:
    """Have the file finished that the host wrote for ``image`` when ``requested`` was asked for.

    Returns how the picture came out; ``passage`` itself when nothing is known yet or there is nothing to tell.
    """
    if passage.release is None or passage.withheld:
        return passage
    if at_once or passage.release.policy.withholds_on_error or len(_waiting) >= _WAITING_AT_MOST:
        return door.seal(image, passage, requested)
    path = compat.written_file(requested)
    note = _write_note(passage.release, path)
    _behind(lambda: _finish(passage, path, note))
    return passage


def troubles() -> list[str]:
    """What went wrong behind since this was last asked, in whole sentences."""
    with _lock:
        told, _troubles[:] = list(_troubles), []
    return told


def waiting() -> int:
    """How many files wait."""
    return len(_waiting)


def flush(seconds: float | None = None) -> bool:
    """Wait until all files are finished; False when that took longer than ``seconds``."""
    with _lock:
        pending = set(_waiting)
    return not wait(pending, timeout=seconds).not_done


def resume() -> None:
    """Finish the files that an earlier process left. To be called once, behind."""
    from provenance_guard.webui import runtime

    guard = runtime.guard()
    folder = guard.config.data_directory / FOLDER
    if not any(folder.glob("*.json")):
        return
    time.sleep(_PATIENCE)  # what another process on this folder is just finishing is gone by then
    for note in sorted(folder.glob("*.json")):
        try:
            record_id, path = _read_note(note)
            if not path.exists():
                continue  # the user has moved it, and what it was is recorded
            release = _find_release(guard, record_id)
            if release is None:
                _tell(f"{path.name} was not labelled: the ledger does not hold its record {record_id}.")
                continue
            failures = guard.seal(release, path).failures
            _tell(*(f"{path.name}, left by an earlier run: {failure}" for failure in failures))
        except Exception as error:
            _tell(door.explain(f"A file that an earlier run left ({note.name}) could not be finished", error))
        finally:
            with suppress(OSError):
                note.unlink(missing_ok=True)


def _finish(passage: Passage, path: Path, note: Path | None) -> None:
    told = door.seal(None, passage, str(path)).messages[len(passage.messages) :]
    _tell(*(f"{path.name}: {message}" for message in told))
    if note is not None:
        with suppress(OSError):
            note.unlink(missing_ok=True)


def _behind(work: Callable[[], None]) -> None:
    global _worker
    with _lock:
        if _worker is None:
            _worker = ThreadPoolExecutor(1, thread_name_prefix="provenance-guard-seal")
        future = _worker.submit(work)
        _waiting.add(future)
    future.add_done_callback(_done)


def _done(future: Future[None]) -> None:
    with _lock:
        _waiting.discard(future)


def _tell(*sentences: str) -> None:
    with _lock:
        _troubles.extend(sentences)


def _write_note(release: Release, path: Path) -> Path | None:
    """Not flushed to the disk: a process that ends loses nothing that it has written, and only a power cut would."""
    from provenance_guard.webui import runtime

    try:
        folder = runtime.guard().config.data_directory / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        note = folder / f"{release.record.id}-{abs(hash(path)):x}.json"
        note.write_text(json.dumps({"version": 1, "record": release.record.id, "file": str(path)}), "utf-8")
    except Exception as error:
        _tell(door.explain(f"{path.name} could not be noted for later", error))
        return None
    return note


def _read_note(note: Path) -> tuple[str, Path]:
    told = json.loads(note.read_text("utf-8"))
    return str(told["record"]), Path(told["file"])


def _find_release(guard: Guard, record_id: str) -> Release | None:
    """What the ledger holds of a released picture, as far as finishing its file needs it."""
    from provenance_guard.gate import Decision
    from provenance_guard.ledger import events
    from provenance_guard.passage import Release
    from provenance_guard.provenance import Record, restore

    event = next(guard.ledger.events(record_id=record_id, type=events.PICTURE_RELEASED), None)
    if event is None or event.erased:
        return None
    public = event.body["record"]
    record = Record.from_json(restore(public, event.openings))
    decided: dict[str, Any] = dict(record.decision or {})
    decision = Decision(decided["action"], tuple(decided["reasons"]), decided["policy_mode"])
    redacted = (public, tuple(event.openings))
    return Release(door.NO_PICTURE, record, redacted, decision, None, event, guard.config.policy)
