"""What a finding decides: less data never turns what did not pass into what passes."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from training.release.findings import (
    Estimate,
    Finding,
    Measured,
    Outcome,
    at_least,
    at_most,
    make_table,
    not_asked,
    not_decided,
    outcome_of,
    select_refusing,
)

values = st.floats(-1.0, 1.0)
reaches = st.floats(1e-6, 2.0)


def measure(value: float, down: float, up: float, accounts: int = 1000) -> Measured:
    return Measured("gap", Estimate(value, value - down, value + up), accounts)


@given(values, values, reaches, reaches, st.floats(1.0, 100.0))
def test_a_wider_interval_never_passes_what_did_not(
    value: float, bound: float, down: float, up: float, times: float
) -> None:
    for compare in (at_least, at_most):
        large = compare(measure(value, down, up), bound)
        small = compare(measure(value, down * times, up * times), bound)
        assert small.outcome in (large.outcome, Outcome.NOT_DECIDED)


@given(values, values, reaches, reaches)
def test_a_whole_interval_decides(value: float, bound: float, down: float, up: float) -> None:
    low, high = value - down, value + up
    outcome = at_most(measure(value, down, up), bound).outcome
    assert (outcome is Outcome.PASSED) == (high <= bound)
    assert (outcome is Outcome.FAILED) == (low > bound)
    # Turned round, the least value decides as the largest does.
    turned = Measured("gap", Estimate(-value, -high, -low), 1000)
    assert at_least(turned, -bound).outcome is outcome


@pytest.mark.integration
@given(values, values, reaches)
def test_as_many_accounts_as_it_says_decide(value: float, bound: float, reach: float) -> None:
    assume(abs(value - bound) > 1e-3)
    estimate = Estimate(value, value - reach, value + reach)
    finding = at_most(Measured("gap", estimate, 1000), bound)
    assume(finding.outcome is Outcome.NOT_DECIDED)
    said = re.match(r"about ([\d,]+) accounts would decide, 1,000 are here", finding.note)
    assert said is not None
    needed = int(said[1].replace(",", ""))
    narrower = reach * (1000 / needed) ** 0.5
    decided = at_most(measure(value, narrower, narrower), bound)
    assert decided.outcome is (Outcome.PASSED if value < bound else Outcome.FAILED)


def test_the_case_that_passed() -> None:
    gap = Measured("reduction_gap", Estimate(0.110, -0.042, 0.276), 1400)
    finding = at_most(gap, 0.1)
    assert (finding.outcome, finding.passed) == (Outcome.NOT_DECIDED, False)
    assert finding.note.endswith("accounts would decide, 1,400 are here")


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_was_not_measured_is_not_decided(value: float | None) -> None:
    for compare in (at_least, at_most):
        finding = compare(Measured("gap", Estimate(value), 10), 0.5)
        assert (finding.outcome, finding.note) == (Outcome.NOT_DECIDED, "nothing was measured")


def test_a_value_at_its_bound_is_decided_by_no_book() -> None:
    finding = at_most(measure(0.5, 0.1, 0.1), 0.5)
    assert finding.note.startswith("no book is large enough to decide")


def test_a_gate_is_as_good_as_its_worst_finding() -> None:
    passed = Finding("a", "", Outcome.PASSED)
    failed = Finding("b", "", Outcome.FAILED)
    undecided = not_decided("c", "", "too few")
    unasked = not_asked("d", "", "no champion")
    assert outcome_of([unasked, passed]) is Outcome.PASSED
    assert outcome_of([passed, undecided]) is Outcome.NOT_DECIDED
    assert outcome_of([undecided, failed, passed]) is Outcome.FAILED
    assert outcome_of([unasked]) is Outcome.NOT_ASKED
    assert outcome_of([]) is Outcome.NOT_DECIDED
    found = {"w": [passed], "x": [failed], "y": [undecided], "z": [unasked], "empty": []}
    assert select_refusing(found) == ("x", "y", "empty")
    outcomes = make_table(found)["outcome"].to_list()
    assert outcomes == ["passed", "failed", "not decided", "not asked"]
