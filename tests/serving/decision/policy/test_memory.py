"""The policy with a memory: what is asked again gets the same answer, and limits come back."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from features.months import add_months
from serving.decision.config.policy import Condition, Rule
from serving.decision.policy.dates import local_date
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Outcome, apply, apply_many, change_of, refer_to_reviewer
from serving.decision.policy.prior import Prior, after, after_overturn
from serving.decision.policy.prior.check import check_prior
from serving.decision.policy.rules import apply_rules
from serving.decision.scoring.score import logit
from tests.support.each import each
from tests.support.memory import draw_accounts, follow, state_after
from tests.support.policies import AS_OF, DECIDED_AT, LATE, POLICY, make_account

TODAY = local_date(DECIDED_AT, POLICY)
CUT_OFF = logit(POLICY.cut_off("pay_later"))


def move(probability: float, log_odds: float) -> float:
    """The probability after the log-odds rose by so much."""
    return float(1.0 / (1.0 + np.exp(-(logit(probability) + log_odds))))


def at(log_odds_above: float) -> float:
    """The probability of log-odds so far above the cut-off."""
    return float(1.0 / (1.0 + np.exp(-(CUT_OFF + log_odds_above))))


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(200, marks=pytest.mark.brief),
        pytest.param(2_000, marks=pytest.mark.slow),
        pytest.param(10_000, marks=pytest.mark.torture),
    ],
)
def test_nothing_changed_nothing_changes(count: int) -> None:
    accounts = draw_accounts(count, seed=18)
    months = follow(accounts, POLICY, 24)
    _, first = next(months)
    assert {outcome.action for outcome in first} == {"keep", "reduce", "suspend", "review"}
    answered = [state_after(outcome, place) for place, outcome in enumerate(first)]
    before = [account.limit for account in accounts]
    is_cut = [(limit, False) != state for limit, state in zip(before, answered, strict=True)]
    looks = 0
    for month, (current, outcomes) in each(enumerate(months, start=1)):
        for place, outcome in enumerate(outcomes):
            context = (month, current[place], outcome)
            assert outcome.action == "keep", context
            assert (outcome.new_limit, outcome.suspended) == answered[place], context
            # A notice comes with the looks alone, every three months after a cut.
            assert outcome.looked == (is_cut[place] and month % 3 == 0), context
            looks += outcome.looked
    assert looks == 7 * sum(is_cut) > count


def test_without_a_memory_the_limit_falls_again() -> None:
    """The control: the same accounts, asked without their priors."""
    accounts = draw_accounts(1_000, seed=18)
    reduced = []
    for account, outcome in zip(accounts, apply_many(accounts, POLICY, DECIDED_AT), strict=True):
        if outcome.action == "reduce" and outcome.by_model:
            features = {**account.features, "limit_now": outcome.new_limit}
            reduced.append(replace(account, features=features))
    again = apply_many(reduced, POLICY, DECIDED_AT)
    assert sum(outcome.action == "reduce" for outcome in again) > 5


@pytest.mark.integration
def test_who_repays_is_never_cut_deeper() -> None:
    random = np.random.default_rng(5)
    # Rules are not asked here: a cap may fall with what is drawn.
    quiet = {"days_past_due_now": 0.0, "idle_months": 0.0, "income": 1e6}
    cut = [
        (account, state_after(outcome, 0))
        for account, outcome in _first_answers(draw_accounts(1_500, seed=6, **quiet))
        if state_after(outcome, 0) != (account.limit, False)
    ]

    def repay(account: Account, month: int) -> Account:
        if month == 0:
            return account
        paid, fall = random.uniform(0.0, 0.5), float(random.uniform(0.0, 0.1))
        owed = account.balance - float(paid) * max(account.balance, 0.0)
        features = {**account.features, "balance_now": owed}
        return replace(account, features=features, probability=move(account.probability, -fall))

    months = follow([account for account, _ in cut], POLICY, 24, repay)
    next(months)
    actions: Counter[str] = Counter()
    for current, outcomes in each(months):
        for account, outcome, (_, (answer, _)) in zip(current, outcomes, cut, strict=True):
            actions[outcome.action] += 1
            assert outcome.action in ("keep", "restore", "review"), (account, outcome)
            assert answer <= outcome.new_limit, (account, outcome)
    assert actions["restore"] > 50


CAP = Rule(
    code="cap",
    cause="risk",
    when=(Condition("income", "above", 0.0),),
    en="",
    zh="",
    cap=3_000.0,
)


def repay_under(rule: Rule) -> tuple[list[Account], list[list[Outcome]]]:
    """Accounts that a rule caps, and their monthly answers while they repay."""
    drawn = draw_accounts(800, seed=21, days_past_due_now=0.0, idle_months=0.0, income=1e6)
    owing = [replace(own, probability=0.01) for own in drawn if own.balance > 4_000.0]
    policy = replace(POLICY, rules=(rule,))
    random = np.random.default_rng(22)

    def repay(account: Account, month: int) -> Account:
        left = account.balance * float(random.uniform(0.7, 1.0)) if month else account.balance
        return replace(account, features={**account.features, "balance_now": left})

    months = list(follow(owing, policy, 12, repay))
    return owing, [outcomes for _, outcomes in months]


def test_who_repays_is_cut_by_a_rule_once() -> None:
    """An amount that is drawn at the first cut stays allowed."""
    owing, answers = repay_under(CAP)
    cuts = [
        sum(month[place].action == "reduce" for month in answers) for place in range(len(owing))
    ]
    assert sum(cuts) > 50
    assert max(cuts) == 1


def test_a_regulation_s_cap_follows_what_is_owed_down_to_the_cap() -> None:
    """The control: no new drawing above such a cap is allowed, so each payment lowers the limit."""
    rule = replace(CAP, cause="regulation", source="article 6")
    owing, (first, *later) = repay_under(rule)
    cuts = sum(outcome.action == "reduce" for outcomes in later for outcome in outcomes)
    assert cuts > sum(outcome.action == "reduce" for outcome in first)
    for place in each(range(len(owing))):
        limits = [outcomes[place].new_limit for outcomes in [first, *later]]
        assert limits == sorted(limits, reverse=True)
        assert limits[-1] >= min(3_000.0, owing[place].limit)


def _first_answers(accounts: list[Account]) -> list[tuple[Account, Outcome]]:
    return list(zip(accounts, apply_many(accounts, POLICY, DECIDED_AT), strict=True))


@pytest.mark.integration
def test_a_limit_that_comes_back_is_within_the_first_limit_and_the_rules() -> None:
    random = np.random.default_rng(7)
    accounts = draw_accounts(500, seed=8)
    started = [account.limit for account in accounts]

    def walk(account: Account, month: int) -> Account:
        probability = move(account.probability, float(random.normal(-0.05, 0.6)))
        idle, late = random.choice([0.0, 12.0]), random.choice([0.0, 60.0], p=[0.97, 0.03])
        changed = {"idle_months": float(idle), "days_past_due_now": float(late)}
        return replace(account, probability=probability, features={**account.features, **changed})

    seen: Counter[str] = Counter()
    for current, outcomes in each(follow(accounts, POLICY, 24, walk)):
        for account, outcome, limit in zip(current, outcomes, started, strict=True):
            seen[outcome.action] += 1
            assert outcome.new_limit <= limit
            if account.prior is not None:
                check_prior(account.prior, account.as_of, account.limit, add_months(TODAY, 24))
            if outcome.action == "restore":
                rules = apply_rules(account, POLICY)
                assert outcome.new_limit <= rules.allow(account.limit_measured)
                assert not (rules.suspending and outcome.lifts)
                assert outcome.new_limit > account.limit or outcome.lifts
                seen["lifted"] += outcome.lifts
    for kind in ("keep", "reduce", "suspend", "review", "restore", "lifted"):
        assert seen[kind] > 5, seen


# One account's story


def cut(probability: float = 0.3, **account: float) -> tuple[Account, Outcome]:
    """An account after the cut by that probability, with its limit in force."""
    asked = make_account(probability, **account)
    outcome = apply(asked, POLICY, DECIDED_AT)
    assert outcome.action in ("reduce", "suspend")
    prior = after(None, change_of(outcome, asked, "cut", TODAY))
    features = {**asked.features, "limit_now": outcome.new_limit}
    return replace(asked, features=features, prior=prior), outcome


def ask(account: Account, months: int, probability: float) -> Outcome:
    """What is decided so many months after the cut."""
    later = replace(account, probability=probability, as_of=add_months(AS_OF, months))
    decided_at = DECIDED_AT.replace(
        year=add_months(TODAY, months).year, month=add_months(TODAY, months).month
    )
    return apply(later, POLICY, decided_at)


def test_a_second_cut_needs_a_clear_rise_of_the_log_odds() -> None:
    account, first = cut(at(0.15), limit=30_000.0, balance=0.0)
    rise = {step: move(account.probability, step) for step in (0.0, 0.49, 0.5)}
    for months in (1, 5):
        assert ask(account, months, rise[0.49]).action == "keep"
        again = ask(account, months, rise[0.5])
        assert again.action == "reduce"
        assert again.new_limit < first.new_limit
    # After six months any rise is enough, if the cut is large enough to be made.
    assert ask(account, 6, rise[0.49]).action == "reduce"
    assert ask(account, 6, rise[0.0]).action == "keep"


def test_a_further_cut_leaves_the_present_balance_and_its_head_room() -> None:
    account, first = cut(at(0.53), limit=30_000.0, balance=0.0)
    owed = 0.5 * first.new_limit
    owing = replace(account, features={**account.features, "balance_now": owed})
    again = ask(owing, 1, 0.55)
    assert again.action == "reduce"
    assert again.new_limit >= owed * (1 + POLICY.cut.headroom)
    assert ask(account, 1, 0.55).new_limit < again.new_limit


def given_back(outcome: Outcome, account: Account) -> Prior:
    """The prior after a cut, all of which was given back on the same day."""
    cut = change_of(outcome, account, "cut", TODAY)
    whole = replace(
        cut,
        limit_before=cut.limit,
        limit=cut.limit_before,
        suspended=False,
        effective_on=TODAY,
        review_on=None,
    )
    back = after(after(None, cut), whole)
    assert back is not None
    return back


def test_nobody_is_cut_again_for_what_a_person_overturned() -> None:
    asked = make_account(at(0.3))
    first = apply(asked, POLICY, DECIDED_AT)
    assert first.action == "reduce"
    back = given_back(first, asked)
    assert ask(replace(asked, prior=back), 1, asked.probability).action == "reduce"  # the control
    kept = replace(asked, prior=after_overturn(back, TODAY, logit(asked.probability)))
    rise = {step: move(asked.probability, step) for step in (0.0, 0.49, 0.5)}
    for months in (0, 1, 5):
        for step in (0.0, 0.49):
            assert ask(kept, months, rise[step]).action == "keep"
        assert ask(kept, months, rise[0.5]).action in ("reduce", "review", "suspend")
    assert ask(kept, 6, rise[0.49]).action in ("reduce", "review", "suspend")


def test_a_rule_waits_for_statements_that_the_person_did_not_have() -> None:
    late = make_account(at(-2.0))
    late = replace(late, features={**late.features, **LATE, "days_past_due_now": 60.0})
    first = apply(late, POLICY, DECIDED_AT)
    assert (first.action, first.by_model) == ("suspend", False)
    back = given_back(first, late)
    assert ask(replace(late, prior=back), 0, late.probability).action == "suspend"  # the control
    kept = replace(late, prior=after_overturn(back, TODAY, logit(late.probability)))
    assert ask(kept, 0, late.probability).action == "keep"
    # A later statement, or a clear rise on the same ones.
    assert ask(kept, 1, late.probability).action == "suspend"
    assert ask(kept, 0, move(late.probability, 0.5)).action == "suspend"


def test_rules_cut_at_any_time() -> None:
    account, _ = cut(balance=0.0, limit=40_000.0)
    idle = replace(account, features={**account.features, "idle_months": 12.0})
    capped = ask(idle, 1, account.probability)
    assert (capped.action, capped.by_model) == ("reduce", False)
    late = replace(account, features={**account.features, "days_past_due_now": 60.0})
    stopped = ask(late, 1, account.probability)
    assert (stopped.action, stopped.suspended) == ("suspend", True)
    assert [hit.rule.code for hit in stopped.hits] == ["account_past_due"]


def test_a_suspension_in_force_is_stated_and_not_decided_anew() -> None:
    account, outcome = cut(0.7, **LATE)
    assert outcome.suspended
    for probability in (0.7, 0.99):
        later = ask(account, 1, probability)
        assert (later.action, later.suspended) == ("keep", True)
        assert not later.looked
        assert later.review_on == outcome.review_on
    late = replace(account, features={**account.features, "days_past_due_now": 60.0})
    assert ask(late, 1, 0.7).action == "keep"


def test_the_limit_comes_back_by_the_staircase() -> None:
    account, outcome = cut()
    before, reduced = 20_000.0, outcome.new_limit
    assert ask(account, 2, at(-1.5)).action == "keep"
    half = ask(account, 3, at(-0.5))
    assert half.action == "restore"
    assert half.new_limit == (reduced + before) // 200 * 100
    assert half.effective_on == add_months(TODAY, 3)
    assert half.review_on == add_months(TODAY, 6)
    whole = ask(account, 3, at(-1.0 - 1e-9))
    assert (whole.action, whole.new_limit, whole.review_on) == ("restore", before, None)
    # The rest of the way, as soon as the margin allows it.
    change = change_of(half, replace(account, as_of=add_months(AS_OF, 3)), "half", TODAY)
    prior = after(account.prior, dataclasses.replace(change, on=add_months(TODAY, 3)))
    on_the_way = replace(
        account, prior=prior, features={**account.features, "limit_now": half.new_limit}
    )
    assert ask(on_the_way, 4, at(-0.5)).action == "keep"
    rest = ask(on_the_way, 4, at(-1.1))
    assert (rest.action, rest.new_limit) == ("restore", before)


def test_the_first_step_lifts_a_suspension() -> None:
    account, outcome = cut(0.7, **LATE)
    back = ask(account, 3, at(-0.4))
    assert (back.action, back.lifts, back.suspended) == ("restore", True, False)
    assert outcome.new_limit < back.new_limit < 20_000.0
    assert ask(account, 3, at(-0.2)).action == "keep"
    late = replace(account, features={**account.features, "days_past_due_now": 60.0})
    stays = ask(late, 3, at(-3.0))
    assert (stays.action, stays.suspended, stays.looked) == ("keep", True, True)
    assert [hit.rule.code for hit in stays.hits] == ["account_past_due"]


def test_a_rule_caps_what_comes_back() -> None:
    account, outcome = cut()
    idle = replace(account, features={**account.features, "idle_months": 12.0, "balance_now": 0.0})
    assert outcome.new_limit > 2_000.0
    assert ask(idle, 3, at(-3.0)).action == "reduce"
    cap = (outcome.new_limit + 20_000.0) / 2
    poor = {**account.features, "income": cap / 6.0}
    capped = ask(replace(account, product="cash_loan", features=poor), 3, at(-3.0))
    assert (capped.action, capped.new_limit) == ("restore", cap // 100 * 100)
    assert [hit.rule.code for hit in capped.hits] == ["income_multiple_cap"]
    assert capped.review_on is not None


def test_a_limit_that_the_lender_lowered_further_is_not_raised_without_a_step() -> None:
    account, outcome = cut()
    lowered = replace(account, features={**account.features, "limit_now": 4_100.0})
    assert outcome.new_limit > 4_100.0
    assert ask(lowered, 4, at(0.2)).action == "keep"
    assert ask(lowered, 4, at(-0.5)).new_limit == ask(account, 4, at(-0.5)).new_limit


def test_old_statements_give_nothing_back() -> None:
    account, _ = cut()
    later = DECIDED_AT.replace(year=2027, month=3)
    fresh = replace(account, as_of=add_months(AS_OF, 4), probability=at(-2.0))
    assert apply(fresh, POLICY, later).action == "restore"
    assert apply(replace(fresh, as_of=AS_OF), POLICY, later).action == "keep"


def test_a_look_says_what_leaves_the_limit_reduced() -> None:
    account, _ = cut()
    look = ask(account, 3, at(0.2))
    assert (look.action, look.looked, look.by_model) == ("keep", True, True)
    assert look.review_on == add_months(TODAY, 6)
    before = ask(account, 2, at(0.2))
    assert (before.looked, before.by_model) == (False, False)
    assert before.review_on == add_months(TODAY, 3)


@pytest.mark.parametrize("features", [{}, {"limit_now": 0.0, "balance_now": 0.0}])
def test_an_account_is_referred_once(features: dict[str, float]) -> None:
    asked = make_account(at(0.05))
    asked = replace(asked, features={**asked.features, **features})
    first = apply(asked, POLICY, DECIDED_AT)
    referred = refer_to_reviewer(first, ("unseen_missing",), asked, POLICY, DECIDED_AT)
    assert referred.action == "review"
    prior = after(None, change_of(referred, asked, "referral", TODAY))
    remembered = replace(asked, prior=prior)
    for months in (1, 5, 7, 23):
        decided_at = DECIDED_AT.replace(
            year=add_months(TODAY, months).year, month=add_months(TODAY, months).month
        )
        later = replace(remembered, as_of=add_months(AS_OF, months))
        outcome = apply(later, POLICY, decided_at)
        assert outcome.action == "keep"
        again = refer_to_reviewer(outcome, ("unseen_missing",), later, POLICY, decided_at)
        assert again.action == "keep"
        worse = replace(later, probability=at(0.56))
        outcome = apply(worse, POLICY, decided_at)
        again = refer_to_reviewer(outcome, ("unseen_missing",), worse, POLICY, decided_at)
        assert again.action == "review"


def test_a_prior_without_a_cut_measures_by_the_present_limit() -> None:
    asked = make_account(at(0.05))
    referred = apply(asked, POLICY, DECIDED_AT)
    prior = after(None, change_of(referred, asked, "referral", TODAY))
    assert isinstance(prior, Prior)
    raised = {**asked.features, "limit_now": 50_000.0}
    account = replace(asked, prior=prior, features=raised, probability=at(1.0))
    without = replace(account, prior=None)
    assert ask(account, 1, at(1.0)).new_limit == ask(without, 1, at(1.0)).new_limit
