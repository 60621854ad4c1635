from __future__ import annotations

import dataclasses
import datetime
import json
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from features.months import add_months
from serving.decision.policy.prior import (
    MOST_DECISIONS,
    Change,
    Prior,
    PriorError,
    after,
    limit_in_force,
    up_to_date,
)
from serving.decision.policy.prior.check import LatestStatement, check_prior, check_priors
from tests.support.each import each

START = datetime.date(2026, 1, 5)
LIMIT = 20_000.0
AS_OF = datetime.date(2026, 9, 1)
TODAY = datetime.date(2026, 10, 5)


def change(limit_before: float, limit: float, month: int = 0, **changed: Any) -> Change:
    """A decision in that month after the start; a cut or a step back takes effect at once."""
    on = add_months(START, month)
    made = Change(
        decision_id=f"id-{month}",
        on=on,
        limit_before=limit_before,
        limit=limit,
        effective_on=on,
        suspended=False,
        balance=4_000.0,
        log_odds=-1.0,
        review_on=add_months(on, 3),
    )
    return dataclasses.replace(made, **changed)


def cut_of(limit: float = 5_000.0, **changed: Any) -> Prior:
    prior = after(None, change(LIMIT, limit, **changed))
    assert prior is not None
    return prior


amounts = st.sampled_from([0.0, 500.0, 5_000.0, 9_900.0, 12_345.0, LIMIT, 30_000.0])
# A limit left, whether drawing is stopped, and whether a person is asked.
steps = st.tuples(amounts, st.booleans(), st.sampled_from([False, False, False, True]))


@given(st.lists(steps, min_size=1, max_size=12), st.data())
def test_a_prior_says_what_is_in_force(taken: list[tuple[float, bool, bool]], data: Any) -> None:
    """The oracle: the limit before the first of the cuts that are still in force."""
    prior, limit, suspended, before = None, LIMIT, False, LIMIT
    for month, (next_limit, suspends, refers) in enumerate(taken):
        if refers:
            prior = after(prior, change(limit, limit, month, suspended=suspended, refers=True))
            assert prior is not None
            assert prior.referred_on == add_months(START, month)
            continue
        if limit >= before and not suspended:
            before = limit  # the lender may have raised it: nothing is cut
        prior = after(prior, change(limit, next_limit, month, suspended=suspends))
        limit, suspended = next_limit, suspends
        before = max(before, limit)
        is_cut = limit < before or suspended
        assert (prior is not None and prior.cuts) == is_cut
        if prior is None or not is_cut:
            continue
        assert prior.limit_before == before
        assert (prior.limit_in_force, prior.suspended) == (limit, suspended)
        assert prior.limit_after <= prior.limit_in_force
        check_prior(prior, AS_OF, limit, add_months(START, 24))


def test_a_further_cut_is_measured_from_the_first() -> None:
    first = cut_of(log_odds=-1.0, balance=4_000.0)
    again = after(first, change(5_000.0, 2_000.0, 7, log_odds=0.0, balance=1_000.0))
    assert again is not None
    assert (again.limit_before, again.balance_before) == (LIMIT, 4_000.0)
    assert (again.first_cut_on, again.last_cut_on) == (START, add_months(START, 7))
    assert (again.limit_after, again.limit_in_force, again.log_odds) == (2_000.0, 2_000.0, 0.0)
    assert again.decisions == ("id-0", "id-7")


def test_a_step_back_is_remembered_and_the_last_one_ends_the_prior() -> None:
    half = after(cut_of(), change(5_000.0, 12_500.0, 3, log_odds=-3.0))
    assert half is not None
    assert (half.limit_after, half.limit_in_force) == (5_000.0, 12_500.0)
    assert half.restored_on == add_months(START, 3)
    assert half.last_cut_on == START
    assert half.log_odds == -1.0
    whole = after(half, change(12_500.0, LIMIT, 4))
    assert whole is not None
    assert not whole.cuts
    still_suspended = dataclasses.replace(half, suspended=True)
    assert after(still_suspended, change(12_500.0, LIMIT, 4, suspended=True)) is not None


