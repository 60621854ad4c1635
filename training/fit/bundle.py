"""A fitted model and its reference populations to a bundle, with policy, wording and golden rows."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.decision import golden
from serving.decision.bundle import Parts, Provenance, assemble, write
from serving.decision.config.policy import read_policy
from training.data.dataset import Source
from training.data.labels import Labelled, select_windows, soon_after
from training.fit.fit import Fitted, predict_log_odds
from training.fit.reference_population import Population, choose_populations
from training.tracking.config import check_ranges

LIBRARIES = ("lightgbm", "numpy", "polars")


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """What stands in a bundle beside the model."""

    name: str = "limit-reduction"  # the registered model's name
    reference_size: int = 1000  # accounts in each product's reference population
    reference_band: float = (
        # log-odds below the cut-off that the accounts to draw it from reach; more where they are
        # too few
        1.0
    )
    golden_accounts: int = 8  # accounts whose exact answers travel with the bundle
    policy: str = ""  # path of a policy.toml; the project's own if empty
    reasons: str = ""  # path of a reasons.toml; the project's own if empty
    advice: str = ""  # path of an advice.toml; the project's own if empty

    def __post_init__(self) -> None:
        check_ranges(
            self,
            reference_size=(1, 1_000_000),
            reference_band=(0.01, 20.0),
            golden_accounts=(1, 1000),
        )


def choose_references(
    fitted: Fitted, data: Labelled, config: BundleConfig
) -> dict[str, Population]:
    """The reference population of each product under the config's policy: see
    :func:`training.fit.reference_population.choose_populations`.
    """
    policy = read_policy(read_texts(config)[0])
    return choose_populations(data, fitted, policy, config.reference_size, config.reference_band)


def make_parts(
    fitted: Fitted,
    data: Labelled,
    source: Source,
    config: BundleConfig,
    chosen: Mapping[str, Population],
) -> Parts:
    """What a bundle of this model is written from, its provenance still without run and version."""
    policy_text, reasons_text, advice_text = read_texts(config)
    return Parts(
        provenance=Provenance(
            config.name, "", "", source.label_definition, source.digest, library_versions()
        ),
        features=fitted.features,
        never_missing=fitted.never_missing,
        calibration=fitted.calibration,
        reference_notes={product: population.note for product, population in chosen.items()},
        model_text=fitted.booster.model_to_string(),
        reference=pl.concat(
            [
                _values(product, data, population.rows, fitted)
                for product, population in chosen.items()
            ]
        ),
        policy_text=policy_text,
        reasons_text=reasons_text,
        advice_text=advice_text,
    )


def write_bundle(
    made: Parts, fitted: Fitted, data: Labelled, source: Source, config: BundleConfig, folder: Path
) -> str:
    """Write the bundle with golden rows spread over the range of the score; returns its digest.

    See ``bundle.write``.
    """
    scores = predict_log_odds(fitted, data.features.matrix(fitted.features))
    order = np.argsort(scores, kind="stable")
    # Evenly over log-odds, not over accounts: those would nearly all be kept.
    wanted = np.linspace(scores.min(), scores.max(), config.golden_accounts)
    picked = order[np.minimum(np.searchsorted(scores[order], wanted), len(order) - 1)]
    windows = []
    for number, row in enumerate(picked.tolist()):
        account, _, as_of = data.features.accounts.row(row)
        seen = select_windows(source.statements.filter(pl.col("account_id") == account), as_of)
        # one account may be drawn at two as_ofs
        windows.append(seen.with_columns(account_id=pl.lit(f"{number:03d}")))
    statements = pl.concat(windows)
    decided_at = soon_after(statements["month"].max())
    return write(made, golden.make(assemble(made), statements, decided_at), folder)


def make_bundle(
    fitted: Fitted, data: Labelled, source: Source, config: BundleConfig, folder: Path
) -> str:
    """All of it at once, for a model that no run keeps; returns the bundle's digest."""
    made = make_parts(fitted, data, source, config, choose_references(fitted, data, config))
    return write_bundle(made, fitted, data, source, config, folder)


def read_texts(config: BundleConfig) -> tuple[str, str, str]:
    """The text of the policy, of the wording and of the advice that the config names."""
    own = files("serving.decision.config")
    named = {
        "policy.toml": config.policy,
        "reasons.toml": config.reasons,
        "advice.toml": config.advice,
    }
    policy, reasons, advice = (
        Path(path).read_text("utf-8") if path else own.joinpath(name).read_text("utf-8")
        for name, path in named.items()
    )
    return policy, reasons, advice


def library_versions() -> Mapping[str, str]:
    """The versions of the libraries that an answer depends on."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def _values(product: str, data: Labelled, rows: NDArray[np.int64], fitted: Fitted) -> pl.DataFrame:
    table = pl.from_numpy(
        data.features.matrix(fitted.features)[rows], schema=list(fitted.features)
    ).fill_nan(None)
    return table.select(pl.lit(product).alias("product"), *fitted.features)
