"""Checkpoints are dated by whoever is configured, now or as soon as he can be reached; whatever goes wrong is told, nothing is lost."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
from ledger_samples import picture
from time_authority import OPENSSL, TimeAuthority, online, serving

from provenance_guard.clock import utc_now
from provenance_guard.config import Authority, TimeStamping
from provenance_guard.ledger import Ledger, events, recover_ledger, verify_ledger
from provenance_guard.ledger.anchors import keeping, notary, queue
from provenance_guard.ledger.anchors.anchor import Anchor, anchored_text
from provenance_guard.ledger.anchors.examination import check_order, examine_checkpoint
from provenance_guard.ledger.anchors.notary import Notary
from provenance_guard.ledger.anchors.queue import anchor_newest
from provenance_guard.ledger.anchors.rfc3161 import read_roots

pytest.importorskip("rfc3161_client")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    folder = tmp_path_factory.mktemp("authorities")
    return [TimeAuthority(folder / name, name) for name in ("Alpha", "Beta")]


@pytest.fixture
def both(authorities):
    """Both authorities, online and honest."""
    with ExitStack() as stack:
        for authority in authorities:
            authority.answer = authority.reply
            stack.enter_context(online(authority))
        yield authorities


def asked(*authorities: TimeAuthority, minutes: float = 0) -> TimeStamping:
    return TimeStamping(tuple(Authority(one.url, one.roots) for one in authorities), minutes=minutes)


def grow(ledger: Ledger, count: int = 3) -> None:
    ledger.append_many([picture(number) for number in range(count)])
    ledger.checkpoint()


def results(outcomes):
    return [(outcome.result, outcome.reason) for outcome in outcomes]


def said(ledger, *authorities):
    roots = [root for authority in authorities for root in read_roots(authority.roots.read_bytes())]
    anchors = keeping.kept_anchors(ledger)
    testimonies = []
    for checkpoint in ledger.checkpoints():
        mine = [anchor for anchor in anchors if anchor.size == checkpoint.size]
        testimonies += examine_checkpoint(checkpoint, mine, roots=roots)
    return check_order(testimonies)


def later(**span):
    """All clocks of ours, set forward (or back)."""
    moment = utc_now() + timedelta(**span)
    stack = ExitStack()
    for module in ("anchors.queue", "store", "heads"):
        stack.enter_context(mock.patch(f"provenance_guard.ledger.{module}.utc_now", lambda: moment))
    return stack


def test_several_authorities_date_one_checkpoint(ledger, both):
    grow(ledger)
    outcomes = anchor_newest(ledger, asked(*both))
    assert results(outcomes) == [("anchored", None)] * 2
    testimonies = said(ledger, *both)
    assert all(entry.holds and abs(entry.time - utc_now()) < timedelta(minutes=2) for entry in testimonies)
    assert {entry.who.split(" ")[0] for entry in testimonies} == {"Alpha", "Beta"}
    checkpoint = ledger.checkpoints()[0]
    kept = {anchor.authority: anchor for anchor in keeping.kept_anchors(ledger, checkpoint.size)}
    for authority in both:
        anchor = kept[authority.url]
        assert authority.accepts(anchor.reply, anchored_text(checkpoint))  # openssl ts -verify
        assert anchor.roots == (authority.roots.read_text(),)


def test_that_a_token_came_is_an_event_and_asks_for_no_further_token(ledger, both):
    grow(ledger)
    anchor_newest(ledger, asked(*both))
    event = [*ledger.events(type=events.TIMESTAMP_ATTACHED)][-1]
    assert event.body["authority"] == both[1].url
    assert abs(event.body["clock_ahead_seconds"]) < 60
    ledger.checkpoint()  # over these events alone
    assert results(anchor_newest(ledger, asked(*both))) == [("not due", None)] * 2
    assert verify_ledger(ledger).sound
    grow(ledger, 1)
    assert results(anchor_newest(ledger, asked(*both))) == [("anchored", None)] * 2


def test_only_trusted_roots_make_a_token_count(ledger, both):
    grow(ledger)
    anchor_newest(ledger, asked(*both))
    first, second = sorted(said(ledger, both[1]), key=lambda entry: entry.who)
    assert (first.trusted, first.problem) == (False, None)
    assert "only known from" in first.sentence
    assert second.holds


def test_nobody_is_asked_unless_configured(ledger, both):
    grow(ledger)
    before = both[0].asked
    assert anchor_newest(ledger, TimeStamping()) == []
    assert both[0].asked == before


def test_offline_waits_backs_off_survives_a_restart_and_catches_up(path, signer, both):
    alpha, beta = both
    gone = TimeStamping((Authority("http://127.0.0.1:9/tsr", alpha.roots), Authority(beta.url, beta.roots)), minutes=0)
    with Ledger.open(path, signer) as ledger:
        grow(ledger)
        assert results(anchor_newest(ledger, gone)) == [("failed", "unreachable"), ("anchored", None)]
        grow(ledger)
        assert results(anchor_newest(ledger, gone)) == [("waiting", None), ("anchored", None)]
        first_pause = keeping.read_turn(ledger, "http://127.0.0.1:9/tsr").next_try
    with Ledger.open(path, signer) as ledger:
        assert results(anchor_newest(ledger, gone)) == [("waiting", None), ("not due", None)]
        with later(seconds=31):
            assert results(anchor_newest(ledger, gone))[0] == ("failed", "unreachable")
        turn = keeping.read_turn(ledger, "http://127.0.0.1:9/tsr")
        assert turn.attempts == 2
        assert turn.next_try > first_pause
        assert "cannot be reached" in turn.sentence
        newest = ledger.checkpoints()[-1].size
        with later(days=2), mock.patch.object(queue.rfc3161, "ask", lambda url, request: alpha.reply(request)):
            assert results(anchor_newest(ledger, gone))[0] == ("anchored", "stale")  # our clock is ahead by two days
        sizes = {anchor.size for anchor in keeping.kept_anchors(ledger) if anchor.authority.endswith(":9/tsr")}
        assert sizes == {newest}  # one token covers all that waited
        assert keeping.read_turn(ledger, "http://127.0.0.1:9/tsr").attempts == 0


def test_an_authority_that_comes_back_at_the_same_address(ledger, authorities):
    alpha = authorities[0]
    with online(alpha):
        address = alpha.url
    grow(ledger)
    assert results(anchor_newest(ledger, asked(alpha))) == [("failed", "unreachable")]
    with online(alpha):
        replaced = TimeStamping((Authority(address, alpha.roots),), minutes=0)
        with mock.patch.object(queue.rfc3161, "ask", lambda url, request: alpha.reply(request)):
            assert results(anchor_newest(ledger, replaced, force=True)) == [("anchored", None)]


def test_a_pause_between_two_tokens_of_one_authority(ledger, both):
    settings = asked(both[0], minutes=10)
    grow(ledger)
    assert results(anchor_newest(ledger, settings)) == [("anchored", None)]
    grow(ledger)
    assert results(anchor_newest(ledger, settings)) == [("waiting", None)]
    with later(minutes=11):
        assert results(anchor_newest(ledger, settings))[0][0] == "anchored"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda alpha, beta: beta.reply, "untrusted"),
        (lambda alpha, beta: lambda _: alpha.reply(alpha.request(b"other")), "wrong-imprint"),
        (lambda alpha, beta: lambda request: alpha.reply(request).replace(b"\x18\x0f202", b"\x18\x0f203"), "tampered"),
        (lambda alpha, beta: lambda _: b"<html>Service unavailable</html>", "malformed"),
        (lambda alpha, beta: lambda _: alpha.reply(b"junk"), "refused"),
        (lambda alpha, beta: lambda _: b"x" * (2 << 20), "malformed"),
    ],
)
def test_a_bad_answer_is_refused_with_its_reason_and_never_kept(ledger, both, answer, reason):
    alpha, beta = both
    alpha.answer = answer(alpha, beta)
    grow(ledger)
    outcome = anchor_newest(ledger, asked(alpha))[0]
    assert (outcome.result, outcome.reason) == ("failed", reason)
    assert outcome.sentence
    assert keeping.kept_anchors(ledger) == []
    alpha.answer = alpha.reply
    assert results(anchor_newest(ledger, asked(alpha), force=True)) == [("anchored", None)]


def test_an_old_answer_played_again_is_refused(ledger, both):
    alpha = both[0]
    grow(ledger)
    old: list[bytes] = []

    def remember(request):
        old.append(alpha.reply(request))
        return old[-1]

    alpha.answer = remember
    anchor_newest(ledger, asked(alpha))
    with ledger.transaction() as connection:
        connection.execute("DELETE FROM anchor")
    alpha.answer = lambda _: old[0]
    assert results(anchor_newest(ledger, asked(alpha))) == [("failed", "wrong-nonce")]


def test_a_stale_time_is_told_and_kept_because_nobody_knows_which_clock_is_wrong(ledger, both):
    alpha = both[0]
    alpha.answer = lambda request: alpha.reply_at(request, utc_now() - timedelta(days=61))
    grow(ledger)
    outcome = anchor_newest(ledger, asked(alpha))[0]
    assert (outcome.result, outcome.reason) == ("anchored", "stale")
    assert "61 days" in outcome.sentence
    event = [*ledger.events(type=events.TIMESTAMP_ATTACHED)][-1]
    assert event.body["clock_ahead_seconds"] == pytest.approx(61 * 86400, abs=60)


def test_an_authority_that_contradicts_itself_is_refused(ledger, both):
    alpha = both[0]
    grow(ledger)
    anchor_newest(ledger, asked(alpha))
    grow(ledger)
    alpha.answer = lambda request: alpha.reply_at(request, utc_now() - timedelta(days=1))
    assert results(anchor_newest(ledger, asked(alpha))) == [("failed", "misordered")]


def test_two_authorities_that_contradict_each_other_are_told(ledger, both):
    alpha, beta = both
    grow(ledger)
    anchor_newest(ledger, asked(alpha))
    grow(ledger)
    beta.answer = lambda request: beta.reply_at(request, utc_now() - timedelta(days=1))
    assert results(anchor_newest(ledger, asked(beta))) == [("anchored", "stale")]
    first, second = said(ledger, alpha, beta)
    assert first.holds
    assert second.problem == "misordered"
    assert not second.holds


def test_a_missing_file_of_roots_is_told(ledger, both, tmp_path):
    grow(ledger)
    settings = TimeStamping((Authority(both[0].url, tmp_path / "none.pem"),))
    outcome = anchor_newest(ledger, settings)[0]
    assert (outcome.result, outcome.reason) == ("failed", "untrusted")
    assert "none.pem" in outcome.sentence


def test_anchors_are_backed_up_and_recovered_with_the_ledger(ledger, both, tmp_path, signer):
    grow(ledger)
    anchor_newest(ledger, asked(*both))
    kept = keeping.kept_anchors(ledger)
    ledger.back_up(tmp_path / "copy.sqlite3")
    recover_ledger(tmp_path / "copy.sqlite3", tmp_path / "recovered.sqlite3")
    for name in ("copy.sqlite3", "recovered.sqlite3"):
        with Ledger.open_read_only(tmp_path / name) as copy:
            assert keeping.kept_anchors(copy) == kept


def test_a_ledger_from_before_there_were_anchors_has_none(tmp_path):
    golden = Path(__file__).parents[2] / "golden" / "ledger" / "version-1.sqlite3"
    (tmp_path / "old.sqlite3").write_bytes(golden.read_bytes())
    with Ledger.open_read_only(tmp_path / "old.sqlite3") as ledger:
        assert keeping.kept_anchors(ledger) == []


def test_the_notary_signs_after_ten_minutes_and_dates_in_the_background(ledger, both):
    with mock.patch.object(notary, "LOOK_SECONDS", 0.05):
        watcher = Notary(ledger, asked(*both))
        watcher.start()
        ledger.append_many([picture(1)])
        time.sleep(0.2)
        assert ledger.checkpoints() == []  # not due yet
        with mock.patch("provenance_guard.ledger.heads.utc_now", lambda: utc_now() + timedelta(minutes=11)):
            wait_for(lambda: len(keeping.kept_anchors(ledger)) == 2)
        assert ledger.checkpoints()[0].size == 2  # the key and the picture
        watcher.close()
    assert not watcher._thread.is_alive()


def test_the_last_checkpoint_gets_one_attempt_on_closing(ledger, both):
    watcher = Notary(ledger, asked(both[0]))
    watcher.start()
    ledger.append_many([picture(1)])
    watcher.close()
    assert [anchor.size for anchor in keeping.kept_anchors(ledger)] == [2]


def test_closing_does_not_wait_long_for_an_authority_that_hangs(ledger, both):
    alpha, hang = both[0], threading.Event()
    alpha.answer = lambda request: (hang.wait(20) and b"") or b""
    watcher = Notary(ledger, asked(alpha))
    watcher.start()
    ledger.append_many([picture(1)])
    began = time.monotonic()
    with mock.patch.object(notary, "GRACE_SECONDS", 0.3):
        watcher.close()
    assert time.monotonic() - began < 3
    hang.set()


def test_an_error_of_the_server_is_told(ledger, authorities):
    with serving(lambda path, body: (500, b"")) as url:
        grow(ledger)
        settings = TimeStamping((Authority(url, authorities[0].roots),))
        assert results(anchor_newest(ledger, settings)) == [("failed", "unreachable")]


def test_a_kept_anchor_survives_its_own_form(ledger, both):
    grow(ledger)
    anchor_newest(ledger, asked(both[0]))
    anchor = keeping.kept_anchors(ledger)[0]
    assert Anchor.from_json(json.loads(json.dumps(anchor.to_json()))) == anchor


def wait_for(condition, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def test_signs_of_life_are_no_news(ledger, both):
    grow(ledger)
    anchor_newest(ledger, asked(both[0]))
    ledger.append(events.SESSION_ALIVE, {})
    ledger.checkpoint()
    assert results(anchor_newest(ledger, asked(both[0]))) == [("not due", None)]
