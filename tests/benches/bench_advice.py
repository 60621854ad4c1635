"""The cost of advice, compared with DiCE on the same model and accounts; `make bench` runs it.

DiCE is part of the optional extra ``peers``; without it, its benchmarks are skipped.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import random
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from features.catalogue import BY_NAME, MODEL_FEATURES
from features.schema import check
from serving.decision.bundle import Bundle
from serving.decision.pipeline import advise, advise_many, decide
from serving.decision.result import Stages
from serving.decision.scoring.score import Scorer, log_odds_of, logit, probability_of
from tests.benches.accounts import of_accounts, on_the_day, those_of
from training.data.labels import Labelled

pytestmark = pytest.mark.benchmark(disable_gc=True)
BESIDE = 20  # accounts for both DiCE and our advice
GIVEN = 10_000  # rows of the training data that DiCE draws from
AN_ACCOUNT, A_METHOD = 4.0, 45.0  # seconds; DiCE has no time limit of its own
NAMES = list(MODEL_FEATURES)
# features that no behaviour of coming months can change
FIXED = ("income", "income_change_12", "established_limit", "months_observed")
WHOLE = [name for name in NAMES if BY_NAME[name].unit in ("months", "days", "count", "yes_no")]
# DiCE rounds its values.  Without these it uses the digits of the most frequent value, often 0.
DECIMALS = {name: 0 if BY_NAME[name].unit == "CNY" else 3 for name in NAMES if name not in WHOLE}
HALF_A_STEP = {name: 0.5 * 10.0 ** -DECIMALS.get(name, 0) for name in NAMES}

# Inequalities that hold for every account, because all features describe the same months: the first
# feature is at most the factor times the second, plus the constant.  `test_dice` checks first that
# they hold for all rows of the data.
AT_MOST: tuple[tuple[str, float, str, float], ...] = (
    ("late_months_3", 1, "late_months_6", 0),
    ("late_months_6", 1, "late_months_3", 3),
    ("late_months_6", 1, "late_months_12", 0),
    ("late_months_12", 1, "late_months_6", 6),
    ("days_past_due_now", 1, "worst_days_past_due_6", 0),
    ("worst_days_past_due_6", 1, "worst_days_past_due_12", 0),
    ("worst_days_past_due_12", 1, "worst_days_past_due_24", 0),
    ("utilization_now", 3, "utilization_mean_3", 0),
    ("utilization_now", 1, "utilization_peak_12", 0),
    ("utilization_mean_3", 2, "utilization_mean_6", 0),
    ("utilization_mean_3", 1, "utilization_peak_12", 0),
    ("utilization_mean_6", 2, "utilization_mean_12", 0),
    ("utilization_mean_6", 1, "utilization_peak_12", 0),
    ("utilization_mean_12", 1, "utilization_peak_12", 0),
    ("months_above_90_6", 1, "months_above_90_12", 0),
    ("months_above_90_12", 1, "months_above_90_6", 6),
    ("minimum_only_months_6", 1, "minimum_only_months_12", 0),
    ("minimum_only_months_12", 1, "minimum_only_months_6", 6),
    ("paid_in_full_months_6", -1, "missed_minimum_months_6", 6),
    ("payment_least_3", 2, "payment_mean_6", 0),
    ("repaid_spending_3", 2, "repaid_spending_6", 0),
    ("repaid_spending_6", 1, "payment_mean_6", 0),
    ("cash_months_3", 1, "cash_months_12", 0),
    ("cash_months_12", 1, "cash_months_3", 9),
    ("limit_requests_3", 1, "limit_requests_12", 0),
    ("credit_inquiries_3", 1, "credit_inquiries_6", 0),
    ("credit_inquiries_6", 1, "credit_inquiries_12", 0),
    ("external_debt_to_income", 1, "total_debt_to_income", 0),
)
# The same amount as a share of the income and of the limit.
SAME_AMOUNT = (("external_debt_to_income", "external_debt_to_limit"),)


@pytest.fixture(scope="session")
def above(made: Stages) -> list[int]:
    """Evenly spaced positions among the accounts above the cut-off that the model cut."""
    limits_cut = zip(made.decisions, made.outcomes, strict=True)
    places = [
        place
        for place, (decision, outcome) in enumerate(limits_cut)
        if outcome.by_model and decision.probability > decision.cut_off
    ]
    return [places[k] for k in np.linspace(0, len(places) - 1, BESIDE).astype(int)]


@pytest.mark.parametrize("account", ["kept", "cut"])
def test_decide_in_process_on_one(
    benchmark: Any, champion: Bundle, made: Stages, account: str
) -> None:
    """Another account each time, that the model cuts or whose limit is kept."""
    wanted = those_of(made, account)[:300]
    others, when = itertools.cycle(of_accounts(made, wanted)), on_the_day(made.decisions[0].as_of)
    benchmark.pedantic(
        decide, setup=lambda: ((next(others), champion, when), {}), rounds=300, warmup_rounds=5
    )
    benchmark.extra_info |= {"rows": 1, "unit": "decisions"}


def test_advise_in_process(benchmark: Any, champion: Bundle, made: Stages) -> None:
    """Accounts whose limit the model cuts, another each time."""
    cut = [
        d.account_id
        for d, outcome in zip(made.decisions, made.outcomes, strict=True)
        if outcome.by_model
    ]
    windows = of_accounts(made, cut)[:300]
    others = itertools.cycle(windows)
    when = on_the_day(made.decisions[0].as_of)
    benchmark.pedantic(
        advise,
        setup=lambda: ((next(others), champion, when), {}),
        rounds=len(windows),
        warmup_rounds=5,
    )
    benchmark.extra_info |= {"rows": 1, "unit": "accounts"}


def test_advise_10_000_accounts(benchmark: Any, champion: Bundle, made: Stages) -> None:
    """The accounts that the model cut, repeated under new names until there are 10,000."""
    cut = [
        d.account_id
        for d, outcome in zip(made.decisions, made.outcomes, strict=True)
        if outcome.by_model
    ]
    those = made.statements.filter(pl.col("account_id").is_in(cut))
    copies = -(-10_000 // len(cut))
    renamed = [
        those.with_columns(account_id=f"{copy:03d}-" + pl.col("account_id"))
        for copy in range(copies)
    ]
    names = pl.concat([table["account_id"].unique(maintain_order=True) for table in renamed])[
        :10_000
    ]
    many = check(pl.concat(renamed).filter(pl.col("account_id").is_in(names.implode())))
    when = on_the_day(made.decisions[0].as_of)
    found = benchmark.pedantic(advise_many, (many, champion, when), {"threads": 2}, rounds=1)
    assert sum(one.advice is not None for one in found) == len(found) == 10_000
    benchmark.extra_info |= {"rows": 10_000, "unit": "accounts"}


def test_advise_beside_dice(
    benchmark: Any, champion: Bundle, made: Stages, above: list[int]
) -> None:
    """Our advice for the accounts that DiCE gets."""
    windows = of_accounts(made, [made.decisions[place].account_id for place in above])
    others, when, steps = iter(windows), on_the_day(made.decisions[0].as_of), []

    def one(window: pl.DataFrame) -> None:
        found = advise(window, champion, when).advice
        if found is not None and found.plan.restored is not None:
            steps.append(len(found.plan.steps))

    one(windows[0])
    steps.clear()
    benchmark.pedantic(one, setup=lambda: ((next(others),), {}), rounds=len(windows))
    benchmark.extra_info |= {
        "rows": 1,
        "unit": "accounts",
        "accounts": len(windows),
        "flipped": len(steps),
    }
    benchmark.extra_info |= {"changed": float(np.median(steps or [0]))}


@pytest.mark.parametrize("how", ["random", "genetic", "kdtree", "kdtree_of_all_features"])
def test_dice(
    benchmark: Any, how: str, champion: Bundle, made: Stages, above: list[int], full_data: Labelled
) -> None:
    """One counterfactual per account, with DiCE's own defaults.

    DiCE accepts no missing values.  It gets medians instead, which it may not change, and the model
    gets the account itself: a counterfactual that flips the model here flips it for the account.
    """
    dice_ml = pytest.importorskip(
        "dice_ml", reason="DiCE is not installed: the optional extra peers has it"
    )
    matrix = full_data.features.matrix(MODEL_FEATURES)
    assert not contradictory(matrix).any(), (
        "the rules that DiCE is measured by do not hold for the data"
    )
    rows = np.random.default_rng(0).choice(full_data.rows("train"), GIVEN, replace=False)
    medians = np.nanmedian(matrix[rows], axis=0)
    model = Shown(
        champion.scorer, logit(champion.policy.cut_off("pay_later")), time.perf_counter() + A_METHOD
    )
    with _quiet():
        table = _frame(matrix[rows], medians).assign(bad=full_data.label[rows].astype(int))
        data = dice_ml.Data(
            dataframe=table,
            continuous_features=NAMES,
            outcome_name="bad",
            continuous_features_precision=DECIMALS,
        )
        explainer = dice_ml.Dice(
            data, dice_ml.Model(model=model, backend="sklearn"), method=how.split("_")[0]
        )
    accounts = made.features.matrix(MODEL_FEATURES)[above]
    refused = sum(_refused(explainer, row) for row in accounts)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    stopped: list[np.ndarray] = []

    def one(row: np.ndarray) -> None:
        unknown = np.isnan(row)
        known = [
            name
            for name, gone in zip(NAMES, unknown, strict=True)
            if not gone and name not in FIXED
        ]
        model.show(unknown, AN_ACCOUNT)
        try:
            said = _said(
                explainer,
                _frame(row[None], medians),
                "all" if how.endswith("all_features") else known,
            )
        except TimeoutError:
            stopped.append(row)
        else:
            if said is not None:
                found.append((row, np.where(unknown, np.nan, said)))

    others = iter(accounts)
    random.seed(0)
    np.random.seed(0)  # DiCE draws from both
    benchmark.pedantic(one, setup=lambda: ((next(others),), {}), rounds=len(accounts))
    benchmark.extra_info |= {
        "rows": 1,
        "unit": "accounts",
        "accounts": len(accounts),
        "seconds": AN_ACCOUNT,
    }
    benchmark.extra_info |= {
        "given": GIVEN,
        "refused": refused,
        "stopped": len(stopped),
        "found": len(found),
    }
    benchmark.extra_info |= judged(found, champion)


class Shown:
    """Our model with DiCE's interface: the cut-off is 0.5, and unknown features stay unknown.

    It ends a search that takes too long by raising TimeoutError.
    """

    classes_ = (0, 1)

    def __init__(self, scorer: Scorer, cut_off_log_odds: float, end: float) -> None:
        self.scorer, self.cut_off_log_odds, self.end = scorer, cut_off_log_odds, end
        self.unknown, self.until = np.zeros(len(NAMES), dtype=np.bool_), end

    def show(self, unknown: np.ndarray, seconds: float) -> None:
        """Set the unknown features of the next account, and its time limit."""
        self.unknown, self.until = unknown, min(time.perf_counter() + seconds, self.end)

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        """Probability of keeping and of cutting, (rows, 2); TimeoutError after the time limit."""
        if time.perf_counter() > self.until:
            raise TimeoutError
        rows = np.where(self.unknown, np.nan, frame[NAMES].to_numpy(np.float64))
        cut = probability_of(log_odds_of(rows, self.scorer, threads=1) - self.cut_off_log_odds)
        return np.column_stack([1.0 - cut, cut])

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        """1 where the limit is cut, (rows,)."""
        return (self.predict_proba(frame)[:, 1] > 0.5).astype(np.int64)


def judged(found: list[tuple[np.ndarray, np.ndarray]], bundle: Bundle) -> dict[str, float]:
    """Counts of the properties of counterfactuals, and the median number of changed features.

    ``found`` has pairs of the account's features and the counterfactual's.
    """
    if not found:
        return dict.fromkeys(("flipped", "changed", "fixed", "worse", "contradictory"), 0)
    rows, said = (np.array(side) for side in zip(*found, strict=True))
    changed = np.abs(said - rows) > np.array(list(HALF_A_STEP.values()))
    fixed = np.array([name in FIXED for name in NAMES])
    direction = np.array([BY_NAME[name].direction for name in NAMES])
    # Values that were only rounded are reset: rounding must not cause a contradiction.
    meant = np.where(changed, said, rows)
    is_below = log_odds_of(said, bundle.scorer) <= logit(bundle.policy.cut_off("pay_later"))
    return {
        "flipped": int(is_below.sum()),
        "changed": float(np.median(changed.sum(axis=1))),
        "fixed": int((changed & fixed).any(axis=1).sum()),
        "worse": int((changed & ((said - rows) * direction > 0)).any(axis=1).sum()),
        "contradictory": int(contradictory(meant).sum()),
    }


def contradictory(rows: np.ndarray) -> np.ndarray:
    """Whether no account can have a row's values, (rows,); unknown values contradict nothing."""
    value: Mapping[str, np.ndarray] = dict(zip(NAMES, rows.T, strict=True))
    at_odds = np.zeros(len(rows), dtype=np.bool_)
    for lesser, times, greater, more in AT_MOST:
        rounding = (
            HALF_A_STEP[lesser] + abs(times) * HALF_A_STEP[greater] if lesser in DECIMALS else 0.0
        )
        at_odds |= value[lesser] > times * value[greater] + more + rounding + 1e-9
    for of_income, of_limit in SAME_AMOUNT:
        first, second = (
            value[of_income] * value["income"],
            value[of_limit] * value["established_limit"],
        )
        rounded = (
            HALF_A_STEP[of_income] * value["income"]
            + HALF_A_STEP[of_limit] * value["established_limit"]
        )
        at_odds |= np.abs(first - second) > 2.0 * rounded + 1.0
    for months in (3, 6, 12):
        ever_late = value["months_on_time"] < np.minimum(months, value["months_observed"])
        at_odds |= (value[f"late_months_{months}"] > 0) != ever_late
    at_odds |= (value["days_past_due_now"] > 0) != (value["months_on_time"] == 0)
    at_odds |= (value["worst_days_past_due_6"] > 0) != (value["late_months_6"] > 0)
    at_odds |= (value["income_known"] == 1) == np.isnan(value["income"])
    return at_odds


