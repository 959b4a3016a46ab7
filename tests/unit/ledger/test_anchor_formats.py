"""What is kept and handed out is read for ever, and whatever else is offered is refused in plain words."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance_guard.errors import LedgerError
from provenance_guard.ledger import Checkpoint, merkle
from provenance_guard.ledger.anchors import rfc3161
from provenance_guard.ledger.anchors.anchor import Anchor, AnchorError, anchored_text
from provenance_guard.ledger.anchors.der import request_nonce, with_sorted_certificates
from provenance_guard.ledger.anchors.evidence import CheckpointBundle, OutsideEvidence
from provenance_guard.ledger.anchors.examination import examine_anchor, examine_checkpoint
from provenance_guard.ledger.witness import CosignRequest, Witness

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "ledger" / "anchors-1.json").read_text(encoding="utf-8"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
)


def test_what_version_1_wrote_is_read_and_written_the_same():
    assert CheckpointBundle.from_json(GOLDEN["bundle"]).to_json() == GOLDEN["bundle"]
    assert OutsideEvidence.from_json(GOLDEN["evidence"]).to_json() == GOLDEN["evidence"]
    assert CosignRequest.parse(GOLDEN["request"]).text() == GOLDEN["request"]
    assert Witness.parse(GOLDEN["witness"]).text() == GOLDEN["witness"]


def test_what_version_1_kept_still_holds():
    pytest.importorskip("rfc3161_client")
    bundle = CheckpointBundle.from_json(GOLDEN["bundle"])
    roots = rfc3161.read_roots(GOLDEN["root"].encode())
    said = examine_checkpoint(
        bundle.checkpoint, bundle.anchors, roots=roots, witnesses=[Witness.parse(GOLDEN["witness"])]
    )
    assert [(entry.kind, entry.holds) for entry in said] == [("rfc3161", True), ("witness", True)]
    assert all(entry.time.year == 2026 for entry in said)
    assert bundle.checkpoint.verify(bytes.fromhex(GOLDEN["public_key"]))


def test_the_proofs_of_version_1_hold():
    evidence = OutsideEvidence.from_json(GOLDEN["evidence"])
    assert [(proof.index, proof.included) for proof in evidence.proofs] == [(2, True), (3, True)]
    assert all(evidence.covers(proof) for proof in evidence.proofs)
    request = CosignRequest.parse(GOLDEN["request"])
    old = json.loads((Path(__file__).parents[2] / "golden" / "ledger" / "version-1.json").read_text("utf-8"))
    new = request.checkpoint
    assert merkle.verify_consistency(3, new.size, bytes.fromhex(old["roots"][3]), new.root, request.path)


def test_the_anchored_text_does_not_depend_on_who_signed_later():
    checkpoint = CheckpointBundle.from_json(GOLDEN["bundle"]).checkpoint
    assert len(checkpoint.signatures) == 2
    alone = checkpoint.with_signatures(checkpoint.signatures[:1])
    assert anchored_text(checkpoint) == anchored_text(alone) == alone.text().encode()


@pytest.mark.parametrize("reader", [Anchor, CheckpointBundle, OutsideEvidence])
def test_what_a_newer_version_wrote_is_told(reader):
    with pytest.raises(LedgerError, match="version 2"):
        reader.from_json({"version": 2})


@given(JSON)
def test_other_documents_are_refused(document):
    for reader in (Anchor, CheckpointBundle, OutsideEvidence):
        with pytest.raises(LedgerError):
            reader.from_json(document)


@given(st.sampled_from(["version", "kind", "size", "authority", "received", "request", "reply", "roots"]), JSON)
def test_one_wrong_field_is_refused_or_harmless(field, value):
    document = copy.deepcopy(GOLDEN["bundle"]["anchors"][0]) | {field: value}
    checkpoint = Checkpoint.parse(GOLDEN["bundle"]["checkpoint"])
    try:
        anchor = Anchor.from_json(document)
    except LedgerError:
        return
    examine_anchor(anchor, checkpoint, ())  # tells, and never raises


@given(st.binary(max_size=300))
def test_bytes_that_are_no_der(content):
    assert isinstance(with_sorted_certificates(content), bytes)
    assert request_nonce(content) is None or isinstance(request_nonce(content), int)


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_bytes_that_are_no_reply(reply, request):
    pytest.importorskip("rfc3161_client")
    roots = rfc3161.read_roots(GOLDEN["root"].encode())
    with pytest.raises(AnchorError):
        rfc3161.check_reply(reply, request, b"message", roots)


@given(st.text(max_size=300))
def test_texts_that_are_no_request(text):
    with pytest.raises(LedgerError):
        CosignRequest.parse(text)
