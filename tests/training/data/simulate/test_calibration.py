"""The calibration of the simulator: what docs/modelling/simulation.md states, measured.

``python tests/training/data/simulate/test_calibration.py`` prints the page's table for the default
config.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.support.paths import ROOT

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from features.catalogue import MODEL_FEATURES
from features.schema import PRODUCTS, check
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import Labelled, label_accounts
from training.data.simulate.config import SimulationConfig, calendar_month
from training.data.simulate.output import simulate
from training.evaluate.metrics import auc
from training.fit.config import FitConfig
from training.fit.fit import fit

PAGE = ROOT / "docs" / "modelling" / "simulation.md"
AS_OFS = (11, 17, 23, 29)  # month numbers at which labels are counted

# Figure: what is wanted of it, lowest and highest.  Wide enough for 6,000 accounts.
BANDS: Mapping[str, tuple[float, float]] = {
    "label rate, lowest of the as_ofs": (0.04, 0.08),
    "label rate, highest of the as_ofs": (0.04, 0.08),
    "label rate, pay_later": (0.04, 0.08),
    "label rate, cash_loan": (0.04, 0.08),
    "label-positive accounts without a late payment in 3 months": (0.60, 0.90),
    "accounts with a late payment in 3 months": (0.03, 0.15),
    "utilization, 25 % quantile": (0.01, 0.15),
    "utilization, median": (0.08, 0.35),
    "utilization, 75 % quantile": (0.25, 0.70),
    "utilization, 95 % quantile": (0.80, 1.05),
    "limit in CNY, 5 % quantile": (1_000, 6_000),
    "limit in CNY, median": (8_000, 20_000),
    "limit in CNY, 95 % quantile": (35_000, 90_000),
    "limit to monthly income, median pay_later": (0.9, 2.0),
    "limit to monthly income, median cash_loan": (1.5, 3.5),
    "spend to income, median pay_later": (0.08, 0.30),
    "debt elsewhere to income, median": (0.2, 1.0),
    "accounts cut by the incumbent in a year": (0.02, 0.12),
    "cut accounts without a late payment in 3 months": (0.50, 0.85),
    "cash loans over the cap before it comes": (0.03, 0.15),
    "AUC out of time, logistic regression": (0.75, 0.88),
    "AUC out of time, boosted trees": (0.77, 0.90),
}


def figures(config: SimulationConfig) -> dict[str, float]:
    """The figures of BANDS for a simulation."""
    statements = check(pl.concat([block.statements for block in simulate(config)]), window=False)
    return (
        _labels(statements, config)
        | _standing(statements, config)
        | _cuts(statements, config)
        | _signal(statements)
    )


def _labels(statements: pl.DataFrame, config: SimulationConfig) -> dict[str, float]:
    frames = []
    for number in AS_OFS:
        now, bad, late = _asked(statements, number, config)
        frames.append(
            now.select(
                "product",
                pl.lit(number).alias("as_of"),
                pl.col("account_id").is_in(bad.implode()).alias("label"),
                pl.col("account_id").is_in(late.implode()).alias("late"),
            )
        )
    rows = pl.concat(frames)
    rates = rows.group_by("as_of").agg(pl.col("label").mean())["label"].to_list()
    by_product = {name: _mean(rows.filter(pl.col("product") == name)["label"]) for name in PRODUCTS}
    return {
        "label rate, lowest of the as_ofs": min(rates),
        "label rate, highest of the as_ofs": max(rates),
        **{f"label rate, {name}": rate for name, rate in by_product.items()},
        "label-positive accounts without a late payment in 3 months": 1
        - _mean(rows.filter("label")["late"]),
        "accounts with a late payment in 3 months": _mean(rows["late"]),
    }


def _asked(
    statements: pl.DataFrame, number: int, config: SimulationConfig
) -> tuple[pl.DataFrame, pl.Series, pl.Series]:
    """Statements of accounts under 60 days, those that default, and those that were late.

    At as_of; within the 6 months after it; in the 3 months before it.
    """
    month = pl.col("month")
    now = statements.filter(month == calendar_month(number, config), pl.col("days_past_due") < 60)
    after = statements.filter(
        month > calendar_month(number, config), month <= calendar_month(number + 6, config)
    )
    before = statements.filter(
        month > calendar_month(number - 3, config), month <= calendar_month(number, config)
    )
    bad = after.filter(pl.col("days_past_due") >= 60)["account_id"].unique()
    return now, bad, before.filter(pl.col("days_past_due") > 0)["account_id"].unique()


def _standing(statements: pl.DataFrame, config: SimulationConfig) -> dict[str, float]:
    now = statements.filter(
        pl.col("month") == calendar_month(AS_OFS[-1], config), pl.col("days_past_due") < 60
    )
    used = (now["balance"] / now["credit_limit"]).clip(0.0)
    to_income = now.with_columns(
        pl.col("credit_limit", "spend", "external_debt") / pl.col("income")
    )
    pay_later, cash_loan = (to_income.filter(pl.col("product") == name) for name in PRODUCTS)
    before_cap = statements.filter(
        pl.col("month") == calendar_month(23, config),
        pl.col("product") == "cash_loan",
        pl.col("income").is_not_null(),
    )
    return {
        "utilization, 25 % quantile": _quantile(used, 0.25),
        "utilization, median": _quantile(used, 0.5),
        "utilization, 75 % quantile": _quantile(used, 0.75),
        "utilization, 95 % quantile": _quantile(used, 0.95),
        "limit in CNY, 5 % quantile": _quantile(now["credit_limit"], 0.05),
        "limit in CNY, median": _quantile(now["credit_limit"], 0.5),
        "limit in CNY, 95 % quantile": _quantile(now["credit_limit"], 0.95),
        "limit to monthly income, median pay_later": _quantile(pay_later["credit_limit"], 0.5),
        "limit to monthly income, median cash_loan": _quantile(cash_loan["credit_limit"], 0.5),
        "spend to income, median pay_later": _quantile(pay_later["spend"], 0.5),
        "debt elsewhere to income, median": _quantile(to_income["external_debt"], 0.5),
        "cash loans over the cap before it comes": _mean(
            before_cap["credit_limit"] > config.cap_multiple * before_cap["income"]
        ),
    }


def _cuts(statements: pl.DataFrame, config: SimulationConfig) -> dict[str, float]:
    """Of the months before the cap."""
    late = (
        pl.max_horizontal(pl.col("days_past_due").shift(k).over("account_id") for k in (1, 2, 3))
        > 0
    )
    rows = statements.with_columns(
        limit_before=pl.col("credit_limit").shift(1).over("account_id"), late=late
    )
    rows = rows.filter(pl.col("month") < config.cap_from).drop_nulls("limit_before")
    cut = rows.filter(pl.col("credit_limit") < pl.col("limit_before"))
    return {
        "accounts cut by the incumbent in a year": 12 * cut.height / rows.height,
        "cut accounts without a late payment in 3 months": 1 - _mean(cut["late"]),
    }


def _signal(statements: pl.DataFrame) -> dict[str, float]:
    data = label_accounts(Source(statements, None, "", ""), DataConfig())
    fitted = fit(data, FitConfig(threads=1))
    return {
        "AUC out of time, logistic regression": auc(data.label[data.rows("test")], _logistic(data)),
        "AUC out of time, boosted trees": auc(fitted.label, fitted.probability),
    }


def _logistic(data: Labelled) -> NDArray[np.float64]:
    """Probabilities of the test rows by a plain logistic regression."""
    matrix = data.features.matrix(MODEL_FEATURES)
    train, test = data.rows("train"), data.rows("test")
    filled = SimpleImputer(strategy="median", add_indicator=True)
    model = make_pipeline(filled, StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    model.fit(matrix[train], data.label[train])
    probability: NDArray[np.float64] = model.predict_proba(matrix[test])[:, 1]
    return probability


def _quantile(values: pl.Series, share: float) -> float:
    return float(np.nanquantile(values.drop_nulls().to_numpy(), share))


def _mean(values: pl.Series) -> float:
    return float(values.drop_nulls().to_numpy().mean())


@pytest.fixture(scope="module")
def measured() -> dict[str, float]:
    return figures(SimulationConfig(accounts=6_000))


@pytest.mark.parametrize("name", BANDS)
def test_figure_lies_in_its_band(name: str, measured: dict[str, float]) -> None:
    low, high = BANDS[name]
    assert low <= measured[name] <= high


def test_every_figure_has_a_band(measured: dict[str, float]) -> None:
    assert measured.keys() == BANDS.keys()


def test_the_page_states_every_figure_within_its_band() -> None:
    stated = dict(
        re.findall(
            r"^\| ([^|]+?) +\| +([0-9.,]+) +\|",
            PAGE.read_text(encoding="utf-8"),
            flags=re.MULTILINE,
        )
    )
    assert stated.keys() == BANDS.keys()
    for name, value in stated.items():
        low, high = BANDS[name]
        assert low <= float(value.replace(",", "")) <= high, name


def _table(values: Mapping[str, float]) -> str:
    def shown(value: float) -> str:
        return f"{value:,.0f}" if value >= 100 else f"{value:.3f}"

    rows = [
        f"| {name} | {shown(values[name])} | {low:,} to {high:,} |"
        for name, (low, high) in BANDS.items()
    ]
    return "\n".join(["| figure | measured | wanted |", "|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(_table(figures(SimulationConfig())))
