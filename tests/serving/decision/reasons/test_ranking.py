from __future__ import annotations

import dataclasses
import datetime
import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import BY_NAME, CATALOGUE, MODEL_FEATURES
from features.catalogue.amounts import AMOUNTS, AS_OF
from serving.decision.config.policy import Condition, Rule, RuleHit
from serving.decision.config.reasons import Wording, read_wording
from serving.decision.config.strict_toml import ConfigError
from serving.decision.reasons.comparison import Comparison, make_comparison
from serving.decision.reasons.ranking import (
    Evidence,
    Reason,
    principal_groups,
    principal_reasons,
    unexplainable,
)
from serving.decision.reasons.wording import number
from tests.support.each import each
from tests.support.reason_oracle import ByGroup, rank_slowly

TEXT = files("serving.decision.config").joinpath("reasons.toml").read_text("utf-8")
WORDING = read_wording(TEXT)
CAP = Rule(
    code="cap",
    cause="regulation",
    when=(Condition("income", "above", 0.0),),
    en="At most {cap} on an income of {value}.",
    zh="{value}：{cap}。",
)
LAST_MONTH = datetime.date(2026, 10, 1)
HIT = RuleHit(CAP, value=3000.0, cap=18000.0, as_of=LAST_MONTH)
# Of four comparison accounts; three are better than 0.5 in every feature, whatever its direction.
BETTER = {1: [0.1, 0.2, 0.3, 0.9], -1: [0.9, 0.8, 0.7, 0.1]}


def compared(columns: Mapping[str, list[float | None]]) -> Comparison:
    """A comparison with these accounts; in all other features as :data:`BETTER` has them."""
    usual = {name: BETTER[BY_NAME[name].direction] for name in MODEL_FEATURES}
    table = pl.DataFrame({**usual, **columns}, dict.fromkeys(MODEL_FEATURES, pl.Float64))
    return make_comparison("pay_later", table, "drawn")


COMPARISON = compared({})


def evidence(
    contributions: dict[str, float],
    comparison: Comparison = COMPARISON,
    **values: float,
) -> Evidence:
    """The evidence with these contributions and values; other values are worse than most."""
    usual = {feature.name: 0.5 for feature in CATALOGUE} | {"months_observed": 24.0}
    own = usual | values
    amounts = {amount.name: 2.0 for amount in AMOUNTS} | {AS_OF: 24_321.0}  # October 2026
    return Evidence(
        contributions=dict.fromkeys(MODEL_FEATURES, 0.0) | contributions,
        values=own,
        comparison=comparison,
        amounts=amounts | {f"{name}_exact": value for name, value in own.items()},
    )


def state(evidence: Evidence, wording: Wording = WORDING) -> tuple[Reason, ...]:
    """The reasons where the model alone decided."""
    return principal_reasons(evidence, (), True, wording)


# Multiples of a thousandth: ties occur, and sums are exact enough to compare with thresholds.
contributions = st.fixed_dictionaries(
    {name: st.integers(-400, 400).map(lambda value: value / 1000) for name in MODEL_FEATURES}
)
values = st.fixed_dictionaries(
    {
        name: st.sampled_from([math.nan, 0.0, 0.05, 0.1, 0.25, 0.5, 0.85, 0.9, 1.5])
        for name in MODEL_FEATURES
    }
)
# Among them, at times, a fact that is never silent.
days = st.sampled_from([math.nan, 0.0, 59.0, 60.0, 150.0])
own_values = st.builds(
    lambda drawn, in_6, in_12: (
        drawn | {"worst_days_past_due_6": in_6, "worst_days_past_due_12": in_12}
    ),
    values,
    days,
    days,
)
unknown_too = st.lists(
    st.one_of(st.none(), st.sampled_from([0.0, 0.1, 0.5, 0.9])), min_size=4, max_size=4
)


Columns = dict[str, list[float | None]]
drawn_evidence = given(
    contributions,
    own_values,
    st.dictionaries(st.sampled_from(MODEL_FEATURES), unknown_too),
    st.sampled_from([0.0, 0.3, 1.0, 4.0]),
)


