"""Answers as text: everything that a customer is told is shown."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any, get_args

import httpx
import polars as pl
import pytest

from serving.decision.bundle import Bundle
from serving.decision.pipeline import decide_many, stages
from serving.operations.client import ServiceError, ask
from serving.operations.explain import answer_text, stages_text
from serving.schemas import examples
from serving.schemas.advice import Action
from tests.support.each import each
from tests.support.served import Server, as_requests

CUT = 12  # accounts that are posted because their limit is cut


@pytest.fixture(scope="module")
def answers(
    server: Server,
    requests: list[dict[str, Any]],
    windows: pl.DataFrame,
    bundle: Bundle,
) -> list[dict[str, Any]]:
    """Answers with advice on the posted accounts, few of which are cut, and on more that are."""
    posted = {request["account_id"] for request in requests}
    others = windows.filter(~pl.col("account_id").is_in(posted))
    decisions_on_others = decide_many(others, bundle, datetime.datetime.now(datetime.UTC))
    cut = [one.account_id for one in decisions_on_others if one.action in ("reduce", "suspend")]
    further = as_requests(others.filter(pl.col("account_id").is_in(cut[:CUT])))
    body = {"accounts": requests + further}
    response = httpx.post(
        f"{server.url}/v1/decisions/batch?advice=true",
        json=body,
        headers=server.headers,
        timeout=60,
    ).raise_for_status()
    decisions: list[dict[str, Any]] = response.json()["decisions"]
    return decisions


_LEFT_OUT = ("on_time_only", "carry_on", "notice")


def texts_of(part: Any) -> list[str]:
    """All texts of an answer, in both languages.

    Without the two baselines, which are not shown, and the notice, whose sentences are shown as
    reasons.
    """
    if isinstance(part, dict):
        if part.keys() >= {"en", "zh"}:
            return [part["en"], part["zh"]]
        return [
            text
            for name, value in part.items()
            if name not in _LEFT_OUT
            for text in texts_of(value)
        ]
    return [text for value in part for text in texts_of(value)] if isinstance(part, list) else []


def test_every_text_is_shown(answers: list[dict[str, Any]]) -> None:
    shown = 0
    for answer in answers:
        lines = [line.strip().removeprefix("- ") for line in answer_text(answer).splitlines()]
        # `ask` shows no change since an earlier decision, which another test may have asked for.
        shown_parts = {name: part for name, part in answer.items() if name != "since_last"}
        for text in texts_of(shown_parts):
            assert any(line.endswith(text) for line in lines), text
            shown += 1
    assert shown > 50


def test_every_action_is_shown_in_words() -> None:
    for action in each(get_args(Action)):
        [line] = [
            line
            for line in answer_text(examples.ANSWER | {"action": action}).splitlines()
            if line.startswith("Action ")
        ]
        assert line.split(f"{action}: ")[1]


def test_the_notice_is_shown_with_the_day_it_is_due(answers: list[dict[str, Any]]) -> None:
    kinds = set()
    reviewed = examples.ANSWER | {"notice": examples.ANSWER["notice"] | {"kind": "under_review"}}
    for answer in [*answers, reviewed]:
        lines = [line for line in answer_text(answer).splitlines() if line.startswith("Notice ")]
        if answer["notice"] is None:
            assert lines == []
            continue
        kind = {"adverse_action": "adverse action", "under_review": "under review"}[
            answer["notice"]["kind"]
        ]
        assert lines == [f"Notice           {kind}, to be sent by {answer['notice']['send_by']}"]
        kinds.add(kind)
    assert kinds == {"adverse action", "under review"}


def test_why_a_limit_is_left_alone_above_the_cut_off_is_said() -> None:
    kept = examples.ANSWER | {"action": "keep", "probability": 0.5, "cut_off": 0.2}
    assert "Left alone       the model would cut the limit" in answer_text(kept, "control")
    assert "too small or too soon, or the account is in the control arm" in answer_text(kept)
    others: list[dict[str, Any]] = [{"probability": 0.1}, {"action": "reduce"}]
    for other in each(others):
        assert "Left alone" not in answer_text(kept | other, "treated")


def test_a_rule_s_feature_is_not_compared_with_accounts_that_the_model_keeps() -> None:
    reason = examples.ANSWER["reasons"][0]
    rule = reason | {"share": None, "contribution": None}
    rule["features"] = [reason["features"][0] | {"reference_value": None}]
    compared = "comparison accounts:"
    assert compared not in answer_text(examples.ANSWER | {"reasons": [rule]})
    # The control: a reason of the model is.
    assert compared in answer_text(examples.ANSWER | {"reasons": [reason]})


def test_every_stage_of_a_decision_is_shown_up_to_the_notice(
    some_windows: pl.DataFrame, bundle: Bundle
) -> None:
    for window in each(some_windows.partition_by("account_id", maintain_order=True)):
        made = stages(window, bundle, datetime.datetime(2026, 11, 10, 9, tzinfo=datetime.UTC))
        shown = stages_text(made, bundle).split("Notice\n======\n")[1]
        notice = made.decisions[0].notice
        if notice is None:
            assert shown == "none: the limit stays"
        else:
            assert str(notice.send_by) in shown.split("\n")[0]
            assert shown.endswith(f"{notice.text.en}\n\n{notice.text.zh}")


def test_the_advice_is_shown_month_by_month(answers: list[dict[str, Any]]) -> None:
    promised = open_ended = 0
    for answer in answers:
        text, found = answer_text(answer), answer["advice"]["way_back"]
        if found is None:
            assert "Holds until" not in text
            continue
        plan = found["plan"]
        promised, open_ended = (
            promised + (plan["restored"] is not None),
            open_ended + (plan["restored"] is None),
        )
        assert (f"The limit is back after {plan['restored']}," in text) == (
            plan["restored"] is not None
        )
        rows = {
            line.split()[0]: line
            for line in text.splitlines()
            if line[:4] == "  20" and "CNY" in line
        }
        assert list(rows) == [month["month"] for month in plan["path"]]
        for month, before in zip(plan["path"], found["carry_on"]["path"], strict=True):
            amounts = (
                f"{math.ceil(round(month['payment'], 2)):,.0f}",  # to be paid
                f"{month['balance']:,.0f}",
                f"{month['limit']:,.0f}",
            )
            assert all(
                f"CNY {amount}" in rows[month["month"]]
                for amount in amounts
                if amount not in ("0", "-0")
            )
            assert f"{month['probability']:.1%}" in rows[month["month"]]
            assert rows[month["month"]].endswith(f"{before['probability']:.1%}")
    assert promised > 1
    assert open_ended <= promised


def test_without_advice_none_is_shown(answers: list[dict[str, Any]]) -> None:
    plain = {name: value for name, value in answers[0].items() if name != "advice"}
    assert "The way back" in answer_text(answers[0])
    assert "The way back" not in answer_text(plain)


def test_advice_is_returned_on_request(server: Server, requests: list[dict[str, Any]]) -> None:
    body = json.dumps(requests[0]).encode()
    key = server.token
    assert json.loads(ask(server.url, body, advice=True, key=key))["advice"]
    assert "advice" not in json.loads(ask(server.url, body, key=key))
    with pytest.raises(ServiceError, match="400"):
        ask(server.url, b"{", advice=True, key=key)
