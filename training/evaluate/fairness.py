"""Whom the cuts fall on: by gender, age band, region and their intersections.  Reported and gated,
never features.

What is measured is an *adverse* outcome: to be selected is to have one's limit cut, suspended, or
proposed to be.  The favourable outcome, which rules such as four fifths compare, is to keep it.
Groups are as :class:`training.evaluate.holdout.HoldOut` tells them; who is not known stands as
``unknown``, a group like any other.  Small groups are kept: their intervals say how little is known
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations

import lightgbm as lgb
import numpy as np
import polars as pl
from fairlearn.metrics import MetricFrame, count
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.model_selection import StratifiedKFold

from features.types import Vector
from training.evaluate.holdout import GROUPS, Evaluation
from training.evaluate.metrics import auc, wilson

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


def group_table(evaluated: Evaluation) -> pl.DataFrame:
    """One row a group, in order of attribute and name, with 95 % Wilson intervals.

    ``selection_rate`` is the share whose limit is cut, suspended or proposed to be;
    ``false_reduction_rate`` the same among those who stayed good (label 0), null where nobody did.
    ``calibration_gap`` is the rate of label 1 less the mean probability: above 0 the model thinks
    too well of the group, below 0 too badly; its interval is that of the rate.
    """
    rows = [
        _row(attribute, str(group), found)
        for attribute, members in attributes(evaluated).items()
        for group, found in _counted(evaluated, members).iterrows()
    ]
    return pl.DataFrame(rows, GROUP_SCHEMA, orient="row")


def impact(table: pl.DataFrame) -> pl.DataFrame:
    """The adverse impact ratio of each attribute of a :func:`group_table`: one row an attribute.

    The share that keeps its limit in the group where fewest do (``worst_group``), to that where
    most do; 1 = no difference. Below four fifths is "generally regarded as evidence of adverse
    impact" (29 CFR 1607.4(D), which speaks of the rate of the favourable outcome: here to keep the
    limit, not to be cut; the ratio of the cut rates would turn the rule round).  The rule is blunt
    where few are cut: where a twentieth is cut, a group cut four times as often still passes; see
    ``selection_rate``. As that rule's own records do (29 CFR 1607.15A(2)(a)), it leaves out groups
    of less than 2 % of the accounts.  Null where fewer than two groups are left, or nobody keeps a
    limit.

    ``low`` and ``high``: log-normal interval with half an account added (Katz 1978, Walter 1975),
    at a level of 95 % for all pairs of groups together (Bonferroni): the worst and the best are
    picked among them after looking.
    """
    rows = [
        _impact(str(attribute), part)
        for (attribute,), part in table.group_by("attribute", maintain_order=True)
    ]
    return pl.DataFrame(rows, IMPACT_SCHEMA, orient="row")


def proxies(evaluated: Evaluation) -> pl.DataFrame:
    """How well the model's features tell who belongs to each group: one row a group of
    :data:`GROUPS`.

    ``auc`` of the group against all others, from a small forest of the bundle's features, each
    account scored by trees that never saw it (five folds); 0.5 = the features tell nothing.
    ``low`` and ``high``: 95 % (Hanley and McNeil 1982).  Null where the group, or all others
    together, has fewer accounts than there are folds.
    """
    matrix = evaluated.stages.features.matrix(evaluated.bundle.features)
    rows = [
        row
        for attribute in GROUPS
        for row in _proxies(attribute, _members(evaluated, attribute), matrix)
    ]
    return pl.DataFrame(rows, PROXY_SCHEMA, orient="row")


def attributes(evaluated: Evaluation) -> Mapping[str, NDArray[np.str_]]:
    """Each attribute and intersection of attributes by name, with the group of every account (str)."""
    alone = {name: _members(evaluated, name) for name in GROUPS}
    found = dict(alone)
    for size in range(2, len(GROUPS) + 1):
        for names in combinations(GROUPS, size):
            joined = [
                JOINT.join(parts)
                for parts in zip(*(alone[name].tolist() for name in names), strict=True)
            ]
            found[JOINT.join(names)] = np.array(joined)
    return found


def _members(evaluated: Evaluation, attribute: str) -> NDArray[np.str_]:
    return evaluated.hold_out.people[attribute].fill_null(UNKNOWN).to_numpy().astype(np.str_)


def _counted(evaluated: Evaluation, members: NDArray[np.str_]):  # type: ignore[no-untyped-def]  # a pandas table
    """Fairlearn's frame of sums by group; rates are made of them, for it gives no interval that
    holds in a small group.
    """
    label, cut = evaluated.label, evaluated.cut.astype(np.float64)
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
        y_true=label,
        y_pred=cut,
        sensitive_features=members,
        sample_params={"expected": {"probability": evaluated.probability}},
    )
    return frame.by_group


def _row(attribute: str, group: str, found: Mapping[str, float]) -> tuple[object, ...]:
    accounts, good = int(found["accounts"]), int(found["good"])
    rate, mean = found["defaults"] / accounts, found["expected"] / accounts
    low, high = wilson(rate, accounts)
    selected = _share(found["cut"], accounts)
    return (
        attribute,
        group,
        accounts,
        *selected,
        *_share(found["good_cut"], good),
        rate - mean,
        low - mean,
        high - mean,
    )


def _share(part: float, whole: int) -> tuple[float | None, float | None, float | None]:
    if whole == 0:
        return None, None, None
    rate = float(part) / whole
    return rate, *wilson(rate, whole)


def _impact(attribute: str, part: pl.DataFrame) -> tuple[object, ...]:
    compared = part.filter(pl.col("accounts") >= LEAST_SHARE * pl.col("accounts").sum())
    kept = 1.0 - compared["selection_rate"].to_numpy()
    accounts = compared["accounts"].to_numpy().astype(np.float64)
    if len(kept) < 2 or kept.max() == 0:
        return attribute, None, None, None, None
    worst, best = int(np.argmin(kept)), int(np.argmax(kept))
    pairs = len(kept) * (len(kept) - 1) // 2
    reach = float(norm.ppf(1.0 - (1.0 - LEVEL) / (2 * pairs))) * _log_ratio_error(
        kept[[worst, best]], accounts[[worst, best]]
    )
    middle = np.log(_smoothed(kept[worst], accounts[worst])) - np.log(
        _smoothed(kept[best], accounts[best])
    )
    low, high = float(np.exp(middle - reach)), float(np.exp(middle + reach))
    return attribute, float(kept[worst] / kept[best]), low, high, compared["group"][worst]


def _smoothed(kept: float, accounts: float) -> float:
    return float((kept * accounts + 0.5) / (accounts + 0.5))


def _log_ratio_error(kept: Vector, accounts: Vector) -> float:
    """The standard error of the log of a ratio of two shares; finite where a share is 0."""
    return float(np.sqrt(np.sum(1.0 / (kept * accounts + 0.5) - 1.0 / (accounts + 0.5))))


def _proxies(
    attribute: str, members: NDArray[np.str_], matrix: NDArray[np.float64]
) -> Iterator[tuple[object, ...]]:
    groups, sizes = np.unique(members, return_counts=True)
    mirrored = None  # of two groups the one is told exactly as well as the other
    for group, size in zip(groups.tolist(), sizes.tolist(), strict=True):
        if not FOLDS <= size <= len(members) - FOLDS:
            yield attribute, group, size, None, None, None
            continue
        if mirrored is None or len(groups) > 2:
            mirrored = _told(matrix, (members == group).astype(np.float64))
        yield attribute, group, size, *mirrored


def _told(matrix: NDArray[np.float64], belongs: Vector) -> tuple[float, float, float]:
    score = np.empty(len(belongs))
    for seen, unseen in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(matrix, belongs):
        model = lgb.train(FOREST, lgb.Dataset(matrix[seen], belongs[seen], params=FOREST), TREES)
        score[unseen] = np.asarray(model.predict(matrix[unseen], num_threads=1))
    value = auc(belongs, score)
    reach = float(norm.ppf((1.0 + LEVEL) / 2)) * _auc_error(
        value, belongs.sum(), len(belongs) - belongs.sum()
    )
    return value, max(value - reach, 0.0), min(value + reach, 1.0)


def _auc_error(value: float, ones: float, zeros: float) -> float:
    """The standard error of an AUC (Hanley and McNeil 1982, for exponential scores)."""
    first, second = value / (2.0 - value), 2.0 * value**2 / (1.0 + value)
    spread = (
        value * (1.0 - value)
        + (ones - 1.0) * (first - value**2)
        + (zeros - 1.0) * (second - value**2)
    )
    return float(np.sqrt(spread / (ones * zeros)))