@settings(max_examples=25)
@drawn_evidence
def test_reasons_are_those_of_a_slow_ranking(
    drawn: dict[str, float], own: dict[str, float], columns: Columns, excess: float
) -> None:
    compare_with_slow_ranking(drawn, own, columns, excess)


@pytest.mark.slow
@drawn_evidence
def test_more_reasons_are_those_of_a_slow_ranking(
    drawn: dict[str, float], own: dict[str, float], columns: Columns, excess: float
) -> None:
    compare_with_slow_ranking(drawn, own, columns, excess)


def compare_with_slow_ranking(
    drawn: dict[str, float], own: dict[str, float], columns: Columns, excess: float
) -> None:
    found = dataclasses.replace(evidence(drawn, compared(columns), **own), excess=excess)
    rows: dict[str, Sequence[float | None]] = {
        name: columns.get(name, BETTER[BY_NAME[name].direction]) for name in MODEL_FEATURES
    }
    # As in all evidence here, every delay was two months ago.
    ago = {"worst_24_ago": 2.0}
    expected = rank_slowly(drawn, own | ago, rows, WORDING, excess=excess)
    groups = principal_groups(found, WORDING)
    assert [ByGroup(group.code, group.named, group.leader) for group in groups] == expected
    reasons = state(found)
    assert [reason.code for reason in reasons] == [group.code for group in expected]
    assert [reason.rank for reason in reasons] == list(range(1, len(reasons) + 1))
    for reason, group in zip(reasons, expected, strict=True):
        assert (reason.features[0].name, reason.leader) == (group.named, group.leader)
        assert all(feature.contribution > 0 for feature in reason.features)
        assert "{" not in reason.text.en + reason.text.zh


@given(contributions, st.permutations(MODEL_FEATURES))
def test_the_order_of_features_does_not_matter(drawn: dict[str, float], order: list[str]) -> None:
    one = state(evidence(drawn))
    other = state(evidence({name: drawn[name] for name in order}))
    assert one == other


@given(contributions)
def test_contributions_and_shares_are_of_the_groups(drawn: dict[str, float]) -> None:
    sums: dict[str, float] = {}
    for name, value in drawn.items():
        sums[BY_NAME[name].group] = sums.get(BY_NAME[name].group, 0.0) + value
    push = sum(total for total in sums.values() if total > 0)
    for reason in state(evidence(drawn)):
        assert reason.contribution == pytest.approx(sums[reason.code])
        assert reason.share == pytest.approx(sums[reason.code] / push)


def test_a_group_of_little_weight_is_no_reason() -> None:
    main = {"late_months_6": 2.0}
    for less in (0.199, 0.0999):
        assert [reason.code for reason in state(evidence(main | {"utilization_now": less}))] == [
            "repayment"
        ]
    stated = state(evidence(main | {"utilization_now": 0.25}))
    assert [reason.code for reason in stated] == ["repayment", "high_utilization"]
    # Of little that pushes, a tenth is less than the least contribution.
    assert state(evidence({"late_months_6": 0.099})) == ()
    assert len(state(evidence({"late_months_6": 0.1}))) == 1


def test_a_group_without_a_feature_that_is_worse_is_no_reason() -> None:
    pushing = {"late_months_6": 0.5, "utilization_now": 0.4}
    as_good = evidence(pushing, utilization_now=0.1)
    assert [reason.code for reason in state(as_good)] == ["repayment"]
    # Nor where the numbers are printed alike.
    close = compared({"utilization_now": [0.4951, 0.496, 0.497, 0.498]})
    assert [reason.code for reason in state(evidence(pushing, close, utilization_now=0.504))] == [
        "repayment"
    ]
    apart = evidence(pushing, close, utilization_now=0.51)
    assert [reason.code for reason in state(apart)] == ["repayment", "high_utilization"]


def test_the_sentence_is_about_the_largest_contribution_that_is_worse() -> None:
    pushing = {"payment_to_balance_3": 0.5, "late_months_6": 0.2}
    (reason,) = state(evidence(pushing, payment_to_balance_3=0.9, late_months_6=0.5))
    assert [feature.name for feature in reason.features] == [
        "late_months_6",
        "payment_to_balance_3",
    ]
    # It has to have brought a fifth of its group.
    pushing["late_months_6"] = 0.1
    assert state(evidence(pushing, payment_to_balance_3=0.9, late_months_6=0.5)) == ()


