"""Promises to accounts under review and in arrears, followed like the others."""

from __future__ import annotations

import pytest

from serving.decision.bundle import Bundle
from serving.decision.policy.dates import local_date
from tests.support.each import each
from training.examine.advice.follow import first_in_force
from training.examine.advice.other_cuts import (
    MOST,
    PAST_DUE,
    REVIEW,
    find_other_cuts,
    other_promises,
    ways_out,
)
from training.examine.truth.cut_accounts import CutAccounts
from training.examine.truth.population import Population


@pytest.fixture(scope="module")
def cohorts(examined: Population, bundle: Bundle) -> dict[str, CutAccounts]:
    return find_other_cuts(examined, bundle)


def test_a_confirmed_cut_is_in_force(cohorts: dict[str, CutAccounts]) -> None:
    cohort = cohorts[REVIEW]
    in_force = first_in_force(cohort)
    for place, advised in each(enumerate(cohort.advised)):
        decision = advised.decision
        assert decision.action in ("reduce", "suspend")
        assert in_force.limit[place] == decision.proposed_limit == decision.new_limit
        assert in_force.suspended[place] == (decision.action == "suspend")
        prior = in_force.priors[place]
        assert prior is not None
        assert prior.cuts
        assert prior.limit_before == decision.credit_limit
        assert prior.last_cut_on == local_date(decision.decided_at, cohort.bundle.policy)


def test_the_past_due_are_those_that_a_rule_suspended(cohorts: dict[str, CutAccounts]) -> None:
    cohort = cohorts[PAST_DUE]
    assert 5 < len(cohort) <= MOST
    days = cohort.population.state.days_past_due[cohort.places]
    assert (days >= 60).all()
    assert cohort.statements["account_id"].n_unique() == len(cohort)
    for advised in each(cohort.advised):
        assert advised.decision.action == "suspend"
        assert all(reason.share is None for reason in advised.decision.reasons)


def test_the_payments_lead_out_of_arrears(cohorts: dict[str, CutAccounts]) -> None:
    """The control: a twentieth less does not."""
    table = ways_out(cohorts[PAST_DUE])
    assert table["under"].to_list() == [60, 30]
    for row in each(table.iter_rows(named=True)):
        assert row["kept"] == 1.0
        assert row["less"] == 0.0
    assert table["amount"][0] < table["amount"][1]


def test_less_margin_promises_to_more(cohorts: dict[str, CutAccounts]) -> None:
    table = other_promises(cohorts)
    for kind in each((REVIEW, PAST_DUE)):
        served, bold = table.filter(kind=kind).iter_rows(named=True)
        assert served["margin"] > bold["margin"] == 0.0
        assert served["plans"] <= bold["plans"]
        assert bold["plans"] > 0
        assert bold["kept_low"] <= bold["kept"] <= bold["kept_high"]
        assert bold["accounts"] == served["accounts"] == len(cohorts[kind])


def test_without_an_account_there_is_no_row() -> None:
    assert ways_out(None).is_empty()
    assert other_promises({}).is_empty()
