"""Whole answers of a version: the first hold-out accounts that the model cuts, each as it is."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from serving.decision.bundle import Bundle
from serving.decision.golden import load
from serving.decision.pipeline import decide_many
from serving.decision.result import Decision
from tests.support.each import each
from tests.support.paths import GOLDEN, ROOT
from training.data.config import DataConfig
from training.data.dataset import load as load_data
from training.data.labels import soon_after
from training.data.sample_request import hold_out
from training.evaluate.model_lookup import Model
from training.release.answers import NoAnswers, answers_page, write_answers

STATEMENTS = ROOT / "tests" / "golden" / "answers" / "statements.parquet"
CONFIG = DataConfig()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load(GOLDEN)


@pytest.fixture(scope="module")
def model(bundle: Bundle) -> Model:
    return Model("1", bundle, CONFIG, version="1", run="", last_month="")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of data with the statements of the golden answers."""
    folder = tmp_path / "data"
    (folder / "statements").mkdir(parents=True)
    (folder / "statements" / "part-0.parquet").write_bytes(STATEMENTS.read_bytes())
    return folder


@pytest.fixture
def cut(data: Path, bundle: Bundle) -> list[Decision]:
    """The decisions of the hold-out with a reason of the model, in order of account."""
    windows = hold_out(load_data(data), CONFIG)
    decisions = decide_many(windows, bundle, soon_after(windows["month"].max()))
    return [
        decision
        for decision in decisions
        if any(reason.contribution is not None for reason in decision.reasons)
    ]


def test_the_page_has_the_first_accounts_that_the_model_cuts(
    data: Path, model: Model, cut: list[Decision]
) -> None:
    parts = answers_page(data, model, 3).split("\n## ")[1:]
    assert len(parts) == 3 < len(cut)
    for part, decision in zip(each(parts), cut, strict=False):
        assert f" {decision.account_id}, {decision.product}: {decision.action}, " in part
        assert decision.notice is not None
        unquoted = part.replace("\n> ", "\n").replace("\n>", "\n")
        assert decision.notice.text.en in unquoted
        assert decision.notice.text.zh in unquoted
        shown = re.findall(r"^\| (\d{4}-\d\d) ", part, re.MULTILINE)
        assert shown[-1] == f"{decision.as_of:%Y-%m}"
        assert 1 <= len(shown) <= 13


def test_all_are_shown_where_there_are_fewer(
    data: Path, model: Model, cut: list[Decision], tmp_path: Path
) -> None:
    page = write_answers(data, model, 10_000, tmp_path / "new" / "answers.md")
    assert page.count("\n## ") == len(cut)
    assert (tmp_path / "new" / "answers.md").read_text("utf-8") == page


def test_no_account_is_refused(data: Path, model: Model, cut: list[Decision]) -> None:
    with pytest.raises(ValueError, match="most: expected 1 account or more, got 0"):
        answers_page(data, model, 0)
    kept = pl.col("account_id").is_in([decision.account_id for decision in cut]).not_()
    pl.read_parquet(STATEMENTS).filter(kept).write_parquet(data / "statements" / "part-0.parquet")
    with pytest.raises(NoAnswers, match="version 1: expected accounts whose limit it cuts"):
        answers_page(data, model, 3)
