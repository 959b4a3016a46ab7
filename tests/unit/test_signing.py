from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from provenance_guard.errors import KeyMissingError
from provenance_guard.signing import Signer, key_id, read_public_key, verify


def test_first_use_makes_a_key_and_later_uses_find_it(tmp_path):
    first = Signer.open(tmp_path / "keys")
    second = Signer.open(tmp_path / "keys", create=False)
    assert first.public_bytes == second.public_bytes
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["signing-1.pem", "signing-1.pub"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
def test_private_key_is_for_its_owner_only(tmp_path):
    Signer.open(tmp_path)
    assert (tmp_path / "signing-1.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "signing-1.pub").stat().st_mode & 0o777 == 0o644


def test_signature_verifies_and_any_change_breaks_it(tmp_path):
    signer = Signer.open(tmp_path)
    signature = signer.sign(b"message")
    assert len(signature) == 64
    assert verify(signer.public_bytes, signature, b"message")
    assert not verify(signer.public_bytes, signature, b"messagf")
    assert not verify(signer.public_bytes, bytes([signature[0] ^ 1]) + signature[1:], b"message")
    assert not verify(Signer(Ed25519PrivateKey.generate()).public_bytes, signature, b"message")


@pytest.mark.parametrize("public_key", [b"", b"short", bytes(33), b"\xff" * 32])
def test_malformed_keys_verify_nothing(public_key):
    assert not verify(public_key, bytes(64), b"message")
    assert not verify(public_key, b"", b"message")


def test_known_vector_of_rfc_8032():
    # Section 7.1, test 2.
    secret = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    signer = Signer(Ed25519PrivateKey.from_private_bytes(secret))
    assert signer.public_bytes.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert signer.sign(b"\x72").hex().startswith("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da")


def test_key_id_is_sha256_of_the_raw_public_key(tmp_path):
    signer = Signer.open(tmp_path)
    assert signer.key_id == key_id(signer.public_bytes) == hashlib.sha256(signer.public_bytes).hexdigest()


def test_public_file_holds_the_public_key_and_comes_back_when_lost(tmp_path):
    signer = Signer.open(tmp_path)
    public_file = tmp_path / "signing-1.pub"
    assert read_public_key(public_file) == signer.public_bytes
    public_file.unlink()
    Signer.open(tmp_path)
    assert read_public_key(public_file) == signer.public_bytes


def test_the_highest_number_is_the_key_in_use(tmp_path):
    Signer.open(tmp_path)
    newest = Signer.open(tmp_path / "other")
    (tmp_path / "other" / "signing-1.pem").rename(tmp_path / "signing-10.pem")
    assert Signer.open(tmp_path).public_bytes == newest.public_bytes


def test_missing_key_is_told_and_nothing_is_made(tmp_path):
    with pytest.raises(KeyMissingError, match="no signing key") as caught:
        Signer.open(tmp_path / "keys", create=False)
    assert caught.value.next_step
    assert not (tmp_path / "keys").exists()


def _wrong_kind() -> bytes:
    return generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _locked() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff", b"-----BEGIN PRIVATE KEY-----\nAAAA\n", _wrong_kind(), _locked()]
)
def test_damaged_key_is_told_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "signing-1.pem"
    path.write_bytes(content)
    for create in (True, False):
        with pytest.raises(KeyMissingError, match=r"signing-1\.pem") as caught:
            Signer.open(tmp_path, create=create)
        assert caught.value.next_step
    assert path.read_bytes() == content


def test_key_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "keys").write_text("not a folder")
    with pytest.raises(KeyMissingError, match="keys"):
        Signer.open(tmp_path / "keys")


def test_key_that_is_a_folder_is_told(tmp_path):
    (tmp_path / "signing-1.pem").mkdir()
    with pytest.raises(KeyMissingError, match="cannot be read"):
        Signer.open(tmp_path)


def test_public_file_of_another_kind_is_told(tmp_path):
    path = tmp_path / "other.pub"
    path.write_text("ssh-ed25519 AAAA")
    with pytest.raises(KeyMissingError, match="no Ed25519 public key"):
        read_public_key(path)
    with pytest.raises(KeyMissingError, match="cannot be read"):
        read_public_key(tmp_path / "absent.pub")


def test_processes_that_create_at_once_end_with_one_key(tmp_path):
    program = (
        "import sys; from pathlib import Path; from provenance_guard.signing import Signer;"
        "sys.stdin.read(); print(Signer.open(Path(sys.argv[1])).key_id)"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "keys")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    with ThreadPoolExecutor(len(running)) as pool:
        answers = [answer[0].strip() for answer in pool.map(lambda process: process.communicate(""), running)]
    assert len(set(answers)) == 1
    assert len(answers[0]) == 64
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["signing-1.pem", "signing-1.pub"]


def test_threads_that_create_at_once_end_with_one_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(lambda _: Signer.open(tmp_path / "keys").key_id, range(16)))
    assert len(answers) == 1


def test_disk_without_hard_links_still_gets_one_private_key(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("links are not supported")

    monkeypatch.setattr(os, "link", refuse)
    first, second = Signer.open(tmp_path), Signer.open(tmp_path)
    assert first.key_id == second.key_id
    assert sorted(path.name for path in tmp_path.iterdir()) == ["signing-1.pem", "signing-1.pub"]
    if os.name != "nt":
        assert (tmp_path / "signing-1.pem").stat().st_mode & 0o777 == 0o600
