"""Do the reasons name the true causes?

The true effect of a reason group is counterfactual: the account's last twelve months are replayed
with its own random draws and the group's driver at the level of the reference population
(:mod:`training.examine.truth.drivers`).  The effect is the decrease of the probability of default,
over many futures with common random numbers.  A group is a *cause* for an account if its effect is
above twice its standard error.  Accounts without a cause are counted and left out of the rates.

The served reasons are compared with baselines: reasons from the exact contributions alone, from
LightGBM's path-dependent contributions, from the gain of the whole model, and in random order.  Two
bounds exist only in a simulation.  ``relived_by_simulator`` bounds what the served model can
explain: its effects, with the year replayed by the mechanism.  ``trained_on_truth`` bounds what the
statements can explain: a forest trained on the true causes of other accounts.

``hidden`` is the effect of income losses, which statements show only once the lender learns of the
lower income, and of illnesses, which they never show.  Where it is the largest, the first reason is
mostly a symptom of a cause that the lender cannot observe.
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

from features.types import Mask, Matrix, Rows, Vector
from serving.decision.reasons.ranking import sums_of
from training.evaluate.bootstrap import RESAMPLES_OF_MEANS, percentile_interval, resample_rows
from training.examine.reasons.effects import levels_of, medians_of
from training.examine.reasons.mechanism import effects_by_mechanism
from training.examine.reasons.rankings import GROUPS, Ranking, rank_groups
from training.examine.truth.cut_accounts import CutAccounts
from training.examine.truth.drivers import DRIVERS, Driver, state_without_driver
from training.examine.truth.futures import simulate_defaults, untreated
from training.examine.truth.population import LOOKBACK

MEASURES = ("top_1", "top_4", "rank_correlation")
_FOLDS = 5
_TREES = 400
_FOREST_UNKNOWN = -1.0  # stands for NaN: forests take no missing values


@dataclass(frozen=True, slots=True)
class TrueEffects:
    """True effects on the probability of default by driver; positive = the driver raised it.

    ``effect`` and ``error`` (its standard error) are float64 (accounts,).  ``halves`` is the effect
    by each half of the futures, which shows its sampling noise.
    """

    effect: Mapping[str, Vector]
    error: Mapping[str, Vector]
    halves: Mapping[str, tuple[Vector, Vector]]

    def of_groups(self) -> Matrix:
        """Return the effects of the reason groups, float64 (accounts, GROUPS)."""
        effects = [self.effect[group] for group in GROUPS]
        return np.column_stack(effects)

    def half_of_groups(self, half: int) -> Matrix:
        """Return the effects by one half of the futures, 0 or 1, float64 (accounts, GROUPS)."""
        effects = [self.halves[group][half] for group in GROUPS]
        return np.column_stack(effects)

    def is_cause(self, driver: str) -> Mask:
        """Return for which accounts a driver is a cause, bool (accounts,)."""
        return self.effect[driver] > 2 * self.error[driver]

    def have_cause(self) -> Mask:
        """Return which accounts have a cause among the reason groups, bool (accounts,)."""
        causes = [self.is_cause(group) for group in GROUPS]
        have: Mask = np.any(causes, axis=0)
        return have


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one method agrees with the causes, account by account; float64 (accounts,), NaN = n/a.

    ``top_1``: the first group is the largest cause; ``top_4``: the largest cause is among the
    groups stated; ``rank_correlation``: Spearman's, of weights and true effects.
    """

    top_1: Vector
    top_4: Vector
    rank_correlation: Vector


def simulate_effects(cohort: CutAccounts, futures: int) -> TrueEffects:
    """Replay the last year without each driver, and simulate ``futures`` futures after it."""
    population = cohort.population
    state = population.state_before.take(cohort.places)
    levels = levels_of(medians_of(cohort.bundle), cohort.products.tolist())
    config = untreated(population.config)

    def defaults_without(driver: Driver | None) -> Mask:
        replayed = state_without_driver(
            state,
            LOOKBACK,
            population.config,
            driver,
            levels,
        )
        return simulate_defaults(replayed, config, futures)

    actual = defaults_without(None).astype(np.float64)
    half = futures // 2
    effect: dict[str, Vector] = {}
    error: dict[str, Vector] = {}
    halves: dict[str, tuple[Vector, Vector]] = {}
    for driver in DRIVERS:
        # Future by future: common random numbers cancel, and the error is that of the difference.
        difference = actual - defaults_without(driver)
        effect[driver] = difference.mean(axis=0)
        error[driver] = difference.std(axis=0, ddof=1) / np.sqrt(futures)
        first_half = difference[:half].mean(axis=0)
        second_half = difference[half:].mean(axis=0)
        halves[driver] = first_half, second_half
    return TrueEffects(effect, error, halves)


