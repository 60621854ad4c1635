"""Which outcomes were observed: statements may end before the outcome window does.

An account's statements end where it was sold, where its feed ended, or where it was closed or
written off; those of a product end where the data do.  A month that nobody saw is no good month.

Conventions: a window is the months after ``as_of`` up to ``as_of`` + horizon.  ``statements`` are
in the canonical form of :mod:`features.schema`: sorted, without gaps.

The outcome of a row is one of :data:`OUTCOMES`:

``observed``
    The window was seen whole, or a default was seen in it.
``closed``
    The account left owing nothing, so it cannot become past due: no default.  It counts as closed
    only if no account that owed something left its product in the same month, because a sale, or a
    feed that ends, takes accounts that owe something too.
``account_left``
    Censored: the account's last statement is before the end of the window, the product goes on.
``product_ended``
    Censored: the window goes beyond the end of the product's observation.  All rows of such a
    window are censored, with a default seen or not: with the seen ones alone, every account of the
    product would have defaulted.

Censored rows are left out, or represented by others with weights (``DataConfig.unobserved``).
Leaving out is exact for ``product_ended``, which depends on no account.  For ``account_left`` it is
too high, by half the share of accounts that leave if they leave at random: their defaults are seen
up to the month in which they leave.  Weights correct that; nothing corrects for accounts that leave
because they are about to default.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.months import add_months, month_index
from features.types import Vector
from training.data.config import DataError

OBSERVED = "observed"
CLOSED = "closed"
ACCOUNT_LEFT = "account_left"
PRODUCT_ENDED = "product_ended"
CENSORED = (ACCOUNT_LEFT, PRODUCT_ENDED)
OUTCOMES = (OBSERVED, CLOSED, *CENSORED)

STRAY_SHARE = 0.05  # of the accounts alive at the last observed month: fewer are strays
FEWEST = 20  # accounts: of fewer, a share says nothing
_NAMED = 3  # statements that an error names


@dataclass(frozen=True, slots=True)
class Observation:
    """How long accounts and products were observed.

    Attributes:
        accounts: One row an account: ``account_id``, ``product``, ``last`` (the month of its last
            statement), ``closed``.
        ends: The last observed month of each product.
        chances: ``product``, ``month``, ``chance``: that an account not in default in the month has
            no statement in the next one; closings do not count.
    """

    accounts: pl.DataFrame
    ends: Mapping[str, datetime.date]
    chances: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Followed:
    """Rows followed from their as_of: one entry a row.

    Attributes:
        product: The product's name.
        outcome: One of :data:`OUTCOMES`.
        months: Months of the window that were seen: up to the default, the account's last statement
            or the end of the window.
    """

    product: NDArray[np.str_]
    outcome: NDArray[np.str_]
    months: Vector

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether the outcome of a row is known."""
        censored = np.isin(self.outcome, CENSORED)
        return ~censored


def observe(statements: pl.DataFrame, default_days: int) -> Observation:
    """Return how long the accounts and products of these statements were observed.

    An account is *alive* in a month if it has a statement of that month.  It is not if that is its
    last one and in default, because an account that is written off ends no observation.  A product
    is observed up to the last month in which at least half of its accounts alive the month before
    have a statement.  Three exceptions:

    - A product's first month is observed, though nothing is known of the month before.
    - Of fewer than :data:`FEWEST` accounts alive, one that goes on is enough.
    - The month before counts for nothing if fewer are alive in it than :data:`STRAY_SHARE` of those
      alive in the latest month found to be observed: a few accounts with wrong dates, each of which
      follows itself, do not make a month.

    Raises :class:`training.data.config.DataError` for statements after the end of their product, or
    after that of all products together, naming their accounts.
    """
    account = statements["account_id"]
    stays = account == account.shift(-1)
    followed = statements.select(
        "account_id",
        pl.col("product").cast(pl.String),
        "month",
        good=pl.col("days_past_due") < default_days,
        owes=pl.col("balance") > 0,
        stays=stays.fill_null(False),  # null after the last row
    )
    by_month = _count_by_month(followed)
    ends = _find_ends(by_month)
    _refuse_strays(followed, ends)
    return Observation(
        accounts=_find_last_months(followed, by_month),
        ends=ends,
        chances=_estimate_chances(by_month),
    )


def _find_last_months(followed: pl.DataFrame, by_month: pl.DataFrame) -> pl.DataFrame:
    """Return :attr:`Observation.accounts`."""
    is_last = ~pl.col("stays")
    last = followed.filter(is_last)
    left_owing = by_month.select("product", "month", "left_owing")
    leaving = last.join(
        left_owing,
        on=("product", "month"),
        how="left",
        maintain_order="left",
    )
    owes_nothing = pl.col("good") & ~pl.col("owes")
    is_alone = pl.col("left_owing") == 0
    return leaving.select(
        "account_id",
        "product",
        last="month",
        closed=owes_nothing & is_alone,
    )


def _estimate_chances(by_month: pl.DataFrame) -> pl.DataFrame:
    """Return :attr:`Observation.chances`."""
    # In a month in which an account left owing something, those that owed nothing are no closings.
    is_sale = pl.col("left_owing") > 0
    left = pl.when(is_sale).then("left_good").otherwise(0)
    at_risk = pl.max_horizontal("good", 1)  # 1 where nobody is: nobody left either
    return by_month.select(
        "product",
        "month",
        chance=left / at_risk,
    )


