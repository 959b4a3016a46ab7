"""What verification answers about time, identity and independence: with a real authority and a witness, and against cheats."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from unittest import mock

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from PIL import Image
from time_authority import OPENSSL, TimeAuthority, online

from provenance_guard import extras
from provenance_guard.clock import utc_now
from provenance_guard.config import Authority, Config, LabelPolicy, MarkPolicy, Policy, Settings, TimeStamping
from provenance_guard.errors import GuardError
from provenance_guard.guard import Guard
from provenance_guard.ledger import Checkpoint, Ledger, events
from provenance_guard.ledger.anchors import keeping
from provenance_guard.ledger.anchors.acceptance import accept
from provenance_guard.ledger.anchors.anchor import anchored_text
from provenance_guard.ledger.anchors.evidence import CheckpointBundle
from provenance_guard.ledger.anchors.queue import anchor_newest
from provenance_guard.ledger.witness import Witness, sign_as_witness
from provenance_guard.provenance.record import Context
from provenance_guard.provenance.sidecar import (
    parse_sidecar,
    proof_only_sidecar,
    read_sidecar,
    redact_sidecar,
    sidecar_path,
    sign_envelope,
    with_outside,
)
from provenance_guard.review.health import examine
from provenance_guard.review.refreshing import refresh_sidecar
from provenance_guard.review.trust import read_trust
from provenance_guard.review.verdicts import Trust
from provenance_guard.review.verification import verify_file
from provenance_guard.signing import Signer
from provenance_guard.watermark import Payload

pytest.importorskip("rfc3161_client")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")

QUICK = Policy(mode="off", mark=MarkPolicy(enabled=False), label=LabelPolicy(enabled=False))
SUBJECTS = {"content", "record", "chain", "time", "identity", "independence", "labels", "mark"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    with online(TimeAuthority(tmp_path_factory.mktemp("authority") / "alpha", "Alpha")) as served:
        yield served


@pytest.fixture(autouse=True)
def no_mark(monkeypatch):
    """Nothing is marked here, and looking for marks takes seconds."""
    monkeypatch.setattr(Guard, "detector", None)


@pytest.fixture
def studio(tmp_path, authority):
    """An installation that has its checkpoints dated when it is asked to."""
    authority.answer = authority.reply
    asked = TimeStamping((Authority(authority.url, authority.roots),), minutes=0)
    return Config(tmp_path / "data", tmp_path / "keys", QUICK, Settings(timestamping=asked))


@pytest.fixture
def stranger(tmp_path):
    """Somebody with no ledger, no key and no settings."""
    return Guard(Config(tmp_path / "elsewhere", tmp_path / "no keys", QUICK))


def make(config, folder, number=1):
    quiet = dataclasses.replace(config, settings=Settings())
    with Guard(quiet) as guard:
        release = guard.release(Image.new("RGB", (64, 64), (number, 40, 90)), Context("webui.txt2img", {"prompt": "a"}))
        path = folder / f"{number}.png"
        release.image.save(path)
        assert guard.seal(release, path).failures == ()
    return path


def stamp(config):
    with Ledger.open(config.ledger_path, Signer.open(config.key_directory)) as ledger:
        ledger.checkpoint()
        return anchor_newest(ledger, config.settings.timestamping, force=True)


def refresh(config, path):
    with Ledger.open_read_only(config.ledger_path) as ledger:
        return refresh_sidecar(sidecar_path(path), ledger).result


def trusting(config, authority, **more):
    return read_trust(keys=[config.key_directory / "signing-1.pub"], roots=[authority.roots], **more)


def verdicts(verification):
    return {finding.subject: finding.verdict for finding in verification.findings}


def sentence(verification, subject):
    return " ".join(finding.sentence for finding in verification.findings if finding.subject == subject)


# A picture and its sidecar, elsewhere


def test_before_anybody_outside_saw_it(studio, stranger, tmp_path, authority):
    path = make(studio, tmp_path)
    found = verify_file(path, stranger, trusting(studio, authority))
    assert set(verdicts(found)) == SUBJECTS
    assert verdicts(found)["time"] == verdicts(found)["independence"] == "unknown"
    assert "No clock but the owner's" in sentence(found, "time")
    assert refresh(studio, path) == "waiting"


def test_with_a_refreshed_sidecar_it_verifies_with_no_ledger_at_hand(studio, stranger, tmp_path, authority):
    path = make(studio, tmp_path)
    signed = read_sidecar(sidecar_path(path)).envelope
    stamp(studio)
    assert (refresh(studio, path), refresh(studio, path)) == ("refreshed", "unchanged")
    after = read_sidecar(sidecar_path(path)).envelope
    assert (after.payload, after.signatures) == (signed.payload, signed.signatures)
    found = verify_file(path, stranger, trusting(studio, authority))
    assert {s: v for s, v in verdicts(found).items() if s not in ("labels", "mark")} == dict.fromkeys(
        ("content", "record", "chain", "time", "identity", "independence"), "holds"
    )
    assert "by the clock of Alpha" in sentence(found, "time")
    assert "signing-1" in sentence(found, "identity")


def test_what_the_evidence_brings_along_is_not_trusted(studio, stranger, tmp_path):
    path = make(studio, tmp_path)
    stamp(studio)
    refresh(studio, path)
    found = verify_file(path, stranger)
    assert (verdicts(found)["time"], verdicts(found)["identity"], verdicts(found)["independence"]) == ("unknown",) * 3
    assert "only known from the token's keeper" in sentence(found, "time")
    assert found.holds


def test_no_answer_overclaims(studio, stranger, tmp_path, authority):
    path = make(studio, tmp_path)
    stamp(studio)
    refresh(studio, path)
    for guard in (stranger, Guard(studio)):
        for file in (path, studio.ledger_path):
            told = json.dumps(verify_file(file, guard, trusting(studio, authority)).to_json()).lower()
            assert "authentic" not in told
            assert "human-made" not in told


def test_evidence_of_another_record_is_found(studio, stranger, tmp_path, authority):
    first, second = make(studio, tmp_path, 1), make(studio, tmp_path, 2)
    stamp(studio)
    refresh(studio, first)
    refresh(studio, second)
    foreign = read_sidecar(sidecar_path(second)).outside
    sidecar_path(first).write_bytes(with_outside(read_sidecar(sidecar_path(first)), foreign))
    found = verify_file(first, stranger, trusting(studio, authority))
    assert verdicts(found)["independence"] == "fails"
    assert not found.holds


def test_a_swapped_sidecar_is_found(studio, stranger, tmp_path, authority):
    first, second = make(studio, tmp_path, 1), make(studio, tmp_path, 2)
    shutil.copy(sidecar_path(second), sidecar_path(first))
    assert verdicts(verify_file(first, stranger, trusting(studio, authority)))["content"] == "fails"


@pytest.mark.parametrize("place", ["reply", "request"])
def test_a_changed_token_is_found(studio, stranger, tmp_path, authority, place):
    path = make(studio, tmp_path)
    stamp(studio)
    refresh(studio, path)
    sidecar = read_sidecar(sidecar_path(path))
    evidence = json.loads(json.dumps(sidecar.outside))
    text = evidence["anchors"][0][place]
    # Near the end of a reply is its signature, near the end of a request its nonce.
    at = len(text) - 16
    evidence["anchors"][0][place] = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
    sidecar_path(path).write_bytes(with_outside(sidecar, evidence))
    found = verify_file(path, stranger, trusting(studio, authority))
    assert verdicts(found)["time"] == "fails"


@pytest.mark.parametrize("junk", [7, "text", {}, {"version": 1, "proofs": [], "anchors": []}, {"version": 9}, []])
def test_evidence_that_makes_no_sense_is_told(studio, stranger, tmp_path, authority, junk):
    path = make(studio, tmp_path)
    sidecar_path(path).write_bytes(with_outside(read_sidecar(sidecar_path(path)), junk))
    found = verify_file(path, stranger, trusting(studio, authority))
    assert verdicts(found)["independence"] == "fails"


def test_the_profiles_keep_what_outsiders_said(studio, stranger, tmp_path, authority):
    path = make(studio, tmp_path)
    stamp(studio)
    refresh(studio, path)
    full = read_sidecar(sidecar_path(path))
    signer = Signer.open(studio.key_directory)
    for content in (redact_sidecar(full), proof_only_sidecar(full, signer)):
        sidecar_path(path).write_bytes(content)
        found = verify_file(path, stranger, trusting(studio, authority))
        assert {verdicts(found)[s] for s in ("content", "record", "chain", "time", "independence")} == {"holds"}


def test_a_proof_only_sidecar_tells_nothing_of_the_event(studio, tmp_path):
    path = make(studio, tmp_path)
    content = proof_only_sidecar(read_sidecar(sidecar_path(path)), Signer.open(studio.key_directory))
    predicate = parse_sidecar(content, path).predicate
    assert "event" not in predicate["ledger"]
    assert "event" not in predicate["file_ledger"]
    assert "txt2img" not in json.dumps(dict(predicate))


def test_a_statement_about_another_record_than_its_proof_is_found(studio, stranger, tmp_path, authority):
    """The owner of the key may sign what he likes; he cannot make an old leaf say it."""
    path = make(studio, tmp_path)
    sidecar = read_sidecar(sidecar_path(path))
    statement = json.loads(sidecar.envelope.payload)
    statement["predicate"]["record"]["width"] = 4096
    content = sign_envelope(json.dumps(statement).encode(), Signer.open(studio.key_directory))
    sidecar_path(path).write_bytes(content)
    found = verify_file(path, stranger, trusting(studio, authority))
    assert verdicts(found)["chain"] == "fails"
    assert "another record" in sentence(found, "chain")


# Clocks


def test_a_record_from_the_future_is_contradicted(studio, tmp_path, authority):
    ahead = utc_now() + timedelta(days=61)
    with mock.patch("provenance_guard.ledger.store.utc_now", lambda: ahead):
        path = make(studio, tmp_path)
    stamp(studio)
    found = verify_file(path, Guard(studio))
    assert verdicts(found)["time"] == "fails"
    assert "one of the clocks is wrong" in sentence(found, "time")
    ledger = verify_file(studio.ledger_path, Guard(studio))
    assert "61 days" in sentence(ledger, "time") or "60 days" in sentence(ledger, "time")


def test_a_clock_set_back_two_months_is_noted_by_sequence_and_by_the_token(studio, tmp_path):
    make(studio, tmp_path, 1)
    stamp(studio)
    back = utc_now() - timedelta(days=61)
    with mock.patch("provenance_guard.ledger.store.utc_now", lambda: back):
        path = make(studio, tmp_path, 2)
    stamp(studio)
    found = verify_file(studio.ledger_path, Guard(studio))
    told = sentence(found, "time")
    assert "The clock was set back by 6" in told  # by sequence
    assert "follows on a word from outside: Alpha" in told  # by the token
    assert verdicts(found)["chain"] == "holds"
    picture = verify_file(path, Guard(studio))
    assert "that clock was set back" in sentence(picture, "time")
    assert verdicts(picture)["time"] == "holds"  # it existed when the second token came


# The whole ledger


def test_a_ledger_with_tokens_and_a_witness(studio, tmp_path, authority):
    make(studio, tmp_path)
    stamp(studio)
    eye = Signer(Ed25519PrivateKey.generate())
    witness = Witness("example.org/ada", eye.public_bytes)
    with Ledger.open(studio.ledger_path, Signer.open(studio.key_directory)) as ledger:
        newest = ledger.checkpoints()[-1]
        line = sign_as_witness(newest, witness.name, eye, utc_now())
        accept(ledger, newest.with_signatures((*newest.signatures, line)).text(), [])
    settings = dataclasses.replace(studio.settings, witnesses=(witness.text(),))
    found = verify_file(studio.ledger_path, Guard(dataclasses.replace(studio, settings=settings)))
    assert verdicts(found) == dict.fromkeys(("chain", "time", "independence", "identity"), "holds")
    assert "Alpha" in sentence(found, "independence")
    assert "example.org/ada" in sentence(found, "independence")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("DELETE FROM anchor", "is gone"),
        ("UPDATE anchor SET document = replace(document, '\"received\"', '\"request\"')", "kept time token"),
        ("UPDATE anchor SET document = '{'", "damaged"),
        ("UPDATE anchor SET document = replace(document, 'rfc3161', 'opentimestamps')", "damaged"),
        ("UPDATE anchor SET size = 1", "damaged"),
    ],
)
def test_tokens_that_were_taken_away_or_changed_are_found(studio, tmp_path, harm, told):
    make(studio, tmp_path)
    stamp(studio)
    assert verify_file(studio.ledger_path, Guard(studio)).holds
    with closing(sqlite3.connect(studio.ledger_path, isolation_level=None)) as connection:
        assert connection.execute(harm).rowcount == 1
    found = verify_file(studio.ledger_path, Guard(studio))
    assert verdicts_of_time(found) == "fails"
    assert told in sentence(found, "time")


def test_every_changed_bit_of_a_kept_token_is_found(studio, tmp_path):
    """Also where a token states nothing: the ledger holds the hash of the whole reply."""
    make(studio, tmp_path)
    stamp(studio)
    with Ledger.open_read_only(studio.ledger_path) as ledger:
        anchor = keeping.kept_anchors(ledger)[0]
    guard = Guard(studio)
    for place in range(0, len(anchor.reply), len(anchor.reply) // 40):
        changed = bytearray(anchor.reply)
        changed[place] ^= 0x10
        document = json.dumps(dataclasses.replace(anchor, reply=bytes(changed)).to_json())
        with closing(sqlite3.connect(studio.ledger_path, isolation_level=None)) as connection:
            connection.execute("UPDATE anchor SET document = ?", (document,))
        assert verdicts_of_time(verify_file(studio.ledger_path, guard)) == "fails", place


def verdicts_of_time(verification):
    answers = [finding.verdict for finding in verification.findings if finding.subject == "time"]
    return "fails" if "fails" in answers else answers[0]


# Rolled back to an older copy


@pytest.fixture
def rolled_back(studio, tmp_path):
    """A ledger that was put back to an older copy, and what others kept of the newer one."""
    make(studio, tmp_path, 1)
    stamp(studio)
    with Ledger.open(studio.ledger_path, Signer.open(studio.key_directory)) as ledger:
        ledger.back_up(tmp_path / "older.sqlite3")
    path = make(studio, tmp_path, 2)
    stamp(studio)
    refresh(studio, path)
    kept = tmp_path / "kept"
    kept.mkdir()
    with Ledger.open_read_only(studio.ledger_path) as ledger:
        anchor = keeping.kept_anchors(ledger)[-1]
        checkpoint = next(one for one in ledger.checkpoints() if one.size == anchor.size)
    (kept / "note.txt").write_bytes(checkpoint.text().encode())
    (kept / "bundle.json").write_text(json.dumps(CheckpointBundle(checkpoint, (anchor,)).to_json()))
    (kept / "token.tsr").write_bytes(anchor.reply)
    shutil.copy(sidecar_path(path), kept / "2.png.prov.json")
    for leftover in tmp_path.glob("data/ledger.sqlite3*"):
        leftover.unlink()
    shutil.copy(tmp_path / "older.sqlite3", studio.ledger_path)
    return kept


@pytest.mark.parametrize("name", ["note.txt", "bundle.json", "token.tsr", "2.png.prov.json"])
def test_a_rollback_is_found_by_anything_that_was_kept(studio, rolled_back, name):
    assert verify_file(studio.ledger_path, Guard(studio)).holds  # by itself an older copy looks sound
    found = verify_file(studio.ledger_path, Guard(studio), read_trust(checkpoints=[rolled_back / name]))
    assert verdicts(found)["chain"] == "fails"
    assert "rolled back" in sentence(found, "chain")


def test_a_rollback_is_found_by_the_picture_that_is_missing_in_it(studio, rolled_back, tmp_path):
    found = verify_file(tmp_path / "2.png", Guard(studio))
    assert verdicts(found)["chain"] == "fails"
    assert "older copy" in sentence(found, "chain")


def test_a_fork_is_found(studio, rolled_back, tmp_path):
    """Events were added to the older copy, so that it is as long as before, and tells something else."""
    for number in (3, 4, 5):
        make(studio, tmp_path, number)
    found = verify_file(studio.ledger_path, Guard(studio), read_trust(checkpoints=[rolled_back / "note.txt"]))
    assert verdicts(found)["chain"] == "fails"
    assert "another tree" in sentence(found, "chain")
    assert verdicts(verify_file(tmp_path / "2.png", Guard(studio)))["chain"] == "fails"


def test_a_forged_checkpoint_is_found(studio, tmp_path):
    make(studio, tmp_path)
    forger = Signer(Ed25519PrivateKey.generate())
    with Ledger.open_read_only(studio.ledger_path) as ledger:
        honest = ledger.checkpoints()[-1]
    forged = Checkpoint.sign(honest.origin, honest.size, honest.root, forger)
    with closing(sqlite3.connect(studio.ledger_path, isolation_level=None)) as connection:
        connection.execute("UPDATE checkpoint SET note = ?", (forged.text(),))
    found = verify_file(studio.ledger_path, Guard(studio))
    assert verdicts(found)["chain"] == "fails"
    assert f"size {honest.size}" in sentence(found, "chain")


def test_what_holds_no_checkpoint_is_refused(tmp_path):
    for content in (b"", b"words", b"\x30\x00", b"{}", b'{"payload": 1}', b"\xff\xfe", b"old 3\n\n"):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(GuardError):
            read_trust(checkpoints=[tmp_path / "x"])
    with pytest.raises(GuardError):
        read_trust(checkpoints=[tmp_path / "missing"])


def test_nobody_known_is_nobody():
    assert Trust() == read_trust()


def test_openssl_agrees_on_the_token_in_a_sidecar(studio, tmp_path, authority):
    path = make(studio, tmp_path)
    stamp(studio)
    refresh(studio, path)
    evidence = read_sidecar(sidecar_path(path)).outside
    bundle = CheckpointBundle.from_json(
        {"version": 1, "checkpoint": evidence["proofs"][0]["checkpoint"], "anchors": evidence["anchors"]}
    )
    assert authority.accepts(bundle.anchors[0].reply, anchored_text(bundle.checkpoint))


def test_without_the_library_tokens_are_told_to_be_uncheckable_and_nothing_fails(
    studio, tmp_path, authority, monkeypatch
):
    path = make(studio, tmp_path)
    stamp(studio)
    refresh(studio, path)
    monkeypatch.setattr("provenance_guard.extras.load", lambda module: None)
    monkeypatch.setitem(extras._reasons, "rfc3161_client", "not installed")
    found = verify_file(path, Guard(studio))
    assert found.holds
    assert verdicts(found)["time"] == "unknown"
    assert "rfc3161-client" in sentence(found, "time")
    assert stamp_again(studio).reason == "unverifiable"
    assert verify_file(studio.ledger_path, Guard(studio)).holds


def stamp_again(config):
    make(config, config.data_directory.parent, 9)
    return stamp(config)[0]


def test_work_goes_on_when_no_authority_answers(studio, tmp_path, authority):
    gone = TimeStamping((Authority("http://127.0.0.1:9/tsr", authority.roots),), ("http://127.0.0.1:9",), minutes=0)
    settings = dataclasses.replace(studio.settings, timestamping=gone)
    with Guard(dataclasses.replace(studio, settings=settings)) as guard:
        release = guard.release(Image.new("RGB", (64, 64)), Context("webui.txt2img", {"prompt": "a"}))
        release.image.save(tmp_path / "x.png")
        assert guard.seal(release, tmp_path / "x.png").failures == ()
    with Ledger.open_read_only(studio.ledger_path) as ledger:
        turn = keeping.read_turn(ledger, "http://127.0.0.1:9/tsr")
    assert (turn.attempts, turn.reason) == (1, "unreachable")
    assert verify_file(tmp_path / "x.png", Guard(studio)).holds


# Keys that change, and ledgers of others


def change_key(config):
    key = Ed25519PrivateKey.generate()
    new = config.key_directory / "signing-2.pem"
    new.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def test_after_a_change_of_keys_all_still_holds(studio, stranger, tmp_path, authority):
    first = make(studio, tmp_path, 1)
    change_key(studio)
    second = make(studio, tmp_path, 2)
    stamp(studio)
    for path in (first, second):
        assert refresh(studio, path) == "refreshed"
    guard = Guard(studio)
    assert verdicts(verify_file(studio.ledger_path, guard))["chain"] == "holds"
    for path in (first, second):
        found = verdicts(verify_file(path, guard))
        assert {found[s] for s in ("content", "record", "chain", "time", "identity", "independence")} == {"holds"}
    keys = sorted(studio.key_directory.glob("*.pub"))
    assert len(keys) == 2
    both = verdicts(verify_file(first, stranger, read_trust(keys=keys, roots=[authority.roots])))
    assert {both[s] for s in ("chain", "time", "identity", "independence")} == {"holds"}
    found = verify_file(first, stranger, read_trust(keys=keys[:1], roots=[authority.roots]))
    assert found.holds
    assert verdicts(found)["independence"] == "unknown"  # the later checkpoint is signed with the key that is not given
    assert "another key" in sentence(found, "independence")


def test_the_ledger_of_a_stranger_is_not_held_against_him(studio, tmp_path):
    make(studio, tmp_path)
    other = Config(tmp_path / "other data", tmp_path / "other keys", QUICK)
    make(other, tmp_path, 2)
    found = verify_file(studio.ledger_path, Guard(other))
    assert (verdicts(found)["chain"], verdicts(found)["identity"]) == ("holds", "unknown")
    wrong = verify_file(studio.ledger_path, Guard(other), read_trust(keys=[other.key_directory / "signing-1.pub"]))
    assert verdicts(wrong)["chain"] == "fails"


def test_a_ledger_that_was_put_in_the_place_of_our_own_is_found(studio, tmp_path):
    make(studio, tmp_path)
    other = Config(tmp_path / "other data", tmp_path / "other keys", QUICK)
    make(other, tmp_path, 2)
    for leftover in studio.data_directory.glob("ledger.sqlite3*"):
        leftover.unlink()
    shutil.copy(other.ledger_path, studio.ledger_path)
    assert verdicts(verify_file(studio.ledger_path, Guard(studio)))["chain"] == "fails"


def test_doctor_tells_who_dates_the_ledger(studio, tmp_path, authority):
    def said(config):
        return [(check.state, check.sentence) for check in examine(config) if check.subject == "time"]

    assert said(dataclasses.replace(studio, settings=Settings()))[0][0] == "note"
    make(studio, tmp_path)
    assert said(studio) == [("fine", f"{authority.url} is to be asked about the newest checkpoint.")]
    authority.answer = lambda _: b"junk"
    stamp(studio)
    state, told = said(studio)[0]
    assert (state, "in vain" in told) == ("note", True)
    authority.answer = authority.reply
    stamp(studio)
    assert said(studio) == [("fine", f"{authority.url} has dated all there is.")]
    lost = TimeStamping((Authority(authority.url, tmp_path / "none.pem"),))
    assert said(dataclasses.replace(studio, settings=Settings(timestamping=lost)))[0][0] == "problem"


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE checkpoint SET note = x'00ff'",
        "UPDATE checkpoint SET note = 0",
        "UPDATE event SET time = 7 WHERE type = 'timestamp.attached'",
        "UPDATE event SET time = ''",
        "UPDATE event SET bytes = 3",
        "UPDATE anchor SET document = x'00'",
        "UPDATE anchor SET document = '[]'",
        "UPDATE anchor SET size = 'x'",
        "UPDATE anchor SET authority = 3",
        "DELETE FROM event WHERE seq = 1",
        "DELETE FROM identity",
        "DELETE FROM checkpoint",
        "DROP TABLE anchor",
    ],
)
def test_whatever_is_in_the_file_is_told_and_breaks_nothing(studio, tmp_path, harm):
    path = make(studio, tmp_path)
    stamp(studio)
    with closing(sqlite3.connect(studio.ledger_path, isolation_level=None)) as connection:
        connection.execute(harm)
    assert not verify_file(studio.ledger_path, Guard(studio)).holds
    verify_file(path, Guard(studio))


def test_an_event_of_a_stranger_that_makes_no_sense_breaks_nothing(studio, tmp_path):
    make(studio, tmp_path)
    with Ledger.open(studio.ledger_path, Signer.open(studio.key_directory)) as ledger:
        ledger.append(
            events.TIMESTAMP_ATTACHED, {"kind": [], "size": {}, "authority": None, "time": [1], "reply_sha256": {}}
        )
    assert "is gone" in sentence(verify_file(studio.ledger_path, Guard(studio)), "time")


def test_each_of_several_files_of_one_record_is_the_one_that_was_sealed(studio, tmp_path):
    with Guard(dataclasses.replace(studio, settings=Settings())) as guard:
        release = guard.release(Image.new("RGB", (64, 64), (9, 40, 90)), Context("webui.txt2img", {"prompt": "a"}))
        paths = [tmp_path / "x.png", tmp_path / "x.jpg"]
        for path in paths:
            release.image.save(path)
            assert guard.seal(release, path).failures == ()
    for path in paths:
        found = verdicts(verify_file(path, Guard(studio)))
        assert (found["content"], found["chain"]) == ("holds", "holds")
        sidecar_path(path).unlink()
        assert verdicts(verify_file(path, Guard(studio)))["content"] == "holds"


def test_a_copy_that_only_carries_the_mark_is_told_to_be_one(studio, tmp_path, monkeypatch):
    path = make(studio, tmp_path)
    record_id = read_sidecar(sidecar_path(path)).record_id
    payload = Payload.for_record(record_id, utc_now()).pack()
    found = mock.Mock(payload=payload)
    monkeypatch.setattr(Guard, "detector", mock.Mock(detect=lambda image: found))
    copy = tmp_path / "from the web.jpg"
    Image.open(path).resize((60, 60)).save(copy)
    told = verify_file(copy, Guard(studio))
    assert verdicts(told)["content"] == "unknown"
    assert sentence(told, "content").startswith("Only the mark")
    shutil.copy(sidecar_path(path), sidecar_path(copy))
    assert verdicts(verify_file(copy, Guard(studio)))["content"] == "fails"
