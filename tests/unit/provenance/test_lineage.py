from __future__ import annotations

import dataclasses

from PIL import Image

from provenance_guard.pictures import pixel_sha256
from provenance_guard.provenance.lineage import ancestors, find_parent
from provenance_guard.provenance.record import Context, Parent, Record

A, B, C, D = ("a" * 32, "b" * 32, "c" * 32, "d" * 32)


def picture(colour=(10, 20, 30)):
    return Image.new("RGB", (8, 8), colour)


def record(record_id, *parent_ids):
    parents = tuple(Parent("init_image", "0" * 64, parent) for parent in parent_ids)
    return Record(record_id, "2026-11-22T00:00:00.000Z", Context("webui.img2img", parents=parents), "1" * 64, 8, 8)


def find_in(*records):
    return {one.id: one for one in records}.get


def test_exact_pixels_win_over_mark_and_label():
    known = {pixel_sha256(picture()): A}
    parent = find_parent("init_image", picture(), find_pixels=known.get, detect_mark=lambda image: B, label_id=C)
    assert parent == Parent("init_image", pixel_sha256(picture()), A, "pixels")


def test_the_mark_wins_over_the_label():
    parent = find_parent("mask", picture(), find_pixels={}.get, detect_mark=lambda image: B, label_id=C)
    assert (parent.record_id, parent.found_by) == (B, "mark")


def test_the_label_is_taken_when_nothing_else_knows():
    parent = find_parent("control", picture(), find_pixels={}.get, detect_mark=lambda image: None, label_id=C)
    assert (parent.record_id, parent.found_by) == (C, "label")


def test_a_stranger_has_only_its_pixels():
    parent = find_parent("init_image", picture(), find_pixels={}.get)
    assert parent == Parent("init_image", pixel_sha256(picture()), None, None)


def test_a_label_that_is_no_record_id_is_not_believed():
    for label in ("", "x" * 32, A[:31], A + "a", "../../etc", A.upper()):
        assert find_parent("init_image", picture(), find_pixels={}.get, label_id=label).record_id is None


def test_ancestors_come_nearest_first():
    child = record(A, B, C)
    found = ancestors(child, find_in(record(B, D), record(C), record(D)))
    assert [(one.parent.record_id, one.child, one.depth) for one in found] == [(B, A, 1), (C, A, 1), (D, B, 2)]
    assert all(one.record is not None for one in found)


def test_missing_and_unknown_parents_are_named():
    child = record(A, B)
    child = dataclasses.replace(
        child, context=dataclasses.replace(child.context, parents=(*child.context.parents, Parent("mask", "2" * 64)))
    )
    found = ancestors(child, find_in())
    assert [(one.parent.record_id, one.record) for one in found] == [(B, None), (None, None)]


def test_a_circle_ends():
    first, second = record(A, B), record(B, A)
    found = ancestors(first, find_in(first, second))
    assert [one.parent.record_id for one in found] == [B, A]
    own = record(C, C)
    assert [one.parent.record_id for one in ancestors(own, find_in(own))] == [C]


def test_a_shared_ancestor_is_walked_once():
    find = find_in(record(B, D), record(C, D), record(D, "e" * 32))
    found = ancestors(record(A, B, C), find)
    assert [one.parent.record_id for one in found] == [B, C, D, D, "e" * 32]


def test_the_number_of_ancestors_is_limited():
    chain = {f"{number:032x}": record(f"{number:032x}", f"{number + 1:032x}") for number in range(5000)}
    start = chain[f"{0:032x}"]
    assert len(ancestors(start, chain.get, limit=100)) == 100
    assert ancestors(start, chain.get)[-1].depth == 1000
