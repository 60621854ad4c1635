"""Fit, decide and explain with the recipes of docs/service/recipes.md, and print the results.

tests/docs/test_recipes.py runs this in a copy of the project that the recipes were applied to.
"""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path

import polars as pl

from serving.decision.bundle import Bundle
from serving.decision.golden import load
from serving.decision.pipeline import decide_many
from serving.decision.reasons.comparison import make_comparison
from serving.decision.reasons.ranking import Evidence, principal_reasons
from training.data import dataset
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import label_accounts, select_windows
from training.data.simulate.config import SimulationConfig
from training.data.simulate.output import write
from training.fit.bundle import BundleConfig, FitResult, make_bundle
from training.fit.config import FitConfig
from training.fit.fit import fit


def main() -> None:
    """Print the model's features, the two sentences and the rule's sentence, as JSON."""
    write(SimulationConfig(accounts=4000, seed=3), Path("sim"))
    source = dataset.load(Path("sim"))
    bundle = fit_bundle(source)
    results = {
        "features": bundle.features,
        "sentences": [sentence_for(value, bundle) for value in (0.8, math.nan)],
        "by_rule": sentences_by_rule(source, bundle)[:1],
    }
    print(json.dumps(results))


def fit_bundle(source: Source) -> Bundle:
    """A bundle of a small model on these data."""
    labelled = label_accounts(source, DataConfig())
    fitted = fit(labelled, FitConfig(trees=30))
    result = FitResult(fitted, labelled, source, BundleConfig(reference_size=200))
    make_bundle(result, Path("bundle"))
    return load(Path("bundle"))


def sentence_for(value: float, bundle: Bundle) -> str:
    """The first reason of an account for which the recipe's feature alone pushes."""
    nothing = dict.fromkeys(bundle.features, 0.0)
    quiet = nothing | {"months_observed": 24.0}
    compared = pl.DataFrame([nothing | {"cash_share_6": 0.1}])
    evidence = Evidence(
        contributions=nothing | {"cash_share_6": 1.0},
        values=quiet | {"cash_share_6": value},
        comparison=make_comparison("pay_later", compared, "drawn"),
    )
    return principal_reasons(evidence, (), True, bundle.wording)[0].text.en


def sentences_by_rule(source: Source, bundle: Bundle) -> list[str]:
    """What the recipe's rule says to pay-later customers that draw cash every month."""
    last = source.statements["month"].max()
    assert isinstance(last, datetime.date)
    pay_later = pl.col("product") == "pay_later"
    windows = select_windows(source.statements, last).with_columns(
        cash_advance=pl.when(pay_later).then(100.0).otherwise("cash_advance"),
        income=pl.lit(1500.0),
    )
    decided_at = datetime.datetime(last.year, last.month, 28, tzinfo=datetime.UTC)
    return [
        reason.text.en
        for decision in decide_many(windows, bundle, decided_at)
        if decision.product == "pay_later"
        for reason in decision.reasons
        if reason.code == "cash_every_month"
    ]


if __name__ == "__main__":
    main()
