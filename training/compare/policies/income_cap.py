"""The effect of a regulator's cap on limits, stated in monthly incomes."""

from __future__ import annotations

import datetime
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl

from features.types import Vector
from serving.decision.config.policy import Condition, Policy, Rule
from serving.decision.policy.outcome import apply
from training.compare.policies.frontier import PolicyLabError
from training.compare.policies.portfolio import accounts_of, limits_of
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
    "product",
    "band",
    "accounts",
    "affected",
    "share",
    "share_low",
    "share_high",
    "review",
    "limit",
    "reduction",
    "released",
)
UNKNOWN = "income unknown"


def capped(policy: Policy, multiple: float, from_month: datetime.date) -> Policy:
    """Return the policy with a cap of every limit at ``multiple`` monthly incomes.

    The cap applies from the as_of month ``from_month`` and replaces other caps in incomes.  Raises
    PolicyLabError for a multiple that is not above 0.
    """
    if not 0 < multiple < float("inf"):
        raise PolicyLabError(f"cap income multiple: expected a number above 0, got {multiple}")
    # Another cap in incomes would still bind where it is lower, and hide the effect of this one.
    other_rules = tuple(one for one in policy.rules if one.cap_of != "income")
    rule = Rule(
        code="income_multiple_cap_asked",
        cause="regulation",
        when=(Condition("income", "above", 0.0),),
        en=(
            f"A line may be at most {multiple:g} times the monthly income last known "
            f"({{value}}), which is {{cap}}."
        ),
        zh=f"额度不得超过最近已知月收入（{{value}}）的{multiple:g}倍，即{{cap}}。",
        source="the cap that the lab was asked about",
        first_month=from_month,
        cap_of="income",
        times=multiple,
    )
    return replace(policy, rules=(*other_rules, rule))


def cap_table(evaluation: Evaluation, multiple: float, from_month: datetime.date) -> pl.DataFrame:
    """Return the effect of such a cap, by product and by band of the limit in monthly incomes.

    The last row of a product is the whole product.  The served policy decides on the hold-out's
    statements at the later of its as_of and ``from_month``: the effect on today's accounts if
    nothing else changes by then.

    - ``product``, ``band``, ``accounts``
    - ``affected``: accounts whose limit would be lower than decided today, proposals to a reviewer
      included; ``share`` of the accounts with ``share_low`` and ``share_high`` (95 % Wilson)
    - ``review``: how many of these a reviewer decides
    - ``limit``: CNY, of all accounts as decided today; ``reduction``: CNY less; ``released``: CNY
      more, where this cap is wider than one in force
    """
    # Not before its first month: the rule would not apply, and the table would show no effect.
    day = max(evaluation.hold_out.as_of, from_month)
    accounts = accounts_of(evaluation, [day] * len(evaluation.label))
    served = evaluation.bundle.policy
    with_cap = capped(served, multiple, from_month)
    decided_at = soon_after(day)
    served_outcomes = [apply(account, served, decided_at) for account in accounts]
    outcomes = [apply(account, with_cap, decided_at) for account in accounts]
    before = limits_of(served_outcomes)
    after = limits_of(outcomes)
    affected = after < before
    in_review = np.array([outcome.action == "review" for outcome in outcomes])
    features = evaluation.stages.features
    limit = features.column("limit_now")
    income = features.column("income")
    table = pl.DataFrame(
        {
            "product": features.accounts["product"].cast(pl.String),
            "band": _bands(limit, income),
            "affected": affected,
            "review": affected & in_review,
            "limit": before,
            "reduction": np.maximum(before - after, 0.0),
            "released": np.maximum(after - before, 0.0),
        }
    )
    return _sum_by_band(table)


def _bands(limit: Vector, income: Vector) -> list[str]:
    # An income of 0 gives an infinite multiple, which is in the highest band.
    with np.errstate(divide="ignore", invalid="ignore"):
        multiples = limit / income
    return [UNKNOWN if np.isnan(multiple) else _band_name(multiple) for multiple in multiples]


def _band_name(multiple: float) -> str:
    return BAND_NAMES[int(np.searchsorted(BANDS, multiple, "left"))]


def _sum_by_band(table: pl.DataFrame) -> pl.DataFrame:
    bands = (*BAND_NAMES, UNKNOWN, ALL)
    order = {band: place for place, band in enumerate(bands)}
    whole_products = table.with_columns(pl.lit(ALL).alias("band"))
    everything = whole_products.with_columns(pl.lit(ALL).alias("product"))
    # Totals as further rows, so that one aggregation gives all sums.
    sums = (
        pl.concat([table, whole_products, everything])
        .group_by("product", "band")
        .agg(
            pl.len().cast(pl.Int64).alias("accounts"),
            pl.col("affected", "review").sum().cast(pl.Int64),
            pl.col("limit", "reduction", "released").sum(),
        )
        .sort(pl.col("product") == ALL, "product", pl.col("band").replace_strict(order))
    )
    counts = sums.select("affected", "accounts").iter_rows()
    ends = [wilson(affected / accounts, accounts) for affected, accounts in counts]
    with_shares = sums.with_columns(
        (pl.col("affected") / pl.col("accounts")).alias("share"),
        pl.Series("share_low", [low for low, _ in ends]),
        pl.Series("share_high", [high for _, high in ends]),
    )
    return with_shares.select(COLUMNS)