@pytest.mark.parametrize(("product", "stated"), [("pay_later", 1), ("cash_loan", 0)])
def test_a_feature_that_the_product_does_not_have_is_never_named(product: str, stated: int) -> None:
    name = "spend_to_income_12"
    assert BY_NAME[name].products == ("pay_later",)
    own = dataclasses.replace(COMPARISON, product=product)
    assert len(state(evidence({name: 0.5}, own, **{name: 0.5}))) == stated


def test_the_groups_near_the_first_are_its_equals() -> None:
    pushing = {
        "late_months_6": 1.0,
        "utilization_now": 0.8,
        "cash_months_3": 0.71,
        "limit_requests_3": 0.69,
    }
    reasons = state(evidence(pushing))
    assert [reason.leader for reason in reasons] == [True, True, True, False]
    alone = dataclasses.replace(WORDING, equal_within=0.0)
    assert [reason.leader for reason in state(evidence(pushing), alone)] == [True] + [False] * 3


def test_a_rule_that_decided_comes_first_and_shares_the_four() -> None:
    features = ("late_months_6", "utilization_now", "cash_months_3", "limit_requests_3")
    pushing = dict.fromkeys(features, 0.5)
    reasons = principal_reasons(
        evidence(pushing, income=3000.0),
        (HIT,),
        True,
        WORDING,
    )
    assert reasons[0].code == "cap"
    assert len(reasons) == 4
    assert (reasons[0].share, reasons[0].contribution, reasons[0].leader) == (None, None, True)
    assert reasons[0].text.en == "At most CNY 18,000 on an income of CNY 3,000."
    alone = principal_reasons(evidence(pushing), (HIT,), False, WORDING)
    assert [reason.code for reason in alone] == ["cap"]


def test_a_group_without_wording_or_a_protected_feature_is_never_filtered() -> None:
    pushing = evidence({"late_months_6": 0.5, "utilization_now": 0.4})
    assert unexplainable(pushing, WORDING) == ()
    unmapped = dataclasses.replace(WORDING, groups={"repayment": WORDING.groups["repayment"]})
    assert unexplainable(pushing, unmapped) == ("unmapped_reason",)
    protected = dataclasses.replace(WORDING, protected=frozenset({"utilization_now"}))
    assert unexplainable(pushing, protected) == ("protected_feature",)
    # Its group is a reason whether or not a sentence names it.
    as_good = evidence({"late_months_6": 0.5, "utilization_now": 0.4}, utilization_now=0.1)
    assert unexplainable(as_good, protected) == ("protected_feature",)
    behind = evidence({"late_months_6": 5.0, "utilization_now": 0.01})
    assert unexplainable(behind, protected) == ()


def test_a_person_decides_where_no_group_is_eligible() -> None:
    nothing = ("no_principal_reason",)
    assert unexplainable(evidence({"late_months_6": -0.5}), WORDING) == nothing
    assert unexplainable(evidence({"late_months_6": 0.5}, late_months_6=0.1), WORDING) == nothing


def test_a_feature_of_no_catalogue_refers_to_a_person() -> None:
    pushing = evidence({"late_months_6": 0.5, "age": 0.4})
    assert unexplainable(pushing, WORDING) == ("protected_feature", "unmapped_reason")
    assert [reason.code for reason in state(pushing)] == ["repayment"]


def test_a_named_feature_without_a_sentence_refers_to_a_person() -> None:
    without = read_wording(
        TEXT.replace("[groups.repayment.late_months_6]", "[groups.repayment.late]")
    )
    pushing = evidence({"late_months_6": 0.5}, late_months_6=3.0)
    assert unexplainable(pushing, without) == ("unmapped_reason",)
    assert state(pushing, without)[0].text == without.unmapped
    assert unexplainable(pushing, WORDING) == ()


