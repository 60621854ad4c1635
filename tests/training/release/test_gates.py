"""Five models, or worlds, with something planted in them: each is refused by the gate that it is
for, and by no other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.build import Features
from features.catalogue import BY_NAME
from serving.decision.bundle import Bundle, assemble
from tests.training.conftest import shrunken
from training.data.config import DataConfig
from training.data.dataset import Source, load
from training.data.labels import Labelled, choose_as_ofs
from training.data.simulate.config import SimulationConfig
from training.data.simulate.output import write
from training.evaluate.holdout import HoldOut, evaluate, select_hold_out
from training.evaluate.metrics import wilson
from training.fit.bundle import BundleConfig, FitResult, choose_references, make_parts
from training.fit.config import FitConfig
from training.fit.fit import Fitted, fit
from training.release import gates as rules
from training.release.gate_config import load_gates, own_gates, read_gates
from training.release.gates import (
    NO_CHAMPION,
    Finding,
    GateInput,
    findings,
    reduction_gap,
    refusing,
    table,
)

GATES = load_gates()
AS_FITTED = FitConfig(trees=80, min_leaf=30)  # as the session's model, which is the champion here
Served = Callable[[Fitted], Bundle]


@pytest.fixture(scope="module")
def served(data: Labelled, source: Source) -> Served:
    config = BundleConfig(reference_size=300)

    def bundle_of(fitted: Fitted) -> Bundle:
        references = choose_references(fitted, data, config)
        return assemble(make_parts(FitResult(fitted, data, source, config), references))

    return bundle_of


@pytest.fixture(scope="module")
def months(source: Source, simulated: Path) -> tuple[HoldOut, HoldOut]:
    """The hold-out, and its accounts in the last training month."""
    return halves(source, simulated, DataConfig())


def halves(source: Source, folder: Path, config: DataConfig) -> tuple[HoldOut, HoldOut]:
    earlier = choose_as_ofs(source.statements["month"], config)[-2][0]
    return select_hold_out(source, config, folder), select_hold_out(source, config, folder, earlier)


@pytest.fixture(scope="module")
def champion(bundle: Bundle, months: tuple[HoldOut, HoldOut]) -> GateInput:
    """The champion against itself."""
    on, earlier = months
    again = evaluate("version", bundle, on)
    return GateInput(again, evaluate("version", bundle, earlier), again)


def found(
    version: Bundle, champion: Bundle | None, months: tuple[HoldOut, HoldOut]
) -> list[Finding]:
    on, earlier = months
    theirs = None if champion is None else evaluate("champion", champion, on)
    return findings(
        GateInput(evaluate("version", version, on), evaluate("version", version, earlier), theirs),
        GATES,
    )


def of(measured: list[Finding], measure: str) -> Finding:
    """The finding of that measure; the one that refuses, where one does."""
    return sorted(
        (finding for finding in measured if finding.measure == measure),
        key=lambda finding: finding.passed,
    )[0]


def test_an_honest_refit_passes_every_gate(
    data: Labelled, bundle: Bundle, served: Served, months: tuple[HoldOut, HoldOut]
) -> None:
    measured = found(served(fit(data, replace(AS_FITTED, seed=5))), bundle, months)
    assert refusing(measured) == ()
    assert all(finding.value is not None for finding in measured)


def test_shuffled_features_are_refused_for_discrimination(
    data: Labelled, bundle: Bundle, served: Served, tmp_path: Path
) -> None:
    """The stronger half of each reason group shuffled among the rows that a model is fitted on.

    Features tell much the same twice and thrice: one shuffled, or ten, cost no AUC that could be
    told from noise.  So told on another population, all of it unseen, for its size.
    """
    model = bundle.scorer.model
    gain = dict(zip(model.feature_name(), model.feature_importance("gain").tolist(), strict=True))
    groups: dict[str, list[str]] = {}
    for name in sorted(gain, key=lambda name: -gain[name]):
        groups.setdefault(BY_NAME[name].group, []).append(name)
    stronger = [name for members in groups.values() for name in members[: len(members) // 2]]
    random, fitting, values = (
        np.random.default_rng(0),
        np.flatnonzero(data.split != "test"),
        data.features.values.copy(),
    )
    for column in (data.features.names.index(name) for name in stronger):
        values[fitting, column] = values[random.permutation(fitting), column]
    shuffled = replace(data, features=Features(data.features.accounts, data.features.names, values))
    write(SimulationConfig(accounts=6000, seed=8), tmp_path / "other")
    months = halves(
        load(tmp_path / "other"), tmp_path / "other", DataConfig(test_share=0.9, valid_share=0.04)
    )
    measured = found(served(fit(shuffled, AS_FITTED)), bundle, months)
    assert refusing(measured) == ("discrimination",)
    lost = of(measured, "auc_lost")
    assert lost.value == pytest.approx(0.026, abs=0.01)
    assert lost.low is not None
    assert lost.low > 0
    assert of(measured, "auc").passed  # it is still a model


def test_a_broken_calibration_is_refused_for_calibration(
    fitted: Fitted, bundle: Bundle, served: Served, months: tuple[HoldOut, HoldOut]
) -> None:
    measured = found(served(shrunken(fitted, bundle.policy.cut_off)), bundle, months)
    assert refusing(measured) == ("calibration",)
    finding = of(measured, "slope")
    assert finding.value == pytest.approx(2.1, abs=0.2)
    assert (finding.bound, finding.passed) == ("<= 1.25", False)


def test_an_unfair_proxy_is_refused_for_fairness(
    bundle: Bundle, months: tuple[HoldOut, HoldOut]
) -> None:
    """A world in which who applies for credit elsewhere is, nearly always, of one gender: the
    feature stands for it.
    """
    on, earlier = months
    inquiries = evaluate("version", bundle, on).stages.features.matrix(("credit_inquiries_12",))[
        :, 0
    ]
    gender = np.where(inquiries > np.quantile(inquiries, 0.8), "female", "male")
    planted = replace(on, people=on.people.with_columns(gender=pl.Series(gender)))
    measured = found(bundle, bundle, (planted, earlier))
    assert refusing(measured) == ("fairness",)
    assert not of(measured, "impact_ratio gender").passed
    assert not of(measured, "reduction_gap gender").passed
    assert of(measured, "impact_ratio region").passed


def test_a_drifting_feature_is_refused_for_stability(
    bundle: Bundle, months: tuple[HoldOut, HoldOut]
) -> None:
    """After the training months everybody asks for one limit more a month: nothing that the model
    heeds.
    """
    on, earlier = months
    late = pl.col("month") > earlier.as_of
    asked = (
        pl.when(late)
        .then(pl.col("limit_requests") + 1)
        .otherwise("limit_requests")
        .cast(on.statements.schema["limit_requests"])
    )
    drifted = replace(on, statements=on.statements.with_columns(asked.alias("limit_requests")))
    measured = found(bundle, bundle, (drifted, earlier))
    assert refusing(measured) == ("stability",)
    finding = of(measured, "feature_psi")
    assert finding.note.startswith("limit_requests_")
    assert of(measured, "score_psi").passed


def test_ten_times_the_leaves_are_refused_for_cost(
    data: Labelled, served: Served, months: tuple[HoldOut, HoldOut]
) -> None:
    """Ten times the trees, each a tenth of the step: the same function, told in ten times the
    words.
    """
    small = replace(AS_FITTED, trees=25, learning_rate=0.15, stop_after=0)
    large = replace(small, trees=250, learning_rate=0.015)
    measured = found(served(fit(data, large)), served(fit(data, small)), months)
    assert refusing(measured) == ("cost",)
    times = of(measured, "times_champion")
    assert times.value == pytest.approx(10, rel=0.2)
    assert of(measured, "lines").passed


def comparative(evidence: GateInput) -> list[Finding]:
    """What the gates find that compare with the champion."""
    auc, same = (
        rules.discrimination(evidence, GATES.discrimination),
        rules.reasons(evidence, GATES.reasons),
    )
    return [*auc, *same, *rules.cost(evidence, GATES.cost)]


def test_without_a_champion_the_comparative_gates_pass_and_say_so(champion: GateInput) -> None:
    alone = replace(champion, champion=None)
    measured = comparative(alone)
    assert refusing(measured) == ()
    said = {finding.measure for finding in measured if finding.note == NO_CHAMPION}
    assert said == {"auc_lost", "same_first", "mix_psi", "times_champion"}


def test_a_champion_against_itself_differs_in_nothing(champion: GateInput) -> None:
    measured = comparative(champion)
    assert refusing(measured) == ()
    assert [
        of(measured, name).value for name in ("auc_lost", "same_first", "mix_psi", "times_champion")
    ] == [0, 1, 0, 1]


def test_a_hold_out_too_small_to_tell_is_refused(champion: GateInput) -> None:
    on = champion.version.hold_out
    few = on.take(
        np.sort(np.concatenate([np.flatnonzero(on.label == 1)[:39], np.flatnonzero(on.label == 0)]))
    )
    small = replace(champion, version=replace(champion.version, hold_out=few))
    said = f"of {len(few.label):,} accounts"
    found_small = table(rules.hold_out(small, GATES.hold_out))
    assert found_small.row(0) == (
        "hold_out",
        "defaults",
        39.0,
        None,
        None,
        ">= 40",
        "refused",
        said,
    )
    assert refusing(rules.hold_out(champion, GATES.hold_out)) == ()


def test_other_people_s_reasons_are_refused_for_reasons(champion: GateInput) -> None:
    """The same decisions, each with the reasons of another account."""
    version = champion.version
    by_model = [place for place, outcome in enumerate(version.stages.outcomes) if outcome.by_model]
    decisions = list(version.stages.decisions)
    for place, other in zip(by_model, by_model[::-1], strict=True):
        decisions[place] = replace(
            decisions[place], reasons=version.stages.decisions[other].reasons
        )
    told = replace(version, stages=version.stages._replace(decisions=decisions))
    measured = rules.reasons(replace(champion, version=told), GATES.reasons)
    assert [(finding.measure, finding.passed) for finding in measured] == [
        ("same_first", False),
        ("mix_psi", True),
    ]


def test_people_of_whom_nothing_is_known_are_no_group(champion: GateInput, source: Source) -> None:
    unknown = replace(
        champion, version=replace(champion.version, hold_out=select_hold_out(source, DataConfig()))
    )
    (finding,) = rules.fairness(unknown, GATES.fairness)
    assert (finding.passed, finding.note) == (True, "no group is known")


def test_a_gap_s_interval_is_that_of_two_rates_and_wider_for_more_groups() -> None:
    """Newcombe 1998, table II, example (a): 56/70 less 48/80 is 0.2 [0.0524, 0.3339] by method 10."""

    def groups(*counts: tuple[int, int]) -> pl.DataFrame:
        rows = [
            (name, n, k / n, *wilson(k / n, n))
            for name, (k, n) in zip("abcdef", counts, strict=False)
        ]
        names = [
            "group",
            "accounts",
            "false_reduction_rate",
            "false_reduction_low",
            "false_reduction_high",
        ]
        return pl.DataFrame(rows, schema=names, orient="row")

    two = reduction_gap(groups((56, 70), (48, 80)))
    assert two == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    three = reduction_gap(groups((56, 70), (48, 80), (52, 75)))
    assert three[0] == pytest.approx(0.2)
    assert three[1] is not None
    assert two[1] is not None
    assert three[1] < two[1]
    assert reduction_gap(groups((5, 10))) == (None, None, None)


def test_a_bound_is_what_refuses(champion: GateInput) -> None:
    strict = read_gates(own_gates().replace("max_feature_psi = 0.25", "max_feature_psi = 0"))
    assert refusing(rules.stability(champion, GATES.stability)) == ()
    assert refusing(rules.stability(champion, strict.stability)) == ("stability",)
