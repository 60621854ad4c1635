"""The control arm: who is in it, and what is left alone."""

from __future__ import annotations

import math
from dataclasses import replace

import polars as pl
import pytest

from serving.decision.bundle import read
from serving.decision.config.policy import ControlArm
from serving.decision.ids import UNKEYED
from serving.decision.pipeline import advise, decide_many
from serving.decision.policy.control import Arm, assign_arm, in_control
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Outcome, apply
from serving.decision.scoring.score import logit
from tests.support.each import each
from tests.support.paths import GOLDEN, ROOT
from tests.support.policies import DECIDED_AT, LATE, POLICY, cut_more, make_account

KEY, OTHER_KEY = b"one key", b"another key"
ACCOUNTS = [f"sim-{number:07d}" for number in range(30_000)]
LIMIT = 20_000.0
# Just inside the band in which a person decides, where a cut is large enough to be made.
NEAR_LOG_ODDS = logit(POLICY.cut_off("pay_later")) + 0.9 * POLICY.review.band
NEAR = 1.0 / (1.0 + math.exp(-NEAR_LOG_ODDS))


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
    # Two draws of 300 of 30,000 share about 3.
    assert 0 <= len(one & other) < 20


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
        "suspended": (make_account(0.7, **LATE), "suspend"),
        "near the cut-off": (make_account(NEAR), "review"),
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


def test_decisions_leave_the_control_arm_alone() -> None:
    """On the golden accounts: the same decisions, but for the cuts of the control arm."""
    bundle = cut_more(read(GOLDEN))
    experiment = replace(bundle, policy=replace(bundle.policy, control=ControlArm(0.2)))
    statements = pl.read_parquet(ROOT / "tests" / "golden" / "answers" / "statements.parquet")
    before = decide_many(
        statements,
        bundle,
        DECIDED_AT,
        id_key=KEY,
    )
    after = decide_many(
        statements,
        experiment,
        DECIDED_AT,
        id_key=KEY,
    )
    arms: dict[Arm | None, int] = {}
    for cut, decision in each(zip(before, after, strict=True)):
        assert cut.arm is None
        arms[decision.arm] = arms.get(decision.arm, 0) + 1
        if decision.arm != "control":
            assert replace(decision, arm=None) == cut
            continue
        assert in_control(decision.account_id, KEY, 0.2)
        assert (cut.action, decision.action) == ("reduce", "keep")
        assert decision.new_limit == decision.credit_limit == cut.credit_limit
        assert (decision.reasons, decision.notice, decision.comparison) == ((), None, None)
        assert decision.log_odds == cut.log_odds
    assert arms["treated"] > 3 * arms["control"] > 0
    assert arms[None] > 500


def test_the_arm_stays_the_same_the_next_month() -> None:
    bundle = cut_more(read(GOLDEN))
    experiment = replace(bundle, policy=replace(bundle.policy, control=ControlArm(0.2)))
    statements = pl.read_parquet(ROOT / "tests" / "golden" / "answers" / "statements.parquet")
    back = pl.col("month").cum_count(reverse=True).over("account_id")
    earlier = statements.sort("account_id", "month").filter(back > 1)
    arms = [
        {
            decision.account_id: decision.arm
            for decision in decide_many(table, experiment, DECIDED_AT, id_key=KEY)
            if decision.arm is not None
        }
        for table in (earlier, statements)
    ]
    both = arms[0].keys() & arms[1].keys()
    assert len(both) > 20
    assert all(arms[0][account] == arms[1][account] for account in both)
    assert "control" in {arms[0][account] for account in both}


@pytest.mark.checked
def test_no_advice_for_a_limit_that_was_left_alone() -> None:
    bundle = cut_more(read(GOLDEN))
    experiment = replace(bundle, policy=replace(bundle.policy, control=ControlArm(0.2)))
    statements = pl.read_parquet(ROOT / "tests" / "golden" / "answers" / "statements.parquet")
    decided = decide_many(statements, experiment, DECIDED_AT, id_key=KEY)
    control = next(decision for decision in decided if decision.arm == "control")
    window = statements.filter(account_id=control.account_id)
    advised = advise(window, experiment, DECIDED_AT, id_key=KEY)
    assert advised.decision == control
    assert advised.advice is None
