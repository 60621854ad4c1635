"""What changed since the earlier decision, on the golden bundle and its thousand accounts."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest

from features.build import build
from features.catalogue import BY_NAME
from features.schema import check
from serving.decision.bundle import Bundle, read
from serving.decision.pipeline import advise_many, decide, decide_many, stages
from serving.decision.policy.since_last import Earlier, SinceLast, describe_rise
from serving.decision.result import AdviceOptions, Decision
from serving.decision.scoring.score import AdditivityError, logit
from serving.decision.scoring.shapley import explain_one, make_explainer
from serving.schemas.advice import make_advice
from tests.support.each import each
from tests.support.paths import GOLDEN, ROOT
from tests.support.policies import cut_more

NOW = datetime.datetime(
    2026,
    11,
    20,
    8,
    30,
    tzinfo=datetime.UTC,
)
# 07:00 on 3 August on the lender's clock, and still 2 August in UTC.
THEN = datetime.datetime(
    2026,
    8,
    2,
    23,
    0,
    tzinfo=datetime.UTC,
)
MONTHS = 3  # from the earlier statements to today's
EXACT = 1e-9
STATEMENTS = ROOT / "tests" / "golden" / "answers" / "statements.parquet"


@cache
def golden() -> Bundle:
    return cut_more(read(GOLDEN))


@cache
def statements() -> pl.DataFrame:
    """The windows of the accounts with more than three months."""
    every = pl.read_parquet(STATEMENTS)
    return every.filter(pl.len().over("account_id") > MONTHS)


@cache
def earlier() -> dict[str, Earlier]:
    """The decision on each account three statements before, as the golden bundle makes it."""
    back = pl.col("month").cum_count(reverse=True).over("account_id")
    before = statements().sort("account_id", "month").filter(back > MONTHS)
    decisions = decide_many(before, golden(), THEN)
    windows = dict(before.partition_by("account_id", as_dict=True).items())
    return {
        decision.account_id: Earlier(
            decision_id=decision.decision_id,
            decided_at=decision.decided_at,
            action=decision.action,
            log_odds=decision.log_odds,
            cut_off=decision.cut_off,
            statements=windows[(decision.account_id,)],
        )
        for decision in decisions
    }


@cache
def decided() -> list[Decision]:
    return decide_many(
        statements(),
        golden(),
        NOW,
        earlier=earlier(),
    )


def changes() -> list[tuple[Decision, SinceLast]]:
    """Every decision with what changed since the earlier one."""
    return [
        (decision, decision.since_last) for decision in decided() if decision.since_last is not None
    ]


def window_of(account_id: str) -> pl.DataFrame:
    return statements().filter(account_id=account_id)


def matrix_of(windows: pl.DataFrame) -> np.ndarray:
    return build(check(windows)).matrix(golden().features)


def test_the_parts_add_up_to_both_changes() -> None:
    assert len(changes()) == len(earlier()) > 900
    for decision, since in each(changes()):
        before = earlier()[decision.account_id]
        total = sum(part.change for part in since.parts)
        assert abs(total - since.change_to_cut_off) <= EXACT
        assert abs(since.change - (decision.log_odds - before.log_odds)) <= EXACT
        # The same bundle decided both: neither model nor policy changed.
        assert since.change_to_cut_off == pytest.approx(since.change, abs=1e-12)
        assert not {part.code for part in since.parts} & {"model", "policy"}
        sizes = [abs(part.change) for part in since.parts]
        assert sizes == sorted(sizes, reverse=True)


def test_the_earlier_decision_is_told() -> None:
    for decision, since in each(changes()):
        before = earlier()[decision.account_id]
        assert since.decision_id == before.decision_id
        assert since.decided_on == datetime.date(2026, 8, 3)
        told = (since.action, since.log_odds, since.cut_off)
        assert told == (before.action, before.log_odds, before.cut_off)


def test_the_split_is_that_of_the_tables_of_the_earlier_row() -> None:
    layout = next(iter(golden().scorer.explainers.values())).layout
    slope = golden().scorer.calibration.slope
    for decision, since in each(changes()[:40]):
        before = earlier()[decision.account_id].statements
        assert isinstance(before, pl.DataFrame)
        reference = make_explainer(layout, matrix_of(before))
        own = slope * explain_one(
            matrix_of(window_of(decision.account_id))[0],
            reference,
        )
        expected: dict[str, float] = {}
        for name, value in zip(
            golden().features,
            own,
            strict=True,
        ):
            group = BY_NAME[name].group
            expected[group] = expected.get(group, 0.0) + value
        found = {part.code: part.change for part in since.parts}
        for group, value in expected.items():
            assert found.get(group, 0.0) == pytest.approx(value, abs=EXACT)


def test_nothing_changed_nothing_is_told() -> None:
    same = {
        decision.account_id: replace(
            earlier()[decision.account_id],
            log_odds=decision.log_odds,
            statements=window_of(decision.account_id),
        )
        for decision in decided()
    }
    for decision in each(
        decide_many(
            statements(),
            golden(),
            NOW,
            earlier=same,
        )
    ):
        assert decision.since_last is not None
        assert decision.since_last.parts == ()
        assert decision.since_last.change == decision.since_last.change_to_cut_off == 0.0


def test_where_one_group_changed_only_that_part_is_told() -> None:
    """More applications elsewhere concern the features of one group."""
    changed = 0
    for decision in each(decided()[:200]):
        window = window_of(decision.account_id)
        fewer = window.with_columns(credit_inquiries=pl.lit(0, window["credit_inquiries"].dtype))
        alone = decide(fewer, golden(), NOW)
        before = replace(
            earlier()[decision.account_id],
            log_odds=alone.log_odds,
            statements=fewer,
        )
        since = decide(
            window,
            golden(),
            NOW,
            earlier=before,
        ).since_last
        assert since is not None
        assert {part.code for part in since.parts} <= {"credit_seeking"}
        changed += bool(since.parts)
    assert changed > 20, "hardly anything changed"


def test_another_model_and_another_policy_are_parts_of_their_own() -> None:
    decision = decided()[0]
    window = window_of(decision.account_id)
    answered = Earlier(
        decision_id="before",
        decided_at=THEN,
        action="keep",
        log_odds=decision.log_odds - 0.7,
        cut_off=0.2,
        statements=window,
    )
    since = decide(
        window,
        golden(),
        NOW,
        earlier=answered,
    ).since_last
    assert since is not None
    parts = {part.code: part.change for part in since.parts}
    assert parts == {
        "model": pytest.approx(0.7, abs=EXACT),
        "policy": pytest.approx(
            logit(0.2) - logit(decision.cut_off),
            abs=EXACT,
        ),
    }
    assert since.change == pytest.approx(0.7, abs=EXACT)
    assert since.change_to_cut_off == pytest.approx(
        sum(parts.values()),
        abs=EXACT,
    )


def without_cuts() -> Bundle:
    """The golden bundle for products whose unused limit is not drawn: their cut-off is 1."""
    policy = golden().policy
    economics = replace(policy.economics, credit_conversion=0.0)
    return replace(golden(), policy=replace(policy, economics=economics))


def test_a_cut_off_of_1_that_stayed_is_no_change() -> None:
    """Its log-odds are infinite: by their difference the account had no second decision."""
    few = dict(list(earlier().items())[:50])
    asked = statements().filter(pl.col("account_id").is_in(list(few)))
    stayed = {name: replace(own, cut_off=1.0) for name, own in few.items()}
    for decision in each(decide_many(asked, without_cuts(), NOW, earlier=stayed)):
        assert decision.cut_off == 1.0
        since = decision.since_last
        assert since is not None
        assert since.change == since.change_to_cut_off
        assert "policy" not in {part.code for part in since.parts}
    for decision in each(decide_many(asked, without_cuts(), NOW, earlier=few)):
        assert decision.since_last is None


@pytest.mark.checked
def test_there_is_no_distance_to_a_cut_off_of_1() -> None:
    asked = statements().filter(pl.col("account_id").is_in(list(earlier())[:20]))
    for advised in each(advise_many(asked, without_cuts(), NOW, AdviceOptions(threads=1))):
        assert advised.below_cut_off is None
        assert make_advice(advised).below_cut_off is None


def test_one_account_and_many_say_the_same() -> None:
    for decision in each(decided()[::97]):
        before = earlier()[decision.account_id]
        assert (
            decide(
                window_of(decision.account_id),
                golden(),
                NOW,
                earlier=before,
            )
            == decision
        )


@pytest.mark.checked
def test_advice_comes_with_the_same_decision() -> None:
    cut = [decision for decision in decided() if decision.action == "reduce"][:3]
    windows = pl.concat([window_of(decision.account_id) for decision in cut])
    own = {decision.account_id: earlier()[decision.account_id] for decision in cut}
    advised = advise_many(
        windows,
        golden(),
        NOW,
        AdviceOptions(earlier=own),
    )
    assert [one.decision for one in advised] == cut


def test_the_decision_itself_does_not_change() -> None:
    """Only what is told, and the id, depend on the earlier decision."""
    for decision, without in each(
        zip(
            decided(),
            decide_many(
                statements(),
                golden(),
                NOW,
            ),
            strict=True,
        )
    ):
        assert without.since_last is None
        assert without.decision_id != decision.decision_id
        same = replace(
            decision,
            since_last=None,
            decision_id=without.decision_id,
            notice=without.notice,
        )
        assert same == without


def test_the_sentence_names_reasons_that_rose() -> None:
    found = {"mostly": 0, "in part": 0}
    wording = golden().wording
    result = stages(
        statements(),
        golden(),
        NOW,
        earlier=earlier(),
    )
    for decision, outcome in each(
        zip(
            result.decisions,
            result.outcomes,
            strict=True,
        )
    ):
        since = decision.since_last
        told = describe_rise(
            since,
            outcome,
            decision.reasons,
            wording,
        )
        in_force = decision.action in ("reduce", "suspend")
        if told is None or since is None:
            continue
        assert since.action == "keep"
        assert in_force
        assert since.change > 0
        assert "3 August 2026" in told.en
        assert "2026年8月3日" in told.zh
        stated = {reason.code for reason in decision.reasons}
        rose = {part.code: part for part in since.parts if part.change > 0}
        named = {code for code, part in rose.items() if part.text.en in told.en}
        assert 1 <= len(named) <= 2
        assert named <= stated
        assert all(rose[code].text.zh in told.zh for code in named)
        most = sum(rose[code].change for code in named) >= sum(p.change for p in rose.values()) / 2
        assert ("mostly" in told.en) == most
        assert "." not in told.en.rstrip("."), "a number with decimals"
        assert decision.notice is not None
        assert f"\n\n{told.en}\n\n" in decision.notice.text.en
        assert f"\n\n{told.zh}\n\n" in decision.notice.text.zh
        found["mostly" if most else "in part"] += 1
    assert min(found.values()) > 0, found


def cut_with(earlier_decision: Callable[[Decision], Earlier]) -> Decision:
    """The first account that the model cuts, with another earlier decision."""
    cut = next(one for one in decided() if one.action == "reduce" and one.reasons[0].contribution)
    window = window_of(cut.account_id)
    return decide(
        window,
        golden(),
        NOW,
        earlier=earlier_decision(cut),
    )


def test_a_changed_model_is_said_to_have_changed() -> None:
    def before(cut: Decision) -> Earlier:
        window = window_of(cut.account_id)
        return Earlier(
            "before",
            THEN,
            "keep",
            cut.log_odds - 1.0,
            cut.cut_off,
            window,
        )

    notice = cut_with(before).notice
    assert notice is not None
    assert "the way we assess accounts has changed" in notice.text.en
    assert "我们的评估方式有所调整" in notice.text.zh
    assert "your risk has risen" not in notice.text.en


@pytest.mark.parametrize("case", ["cut before", "risk fell"])
def test_nothing_is_said_where_no_keep_became_a_cut_by_a_rise(case: str) -> None:
    def before(cut: Decision) -> Earlier:
        own = earlier()[cut.account_id]
        if case == "cut before":
            return replace(own, action="reduce")
        return replace(
            own,
            action="keep",
            log_odds=cut.log_odds + 1.0,
            statements=own.statements,
        )

    decision = cut_with(before)
    assert decision.since_last is not None
    assert decision.notice is not None
    assert "Since our decision" not in decision.notice.text.en


def test_an_earlier_decision_of_another_account_is_refused() -> None:
    one, other = (decision.account_id for decision in decided()[:2])
    with pytest.raises(ValueError, match=f"expected statements of account {one}, got those of"):
        decide(
            window_of(one),
            golden(),
            NOW,
            earlier=earlier()[other],
        )
    with pytest.raises(ValueError, match=f"expected accounts with statements, got {other}"):
        decide_many(
            window_of(one),
            golden(),
            NOW,
            earlier={other: earlier()[other]},
        )


def test_parts_that_miss_the_change_are_refused() -> None:
    account_id = decided()[0].account_id
    broken = replace(
        earlier()[account_id],
        log_odds=float("nan"),
    )
    with pytest.raises(AdditivityError, match="expected parts that add up to nan"):
        decide(
            window_of(account_id),
            golden(),
            NOW,
            earlier=broken,
        )
