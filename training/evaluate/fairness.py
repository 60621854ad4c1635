"""Fairness: how the cuts fall on gender, age band, region and their intersections.

Measured and gated; the groups are never features.

The measured outcome is *adverse*: an account is selected if its limit is cut or suspended, or if a
cut is proposed.  The favourable outcome, which rules such as four fifths compare, is to keep the
limit.  Groups are the columns of :class:`training.evaluate.holdout.HoldOut`; unknown values form a
group of their own, ``unknown``.  Small groups are kept: their intervals show how little is known
about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations

import numpy as np
import polars as pl
from fairlearn.metrics import MetricFrame, count
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.model_selection import StratifiedKFold

from features.types import Matrix, Vector
from training.evaluate.holdout import GROUPS, Evaluation
from training.evaluate.metrics import Z_95, auc, wilson
from training.tracking.lightgbm_import import lgb

UNKNOWN = "unknown"
JOINT = " x "  # between the names of an intersection, and of its groups
FOUR_FIFTHS = 0.8
LEAST_SHARE = 0.02  # of the accounts; smaller groups are shown but not compared
FOLDS = 5
TREES = 40
LEVEL = 0.95
FOREST = {
    "objective": "binary",
    "num_leaves": 8,
    "learning_rate": 0.1,
    "min_data_in_leaf": 20,
    "max_bin": 63,
    "deterministic": True,
    "force_col_wise": True,
    "num_threads": 1,  # a few thousand rows: threads cost more than they save
    "seed": 0,
    "verbosity": -1,
}

_Row = tuple[object, ...]  # of one of the schemas below
_Share = tuple[float | None, float | None, float | None]  # with the ends of its interval
GROUP_SCHEMA = {
    "attribute": pl.String,
    "group": pl.String,
    "accounts": pl.Int64,
    "selection_rate": pl.Float64,
    "selection_low": pl.Float64,
    "selection_high": pl.Float64,
    "false_reduction_rate": pl.Float64,
    "false_reduction_low": pl.Float64,
    "false_reduction_high": pl.Float64,
    "calibration_gap": pl.Float64,
    "calibration_low": pl.Float64,
    "calibration_high": pl.Float64,
}
IMPACT_SCHEMA = {
    "attribute": pl.String,
    "adverse_impact_ratio": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "worst_group": pl.String,
}
PROXY_SCHEMA = {
    "attribute": pl.String,
    "group": pl.String,
    "accounts": pl.Int64,
    "auc": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}


def group_table(evaluation: Evaluation) -> pl.DataFrame:
    """Return one row for each group, in order of attribute and name, with 95 % Wilson intervals.

    - ``selection_rate``: the share of accounts that are cut, suspended or proposed to be
    - ``false_reduction_rate``: the same among accounts that stayed good (label 0); null where there
      are none
    - ``calibration_gap``: the rate of label 1 less the mean probability; above 0 the model
      underestimates the group's risk.  Its interval is that of the rate.
    """
    rows = []
    for attribute, members in attributes(evaluation).items():
        table = _sum_by_group(evaluation, members)
        for group, sums in table.iterrows():
            rows.append(_group_row(attribute, str(group), sums))
    return pl.DataFrame(rows, GROUP_SCHEMA, orient="row")


def impact(table: pl.DataFrame) -> pl.DataFrame:
    """Return the adverse impact ratio of each attribute of a :func:`group_table`, a row each.

    The ratio is the share that keeps its limit in the group where fewest do (``worst_group``), to
    that share in the group where most do; 1 = no difference.  Below four fifths is "generally
    regarded as evidence of adverse impact" (29 CFR 1607.4(D)).  That rule compares rates of the
    favourable outcome, so here the rates of keeping the limit; a ratio of cut rates would reverse
    it.  The rule is blunt where few are cut: where a twentieth is cut, a group cut four times as
    often still passes; see ``selection_rate``.  Groups of less than 2 % of the accounts are left
    out, as in that rule's own records (29 CFR 1607.15A(2)(a)).  Null where fewer than two groups
    are left, or no account keeps its limit.

    ``low`` and ``high``: log-normal interval with half an account added (Katz 1978, Walter 1975),
    at a level of 95 % for all pairs of groups together (Bonferroni), because the worst and the best
    group are chosen after looking at all of them.
    """
    rows = []
    for groups in table.partition_by("attribute", maintain_order=True):
        attribute = str(groups["attribute"][0])
        rows.append(_impact_row(attribute, groups))
    return pl.DataFrame(rows, IMPACT_SCHEMA, orient="row")


def proxies(evaluation: Evaluation) -> pl.DataFrame:
    """Return how well the model's features predict membership of each group, a row each.

    ``auc`` is that of a small forest on the bundle's features, for the group against all others.
    Each account is scored by trees that did not see it (five folds); 0.5 = the features carry no
    information.  ``low`` and ``high``: 95 % (Hanley and McNeil 1982).  Null where the group, or all
    others together, has fewer accounts than there are folds.
    """
    features = evaluation.bundle.features
    matrix = evaluation.stages.features.matrix(features)
    rows: list[_Row] = []
    for attribute in GROUPS:
        members = _members(evaluation, attribute)
        rows += _proxy_rows(attribute, members, matrix)
    return pl.DataFrame(rows, PROXY_SCHEMA, orient="row")


def attributes(evaluation: Evaluation) -> Mapping[str, NDArray[np.str_]]:
    """Return the group of every account (str), by attribute and intersection of attributes."""
    alone = {name: _members(evaluation, name) for name in GROUPS}
    members = dict(alone)
    # Attributes that are fair one by one can be unfair together (Kearns et al. 2018).
    for size in range(2, len(GROUPS) + 1):
        for names in combinations(GROUPS, size):
            columns = [alone[name].tolist() for name in names]
            rows = zip(*columns, strict=True)
            joined = [JOINT.join(parts) for parts in rows]
            members[JOINT.join(names)] = np.array(joined)
    return members


def _members(evaluation: Evaluation, attribute: str) -> NDArray[np.str_]:
    groups = evaluation.hold_out.people[attribute].fill_null(UNKNOWN)
    return groups.to_numpy().astype(np.str_)


def _sum_by_group(  # type: ignore[no-untyped-def]  # a pandas table
    evaluation: Evaluation, members: NDArray[np.str_]
):
    """Fairlearn's table of sums by group."""
    # Sums and not rates: Fairlearn has no interval that holds in small groups.
    sums: Mapping[str, Callable[..., float]] = {
        "accounts": count,
        "cut": lambda y_true, y_pred: float(np.sum(y_pred)),
        "good": lambda y_true, y_pred: float(np.sum(1.0 - y_true)),
        "good_cut": lambda y_true, y_pred: float(np.sum(y_pred * (1.0 - y_true))),
        "defaults": lambda y_true, y_pred: float(np.sum(y_true)),
        "expected": lambda y_true, y_pred, probability: float(np.sum(probability)),
    }
    frame = MetricFrame(
        metrics=dict(sums),
        y_true=evaluation.label,
        y_pred=evaluation.cut.astype(np.float64),
        sensitive_features=members,
        sample_params={"expected": {"probability": evaluation.probability}},
    )
    return frame.by_group


