"""Examine a whole ledger: its chain, and what outsiders said about its checkpoints."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from itertools import chain, islice
from pathlib import Path

from provenance_guard.clock import format_time
from provenance_guard.errors import GuardError
from provenance_guard.guard import Guard
from provenance_guard.ledger import Checkpoint, Event, Ledger, LedgerReport, events, verify_ledger
from provenance_guard.ledger.anchors.anchor import Anchor, anchored_digest
from provenance_guard.ledger.anchors.examination import check_order, examine_checkpoint
from provenance_guard.ledger.anchors.keeping import kept_anchors
from provenance_guard.ledger.anchors.testimony import Testimony
from provenance_guard.review.gaps import gap_findings
from provenance_guard.review.outside import read_time
from provenance_guard.review.trust import with_own_trust
from provenance_guard.review.verdicts import CLOCK_TOLERANCE, Finding, Trust, Verification, independence_finding

MOST_FINDINGS = 20  # of one kind


def verify_ledger_file(path: Path, guard: Guard, trust: Trust | None = None) -> Verification:
    """Check a whole ledger: sequence, chain, tree, checkpoints and signatures; the tokens and cosignatures on its checkpoints;
    and that it still is the ledger of every checkpoint and token that was kept elsewhere. Never raises GuardError."""
    try:
        given = bool(trust and trust.keys)
        trust = with_own_trust(trust, guard)
        owned = given or path.absolute() == guard.config.ledger_path.absolute() or _names_a_key_of(path, trust)
        keys = [*trust.keys.values()] if owned else []  # Of a stranger's ledger, nobody's key is known.
        report = verify_ledger(path, public_keys=keys or None, known_checkpoints=trust.checkpoints)
    except GuardError as error:
        return Verification(path, (Finding("chain", "fails", str(error)),))
    try:
        with closing(Ledger.open_read_only(path)) as ledger:
            outside = [*_outside_findings(ledger, trust), *gap_findings(ledger)]
            whole = [*_chain_findings(report), *_missed_tokens(ledger, trust)]
    except GuardError as error:  # Damage is told in full by the report; what outsiders said may be beyond reading.
        whole, outside = [*_chain_findings(report)], []
        if report.sound:
            outside = [Finding("time", "fails", str(error))]
    notes = [Finding("time", "unknown", note) for note in report.notes[:MOST_FINDINGS]]
    return Verification(path, (*whole, *outside, *notes, _identity_finding(report, trust)))


def _names_a_key_of(path: Path, trust: Trust) -> bool:
    """Whether a ledger names a key that the one who checks knows; also when that cannot be read, so that nothing is let off."""
    known = {key.hex() for key in trust.keys.values()}
    try:
        with closing(Ledger.open_read_only(path)) as ledger:
            return any(str(event.body.get("public_key")) in known for event in ledger.events(type=events.KEY_ADDED))
    except GuardError:
        return True


def contradiction(ledger: Ledger, checkpoint: Checkpoint) -> str:
    """How the ledger at hand contradicts a checkpoint of its own that was kept elsewhere, as a sentence; empty when it does not."""
    if checkpoint.origin != ledger.origin:
        return ""
    size = ledger.size
    if size < checkpoint.size:
        return (
            f"The ledger at hand has {size} events, and this was proven in one of {checkpoint.size}: it was cut, or an older copy "
            "was put in its place."
        )
    if ledger.root(checkpoint.size) != checkpoint.root:
        return "The ledger at hand has other events than the one in which this was proven: it was changed or replaced."
    return ""


def _chain_findings(report: LedgerReport) -> Iterator[Finding]:
    if report.sound:
        told = f"All {report.size} events are as they were written, {report.signed_size} of them under a signed checkpoint."
        yield Finding("chain", "holds", told)
    for problem in report.problems:
        yield Finding("chain", "fails", problem.sentence)


def _missed_tokens(ledger: Ledger, trust: Trust) -> Iterator[Finding]:
    """Tokens kept elsewhere whose checkpoint is not in this ledger."""
    known = {anchored_digest(checkpoint) for checkpoint in (*ledger.checkpoints(), *trust.checkpoints)}
    for imprint in trust.imprints:
        if imprint not in known:
            told = (
                f"The time token over {imprint.hex()[:16]}... is about no checkpoint of this ledger: the ledger was rolled back or "
                "replaced, or the token is of another one."
            )
            yield Finding("chain", "fails", told)


def _outside_findings(ledger: Ledger, trust: Trust) -> Iterator[Finding]:
    anchors = kept_anchors(ledger)
    by_size: dict[int, list[Anchor]] = defaultdict(list)
    for anchor in anchors:
        by_size[anchor.size].append(anchor)
    heard: list[Testimony] = []
    for checkpoint in ledger.checkpoints():
        mine = by_size.pop(checkpoint.size, [])
        heard += examine_checkpoint(checkpoint, mine, roots=trust.roots, witnesses=trust.witnesses)
    heard = check_order(heard)
    bad = [
        entry
        for entry in heard
        if entry.problem in ("tampered", "wrong-imprint", "wrong-nonce", "malformed", "misordered")
    ]
    yield from (Finding("time", "fails", entry.sentence) for entry in bad[:MOST_FINDINGS])
    for size in by_size:
        yield Finding("time", "fails", f"A time token is kept for a checkpoint over {size} events that is not there.")
    yield from _removed_tokens(ledger, anchors)
    good = [entry for entry in heard if entry.holds and entry.time]
    yield from _contradicted_clocks(ledger, good)
    if good:
        last = good[-1]
        told = f"{len(good)} checkpoint(s) are dated from outside, the last over {last.size} of {ledger.size} events: {last.sentence}"
        yield Finding("time", "holds", told)
    elif not bad:
        hints = "".join(f" {entry.sentence}" for entry in heard[-3:])
        yield Finding("time", "unknown", f"No clock but the owner's, and an owner can set it.{hints}")
    yield independence_finding(heard)


def _removed_tokens(ledger: Ledger, anchors: Iterable[Anchor]) -> Iterator[Finding]:
    """Tokens that the ledger says it got, and that are not there, or are others by now."""
    there: dict[tuple[str, ...], str] = {
        (a.kind, str(a.size), a.authority): hashlib.sha256(a.reply).hexdigest() for a in anchors
    }
    named: dict[tuple[str, ...], Event] = {}
    for event in ledger.events(type=events.TIMESTAMP_ATTACHED):
        if not event.erased:
            named[_values(event, "kind", "size", "authority")] = event  # the last one counts
    for (kind, size, authority), event in named.items():
        kept = there.get((kind, size, authority))
        if kept != event.body.get("reply_sha256"):
            fate = "was changed" if kept else "is gone"
            told = f"The time token of {authority} over {size} events, which event {event.seq} names, {fate}."
            yield Finding("time", "fails", told)


def _contradicted_clocks(ledger: Ledger, good: Sequence[Testimony]) -> Iterator[Finding]:
    """Where the writer's clock and an outsider's cannot both be right. The order of events and the outsider's time stand."""
    told = chain(_clocks_ahead(ledger, good), _clocks_set_back(ledger, good))
    yield from (Finding("time", "unknown", sentence) for sentence in islice(told, MOST_FINDINGS))


