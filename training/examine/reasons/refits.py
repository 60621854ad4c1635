"""Would another model of the same customers state the same reasons?

Each other model has its own trees, calibration and reference populations, and the served policy and
texts.  Models with another *seed* see the same accounts; models of *accounts drawn anew* see a
bootstrap sample of them, each account with all its rows.  The latter differ as a model of other
customers would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from serving.decision.bundle import Bundle, assemble
from training.data.dataset import Source
from training.data.labels import Labelled
from training.examine.advice.other_models import resample_accounts
from training.fit.bundle import BundleConfig, FitResult, make_parts
from training.fit.config import FitConfig
from training.fit.fit import Fitted, fit
from training.fit.reason_quality import stability
from training.fit.reason_quality.checks import bundle_with_second_sample
from training.fit.reason_quality.stated import CutReasons, reasons_by_other
from training.fit.reference_population import Population, choose_populations


@dataclass(frozen=True, slots=True)
class Origin:
    """What the examined version was made from: its data, settings, and the bundle itself."""

    source: Source
    data: Labelled
    fit_config: FitConfig
    bundle_config: BundleConfig
    served: Bundle


def measure_stability(
    cuts: CutReasons,
    origin: Origin,
    redrawn: Sequence[Fitted],
    seeds: int,
) -> pl.DataFrame:
    """Return one row for each kind of change: see :func:`training.fit.reason_quality.stability`.

    ``redrawn`` are the refits number 0, 1, ... of
    :func:`training.examine.advice.other_models.fit_models`; ``seeds`` is how many models with
    another seed are fitted.
    """
    rows = []
    second = _with_second_sample(origin)
    if second is not None:
        own = [reasons_by_other(cuts, second)]
        rows.append(stability.stability_row(stability.REFERENCE, cuts.stated, own))
    rows.append(stability.stability_under_nudges(cuts))
    others = {
        stability.SEED: _with_other_seeds(origin, seeds),
        stability.REDRAWN: _of_redrawn_accounts(origin, redrawn),
    }
    for name, bundles in others.items():
        reasons = [reasons_by_other(cuts, bundle) for bundle in bundles]
        rows.append(stability.stability_row(name, cuts.stated, reasons))
    return pl.DataFrame(rows, stability.SCHEMA)


def bundle_of(fitted: Fitted, data: Labelled, origin: Origin) -> Bundle:
    """Return the bundle of another model, with reference populations from ``data``."""
    result = FitResult(fitted, data, origin.source, origin.bundle_config)
    references = _choose_references(fitted, data, origin)
    return _as_served(assemble(make_parts(result, references)), origin)


def _with_second_sample(origin: Origin) -> Bundle | None:
    # The same fit again, because a bundle does not hold the pool that its reference is from.
    fitted = fit(origin.data, origin.fit_config)
    result = FitResult(fitted, origin.data, origin.source, origin.bundle_config)
    references = _choose_references(fitted, origin.data, origin)
    other = bundle_with_second_sample(result, references)
    return None if other is None else _as_served(other, origin)


def _choose_references(
    fitted: Fitted,
    data: Labelled,
    origin: Origin,
) -> dict[str, Population]:
    size, band = origin.bundle_config.reference_size, origin.bundle_config.reference_band
    return choose_populations(data, fitted, origin.served.policy, size, band)


def _as_served(other: Bundle, origin: Origin) -> Bundle:
    """The bundle with the policy and the texts of the served one."""
    served = origin.served
    return replace(
        other,
        policy=served.policy,
        wording=served.wording,
        advice=served.advice,
    )


def _with_other_seeds(origin: Origin, seeds: int) -> Iterator[Bundle]:
    first = origin.fit_config.seed + 1
    for seed in range(first, first + seeds):
        fitted = fit(origin.data, replace(origin.fit_config, seed=seed))
        yield bundle_of(fitted, origin.data, origin)


def _of_redrawn_accounts(origin: Origin, redrawn: Sequence[Fitted]) -> Iterator[Bundle]:
    for number, fitted in enumerate(redrawn):
        # Drawn again and not kept: each sample is as large as the data.
        yield bundle_of(fitted, resample_accounts(origin.data, number), origin)