def test_a_reason_is_specific_in_both_languages() -> None:
    (reason,) = state(evidence({"late_months_6": 0.5}, late_months_6=3.0))
    assert reason.text.en == (
        "You were late with a payment in 3 of the last 6 months, most recently in August 2026."
    )
    assert reason.text.zh == "近6个月中，您有3个月还款逾期，最近一次为2026年8月。"
    assert (reason.code, reason.cause, reason.share) == ("repayment", "behavior", 1.0)


def test_a_little_cash_gives_way_to_another_feature_and_never_to_silence() -> None:
    """2 % of six months' income is nothing that anybody would act on, but a draw is."""
    pushing = {"cash_to_income_6": 0.3, "cash_months_3": 0.1}
    none_drew = compared({"cash_to_income_6": [0.0] * 4, "cash_months_3": [0.0] * 4})
    little = evidence(pushing, none_drew, cash_to_income_6=0.02, cash_months_3=1.0)
    (reason,) = state(little)
    assert reason.features[0].name == "cash_months_3"
    assert reason.contribution == pytest.approx(0.4)
    # The controls: an amount that counts is named, and without another feature a person decides.
    enough = evidence(pushing, none_drew, cash_to_income_6=0.05, cash_months_3=1.0)
    assert state(enough)[0].features[0].name == "cash_to_income_6"
    alone = evidence({"cash_to_income_6": 0.3}, none_drew, cash_to_income_6=0.02)
    assert state(alone) == ()
    assert unexplainable(alone, WORDING) == ("no_principal_reason",)


@pytest.mark.parametrize(("ago", "told"), [(12.0, True), (13.0, False)])
def test_a_delay_of_a_year_ago_is_told_and_an_older_one_is_not(ago: float, told: bool) -> None:
    pushing = {"days_past_due_now": 1.5, "worst_days_past_due_24": 0.02}
    found = evidence(pushing, days_past_due_now=30.0, worst_days_past_due_24=150.0)
    found = dataclasses.replace(found, amounts={**found.amounts, "worst_24_ago": ago})
    (reason,) = state(found)
    assert reason.text.en.startswith("Your statement of October 2026 shows a payment 30 days late.")
    assert ("150 days late with a payment, the longest delay" in reason.text.en) == told


def test_a_delay_of_a_month_is_told_only_beside_its_group() -> None:
    pushing = {"payment_to_balance_6": 0.3, "worst_days_past_due_6": 0.04}
    found = evidence(pushing, worst_days_past_due_6=30.0)
    (reason,) = state(found)
    assert reason.features[0].name == "payment_to_balance_6"
    assert reason.text.en.startswith("In August 2026 you were 30 days late with a payment, ")
    # The controls: a shorter delay is not, and alone it is no reason.
    shorter = evidence(pushing, worst_days_past_due_6=29.0)
    assert "days late" not in state(shorter)[0].text.en
    alone = {"spend_growth": 0.5, "worst_days_past_due_6": 0.04}
    (other,) = state(evidence(alone, worst_days_past_due_6=30.0))
    assert other.code == "overspending"


def test_a_short_history_is_not_called_twelve_months() -> None:
    short = evidence({"late_months_12": 0.5}, late_months_12=2.0, months_observed=4.0)
    assert "late with a payment in 2 of the last 4 months" in state(short)[0].text.en


def test_a_number_of_one_is_singular() -> None:
    once = evidence({"limit_requests_12": 0.5}, limit_requests_12=1.0)
    sentence = "In August 2026 you asked for a higher limit."
    assert state(once)[0].text.en == sentence
    single = evidence({"months_on_time": 0.5}, compared({"months_on_time": [9.0] * 4}), **ONE_MONTH)
    assert state(single)[0].text.en.startswith("You have paid on time for 1 month, ")
    # 11, 2 and 1.1 are plural.
    for value, plural in ((11.0, "11 times"), (2.0, "twice")):
        many = evidence({"limit_requests_12": 0.5}, limit_requests_12=value)
        assert plural in state(many)[0].text.en
    share = evidence({"external_debt_to_income": 0.5}, external_debt_to_income=1.1)
    assert "1.1 times your monthly income" in state(share)[0].text.en


