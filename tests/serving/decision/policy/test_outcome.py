from __future__ import annotations

import datetime
import math
from collections import Counter
from dataclasses import replace

import numpy as np

from serving.decision.policy.limit import Account
from serving.decision.policy.one_limit import limit_without_drawings
from serving.decision.policy.outcome import Outcome, apply, apply_many, refer_to_reviewer
from serving.decision.policy.rules import apply_rules
from serving.decision.reasons.sentence import say_rule
from serving.decision.scoring.score import logit
from tests.support.each import each
from tests.support.memory import draw_accounts, follow
from tests.support.policies import DECIDED_AT, LATE, POLICY, make_account

# A regulation that caps the limits of all products, at one income.
STRICT = replace(
    POLICY,
    rules=tuple(
        replace(rule, products=None, times=1.0) if rule.cause == "regulation" else rule
        for rule in POLICY.rules
    ),
)
LONG_AGO = datetime.date(2026, 6, 1)


def outcome_of(account: Account) -> Outcome:
    return apply(account, POLICY, DECIDED_AT)


def test_a_safe_account_keeps_its_limit() -> None:
    kept = outcome_of(make_account(0.05))
    assert kept.action == "keep"
    assert kept.new_limit == 20_000.0
    assert kept.effective_on is None
    assert kept.review_on is None
    assert kept.review_because == ()


def test_a_risky_account_is_reduced() -> None:
    reduced = outcome_of(make_account(0.25))
    assert reduced.action == "reduce"
    assert reduced.by_model
    assert reduced.effective_on == datetime.date(2026, 10, 8)
    assert reduced.review_on == datetime.date(2027, 1, 5)


def test_a_very_risky_account_is_suspended_at_its_balance_with_head_room() -> None:
    suspended = outcome_of(make_account(0.7, **LATE))
    assert suspended.action == "suspend"
    assert suspended.new_limit == 4_200.0
    overpaid = outcome_of(make_account(0.7, balance=-50.0, **LATE))
    assert str(overpaid.proposed_limit) == "0.0"


def test_a_person_decides_near_the_cut_off() -> None:
    log_odds = logit(POLICY.cut_off("pay_later")) + 0.9 * POLICY.review.band
    near = outcome_of(make_account(1 / (1 + math.exp(-log_odds))))
    assert near.action == "review"
    assert near.new_limit == 20_000.0
    assert near.review_because == ("near_cut_off",)
    assert near.proposed_limit is not None
    assert near.proposed_limit < 20_000.0
    assert near.review_on == datetime.date(2026, 10, 10)


def test_a_person_decides_large_short_and_stale_cases() -> None:
    large = outcome_of(make_account(0.3, 200_000.0))
    assert large.review_because == ("high_impact",)
    short = outcome_of(make_account(0.3, months_observed=2.0))
    assert short.review_because == ("short_history",)
    stale = outcome_of(replace(make_account(0.3), as_of=LONG_AGO))
    assert stale.review_because == ("stale_data",)
    late = make_account(0.01, days_past_due_now=60.0)
    stale_by_rule = outcome_of(replace(late, as_of=LONG_AGO))
    assert stale_by_rule.review_because == ("stale_data",)


def test_a_person_decides_cuts_that_are_large_for_the_account() -> None:
    strict = replace(POLICY, review=replace(POLICY.review, high_impact_share=0.45))
    most = apply(make_account(0.5, balance=0.0), strict, DECIDED_AT)
    assert most.review_because == ("high_impact_share",)
    assert outcome_of(make_account(0.5, balance=0.0)).action == "reduce"
    incomes = outcome_of(make_account(0.5, 30_000.0, income=3_000.0))
    assert incomes.review_because == ("high_impact_incomes",)
    assert outcome_of(make_account(0.5, 30_000.0, income=math.nan)).action == "reduce"
    assert outcome_of(make_account(0.5, 30_000.0, income=6_000.0)).action == "reduce"
    # A rule needs no person for that.
    idle = outcome_of(make_account(0.01, 30_000.0, 0.0, idle_months=12.0, income=3_000.0))
    assert idle.action == "reduce"


