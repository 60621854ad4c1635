"""A fitted model to a bundle: reference populations, policy, wording, golden rows."""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.decision import golden, stages
from serving.decision.bundle import Parts, Provenance, ReferenceNote, assemble, write
from serving.decision.policy import Account, apply, logit
from serving.decision.policy_file import Policy, read_policy
from serving.decision.score import probability_of
from training.data import Labelled, Source, window
from training.fit import FitError, Fitted, log_odds
from training.settings import in_ranges

LIBRARIES = ("lightgbm", "numpy", "polars")
RULE = "accounts of the product that the policy keeps, latest as_of of each, nearest below the cut-off whatever the distance"


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """What stands in a bundle beside the model."""

    name: str = "limit-reduction"  # the registered model's name
    reference_size: int = 1000  # accounts in each product's reference population
    golden_accounts: int = 8  # accounts whose exact answers travel with the bundle
    policy: str = ""  # path of a policy.toml; the project's own if empty
    reasons: str = ""  # path of a reasons.toml; the project's own if empty

    def __post_init__(self) -> None:
        in_ranges(self, reference_size=(1, 1_000_000), golden_accounts=(1, 1000))


def parts(fitted: Fitted, data: Labelled, source: Source, config: BundleConfig) -> Parts:
    """What a bundle of this model is written from, its provenance still without run and version.

    Raises :class:`FitError` where a product has too few kept accounts for a reference population.
    """
    policy_text, reasons_text = texts(config)
    policy = read_policy(policy_text)
    rows = _latest_rows(data)
    scores = log_odds(fitted, data.features.matrix(fitted.features)[rows])
    chosen = _reference_rows(data, rows, scores, policy, config.reference_size)
    reference = pl.concat([_population(product, data, rows[places], fitted) for product, places in chosen.items()])
    notes = {
        product: ReferenceNote(
            accounts=len(places),
            lowest_log_odds=float(scores[places].min()),
            highest_log_odds=float(scores[places].max()),
            rule=RULE,
        )
        for product, places in chosen.items()
    }
    return Parts(
        provenance=Provenance(config.name, "", "", source.label_definition, source.digest, library_versions()),
        features=fitted.features,
        never_missing=fitted.never_missing,
        calibration=fitted.calibration,
        reference_notes=notes,
        model_text=fitted.booster.model_to_string(),
        reference=reference,
        policy_text=policy_text,
        reasons_text=reasons_text,
    )


def write_bundle(made: Parts, fitted: Fitted, data: Labelled, source: Source, config: BundleConfig, folder: Path) -> str:
    """Write the bundle with golden rows spread over the range of the score; returns its digest.  See ``bundle.write``."""
    scores = log_odds(fitted, data.features.matrix(fitted.features))
    order = np.argsort(scores, kind="stable")
    # Evenly over log-odds, not over accounts: those would nearly all be kept.
    wanted = np.linspace(scores.min(), scores.max(), config.golden_accounts)
    picked = order[np.minimum(np.searchsorted(scores[order], wanted), len(order) - 1)]
    windows = []
    for number, row in enumerate(picked.tolist()):
        account, _, as_of = data.features.accounts.row(row)
        seen = window(source.statements.filter(pl.col("account_id") == account), as_of)
        windows.append(seen.with_columns(account_id=pl.lit(f"{number:03d}")))  # one account may be drawn at two as_ofs
    statements = pl.concat(windows)
    decided_at = _after(statements["month"].max())
    return write(made, golden.make(assemble(made), statements, decided_at, stages), folder)


def texts(config: BundleConfig) -> tuple[str, str]:
    """The policy's and the wording's text that the config names."""
    own = files("serving.decision")
    policy = Path(config.policy).read_text("utf-8") if config.policy else own.joinpath("policy.toml").read_text("utf-8")
    reasons = Path(config.reasons).read_text("utf-8") if config.reasons else own.joinpath("reasons.toml").read_text("utf-8")
    return policy, reasons


def library_versions() -> Mapping[str, str]:
    """The versions of the libraries that an answer depends on."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def _latest_rows(data: Labelled) -> NDArray[np.int64]:
    """The row of each account's latest as_of, test accounts left out."""
    table = data.features.accounts.select("account_id", "as_of").with_row_index()
    table = table.filter(pl.Series(data.split != "test"))
    return (
        table.sort("as_of", "index").unique("account_id", keep="last", maintain_order=True)["index"].to_numpy().astype(np.int64)
    )


def _reference_rows(
    data: Labelled, rows: NDArray[np.int64], scores: NDArray[np.float64], policy: Policy, size: int
) -> dict[str, NDArray[np.int64]]:
    """Product -> places in ``rows`` of its reference population."""
    products = data.features.accounts["product"].cast(pl.String).to_numpy()[rows]
    probability = probability_of(scores)
    chosen = {}
    for product in sorted(set(products.tolist())):
        below = np.flatnonzero((products == product) & (scores <= logit(policy.cut_off)))
        nearest = below[np.argsort(-scores[below], kind="stable")]
        kept: list[int] = []
        for place in nearest.tolist():
            if len(kept) == size:
                break
            if _keeps(policy, data, int(rows[place]), float(probability[place])):
                kept.append(place)
        if len(kept) < size:
            raise FitError(f"reference population of {product}: expected {size} kept accounts, got {len(kept)}")
        chosen[product] = np.sort(np.asarray(kept, dtype=np.int64))
    return chosen


def _keeps(policy: Policy, data: Labelled, row: int, probability: float) -> bool:
    _, product, as_of = data.features.accounts.row(row)
    values = dict(zip(data.features.names, data.features.values[row].tolist(), strict=True))
    return apply(Account(product, as_of, probability, values), policy, _after(as_of)).action == "keep"


def _population(product: str, data: Labelled, rows: NDArray[np.int64], fitted: Fitted) -> pl.DataFrame:
    table = pl.from_numpy(data.features.matrix(fitted.features)[rows], schema=list(fitted.features)).fill_nan(None)
    return table.select(pl.lit(product).alias("product"), *fitted.features)


def _after(month: object) -> datetime.datetime:
    """A time soon after a month's statement: the last day that every month has, noon UTC."""
    if not isinstance(month, datetime.date):
        raise TypeError(f"expected a month, got {month!r}")
    return datetime.datetime(month.year, month.month, 28, 12, tzinfo=datetime.UTC)
