from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.types import Mask, Matrix, Vector
from serving.decision.bundle import Bundle
from tests.support.each import each
from training.data.simulate.behaviour import Acts
from training.data.simulate.shocks import ILLNESS, INCOME_LOSS, NONE
from training.data.simulate.state import State, Traits
from training.data.simulate.step import step
from training.examine.reasons.effects import levels_of, medians_of
from training.examine.reasons.levels import Levels, kept_counts
from training.examine.truth import drivers
from training.examine.truth.drivers import DRIVERS, Driver, state_without_driver
from training.examine.truth.population import LOOKBACK, Population

ACTING: tuple[Driver, ...] = tuple(driver for driver in DRIVERS if driver != "hidden")
BY_LEVEL: tuple[Driver, ...] = tuple(driver for driver in ACTING if driver != "repayment")
# What a driver may change of a month's acts; all else is the customer's own.
NAMED: dict[Driver, set[str]] = {
    "repayment": {"payment", "days_late"},
    "overspending": {"spend"},
    "cash_reliance": {"cash_advance"},
    "credit_seeking": {"limit_requests", "credit_inquiries", "borrowed"},
    "high_utilization": set(),
    "external_debt": set(),
}
CENT = 0.0051


@dataclass(frozen=True)
class Month:
    """One month relived: the state before it, the customer's own acts, those under the driver, and
    the state after.
    """

    before: State
    own: Acts
    told: Acts
    after: State


def levels(state: State, **given: float) -> Levels:
    """These levels for every account; NaN where none is given."""
    return Levels(
        **{
            field.name: np.full(state.count, given.get(field.name, np.nan))
            for field in fields(Levels)
        }
    )


def differing(some: Any, others: Any) -> list[str]:
    """The fields that are not equal to the last bit."""
    found = []
    for field in fields(some):
        one, other = getattr(some, field.name), getattr(others, field.name)
        same = not differing(one, other) if isinstance(one, Traits) else np.array_equal(one, other)
        found += [] if same else [field.name]
    return found


@pytest.fixture
def months(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Population, Driver | None, Levels], list[Month]]:
    """Relive a world under a driver, and see every month of it."""

    def seen(world: Population, driver: Driver | None, given: Levels) -> list[Month]:
        found: list[Month] = []

        def watched(
            state: State, month: int, config: Any, future: int, change: Any
        ) -> tuple[State, Any]:
            acts: list[tuple[Acts, Acts]] = []

            def noted(before: State, own: Acts) -> Acts:
                told: Acts = own if change is None else change(before, own)
                acts.append((own, told))
                return told

            after, columns = step(state, month, config, future, noted)
            found.append(Month(state, *acts[0], after))
            return after, columns

        monkeypatch.setattr(drivers, "step", watched)
        state_without_driver(world.state_before, LOOKBACK, world.config, driver, given)
        assert len(found) == LOOKBACK
        return found

    return seen


Relived = Callable[[Population, Driver | None, Levels], list[Month]]


@pytest.fixture(scope="module")
def reference(examined: Population, bundle: Bundle) -> Levels:
    """The levels that the session's bundle serves."""
    loan = examined.state_before.traits.cash_loan
    return levels_of(medians_of(bundle), np.where(loan, "cash_loan", "pay_later").tolist())


def lent(levels: Levels, state: State) -> Vector:
    """Debt elsewhere as the lender sees it beyond the reference's, CNY."""
    seen: Vector = state.traits.coverage * (state.external_debt + state.traits.secured_debt)
    return seen - levels.debt * state.reported_income


def test_undriven_it_is_the_very_history(examined: Population, reference: Levels) -> None:
    again = state_without_driver(examined.state_before, LOOKBACK, examined.config, None, reference)
    assert differing(again, examined.state) == []
    some = np.array([1800, 3, 3, 77])
    part = state_without_driver(
        examined.state_before.take(some), LOOKBACK, examined.config, None, reference
    )
    assert differing(part, examined.state.take(some)) == []
    assert differing(
        state_without_driver(
            examined.state_before, LOOKBACK, examined.config, "repayment", reference
        ),
        examined.state,
    )


@pytest.mark.parametrize("driver", BY_LEVEL)
def test_a_level_that_is_not_known_leaves_alone(driver: Driver, examined: Population) -> None:
    unknown = levels(examined.state_before)
    assert (
        differing(
            state_without_driver(examined.state_before, LOOKBACK, examined.config, driver, unknown),
            examined.state,
        )
        == []
    )


