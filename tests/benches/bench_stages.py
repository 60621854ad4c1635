"""What each stage of a decision costs, from the bytes of a request to those of its answer.

The stages are timed inside whole requests, in one run, by the thread's CPU time: each would take
half the time alone, with its data and code still in the processor's cache.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest

from serving.api import answers
from serving.decision import decisions, pipeline
from serving.decision.bundle import Bundle
from serving.decision.ids import UNKEYED
from serving.decision.result import Stages
from serving.schemas.base import parse
from serving.schemas.decision import Request
from tests.benches.accounts import of_accounts, on_the_day, those_of
from training.data import sample_request

pytestmark = pytest.mark.benchmark(disable_gc=True)
REQUESTS = 400
# The functions that are a stage, in order, where they are called from.
STAGES: dict[str, list[tuple[Any, str]]] = {
    "rows to arrays, with the checks": [(answers, "read_requests")],
    "features": [(pipeline, "values_of")],
    "score and contributions": [(pipeline, "score")],
    "priors and policy": [
        (pipeline, "priors_in_order"),
        (pipeline, "measure_without_cut"),
        (pipeline, "apply_many"),
        (pipeline, "assign_arms"),
    ],
    "amounts and ranking of reasons": [(pipeline, "add_amounts"), (pipeline, "rank")],
    "id": [(decisions, "decision_ids")],
    "reasons in words": [(decisions, "principal_reasons")],
    "notice": [(decisions, "make_notice")],
    "answer to JSON": [(answers, "write_answer")],
}


@pytest.mark.parametrize("account", ["kept", "cut"])
def test_stages_of(
    benchmark: Any,
    champion: Bundle,
    made: Stages,
    account: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another account each time; the rest is what lies between the stages."""
    windows = of_accounts(made, those_of(made, account)[:200])
    bodies = [json.dumps(sample_request.request(window)).encode() for window in windows]
    basis = answers.Basis(champion, on_the_day(made.decisions[0].as_of), UNKEYED)
    spent: dict[str, float] = {}
    found: dict[str, list[float]] = defaultdict(list)
    for stage, functions in STAGES.items():
        for module, name in functions:
            monkeypatch.setattr(module, name, _timed(getattr(module, name), stage, spent))
    read = _timed(parse, "JSON to a request", spent)

    def answer(body: bytes) -> None:
        answers.answer_requests("decisions", [read(Request, body)], False, basis)

    others = itertools.cycle(bodies)

    def one() -> None:
        spent.clear()
        begun = time.thread_time()
        answer(next(others))
        spent["whole"] = time.thread_time() - begun
        for stage, seconds in spent.items():
            found[stage].append(seconds)

    benchmark.pedantic(one, rounds=REQUESTS, warmup_rounds=20)
    costs = {stage: median(times[20:]) for stage, times in found.items()}
    costs["between them"] = costs["whole"] - sum(costs[name] for name in costs if name != "whole")
    benchmark.extra_info |= {"stages": costs}


def _timed(function: Callable[..., Any], stage: str, spent: dict[str, float]) -> Callable[..., Any]:
    """The function, which adds its CPU time to that of its stage."""

    def run(*arguments: Any, **named: Any) -> Any:
        begun = time.thread_time()
        result = function(*arguments, **named)
        spent[stage] = spent.get(stage, 0.0) + time.thread_time() - begun
        return result

    return run
