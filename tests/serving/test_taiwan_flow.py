"""Fit, pack and serve a model of real accounts: the UCI card data; skipped without the file."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import bentoml
import polars as pl
import pytest

import tests.training.data.ingest.test_uci_taiwan as taiwan
from features.catalogue import BY_NAME, MODEL_FEATURES
from serving.decision.bundle import Bundle
from serving.decision.golden import load
from serving.decision.pipeline import decide, decide_many
from serving.operations.client import ask, start_service
from serving.operations.pack import store
from serving.schemas.base import encode
from serving.schemas.decision import Answer, make_answer
from tests.support.policies import POLICY_TEXT
from tests.support.served import Server
from training.data import sample_request
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.dataset import load as load_data
from training.data.ingest.ingest import ingest
from training.data.ingest.mapping import MAPPINGS
from training.data.labels import label_accounts
from training.fit import bundle
from training.fit.bundle import BundleConfig
from training.fit.config import FitConfig
from training.fit.fit import Fitted, fit

pytestmark = pytest.mark.slow
uci_file = taiwan.source


@pytest.fixture(scope="module")
def accounts(uci_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("taiwan_flow") / "data"
    ingest(uci_file, MAPPINGS / "uci_taiwan.toml", folder)
    shutil.rmtree(folder / "accounts")  # gender and age, which no later stage may need
    return load_data(folder)


@pytest.fixture(scope="module")
def real(accounts: Source, tmp_path_factory: pytest.TempPathFactory) -> tuple[Fitted, Path]:
    """The default model of the real accounts, and the folder of its bundle."""
    # The data do not show what accounts owe when they default, so the policy states it.
    stated = POLICY_TEXT.replace(
        "[economics]", "[economics]\nmargin = 0.06\ncredit_conversion = 0.6"
    )
    policy = tmp_path_factory.mktemp("taiwan_policy") / "policy.toml"
    policy.write_text(stated, encoding="utf-8")
    data, config = label_accounts(accounts, DataConfig()), BundleConfig(policy=policy)
    fitted = fit(data, FitConfig())
    folder = tmp_path_factory.mktemp("taiwan_bundle") / "bundle"
    bundle.make_bundle(bundle.FitResult(fitted, data, accounts, config), folder)
    return fitted, folder


@pytest.fixture(scope="module")
def fitted(real: tuple[Fitted, Path]) -> Fitted:
    return real[0]


@pytest.fixture(scope="module")
def packed(real: tuple[Fitted, Path]) -> Bundle:
    return load(real[1])


@pytest.fixture(scope="module")
def server(
    real: tuple[Fitted, Path], bentoml_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A service of the real model, which is removed from the store afterwards."""
    tag = store(real[1])
    try:
        log = tmp_path_factory.mktemp("taiwan_served") / "log"
        with start_service(log) as url:
            yield Server(url, log, tag)
    finally:
        bentoml.models.delete(tag)


def test_taiwan_mean_auc_over_the_folds_is_at_least_0_783(fitted: Fitted) -> None:
    assert FitConfig().folds == len(fitted.fold_auc) == 5
    assert sum(fitted.fold_auc) / 5 >= 0.783


def test_taiwan_model_is_compact_and_constrained(fitted: Fitted) -> None:
    model = fitted.booster.dump_model()
    assert model["monotone_constraints"] == [
        BY_NAME[name].direction for name in model["feature_names"]
    ]
    assert set(model["monotone_constraints"]) == {-1, 1}
    assert 0 < len(model["tree_info"]) <= 200
    trees = fitted.booster.trees_to_dataframe()
    assert trees[trees["left_child"].isna()].groupby("tree_index").size().max() <= 16
    assert trees["node_depth"].max() <= 4 + 1  # the root has depth 1


def test_taiwan_model_has_no_protected_attribute(fitted: Fitted) -> None:
    names = fitted.booster.feature_name()
    assert names == list(MODEL_FEATURES)
    words = {word for name in names for word in name.split("_")}
    assert not words & {"sex", "gender", "age", "education", "marriage", "married", "band"}


def test_taiwan_accounts_get_the_same_decision_over_http(
    accounts: Source, packed: Bundle, server: Server
) -> None:
    windows = sample_request.hold_out(accounts, DataConfig())
    some = windows.filter(
        pl.col("account_id").is_in(windows["account_id"].unique().sort().head(500).implode())
    )
    now = datetime.datetime.now(datetime.UTC)
    ranked = sorted(decide_many(some, packed, now), key=lambda decision: decision.probability)
    assert ranked[0].probability < ranked[0].cut_off
    assert ranked[-1].cut_off < ranked[-1].probability
    chosen = {decision.action: decision for decision in ranked}  # the riskiest of each
    # Statements of 2005 are too old for a cut: a person decides.
    assert chosen.keys() == {"keep", "review"}
    reviewed_for = {reason.code for d in ranked if d.action == "review" for reason in d.reasons}
    assert {"account_past_due", "repayment"} <= reviewed_for
    answers = {}
    for action, decision in chosen.items():
        window = some.filter(pl.col("account_id") == decision.account_id)
        body = json.dumps(sample_request.request(window)).encode()
        got = ask(server.url, body, key=server.token)
        answer = Answer.model_validate_json(got)
        decided_at = datetime.datetime.fromisoformat(answer.decided_at)
        prior, earlier = server.recall(json.loads(got))
        decision = decide(window, packed, decided_at, prior, server.id_key, earlier)
        assert got == encode(make_answer(decision, packed))
        assert (answer.account_id, answer.as_of) == (decision.account_id, "2005-09")
        assert len(window) == 6
        assert (answer.action, answer.model.bundle) == (action, packed.digest)
        answers[action] = answer
    reviewed = answers["review"]
    assert "stale_data" in reviewed.review_because
    assert reviewed.reasons
    assert reviewed.new_limit == reviewed.credit_limit
