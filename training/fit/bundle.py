"""A fitted model to the bundle that is served: reference populations, config files, golden rows."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import polars as pl

from features.display import notebook_display
from features.types import Rows
from serving.decision import golden
from serving.decision.bundle import (
    Bundle,
    BundleError,
    Parts,
    Provenance,
    assemble,
    check_rules,
    write,
)
from serving.decision.config.advice import read_advice
from serving.decision.config.economics import EconomicsError, LearntEconomics
from serving.decision.config.policy import Policy, read_policy
from serving.decision.config.reasons import read_wording
from serving.decision.config.strict_toml import ConfigError
from serving.decision.pipeline import decide_many
from serving.decision.scoring.score import logit
from training.data.dataset import Source
from training.data.labels import Labelled, select_windows, soon_after
from training.fit.config import FitError
from training.fit.economics.at_cut_off import move_to_cut_offs
from training.fit.economics.learn import learn_economics
from training.fit.fit import Fitted, predict_log_odds
from training.fit.reference_population import Population, choose_populations
from training.tracking.config import check_model_name, check_ranges
from training.tracking.defaults import MODEL

# Accounts above the lowest cut-off, among those that show an action.
MOST_LOOKED_AT = 40
LIBRARIES = ("lightgbm", "numpy", "polars")  # those that decide the bits of an answer


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """The content of a bundle next to the model.  ValueError for a field out of its range."""

    name: str = MODEL  # the registered model's name
    reference_size: int = 1000  # accounts in each product's reference population
    # log-odds below the cut-off from which its accounts are drawn; widened if they are too few
    reference_band: float = 1.0
    golden_accounts: int = 8  # accounts at least whose exact answers travel with the bundle
    policy: Path | None = None  # a policy.toml; None = the project's own
    reasons: Path | None = None  # a reasons.toml; None = the project's own
    advice: Path | None = None  # an advice.toml; None = the project's own

    def __post_init__(self) -> None:
        check_model_name(self.name, "BundleConfig.name")
        check_ranges(
            self,
            reference_size=(1, 1_000_000),
            reference_band=(0.01, 20.0),
            golden_accounts=(1, 1000),
        )


@notebook_display
@dataclass(frozen=True, slots=True)
class FitResult:
    """A fitted model with everything else that its bundle is made from."""

    fitted: Fitted
    data: Labelled
    source: Source
    config: BundleConfig


def choose_references(
    fitted: Fitted,
    data: Labelled,
    config: BundleConfig,
) -> dict[str, Population]:
    """Choose the reference population of each product under the config's policy.

    See :func:`training.fit.reference_population.choose_populations`.  Raises FitError where the
    economics of a product are neither learnt from the data nor stated by the policy.
    """
    policy = resolve_policy(data, config, fitted)
    return choose_populations(
        data,
        fitted,
        policy,
        config.reference_size,
        config.reference_band,
    )


def make_parts(result: FitResult, references: Mapping[str, Population]) -> Parts:
    """Collect the content of the bundle.  Its provenance has neither run nor version yet."""
    fitted, source = result.fitted, result.source
    policy_text, reasons_text, advice_text = read_texts(result.config)
    # Run and version are known when the model is registered, after the fit.
    provenance = Provenance(
        result.config.name,
        "",
        "",
        source.label_definition,
        source.digest,
        library_versions(),
    )
    notes, tables = {}, []
    for product, population in references.items():
        notes[product] = population.note
        tables.append(_reference_table(product, result, population.rows))
    economics = _learn(result.data, policy_text, fitted)
    return Parts(
        provenance=provenance,
        features=fitted.features,
        never_missing=fitted.never_missing,
        calibration=fitted.calibration,
        reference_notes=notes,
        model_text=fitted.booster.model_to_string(),
        reference=pl.concat(tables),
        policy_text=policy_text,
        reasons_text=reasons_text,
        advice_text=advice_text,
        economics=economics,
    )


def resolve_policy(data: Labelled, config: BundleConfig, fitted: Fitted | None = None) -> Policy:
    """Return the config's policy with the economics that the data show.

    With a model they are those at the cut-offs, as a bundle has them; without one those of all
    accounts.

    Raises FitError where those of a product are neither learnt nor stated.
    """
    text = read_texts(config)[0]
    learnt = _learn(data, text, fitted)
    policy = read_policy(text, learnt)
    products = data.features.accounts["product"].cast(pl.String)
    try:
        policy.cut_offs(products.unique().to_list())
    except EconomicsError as error:
        raise FitError(
            f"{error}; the data do not show what accounts owe when they default, so state margin "
            "and credit_conversion in [economics] of a policy.toml, and fit with --set policy=FILE"
        ) from error
    return policy


def _learn(data: Labelled, policy_text: str, fitted: Fitted | None) -> LearntEconomics:
    policy = read_policy(policy_text)
    learnt = learn_economics(data, policy.terms)
    if fitted is None or not learnt:
        return learnt
    log_odds = predict_log_odds(fitted, data.features.matrix(fitted.features))
    return move_to_cut_offs(learnt, data, log_odds, policy)


def make_golden(parts: Parts, result: FitResult) -> str:
    """Return the text of golden rows spread over the range of the score.

    Where they do not show an action of the policy, rows that do are added.

    The provenance of ``parts`` does not matter.  See :func:`serving.decision.golden.make`.
    """
    fitted, data = result.fitted, result.data
    scores = predict_log_odds(fitted, data.features.matrix(fitted.features))
    order = np.argsort(scores, kind="stable")
    # Evenly over log-odds and not over accounts: the policy keeps nearly all of those.
    wanted = np.linspace(scores.min(), scores.max(), result.config.golden_accounts)
    places = np.searchsorted(scores[order], wanted)
    picked = order[np.minimum(places, len(order) - 1)].tolist()
    bundle = assemble(parts)
    above = order[np.searchsorted(scores[order], _lowest_cut_off(bundle)) :]
    # Of the latest month, for a later one would make the others' statements old.
    months = data.features.accounts["as_of"]
    above = above[(months[above] == months[picked].max()).to_numpy()]
    others = above[:: 1 + len(above) // MOST_LOOKED_AT].tolist()
    picked += _of_other_actions(picked, others, result, bundle)
    statements = _windows(picked, result)
    return golden.make(bundle, statements, soon_after(statements["month"].max()))


def _of_other_actions(
    picked: Sequence[int],
    others: Sequence[int],
    result: FitResult,
    bundle: Bundle,
) -> list[int]:
    """The first of the other rows for each action that the picked ones do not show."""
    rows = [*picked, *others]
    windows = _windows(rows, result)
    decisions = decide_many(windows, bundle, soon_after(windows["month"].max()))
    shown, added = set(), []
    for place, decision in enumerate(decisions):
        if decision.action not in shown and place >= len(picked):
            added.append(rows[place])
        shown.add(decision.action)
    return added


def _lowest_cut_off(bundle: Bundle) -> float:
    """The lowest of the products' cut-offs, log-odds."""
    cut_offs = bundle.policy.cut_offs(bundle.comparisons)
    return float(logit(min(cut_offs.values())))


