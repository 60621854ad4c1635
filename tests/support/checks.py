"""The promises of the design (section 7) as functions that raise AssertionError if one is broken.

An *answerer* gets windows of one account each and returns the bytes of each answer, in order.  It
is the function itself, the batch endpoint or the endpoint.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.catalogue import BY_NAME
from features.types import Matrix
from serving.decision.bundle import Bundle
from serving.decision.ids import UNKEYED
from serving.decision.pipeline import decide, decide_many, stages
from serving.decision.policy.prior import Prior
from serving.decision.policy.since_last import Earlier
from serving.decision.reasons.ranking import Evidence
from serving.decision.scoring.score import score
from serving.schemas.base import encode
from serving.schemas.decision import make_answer
from tests.support.each import each
from tests.support.reason_oracle import ByGroup, is_fact, rank_slowly, share_better

Answerer = Callable[[Sequence[pl.DataFrame]], list[bytes]]
# What a decision is made with besides its statements.
Past = tuple[Prior | None, Earlier | None]
Recall = Callable[[Mapping[str, Any]], Past]  # from an answer
WHEN = datetime.datetime(2026, 10, 5, 9, 30, tzinfo=datetime.UTC)


def answer_alone(bundle: Bundle, decided_at: datetime.datetime = WHEN) -> Answerer:
    """Answers from the function, one account at a time."""

    def answers(windows: Sequence[pl.DataFrame]) -> list[bytes]:
        decisions = [decide(window, bundle, decided_at) for window in windows]
        return [encode(make_answer(decision, bundle)) for decision in decisions]

    return answers


def answer_together(bundle: Bundle, decided_at: datetime.datetime = WHEN) -> Answerer:
    """Answers from the function, all accounts in one call."""

    def answers(windows: Sequence[pl.DataFrame]) -> list[bytes]:
        decisions = decide_many(pl.concat(windows, how="diagonal"), bundle, decided_at)
        by_account = {decision.account_id: decision for decision in decisions}
        accounts = [window["account_id"][0] for window in windows]
        return [encode(make_answer(by_account[account], bundle)) for account in accounts]

    return answers


def recall_nothing(answer: Mapping[str, Any]) -> Past:
    """For decisions that were made without a past, as their answers say."""
    assert (answer["prior"], answer["since_last"]) == (None, None)
    return None, None


def check_one_is_many(
    answerer: Answerer,
    windows: Sequence[pl.DataFrame],
    bundle: Bundle,
    id_key: bytes = UNKEYED,
    recall: Recall = recall_nothing,
) -> None:
    """1. The bytes are those of the function for the account alone, at the answer's time.

    ``id_key`` is the key of the answerer's ids; ``recall`` gives what an answer was decided with.
    """
    answers = answerer(windows)
    for window, answer in each(zip(windows, answers, strict=True)):
        fields = json.loads(answer)
        decided_at = datetime.datetime.fromisoformat(fields["decided_at"])
        prior, earlier = recall(fields)
        decision = decide(window, bundle, decided_at, prior, id_key, earlier)
        assert answer == encode(make_answer(decision, bundle))


def check_additive(windows: Sequence[pl.DataFrame], bundle: Bundle) -> None:
    """2. Base and contributions add up to the log-odds, whose logistic is the probability."""
    result = stages(pl.concat(windows), bundle, WHEN)
    scores = result.scores
    total = scores.base_log_odds + scores.contributions.sum(axis=1)
    assert np.abs(total - scores.log_odds).max() <= 1e-9
    logistic = 1 / (1 + np.exp(-scores.log_odds))
    assert np.allclose(logistic, scores.probability, rtol=1e-12, atol=0)
    by_name = np.array([sum(evidence.contributions.values()) for evidence in result.evidence])
    assert np.abs(by_name + scores.base_log_odds - scores.log_odds).max() <= 1e-9


def check_deterministic(answerer: Answerer, windows: Sequence[pl.DataFrame]) -> None:
    """3. The same statements, bundle and time give the same bytes."""
    assert answerer(windows) == answerer(windows)


def check_order_and_input(
    answerer: Answerer, windows: Sequence[pl.DataFrame], seed: int = 0
) -> None:
    """4. The order of rows and columns does not matter, and the input is not changed."""
    random = np.random.default_rng(seed)
    shuffled = []
    for window in windows:
        rows, columns = random.permutation(window.height), random.permutation(window.columns)
        shuffled.append(window[rows].select(columns.tolist()))
    copies = [window.clone() for window in shuffled]
    assert answerer(shuffled) == answerer(windows)
    for before, after in each(zip(copies, shuffled, strict=True)):
        assert before.equals(after)
        assert before.columns == after.columns


def check_monotone(matrix: Matrix, bundle: Bundle, seed: int = 0) -> None:
    """5. A worse value of one declared feature never lowers the log-odds.

    It tries every feature of which ``matrix`` has a known value.
    """
    random = np.random.default_rng(seed)
    products = [next(iter(bundle.comparisons))] * len(matrix)  # the log-odds are the same for all
    before = score(matrix, products, bundle.scorer).log_odds
    known = ~np.isnan(matrix)
    for place in each(np.flatnonzero(known.any(axis=0)).tolist()):
        name, values = bundle.features[place], matrix[known[:, place], place]
        worse = matrix.copy()
        step = random.exponential(values.std() + 0.1, len(matrix))
        worse[:, place] += BY_NAME[name].direction * step
        after = score(worse, products, bundle.scorer).log_odds
        assert (after >= before - 1e-12).all(), name


def check_reasons(answerer: Answerer, windows: Sequence[pl.DataFrame], bundle: Bundle) -> int:
    """11. Every stated reason pushed toward the cut, and its sentence names what pushed.

    The reasons are those of a slow ranking of the exact contributions.  Returns how many reasons of
    the model were checked.
    """
    checked = 0
    for window, content in each(zip(windows, answerer(windows), strict=True)):
        answer = json.loads(content)
        if answer["action"] == "keep":
            assert (answer["reasons"], answer["leaders"], answer["comparison"]) == ([], 0, None)
            continue
        decided_at = datetime.datetime.fromisoformat(answer["decided_at"])
        result = stages(window, bundle, decided_at)
        evidence, by_model = result.evidence[0], result.outcomes[0].by_model
        reasons = [reason for reason in answer["reasons"] if reason["contribution"] is not None]
        rules = len(answer["reasons"]) - len(reasons)
        room = bundle.wording.most - rules
        expected = _rank(evidence, bundle, room) if by_model and room > 0 else []
        assert [_as_stated(reason) for reason in reasons] == expected, answer["account_id"]
        leaders = [reason["leader"] for reason in answer["reasons"]]
        assert leaders == [True] * answer["leaders"] + [False] * (len(leaders) - answer["leaders"])
        assert answer["comparison"]["size"] == evidence.comparison.size
        for reason in reasons:
            _check_reason(reason, evidence, bundle)
        pushed = [reason["contribution"] for reason in reasons]
        assert pushed == sorted(pushed, reverse=True)
        checked += len(reasons)
    return checked


def _as_stated(reason: dict[str, Any]) -> ByGroup:
    return ByGroup(reason["code"], reason["features"][0]["name"], reason["leader"])


def _rank(evidence: Evidence, bundle: Bundle, most: int) -> list[ByGroup]:
    compared = _compared(evidence, bundle)
    return rank_slowly(
        evidence.contributions,
        _with_months(evidence, bundle),
        compared,
        bundle.wording,
        most,
        evidence.excess,
    )


def _with_months(evidence: Evidence, bundle: Bundle) -> dict[str, float]:
    """The values, and how long ago the facts were that are never silent."""
    months = [fact.ago for fact in bundle.wording.never_silent if fact.ago is not None]
    return {**evidence.values, **{name: evidence.amounts[name] for name in months}}


def _compared(evidence: Evidence, bundle: Bundle) -> dict[str, list[float | None]]:
    """The comparison accounts' values by feature, from the reference itself."""
    rows = bundle.reference.filter(product=evidence.comparison.product)
    compared: dict[str, list[float | None]] = rows.drop("product").to_dict(as_series=False)
    return compared


def _check_reason(reason: dict[str, Any], evidence: Evidence, bundle: Bundle) -> None:
    own = [
        value
        for name, value in evidence.contributions.items()
        if BY_NAME[name].group == reason["code"]
    ]
    assert reason["contribution"] == pytest.approx(math.fsum(own), abs=1e-12)
    named, *others = reason["features"]
    assert min(reason["contribution"], named["contribution"]) > 0
    assert all(feature["contribution"] > 0 for feature in others)
    value = math.nan if named["value"] is None else named["value"]
    if is_fact(named["name"], _with_months(evidence, bundle), bundle.wording):
        return  # stated however little it pushed
    assert reason["contribution"] >= bundle.wording.minimum_contribution
    assert named["contribution"] >= bundle.wording.named_share * reason["contribution"]
    compared = _compared(evidence, bundle)[named["name"]]
    assert share_better(named["name"], value, compared) >= bundle.wording.named_better
