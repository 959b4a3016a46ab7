from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import CancelledError

import pytest

from provenance_guard.errors import ResourceError
from provenance_guard.provenance.record import Context, Record
from provenance_guard.provenance.redaction import redact
from provenance_guard.provenance.resources import ResourceHasher, resource_from_file
from provenance_guard.provenance.safetensors import MAX_HEADER, read_metadata, shorten

KOHYA = {
    "ss_num_train_images": "250",
    "ss_learning_rate": "1e-4",
    "ss_tag_frequency": '{"10_fox": {"fox": 25, "snow": 3}}',
    "ss_dataset_dirs": '{"10_fox": {"n_repeats": 10, "img_count": 25}}',
    "ss_sd_model_name": "/home/joe/models/base.safetensors",
    "modelspec.title": "[fox] not json",
}


def safetensors(path, metadata=KOHYA, weights=b"\x01\x02\x03\x04"):
    header = {"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    if metadata is not None:
        header["__metadata__"] = metadata
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + weights)
    return path


@pytest.fixture
def hasher(tmp_path):
    made = ResourceHasher(tmp_path / "cache" / "hashes.sqlite3")
    yield made
    made.close()


def wait(future):
    return future.result(timeout=30)


def test_hash_is_of_the_whole_file_and_remembered(tmp_path, hasher):
    model = safetensors(tmp_path / "模型 a.safetensors")
    expected = hashlib.sha256(model.read_bytes()).hexdigest()
    assert hasher.known(model) is None
    assert wait(hasher.request(model)) == expected
    assert hasher.known(model) == expected
    another = ResourceHasher(tmp_path / "cache" / "hashes.sqlite3")
    assert another.known(model) == expected
    another.close()


def test_a_changed_file_is_not_known(tmp_path, hasher):
    model = safetensors(tmp_path / "a.safetensors")
    wait(hasher.request(model))
    before = model.stat()
    model.write_bytes(model.read_bytes()[:-1] + b"\xff")
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert hasher.known(model) is None
    assert wait(hasher.request(model)) == hashlib.sha256(model.read_bytes()).hexdigest()


@pytest.mark.skipif(os.name == "nt", reason="needs an inode that changes with the file")
def test_a_replaced_file_with_the_old_time_is_not_known(tmp_path, hasher):
    model = safetensors(tmp_path / "a.safetensors")
    wait(hasher.request(model))
    before = model.stat()
    other = tmp_path / "b.safetensors"
    other.write_bytes(bytes(before.st_size))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(model)
    assert hasher.known(model) is None


def test_rehash_reads_again_what_is_remembered(tmp_path, hasher):
    model = safetensors(tmp_path / "a.safetensors")
    wait(hasher.request(model))
    with sqlite3.connect(tmp_path / "cache" / "hashes.sqlite3") as connection:
        connection.execute("UPDATE hashes_1 SET sha256 = 'forged'")
    connection.close()
    assert wait(hasher.request(model)) == "forged"
    assert wait(hasher.rehash(model)) == hashlib.sha256(model.read_bytes()).hexdigest()
    assert hasher.known(model) != "forged"


def test_one_file_asked_for_often_is_one_future(tmp_path, hasher):
    model = tmp_path / "a.ckpt"
    model.write_bytes(bytes(20_000_000))
    futures = {id(hasher.request(model)) for _ in range(10)}
    assert len(futures) < 10
    assert wait(hasher.request(model)) == hashlib.sha256(bytes(20_000_000)).hexdigest()


def test_a_missing_file_is_told_by_the_future(tmp_path, hasher):
    with pytest.raises(ResourceError, match=r"gone\.ckpt") as caught:
        wait(hasher.request(tmp_path / "gone.ckpt"))
    assert caught.value.next_step
    assert hasher.known(tmp_path / "gone.ckpt") is None
    with pytest.raises(ResourceError, match="cannot be read"):
        wait(hasher.request(tmp_path))


def test_the_worker_survives_an_error(tmp_path, hasher):
    with pytest.raises(ResourceError):
        wait(hasher.request(tmp_path))
    assert wait(hasher.request(safetensors(tmp_path / "a.safetensors")))


def test_closing_cancels_what_is_waiting(tmp_path):
    hasher = ResourceHasher(tmp_path / "hashes.sqlite3")
    for number in range(20):
        (tmp_path / f"{number}.ckpt").write_bytes(bytes([number]) * 3_000_000)
    futures = [hasher.request(tmp_path / f"{number}.ckpt") for number in range(20)]
    hasher.close()
    assert all(future.done() for future in futures)
    with pytest.raises((CancelledError, ResourceError)):
        wait(futures[-1])
    assert hasher.request(tmp_path / "1.ckpt").cancelled()


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 100, None])
def test_a_damaged_memory_is_made_anew(tmp_path, hasher, damage):
    cache = tmp_path / "cache" / "hashes.sqlite3"
    model = safetensors(tmp_path / "a.safetensors")
    wait(hasher.request(model))
    whole = cache.read_bytes()
    cache.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096) if damage is None else damage)
    expected = hashlib.sha256(model.read_bytes()).hexdigest()
    assert wait(hasher.request(model)) == expected
    assert wait(hasher.rehash(model)) == expected
    assert hasher.known(model) == expected