def test_a_suspension_that_is_lifted_ends_the_prior_if_no_limit_was_taken() -> None:
    stopped = cut_of(LIMIT, suspended=True)
    assert stopped.cuts
    lifted = after(stopped, change(LIMIT, LIMIT, 3))
    assert lifted is not None
    assert not lifted.cuts
    assert up_to_date(lifted, add_months(START, 3), LIMIT) is None


@given(st.integers(-3, 3), st.integers(0, 28), st.booleans())
def test_a_limit_that_came_back_is_remembered_until_a_statement_shows_it(
    months: int, days: int, is_referred: bool
) -> None:
    back_on = add_months(START, 4)
    from_day = back_on + datetime.timedelta(days=days)
    cut = dataclasses.replace(cut_of(), referred_on=START if is_referred else None)
    back = after(cut, change(5_000.0, LIMIT, 4, effective_on=from_day))
    assert back is not None
    assert (back.cuts, back.limit_in_force, back.in_force_from) == (False, LIMIT, from_day)
    assert back.log_odds == (-1.0 if is_referred else None)
    as_of = add_months(datetime.date(2026, 5, 1), months)
    check_prior(back, as_of, 5_000.0, back_on)
    if add_months(as_of, 1) <= from_day:
        # The statement still shows the cut limit.
        assert limit_in_force(back, as_of, 5_000.0) == LIMIT
        assert up_to_date(back, as_of, 5_000.0) is back
        kept = after(back, change(LIMIT, LIMIT, 4, review_on=None))
        assert kept is back
    else:
        assert limit_in_force(back, as_of, 7_000.0) == 7_000.0
        assert up_to_date(back, as_of, 7_000.0) == (back if is_referred else None)


def test_a_cut_after_a_limit_came_back_is_a_first_one() -> None:
    back = after(cut_of(), change(5_000.0, LIMIT, 4))
    again = after(back, change(LIMIT, 8_000.0, 5, balance=1_000.0))
    assert again is not None
    assert (again.limit_before, again.balance_before, again.limit_after) == (
        LIMIT,
        1_000.0,
        8_000.0,
    )
    assert again.first_cut_on == again.last_cut_on == add_months(START, 5)


def test_a_look_without_a_change_moves_the_next_look_alone() -> None:
    prior = cut_of()
    looked = after(prior, change(5_000.0, 5_000.0, 3))
    assert looked is not None
    assert looked.review_on == add_months(START, 6)
    assert dataclasses.replace(looked, review_on=prior.review_on, decisions=("id-0",)) == prior


@given(st.sampled_from([None, add_months(START, 3)]))
def test_what_changes_nothing_leaves_the_prior_as_it_is(review_on: datetime.date | None) -> None:
    prior = cut_of()
    assert after(prior, change(5_000.0, 5_000.0, 1, review_on=review_on)) is prior
    assert after(None, change(LIMIT, LIMIT, 1, review_on=None)) is None


def test_a_referral_outlives_the_cut() -> None:
    referred = after(None, change(LIMIT, LIMIT, refers=True))
    assert referred is not None
    assert not referred.cuts
    assert referred.log_odds == -1.0
    # A person confirms the cut: its log-odds are those of the referral.
    confirmed = after(referred, change(LIMIT, 5_000.0, 1, log_odds=None, balance=3_000.0))
    assert confirmed is not None
    assert (confirmed.log_odds, confirmed.balance_before) == (-1.0, 3_000.0)
    back = after(confirmed, change(5_000.0, LIMIT, 4))
    assert back is not None
    assert not back.cuts
    assert (back.referred_on, back.limit_before, back.review_on) == (START, LIMIT, None)


def test_a_referral_does_not_make_a_second_cut_easier() -> None:
    lower = after(cut_of(log_odds=0.0), change(5_000.0, 5_000.0, 2, refers=True, log_odds=-2.0))
    assert lower is not None
    assert lower.log_odds == 0.0
    higher = after(lower, change(5_000.0, 5_000.0, 3, refers=True, log_odds=1.0))
    assert higher is not None
    assert higher.log_odds == 1.0


