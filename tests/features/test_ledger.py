from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.ledger import (
    DAYS_A_MONTH,
    Behaviour,
    Standing,
    Terms,
    next_standing,
    uncovered_instalments,
)

TERMS = Terms()
cents = st.integers(0, 20_000_000).map(lambda amount: amount / 100)
late_days = st.integers(0, 29)


def standing(balance: float, days_past_due: int = 0) -> Standing:
    """One account that owes ``balance``: its minimum due is what the ledger itself asks for at that
    many days.
    """
    instalments = days_past_due // DAYS_A_MONTH + 1
    owed = max(balance, 0.0)
    asked = min(owed * min(TERMS.minimum_share * instalments, 1.0), owed)
    due = owed if owed <= TERMS.minimum_amount else max(asked, TERMS.minimum_amount)
    return Standing(
        np.array([balance]), np.array([round(due, 2)]), np.array([days_past_due], dtype=np.int32)
    )


def behaviour(
    spend: float = 0.0, cash: float = 0.0, payment: float = 0.0, late: int = 0
) -> Behaviour:
    return Behaviour(
        np.array([spend]), np.array([cash]), np.array([payment]), np.array([late], dtype=np.int32)
    )


balances = st.integers(-1_000_000, 20_000_000).map(lambda amount: amount / 100)
owing = st.integers(1, 20_000_000).map(lambda amount: amount / 100)
arrears = st.integers(0, 5).map(lambda months: months * DAYS_A_MONTH)


@given(owing, st.integers(1, 12))
@example(0.01, 2)  # half a cent of tolerance once covered an instalment of a debt of one cent
def test_missing_k_months_gives_30_k_days(balance: float, months: int) -> None:
    now = standing(balance)
    for month in range(1, months + 1):
        now = next_standing(now, behaviour(), TERMS)
        assert now.days_past_due[0] == DAYS_A_MONTH * month


@given(owing, arrears, cents, late_days)
def test_paying_everything_leaves_the_new_spend_and_no_arrears(
    balance: float, days: int, spend: float, late: int
) -> None:
    after = next_standing(
        standing(balance, days), behaviour(spend=spend, payment=balance, late=late), TERMS
    )
    assert after.balance[0] == spend
    assert after.days_past_due[0] == late


@given(owing, arrears)
def test_paying_the_minimum_cures_all_arrears(balance: float, days: int) -> None:
    now = standing(balance, days)
    after = next_standing(now, behaviour(payment=float(now.minimum_due[0])), TERMS)
    assert after.days_past_due[0] == 0


@given(owing, st.integers(1, 5), st.integers(0, 6))
def test_instalments_are_covered_oldest_first(balance: float, months: int, paid: int) -> None:
    now = standing(balance + 1_000.0, months * DAYS_A_MONTH)  # above the amount that is due whole
    # Paying some of the instalments leaves the others; a hair less than one more does not cover it.
    whole = min(paid, months + 1)
    payment = np.round(now.minimum_due * (whole + 0.9) / (months + 1), 2)
    assert uncovered_instalments(now, payment)[0] == max(months + 1 - whole, 0)


@given(balances, arrears, cents, cents, cents, late_days)
def test_minimum_due_lies_between_nothing_and_what_is_owed(
    balance: float, days: int, spend: float, cash: float, payment: float, late: int
) -> None:
    after = next_standing(standing(balance, days), behaviour(spend, cash, payment, late), TERMS)
    owed = max(float(after.balance[0]), 0.0)
    assert 0.0 <= after.minimum_due[0] <= owed + 1e-9
    if owed > TERMS.minimum_amount:
        assert after.minimum_due[0] >= TERMS.minimum_amount
    else:
        assert after.minimum_due[0] == owed


@given(balances, arrears, cents, cents, cents)
def test_paying_more_never_leaves_more_owed_or_longer_past_due(
    balance: float, days: int, spend: float, payment: float, more: float
) -> None:
    now = standing(balance, days)
    less_paid = next_standing(now, behaviour(spend=spend, payment=payment), TERMS)
    more_paid = next_standing(now, behaviour(spend=spend, payment=payment + more), TERMS)
    assert more_paid.balance[0] <= less_paid.balance[0]
    assert more_paid.minimum_due[0] <= less_paid.minimum_due[0]
    assert more_paid.days_past_due[0] <= less_paid.days_past_due[0]