ONE_MONTH = {"months_on_time": 1.0}


def test_an_unknown_value_has_its_own_wording() -> None:
    unknown = evidence({"total_debt_to_income": 0.5}, total_debt_to_income=math.nan)
    (reason,) = state(unknown)
    assert reason.text.en == "We do not know your debt with other lenders."
    assert reason.text.zh == "我们暂无您在其他机构的负债信息。"
    assert reason.features[0].value is None
    # It is no reason where the comparison accounts' values are not known either.
    few: list[float | None] = [None, None, 0.1, 0.2]
    nor_theirs = compared({"total_debt_to_income": few})
    pushing = evidence({"total_debt_to_income": 0.5}, nor_theirs, total_debt_to_income=math.nan)
    assert state(pushing) == ()


def test_every_feature_of_the_model_can_be_said() -> None:
    groups = {BY_NAME[name].group for name in MODEL_FEATURES}
    assert groups == set(WORDING.groups)
    worded = {name for group in WORDING.groups.values() for name in group.sentences}
    assert worded == set(MODEL_FEATURES)
    for name in each(MODEL_FEATURES):
        worse = 3.0 if BY_NAME[name].direction > 0 else 0.0
        for value in (worse, math.nan):
            (reason,) = state(evidence({name: 0.5}, COMPARISON, **{name: value}))
            for text in (reason.text.en, reason.text.zh):
                assert text
                assert "{" not in text
                assert "nan" not in text
            assert "score" not in reason.text.en.lower()


BROKEN = [
    ('cause = "risk"', 'cause = "fate"', "expected one of .* got 'fate'"),
    (
        "{value} of the last {last_3}",
        "{valeu} of the last {last_3}",
        r"late_months_3\] en: expected placeholders that .*, got \['valeu'\]",
    ),
    (
        'unknown_zh = "我们暂无您的收入信息，无法了解收入变化。"\n',
        "",
        "income_change_12\\]: missing key 'unknown_zh'",
    ),
    ("most = 4 ", "most = 7 ", "most: expected a whole number from 1 to 4, got 7"),
    (
        "minimum_contribution = 0.10",
        "minimum_contribution = 0.0",
        "minimum_contribution: expected a number above 0, got 0.0",
    ),
    (
        "named_share = 0.20",
        "named_share = 1.2",
        "named_share: expected a number .*1, got 1.2",
    ),
    (
        "named_better = 0.75",
        'named_better = "most"',
        "named_better: expected a number .*got 'most'",
    ),
    (
        "equal_within = 0.3",
        "equal_withn = 0.3",
        "missing key 'equal_within'; is 'equal_withn' a misspelling of it",
    ),
    ("accounts are {size} accounts", "accounts are accounts", r"comparison\] en: .*\['size'\]"),
    (
        "\n[unmapped]",
        "\n[unmaped]",
        "reasons.toml: missing key 'unmapped'; is 'unmaped' a misspelling of it",
    ),
    ("[groups.repayment]", "[groups.repayment", "reasons.toml: expected TOML"),
]


@pytest.mark.parametrize(("old", "new", "message"), BROKEN, ids=[new for _, new, _ in BROKEN])
def test_a_broken_wording_names_the_key(
    old: str,
    new: str,
    message: str,
) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=message):
        read_wording(TEXT.replace(old, new, 1))


def test_numbers_as_a_customer_reads_them() -> None:
    assert number(0.0, "share", "en") == "0%"
    assert number(2.345, "times", "zh") == "2.3"
    assert number(1.0, "yes_no", "zh") == "是"
    assert number(math.nan, "CNY", "zh") == "未知"
    assert number(1.5, "count", "en") == "1.5"


SMALL = {"credit_inquiries_12": 2.0, "worst_days_past_due_12": 0.01}