def test_a_person_decides_a_suspension_of_an_account_that_is_not_past_due() -> None:
    stopped = outcome_of(make_account(0.7))
    assert stopped.action == "review"
    assert stopped.review_because == ("suspends_not_past_due",)
    assert stopped.suspends
    assert not stopped.suspended


def test_stale_data_of_an_account_that_keeps_its_limit_needs_no_person() -> None:
    assert outcome_of(replace(make_account(0.01), as_of=LONG_AGO)).action == "keep"


def test_a_fully_drawn_account_cannot_be_cut_but_can_be_suspended() -> None:
    assert outcome_of(make_account(0.4, 5_000.0, 5_000.0)).action == "keep"
    assert outcome_of(make_account(0.9, 5_000.0, 4_700.0, **LATE)).new_limit == 5_000.0
    assert outcome_of(make_account(0.9, 5_000.0, 4_600.0, **LATE)).new_limit == 5_000.0
    assert outcome_of(make_account(0.9, 5_000.0, 4_200.0, **LATE)).new_limit == 4_500.0
    overdrawn = outcome_of(make_account(0.9, 5_000.0, 5_400.0, **LATE))
    assert overdrawn.action == "suspend"
    assert overdrawn.new_limit == 5_000.0
    assert overdrawn.by_model


def test_no_suspension_takes_less_than_the_smallest_cut_unless_a_cap_asks_for_it() -> None:
    """Measured by the limit from before the first cut, as every other threshold."""
    random = np.random.default_rng(31)

    def worsen(account: Account, month: int) -> Account:
        log_odds = logit(account.probability) + float(random.normal(0.3, 0.6))
        owed = account.balance + float(random.uniform(0.0, 1.0)) * (account.limit - account.balance)
        changed = {"balance_now": owed if month else account.balance}
        probability = 1.0 / (1.0 + math.exp(-log_odds))
        return replace(account, probability=probability, features={**account.features, **changed})

    months = follow(draw_accounts(1_500, seed=30), STRICT, 3, worsen)
    seen: Counter[str] = Counter()
    for accounts, outcomes in each(months):
        for account, outcome in zip(accounts, outcomes, strict=True):
            if outcome.suspends:
                seen[check_suspension(account, outcome)] += 1
    for kind in ("lowered", "stays", "stays after a cut", "capped"):
        assert seen[kind] > 5, seen


def check_suspension(account: Account, outcome: Outcome) -> str:
    """Compare the limit of a suspension with the rule in words; returns the branch."""
    cut, limit = POLICY.cut, account.limit
    least = max(cut.minimum_cut_share * account.limit_measured, cut.minimum_cut_amount)
    rules = apply_rules(account, STRICT)
    drawn = limit_without_drawings(account, POLICY)
    is_felt = limit - drawn >= least
    left = outcome.new_limit if outcome.proposed_limit is None else outcome.proposed_limit
    allowed = rules.allow(limit)
    assert left == min(allowed, drawn if is_felt else limit), (account, outcome)
    if is_felt:
        return "lowered"
    if left < limit:
        # A cap alone lowers this limit, so it is stated, after the rule that suspends.
        capping = rules.capping(limit)
        assert outcome.hits[: len(rules.suspending)] == rules.suspending, (account, outcome)
        assert set(capping) <= set(outcome.hits), (account, outcome)
        return "capped"
    return "stays" if account.cut_in_force is None else "stays after a cut"


def test_a_person_decides_a_large_cut_by_a_rule() -> None:
    idle = outcome_of(make_account(0.01, 300_000.0, 0.0, idle_months=12.0))
    assert idle.action == "review"
    assert idle.proposed_limit == 2_000.0
    assert idle.review_because == ("high_impact",)
    smaller = outcome_of(make_account(0.01, 30_000.0, 0.0, idle_months=12.0))
    assert smaller.action == "reduce"


