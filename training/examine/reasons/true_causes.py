"""Do the reasons name the true causes?

The true effect of a reason group: the account's last twelve months are lived again, on its own
luck, with the group's driver at the level of the reference population
(:mod:`training.examine.truth.drivers`); the effect is by how much that lowers the probability of
the outcome, over many common futures.  A *cause* of an account is a group whose effect is above
twice its standard error; who has none among the groups is left out of the rates, and counted.

Beside the served reasons stand the same from the exact contributions alone, from LightGBM's
path-dependent ones, from the gain of the whole model, and in random order; and two that nobody
outside a simulation can have.  What the served model could tell at all: the effects with the year
lived again by the mechanism itself.  What the statements could tell at all: a forest that is
trained on the true causes and asked about accounts it has not seen.  ``hidden`` is the effect of
the income losses and illnesses that no statement shows: where it is the largest, the first reason
is a symptom that stands for a cause which nobody can see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import KFold

from features.types import Mask
from serving.decision.bundle import Bundle
from serving.decision.reasons.effects import DRIVEN, effects_by_group, levels_of
from serving.decision.reasons.ranking import principal_groups, sums_of, weights_of
from serving.decision.scoring.shapley import explain_many, path_dependent
from training.examine.reasons.mechanism import effects_by_mechanism
from training.examine.truth.cut_accounts import CutAccounts
from training.examine.truth.drivers import DRIVERS, relive
from training.examine.truth.futures import outcomes, untreated
from training.examine.truth.population import LOOKED_BACK

GROUPS = DRIVEN
_RESAMPLES = 1000
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Effects:
    """True effects on the probability of default, positive = the driver raised it.

    ``effect`` and ``error`` (its standard error) by driver, float64 (accounts,); ``halves`` the
    same effect from each half of the futures, which tells how well the futures know it.
    """

    effect: Mapping[str, NDArray[np.float64]]
    error: Mapping[str, NDArray[np.float64]]
    halves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]

    def of_groups(self) -> NDArray[np.float64]:
        """The effects of the reason groups, float64 (accounts, GROUPS)."""
        return np.column_stack([self.effect[group] for group in GROUPS])

    def caused(self) -> Mask:
        """Which accounts have a cause among the reason groups."""
        found: Mask = np.any(
            [self.effect[group] > 2 * self.error[group] for group in GROUPS], axis=0
        )
        return found


def effects(cohort: CutAccounts, futures: int) -> Effects:
    """Live the last year again under each driver, and ``futures`` futures from where it leads."""
    world = cohort.world
    before = world.before.take(cohort.places)
    levels = levels_of(cohort.bundle.medians, cohort.products.tolist())
    config = untreated(world.config)
    as_it_was = outcomes(relive(before, LOOKED_BACK, world.config, None, levels), config, futures)
    half = futures // 2
    effect: dict[str, NDArray[np.float64]] = {}
    error: dict[str, NDArray[np.float64]] = {}
    halves: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for driver in DRIVERS:
        changed = outcomes(
            relive(before, LOOKED_BACK, world.config, driver, levels), config, futures
        )
        gained = as_it_was.astype(np.float64) - changed
        effect[driver] = gained.mean(axis=0)
        error[driver] = gained.std(axis=0, ddof=1) / np.sqrt(futures)
        halves[driver] = gained[:half].mean(axis=0), gained[half:].mean(axis=0)
    return Effects(effect, error, halves)


def rankings(cohort: CutAccounts) -> dict[str, tuple[list[tuple[str, ...]], NDArray[np.float64]]]:
    """How each way of explaining ranks: name -> (the reasons stated for each account, its weights
    (accounts, GROUPS)).

    ``served``: the model's reasons, as told where no hard rule takes a place among them;
    ``contributions``: chosen alike from the exact contributions, without the effects;
    ``path_dependent``: from LightGBM's own contributions; ``gain``: the four groups with the
    largest gain in the model, for everybody alike.
    """
    bundle, names = cohort.bundle, cohort.bundle.features
    layout = next(iter(bundle.scorer.explainers.values())).layout
    own = explain_many(cohort.matrix, path_dependent(layout)) * bundle.scorer.calibration.slope
    ways = {
        "served": (cohort.contributions, cohort.effects),
        "contributions": (cohort.contributions, np.full_like(cohort.effects, np.nan)),
        "path_dependent": (own, np.full_like(cohort.effects, np.nan)),
    }
    found = {name: _ranked(*way, bundle) for name, way in ways.items()}
    gain = sums_of(
        dict(zip(names, bundle.scorer.model.feature_importance("gain").tolist(), strict=True))
    )
    first = tuple(sorted(gain, key=lambda group: -gain[group])[: bundle.wording.most])
    return found | {"gain": ([first] * len(cohort), np.tile(_of_groups(gain), (len(cohort), 1)))}


def _ranked(
    contributions: NDArray[np.float64], effects: NDArray[np.float64], bundle: Bundle
) -> tuple[list[tuple[str, ...]], NDArray[np.float64]]:
    stated, weights = [], []
    for own, driven in zip(contributions.tolist(), effects.tolist(), strict=True):
        by_feature = dict(zip(bundle.features, own, strict=True))
        did = effects_by_group(driven)
        stated.append(
            tuple(group for group, _ in principal_groups(by_feature, did, bundle.wording))
        )
        weights.append(_of_groups(weights_of(by_feature, did)))
    return stated, np.array(weights)


def _of_groups(weights: Mapping[str, float]) -> list[float]:
    return [weights.get(group, 0.0) for group in GROUPS]


def agreement_with_causes(cohort: CutAccounts, true: Effects, seed: int = 0) -> pl.DataFrame:
    """One row a way of explaining, over the accounts that have a cause, with bootstrap intervals of
    the accounts.

    ``top_1``: the first reason is the largest cause; ``top_4``: it is among the reasons stated, of
    which there are ``stated`` on average; ``rank_correlation``: Spearman's between the groups'
    weights and true effects, the mean over accounts. ``commonest``: the causes that are most
    frequent here, named to everybody, which only who knows the truth can; ``random``: what any
    order would reach on average; ``relived_by_simulator``: the effects of
    :mod:`training.examine.reasons.mechanism`; ``trained_on_truth``: the forest; ``futures``: how
    well one half of the futures foretells the other's largest cause, so how surely the truth is
    known.
    """
    members, causes = true.caused(), true.of_groups()
    largest = np.array(GROUPS)[np.argmax(causes, axis=1)]
    most = cohort.bundle.wording.most
    groups = len(sums_of(dict.fromkeys(cohort.bundle.features, 0.0)))
    hits: dict[str, tuple[NDArray[np.float64], ...]] = {}
    counts: dict[str, float] = {}
    for name, (stated, weights) in rankings(cohort).items():
        counts[name] = float(np.mean([len(reasons) for reasons in stated]))
        first = np.array(
            [reasons[:1] == (cause,) for reasons, cause in zip(stated, largest, strict=True)]
        )
        among = np.array([cause in reasons for reasons, cause in zip(stated, largest, strict=True)])
        hits[name] = (
            first.astype(np.float64),
            among.astype(np.float64),
            _correlations(weights, causes),
        )
    flat = np.ones(len(cohort))
    hits["commonest"] = _commonest(largest, members, most)
    hits["random"] = flat / groups, flat * most / groups, flat * 0.0
    hits["relived_by_simulator"] = _in_order(effects_by_mechanism(cohort), largest, causes, most)
    hits["trained_on_truth"] = _trained(cohort, largest, members, most)
    one, other = (
        np.column_stack([true.halves[group][half] for group in GROUPS]) for half in (0, 1)
    )
    same = (np.argmax(one, axis=1) == np.argmax(other, axis=1)).astype(np.float64)
    hits["futures"] = same, np.full(len(cohort), np.nan), _correlations(one, other)
    rows: list[dict[str, object]] = []
    for name, columns in hits.items():
        row: dict[str, object] = {
            "explained_by": name,
            "accounts": int(members.sum()),
            "stated": counts.get(name),
        }
        for column, values in zip(("top_1", "top_4", "rank_correlation"), columns, strict=True):
            row |= _interval(column, values[members], seed)
        rows.append(row)
    return pl.DataFrame(rows)


def _commonest(
    largest: NDArray[np.str_], members: Mask, most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Whether the most frequent largest cause is this account's, and whether one of the few most
    frequent is.
    """
    names, counts = np.unique(largest[members], return_counts=True)
    ranked = names[np.argsort(-counts, kind="stable")]
    first, among = (
        np.isin(largest, ranked[:1]).astype(np.float64),
        np.isin(largest, ranked[:most]).astype(np.float64),
    )
    return first, among, np.full(len(largest), np.nan)


