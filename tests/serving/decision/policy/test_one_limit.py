from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.decision.policy.limit import USUAL_SPEND, Account, limits_by_model
from serving.decision.policy.one_limit import limit_of_one
from tests.support.each import each
from tests.support.memory import draw_accounts, remembered
from tests.support.paths import ROOT
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


# In a process of its own: here other tests have called the loops.
_LOADED = """
import gc
from dataclasses import replace
from numba.core.dispatcher import Dispatcher
from serving.decision.golden import load
from serving.decision.policy.outcome import apply
from tests.support.memory import draw_accounts, remembered
from tests.support.paths import GOLDEN
from tests.support.policies import AS_OF, DECIDED_AT

def signatures():
    loops = [one for one in gc.get_objects() if isinstance(one, Dispatcher)]
    return {(loop.py_func.__name__, signature) for loop in loops for signature in loop.signatures}

policy = load(GOLDEN).policy
loaded = signatures()
actions = set()
for days in (0.0, 60.0, 90.0):
    for place, account in enumerate(draw_accounts(600, seed=5, days_past_due_now=days)):
        prior = remembered(account.limit, AS_OF) if place % 2 else None
        actions.add(apply(replace(account, prior=prior), policy, DECIDED_AT).action)
print(" ".join(sorted(actions)), len(signatures() - loaded))
"""


@pytest.mark.slow  # a process of its own
def test_no_decision_waits_for_a_loop_once_a_bundle_is_loaded() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _LOADED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["keep", "reduce", "restore", "review", "suspend", "0"]