def _group_row(
    attribute: str,
    group: str,
    sums: Mapping[str, float],
) -> _Row:
    accounts = int(sums["accounts"])
    good = int(sums["good"])
    rate = sums["defaults"] / accounts
    mean_probability = sums["expected"] / accounts
    low, high = wilson(rate, accounts)
    return (
        attribute,
        group,
        accounts,
        *_share(sums["cut"], accounts),
        *_share(sums["good_cut"], good),
        rate - mean_probability,
        low - mean_probability,
        high - mean_probability,
    )


def _share(part: float, whole: int) -> _Share:
    """A share and its interval; null where there is nothing to take a share of."""
    if whole == 0:
        return None, None, None
    rate = float(part) / whole
    return rate, *wilson(rate, whole)


def _impact_row(attribute: str, groups: pl.DataFrame) -> _Row:
    least = LEAST_SHARE * pl.col("accounts").sum()
    compared = groups.filter(pl.col("accounts") >= least)
    kept = 1.0 - compared["selection_rate"].to_numpy()
    accounts = compared["accounts"].to_numpy().astype(np.float64)
    if len(kept) < 2 or kept.max() == 0:
        return attribute, None, None, None, None
    worst = int(np.argmin(kept))
    best = int(np.argmax(kept))
    # Bonferroni: any of the pairs could have turned out to be the worst and the best.
    pairs = len(kept) * (len(kept) - 1) // 2
    tail = (1.0 - LEVEL) / (2 * pairs)
    quantile = float(norm.ppf(1.0 - tail))
    chosen = [worst, best]
    error = _log_ratio_error(kept[chosen], accounts[chosen])
    half_width = quantile * error
    worst_share = _smooth_share(kept[worst], accounts[worst])
    best_share = _smooth_share(kept[best], accounts[best])
    log_ratio = np.log(worst_share) - np.log(best_share)
    return (
        attribute,
        float(kept[worst] / kept[best]),
        float(np.exp(log_ratio - half_width)),
        float(np.exp(log_ratio + half_width)),
        compared["group"][worst],
    )


