"""What a cut does: accounts that were cut against the control arm that was left alone.

Read :func:`estimate_effect` first.  The arms are drawn by a hash of the account
(:mod:`serving.decision.policy.control`), so their difference is the effect of the cut, and an
interval says how much of it may be chance.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from scipy.stats import t as student

from features.types import Vector
from training.compare.policies.frontier import PolicyLabError
from training.data.config import DataError
from training.data.label_file import COLUMNS, check_labels, read_outcome_table
from training.evaluate.metrics import wilson
from training.evaluate.text_tables import columns

ARMS = ("treated", "control")
EARNED, OWED = "earned", "owed_at_default"
_LEAST = 2  # accounts of an arm, for a variance
_LEVEL = 0.975  # of both ends of a 95 % interval
_DECISION = ("as_of", "decided_at", "arm", "credit_limit")
TABLE = {
    "measure": pl.String,
    "treated": pl.Float64,
    "control": pl.Float64,
    "effect": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "accounts_treated": pl.Int64,
    "accounts_control": pl.Int64,
}
TRIALS = {
    "account_id": pl.String,
    "as_of": pl.Date,
    "decided_at": pl.String,
    "arm": pl.String,
    "credit_limit": pl.Float64,
}


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect of a cut, and how many accounts it is estimated from.

    Attributes:
        table: One row a measure, with the columns of ``TABLE``.  ``effect`` is treated less
            control; null where an arm has fewer than two accounts.
        accounts: Accounts in an arm in the records.
        known: Those of them with an outcome.
    """

    table: pl.DataFrame
    accounts: int
    known: int


def estimate_effect(
    records: Path,
    outcomes: Path,
) -> Effect:
    """Estimate the effect of a cut from an export of the audit log and the outcomes.

    ``records`` is a file of ``python -m serving export --asked``; ``outcomes`` is a file as for
    ``python -m training monitor --labels``, which may also have the columns ``earned`` (CNY that
    the account brought in the months of the label) and ``owed_at_default`` (CNY; 0 or null without
    a default).  The first decision on an account that is in an arm counts: what follows depends on
    the arm.

    Measures, those of amounts only where the outcomes have the column:

    * ``default``: share of accounts that defaulted
    * ``owed_at_default``: CNY an account, 0 without a default
    * ``owed_by_defaulted``: CNY an account that defaulted
    * ``earned_by_good``: CNY an account that did not default; less is the harm of a cut
    * ``earned_by_good_share``: the same as a share of the limit before the decision, which is
      ``harm`` of policy.toml with the other sign

    Raises:
        PolicyLabError: A line is no export's, or no account of the records is in an arm.
        DataError: The outcomes cannot be used.
    """
    trials = read_trials(records)
    known = trials.join(
        read_outcomes(outcomes),
        on=["account_id", "as_of"],
        how="inner",
        maintain_order="left",
    )
    rows = [_row(name, *values) for name, values in _measures(known).items()]
    return Effect(
        table=pl.DataFrame(
            rows,
            TABLE,
            orient="row",
        ),
        accounts=trials.height,
        known=known.height,
    )


def describe_effect(effect: Effect) -> str:
    """Return the table as text, and how many accounts it is from."""
    counted = f"{effect.accounts:,} accounts in an arm, {effect.known:,} with outcomes"
    return f"{columns(effect.table)}\n\n{counted}"