def follow(
    observation: Observation,
    accounts: pl.DataFrame,
    as_of: datetime.date,
    horizon_months: int,
    default: Vector,
) -> Followed:
    """Return the outcomes of ``accounts`` (``account_id``) at ``as_of``, in their order.

    ``default`` is the months from as_of to the first default within the horizon, inf = none.
    """
    rows = accounts.select("account_id").join(
        observation.accounts,
        on="account_id",
        how="left",
        maintain_order="left",
    )
    end = add_months(as_of, horizon_months)
    ended = [name for name, last in observation.ends.items() if last < end]
    product = rows["product"].to_numpy().astype(np.str_)
    seen = _months_after(rows["last"], as_of)
    has_default = np.isfinite(default)
    is_whole = seen >= horizon_months
    # The first condition that holds decides.
    outcome = np.select(
        [
            np.isin(product, ended),
            has_default | is_whole,
            rows["closed"].to_numpy(),
        ],
        [PRODUCT_ENDED, OBSERVED, CLOSED],
        ACCOUNT_LEFT,
    )
    last_seen = np.minimum(seen, horizon_months)
    months = np.minimum(default, last_seen)
    return Followed(product, outcome, months)


def _months_after(months: pl.Series, as_of: datetime.date) -> Vector:
    # From the distinct months: an account has one of a few.
    numbers = {month: month_index(month) for month in months.unique().to_list()}
    number = months.replace_strict(numbers, return_dtype=pl.Float64)
    after = number - month_index(as_of)
    return after.to_numpy()


def observation_weights(
    observation: Observation,
    followed: Followed,
    as_of: datetime.date,
    horizon_months: int,
) -> Vector:
    """Return 1 / (the probability that a row was observed as long as it was), one a row, >= 1.

    Inverse probability of censoring weights (Robins and Finkelstein 2000, Biometrics 56) with the
    product-limit estimate of not leaving (Kaplan and Meier 1958, JASA 53), for each product and
    month.  Unbiased if leaving depends on nothing but product and month.  The weights of censored
    rows mean nothing.
    """
    stayed = np.ones(len(followed.months))
    for number in range(horizon_months):
        month = add_months(as_of, number)
        is_watched = followed.months > number
        of_month = observation.chances.filter(pl.col("month") == month)
        for product, _, chance in of_month.iter_rows():
            is_own = followed.product == product
            stayed[is_own & is_watched] *= 1.0 - chance
    # 0 only for censored rows: a row that stayed shows that the chance of leaving is below 1.
    stayed[stayed == 0.0] = 1.0
    return 1.0 / stayed


@dataclass(frozen=True, slots=True)
class _Month:
    """A month of a product: the accounts alive in it, and those of them that go on."""

    month: datetime.date
    alive: int
    staying: int


def _count_by_month(followed: pl.DataFrame) -> pl.DataFrame:
    """Return each product's months in order, with counts of accounts."""
    good, stays, owes = pl.col("good"), pl.col("stays"), pl.col("owes")
    left_good = good & ~stays
    counts = {
        "alive": stays | good,
        "staying": stays,
        "good": good,
        "left_good": left_good,
        "left_owing": left_good & owes,
    }
    sums = {}
    for name, count in counts.items():
        total = count.sum()
        sums[name] = total.cast(pl.Int64)
    keys = ("product", "month")
    by_month = followed.group_by(keys).agg(**sums)
    return by_month.sort(keys)


def _find_ends(by_month: pl.DataFrame) -> dict[str, datetime.date]:
    """Return the last observed month of each product, which is not after that of the book."""
    counts = pl.col("alive", "staying").sum()
    book = by_month.group_by("month").agg(counts)
    book_end = _last_observed(book.sort("month"))
    ends = {}
    by_product = by_month.group_by("product", maintain_order=True)
    for (product,), months in by_product:
        end = _last_observed(months)
        ends[str(product)] = min(end, book_end)
    return ends


def _last_observed(by_month: pl.DataFrame) -> datetime.date:
    counts = by_month.select("month", "alive", "staying")
    first, *later = [_Month(*row) for row in counts.iter_rows()]
    end = before = first
    for month in later:
        if _is_observed(month, before, end):
            end = month
        before = month
    return end.month


def _is_observed(month: _Month, before: _Month, end: _Month) -> bool:
    """Whether a month is observed; ``end`` is the latest one before it that is."""
    next_month = add_months(before.month, 1)
    if month.month != next_month or before.staying == 0:
        return False
    fewest = STRAY_SHARE * end.alive
    if before.alive < fewest:
        return False
    half = before.alive / 2
    return before.alive < FEWEST or before.staying >= half


def _refuse_strays(followed: pl.DataFrame, ends: Mapping[str, datetime.date]) -> None:
    end = pl.col("product").replace_strict(ends, return_dtype=pl.Date)
    late = followed.filter(pl.col("month") > end)
    if late.is_empty():
        return
    lines = []
    by_product = late.group_by("product", maintain_order=True)
    for (product,), rows in by_product:
        name = str(product)
        accounts = rows["account_id"].n_unique()
        where = _name_statements(rows)
        lines.append(
            f"{name}: expected none after {ends[name]:%Y-%m}, "
            f"got {rows.height} statement(s) of {accounts} account(s): {where}"
        )
    head = (
        "statements: some are dated after the end of their product, the last month in which at "
        "least half of its accounts still report; correct their months, or remove them"
    )
    raise DataError("\n  ".join([head, *lines]))


def _name_statements(rows: pl.DataFrame) -> str:
    """Return the first of these statements in words."""
    first = rows.select("account_id", "month").head(_NAMED)
    names = []
    for account, month in first.iter_rows():
        names.append(f"account {account} in {month:%Y-%m}")
    where = ", ".join(names)
    more = rows.height - len(names)
    if more:
        where += f" and {more} more"
    return where
