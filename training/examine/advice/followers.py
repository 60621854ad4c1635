"""Tables of what the served decision answered to those who follow their plan, and who carry on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from features.types import Mask
from training.evaluate.metrics import wilson_clustered
from training.examine.advice.follow import (
    AS_CUSTOMERS_DO,
    CARRY_ON,
    Conduct,
    FollowedPlans,
    follow_plans,
)
from training.examine.truth.cut_accounts import CutAccounts

PLAN, UNSHOCKED = "plan", "plan, no shock"
KEEPS_ON, EXACTLY, CARRIES_ON = "plan, and on with it", "exactly the plan", "carry on"
# In fewer futures: each is followed for the comparison with the first.
CONDUCTS: Mapping[str, Conduct] = {
    PLAN: AS_CUSTOMERS_DO,
    KEEPS_ON: Conduct(keeps_on=True, futures=2),
    EXACTLY: Conduct(exactly=True, futures=2),
    CARRIES_ON: CARRY_ON,
}


@dataclass(frozen=True, slots=True)
class Aim:
    """What a share is to be, and what it was.

    ``before`` is the share when no decision remembered the one before: 199 and 200 promises were
    followed then.
    """

    followers: str
    measure: str
    before: float | None = None
    least: float | None = None
    most: float | None = None


AIMS = (
    Aim(PLAN, "restored", before=0 / 199, least=0.90),
    Aim(PLAN, "cut_or_proposed", before=120 / 200, most=0.02),
    Aim(KEEPS_ON, "cut_after", most=0.10),
    Aim(PLAN, "cut_after", most=0.10),
    Aim(CARRIES_ON, "restored", most=0.05),
)
# Measure -> the masks that it counts, and over which futures.
_WHILE = ("restored", "stepped", "cut_again", "proposed_again", "cut_or_proposed")
_AFTER = ("cut_after", "proposed_after", "defaulted_after")


def follow_all(cohort: CutAccounts) -> dict[str, FollowedPlans]:
    """Follow the cohort under each conduct of :data:`CONDUCTS`, by its name."""
    return {name: follow_plans(cohort, conduct) for name, conduct in CONDUCTS.items()}


def followers(followed: Mapping[str, FollowedPlans]) -> pl.DataFrame:
    """Return one row for each conduct, and one for the plan without a shock.

    - ``followers``; ``accounts`` followed; ``futures`` of them, without those ``closed``; how many
      of these were ``written_off`` before the limit came back, which is not restored
    - shares of these: ``restored``, ``stepped``, ``cut_again``, ``proposed_again``, and
      ``cut_or_proposed``, either
    - ``back``: futures in which the limit came back; shares of these: ``cut_after``,
      ``proposed_after`` and ``defaulted_after``

    Shares have 95 % intervals that count accounts; null without any.
    """
    rows = []
    for name, found in followed.items():
        rows.append(_row(name, found, np.ones_like(found.kept)))
        if name == PLAN:
            rows.append(_row(UNSHOCKED, found, ~found.shocked))
    return pl.DataFrame(rows)


def promises_kept(table: pl.DataFrame) -> pl.DataFrame:
    """Return the measures that have an aim, from the table of :func:`followers`.

    Columns: ``followers``, ``measure``, ``of`` futures, ``before`` (null = not measured then),
    ``share`` with its interval, ``aim`` in words, and ``reached``: "yes", "no" or null.
    """
    rows = []
    for aim in AIMS:
        [row] = table.filter(followers=aim.followers).to_dicts()
        share = row[aim.measure]
        rows.append(
            {
                "followers": aim.followers,
                "measure": aim.measure,
                "of": row["back" if aim.measure in _AFTER else "futures"],
                "before": aim.before,
                "share": share,
                "share_low": row[f"{aim.measure}_low"],
                "share_high": row[f"{aim.measure}_high"],
                "aim": _in_words(aim),
                "reached": _is_reached(aim, share),
            }
        )
    types = {"before": pl.Float64, "share": pl.Float64, "reached": pl.String}
    return pl.DataFrame(rows, schema_overrides=types)


def _row(name: str, found: FollowedPlans, chosen: Mask) -> dict[str, object]:
    of = chosen & ~found.closed & found.asked
    back = of & found.kept
    row: dict[str, object] = {
        "followers": name,
        "accounts": int(of.any(axis=0).sum()),
        "futures": int(of.sum()),
        "closed": int((chosen & found.closed).sum()),
        "written_off": int((of & found.written_off).sum()),
    }
    masks = {
        "restored": found.kept,
        "stepped": found.stepped,
        "cut_again": found.cut_again,
        "proposed_again": found.proposed_again,
        "cut_or_proposed": found.cut_again | found.proposed_again,
    }
    for measure in _WHILE:
        row |= share_with_interval(measure, masks[measure], of)
    row["back"] = int(back.sum())
    for measure in _AFTER:
        row |= share_with_interval(measure, getattr(found, measure), back)
    return row


def share_with_interval(name: str, hits: Mask, of: Mask) -> dict[str, float | None]:
    """The share of the futures ``of`` that are ``hits``, and its 95 % interval; null without any.

    The keys are ``name``, and ``name`` with ``_low`` and ``_high``.
    """
    keys = (name, f"{name}_low", f"{name}_high")
    if not of.any():
        return dict.fromkeys(keys)
    _, owner = np.nonzero(of)
    counted = hits[of].astype(np.float64)
    # The futures of one account are not independent.
    low, high = wilson_clustered(counted, owner)
    return dict(zip(keys, (float(counted.mean()), low, high), strict=True))


def _in_words(aim: Aim) -> str:
    if aim.least is not None:
        return f"at least {aim.least:.0%}"
    return f"at most {aim.most:.0%}"


def _is_reached(aim: Aim, share: float | None) -> str | None:
    if share is None:
        return None
    is_enough = aim.least is None or share >= aim.least
    is_little = aim.most is None or share <= aim.most
    return "yes" if is_enough and is_little else "no"
