"""How often intervals hold the truth: hold-outs drawn from populations whose measures are known.

A population is a list of accounts with their true probabilities and the scores of two models.  A
hold-out is accounts drawn from it with replacement, with outcomes drawn by their probabilities; its
expected measures are those of the whole population, exactly.  So an interval of 95 % holds the
population's measure in 95 % of the hold-outs.

``python tests/support/coverage.py`` prints the table of docs/modelling/compare_and_promote.md.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from features.types import Rows, Vector
from training.evaluate import metrics
from training.evaluate.bootstrap import Clusters, count_rows, interval_of_mean
from training.evaluate.calibration import ece, reliability
from training.evaluate.drift import psi, psi_interval
from training.evaluate.fairness import impact
from training.evaluate.metrics import MEASURES, SortedScores, discrimination
from training.evaluate.paired_tests import differences
from training.evaluate.text_tables import markdown
from training.release.gates import measure_reduction_gap

ACCOUNTS = 20_000  # of a population
CUT_OFF = 0.128

Interval = tuple[float | None, float | None]


@dataclass(frozen=True)
class Book:
    """Accounts with what is known of them.

    ``clusters`` say which rows are of one account.  Each row has its true ``chance`` of default,
    the log-odds of two models, ``first`` and ``second``, and the ``earlier`` log-odds of the first
    model; ``limit`` is what a cut takes, in CNY.
    """

    clusters: Clusters
    chance: Vector
    first: Vector
    second: Vector
    earlier: Vector
    limit: Vector

    def draw(self, accounts: int, random: np.random.Generator) -> tuple[Book, Vector]:
        """Draw so many accounts with replacement, with all of their rows, and their labels."""
        drawn = random.integers(0, self.clusters.count, accounts)
        rows = self.clusters.rows_of(drawn)
        owner = np.repeat(np.arange(accounts), self.clusters.sizes[drawn])
        # One number an account: whoever defaults in one month does in the next.
        luck = random.random(accounts)[owner]
        chance = self.chance[rows]
        label = (luck < chance).astype(np.float64)
        book = Book(
            clusters=Clusters(owner, accounts),
            chance=chance,
            first=self.first[rows],
            second=self.second[rows],
            earlier=self.earlier[rows],
            limit=self.limit[rows],
        )
        return book, label


def make_book(
    mean: float = -4.0,
    most_rows: int = 1,
    slope: float = 1.0,
    shift: float = 0.0,
    seed: int = 0,
) -> Book:
    """Return a population of :data:`ACCOUNTS`, each with 1 to ``most_rows`` rows.

    The log-odds are normal, about ``mean``.  Those of the first model are ``slope`` times the true
    ones plus ``shift``: it is calibrated by default.  Those of the second have noise.
    """
    random = np.random.default_rng(seed)
    sizes = random.integers(1, most_rows + 1, ACCOUNTS)
    owner = np.repeat(np.arange(ACCOUNTS), sizes)
    rows = len(owner)
    of_account = random.normal(mean, 1.7, ACCOUNTS)
    # An account's months differ little.
    within = random.normal(0.0, 0.2, rows) if most_rows > 1 else np.zeros(rows)
    true = of_account[owner] + within
    return Book(
        clusters=Clusters(owner, ACCOUNTS),
        chance=expit(true),
        first=shift + slope * true,
        second=true + random.normal(0.0, 0.7, rows),
        earlier=shift + slope * (0.9 * true + random.normal(0.4, 0.6, rows)),
        limit=random.lognormal(9.0, 0.8, rows),
    )


def measure_truth(book: Book) -> dict[str, float]:
    """Return the expected value of each measure of :func:`measure_intervals`."""
    first = _expected_measures(book.chance, book.first)
    second = _expected_measures(book.chance, book.second)
    truth = dict(first)
    truth["gini"] = 2.0 * first["auc"] - 1.0
    for name in MEASURES:
        truth[f"{name} difference"] = second[name] - first[name]
    truth |= _expected_calibration(book)
    truth["psi"] = psi(book.earlier, book.first)
    truth["value difference"] = float(_expected_value(book).mean())
    by_risk = np.argsort(-book.first, kind="stable")
    overall = book.chance.mean()
    for number, members in enumerate(np.array_split(by_risk, 10), start=1):
        rate = float(book.chance[members].mean())
        truth[f"rate {11 - number}"] = rate
        truth[f"lift {number}"] = rate / overall
    return truth


def measure_intervals(book: Book, label: Vector, seed: int) -> Iterator[tuple[str, Interval]]:
    """Yield the 95 % interval of each measure of a hold-out, as the project computes it."""
    first, second = expit(book.first), expit(book.second)
    owners = book.clusters
    yield from _named(discrimination(label, first, seed, owners))
    paired = differences(label, first, second, 200, seed, owners)
    for name, interval in _named(paired):
        yield f"{name} difference", interval
    yield from _named(reliability(label, book.first, 200, seed, owners))
    names = pl.Series(owners.owner)
    yield "psi", psi_interval(book.earlier, book.first, (names, names), seed)
    rates = metrics.calibration(label, first, clusters=owners)
    for number, low, high in rates.select("bin", "low", "high").iter_rows():
        yield f"rate {number}", (low, high)
    lifts = metrics.lift(label, first, clusters=owners)
    for number, low, high in lifts.select("decile", "low", "high").iter_rows():
        yield f"lift {number}", (low, high)
    if owners.single:
        yield "value difference", interval_of_mean(_value(book, label))


def stratified_intervals(book: Book, label: Vector, seed: int) -> Iterator[tuple[str, Interval]]:
    """Yield the control: percentile intervals of accounts that are drawn within each label."""
    first = SortedScores(label, expit(book.first))
    second = SortedScores(label, expit(book.second))
    strata = book.clusters.split_by_outcome(label)
    random = np.random.default_rng(seed)
    draws = []
    for _ in range(200):
        drawn = [random.choice(accounts, len(accounts)) for accounts in strata]
        times = count_rows(np.concatenate(drawn), book.clusters.count)
        counts = times[book.clusters.owner]
        of_first = first.measures(counts)
        draws.append([*of_first, *(second.measures(counts) - of_first)])
    names = [*MEASURES, *(f"{name} difference" for name in MEASURES)]
    lows, highs = np.quantile(draws, [0.025, 0.975], axis=0)
    for name, low, high in zip(names, lows, highs, strict=True):
        yield name, (float(low), float(high))


def measure_coverage(
    population: Book,
    accounts: int,
    hold_outs: int,
    intervals: Callable[[Book, Vector, int], Iterator[tuple[str, Interval]]] = measure_intervals,
) -> dict[str, float]:
    """Return the share of hold-outs of so many accounts whose interval holds the truth, by measure.

    The tenths of rate and lift are averaged.
    """
    truth = measure_truth(population)
    held: dict[str, list[bool]] = defaultdict(list)
    for seed in range(hold_outs):
        book, label = population.draw(accounts, np.random.default_rng(seed))
        for name, (low, high) in intervals(book, label, seed):
            # Of too few defaults the interval is unknown, and holds or misses nothing.
            if low is not None and high is not None:
                measure = name.rstrip(" 0123456789")
                held[measure].append(low <= truth[name] <= high)
    return {name: float(np.mean(holds)) for name, holds in held.items()}


def measure_groups(cut: Sequence[float], accounts: int, hold_outs: int) -> dict[str, float]:
    """Return the coverage of the fairness measures, for groups that are cut at these rates.

    Half of the accounts are in the first group, and the rest are in the others in equal parts.
    """
    rates = np.array(cut)
    others = len(rates) - 1
    shares = np.array([0.5, *([0.5 / others] * others)])
    kept = 1.0 - rates
    truth = {
        "impact ratio": kept.min() / kept.max(),
        "reduction gap": rates.max() - rates.min(),
    }
    held: dict[str, list[bool]] = defaultdict(list)
    for seed in range(hold_outs):
        random = np.random.default_rng(seed)
        sizes = random.multinomial(accounts, shares)
        table = _group_table(random.binomial(sizes, rates), sizes)
        ratio = impact(table).select("low", "high").row(0)
        gap = measure_reduction_gap(table)
        for name, (low, high) in {"impact ratio": ratio, "reduction gap": gap[1:]}.items():
            held[name].append(low <= truth[name] <= high)
        for rate, low, high in zip(rates, *table.select(_RATE[1:]).get_columns(), strict=True):
            held["selection rate"].append(low <= rate <= high)
    return {name: float(np.mean(holds)) for name, holds in held.items()}


_RATE = ["false_reduction_rate", "false_reduction_low", "false_reduction_high"]


def _group_table(cut: Rows, accounts: Rows) -> pl.DataFrame:
    rows = []
    for number, (of_group, size) in enumerate(zip(cut.tolist(), accounts.tolist(), strict=True)):
        rate = of_group / size
        interval = metrics.wilson(rate, size)
        rows.append(("region", f"group {number}", size, rate, rate, *interval))
    names = ["attribute", "group", "accounts", "selection_rate", *_RATE]
    return pl.DataFrame(rows, names, orient="row")


def _named(table: pl.DataFrame) -> Iterator[tuple[str, Interval]]:
    for name, low, high in table.select("measure", "low", "high").iter_rows():
        yield name, (low, high)


def _expected_measures(chance: Vector, log_odds: Vector) -> dict[str, float]:
    probability = expit(log_odds)
    ones, zeros = metrics.count_by_score(log_odds, chance, 1.0 - chance)
    squared_error = chance * (1.0 - probability) ** 2 + (1.0 - chance) * probability**2
    return {
        "auc": metrics.auc_of_counts(ones, zeros),
        "ks": metrics.ks_of_counts(ones, zeros),
        "brier": float(squared_error.mean()),
        "log_loss": float(metrics.expected_log_loss(chance, log_odds).mean()),
    }


def _expected_calibration(book: Book) -> dict[str, float]:
    """Slope, intercept and calibration error where every label is known by its probability."""
    # Each row twice: as a default with its chance as weight, and as none with the rest.
    twice = np.tile(book.first, 2)[:, None]
    label = np.repeat([1.0, 0.0], len(book.first))
    weight = np.concatenate([book.chance, 1.0 - book.chance])
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    fitted = model.fit(twice, label, sample_weight=weight)

    def gap(intercept: float) -> float:
        return float(np.mean(book.chance - expit(book.first + intercept)))

    return {
        "slope": float(fitted.coef_[0, 0]),
        "intercept": float(brentq(gap, -5.0, 5.0)),
        "ece": ece(book.chance, expit(book.first)),
    }


def _value(book: Book, label: Vector) -> Vector:
    """What the second model's cuts are worth more than the first's, by account, in CNY."""
    cut_more = (expit(book.second) > CUT_OFF) * 1.0 - (expit(book.first) > CUT_OFF)
    worth = label * 0.6 - (1.0 - label) * 0.09
    gain: Vector = cut_more * worth * book.limit
    return gain


def _expected_value(book: Book) -> Vector:
    defaulted = _value(book, np.ones(len(book.chance)))
    stayed_good = _value(book, np.zeros(len(book.chance)))
    expected: Vector = book.chance * defaulted + (1.0 - book.chance) * stayed_good
    return expected


@dataclass(frozen=True)
class Case:
    """A population, and how many accounts a hold-out has."""

    population: Book
    accounts: int


def make_cases() -> dict[str, Case]:
    """Return the cases of the table by name; the rate of default is 0.05."""
    return {
        "calibrated": Case(make_book(), 1500),
        "not calibrated": Case(make_book(slope=0.75, shift=0.3), 1500),
        "50 defaults": Case(make_book(), 1000),
        "several rows": Case(make_book(most_rows=5), 1500),
    }


def make_table(hold_outs: int) -> pl.DataFrame:
    """Return one row a measure with its coverage in each case, in per cent, one decimal.

    The last column is the control, of the first case: accounts drawn within each label.
    """
    shares = {}
    for name, case in make_cases().items():
        shares[name] = measure_coverage(case.population, case.accounts, hold_outs)
    # Rates that differ little between groups, of as many accounts as the demo's hold-out.
    shares["calibrated"] |= measure_groups([0.10, 0.07], 4700, hold_outs)
    first = make_cases()["calibrated"]
    shares["within labels"] = measure_coverage(
        first.population, first.accounts, hold_outs, stratified_intervals
    )
    rows = []
    for measure in shares["calibrated"]:
        row: dict[str, object] = {"measure": measure}
        for name, by_measure in shares.items():
            share = by_measure.get(measure)
            row[name] = None if share is None else f"{100 * share:.1f}"
        rows.append(row)
    return pl.DataFrame(rows)


if __name__ == "__main__":
    print(markdown(make_table(int(sys.argv[1]) if len(sys.argv) > 1 else 400)))
