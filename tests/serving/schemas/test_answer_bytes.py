"""The bytes written from a decision are those of the models, which check every field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.months import add_months
from serving.decision.bundle import Bundle
from serving.decision.pipeline import decide_many
from serving.decision.policy.since_last import Earlier
from serving.decision.result import Decision
from serving.schemas.answer_bytes import write_answer
from serving.schemas.base import encode
from serving.schemas.decision import Answer, make_answer
from tests.support.checks import WHEN
from tests.support.each import each
from tests.support.memory import remembered

NUMBERS = ("credit_limit", "new_limit", "probability", "log_odds", "base_log_odds", "cut_off")
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)


@pytest.fixture(scope="module")
def decisions(windows: pl.DataFrame, bundle: Bundle) -> list[Decision]:
    """The first decisions on the accounts, and those three months later that follow from them."""
    first = decide_many(windows, bundle, WHEN)
    later = WHEN.replace(month=add_months(WHEN.date(), 1).month)
    priors = {one.account_id: remembered(one.credit_limit, later.date()) for one in first[::2]}
    earlier = {
        one.account_id: Earlier(
            decision_id=one.decision_id,
            decided_at=one.decided_at,
            action=one.action,
            log_odds=one.log_odds,
            cut_off=one.cut_off,
            statements=windows.filter(pl.col("account_id") == one.account_id),
        )
        for one in first[::5]
    }
    return first + decide_many(windows, bundle, later, priors, earlier=earlier)


def test_the_decisions_have_every_part(decisions: list[Decision]) -> None:
    assert {one.action for one in decisions} == {"keep", "reduce", "suspend", "restore", "review"}
    for part in ("prior", "since_last", "notice", "comparison", "reasons", "proposed_limit"):
        assert any(getattr(one, part) for one in decisions), part


def test_an_answer_has_the_bytes_of_its_models(decisions: list[Decision], bundle: Bundle) -> None:
    for decision in each(decisions):
        written = write_answer(decision, bundle)
        assert written == encode(make_answer(decision, bundle))
        assert encode(Answer.model_validate_json(written)) == written


@given(st.data())
def test_any_finite_number_has_the_bytes_of_the_models(
    decisions: list[Decision], bundle: Bundle, data: st.DataObject
) -> None:
    numbers: dict[str, Any] = {name: data.draw(FINITE) for name in NUMBERS}
    decision = replace(data.draw(st.sampled_from(decisions)), **numbers)
    assert write_answer(decision, bundle) == encode(make_answer(decision, bundle))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_lacks_is_refused(
    decisions: list[Decision], bundle: Bundle, name: str, number: float
) -> None:
    wrong: dict[str, Any] = {name: number}
    decision = replace(decisions[0], **wrong)
    with pytest.raises(ValueError, match=f"finite numbers, got {{'{name}': {number}}}"):
        write_answer(decision, bundle)