@pytest.mark.parametrize("driver", BY_LEVEL)
def test_who_does_better_than_the_reference_is_left_alone(
    driver: Driver, examined: Population
) -> None:
    much = 1e6
    worse = levels(
        examined.state_before,
        paid_share=0.0,
        spend=much,
        debt=much,
        cash=much,
        used=much,
        limit_requests=much,
        inquiries=much,
    )
    assert (
        differing(
            state_without_driver(examined.state_before, LOOKBACK, examined.config, driver, worse),
            examined.state,
        )
        == []
    )


@pytest.mark.parametrize("driver", ACTING)
def test_a_driver_changes_what_it_names_and_nothing_that_befalls(
    driver: Driver, examined: Population, reference: Levels, months: Relived
) -> None:
    undriven = months(examined, None, reference)
    touched = set()
    for month, own in zip(months(examined, driver, reference), undriven, strict=True):
        touched |= set(differing(month.told, month.own))
        assert not set(differing(month.after, own.after)) & {
            "shock",
            "severity",
            "appetite",
            "reported_income",
            "traits",
        }
    assert touched == NAMED[driver]


def acting_months(months: list[Month]) -> list[tuple[Month, Mask]]:
    """The months, with the accounts that are open and well enough to act in them."""
    pairs = []
    for month in each(months):
        state = month.before
        pairs.append((month, (state.traits.opened_month <= state.months_done) & ~state.ended))
    return pairs


def test_repayment_pays_what_is_due_in_time(examined: Population, months: Relived) -> None:
    """Without a known share of the balance it is the minimum due."""
    unknown = levels(examined.state_before)
    for month, acting in each(acting_months(months(examined, "repayment", unknown))):
        assert np.array_equal(
            month.told.payment, np.maximum(month.own.payment, month.before.minimum_due)
        )
        assert not month.told.days_late.any()
        assert not month.after.days_past_due[acting].any()


def test_repayment_pays_the_reference_s_share(examined: Population, months: Relived) -> None:
    given = levels(examined.state_before, paid_share=0.4)
    for month, _ in each(acting_months(months(examined, "repayment", given))):
        share = 0.4 * np.maximum(month.before.balance, 0.0)
        asked = np.maximum(share, month.before.minimum_due)
        enough = month.own.payment >= asked
        assert 0.1 < enough.mean() < 0.95
        assert np.array_equal(month.told.payment[enough], month.own.payment[enough])
        assert np.abs(month.told.payment - asked)[~enough].max() < CENT


def lived(found: list[Month], act: str) -> tuple[Matrix, Matrix, Matrix]:
    """An act's own and told amounts, and whether it counts, float64 (months, accounts)."""
    own = np.array([getattr(month.own, act) for month in found], dtype=np.float64)
    told = np.array([getattr(month.told, act) for month in found], dtype=np.float64)
    counts = np.array([acting for _, acting in acting_months(found)], dtype=np.float64)
    return own * counts, told * counts, counts


@pytest.mark.parametrize(
    ("driver", "act", "level", "base"),
    [
        ("overspending", "spend", {"spend": 0.1}, "reported_income"),
        ("cash_reliance", "cash_advance", {"cash": 0.02}, "credit_limit"),
    ],
)
def test_a_year_of_more_than_the_reference_is_scaled_to_its_total(
    driver: Driver,
    act: str,
    level: dict[str, float],
    base: str,
    examined: Population,
    months: Relived,
) -> None:
    undriven = months(examined, None, levels(examined.state_before))
    year, _, counts = lived(undriven, act)
    found = months(examined, driver, levels(examined.state_before, **level))
    own, told, _ = lived(found, act)
    bases = np.array([getattr(month.before, base) for month in undriven]) * counts
    allowed = next(iter(level.values())) * bases.sum(axis=0)
    total = year.sum(axis=0)
    more = total > allowed
    assert 0.02 < more.mean() < 0.98
    # Who does no more in the whole year is left alone, in each month.
    assert np.array_equal(told[:, ~more], own[:, ~more])
    expected = own * np.where(more, allowed / np.maximum(total, 1.0), 1.0)
    assert np.abs(told - expected).max() < CENT
    # Some did less than a mean month of the reference's in a month, and more over the year.
    uneven = more & ((own > 0) & (told < own)).any(axis=0)
    assert uneven.sum() > 20


