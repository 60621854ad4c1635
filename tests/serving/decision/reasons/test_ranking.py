from __future__ import annotations

import dataclasses
import math
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue import BY_NAME, CATALOGUE, MODEL_FEATURES
from serving.decision.config.policy import Condition, Rule, RuleHit
from serving.decision.config.reasons import Wording, read_wording
from serving.decision.config.strict_toml import ConfigError
from serving.decision.reasons.effects import DRIVEN
from serving.decision.reasons.ranking import Evidence, Reason, principal_reasons, unexplainable
from serving.decision.reasons.wording import number

TEXT = files("serving.decision.config").joinpath("reasons.toml").read_text("utf-8")
WORDING = read_wording(TEXT)
CAP = Rule(
    code="cap",
    cause="regulation",
    when=(Condition("income", "above", 0.0),),
    en="At most {cap} on an income of {value}.",
    zh="{value}：{cap}。",
)
HIT = RuleHit(CAP, value=3000.0, cap=18000.0)


def evidence(contributions: dict[str, float], **values: float) -> Evidence:
    """The evidence with these contributions and values; all others are 0."""
    zeros = {feature.name: 0.0 for feature in CATALOGUE} | {"months_observed": 24.0}
    return Evidence(
        contributions=dict.fromkeys(MODEL_FEATURES, 0.0) | contributions,
        values=zeros | values,
        reference=dict.fromkeys(MODEL_FEATURES, 0.0),
    )


def state(evidence: Evidence, wording: Wording = WORDING) -> tuple[Reason, ...]:
    """The reasons where the model alone decided."""
    return principal_reasons(evidence, (), True, wording)