def test_a_limit_that_the_lender_raised_ends_the_cut() -> None:
    prior = cut_of(effective_on=datetime.date(2026, 1, 8))
    later = datetime.date(2026, 2, 1)
    assert up_to_date(prior, later, LIMIT + 1.0) is None
    assert up_to_date(prior, later, LIMIT) is prior
    # The month ends before the cut takes effect: its statement does not show it.
    assert up_to_date(prior, datetime.date(2025, 12, 1), LIMIT + 1.0) is prior
    referred = dataclasses.replace(prior, referred_on=START)
    left = up_to_date(referred, later, 25_000.0)
    assert left is not None
    assert not left.cuts
    assert left.limit_before == 25_000.0
    assert after(prior, change(25_000.0, 10_000.0, 2)) == dataclasses.replace(
        cut_of(10_000.0),
        limit_before=25_000.0,
        first_cut_on=add_months(START, 2),
        last_cut_on=add_months(START, 2),
        in_force_from=add_months(START, 2),
        review_on=add_months(START, 5),
        decisions=("id-2",),
    )


@given(st.integers(-3, 3), st.integers(1, 28))
def test_the_limit_in_force_is_the_statements_unless_its_month_ended_before(
    months: int, day: int
) -> None:
    from_day = datetime.date(2026, 3, day)
    prior = dataclasses.replace(cut_of(), in_force_from=from_day)
    as_of = add_months(datetime.date(2026, 3, 1), months)
    last_day = add_months(as_of, 1) - datetime.timedelta(days=1)
    expected = 5_000.0 if last_day < from_day else 7_000.0
    assert limit_in_force(prior, as_of, 7_000.0) == expected
    assert limit_in_force(None, as_of, 7_000.0) == 7_000.0


def test_the_ids_are_the_first_and_the_latest() -> None:
    prior: Prior | None = cut_of()
    for month in range(1, MOST_DECISIONS + 10):
        prior = after(prior, change(5_000.0, 5_000.0, month))
    assert prior is not None
    assert len(prior.decisions) == MOST_DECISIONS
    assert prior.decisions[0] == "id-0"
    assert prior.decisions[-1] == f"id-{MOST_DECISIONS + 9}"


CUT = dataclasses.replace(
    cut_of(), restored_on=add_months(START, 3), limit_in_force=9_000.0, referred_on=START
)
NOT_CUT = dataclasses.replace(
    CUT,
    limit_before=9_000.0,
    limit_after=9_000.0,
    first_cut_on=None,
    last_cut_on=None,
    restored_on=None,
    review_on=None,
)
TOMORROW = TODAY + datetime.timedelta(days=1)
CONTRADICTIONS: list[tuple[Prior, str, dict[str, Any]]] = [
    (CUT, "limit_before", {"limit_before": 8_900.0}),
    (CUT, "limit_before", {"limit_before": math.nan}),
    (CUT, "limit_before", {"limit_before": 10_000.0}),  # below the statement's
    (CUT, "limit_after", {"limit_after": 9_100.0}),
    (CUT, "limit_after", {"limit_after": -1.0}),
    (CUT, "limit_in_force", {"limit_in_force": LIMIT}),
    (CUT, "balance_before", {"balance_before": math.inf}),
    (CUT, "log_odds", {"log_odds": math.nan}),
    (CUT, "first_cut_on", {"first_cut_on": None}),
    (CUT, "last_cut_on", {"last_cut_on": None}),
    (CUT, "first_cut_on", {"first_cut_on": add_months(START, 1)}),
    (CUT, "last_cut_on", {"last_cut_on": TOMORROW, "restored_on": TOMORROW, "review_on": None}),
    (CUT, "in_force_from", {"in_force_from": START - datetime.timedelta(days=1)}),
    (CUT, "restored_on", {"restored_on": START - datetime.timedelta(days=1)}),
    (CUT, "restored_on", {"restored_on": TOMORROW}),
    (CUT, "review_on", {"review_on": START - datetime.timedelta(days=1)}),
    (CUT, "review_on", {"review_on": datetime.date(9999, 12, 31)}),
    (CUT, "referred_on", {"referred_on": TOMORROW}),
    (CUT, "decisions", {"decisions": ("id",) * (MOST_DECISIONS + 1)}),
    (CUT, "decisions", {"decisions": ("id-0", "id-1", "id-0")}),
    (CUT, "log_odds", {"log_odds": 1e300}),
    (CUT, "log_odds", {"log_odds": -100.1}),
    (CUT, "in_force_from", {"in_force_from": datetime.date(2099, 4, 1)}),
    (NOT_CUT, "in_force_from", {"in_force_from": datetime.date(2027, 10, 6)}),
    (NOT_CUT, "suspended", {"suspended": True}),
    (NOT_CUT, "restored_on", {"restored_on": START}),
    (NOT_CUT, "review_on", {"review_on": START}),
    (NOT_CUT, "limit_after", {"limit_after": 5_000.0}),
]