def _in_order(
    weights: NDArray[np.float64], largest: NDArray[np.str_], causes: NDArray[np.float64], most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Whether the group of the largest weight is the largest cause, and whether one of the few
    largest is.
    """
    ranked = np.array(GROUPS)[np.argsort(-weights, axis=1, kind="stable")]
    hit = ranked == largest[:, None]
    return (
        hit[:, 0].astype(np.float64),
        hit[:, :most].any(axis=1).astype(np.float64),
        _correlations(weights, causes),
    )


def _trained(
    cohort: CutAccounts, largest: NDArray[np.str_], members: Mask, most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Whether a forest names the largest cause, first and among its most likely ones, out of five
    folds.
    """
    first, among, unknown = (np.full(len(members), np.nan) for _ in range(3))
    if members.sum() < _FOLDS:
        return first, among, unknown
    rows = np.nan_to_num(np.column_stack([cohort.matrix, cohort.contributions]), nan=-1.0)[members]
    forest = RandomForestClassifier(400, min_samples_leaf=3, random_state=0, n_jobs=2)
    folds = KFold(_FOLDS, shuffle=True, random_state=0)
    causes = np.array(GROUPS)
    wanted = np.array([GROUPS.index(cause) for cause in largest[members].tolist()])
    likely = np.full((len(wanted), len(causes)), -1.0)
    for train, held_out in folds.split(rows):
        forest.fit(rows[train], wanted[train])
        likely[np.ix_(held_out, forest.classes_)] = forest.predict_proba(rows[held_out])
    order = np.argsort(-likely, axis=1, kind="stable")
    first[members] = order[:, 0] == wanted
    among[members] = (order[:, :most] == wanted[:, None]).any(axis=1)
    return first, among, unknown


def symptoms(cohort: CutAccounts, true: Effects) -> pl.DataFrame:
    """One row a first reason: ``accounts`` told it, and what their largest true cause is, shares in
    one column a driver.

    ``none``: no driver's effect is above twice its standard error; ``hidden`` is counted as a
    driver here.
    """
    effect = np.column_stack([true.effect[driver] for driver in DRIVERS])
    error = np.column_stack([true.error[driver] for driver in DRIVERS])
    sure = np.where(effect > 2 * error, effect, -np.inf)
    largest = np.where(
        np.isinf(sure.max(axis=1)), "none", np.array(DRIVERS)[np.argmax(sure, axis=1)]
    )
    first = np.array([advised.decision.reasons[0].code for advised in cohort.advised])
    rows = []
    for reason in ["all", *sorted(set(first.tolist()))]:
        members = np.ones(len(first), dtype=np.bool_) if reason == "all" else first == reason
        shares = {
            driver: float((largest[members] == driver).mean()) for driver in (*DRIVERS, "none")
        }
        rows.append({"first_reason": reason, "accounts": int(members.sum())} | shares)
    return pl.DataFrame(rows)


def mean_effects(true: Effects) -> pl.DataFrame:
    """One row a driver: the mean true ``effect``, and the ``share`` of the accounts of which it is
    a cause.
    """
    return pl.DataFrame(
        [
            {
                "driver": driver,
                "effect": float(true.effect[driver].mean()),
                "share": float((true.effect[driver] > 2 * true.error[driver]).mean()),
            }
            for driver in DRIVERS
        ]
    )


def _correlations(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's correlation of each row; 0 where a row has one value only."""
    constant = (np.ptp(some, axis=1) == 0) | (np.ptp(others, axis=1) == 0)
    return np.array(
        [
            0.0 if flat else spearmanr(a, b).statistic
            for flat, a, b in zip(constant, some, others, strict=True)
        ]
    )


def _interval(name: str, values: NDArray[np.float64], seed: int) -> dict[str, float | None]:
    keys = (name, f"{name}_low", f"{name}_high")
    if np.isnan(values).all():
        return dict.fromkeys(keys)
    draws = np.random.default_rng(seed).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975]).tolist()
    return dict(zip(keys, (float(values.mean()), low, high), strict=True))
