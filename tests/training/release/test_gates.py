"""Each gate refuses the fault that it is for, and no other gate does.

The champion is evaluated once; versions are copies of its evaluation with numbers planted in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.types import Rows, Vector
from serving.decision.bundle import Bundle, assemble
from tests.support.each import each
from tests.support.gates import small_book_gates
from tests.support.policies import cut_more
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import Labelled, choose_as_ofs
from training.data.outcome_counts import no_outcomes
from training.evaluate.holdout import Evaluation, HoldOut, evaluate, select_hold_out
from training.evaluate.metrics import wilson
from training.fit.bundle import BundleConfig, FitResult, choose_references, make_parts
from training.fit.calibration import calibrate
from training.fit.config import FitConfig
from training.fit.fit import fit
from training.release.findings import (
    Finding,
    Findings,
    Outcome,
    make_table,
    outcome_of,
    select_refusing,
)
from training.release.gate_config import Gates, load_gates, own_gates, read_gates
from training.release.gates import (
    CHECKS,
    MIN_CUT,
    NO_CHAMPION,
    GateInput,
    check_fairness,
    check_gates,
    check_hold_out,
    check_nudges,
    check_reasons,
    check_stability,
    measure_reduction_gap,
)

GATES = read_gates(small_book_gates())


@pytest.fixture(scope="module")
def months(source: Source, simulated: Path) -> tuple[HoldOut, HoldOut]:
    """The hold-out, and its accounts in the last training month."""
    config = DataConfig()
    earlier = choose_as_ofs(source.statements["month"], config)[-2][0]
    now = select_hold_out(source, config, simulated)
    return now, select_hold_out(source, config, simulated, earlier)


@pytest.fixture(scope="module")
def champion(bundle: Bundle, months: tuple[HoldOut, HoldOut]) -> GateInput:
    """The champion as the version and as the champion."""
    return evaluate_as_both(bundle, months)


@pytest.fixture(scope="module")
def cutting_champion(bundle: Bundle, months: tuple[HoldOut, HoldOut]) -> GateInput:
    """The champion with a policy that counts no harm.

    By the project's own it cuts 40 accounts of this hold-out, by this one 289: 40 are too few to
    decide whether their reasons are the same, or whether a proxy is unfair.
    """
    return evaluate_as_both(cut_more(bundle), months)


def evaluate_as_both(bundle: Bundle, months: tuple[HoldOut, HoldOut]) -> GateInput:
    now, earlier = months
    again = evaluate("version", bundle, now)
    return GateInput(again, evaluate("version", bundle, earlier), again)


def of(found: Findings, measure: str) -> Finding:
    """The finding of that measure; the one that refuses if several have its name."""
    named = [f for findings in found.values() for f in findings if f.measure == measure]
    return min(named, key=lambda finding: finding.passed)


def with_log_odds(evaluation: Evaluation, log_odds: Vector) -> Evaluation:
    """The same decisions with other scores."""
    probability = 1.0 / (1.0 + np.exp(-log_odds))
    scores = replace(evaluation.stages.scores, log_odds=log_odds, probability=probability)
    return replace(evaluation, stages=evaluation.stages._replace(scores=scores))


def with_feature(evaluation: Evaluation, name: str, values: Vector) -> Evaluation:
    """The same decisions with other values of one feature."""
    features = evaluation.stages.features
    matrix = features.values.copy()
    matrix[:, features.names.index(name)] = values
    changed = replace(features, values=matrix)
    return replace(evaluation, stages=evaluation.stages._replace(features=changed))


def with_people(evaluation: Evaluation, **columns: Sequence[str]) -> Evaluation:
    """The same decisions about people of other groups."""
    series = {name: pl.Series(values) for name, values in columns.items()}
    people = evaluation.hold_out.people.with_columns(**series)
    return replace(evaluation, hold_out=replace(evaluation.hold_out, people=people))


def with_table_lines(evaluation: Evaluation, factor: int) -> Evaluation:
    """The same decisions by a model whose tables are ``factor`` times as long."""
    scorer = evaluation.bundle.scorer
    explainers = {}
    for product, explainer in scorer.explainers.items():
        layout = replace(explainer.layout, starts=explainer.layout.starts * factor)
        explainers[product] = replace(explainer, layout=layout)
    bundle = replace(evaluation.bundle, scorer=replace(scorer, explainers=explainers))
    return replace(evaluation, bundle=bundle)


def test_every_table_of_the_file_has_a_check() -> None:
    assert list(CHECKS) == [field.name for field in fields(Gates)]


def test_an_honest_refit_passes_every_gate(
    data: Labelled, source: Source, cutting_champion: GateInput, months: tuple[HoldOut, HoldOut]
) -> None:
    """The one real version here: fitted, bundled and evaluated."""
    fitted = fit(data, FitConfig(trees=80, min_leaf=30, seed=5))
    config = BundleConfig(reference_size=300)
    references = choose_references(fitted, data, config)
    version = cut_more(assemble(make_parts(FitResult(fitted, data, source, config), references)))
    now, earlier = (evaluate("version", version, on) for on in months)
    found = check_gates(GateInput(now, earlier, cutting_champion.champion), GATES)
    assert select_refusing(found) == ()
    assert list(found) == list(CHECKS)
    for findings in each(found.values()):
        assert all(finding.estimate.value is not None for finding in each(findings))


@pytest.mark.slow
def test_outcomes_that_nobody_saw_refuse_a_version(champion: GateInput) -> None:
    version = champion.version
    accounts = len(version.label)
    by_share = {}
    for censored in (accounts // 30, accounts // 10):
        rows = [("test", "pay_later", "observed", accounts)]
        rows.append(("test", "cash_loan", "account_left", censored))
        outcomes = pl.DataFrame(rows, no_outcomes().schema, orient="row")
        on = replace(version.hold_out, outcomes=outcomes)
        evidence = replace(champion, version=replace(version, hold_out=on))
        found = check_gates(evidence, GATES)
        by_share[censored / (accounts + censored)] = found
    few, many = by_share
    assert of(by_share[few], "share_censored").passed
    finding = of(by_share[many], "share_censored")
    assert select_refusing(by_share[many]) == ("hold_out",)
    assert finding.estimate.value == pytest.approx(many)
    # The range of the default rate is as wide as the share.
    low, high = (float(text.rstrip("%")) / 100 for text in finding.note.split()[-3::2])
    assert high - low == pytest.approx(many, abs=1e-4)
    assert low == pytest.approx(version.label.mean() * (1 - many), abs=1e-4)
    assert finding.note.startswith("account left ")


@pytest.mark.slow
def test_a_version_that_ranks_worse_is_refused_for_discrimination(champion: GateInput) -> None:
    """Noise in the log-odds, calibrated again: a model that lost a good part of its features."""
    random = np.random.default_rng(0)

    def add_noise(evaluation: Evaluation) -> Vector:
        noise: Vector = random.normal(0.0, 3.0, len(evaluation.log_odds))
        return evaluation.log_odds + noise

    now, earlier = add_noise(champion.version), add_noise(champion.earlier)
    again = calibrate(now, champion.version.label)
    found = check_gates(
        GateInput(
            with_log_odds(champion.version, again.slope * now + again.intercept),
            with_log_odds(champion.earlier, again.slope * earlier + again.intercept),
            champion.champion,
        ),
        GATES,
    )
    assert select_refusing(found) == ("discrimination",)
    lost = of(found, "auc_lost").estimate
    assert lost.value is not None
    assert lost.low is not None
    assert lost.value > lost.low > 0
    assert of(found, "auc").passed  # it is still a model


def test_a_broken_calibration_is_refused_for_calibration(champion: GateInput) -> None:
    """Log-odds pressed to half their distance from the cut-off: the same order, another slope."""
    cut_off = champion.version.bundle.policy.cut_off("pay_later")
    centre = float(np.log(cut_off / (1.0 - cut_off)))

    def press(evaluation: Evaluation) -> Evaluation:
        return with_log_odds(evaluation, centre + 0.5 * (evaluation.log_odds - centre))

    pressed = replace(champion, version=press(champion.version), earlier=press(champion.earlier))
    found = check_gates(pressed, GATES)
    assert select_refusing(found) == ("calibration",)
    slope = of(found, "slope")
    assert slope.estimate.value == pytest.approx(2.1, abs=0.2)
    assert (slope.bound, slope.outcome) == ("<= 1.4", Outcome.FAILED)


@pytest.mark.slow
def test_an_unfair_proxy_is_refused_for_fairness(cutting_champion: GateInput) -> None:
    """A world in which the people who apply for credit elsewhere are nearly all of one gender."""
    inquiries = cutting_champion.version.stages.features.column("credit_inquiries_12")
    gender = np.where(inquiries > np.quantile(inquiries, 0.8), "female", "male")
    planted = with_people(cutting_champion.version, gender=gender.tolist())
    found = check_gates(replace(cutting_champion, version=planted), load_gates())
    # So few accounts near the cut-off do not decide the nudges.
    assert set(select_refusing(found)) - {"nudges"} == {"fairness"}
    assert outcome_of(found["nudges"]) is not Outcome.FAILED
    assert of(found, "impact_ratio gender").outcome is Outcome.FAILED
    assert of(found, "reduction_gap gender").outcome is Outcome.FAILED
    assert of(found, "impact_ratio region").passed


@pytest.mark.slow
def test_a_drifting_feature_is_refused_for_stability(champion: GateInput) -> None:
    """After the training months every customer asks for a limit once a month more often."""
    requests = champion.version.stages.features.column("limit_requests_3")
    drifted = with_feature(champion.version, "limit_requests_3", requests + 3)
    found = check_gates(replace(champion, version=drifted), GATES)
    assert select_refusing(found) == ("stability",)
    assert of(found, "feature_psi").note.startswith("limit_requests_3, ")
    assert of(found, "score_psi").passed


@pytest.mark.slow
def test_ten_times_the_tables_are_refused_for_cost(champion: GateInput) -> None:
    found = check_gates(replace(champion, version=with_table_lines(champion.version, 10)), GATES)
    assert select_refusing(found) == ("cost",)
    assert of(found, "times_champion").estimate.value == pytest.approx(10)
    assert of(found, "lines").passed


@pytest.mark.slow
def test_without_a_champion_the_comparative_measures_are_not_asked(champion: GateInput) -> None:
    found = check_gates(replace(champion, champion=None), GATES)
    assert select_refusing(found) == ()
    assert outcome_of(found["reasons"]) is Outcome.NOT_ASKED
    findings = [finding for own in each(found.values()) for finding in own]
    unasked = [finding for finding in findings if finding.outcome is Outcome.NOT_ASKED]
    assert {finding.note for finding in unasked} == {NO_CHAMPION}
    noted = {finding.measure for finding in unasked}
    assert noted == {"auc_lost", "same_first", "mix_psi", "times_champion"}


def test_a_champion_does_not_differ_from_itself(champion: GateInput) -> None:
    found = check_gates(champion, GATES)
    assert select_refusing(found) == ()
    values = {
        name: of(found, name).estimate.value
        for name in ("auc_lost", "same_first", "mix_psi", "times_champion")
    }
    assert values == {"auc_lost": 0, "same_first": 1, "mix_psi": 0, "times_champion": 1}


def test_a_hold_out_with_too_few_defaults_is_refused(champion: GateInput) -> None:
    on = champion.version.hold_out
    defaults, others = np.flatnonzero(on.label == 1)[:39], np.flatnonzero(on.label == 0)
    few = on.take(np.sort(np.concatenate([defaults, others])))
    small = replace(champion, version=replace(champion.version, hold_out=few))
    found = {"hold_out": check_hold_out(small, GATES.hold_out)}
    note = f"40 defaults would decide, 39 are here; of {len(few.label):,} accounts"
    row = ("hold_out", "defaults", 39.0, None, None, ">= 40", "not decided", note)
    assert make_table(found).rows()[0] == row
    assert select_refusing({"hold_out": check_hold_out(champion, GATES.hold_out)}) == ()


def test_reasons_of_other_accounts_are_refused_for_reasons(cutting_champion: GateInput) -> None:
    """The same decisions, each with the reasons of another account."""
    stages = cutting_champion.version.stages
    by_model = [place for place, outcome in enumerate(stages.outcomes) if outcome.by_model]
    decisions = list(stages.decisions)
    for place, other in zip(by_model, by_model[::-1], strict=True):
        decisions[place] = replace(decisions[place], reasons=stages.decisions[other].reasons)
    version = replace(cutting_champion.version, stages=stages._replace(decisions=decisions))
    found = check_reasons(replace(cutting_champion, version=version), GATES.reasons)
    outcomes = {finding.measure: finding.outcome for finding in found}
    assert outcomes == {"same_first": Outcome.FAILED, "mix_psi": Outcome.PASSED}


def test_a_knife_edge_is_refused_for_nudges(champion: GateInput) -> None:
    """A bound at 0 allows no edge at all, and whatever moves somebody is beyond it."""
    (finding,) = check_nudges(champion, GATES.nudges)
    assert finding.passed
    assert finding.estimate.value is not None
    (strict,) = check_nudges(champion, replace(GATES.nudges, max_moved=0.0))
    assert strict.outcome in (Outcome.FAILED, Outcome.NOT_DECIDED)
    assert " accounts within 1 log-odds of the cut-off" in strict.note


@pytest.mark.slow
def test_attributes_that_are_unknown_for_all_accounts_decide_nothing(
    champion: GateInput, source: Source
) -> None:
    unknown = replace(champion.version, hold_out=select_hold_out(source, DataConfig()))
    found = check_fairness(replace(champion, version=unknown), GATES.fairness)
    assert {finding.outcome for finding in each(found)} == {Outcome.NOT_DECIDED}
    assert len(found) == len(GATES.fairness.attributes)
    assert "gender is unknown for all accounts" in found[0].note
    # Whoever has none says so in the file.
    without = replace(GATES.fairness, attributes=())
    (finding,) = check_fairness(champion, without)
    assert finding.outcome is Outcome.NOT_ASKED


@pytest.mark.slow
def test_intersections_are_compared_if_the_file_says_so(champion: GateInput) -> None:
    counts = []
    for number in (1, 2, 3):
        bounds = replace(GATES.fairness, max_attributes=number)
        counts.append(len(check_fairness(champion, bounds)))
    # Two findings each: 3 attributes, 3 pairs, all three.
    assert counts == [6, 12, 14]


def take(evaluation: Evaluation, rows: Rows) -> Evaluation:
    """The same decisions on these accounts; an account that is taken again is another one."""
    places = rows.tolist()
    stages = evaluation.stages
    features, scores = stages.features, stages.scores
    taken = stages._replace(
        window=stages.window.take(rows),
        features=replace(
            features,
            accounts=features.accounts[places],
            values=features.values[rows],
        ),
        scores=replace(
            scores,
            log_odds=scores.log_odds[rows],
            probability=scores.probability[rows],
        ),
        outcomes=[stages.outcomes[place] for place in places],
        decisions=[stages.decisions[place] for place in places],
    )
    names = pl.Series([f"{number:07}" for number in range(len(rows))])
    on = evaluation.hold_out
    people = on.people[places].with_columns(account_id=names)
    book = replace(on, label=on.label[rows], people=people)
    return replace(evaluation, stages=taken, hold_out=book)


def take_book(evidence: GateInput, rows: Rows, earlier: Rows) -> GateInput:
    assert evidence.champion is not None
    return GateInput(
        version=take(evidence.version, rows),
        earlier=take(evidence.earlier, earlier),
        champion=take(evidence.champion, rows),
    )


def plant_faults(champion: GateInput) -> dict[str, GateInput]:
    """The champion's own decisions, and faults that its gates find; by the gate."""
    version = champion.version
    noise = np.random.default_rng(0).normal(0.0, 3.0, len(version.log_odds))
    inquiries = version.stages.features.column("credit_inquiries_12")
    gender = np.where(inquiries > np.quantile(inquiries, 0.8), "female", "male")
    requests = version.stages.features.column("limit_requests_3")
    planted = {
        "": version,
        "discrimination": with_log_odds(version, version.log_odds + noise),
        "calibration": with_log_odds(version, 0.4 * version.log_odds),
        "fairness": with_people(version, gender=gender.tolist()),
        "stability": with_feature(version, "limit_requests_3", requests + 3),
    }
    return {gate: replace(champion, version=fault) for gate, fault in planted.items()}