@pytest.mark.parametrize(("prior", "field", "changed"), CONTRADICTIONS)
def test_a_contradiction_is_refused_with_its_field(
    prior: Prior, field: str, changed: dict[str, Any]
) -> None:
    check_prior(prior, AS_OF, 12_000.0, TODAY)  # the control
    contradictory = dataclasses.replace(prior, **changed)
    if changed.get("last_cut_on") == TOMORROW:
        contradictory = dataclasses.replace(contradictory, in_force_from=TOMORROW)
    with pytest.raises(PriorError) as caught:
        check_prior(contradictory, AS_OF, 12_000.0, TODAY)
    assert caught.value.field == field
    assert f"{field}: expected {caught.value.expected}, got " in str(caught.value)
    # What is expected goes into the answer to a request, and repeats no amount or day of it.
    known = {"64", "-100", "100", "12", "60", "0"}
    assert set(re.findall(r"-?[0-9]+", caught.value.expected)) <= known


def test_an_error_among_several_priors_names_the_account() -> None:
    statements = [LatestStatement(account, AS_OF, 9_000.0) for account in ("a", "b", "c")]
    assert check_priors({"b": CUT}, statements, TODAY) == [None, CUT, None]
    assert check_priors({}, statements, TODAY) == [None] * 3
    wrong = dataclasses.replace(CUT, suspended=True, limit_before=8_000.0)
    with pytest.raises(PriorError, match="prior of account b: limit_before: expected at least"):
        check_priors({"a": CUT, "b": wrong}, statements, TODAY)
    with pytest.raises(ValueError, match=r"got \['d'\] and 0 more"):
        check_priors({"a": CUT, "d": CUT}, statements, TODAY)


@given(st.data())
def test_the_text_tells_priors_apart(data: st.DataObject) -> None:
    changed: dict[str, Any] = {
        "limit_before": 21_000.0,
        "log_odds": None,
        "suspended": True,
        "review_on": None,
        "decisions": ("another",),
    }
    names = data.draw(st.sets(st.sampled_from(sorted(changed))))
    other = dataclasses.replace(CUT, **{name: changed[name] for name in names})
    assume(names)
    assert other.text() != CUT.text()
    assert dataclasses.replace(other).text() == other.text()


def test_each_field_of_a_prior_is_in_its_text() -> None:
    for field in each(dataclasses.fields(Prior)):
        assert field.name in CUT.text()


@given(
    unknown=st.sets(st.sampled_from([field.name for field in dataclasses.fields(Prior)])),
    amount=st.one_of(st.floats(), st.integers(), st.floats().map(np.float64)),
    ids=st.lists(st.text()).map(tuple),
)
def test_the_text_is_json_of_the_fields_that_are_known(
    unknown: set[str], amount: float, ids: tuple[str, ...]
) -> None:
    """Ids of stored decisions depend on each byte of it."""
    drawn = dataclasses.replace(CUT, limit_before=amount, log_odds=amount, decisions=ids)
    prior = dataclasses.replace(drawn, **dict.fromkeys(unknown))  # type: ignore[arg-type]
    known = {name: one for name, one in dataclasses.asdict(prior).items() if one is not None}
    assert prior.text() == json.dumps(known, default=str)