def test_a_serious_delinquency_that_was_cured_is_never_silent() -> None:
    """It brought 0.5 % of the push; without the rule a contribution so small is not stated."""
    late = state(evidence(SMALL, worst_days_past_due_12=120.0, days_past_due_now=0.0))
    assert [reason.code for reason in late] == ["credit_seeking", "repayment"]
    assert [reason.leader for reason in late] == [True, False]
    assert late[1].features[0].name == "worst_days_past_due_12"
    assert "120" in late[1].text.en
    assert "120" in late[1].text.zh
    less = state(evidence(SMALL, worst_days_past_due_12=59.0, days_past_due_now=0.0))
    assert [reason.code for reason in less] == ["credit_seeking"]


def test_a_delinquency_that_did_not_push_is_not_a_reason() -> None:
    for changes in each(({"worst_days_past_due_12": -0.01}, {"late_months_6": -0.5})):
        found = state(evidence(SMALL | changes, worst_days_past_due_12=120.0))
        assert [reason.code for reason in found] == ["credit_seeking"]


def test_a_delinquency_is_stated_in_addition_to_the_four() -> None:
    large = {
        "credit_inquiries_12": 2.0,
        "utilization_now": 1.0,
        "cash_months_12": 0.9,
        "external_debt_to_limit": 0.8,
    }
    late = evidence(large | SMALL, worst_days_past_due_12=60.0)
    codes = [reason.code for reason in state(late)]
    four = ["credit_seeking", "high_utilization", "cash_reliance", "external_debt"]
    assert codes == [*four, "repayment"]
    by_rule = [reason.code for reason in principal_reasons(late, (HIT, HIT), True, WORDING)]
    assert by_rule == ["cap", "cap", *four[:2], "repayment"]


def test_a_serious_delinquency_is_said_wherever_its_group_stands() -> None:
    """Two applications pushed more than its own 0.24; with the payments it is the first reason."""
    pushed = {
        "credit_inquiries_3": 0.65,
        "payment_to_balance_6": 0.48,
        "worst_days_past_due_6": 0.24,
    }
    days = {"worst_days_past_due_6": 120.0, "worst_days_past_due_12": 120.0}
    first, second = state(evidence(pushed, COMPARISON, **days))
    assert (first.code, second.code) == ("repayment", "credit_seeking")
    assert first.features[0].name == "worst_days_past_due_6"
    assert "120 days late" in first.text.en
    # Too little to be named: it has a sentence of its own, before that of what pushed most.
    pushed["worst_days_past_due_6"] = 0.05
    [repayment] = [
        own for own in state(evidence(pushed, COMPARISON, **days)) if own.code == "repayment"
    ]
    assert [feature.name for feature in repayment.features[:2]] == [
        "payment_to_balance_6",
        "worst_days_past_due_6",
    ]
    assert re.search(r"120 days late .*\. Your bills of the last 6 months", repayment.text.en)
    assert "逾期120天" in repayment.text.zh
    # One delay is told once.
    longest = evidence(
        {"worst_days_past_due_24": 0.5, "worst_days_past_due_12": 0.05},
        COMPARISON,
        worst_days_past_due_24=120.0,
        worst_days_past_due_12=120.0,
    )
    [once] = state(longest)
    assert once.text.en.count("120 days") == 1
    # The controls: a delay of 59 days is told as one of a month, and one of 29 days is not.
    mild = state(evidence(pushed, COMPARISON, **dict.fromkeys(days, 59.0)))
    assert sum("59 days late" in own.text.en for own in mild) == 1
    short = state(evidence(pushed, COMPARISON, **dict.fromkeys(days, 29.0)))
    assert not any("days late" in own.text.en for own in short)


def test_reasons_suffice_where_more_can_be_said() -> None:
    pushed = {"late_months_6": 3.0, "utilization_now": 0.28, "cash_months_12": 0.12}
    for excess, codes in each(
        [
            (2.9, ["repayment"]),
            (3.2, ["repayment", "high_utilization"]),
            (3.3, ["repayment", "high_utilization", "cash_reliance"]),
        ]
    ):
        found = state(dataclasses.replace(evidence(pushed), excess=excess))
        assert [reason.code for reason in found] == codes
        assert [reason.leader for reason in found] == [True] + [False] * (len(codes) - 1)
    little = evidence({"late_months_6": 3.0, "utilization_now": 0.099})
    assert len(state(dataclasses.replace(little, excess=3.05))) == 1
    # A protected feature in a group that is stated refers to a person, however small the group.
    protected = dataclasses.replace(WORDING, protected=frozenset({"utilization_now"}))
    assert unexplainable(evidence(pushed), protected) == ()
    needed = dataclasses.replace(evidence(pushed), excess=3.2)
    assert unexplainable(needed, protected) == ("protected_feature",)


