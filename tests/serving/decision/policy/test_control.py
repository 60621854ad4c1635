"""The control arm: who is in it, and what is left alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from serving.decision.ids import UNKEYED
from serving.decision.policy.control import Arm, assign_arm, in_control
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Outcome, apply
from tests.support.each import each
from tests.support.policies import DECIDED_AT, POLICY, make_account

KEY, OTHER_KEY = b"one key", b"another key"
ACCOUNTS = [f"sim-{number:07d}" for number in range(100_000)]
LIMIT = 20_000.0


def assign(
    account: Account,
    account_id: str,
    share: float = 0.5,
) -> tuple[Outcome, Arm | None]:
    return assign_arm(
        apply(account, POLICY, DECIDED_AT),
        account_id,
        LIMIT,
        KEY,
        share,
    )


def one_of_each_arm() -> tuple[str, str]:
    """An account of the control arm, and one of the other, at a share of one half."""
    control = next(account for account in ACCOUNTS if in_control(account, KEY, 0.5))
    treated = next(account for account in ACCOUNTS if not in_control(account, KEY, 0.5))
    return control, treated


@pytest.mark.parametrize("share", [0.01, 0.1])
@pytest.mark.parametrize("key", [UNKEYED, KEY])
def test_the_share_of_the_accounts_is_that_of_the_policy(
    share: float,
    key: bytes,
) -> None:
    count = sum(in_control(account, key, share) for account in ACCOUNTS)
    expected, spread = len(ACCOUNTS) * share, math.sqrt(len(ACCOUNTS) * share * (1 - share))
    assert abs(count - expected) < 4 * spread


def test_a_larger_share_keeps_the_accounts_of_a_smaller_one() -> None:
    small = {account for account in ACCOUNTS if in_control(account, KEY, 0.01)}
    large = {account for account in ACCOUNTS if in_control(account, KEY, 0.02)}
    assert small < large
    assert not any(in_control(account, KEY, 0.0) for account in ACCOUNTS)


def test_another_key_draws_other_accounts() -> None:
    one, other = (
        {account for account in ACCOUNTS if in_control(account, key, 0.01)}
        for key in (KEY, OTHER_KEY)
    )
    # Two draws of 1,000 of 100,000 share about 10.
    assert 0 <= len(one & other) < 40


def test_a_cut_by_the_model_is_made_or_left_alone() -> None:
    control, treated = one_of_each_arm()
    cut, arm = assign(make_account(0.25), treated)
    assert (cut.action, arm) == ("reduce", "treated")
    kept, arm = assign(make_account(0.25), control)
    assert (kept.action, arm) == ("keep", "control")
    assert kept.new_limit == LIMIT
    assert (kept.effective_on, kept.review_on, kept.proposed_limit) == (None, None, None)
    assert (kept.hits, kept.by_model, kept.suspends) == ((), False, False)
    assert kept.model_cuts


def test_what_the_model_does_not_cut_by_itself_is_in_no_arm() -> None:
    accounts = {
        "kept": (make_account(0.05), "keep"),
        "suspended": (make_account(0.7), "suspend"),
        "near the cut-off": (make_account(POLICY.cut_off("pay_later")), "review"),
        "short history": (make_account(0.25, months_observed=2.0), "review"),
        "a rule suspends": (make_account(0.25, days_past_due_now=60.0), "suspend"),
        "a rule and the model": (make_account(0.25, idle_months=12.0, limit=50_000.0), "reduce"),
    }
    for name, (account, action) in each(accounts.items()):
        for account_id in one_of_each_arm():
            outcome, arm = assign(account, account_id)
            assert outcome == apply(account, POLICY, DECIDED_AT), name
            assert (outcome.action, arm) == (action, None), name


def test_without_a_share_there_is_no_experiment() -> None:
    for account_id in one_of_each_arm():
        outcome, arm = assign(
            make_account(0.25),
            account_id,
            share=0.0,
        )
        assert (outcome.action, arm) == ("reduce", None)


def test_a_referred_cut_is_in_no_arm() -> None:
    control, _ = one_of_each_arm()
    cut = apply(
        make_account(0.25),
        POLICY,
        DECIDED_AT,
    )
    referred = replace(
        cut,
        action="review",
        review_because=("no_principal_reason",),
    )
    assert assign_arm(
        referred,
        control,
        LIMIT,
        KEY,
        0.5,
    ) == (referred, None)
