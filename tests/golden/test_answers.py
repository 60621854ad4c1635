"""The golden bundle answers 1,000 committed accounts as it did when they were committed.

Numbers are compared to 12 significant digits: the last bits depend on the processor's vector
units.  Where an answer is meant to change, ``python tests/golden/test_answers.py`` writes the
digests again.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from serving.api.answers import AnsweredDecision, Basis, answer_requests
from serving.decision.bundle import Bundle, read
from serving.decision.ids import UNKEYED
from serving.schemas.advice_request import AdviceRequest
from serving.schemas.decision import Request
from tests.support import checks
from tests.support.paths import GOLDEN
from tests.support.policies import cut_more

FOLDER = Path(__file__).with_name("answers")
DECIDED_AT = datetime.datetime(2026, 11, 20, 8, 30, tzinfo=datetime.UTC)
DIGESTS = FOLDER / "digests.json"
ADVISED = 20  # accounts that are not kept, which are answered with advice too
BLOCK = 100  # answers a digest


@cache
def bodies() -> list[dict[str, Any]]:
    """The request of each account."""
    statements = pl.read_parquet(FOLDER / "statements.parquet")
    rows = statements.with_columns(pl.col("month").dt.strftime("%Y-%m"))
    accounts = rows.group_by("account_id", maintain_order=True)
    return [
        {
            "account_id": account,
            "product": window["product"][0],
            "currency": "CNY",
            "statements": window.drop("account_id", "product").to_dicts(),
        }
        for (account,), window in accounts
    ]


@cache
def golden() -> Bundle:
    return read(GOLDEN)


@cache
def basis() -> Basis:
    return Basis(golden(), DECIDED_AT, UNKEYED)


@cache
def requests() -> list[Request]:
    return [Request.model_validate_json(json.dumps(body)) for body in bodies()]


@cache
def decided() -> list[AnsweredDecision]:
    """What the golden bundle answers now."""
    return answer_requests("decisions", requests(), False, basis())


def decision_digests() -> dict[str, Any]:
    """The decisions, as the committed file has them."""
    actions = Counter(one.decision.action for one in decided())
    contents = [one.content for one in decided()]
    return {
        "decided_at": DECIDED_AT.isoformat(),
        "actions": dict(sorted(actions.items())),
        "decisions": [digest(contents[k : k + BLOCK]) for k in range(0, len(contents), BLOCK)],
    }


def advice_digests() -> dict[str, Any]:
    """Answers with advice, likewise."""
    cut = [place for place, one in enumerate(decided()) if one.decision.action != "keep"][:ADVISED]
    advised = answer_requests("batch", [requests()[place] for place in cut], True, basis())
    constrained = [
        AdviceRequest.model_validate_json(
            json.dumps(bodies()[place] | {"choices": {"monthly_payment": 500.0}})
        )
        for place in cut
    ]
    constrained_advice = [
        answer_requests("advice", [request], False, basis())[0] for request in constrained
    ]
    return {
        "with_advice": digest([one.content for one in advised]),
        "advice": digest([one.content for one in constrained_advice]),
    }


def digest(contents: Sequence[bytes]) -> str:
    """sha256 over answers, their numbers rounded."""
    texts = [json.dumps(rounded(json.loads(content)), ensure_ascii=False) for content in contents]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def rounded(value: Any) -> Any:
    """The value with every number rounded to 12 significant digits."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, list):
        return [rounded(item) for item in value]
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    return value


def test_a_thousand_accounts_are_answered_as_before() -> None:
    committed = json.loads(DIGESTS.read_text("utf-8"))
    assert committed | decision_digests() == committed
    assert len(committed["decisions"]) == 10
    assert set(committed["actions"]) == {"keep", "reduce", "review", "suspend"}


@pytest.mark.checked
def test_accounts_are_advised_as_before() -> None:
    committed = json.loads(DIGESTS.read_text("utf-8"))
    assert committed == decision_digests() | advice_digests()


@pytest.mark.integration
def test_every_stated_reason_pushed_toward_the_cut() -> None:
    statements = pl.read_parquet(FOLDER / "statements.parquet")
    windows = statements.partition_by("account_id", maintain_order=True)
    stated = []
    # The golden bundle's own policy cuts few of these accounts.
    for bundle in (golden(), cut_more(golden())):
        answerer = checks.answer_together(bundle, DECIDED_AT)
        stated.append(checks.check_reasons(answerer, windows, bundle))
    assert stated[0] > 50
    assert stated[1] > 100


def test_a_changed_digit_is_noticed() -> None:
    """The control."""
    [answered] = answer_requests("decisions", requests()[:1], False, basis())
    answer = json.loads(answered.content)
    changed = answer | {"log_odds": answer["log_odds"] * (1 + 1e-10)}
    assert digest([answered.content]) != digest([json.dumps(changed).encode()])


if __name__ == "__main__":
    contents = decision_digests() | advice_digests()
    DIGESTS.write_text(json.dumps(contents, indent=1) + "\n", "utf-8")