def test_of_features_that_pushed_alike_the_one_with_most_accounts_better_is_named() -> None:
    """The slow ranking says the same of drawn accounts."""
    pushed = {"credit_inquiries_12": 0.5, "credit_inquiries_3": 0.4}
    all_better = compared({"credit_inquiries_3": [0.1, 0.2, 0.3, 0.4]})
    for within, named in each([(0.05, "credit_inquiries_12"), (0.15, "credit_inquiries_3")]):
        wording = dataclasses.replace(WORDING, named_within=within)
        [group] = principal_groups(evidence(pushed, all_better), wording)
        assert group.named == named


def test_a_delinquency_alone_is_stated_and_a_person_decides() -> None:
    alone = evidence({"worst_days_past_due_12": 0.01}, worst_days_past_due_12=90.0)
    assert [reason.leader for reason in state(alone)] == [True]
    assert unexplainable(alone, WORDING) == ("no_principal_reason",)


def test_a_fact_of_no_feature_is_refused() -> None:
    misspelt = TEXT.replace('feature = "worst_days_past_due_12"', 'feature = "worst_days"')
    with pytest.raises(ConfigError, match=r"never_silent\[1\].*feature"):
        read_wording(misspelt)


PAST_DUE = Rule(
    code="past_due",
    cause="risk",
    when=(Condition("days_past_due_now", "at_least", 60.0),),
    en="A payment is {value} days late.",
    zh="逾期{value}天。",
)
LATE_BY_60 = RuleHit(PAST_DUE, value=60.0, cap=None, as_of=LAST_MONTH)
USE = {"utilization_now": 1.0}


def codes_beside(hit: RuleHit, contributions: dict[str, float], **values: float) -> list[str]:
    found = evidence(USE | contributions, COMPARISON, **values)
    reasons = principal_reasons(found, (hit,), True, WORDING)
    assert [reason.rank for reason in reasons] == list(range(1, len(reasons) + 1))
    return [reason.code for reason in reasons]


@pytest.mark.parametrize("named", ["days_past_due_now", "worst_days_past_due_6"])
def test_a_delay_is_not_told_twice_beside_a_rule_that_tells_it(named: str) -> None:
    delayed = {"days_past_due_now": 60.0, "worst_days_past_due_6": 60.0}
    contributions = {named: 2.0}
    told = codes_beside(LATE_BY_60, contributions, **delayed)
    assert told == ["past_due", "high_utilization"]
    # The controls: a rule about something else, and a delay that is another one.
    assert codes_beside(HIT, contributions, **delayed) == ["cap", "repayment", "high_utilization"]
    earlier = delayed | {named: 90.0}
    told = codes_beside(LATE_BY_60, contributions, **earlier)
    assert told == ["past_due", "repayment", "high_utilization"]


def test_what_a_group_says_besides_that_delay_is_still_told() -> None:
    """A longer delay that was made up for, and another habit."""
    longer = evidence(
        {"days_past_due_now": 2.0, "worst_days_past_due_6": 0.1},
        days_past_due_now=60.0,
        worst_days_past_due_6=90.0,
    )
    _, repayment = principal_reasons(longer, (LATE_BY_60,), True, WORDING)
    assert "90 days late" in repayment.text.en
    assert "60 days" not in repayment.text.en
    assert repayment.features[0].name == "worst_days_past_due_6"

    habit = evidence(
        {"late_months_3": 2.0, "worst_days_past_due_6": 0.1},
        days_past_due_now=60.0,
        worst_days_past_due_6=60.0,
        late_months_3=2.0,
    )
    _, repayment = principal_reasons(habit, (LATE_BY_60,), True, WORDING)
    assert repayment.features[0].name == "late_months_3"
    assert "60 days" not in repayment.text.en
