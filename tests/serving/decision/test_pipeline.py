from __future__ import annotations

import dataclasses
import datetime
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest

from features.build import build
from features.catalogue import MODEL_FEATURES
from features.schema import StatementError, check
from features.window import Window, lay_out
from serving.decision.bundle import Bundle
from serving.decision.pipeline import advise_many, decide, decide_many
from serving.decision.policy.prior import PriorError
from serving.decision.result import ProductError
from serving.decision.scoring.lightgbm_trees import read_trees
from serving.decision.scoring.score import AdditivityError, Calibration, Scorer, logit, score
from serving.decision.scoring.shapley import path_dependent
from serving.decision.scoring.shapley_tables import flatten_trees
from tests.support import checks
from tests.support.each import each
from tests.support.memory import remembered
from tests.support.policies import cut_more

WHEN = checks.WHEN


@pytest.fixture(scope="module")
def accounts(windows: pl.DataFrame) -> list[pl.DataFrame]:
    return windows.partition_by("account_id", maintain_order=True)


# Of the accounts every eighth, and in CI all.
some_and_all = pytest.mark.parametrize(
    "step", [pytest.param(8, marks=pytest.mark.brief), pytest.param(1, marks=pytest.mark.slow)]
)


@some_and_all
def test_the_table_gives_what_each_account_gets_alone(
    accounts: list[pl.DataFrame], bundle: Bundle, step: int
) -> None:
    checks.check_one_is_many(checks.answer_together(bundle), accounts[::step], bundle)


def test_contributions_add_up_for_every_account(
    accounts: list[pl.DataFrame], bundle: Bundle
) -> None:
    checks.check_additive(accounts, bundle)


def test_answers_are_deterministic_and_independent_of_order(
    accounts: list[pl.DataFrame], bundle: Bundle
) -> None:
    for answerer in (checks.answer_alone(bundle), checks.answer_together(bundle)):
        checks.check_deterministic(answerer, accounts[:50])
        checks.check_order_and_input(answerer, accounts[:50])


def test_a_worse_feature_never_lowers_the_log_odds(windows: pl.DataFrame, bundle: Bundle) -> None:
    checks.check_monotone(build(check(windows)).matrix(MODEL_FEATURES), bundle)


def test_the_monotone_check_notices_a_model_without_constraints(
    data: object, windows: pl.DataFrame, bundle: Bundle
) -> None:
    from training.data.labels import Labelled
    from training.fit.config import FitConfig
    from training.fit.fit import train_booster

    assert isinstance(data, Labelled)
    matrix = data.features.matrix(MODEL_FEATURES)
    free = train_booster(matrix, data.label, FitConfig(trees=40, monotone=False))
    explainers = dict.fromkeys(bundle.comparisons, path_dependent(flatten_trees(read_trees(free))))
    scorer = Scorer(free, bundle.scorer.calibration, explainers)
    with pytest.raises(AssertionError):
        checks.check_monotone(
            build(check(windows)).matrix(MODEL_FEATURES), dataclasses.replace(bundle, scorer=scorer)
        )


@some_and_all
def test_every_reason_pushed_toward_the_cut(
    accounts: list[pl.DataFrame], bundle: Bundle, step: int
) -> None:
    bundle = cut_more(bundle)
    for answerer in (checks.answer_alone(bundle), checks.answer_together(bundle)):
        assert checks.check_reasons(answerer, accounts[::step], bundle) > 100 / step


def spoil(answer: dict[str, Any], kind: str) -> None:
    """Spoil an answer with two reasons of the model at least."""
    first, second = answer["reasons"][:2]
    if kind == "exchanged":
        answer["reasons"][:2] = [second, first]
    elif kind == "left out":
        answer["reasons"].remove(first)
    elif kind == "leader":
        first["leader"] = False
    elif kind == "counted":
        answer["leaders"] += 1
    elif kind == "pushed the other way":
        first["contribution"] = -first["contribution"]
    else:
        first["features"].reverse()


SPOILT = ["exchanged", "left out", "leader", "counted", "pushed the other way", "another feature"]