def test_a_memory_that_cannot_be_written_still_hashes(tmp_path):
    (tmp_path / "file").write_text("in the way")
    hasher = ResourceHasher(tmp_path / "file" / "hashes.sqlite3")
    model = safetensors(tmp_path / "a.safetensors")
    assert wait(hasher.request(model)) == hashlib.sha256(model.read_bytes()).hexdigest()
    hasher.close()


def test_two_processes_share_the_memory(tmp_path, hasher, caplog):
    program = (
        "import sys; from pathlib import Path; from provenance_guard.provenance.resources import ResourceHasher;"
        "h = ResourceHasher(Path(sys.argv[1]) / 'cache' / 'hashes.sqlite3');"
        "files = sorted(Path(sys.argv[1]).glob('*.ckpt')); print('ready', flush=True);"
        "print(*[h.rehash(f).result() for f in files for _ in range(3)])"
    )
    models = [tmp_path / f"{number}.ckpt" for number in range(10)]
    for number, model in enumerate(models):
        model.write_bytes(bytes([number]) * 1000)
    expected = [hashlib.sha256(model.read_bytes()).hexdigest() for model in models for _ in range(3)]
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "ready\n"
        ours = [wait(hasher.rehash(model)) for model in models for _ in range(3)]
        theirs, complaints = other.communicate(timeout=60)
    assert ours == theirs.split() == expected
    assert complaints == "" and caplog.text == ""
    assert hasher.known(models[7]) == expected[21]


def test_metadata_is_read_and_decoded(tmp_path):
    metadata = read_metadata(safetensors(tmp_path / "a.safetensors"))
    assert metadata["ss_tag_frequency"] == {"10_fox": {"fox": 25, "snow": 3}}
    assert metadata["ss_dataset_dirs"]["10_fox"]["n_repeats"] == 10
    assert metadata["ss_num_train_images"] == "250"
    assert metadata["modelspec.title"] == "[fox] not json"


def test_values_nested_without_reason_stay_text(tmp_path, hasher):
    deep = "[" * 500 + "]" * 500
    model = safetensors(tmp_path / "a.safetensors", {"ss_deep": deep, "ss_flat": "[[[1]]]"})
    assert read_metadata(model) == {"ss_deep": deep, "ss_flat": [[[1]]]}
    record = Record("0" * 32, "", Context("file", resources=(resource_from_file("lora", model, hasher),)), "", 1, 1)
    redact(record.to_json())


def test_a_file_without_metadata_has_none(tmp_path):
    assert read_metadata(safetensors(tmp_path / "a.safetensors", metadata=None)) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x05",
        bytes(8),
        (MAX_HEADER + 1).to_bytes(8, "little") + b"{}",
        b"\xff" * 100,
        (100).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{!",
        (4).to_bytes(8, "little") + b"\xff\xfe\xff\xfe",
        (50_000).to_bytes(8, "little") + b"[" * 50_000,
        (20).to_bytes(8, "little") + b'{"__metadata__": []}',
        b"PK\x03\x04" + bytes(200),
    ],
    ids=range(12),
)
def test_malformed_headers_are_told(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(ResourceError, match=r"bad\.safetensors is not a sound safetensors file") as caught:
        read_metadata(path)
    assert caught.value.next_step


def test_a_missing_model_is_told(tmp_path):
    with pytest.raises(ResourceError, match="cannot be read"):
        read_metadata(tmp_path / "gone.safetensors")


def test_long_metadata_only_tells_its_length():
    assert shorten({"short": "x", "long": "y" * 3000}) == {"short": "x", "long": {"omitted_characters": 3002}}


def test_a_resource_is_described_at_once_and_hashed_later(tmp_path, hasher):
    model = safetensors(tmp_path / "fox.safetensors")
    first = resource_from_file("lora", model, hasher, declared_hash="ffff", weight=0.8)
    assert (first.name, first.file_name, first.declared_hash, first.weight) == ("fox", "fox.safetensors", "ffff", 0.8)
    assert first.metadata["ss_num_train_images"] == "250"
    wait(hasher.request(model))
    later = resource_from_file("lora", model, hasher)
    assert later.sha256 == hashlib.sha256(model.read_bytes()).hexdigest()


def test_a_resource_that_cannot_be_read_is_named_all_the_same(tmp_path, hasher):
    gone = resource_from_file("checkpoint", tmp_path / "gone.safetensors", hasher, name="dream")
    assert (gone.name, gone.file_name, gone.sha256, gone.metadata) == ("dream", "gone.safetensors", None, {})