@given(balances, arrears, cents, cents, cents)
def test_balance_grows_by_spend_and_by_cash_with_its_fee(
    balance: float, days: int, spend: float, cash: float, payment: float
) -> None:
    now = standing(balance, days)
    quiet = next_standing(now, behaviour(payment=payment), TERMS).balance[0]
    busy = next_standing(now, behaviour(spend, cash, payment), TERMS).balance[0]
    assert busy - quiet == pytest.approx(spend + cash * (1 + TERMS.cash_fee), abs=0.011)


@given(owing, arrears, cents)
def test_interest_and_fee_are_charged_on_what_was_not_paid(
    balance: float, days: int, payment: float
) -> None:
    now = standing(balance, days)
    charged = next_standing(now, behaviour(payment=payment), TERMS).balance[0] - (balance - payment)
    unpaid, shortfall = max(balance - payment, 0.0), max(float(now.minimum_due[0]) - payment, 0.0)
    assert charged == pytest.approx(
        TERMS.monthly_rate * unpaid + TERMS.late_fee * shortfall, abs=0.006
    )


@given(st.integers(-1_000_000, 0).map(lambda amount: amount / 100), cents, late_days)
def test_where_nothing_is_due_nothing_is_late(balance: float, payment: float, late: int) -> None:
    after = next_standing(standing(balance), behaviour(payment=payment, late=late), TERMS)
    assert after.days_past_due[0] == 0
    assert after.balance[0] == pytest.approx(balance - payment, abs=1e-6)
    assert after.minimum_due[0] == 0.0


rows = st.tuples(balances, arrears, cents, cents, cents, late_days)


@settings(max_examples=50)
@given(st.lists(rows, min_size=1, max_size=20))
def test_many_accounts_side_by_side_are_each_as_alone(
    accounts: list[tuple[float, int, float, float, float, int]],
) -> None:
    alone = [next_standing(standing(b, d), behaviour(*acts), TERMS) for b, d, *acts in accounts]  # type: ignore[arg-type]
    singles = [standing(b, d) for b, d, *_ in accounts]
    columns = list(zip(*accounts, strict=True))
    together = next_standing(
        Standing(
            np.concatenate([s.balance for s in singles]),
            np.concatenate([s.minimum_due for s in singles]),
            np.concatenate([s.days_past_due for s in singles]),
        ),
        Behaviour(
            spend=np.array(columns[2], dtype=np.float64),
            cash_advance=np.array(columns[3], dtype=np.float64),
            payment=np.array(columns[4], dtype=np.float64),
            days_late=np.array(columns[5], dtype=np.int32),
        ),
        TERMS,
    )
    for name in ("balance", "minimum_due", "days_past_due"):
        np.testing.assert_array_equal(
            getattr(together, name), np.concatenate([getattr(one, name) for one in alone])
        )


@given(rows)
def test_scalars_do_as_well_as_arrays(row: tuple[float, int, float, float, float, int]) -> None:
    balance, days, spend, cash, payment, late = row
    one = standing(balance, days)
    scalar = next_standing(
        Standing(one.balance[0], one.minimum_due[0], one.days_past_due[0]),
        Behaviour(np.float64(spend), np.float64(cash), np.float64(payment), np.int32(late)),  # type: ignore[arg-type]
        TERMS,
    )
    vector = next_standing(one, behaviour(spend, cash, payment, late), TERMS)
    assert np.ndim(scalar.balance) == 0
    assert (scalar.balance, scalar.minimum_due, scalar.days_past_due) == (
        vector.balance[0],
        vector.minimum_due[0],
        vector.days_past_due[0],
    )


@given(rows)
def test_standing_and_behaviour_are_left_as_they_were(
    row: tuple[float, int, float, float, float, int],
) -> None:
    balance, days, *acts = row
    now, month = standing(balance, days), behaviour(*acts)  # type: ignore[arg-type]
    before = [
        array.copy()
        for array in (now.balance, now.minimum_due, now.days_past_due, month.spend, month.payment)
    ]
    next_standing(now, month, TERMS)
    after = [now.balance, now.minimum_due, now.days_past_due, month.spend, month.payment]
    for was, is_now in zip(before, after, strict=True):
        np.testing.assert_array_equal(was, is_now)


@pytest.mark.parametrize(
    "name", ["monthly_rate", "cash_fee", "late_fee", "minimum_share", "minimum_amount"]
)
def test_terms_out_of_range_are_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"Terms.{name}: expected 0.0 to .*, got -0.1"):
        Terms(**{name: -0.1})
