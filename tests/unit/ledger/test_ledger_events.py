"""The bytes of an event."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_guard.errors import LedgerError
from provenance_guard.ledger import NewEvent, events

TIME = "2026-11-22T08:00:00.000Z"
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=12), JSON_VALUES, max_size=5), st.integers(0, (1 << 62) - 1))
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_read(body, seq):
    written = events.write_event(seq, events.FIRST_PREVIOUS, TIME, NewEvent("note.added", body, "ab" * 16))
    assert events.read_event(written.stored) == written
    assert json.loads(written.stored)["body"] == body


def test_a_lone_surrogate_survives():
    written = events.write_event(0, events.FIRST_PREVIOUS, TIME, NewEvent("note.added", {"name": "a\udc80b"}))
    assert events.read_event(written.stored).body == {"name": "a\udc80b"}


def test_two_equal_events_have_different_hashes():
    first, second = (events.write_event(0, events.FIRST_PREVIOUS, TIME, NewEvent("note.added", {})) for _ in range(2))
    assert first.leaf_hash != second.leaf_hash


@pytest.mark.parametrize(
    "new",
    [
        NewEvent("", {}),
        NewEvent("a b", {}),
        NewEvent("x" * 65, {}),
        NewEvent("note.added", {}, "\udc80"),
        NewEvent("note.added", {"n": float("nan")}),
        NewEvent("note.added", {"n": {1, 2}}),
        NewEvent("note.added", {"n": b"bytes"}),
        NewEvent("note.added", {}, None, ("an opening without commitment",)),
    ],
)
def test_what_cannot_be_written_is_refused(new):
    with pytest.raises(LedgerError):
        events.write_event(0, events.FIRST_PREVIOUS, TIME, new)


def test_a_body_without_end_is_refused():
    body: dict = {}
    body["self"] = body
    with pytest.raises(LedgerError):
        events.write_event(0, events.FIRST_PREVIOUS, TIME, NewEvent("note.added", body))


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_bytes_that_are_no_event_are_one_error(stored):
    with pytest.raises(LedgerError):
        events.read_event(stored)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": 0},
        {"version": "1"},
        {"version": True},
        {"seq": -1},
        {"seq": 1 << 63},
        {"seq": 1.0},
        {"seq": True},
        {"previous": None},
        {"time": 5},
        {"type": None},
        {"record": 5},
        {"record": 0},
        {"record": []},
        {"salt": None},
        {"body": []},
    ],
)
def test_fields_of_a_wrong_kind_are_refused(change):
    document = json.loads(events.write_event(3, events.FIRST_PREVIOUS, TIME, NewEvent("note.added", {})).stored)
    with pytest.raises(LedgerError):
        events.read_event(json.dumps({**document, **change}).encode())


def test_a_leaf_of_the_future_says_so():
    document = json.loads(events.write_event(3, events.FIRST_PREVIOUS, TIME, NewEvent("note.added", {})).stored)
    with pytest.raises(LedgerError, match="Update Provenance Guard"):
        events.read_event(json.dumps({**document, "version": 2}).encode())


def test_missing_and_double_names_are_refused():
    stored = events.write_event(3, events.FIRST_PREVIOUS, TIME, NewEvent("note.added", {})).stored
    with pytest.raises(LedgerError, match="fields are missing: salt"):
        events.read_event(stored.replace(b'"salt"', b'"s"'))
    with pytest.raises(LedgerError, match="occurs twice"):
        events.read_event(stored.replace(b'"body":{}', b'"body":{},"seq":4'))
    with pytest.raises(LedgerError):
        events.read_event(b"[" * 100_000)


def test_digests_are_found_at_the_top_and_in_the_record():
    digest = "0f" * 32
    assert events.indexed_digest({"pixel_sha256": digest}, "pixel_sha256") == digest
    assert events.indexed_digest({"record": {"pixel_sha256": digest}}, "pixel_sha256") == digest
    for odd in (digest.upper(), digest[1:], 5, None, ["a"]):
        assert events.indexed_digest({"pixel_sha256": odd}, "pixel_sha256") is None
    assert events.indexed_digest({"record": [digest]}, "pixel_sha256") is None