def test_a_regulatory_cap_decides_by_itself_from_its_month_on() -> None:
    capped = replace(make_account(0.01, income=2_000.0), product="cash_loan")
    outcome = outcome_of(capped)
    assert outcome.action == "reduce"
    assert outcome.new_limit == 12_000.0
    assert not outcome.by_model
    assert [hit.rule.cause for hit in outcome.hits] == ["regulation"]
    before = replace(capped, as_of=datetime.date(2025, 9, 1))
    assert outcome_of(before).action == "keep"
    assert outcome_of(replace(capped, product="pay_later")).action == "keep"
    unknown = replace(make_account(0.01, income=math.nan), product="cash_loan")
    assert outcome_of(unknown).action == "keep"


def test_a_cap_is_never_below_the_drawn_amount_with_a_month_s_interest() -> None:
    account = make_account(0.01, 20_000.0, 15_050.0, income=2_000.0)
    assert outcome_of(replace(account, product="cash_loan")).new_limit == 15_300.0


def test_rule_and_model_share_a_decision_if_the_model_goes_further() -> None:
    account = make_account(0.58, income=3_000.0, balance=0.0)
    both = outcome_of(replace(account, product="cash_loan"))
    assert [hit.rule.code for hit in both.hits] == ["income_multiple_cap"]
    assert both.by_model
    assert both.new_limit < 18_000.0


def test_a_past_due_account_is_suspended_at_any_probability() -> None:
    outcome = outcome_of(make_account(0.01, days_past_due_now=60.0))
    assert outcome.action == "suspend"
    assert not outcome.by_model
    [hit] = outcome.hits
    assert hit.rule.code == "account_past_due"
    # The customer has several statements: the sentence names the month of the one that it is about.
    text = say_rule(hit)
    assert text.en.startswith("Your statement of September 2026 shows a payment 60 days late. ")
    assert text.zh.startswith("您2026年9月的账单显示还款逾期60天。")


def test_several_accounts_get_the_outcome_of_each_alone() -> None:
    accounts = [
        make_account(0.05),
        make_account(0.25),
        make_account(0.7, **LATE),
        make_account(0.25, months_observed=2.0),
        make_account(0.01, days_past_due_now=60.0),
        replace(make_account(0.01, income=2_000.0), product="cash_loan"),
    ]
    alone = [outcome_of(account) for account in accounts]
    assert apply_many(accounts, POLICY, DECIDED_AT) == alone
    assert {outcome.action for outcome in alone} == {"keep", "reduce", "suspend", "review"}


def test_a_referral_keeps_the_limit_and_adds_its_grounds() -> None:
    account = make_account(0.25)
    outcome = outcome_of(account)
    referred = refer_to_reviewer(outcome, ("unmapped_reason",), account, POLICY, DECIDED_AT)
    assert referred.action == "review"
    assert referred.new_limit == 20_000.0
    assert referred.proposed_limit == outcome.new_limit
    assert referred.review_because == ("unmapped_reason",)
    assert referred.effective_on is None


def test_a_person_decides_on_an_implausible_statement() -> None:
    late = make_account(0.01)
    late = replace(late, features={**late.features, "days_past_due_now": 3650.0})
    assert outcome_of(late).action == "suspend"
    by_rule = outcome_of(replace(late, implausible=True))
    assert (by_rule.action, by_rule.review_because) == ("review", ("implausible_data",))
    risky = make_account(0.4)
    assert outcome_of(risky).action == "reduce"
    by_model = outcome_of(replace(risky, implausible=True))
    assert (by_model.action, by_model.review_because) == ("review", ("implausible_data",))
    # Nothing is taken, so there is nothing to decide.
    assert outcome_of(replace(make_account(0.01), implausible=True)).action == "keep"
