"""Decisions: every combination of mode, verdict and failures, and sentences that claim no more than was measured."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance_guard.config import Policy, ScreenPolicy
from provenance_guard.gate import Decision, decide

ORDER = ["allow", "warn", "retry", "quarantine", "block"]
WITHHELD = ("retry", "quarantine", "block")


@dataclass(frozen=True)
class Match:
    summary: str
    level: str = "near_copy"


@dataclass(frozen=True)
class Verdict:
    level: str
    matches: tuple[Match, ...] = field(default=())


CLEAN = Verdict("clean")
REVIEW = Verdict("review", (Match("possibly copied from b.png: 20 % of its area matched", "review"),))
NEAR_COPY = Verdict(
    "near_copy",
    (
        Match("near copy of a.png: 62 % of its area matched"),
        Match("near copy of b.png: 40 % of its area matched"),
        Match("some likeness to c.png: 3 % of its area matched", "clean"),
    ),
)
FAILURE = "screen: the library is locked"


@pytest.mark.parametrize(
    ("mode", "on_error", "verdict", "failures", "expected"),
    [
        ("off", "warn", None, (), "allow"),
        ("off", "block", None, (), "allow"),
        ("off", "block", None, (FAILURE,), "block"),
        ("off", "warn", NEAR_COPY, (), "allow"),
        ("warn", "warn", CLEAN, (), "allow"),
        ("warn", "warn", REVIEW, (), "warn"),
        ("warn", "warn", NEAR_COPY, (), "warn"),
        ("warn", "block", NEAR_COPY, (), "warn"),
        ("warn", "warn", None, (), "allow"),
        ("warn", "warn", None, (FAILURE,), "warn"),
        ("warn", "block", CLEAN, (FAILURE,), "block"),
        ("block", "block", CLEAN, (), "allow"),
        ("block", "block", REVIEW, (), "warn"),
        ("block", "warn", NEAR_COPY, (), "block"),
        ("block", "warn", NEAR_COPY, (FAILURE,), "block"),
        ("block", "warn", None, (), "warn"),
        ("block", "block", None, (), "block"),
        ("block", "block", None, (FAILURE,), "block"),
        ("block", "warn", CLEAN, (FAILURE,), "warn"),
        ("block", "block", Verdict("unheard of"), (), "block"),
        ("quarantine", "quarantine", CLEAN, (), "allow"),
        ("quarantine", "quarantine", REVIEW, (), "warn"),
        ("quarantine", "warn", NEAR_COPY, (), "quarantine"),
        ("quarantine", "block", NEAR_COPY, (), "quarantine"),
        ("quarantine", "block", NEAR_COPY, (FAILURE,), "block"),
        ("quarantine", "warn", NEAR_COPY, (FAILURE,), "quarantine"),
        ("quarantine", "quarantine", None, (), "quarantine"),
        ("block", "quarantine", CLEAN, (FAILURE,), "quarantine"),
        ("block", "quarantine", NEAR_COPY, (FAILURE,), "block"),
        ("off", "quarantine", None, (FAILURE,), "quarantine"),
    ],
)
def test_decisions(mode: str, on_error: str, verdict: Verdict | None, failures: tuple[str, ...], expected: str) -> None:
    decision = decide(Policy(mode=mode, on_error=on_error), verdict, failures)
    assert decision.action == expected
    assert decision.withholds == (expected in WITHHELD)
    assert decision.policy_mode == mode
    if expected != "allow":
        assert decision.reasons


def test_reasons_are_the_measured_ones_in_the_screens_order() -> None:
    decision = decide(Policy(mode="block"), NEAR_COPY, ())
    assert decision.reasons == (
        "Near copy of a.png: 62 % of its area matched.",
        "Near copy of b.png: 40 % of its area matched.",
    )


def test_only_what_is_a_copy_by_its_own_limits_is_named() -> None:
    cleared = Match("near copy of licensed.png: 90 % of its area matched", "clean")
    guarded = Match("near copy of d.png: 30 % of its area matched")  # a reference with a stricter limit of its own
    decision = decide(Policy(mode="block"), Verdict("near_copy", (cleared, guarded)), ())
    assert decision.action == "block"
    assert decision.reasons == ("Near copy of d.png: 30 % of its area matched.",)


def test_a_likeness_is_shown_to_a_person_not_judged() -> None:
    (reason,) = decide(Policy(mode="block"), REVIEW, ()).reasons
    assert reason == "Possibly copied from b.png: 20 % of its area matched. A person should look at it."


def test_a_failure_is_told_without_folders() -> None:
    (reason,) = decide(Policy(on_error="block"), CLEAN, ("screen: /home/ada/My Pictures/a.png is damaged",)).reasons
    assert "a.png is damaged." in reason
    assert "ada" not in reason
    assert "withholds" in reason


def test_hundreds_of_copies_do_not_make_hundreds_of_reasons() -> None:
    many = Verdict("near_copy", tuple(Match(f"near copy of {number}.png") for number in range(300)))
    assert len(decide(Policy(mode="block"), many, ()).reasons) == 5


def test_as_json() -> None:
    document = decide(Policy(mode="block"), NEAR_COPY, ()).to_json()
    assert json.loads(json.dumps(document)) == document
    assert set(document) == {"action", "reasons", "policy_mode"}


def test_an_action_of_a_later_version_withholds() -> None:
    assert Decision("incinerate", (), "block").withholds  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["warn", "quarantine", "block"])
def test_a_near_copy_is_tried_again_where_that_can_be_done(mode: str) -> None:
    policy = Policy(mode=mode)
    assert decide(policy, NEAR_COPY, (), may_retry=True).action == "retry"
    assert decide(policy, NEAR_COPY, (), may_retry=True).withholds
    assert decide(policy, REVIEW, (), may_retry=True) == decide(policy, REVIEW, ())
    assert decide(policy, CLEAN, (), may_retry=True).action == "allow"


def test_another_seed_cures_no_failure_and_no_policy_that_screens_nothing() -> None:
    assert decide(Policy(on_error="block"), NEAR_COPY, (FAILURE,), may_retry=True).action == "block"
    assert decide(Policy(mode="block", on_error="block"), None, (FAILURE,), may_retry=True).action == "block"
    assert decide(Policy(mode="off"), NEAR_COPY, (), may_retry=True).action == "allow"


policies = st.builds(
    Policy,
    mode=st.sampled_from(["off", "warn", "quarantine", "block"]),
    on_error=st.sampled_from(["warn", "quarantine", "block"]),
)
verdicts = st.sampled_from([None, CLEAN, REVIEW, NEAR_COPY])
failure_lists = st.lists(st.text(max_size=30), max_size=3)


@given(policies, verdicts, failure_lists)
def test_a_failure_never_makes_it_milder(policy: Policy, verdict: Verdict | None, failures: list[str]) -> None:
    without = ORDER.index(decide(policy, verdict, ()).action)
    with_failures = ORDER.index(decide(policy, verdict, failures).action)
    assert with_failures >= without
    if failures:
        assert with_failures >= ORDER.index(policy.on_error)


@given(policies, verdicts, failure_lists, st.sampled_from(["off", "warn", "quarantine", "block"]))
def test_a_narrowed_policy_never_decides_milder(
    policy: Policy, verdict: Verdict | None, failures: list[str], wish: str
) -> None:
    narrowed = policy.narrow(mode=wish, near_copy=0.99, review=0.1)
    assert ORDER.index(decide(narrowed, verdict, failures).action) >= ORDER.index(
        decide(policy, verdict, failures).action
    )


@given(st.floats(0, 1), st.floats(0, 1), st.one_of(st.none(), st.floats()), st.one_of(st.none(), st.floats()))
def test_narrowing_never_raises_a_threshold(
    near_copy: float, review: float, wished_near_copy: float | None, wished_review: float | None
) -> None:
    policy = Policy(screen=ScreenPolicy(near_copy=near_copy, review=review))
    screen = policy.narrow(near_copy=wished_near_copy, review=wished_review).screen
    assert screen.near_copy <= near_copy
    assert screen.review <= review
    assert replace(screen, near_copy=0.5, review=0.5) == replace(policy.screen, near_copy=0.5, review=0.5)


def test_narrowing_changes_the_mode_one_way_only() -> None:
    modes = ["off", "warn", "block"]
    for mode in modes:
        for wish in (*modes, None):
            narrowed = Policy(mode=mode).narrow(mode=wish)
            assert modes.index(narrowed.mode) == max(modes.index(mode), modes.index(wish or mode))