@pytest.mark.parametrize("kind", SPOILT)
def test_the_check_of_reasons_notices(
    kind: str, accounts: list[pl.DataFrame], bundle: Bundle
) -> None:
    """The control: the first answer with two reasons of the model is spoilt."""

    def spoilt(windows: Sequence[pl.DataFrame]) -> list[bytes]:
        answers = [json.loads(answer) for answer in checks.answer_together(bundle)(windows)]
        for answer in answers:
            reasons = answer["reasons"]
            of_model = len(reasons) > 1 and reasons[0]["contribution"] is not None
            if of_model and len(reasons[0]["features"]) > 1:
                spoil(answer, kind)
                return [json.dumps(one).encode() for one in answers]
        raise LookupError("no answer to spoil")

    with pytest.raises(AssertionError):
        checks.check_reasons(spoilt, accounts[:300], bundle)


def test_every_action_occurs_with_consistent_fields(windows: pl.DataFrame, bundle: Bundle) -> None:
    decisions = decide_many(windows, bundle, WHEN)
    assert {decision.action for decision in decisions} == {"keep", "reduce", "suspend", "review"}
    for d in each(decisions):
        assert 0 <= d.new_limit <= d.credit_limit
        assert d.log_odds == pytest.approx(logit(d.probability), abs=1e-6)
        assert (d.effective_on is not None) == (d.action in ("reduce", "suspend"))
        assert (d.review_on is None) == (d.action == "keep")
        assert bool(d.review_because) == (d.proposed_limit is not None) == (d.action == "review")
        nothing_to_state = d.action == "keep" or "no_principal_reason" in d.review_because
        assert bool(d.reasons) != nothing_to_state
        assert (d.comparison is None) == (d.action == "keep")
        assert [reason.rank for reason in d.reasons] == list(range(1, len(d.reasons) + 1))
        assert len(d.reasons) <= 4
        if d.action in ("keep", "review"):
            assert d.new_limit == d.credit_limit


def test_identity_follows_statements_bundle_and_time(
    accounts: list[pl.DataFrame], bundle: Bundle
) -> None:
    account = accounts[0]
    first = decide(account, bundle, WHEN).decision_id
    assert decide(account, bundle, WHEN).decision_id == first
    elsewhere = WHEN.astimezone(datetime.timezone(datetime.timedelta(hours=8)))
    assert decide(account, bundle, elsewhere) == decide(account, bundle, WHEN)
    changed = account.with_columns(payment=pl.col("payment") + 1)
    others = {
        decide(changed, bundle, WHEN).decision_id,
        decide(account, dataclasses.replace(bundle, digest="other"), WHEN).decision_id,
        decide(account, bundle, WHEN + datetime.timedelta(microseconds=1)).decision_id,
    }
    others |= {
        decide(account, bundle, WHEN, id_key=key).decision_id for key in (b"one key", b"another")
    }
    assert first not in others
    assert len(others) == 5
    # Nothing but the id depends on the key.
    keyed = decide(account, bundle, WHEN, id_key=b"one key")
    assert dataclasses.replace(keyed, decision_id=first) == decide(account, bundle, WHEN)


def test_identity_follows_the_prior(accounts: list[pl.DataFrame], bundle: Bundle) -> None:
    account = accounts[0]
    without = decide(account, bundle, WHEN)
    prior = remembered(without.credit_limit, WHEN.date())
    decided = decide(account, bundle, WHEN, prior)
    assert decided.prior == prior
    assert decide(account, bundle, WHEN, prior) == decided
    other = dataclasses.replace(prior, decisions=("another",))
    ids = {decide(account, bundle, WHEN, used).decision_id for used in (None, prior, other)}
    assert len(ids) == 3
    assert without.decision_id in ids


def test_a_prior_belongs_to_its_account(accounts: list[pl.DataFrame], bundle: Bundle) -> None:
    first, second = accounts[:2]
    alone = decide(second, bundle, WHEN)
    prior = remembered(decide(first, bundle, WHEN).credit_limit, WHEN.date())
    priors = {first["account_id"][0]: prior}
    decided = decide_many(pl.concat([first, second]), bundle, WHEN, priors)
    assert decided == [decide(first, bundle, WHEN, prior), alone]
    with pytest.raises(ValueError, match="priors: expected accounts that have statements"):
        decide_many(second, bundle, WHEN, priors)
    with pytest.raises(PriorError, match=f"prior of account {alone.account_id}: limit_before"):
        decide(second, bundle, WHEN, dataclasses.replace(prior, limit_before=-1.0))