def agreement_with_causes(
    cohort: CutAccounts,
    effects: TrueEffects,
    seed: int = 0,
) -> pl.DataFrame:
    """Return one row for each method of explaining, over the accounts that have a cause.

    Columns: ``explained_by``, ``accounts``, ``stated`` (reasons on average), and the means of
    ``top_1``, ``top_4`` and ``rank_correlation`` (see :class:`Agreement`) with 95 % bootstrap
    intervals over accounts.  The methods are those of
    :func:`training.examine.reasons.rankings.rank_groups`, and:

    - ``commonest``: the most frequent causes, stated to every account; needs the true causes
    - ``random``: the mean over all orders
    - ``relived_by_simulator``: the effects of :mod:`training.examine.reasons.mechanism`
    - ``trained_on_truth``: a forest trained on the true causes of other accounts
    - ``futures``: how well one half of the futures predicts the other half's largest cause, which
      shows how certain the true causes are
    """
    members = effects.have_cause()
    rankings = rank_groups(cohort)
    rows: list[dict[str, object]] = []
    for name, agreement in _agreements(cohort, effects, rankings).items():
        row: dict[str, object] = {
            "explained_by": name,
            "accounts": int(members.sum()),
            "stated": _mean_stated(rankings[name]) if name in rankings else None,
        }
        for measure in MEASURES:
            values: Matrix = getattr(agreement, measure)
            row |= _mean_with_interval(measure, values[members], seed)
        rows.append(row)
    return pl.DataFrame(rows)


def _mean_stated(ranking: Ranking) -> float:
    counts = [len(reasons) for reasons in ranking.stated]
    return float(np.mean(counts))


def _agreements(
    cohort: CutAccounts,
    effects: TrueEffects,
    rankings: Mapping[str, Ranking],
) -> dict[str, Agreement]:
    causes = effects.of_groups()
    largest = np.array(GROUPS)[np.argmax(causes, axis=1)]
    members = effects.have_cause()
    most = cohort.bundle.wording.most
    agreements = {name: _compare(ranking, causes) for name, ranking in rankings.items()}
    agreements["commonest"] = _commonest(largest, members, most)
    agreements["random"] = _random(cohort, most)
    mechanism_effects = effects_by_mechanism(cohort)
    agreements["relived_by_simulator"] = _compare_order(mechanism_effects, causes, most)
    agreements["trained_on_truth"] = _train_on_truth(cohort, largest, members, most)
    agreements["futures"] = _compare_halves(effects)
    return agreements


def _compare(ranking: Ranking, causes: Matrix) -> Agreement:
    places = np.argmax(causes, axis=1).tolist()
    largest = [GROUPS[place] for place in places]
    pairs = list(zip(ranking.stated, largest, strict=True))
    first = [reasons[:1] == (cause,) for reasons, cause in pairs]
    among = [cause in reasons for reasons, cause in pairs]
    return Agreement(
        top_1=np.array(first, dtype=np.float64),
        top_4=np.array(among, dtype=np.float64),
        rank_correlation=_correlations(ranking.weights, causes),
    )


def _compare_order(
    weights: Matrix,
    causes: Matrix,
    most: int,
) -> Agreement:
    """Compare the groups in order of weight with the causes, ``most`` of them stated."""
    order = np.argsort(-weights, axis=1, kind="stable")
    largest = np.argmax(causes, axis=1)
    hits = (order == largest[:, None]).astype(np.float64)
    return Agreement(
        top_1=hits[:, 0],
        top_4=hits[:, :most].max(axis=1),
        rank_correlation=_correlations(weights, causes),
    )


def _compare_halves(effects: TrueEffects) -> Agreement:
    one = effects.half_of_groups(0)
    other = effects.half_of_groups(1)
    same = np.argmax(one, axis=1) == np.argmax(other, axis=1)
    # A half states no reasons, so it has no top 4.
    unknown = np.full(len(one), np.nan)
    return Agreement(
        top_1=same.astype(np.float64),
        top_4=unknown,
        rank_correlation=_correlations(one, other),
    )


def _commonest(largest: NDArray[np.str_], members: Mask, most: int) -> Agreement:
    names, counts = np.unique(largest[members], return_counts=True)
    ranked = names[np.argsort(-counts, kind="stable")]
    first = np.isin(largest, ranked[:1])
    among = np.isin(largest, ranked[:most])
    return Agreement(
        top_1=first.astype(np.float64),
        top_4=among.astype(np.float64),
        rank_correlation=np.full(len(largest), np.nan),
    )


def _random(cohort: CutAccounts, most: int) -> Agreement:
    # Only groups of the model's features can be stated.
    groups = len(sums_of(dict.fromkeys(cohort.bundle.features, 0.0)))
    # Means over all orders, in closed form: drawn orders would add noise.
    every_account = np.ones(len(cohort))
    return Agreement(
        top_1=every_account / groups,
        top_4=every_account * most / groups,
        rank_correlation=every_account * 0.0,
    )