def passes(found: Findings) -> dict[tuple[str, str], bool]:
    """Whether each measure passes its bound."""
    findings = [finding for own in each(found.values()) for finding in own]
    return {(finding.measure, finding.bound): finding.passed for finding in findings}


@pytest.mark.slow
@pytest.mark.parametrize(
    "gate",
    [
        "",
        pytest.param("calibration", marks=pytest.mark.torture),
        pytest.param("discrimination", marks=pytest.mark.torture),
        pytest.param("fairness", marks=pytest.mark.torture),
        pytest.param("stability", marks=pytest.mark.torture),
    ],
)
def test_a_smaller_book_passes_no_more(
    champion: GateInput, cutting_champion: GateInput, gate: str
) -> None:
    """Books of one, two and four copies of the same accounts: only certainty differs."""
    # A proxy is unfair only to those who are cut.
    evidence = plant_faults(cutting_champion if gate == "fairness" else champion)[gate]
    rows = np.arange(len(evidence.version.label))
    earlier = np.arange(len(evidence.earlier.label))
    smaller: dict[tuple[str, str], bool] = {}
    for copies in (1, 2, 4):
        book = take_book(evidence, np.tile(rows, copies), np.tile(earlier, copies))
        found = check_gates(book, load_gates() if gate == "fairness" else GATES)
        larger = passes(found)
        for measure in smaller:
            assert larger[measure] or not smaller[measure], (measure, copies)
        smaller = larger
    # With enough accounts the fault is found.
    if gate:
        assert outcome_of(found[gate]) is Outcome.FAILED
    else:
        assert select_refusing(found) == ()