def test_statements_of_the_future_are_refused_on_the_lenders_clock(
    accounts: list[pl.DataFrame], bundle: Bundle
) -> None:
    account = accounts[0]
    last = account["month"].max()
    assert isinstance(last, datetime.date)
    begun = datetime.datetime(
        last.year, last.month, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=8))
    )
    assert decide(account, bundle, begun).as_of == last
    with pytest.raises(StatementError, match=f"no month is in the future: 1 row.*{last:%Y-%m}"):
        decide(account, bundle, begun - datetime.timedelta(seconds=1))
    with pytest.raises(ValueError, match="time with a zone"):
        decide(account, bundle, begun.replace(tzinfo=None))


def test_a_product_without_reference_is_refused(
    accounts: list[pl.DataFrame], bundle: Bundle
) -> None:
    product = accounts[0]["product"][0]
    without = dataclasses.replace(bundle, comparisons={"other": bundle.comparisons[product]})
    with pytest.raises(
        ProductError, match=f"got '{product}' for account {accounts[0]['account_id'][0]}"
    ):
        decide(accounts[0], without, WHEN)


def test_decide_takes_one_account(windows: pl.DataFrame, bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="one account, got 1000"):
        decide(windows, bundle, WHEN)


def test_a_person_decides_if_a_feature_that_training_always_knew_is_unknown(
    accounts: list[pl.DataFrame], bundle: Bundle
) -> None:
    assert "limit_requests_3" in bundle.never_missing
    lacking = accounts[0].with_columns(limit_requests=pl.lit(None, dtype=pl.Int32))
    decision = decide(lacking, bundle, WHEN)
    assert decision.action == "review"
    assert "unseen_missing" in decision.review_because
    assert decision.new_limit == decision.credit_limit


PRODUCTS = ["cash_loan", "pay_later"]


def test_score_rejects_another_width_and_contributions_that_do_not_add_up(bundle: Bundle) -> None:
    matrix = np.zeros((2, len(bundle.features)))
    with pytest.raises(ValueError, match="expected \\(2, "):
        score(matrix[:, 1:], PRODUCTS, bundle.scorer)
    with pytest.raises(ValueError, match="expected \\(1, "):
        score(matrix, PRODUCTS[:1], bundle.scorer)
    with pytest.raises(ValueError, match="got 'mortgage' in row 1"):
        score(matrix, [*PRODUCTS[:1], "mortgage"], bundle.scorer)

    class Shifted(lgb.Booster):
        def predict(self, *arguments: object, **options: object) -> np.ndarray:
            own = bundle.scorer.model.predict(*arguments, **options)  # type: ignore[arg-type]
            return np.asarray(own) + (1e-6 if "raw_score" in options else 0.0)

    class Unknown(lgb.Booster):
        def predict(self, *arguments: object, **options: object) -> np.ndarray:
            return np.full(2, np.nan)

    text = bundle.scorer.model.model_to_string()
    unknown = dataclasses.replace(bundle.scorer, model=Unknown(model_str=text))
    with pytest.raises(AdditivityError, match="miss the log-odds by nan"):
        score(matrix, PRODUCTS, unknown)
    calibration, explainers = Calibration(1.0, 0.0), bundle.scorer.explainers
    shifted = Scorer(Shifted(model_str=text), calibration, explainers)
    with pytest.raises(AdditivityError, match="miss the log-odds by 1e-06"):
        score(matrix, PRODUCTS, shifted)


@pytest.mark.parametrize("slope", [0.0, -1.0, math.inf, math.nan])
def test_calibration_keeps_order(slope: float) -> None:
    with pytest.raises(ValueError, match="slope above 0"):
        Calibration(slope, 0.0)


def test_an_answer_does_not_contain_the_window(
    accounts: list[pl.DataFrame], bundle: Bundle
) -> None:
    (answer,) = checks.answer_alone(bundle)(accounts[:1])
    assert not {"statements", "features"} & set(json.loads(answer))


def test_statements_are_laid_out_once(
    accounts: list[pl.DataFrame], bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out: list[int] = []

    def count(statements: pl.DataFrame) -> Window:
        laid_out.append(statements.height)
        return lay_out(statements)

    for name, module in list(sys.modules.items()):
        is_ours = name.startswith(("features.", "serving.decision."))
        if is_ours and getattr(module, "lay_out", None) is lay_out:
            monkeypatch.setattr(module, "lay_out", count)
    several = pl.concat(accounts[:200])
    advised = advise_many(several, bundle, WHEN)
    assert any(one.advice is not None for one in advised)
    assert laid_out == [several.height]
