"""The served policy among other policies: expected loss avoided against good customers cut."""

from __future__ import annotations

from training.compare.policies.figures import frontier_figure
from training.compare.policies.frontier import best_under, frontier
from training.compare.policies.page import points
from training.compare.policies.portfolio import portfolio_of
from training.evaluate.holdout import Evaluation
from training.fit.economics.tables import economics_table
from training.release.report.model_card import describe_cut_offs
from training.release.report.page import Exhibit, Section


def policy_section(evaluation: Evaluation) -> Section:
    """Return the served policy and the best policy that cuts no more good customers."""
    served = evaluation.bundle.policy
    table = frontier(portfolio_of(evaluation), served)
    # The share that the served policy cuts is the budget of the comparison.
    good_cut = table.filter("operating")["good_cut"].item()
    best = best_under(table, good_cut)
    cut_offs = describe_cut_offs(evaluation.bundle)
    economics = economics_table(evaluation.bundle.economics)
    text = (
        f"Version {served.version} of the policy cuts from a probability of {cut_offs}. "
        f"{good_cut:.1%} of the accounts that stayed good are cut, suspended or proposed to a "
        "reviewer for a cut. The frontier shows the effect of other cut-offs and depths on the "
        "same accounts, by the model's own probabilities. `python -m training policy` compares "
        "more policies."
    )
    exhibits = (
        Exhibit(
            "Margin and credit conversion, learnt by the fit from its training rows, with 95 % "
            "intervals. Numbers in policy.toml replace them. Left out are rows that defaulted "
            "after the lender had cut their limit (cut_before), and rows without an unused limit "
            "(fully_drawn).",
            economics,
        ),
        Exhibit(
            "The curves are some of the depths of cut. The point is the served policy; the star is "
            "the best policy that cuts no more good customers, and its depth may have no curve.",
            frontier_figure(table, best, good_cut),
        ),
        Exhibit(
            "The served policy and the best policy that cuts no more good customers. accounts_cut "
            "counts the limits that are reduced or suspended, and those for which either is "
            "proposed to a reviewer.",
            points(table, best),
        ),
    )
    return Section("Policy", (text,), exhibits)
