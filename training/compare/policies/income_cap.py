"""What a regulator's cap would do: the accounts and limits that a cap on the limit in monthly
incomes would change.
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.decision.config.policy import Condition, Policy, Rule
from serving.decision.policy.outcome import apply
from training.compare.policies.frontier import PolicyLabError
from training.compare.policies.portfolio import accounts_of
from training.data.labels import soon_after
from training.evaluate.holdout import Evaluation
from training.evaluate.metrics import wilson

BANDS = (3.0, 6.0, 9.0, 12.0)  # limit in monthly incomes
BAND_NAMES = (
    f"up to {BANDS[0]:g}",
    *(f"{low:g} to {high:g}" for low, high in pairwise(BANDS)),
    f"above {BANDS[-1]:g}",
)
ALL = "all"
COLUMNS = (
    *("product", "band", "accounts", "affected", "share", "share_low", "share_high"),
    *("review", "limit", "reduction", "released"),
)
UNKNOWN = "income unknown"


def capped(policy: Policy, multiple: float, from_month: datetime.date) -> Policy:
    """The policy with a cap of every limit at ``multiple`` monthly incomes from that as_of month,
    in place of such caps.

    PolicyLabError for a multiple that is not above 0.
    """
    if not 0 < multiple < float("inf"):
        raise PolicyLabError(f"cap income multiple: expected a number above 0, got {multiple}")
    rule = Rule(
        code="income_multiple_cap_asked",
        cause="regulation",
        when=(Condition("income", "above", 0.0),),
        en=f"A line may be at most {multiple:g} times the monthly income last known ({{value}}), which is {{cap}}.",
        zh=f"额度不得超过最近已知月收入（{{value}}）的{multiple:g}倍，即{{cap}}。",
        first_month=from_month,
        cap_of="income",
        times=multiple,
    )
    others = tuple(one for one in policy.rules if one.cap_of != "income")
    return replace(policy, rules=(*others, rule))


def cap_table(evaluated: Evaluation, multiple: float, from_month: datetime.date) -> pl.DataFrame:
    """What such a cap changes, by product and band of the limit in monthly incomes; the last row of
    a product is all of it.

    Columns: ``product``, ``band``, ``accounts``, ``affected`` (whose limit would be lower than is
    decided today, proposals to a person included) with ``share``, ``share_low``, ``share_high`` (95
    % Wilson), ``review`` (of them a person decides), ``limit`` (CNY, of all accounts as decided
    today), ``reduction`` (CNY less), ``released`` (CNY more, where the cap asked for is wider than
    one in force).  Decided by the served policy on the hold-out's statements, at the later of its
    as_of and ``from_month``: what the cap would do to today's accounts if nothing else had changed
    by then.
    """
    day = max(evaluated.hold_out.as_of, from_month)
    accounts = accounts_of(evaluated, [day] * len(evaluated.label))
    changed = capped(evaluated.bundle.policy, multiple, from_month)
    today, then = (
        [apply(account, policy, soon_after(day)) for account in accounts]
        for policy in (evaluated.bundle.policy, changed)
    )
    before, after = (
        np.array(
            [
                made.new_limit if made.proposed_limit is None else made.proposed_limit
                for made in some
            ]
        )
        for some in (today, then)
    )
    features = evaluated.stages.features
    table = pl.DataFrame(
        {
            "product": features.accounts["product"].cast(pl.String),
            "band": _bands(features.column("limit_now"), features.column("income")),
            "affected": after < before,
            "review": (after < before) & np.array([made.action == "review" for made in then]),
            "limit": before,
            "reduction": np.maximum(before - after, 0.0),
            "released": np.maximum(after - before, 0.0),
        }
    )
    return _summed(table)


def _bands(limit: NDArray[np.float64], income: NDArray[np.float64]) -> list[str]:
    with np.errstate(divide="ignore", invalid="ignore"):
        multiple = limit / income
    return [
        UNKNOWN if np.isnan(m) else BAND_NAMES[int(np.searchsorted(BANDS, m, "left"))]
        for m in multiple
    ]


def _summed(table: pl.DataFrame) -> pl.DataFrame:
    order = {band: place for place, band in enumerate((*BAND_NAMES, UNKNOWN, ALL))}
    whole = pl.concat(
        [
            table,
            table.with_columns(pl.lit(ALL).alias("band")),
            table.with_columns(pl.lit(ALL).alias("band"), pl.lit(ALL).alias("product")),
        ]
    )
    summed = whole.group_by("product", "band").agg(
        pl.len().cast(pl.Int64).alias("accounts"),
        pl.col("affected", "review").sum().cast(pl.Int64),
        pl.col("limit", "reduction", "released").sum(),
    )
    ranked = summed.sort(pl.col("product") == ALL, "product", pl.col("band").replace_strict(order))
    ends = [
        wilson(hit / count, count)
        for hit, count in ranked.select("affected", "accounts").iter_rows()
    ]
    return ranked.with_columns(
        (pl.col("affected") / pl.col("accounts")).alias("share"),
        pl.Series("share_low", [low for low, _ in ends]),
        pl.Series("share_high", [high for _, high in ends]),
    ).select(COLUMNS)