def _train_on_truth(
    cohort: CutAccounts,
    largest: NDArray[np.str_],
    members: Mask,
    most: int,
) -> Agreement:
    """Compare a forest's out-of-fold predictions of the largest cause with it."""
    first = np.full(len(members), np.nan)
    among = np.full(len(members), np.nan)
    unknown = np.full(len(members), np.nan)
    if members.sum() < _FOLDS:
        return Agreement(first, among, unknown)
    # The contributions too: a bound has to use everything that the served reasons use.
    matrix = np.column_stack([cohort.matrix, cohort.contributions])
    rows = np.nan_to_num(matrix, nan=_FOREST_UNKNOWN)[members]
    causes = largest[members].tolist()
    target = np.array([GROUPS.index(cause) for cause in causes])
    probability = _predict_out_of_fold(rows, target)
    order = np.argsort(-probability, axis=1, kind="stable")
    hits = order == target[:, None]
    first[members] = hits[:, 0]
    among[members] = hits[:, :most].any(axis=1)
    return Agreement(first, among, unknown)


def _predict_out_of_fold(rows: Matrix, target: Rows) -> Matrix:
    """The forest's probability of each group, float64 (accounts, GROUPS)."""
    forest = RandomForestClassifier(_TREES, min_samples_leaf=3, random_state=0, n_jobs=2)
    folds = KFold(_FOLDS, shuffle=True, random_state=0)
    # Groups that a fold's training rows lack rank last.
    shape = (len(rows), len(GROUPS))
    probability = np.full(shape, -1.0)
    for train, held_out in folds.split(rows):
        forest.fit(rows[train], target[train])
        cells = np.ix_(held_out, forest.classes_)
        probability[cells] = forest.predict_proba(rows[held_out])
    return probability


def symptoms(cohort: CutAccounts, effects: TrueEffects) -> pl.DataFrame:
    """Return one row for each first reason: the largest true cause of its accounts, as shares.

    Columns: ``first_reason``, ``accounts``, one column for each driver (``hidden`` included), and
    ``none``, the share without a cause.
    """
    effect = np.column_stack([effects.effect[driver] for driver in DRIVERS])
    is_cause = np.column_stack([effects.is_cause(driver) for driver in DRIVERS])
    # An effect within its error may be the largest by chance: only causes compete.
    of_causes = np.where(is_cause, effect, -np.inf)
    largest = np.array(DRIVERS)[np.argmax(of_causes, axis=1)]
    cause = np.where(is_cause.any(axis=1), largest, "none")
    decisions = [advised.decision for advised in cohort.advised]
    first = np.array([decision.reasons[0].code for decision in decisions])
    groups = {"all": np.ones(len(first), dtype=np.bool_)}
    for reason in np.unique(first).tolist():
        groups[reason] = first == reason
    rows = []
    for reason, members in groups.items():
        row: dict[str, object] = {
            "first_reason": reason,
            "accounts": int(members.sum()),
        }
        causes_of_members = cause[members]
        for driver in (*DRIVERS, "none"):
            share = (causes_of_members == driver).mean()
            row[driver] = float(share)
        rows.append(row)
    return pl.DataFrame(rows)


def mean_effects(effects: TrueEffects) -> pl.DataFrame:
    """Return one row for each driver.

    Columns: ``driver``, ``effect`` (the mean true effect) and ``share`` (of the accounts for which
    it is a cause).
    """
    rows = []
    for driver in DRIVERS:
        effect = float(effects.effect[driver].mean())
        share = float(effects.is_cause(driver).mean())
        rows.append((driver, effect, share))
    return pl.DataFrame(rows, schema=["driver", "effect", "share"], orient="row")


def _correlations(first: Matrix, second: Matrix) -> Vector:
    """Spearman's correlation of each row; 0 where a row is constant."""
    first_constant = np.ptp(first, axis=1) == 0
    second_constant = np.ptp(second, axis=1) == 0
    # spearmanr gives NaN for a constant row; an explanation without an order names no cause.
    constant = first_constant | second_constant
    correlations = np.zeros(len(first))
    for row in np.flatnonzero(~constant):
        test = spearmanr(first[row], second[row])
        correlations[row] = test.statistic
    return correlations


def _mean_with_interval(
    name: str,
    values: Matrix,
    seed: int,
) -> dict[str, float | None]:
    keys = (name, f"{name}_low", f"{name}_high")
    if np.isnan(values).all():
        return dict.fromkeys(keys)
    resamples = resample_rows(len(values), RESAMPLES_OF_MEANS, seed)
    draws = [float(values[rows].mean()) for rows in resamples]
    mean = float(values.mean())
    low, high = percentile_interval(draws)
    return dict(zip(keys, (mean, low, high), strict=True))