def test_credit_seeking_asks_no_more_often_than_the_reference(
    examined: Population, months: Relived
) -> None:
    given = levels(examined.state_before, limit_requests=2.5, inquiries=1)
    found = months(examined, "credit_seeking", given)
    for act, most in each((("limit_requests", 2), ("credit_inquiries", 1))):
        own, told, _ = lived(found, act)
        assert told.sum(axis=0).max() == most
        assert (told <= own).all()
    refused = 0
    for month, acting in each(acting_months(found)):
        own_acts, told_acts = month.own, month.told
        fewer = told_acts.credit_inquiries < own_acts.credit_inquiries
        refused += int((own_acts.borrowed[fewer] > 0).sum())
        assert not told_acts.borrowed[fewer].any(), "credit that is not asked for is not granted"
        same = ~fewer & acting
        assert np.array_equal(told_acts.borrowed[same], own_acts.borrowed[same])
    assert refused > 20


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.floats(0, 40))
def test_counts_of_a_year_keep_their_months(counts: list[int], allowed: float) -> None:
    own = np.array(counts, dtype=np.float64)[:, None]
    kept = kept_counts(own, np.array([allowed]))
    assert kept.sum() == min(own.sum(), np.floor(allowed))
    assert (kept >= 0).all()
    assert (kept <= own).all()


def test_a_line_that_is_full_begins_at_the_reference(examined: Population, months: Relived) -> None:
    given = levels(examined.state_before, used=0.3)
    begun = months(examined, "high_utilization", given)[0].before
    assert (begun.balance <= 0.3 * examined.state_before.credit_limit + CENT).all()
    fuller = examined.state_before.balance > 0.3 * examined.state_before.credit_limit
    assert np.array_equal(begun.balance[~fuller], examined.state_before.balance[~fuller])
    assert np.array_equal(begun.minimum_due[~fuller], examined.state_before.minimum_due[~fuller])
    assert (
        begun.minimum_due
        <= np.minimum(examined.state_before.minimum_due, np.maximum(begun.balance, 0.0))
    ).all()
    assert (begun.minimum_due < examined.state_before.minimum_due)[fuller].mean() > 0.9


def test_debt_elsewhere_begins_at_the_reference(examined: Population, months: Relived) -> None:
    given = levels(examined.state_before, debt=1.5)
    begun = months(examined, "external_debt", given)[0].before
    less = lent(given, examined.state_before) <= 0
    assert np.array_equal(begun.external_debt[less], examined.state_before.external_debt[less])
    assert 0.1 < less.mean() < 0.95
    assert lent(given, begun)[begun.external_debt > 0].max() < CENT


def test_no_act_belongs_to_two_drivers() -> None:
    acts = [act for named in NAMED.values() for act in named]
    assert len(acts) == len(set(acts))


def test_hidden_takes_away_every_shock_and_touches_no_act(
    examined: Population, reference: Levels, months: Relived
) -> None:
    undriven = months(examined, None, reference)
    spared = np.ones(examined.state_before.count, dtype=np.bool_)
    for month in undriven:
        for state in (month.before, month.after):
            spared &= state.shock == NONE
    assert np.isin(examined.state_before.shock, (INCOME_LOSS, ILLNESS)).sum() > 50
    assert 0.3 < spared.mean() < 0.95
    for month in months(examined, "hidden", reference):
        assert not differing(month.told, month.own)
        for state in (month.before, month.after):
            assert (state.shock == NONE).all()
            assert not state.severity.any()
        last = month.after
    same = np.flatnonzero(spared)
    assert differing(last.take(same), examined.state.take(same)) == []
    assert differing(last, examined.state)


def test_levels_are_of_the_account_s_own_product() -> None:
    names = (
        "payment_to_balance_12",
        "spend_to_income_12",
        "external_debt_to_income",
        "cash_to_limit_6",
        "utilization_mean_12",
    )
    counts = ("limit_requests_12", "credit_inquiries_12")
    later = {name: float(place) for place, name in enumerate((*names, *counts))}
    loan = {name: 10 * value + 1 for name, value in later.items()} | {"spend_to_income_12": np.nan}
    found = levels_of({"pay_later": later, "cash_loan": loan}, ["cash_loan", "pay_later"])
    assert found.paid_share.tolist() == [1.0, 0.0]
    assert np.array_equal(found.spend, [np.nan, 1.0], equal_nan=True)
    assert found.debt.tolist() == [21.0, 2.0]
    assert found.cash == pytest.approx([31 / 6, 3 / 6]), "of six months, and a month's is asked for"
    assert found.used.tolist() == [41.0, 4.0]
    assert found.limit_requests.tolist() == [51.0, 5.0]
    assert found.inquiries.tolist() == [61.0, 6.0]
