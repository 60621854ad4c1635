"""The promises of the design (section 7) as functions; each raises AssertionError where its promise
is broken.

A *door* is a way to get answers: the function, the batch endpoint, the endpoint.  It takes windows,
one account each, and gives one answer's bytes for each, in their order.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from features.catalogue import BY_NAME
from serving.decision.bundle import Bundle
from serving.decision.pipeline import decide, decide_many
from serving.decision.scoring.score import score
from serving.schemas.base import encode
from serving.schemas.decision import make_answer

Door = Callable[[Sequence[pl.DataFrame]], list[bytes]]
WHEN = datetime.datetime(2026, 10, 5, 9, 30, tzinfo=datetime.UTC)


def function_door(bundle: Bundle, decided_at: datetime.datetime = WHEN) -> Door:
    """Answers straight from the function, one account at a time."""
    return lambda windows: [
        encode(make_answer(decide(window, bundle, decided_at), bundle)) for window in windows
    ]


def table_door(bundle: Bundle, decided_at: datetime.datetime = WHEN) -> Door:
    """Answers from the function, all accounts at once."""

    def answers(windows: Sequence[pl.DataFrame]) -> list[bytes]:
        decisions = {
            d.account_id: d
            for d in decide_many(pl.concat(windows, how="diagonal"), bundle, decided_at)
        }
        return [
            encode(make_answer(decisions[window["account_id"][0]], bundle)) for window in windows
        ]

    return answers


def check_one_is_many(door: Door, windows: Sequence[pl.DataFrame], bundle: Bundle) -> None:
    """1. Whatever the door, the bytes are those of the function for that account alone at the
    answer's time.
    """
    answers = door(windows)
    assert len(answers) == len(windows)
    for window, got in zip(windows, answers, strict=True):
        decided_at = datetime.datetime.fromisoformat(json.loads(got)["decided_at"])
        assert got == encode(make_answer(decide(window, bundle, decided_at), bundle))


def check_additive(windows: Sequence[pl.DataFrame], bundle: Bundle) -> None:
    """2. Base and contributions add up to the log-odds to 1e-9, and the probability is its
    logistic.
    """
    from serving.decision.pipeline import stages

    made = stages(pl.concat(windows), bundle, WHEN)
    scores = made.scores
    assert (
        np.abs(scores.base_log_odds + scores.contributions.sum(axis=1) - scores.log_odds).max()
        <= 1e-9
    )
    assert np.allclose(1 / (1 + np.exp(-scores.log_odds)), scores.probability, rtol=1e-12, atol=0)
    by_name = [sum(evidence.contributions.values()) for evidence in made.evidence]
    assert np.abs(np.array(by_name) + scores.base_log_odds - scores.log_odds).max() <= 1e-9


def check_deterministic(door: Door, windows: Sequence[pl.DataFrame]) -> None:
    """3. The same statements, bundle and time give the same bytes."""
    assert door(windows) == door(windows)


def check_order_and_input(door: Door, windows: Sequence[pl.DataFrame], seed: int = 0) -> None:
    """4. The order of rows and columns does not matter, and the input is not changed."""
    random = np.random.default_rng(seed)
    shuffled = [
        w[random.permutation(w.height)].select(random.permutation(w.columns).tolist())
        for w in windows
    ]
    kept = [window.clone() for window in shuffled]
    assert door(shuffled) == door(windows)
    for before, after in zip(kept, shuffled, strict=True):
        assert before.equals(after)
        assert before.columns == after.columns


def check_monotone(matrix: np.ndarray, bundle: Bundle, seed: int = 0) -> None:
    """5. Making one declared feature worse never lowers the log-odds."""
    random = np.random.default_rng(seed)
    products = [next(iter(bundle.medians))] * len(matrix)  # the log-odds are the same for all
    before = score(matrix, products, bundle.scorer).log_odds
    for place, name in enumerate(bundle.features):
        worse = matrix.copy()
        known = matrix[~np.isnan(matrix[:, place]), place]
        if len(known) == 0:
            continue
        step = random.exponential(known.std() + 0.1, len(matrix))
        worse[:, place] += BY_NAME[name].direction * step
        after = score(worse, products, bundle.scorer).log_odds
        assert (after >= before - 1e-12).all(), name
