"""What the policy makes of the model: expected loss avoided against good customers cut."""

from __future__ import annotations

from training.compare.policies.figures import frontier_figure
from training.compare.policies.frontier import best_under, frontier
from training.compare.policies.page import points
from training.compare.policies.portfolio import portfolio_of
from training.evaluate.holdout import Evaluation
from training.release.report.page import Section, Shown


def policy_section(evaluated: Evaluation) -> Section:
    """The operating point on the frontier, beside the best one that cuts no more good customers."""
    served = evaluated.bundle.policy
    table = frontier(portfolio_of(evaluated), served)
    most = table.filter("operating")["good_cut"].item()
    best = best_under(table, most)
    text = (
        f"Version {served.version} of the policy cuts from a probability of {served.cut_off:.4f}: "
        f"{most:.1%} of the accounts that stayed good are cut, suspended or proposed to be. The "
        "frontier is what other cut-offs and depths would do to the same accounts, by the "
        "model's own probabilities; `python -m training policy` looks further.",
    )
    return Section(
        "Policy",
        text,
        (
            Shown(
                "A curve a depth of cut; the point is what is served.",
                frontier_figure(table, best, most),
            ),
            Shown(
                "What is served, and the best that cuts no more good customers.",
                points(table, best),
            ),
        ),
    )