def _smooth_share(kept: float, accounts: float) -> float:
    """A share with half an account added to both counts, so that its logarithm is finite."""
    smoothed = kept * accounts + 0.5
    return float(smoothed / (accounts + 0.5))


def _log_ratio_error(kept: Vector, accounts: Vector) -> float:
    """The standard error of the log of a ratio of two shares; finite where a share is 0."""
    smoothed = kept * accounts + 0.5
    variances = 1.0 / smoothed - 1.0 / (accounts + 0.5)
    return float(np.sqrt(np.sum(variances)))


def _proxy_rows(
    attribute: str,
    members: NDArray[np.str_],
    matrix: Matrix,
) -> Iterator[_Row]:
    groups, sizes = np.unique(members, return_counts=True)
    measured = None
    for group, size in zip(groups.tolist(), sizes.tolist(), strict=True):
        # Stratified folds need one member and one other account each.
        if not FOLDS <= size <= len(members) - FOLDS:
            yield attribute, group, size, None, None, None
            continue
        # With two groups, the second is predicted exactly as well as the first: one forest does.
        if measured is None or len(groups) > 2:
            belongs = (members == group).astype(np.float64)
            measured = _measure_proxy(matrix, belongs)
        yield attribute, group, size, *measured


def _measure_proxy(matrix: Matrix, belongs: Vector) -> tuple[float, float, float]:
    """AUC of a forest that predicts ``belongs`` out of fold, and its interval."""
    score = np.empty(len(belongs))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    for seen, unseen in folds.split(matrix, belongs):
        rows = lgb.Dataset(
            matrix[seen],
            belongs[seen],
            params=FOREST,
        )
        model = lgb.train(FOREST, rows, TREES)
        predicted = model.predict(matrix[unseen], num_threads=1)
        score[unseen] = np.asarray(predicted)
    value = auc(belongs, score)
    ones = belongs.sum()
    zeros = len(belongs) - ones
    half_width = Z_95 * _auc_error(value, ones, zeros)
    low = max(value - half_width, 0.0)
    high = min(value + half_width, 1.0)
    return value, low, high


def _auc_error(value: float, ones: float, zeros: float) -> float:
    """The standard error of an AUC (Hanley and McNeil 1982, for exponential scores)."""
    # q1, q2: the chance that two random 1s rank above a 0, and that a 1 ranks above two 0s.
    q1 = value / (2.0 - value)
    q2 = 2.0 * value**2 / (1.0 + value)
    of_one_pair = value * (1.0 - value)
    of_shared_zeros = (ones - 1.0) * (q1 - value**2)
    of_shared_ones = (zeros - 1.0) * (q2 - value**2)
    spread = of_one_pair + of_shared_zeros + of_shared_ones
    variance = spread / (ones * zeros)
    return float(np.sqrt(variance))
