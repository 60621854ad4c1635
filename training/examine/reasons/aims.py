"""The aims of the reasons, and the figures before reasons were ranked by contributions.

Before, a group's weight was the larger of its contribution and the effect of its behaviour.  The
figures are those of the review that led to the change (on 874 cut accounts with 3,193 reasons, and
on 707 cut accounts for deletion); that ranking is gone, so they cannot be measured again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from training.fit.reason_quality import deletion, sentences, stability


@dataclass(frozen=True, slots=True)
class Aims:
    """The least values aimed at, and earlier values, by the key of a row.

    ``key`` is the column that names a row, ``value`` the column that is aimed at.
    """

    key: str
    value: str
    least: Mapping[str, float]
    before: Mapping[str, float]


DELETION = Aims(
    "deleted",
    "undone",
    least={deletion.FIRST: 0.55, deletion.STATED: 0.97},
    before={deletion.FIRST: 0.28},
)
STABILITY = Aims(
    "against",
    "among_equals",
    least={stability.REFERENCE: 0.99, stability.SEED: 0.98, stability.REDRAWN: 0.90},
    before={},
)
SENTENCES = Aims(
    "measure",
    "value",
    least={
        sentences.FIRST_IS_LARGEST: 1.0,
        sentences.PUSHES: 1.0,
        sentences.NAMED_PUSHES: 1.0,
        sentences.MATERIALLY_WORSE: 1.0,
    },
    before={
        sentences.FIRST_IS_LARGEST: 1 - 579 / 874,
        sentences.PUSHES: 1 - 390 / 3193,
    },
)


def add_aims(table: pl.DataFrame, aims: Aims) -> pl.DataFrame:
    """Return the table with ``before`` (null = not measured then), ``aim`` and ``reached``.

    ``aim`` is the least value aimed at, null without one; ``reached`` is "yes" or "no".
    """
    names = table[aims.key].to_list()
    with_aims = table.with_columns(
        before=pl.Series([aims.before.get(name) for name in names], dtype=pl.Float64),
        aim=pl.Series([aims.least.get(name) for name in names], dtype=pl.Float64),
    )
    is_reached = pl.col(aims.value) >= pl.col("aim")
    answer = pl.when(is_reached).then(pl.lit("yes")).otherwise(pl.lit("no"))
    has_aim = pl.col("aim").is_not_null()
    columns = with_aims.with_columns(reached=pl.when(has_aim).then(answer))
    # The earlier value stands before the present one.
    order = [name for name in columns.columns if name != "before"]
    order.insert(order.index(aims.value), "before")
    return columns.select(order if aims.before else [n for n in order if n != "before"])
