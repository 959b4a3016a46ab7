from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance_guard.errors import MarkError
from provenance_guard.watermark.keys import Key
from provenance_guard.watermark.payload import (
    PROFILES,
    FreeProfile,
    Payload,
    PayloadCipher,
    RecordProfile,
    RobustProfile,
    from_bits,
    profile_for,
    to_bits,
)

CIPHER = PayloadCipher(Key(bytes(range(32))))

record_payloads = st.builds(
    Payload, st.binary(min_size=7, max_size=7).map(bytes.hex), st.integers(min_value=0, max_value=2**32 - 1)
) | st.builds(Payload, st.text("0123456789abcdef", min_size=7, max_size=7))


@given(record_payloads)
def test_a_record_payload_survives_packing(payload):
    assert Payload.unpack(payload.pack()) == payload


@given(st.binary(max_size=40))
def test_unpack_takes_only_what_pack_wrote(packed):
    payload = Payload.unpack(packed)
    assert payload is None or payload.pack() == packed


@pytest.mark.parametrize(
    ("prefix", "time"),
    [("0011", 1), ("zz" * 7, 1), ("00" * 7, -1), ("00" * 7, 2**32), ("00" * 7, None), ("zzzzzzz", None), ("", None)],
)
def test_values_that_do_not_fit_are_refused(prefix, time):
    with pytest.raises(MarkError):
        Payload(prefix, time).pack()


@given(st.binary(min_size=16, max_size=16) | record_payloads.map(Payload.pack))
def test_every_16_bytes_have_a_profile_that_returns_them(payload):
    profile = profile_for(payload)
    message = profile.seal(payload, CIPHER)
    assert len(message) * 8 == profile.message_bits
    assert profile.unseal(message, CIPHER) == payload
    assert from_bits(to_bits(message)) == message


@given(st.binary(min_size=16, max_size=16), st.integers(min_value=0, max_value=167))
def test_one_wrong_bit_fails_the_check(payload, position):
    for profile in PROFILES:
        if profile.accepts(payload) and position < profile.message_bits:
            bits = to_bits(profile.seal(payload, CIPHER)).copy()
            bits[position] ^= 1
            assert profile.unseal(from_bits(bits), CIPHER) is None


def test_record_payloads_take_the_shorter_profile():
    assert isinstance(profile_for(Payload("00" * 7, 5).pack()), RecordProfile)
    assert isinstance(profile_for(bytes(16)), FreeProfile)
    assert isinstance(profile_for(Payload.robust("0123456789abcdef" * 2).pack()), RobustProfile)


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_other_lengths_are_refused(length):
    with pytest.raises(MarkError, match=f"{length} bytes"):
        profile_for(bytes(length))


def test_another_key_reads_nothing():
    other = PayloadCipher(Key(bytes(32)))
    for payload in (bytes(range(16)), Payload("11" * 7, 9).pack(), Payload("1234567").pack()):
        profile = profile_for(payload)
        assert profile.unseal(profile.seal(payload, CIPHER), other) is None
