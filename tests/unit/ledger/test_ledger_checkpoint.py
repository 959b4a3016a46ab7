"""Checkpoints as signed notes: against the example of the specification, and against everything malformed."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance_guard.errors import LedgerError
from provenance_guard.ledger.checkpoint import Checkpoint, Signature, note_key_id
from provenance_guard.signing import Signer

# From c2sp.org/tlog-checkpoint and c2sp.org/tlog-cosignature.
SPECIFIED = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
ROOT = bytes(range(100, 132))
MADE = Checkpoint.sign("provenance-guard/00112233445566778899aabbccddeeff", 7, ROOT, SIGNER)


def test_the_specifications_example_is_read_and_written_alike():
    checkpoint = Checkpoint.parse(SPECIFIED)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert [line.name for line in checkpoint.signatures] == ["example.com/behind-the-sofa", "witness.example.com/w1"]
    assert checkpoint.text() == SPECIFIED


def test_signed_checkpoint_verifies_with_its_key_only():
    parsed = Checkpoint.parse(MADE.text())
    assert parsed == MADE
    assert parsed.verify(SIGNER.public_bytes)
    assert not parsed.verify(OTHER.public_bytes)
    assert parsed.signed_by([OTHER.public_bytes, SIGNER.public_bytes]) == SIGNER.public_bytes


def test_a_second_line_of_the_same_key_must_verify_too():
    line = MADE.signatures[0]
    forged = Signature(line.name, line.key_id, bytes(64))
    text = MADE.body() + "\n" + line.line() + forged.line()
    assert not Checkpoint.parse(text).verify(SIGNER.public_bytes)


def test_lines_of_unknown_keys_are_kept_and_ignored():
    text = MADE.text() + Signature("witness.example/1", b"abcd", b"some new kind of signature").line()
    parsed = Checkpoint.parse(text)
    assert parsed.verify(SIGNER.public_bytes)
    assert parsed.text() == text


def test_extension_lines_are_signed_too():
    body = MADE.body() + "more\n"
    line = Signature(MADE.origin, MADE.signatures[0].key_id, SIGNER.sign(body.encode()))
    assert Checkpoint.parse(body + "\n" + line.line()).verify(SIGNER.public_bytes)
    assert not Checkpoint.parse(body.replace("more", "less") + "\n" + line.line()).verify(SIGNER.public_bytes)


def test_cosignature_of_a_witness():
    seconds = 1679315147
    message = f"cosignature/v1\ntime {seconds}\n{MADE.body()}".encode()
    value = seconds.to_bytes(8, "big") + OTHER.sign(message)
    line = Signature("witness.example/1", note_key_id("witness.example/1", OTHER.public_bytes, b"\x04"), value)
    cosigned = Checkpoint.parse(MADE.text() + line.line())
    assert cosigned.cosigned_at("witness.example/1", OTHER.public_bytes) == seconds
    assert cosigned.cosigned_at("witness.example/1", SIGNER.public_bytes) is None
    assert MADE.cosigned_at("witness.example/1", OTHER.public_bytes) is None
    backdated = Signature(line.name, line.key_id, (seconds - 1).to_bytes(8, "big") + value[8:])
    assert Checkpoint.parse(MADE.text() + backdated.line()).cosigned_at(line.name, OTHER.public_bytes) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[:-1],
        lambda text: text.replace("\n\n", "\n"),
        lambda text: text.replace("\n\n", "\n\n\n"),
        lambda text: text.replace("\n7\n", "\n07\n"),
        lambda text: text.replace("\n7\n", "\n-7\n"),
        lambda text: text.replace("\n7\n", "\n٧\n"),
        lambda text: text.replace("\n7\n", "\n" + "9" * 4500 + "\n"),
        lambda text: text.replace("\n7\n", "\n9223372036854775808\n"),
        lambda text: text.replace("\n7\n", "\n\n7\n"),
        lambda text: text.replace("\n7\n", "\r\n7\r\n"),
        lambda text: text.replace("—", "-"),
        lambda text: text.replace("— ", "— bad+name "),
        lambda text: text + "no signature\n",
        lambda text: text + "— name AAAA\n",
        lambda text: text + "— name !!!!\n",
        lambda text: text + "— name AAAAAAB=\n",
        lambda text: text + "— na\u2003me AAAAAAAA\n",
        lambda text: text.replace(base64.b64encode(ROOT).decode(), base64.b64encode(ROOT[:31]).decode()),
        lambda text: text + MADE.signatures[0].line() * 100,
        lambda text: "\udc80" + text,
        lambda text: text + "\n" * 1_000_001,
    ],
)
def test_malformed_text_is_one_error(change):
    with pytest.raises(LedgerError, match="not a checkpoint"):
        Checkpoint.parse(change(MADE.text()))


@given(st.integers(0, len(MADE.text()) - 1), st.characters(blacklist_categories=[]))
@settings(max_examples=300, deadline=None)
def test_one_changed_character_never_verifies(place, character):
    text = MADE.text()
    changed = text[:place] + character + text[place + 1 :]
    if changed == text:
        return
    try:
        checkpoint = Checkpoint.parse(changed)
    except LedgerError:
        return
    assert not checkpoint.verify(SIGNER.public_bytes)


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_checkpoint_or_one_error(text):
    for candidate in (text, MADE.body() + "\n" + text, text + "\n\n— a AAAAAAAA\n"):
        try:
            checkpoint = Checkpoint.parse(candidate)
        except LedgerError:
            continue
        assert checkpoint.text() == candidate