def read_trials(records: Path) -> pl.DataFrame:
    """Return the first decision in an arm on each account, with the columns of ``TRIALS``."""
    found = []
    for number, text in enumerate(records.read_text("utf-8").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            decision = json.loads(text)
            row = {name: decision[name] for name in _DECISION}
            asked = decision["asked"]
        except (ValueError, KeyError, TypeError) as error:
            expected = "expected a decision as `python -m serving export --asked` writes it"
            raise PolicyLabError(f"{records}:{number}: {expected}: {error}") from error
        if row["arm"] in ARMS and asked is not None:
            found.append(row | {"account_id": asked["account_id"]})
    if not found:
        raise PolicyLabError(
            f"{records}: expected decisions in an arm, with their requests (export --asked), got "
            "none: without [control] share in policy.toml there is no control arm"
        )
    first_day = (pl.col("as_of") + "-01").str.to_date("%Y-%m-%d")
    table = pl.DataFrame(
        found,
        TRIALS | {"as_of": pl.String},
    ).with_columns(first_day)
    ordered = table.sort("decided_at")
    return ordered.unique("account_id", keep="first", maintain_order=True)


def read_outcomes(file: Path) -> pl.DataFrame:
    """Return ``account_id``, ``as_of``, ``label``, and the columns of amounts that are there."""
    table = read_outcome_table(file)
    amounts = [name for name in (EARNED, OWED) if name in table.columns]
    labels = check_labels(table.drop(amounts), file)
    read = []
    for name in amounts:
        column = table[name].cast(
            pl.Float64,
            strict=False,
        )
        if column.null_count() > table[name].null_count() or column.is_infinite().any():
            raise DataError(f"{file}: {name}: expected amounts in CNY, got others")
        read.append(column)
    return labels.select(COLUMNS).with_columns(read)


def difference_of_shares(
    one: Vector,
    other: Vector,
) -> tuple[float, float, float]:
    """The difference of two shares of 0 and 1, and its 95 % interval (Newcombe 1998, method 10).

    >>> import numpy as np
    >>> one, other = np.repeat([1.0, 0.0], [56, 14]), np.repeat([1.0, 0.0], [48, 32])
    >>> [round(value, 4) for value in difference_of_shares(one, other)]
    [0.2, 0.0524, 0.3339]
    """
    p, q = float(one.mean()), float(other.mean())
    p_low, p_high = wilson(p, len(one))
    q_low, q_high = wilson(q, len(other))
    below = math.hypot(
        p - p_low,
        q_high - q,
    )
    above = math.hypot(
        p_high - p,
        q - q_low,
    )
    return p - q, p - q - below, p - q + above


def difference_of_means(
    one: Vector,
    other: Vector,
) -> tuple[float, float, float]:
    """The difference of two means, and its 95 % interval (Welch 1947)."""
    own = [float(values.var(ddof=1)) / len(values) for values in (one, other)]
    variance = sum(own)
    difference = float(one.mean() - other.mean())
    if variance == 0:
        return difference, difference, difference
    squares = own[0] ** 2 / (len(one) - 1) + own[1] ** 2 / (len(other) - 1)
    half = float(
        student.ppf(
            _LEVEL,
            variance**2 / squares,
        )
    ) * math.sqrt(variance)
    return difference, difference - half, difference + half


def _measures(known: pl.DataFrame) -> Mapping[str, tuple[Vector, Vector]]:
    """The values of each measure: of the treated accounts, and of the control arm."""
    is_good = pl.col("label") == 0
    measures = {
        "default": _by_arm(
            known,
            pl.col("label").cast(pl.Float64),
        )
    }
    if OWED in known.columns:
        owed = pl.when(is_good).then(0.0).otherwise(pl.col(OWED))
        measures["owed_at_default"] = _by_arm(known, owed)
        measures["owed_by_defaulted"] = _by_arm(
            known.filter(~is_good),
            pl.col(OWED),
        )
    if EARNED in known.columns:
        good = known.filter(is_good & (pl.col("credit_limit") > 0))
        share = pl.col(EARNED) / pl.col("credit_limit")
        measures["earned_by_good"] = _by_arm(good, pl.col(EARNED))
        measures["earned_by_good_share"] = _by_arm(good, share)
    return measures


def _by_arm(
    accounts: pl.DataFrame,
    value: pl.Expr,
) -> tuple[Vector, Vector]:
    known = accounts.select("arm", value=value).drop_nulls()
    treated, control = (known.filter(arm=arm)["value"].to_numpy() for arm in ARMS)
    return treated, control


def _row(
    measure: str,
    treated: Vector,
    control: Vector,
) -> tuple[object, ...]:
    sizes = len(treated), len(control)
    means = [float(values.mean()) if len(values) else None for values in (treated, control)]
    if min(sizes) < _LEAST:
        return measure, *means, None, None, None, *sizes
    compare = difference_of_shares if measure == "default" else difference_of_means
    return measure, *means, *compare(treated, control), *sizes