@pytest.mark.slow
@pytest.mark.parametrize("gate", ["discrimination", "calibration", "fairness", "stability"])
def test_a_fault_does_not_pass_on_a_part_of_the_book(
    champion: GateInput, cutting_champion: GateInput, gate: str
) -> None:
    evidence = plant_faults(cutting_champion if gate == "fairness" else champion)[gate]
    random = np.random.default_rng(1)
    outcomes = []
    for share in (2, 8, 32):
        rows = random.permutation(len(evidence.version.label))
        earlier = random.permutation(len(evidence.earlier.label))
        part = take_book(
            evidence,
            np.sort(rows[: len(rows) // share]),
            np.sort(earlier[: len(earlier) // share]),
        )
        outcomes.append(outcome_of(check_gates(part, GATES)[gate]))
    assert set(outcomes) <= {Outcome.FAILED, Outcome.NOT_DECIDED}
    # The control: what refuses only a whole interval beyond the bound passes the smallest book.
    assert outcomes[-1] is Outcome.NOT_DECIDED or gate in ("fairness", "stability")


def test_few_accounts_are_decided_by_no_gate_that_needs_them(champion: GateInput) -> None:
    rows = np.arange(0, len(champion.version.label), 40)
    part = take_book(champion, rows, np.arange(0, len(champion.earlier.label), 40))
    found = check_gates(part, GATES)
    undecided = {gate for gate, own in found.items() if outcome_of(own) is Outcome.NOT_DECIDED}
    assert undecided >= {"hold_out", "discrimination", "calibration", "fairness", "reasons"}
    note = of(found, "same_first").note
    assert note.startswith(f"{MIN_CUT} accounts that both models cut would decide, ")


@pytest.mark.slow
def test_no_file_of_gates_decides_without_an_interval(champion: GateInput) -> None:
    """Of 20 defaults, or of 20 accounts without one, the intervals are unknown."""
    lower = read_gates(small_book_gates().replace("min_defaults = 40", "min_defaults = 1"))
    label = champion.version.label
    expected = {1.0: "40 defaults would decide, 20 are", 0.0: "40 accounts without a default"}
    for few, note in expected.items():
        members = np.flatnonzero(label == few)[:20]
        others = np.flatnonzero(label != few)
        rows = np.sort(np.concatenate([members, others]))
        book = take_book(champion, rows, np.arange(len(champion.earlier.label)))
        found = check_gates(book, lower)
        for gate in ("discrimination", "calibration"):
            (finding,) = found[gate]
            assert finding.outcome is Outcome.NOT_DECIDED
            assert note in finding.note


@pytest.mark.slow
def test_the_own_gates_do_not_decide_a_book_of_6000_accounts(champion: GateInput) -> None:
    found = check_gates(champion, load_gates())
    # Nearness to the cut-off leaves too few accounts to be sure about nudges too.
    assert set(select_refusing(found)) - {"nudges"} == {"fairness"}
    assert outcome_of(found["nudges"]) is not Outcome.FAILED
    open_findings = [finding for finding in found["fairness"] if not finding.passed]
    for finding in each(open_findings):
        assert finding.outcome is Outcome.NOT_DECIDED
        assert "accounts would decide" in finding.note
    # Six times as many accounts like these are decided, and the version passes.
    rows = np.tile(np.arange(len(champion.version.label)), 6)
    earlier = np.tile(np.arange(len(champion.earlier.label)), 6)
    larger = check_gates(take_book(champion, rows, earlier), load_gates())
    assert select_refusing(larger) == ()


def false_reductions(*counts: tuple[int, int]) -> pl.DataFrame:
    """A table of groups, one for each (customers cut wrongly, customers)."""
    rows: list[tuple[Any, ...]] = []
    for name, (cut, accounts) in zip("abcdef", counts, strict=False):
        rate = cut / accounts
        rows.append((name, accounts, rate, *wilson(rate, accounts)))
    ends = [f"false_reduction_{end}" for end in ("rate", "low", "high")]
    return pl.DataFrame(rows, schema=["group", "accounts", *ends], orient="row")


def test_the_interval_of_a_gap_is_newcombe_s() -> None:
    """Newcombe 1998, table II, (a): 56/70 less 48/80 is 0.2 [0.0524, 0.3339] by method 10."""
    gap = measure_reduction_gap(false_reductions((56, 70), (48, 80)))
    assert gap == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_the_interval_of_a_gap_is_wider_for_more_groups() -> None:
    two = measure_reduction_gap(false_reductions((56, 70), (48, 80)))
    three = measure_reduction_gap(false_reductions((56, 70), (48, 80), (52, 75)))
    assert three.value == pytest.approx(0.2)
    assert three.low is not None
    assert two.low is not None
    assert three.low < two.low


def test_a_single_group_has_no_gap() -> None:
    assert measure_reduction_gap(false_reductions((5, 10))) == (None, None, None)


def test_the_bound_decides(champion: GateInput) -> None:
    strict = read_gates(own_gates().replace("max_feature_psi = 0.25", "max_feature_psi = 0"))
    assert all(finding.passed for finding in each(check_stability(champion, GATES.stability)))
    outcomes = [finding.passed for finding in check_stability(champion, strict.stability)]
    assert outcomes == [True, False]