def _clocks_ahead(ledger: Ledger, good: Sequence[Testimony]) -> Iterator[str]:
    for entry in good:
        moment = read_time(ledger.event(entry.size - 1).time)
        if moment and entry.time and moment > entry.time + CLOCK_TOLERANCE:
            ahead = _told(moment - entry.time)
            yield f"Event {entry.size - 1} was written by a clock that was {ahead} ahead: {entry.sentence}"


def _clocks_set_back(ledger: Ledger, good: Sequence[Testimony]) -> Iterator[str]:
    """The first event after a token that says it is from before: what is written after a token came is later than its time."""
    by_token = {(entry.kind, str(entry.size), format_time(entry.time)): entry for entry in good if entry.time}
    words = {
        event.seq: by_token[key]
        for event in ledger.events(type=events.TIMESTAMP_ATTACHED)
        if (key := _values(event, "kind", "size", "time")) in by_token
    }
    latest: Testimony | None = None
    floor = ""  # what no event from here on may say to be before
    with ledger.snapshot() as connection:
        rows = connection.execute("SELECT seq, time FROM event WHERE seq >= ?", (min(words, default=ledger.size),))
        for seq, time in rows:
            word = words.get(seq)
            if word and word.time and (latest is None or latest.time is None or word.time > latest.time):
                latest, floor = word, format_time(word.time - CLOCK_TOLERANCE)
            if latest and isinstance(time, str) and time < floor:
                yield f"Event {seq} says {time}, but follows on a word from outside: {latest.sentence} Its clock was set back."
                floor = ""


def _identity_finding(report: LedgerReport, trust: Trust) -> Finding:
    names = ", ".join(sorted(trust.keys))
    if report.keys_from_ledger:
        told = "The keys are only known from the ledger itself: one holder of keys made it all; who that is must be learnt elsewhere."
        return Finding("identity", "unknown", told)
    if report.signed_size:
        return Finding("identity", "holds", f"The checkpoints are signed with a key that you know ({names}).")
    return Finding("identity", "unknown", f"No checkpoint is signed with a key that you know ({names}).")


def _values(event: Event, *names: str) -> tuple[str, ...]:
    """Members of an event's body as texts, whatever they are."""
    return tuple(str(event.body.get(name)) for name in names)


def _told(span: timedelta) -> str:
    return f"{span.days} days" if span >= timedelta(days=2) else str(timedelta(seconds=round(span.total_seconds())))