def sums_by_group(contributions: dict[str, float]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for name, value in contributions.items():
        group = BY_NAME[name].group
        sums[group] = sums.get(group, 0.0) + value
    return sums


contributions = st.fixed_dictionaries(
    {name: st.floats(-1, 1).map(lambda value: round(value, 3)) for name in MODEL_FEATURES}
)


@given(contributions)
def test_reasons_are_ranked_groups_that_push_above_the_share(drawn: dict[str, float]) -> None:
    reasons = state(evidence(drawn))
    sums = sums_by_group(drawn)
    push = sum(value for value in sums.values() if value > 0)
    pushing = [group for group, value in sums.items() if value > 0]
    principal = {group for group in pushing if sums[group] / push >= WORDING.minimum_share}
    codes = {reason.code for reason in reasons}
    assert codes <= principal
    assert len(reasons) == min(len(principal), 4)
    assert [reason.rank for reason in reasons] == list(range(1, len(reasons) + 1))
    stated = [sums[reason.code] for reason in reasons]
    assert stated == sorted(stated, reverse=True)
    # A group that is not stated pushes no more than one that is.
    assert all(sums[group] <= stated[-1] + 1e-12 for group in principal - codes)
    for reason in reasons:
        assert reason.contribution == pytest.approx(sums[reason.code])
        assert reason.share == pytest.approx(sums[reason.code] / push)
        assert all(feature.contribution > 0 for feature in reason.features)


@given(
    contributions,
    st.dictionaries(st.sampled_from(DRIVEN), st.floats(-1, 4).map(lambda value: round(value, 3))),
)
def test_a_group_weighs_by_itself_or_with_what_followed(
    drawn: dict[str, float], effects: dict[str, float]
) -> None:
    reasons = state(dataclasses.replace(evidence(drawn), effects=effects))
    sums = sums_by_group(drawn)
    weights = {group: max(total, effects.get(group, -math.inf)) for group, total in sums.items()}
    pushing = [weight for weight in weights.values() if weight > 0]
    push = sum(pushing)
    principal = [weight for weight in pushing if weight / push >= WORDING.minimum_share]
    stated = [weights[reason.code] for reason in reasons]
    assert stated == pytest.approx(sorted(principal, reverse=True)[:4])
    for reason in reasons:
        assert reason.share == pytest.approx(weights[reason.code] / push)
        assert reason.contribution == pytest.approx(sums[reason.code])
        assert reason.effect == effects.get(reason.code)
        assert reason.features
        assert "{" not in reason.text.en + reason.text.zh


def test_a_reason_for_what_followed_shows_what_is_worse_than_the_reference() -> None:
    spending = [name for name in MODEL_FEATURES if BY_NAME[name].group == "overspending"]
    contributions = dict.fromkeys(spending, -0.1) | {"late_months_3": 0.2}
    without = evidence(contributions, spend_to_income_12=0.8)
    assert [reason.code for reason in state(without)] == ["late_payment"]
    first, second = state(dataclasses.replace(without, effects={"overspending": 1.5}))
    assert (first.code, second.code) == ("overspending", "late_payment")
    assert [feature.name for feature in first.features] == ["spend_to_income_12"]
    assert "80 %" in first.text.en


@given(contributions, st.permutations(MODEL_FEATURES))
def test_the_order_of_features_does_not_matter(drawn: dict[str, float], order: list[str]) -> None:
    one = state(evidence(drawn))
    other = state(evidence({name: drawn[name] for name in order}))
    assert [reason.code for reason in one] == [reason.code for reason in other]
    assert [reason.text for reason in one] == [reason.text for reason in other]


def test_a_reason_is_specific_in_both_languages() -> None:
    (reason,) = state(evidence({"late_months_6": 0.5}, late_months_6=3.0))
    assert reason.text.en == "You paid late in 3 of the last 6 months."
    assert reason.text.zh == "近6个月中有3个月逾期还款。"
    assert (reason.code, reason.cause, reason.share) == ("late_payment", "behavior", 1.0)


def test_a_short_history_is_not_called_twelve_months() -> None:
    short = evidence({"late_months_12": 0.5}, late_months_12=2.0, months_observed=4.0)
    assert state(short)[0].text.en == "You paid late in 2 of the last 4 months."


def test_a_number_of_one_is_singular() -> None:
    once = evidence({"limit_requests_12": 0.5}, limit_requests_12=1.0)
    sentence = "You asked for a higher limit 1 time in the last 12 months."
    assert state(once)[0].text.en == sentence
    single = evidence({"late_months_6": 0.5}, late_months_6=1.0, months_observed=1.0)
    assert state(single)[0].text.en == "You paid late in 1 of the last 1 month."
    # 11, 2 and 1.1 are plural.
    for value, plural in ((11.0, "11 times"), (2.0, "2 times")):
        many = evidence({"limit_requests_12": 0.5}, limit_requests_12=value)
        assert plural in state(many)[0].text.en
    share = evidence({"external_debt_to_income": 0.5}, external_debt_to_income=1.1)
    assert "1.1 times your monthly income" in state(share)[0].text.en


def test_an_unknown_value_has_its_own_wording() -> None:
    unknown = evidence({"total_debt_to_income": 0.5}, total_debt_to_income=math.nan)
    (reason,) = state(unknown)
    assert "not known" in reason.text.en
    assert "未知" in reason.text.zh
    assert reason.features[0].value is None


def test_the_sentence_compares_with_those_who_look_better() -> None:
    """A feature that pushes but is better than the median does not give the sentence."""
    pushing = evidence(
        {"payment_to_balance_3": 0.5, "balance_growth_6": 0.2},
        payment_to_balance_3=0.4,
        balance_growth_6=0.3,
    )
    (reason,) = state(pushing)
    names = [feature.name for feature in reason.features]
    assert names == ["balance_growth_6", "payment_to_balance_3"]
    assert "balance changed by 30 %" in reason.text.en


def test_nothing_is_compared_where_the_account_looks_better() -> None:
    (reason,) = state(evidence({"payment_to_balance_3": 0.5}, payment_to_balance_3=0.4))
    assert reason.text.en == "share of balances paid, last 3 months: 40 %."
    assert reason.text.zh == "近3个月账单还款比例：40%。"
    # Nor where both are the same number to a customer.
    close = dataclasses.replace(
        evidence({"utilization_now": 0.5}, utilization_now=0.281),
        reference={"utilization_now": 0.279},
    )
    assert state(close)[0].text.en == "share of the limit in use: 28 %."


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
    assert reasons[0].share is None
    assert reasons[0].text.en == "At most CNY 18,000 on an income of CNY 3,000."
    alone = principal_reasons(evidence(pushing), (HIT,), False, WORDING)
    assert [reason.code for reason in alone] == ["cap"]


def test_a_group_without_wording_or_a_protected_feature_is_never_filtered() -> None:
    pushing = evidence({"late_months_6": 0.5, "utilization_now": 0.4})
    assert unexplainable(pushing, WORDING) == ()
    unmapped = dataclasses.replace(WORDING, groups={"late_payment": WORDING.groups["late_payment"]})
    assert unexplainable(pushing, unmapped) == ("unmapped_reason",)
    codes = [reason.code for reason in state(pushing, unmapped)]
    assert codes == ["late_payment", "high_utilization"]
    protected = dataclasses.replace(WORDING, protected=frozenset({"utilization_now"}))
    assert unexplainable(pushing, protected) == ("protected_feature",)
    assert unexplainable(evidence({"late_months_6": -0.5}), WORDING) == ("unmapped_reason",)
    behind = evidence({"late_months_6": 5.0, "utilization_now": 0.01})
    assert unexplainable(behind, protected) == ()


def test_every_feature_of_the_model_can_be_said() -> None:
    groups = {BY_NAME[name].group for name in MODEL_FEATURES}
    assert groups == set(WORDING.groups)
    worded = {name for group in WORDING.groups.values() for name in group.sentences}
    assert worded <= set(MODEL_FEATURES)
    for name in MODEL_FEATURES:
        assert name in WORDING.groups[BY_NAME[name].group].sentences or name not in worded
        for value in (0.3, math.nan):
            (reason,) = state(evidence({name: 0.5}, **{name: value}))
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
        r"late_months_3\] en: expected placeholders of .*, got \['valeu'\]",
    ),
    (
        'missing_zh = "收入未知。"\n',
        "",
        "capacity.income\\]: missing key 'missing_zh'",
    ),
    ("most = 4 ", "most = 7 ", "most: expected a whole number from 1 to 4, got 7"),
    (
        "\n[fallback]",
        "\n[fallbak]",
        "reasons.toml: missing key 'fallback'; is 'fallbak' a misspelling of it",
    ),
    ("[groups.late_payment]", "[groups.late_payment", "reasons.toml: expected TOML"),
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
    assert number(0.0, "share", "en") == "0 %"
    assert number(2.345, "times", "zh") == "2.3"
    assert number(1.0, "yes_no", "zh") == "是"
    assert number(math.nan, "CNY", "zh") == "未知"
    assert number(1.5, "count", "en") == "1.5"
