from __future__ import annotations

import json
import os
import stat

import pytest

from provenance_guard.errors import KeyMissingError, OutputError
from provenance_guard.watermark.keys import Key, KeyRing, read_key


def test_the_first_key_is_made_at_first_use_and_stays(tmp_path):
    key = KeyRing(tmp_path / "keys").current()
    assert KeyRing(tmp_path / "keys").current() == key
    assert [path.name for path in (tmp_path / "keys").iterdir()] == [f"watermark-{key.id}.key"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
def test_a_key_file_is_private(tmp_path):
    ring = KeyRing(tmp_path)
    assert stat.S_IMODE(ring.path_of(ring.current()).stat().st_mode) == 0o600


def test_a_newer_key_becomes_current_and_the_older_stays(tmp_path):
    ring = KeyRing(tmp_path)
    old = Key(bytes(32), created="2026-01-01T00:00:00.000Z")
    ring._write(old)
    new = ring.create()
    assert ring.current() == new
    assert ring.all() == [new, old]


def test_a_colleagues_key_reads_but_never_writes(tmp_path):
    theirs, mine = KeyRing(tmp_path / "theirs"), KeyRing(tmp_path / "mine")
    own = mine.current()
    imported = mine.add(theirs.path_of(theirs.create()))
    assert imported.secret == theirs.current().secret
    assert mine.current() == own
    assert {key.id for key in mine.all()} == {own.id, imported.id}
    assert mine.add(theirs.path_of(theirs.current())) == imported


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"secret": "00"}, "damaged"),
        ({"secret": "00" * 32}, "does not match"),
        ({"version": 2}, "version 2"),
        ({"format": "something"}, "no watermark key"),
    ],
)
def test_a_damaged_key_file_is_named(tmp_path, change, reason):
    ring = KeyRing(tmp_path)
    path = ring.path_of(ring.current())
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}), "utf-8")
    with pytest.raises(KeyMissingError, match=reason) as caught:
        ring.current()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[]"])
def test_what_is_no_key_file_is_refused(tmp_path, content):
    path = tmp_path / "watermark-0.key"
    path.write_bytes(content)
    with pytest.raises(KeyMissingError):
        read_key(path)


def test_a_key_has_32_bytes_and_hides_them():
    with pytest.raises(KeyMissingError):
        Key(b"short")
    assert "07" * 32 not in repr(Key(b"\x07" * 32))


def test_derived_keys_differ_by_purpose():
    key = Key(bytes(range(32)))
    assert key.derive("a") != key.derive("b")
    assert key.derive("a") == Key(bytes(range(32))).derive("a")


def test_an_exported_key_is_read_by_a_colleague(tmp_path):
    mine, theirs = KeyRing(tmp_path / "mine"), KeyRing(tmp_path / "theirs")
    key = mine.create()
    assert mine.export(key.id.upper(), tmp_path / "copy.key") == key
    assert theirs.add(tmp_path / "copy.key").secret == key.secret
    with pytest.raises(OutputError):
        mine.export(key.id, tmp_path / "copy.key")
    for name in ("", "nobody"):
        with pytest.raises(KeyMissingError, match="begin with"):
            mine.export(name, tmp_path / "other.key")
