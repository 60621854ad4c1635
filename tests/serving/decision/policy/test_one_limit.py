from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.decision.policy.limit import USUAL_SPEND, Account, limits_by_model
from serving.decision.policy.one_limit import limit_of_one
from tests.support.each import each
from tests.support.memory import draw_accounts, remembered
from tests.support.policies import AS_OF, POLICY, change_policy

ACCOUNTS = 2_000
amounts = st.one_of(st.just(0.0), st.floats(-1e4, 1e7), st.floats(1e-6, 1.0))


def by_arrays(account: Account, policy: Any = POLICY) -> tuple[float, bool]:
    limits, near = limits_by_model([account], policy)
    return limits.tolist()[0], near.tolist()[0]


@pytest.fixture(scope="module")
def accounts() -> list[Account]:
    """Accounts of both products, every second with a cut in force."""
    drawn = draw_accounts(ACCOUNTS, seed=5, **{USUAL_SPEND: 700.0})
    return [
        replace(account, prior=remembered(account.limit, AS_OF)) if place % 2 else account
        for place, account in enumerate(drawn)
    ]


def test_one_account_has_the_limit_that_it_has_among_many(accounts: list[Account]) -> None:
    limits, near = limits_by_model(accounts, POLICY)
    expected = list(zip(limits.tolist(), near.tolist(), strict=True))
    assert [limit_of_one(account, POLICY) for account in accounts] == expected
    # The control: some of them are cut and near the cut-off, and others are not.
    cut = [limit < one.limit_measured for one, limit in zip(accounts, limits, strict=True)]
    for part in each((cut, near.tolist())):
        assert 50 < sum(part) < ACCOUNTS - 50


@given(
    st.floats(0.0, 1.0, exclude_min=True, exclude_max=True),
    amounts.map(abs),
    amounts,
    amounts.map(abs),
    st.sampled_from(["pay_later", "cash_loan"]),
    st.sampled_from([None, 0.0, 1e-300, 0.5]),
)
@example(0.9, 1e5, 0.0, 0.0, "pay_later", 1e-300)  # tolerates more than the largest number
@example(0.9, 1e-6, 1e7, 0.0, "pay_later", None)
def test_any_account_has_the_bits_of_the_arrays(
    probability: float,
    limit: float,
    balance: float,
    spend: float,
    product: str,
    conversion: float | None,
) -> None:
    [drawn] = draw_accounts(1, seed=1)
    own = {"limit_now": limit, "balance_now": balance, USUAL_SPEND: spend}
    features = {**drawn.features, **own}
    account = Account(product, AS_OF, probability, features)
    policy = change_policy(conversion)
    assert limit_of_one(account, policy) == by_arrays(account, policy)