def _windows(rows: Sequence[int], result: FitResult) -> pl.DataFrame:
    """The statements of rows of the fit's data, one after the other, numbered as accounts."""
    windows = []
    for number, row in enumerate(rows):
        account, _, as_of = result.data.features.accounts.row(row)
        own = result.source.statements.filter(pl.col("account_id") == account)
        # Numbered, because two of the rows may be the same account at different as_ofs.
        golden_id = pl.lit(f"{number:03d}")
        windows.append(select_windows(own, as_of).with_columns(account_id=golden_id))
    return pl.concat(windows)


def write_bundle(parts: Parts, result: FitResult, folder: Path) -> str:
    """Write the bundle with its golden rows; return its digest.

    See :func:`serving.decision.bundle.write`.
    """
    return write(parts, make_golden(parts, result), folder)


def make_bundle(result: FitResult, folder: Path) -> str:
    """Write the bundle of a model that no run keeps; return its digest."""
    references = choose_references(result.fitted, result.data, result.config)
    return write_bundle(make_parts(result, references), result, folder)


def read_texts(config: BundleConfig) -> tuple[str, str, str]:
    """Return the texts of the config's policy.toml, reasons.toml and advice.toml."""
    own = files("serving.decision.config")

    def read(path: Path | None, name: str) -> str:
        return (own.joinpath(name) if path is None else path).read_text("utf-8")

    return (
        read(config.policy, "policy.toml"),
        read(config.reasons, "reasons.toml"),
        read(config.advice, "advice.toml"),
    )


def check_texts(config: BundleConfig) -> None:
    """Raise for a file of the config that no bundle can have, before the fit and not after it.

    Raises OSError for a file that cannot be read, ConfigError or BundleError for its content.
    """
    policy, reasons, advice = read_texts(config)
    with _named(config.policy):
        check_rules(read_policy(policy))
    with _named(config.reasons):
        read_wording(reasons)
    with _named(config.advice):
        read_advice(advice)


@contextmanager
def _named(file: Path | None) -> Iterator[None]:
    """Name the file in the errors of its reader, which knows its text only."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}" if file else str(error)) from error
    except BundleError as error:
        raise BundleError(f"{file}: {error}" if file else str(error)) from error


def library_versions() -> Mapping[str, str]:
    """Return the installed version of each library that an answer depends on."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def _reference_table(product: str, result: FitResult, rows: Rows) -> pl.DataFrame:
    """Return ``product`` and the model features of these rows; unknown values are null."""
    features = result.fitted.features
    matrix = result.data.features.matrix(features)[rows]
    table = pl.from_numpy(matrix, schema=list(features)).fill_nan(None)
    column = pl.lit(product).alias("product")
    return table.select(column, *features)