def _said(explainer: Any, asked: pd.DataFrame, vary: list[str] | str) -> np.ndarray | None:
    """DiCE's counterfactual, (features,); None if it finds none."""
    from raiutils.exceptions import UserConfigValidationException

    try:
        with _quiet():
            answer = explainer.generate_counterfactuals(
                asked, total_CFs=1, desired_class=0, features_to_vary=vary
            )
    except UserConfigValidationException as error:
        if "No counterfactuals found" not in str(error):
            raise
        return None
    example = answer.cf_examples_list[0]
    table = (
        example.final_cfs_df if example.final_cfs_df_sparse is None else example.final_cfs_df_sparse
    )
    said: np.ndarray = table[NAMES].to_numpy(np.float64)[0]
    return said


def _refused(explainer: Any, row: np.ndarray) -> bool:
    """Whether the account has unknown features; asserts that DiCE rejects it for that reason."""
    from raiutils.exceptions import UserConfigValidationException

    if not np.isnan(row).any():
        return False
    with (
        _quiet(),
        pytest.raises(UserConfigValidationException, match="should not have any missing values"),
    ):
        explainer.generate_counterfactuals(
            pd.DataFrame(row[None], columns=NAMES), total_CFs=1, desired_class=0
        )
    return True


def _frame(rows: np.ndarray, medians: np.ndarray) -> pd.DataFrame:
    """The input for DiCE: no missing values, and whole numbers as integers."""
    table = pd.DataFrame(np.where(np.isnan(rows), medians, rows), columns=NAMES)
    return table.astype(dict.fromkeys(WHOLE, np.int64))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence DiCE, which prints and causes warnings of pandas."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
