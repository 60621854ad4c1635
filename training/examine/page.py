"""The examination's tables as a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from training.evaluate.text_tables import markdown
from training.examine.truth.population import ExamineConfig, Population


@dataclass(frozen=True, slots=True)
class Examined:
    """What was examined: the model's name, version and bundle digest, and how many accounts it cuts
    in the world.
    """

    name: str
    version: str
    bundle: str
    cut: int


_HEAD = """# What was found out about the served model

`python -m training examine` wrote this page: {name}, bundle `{bundle}`, on {accounts:,} simulated accounts that it
never saw (the simulation of its data with seed {seed}, {statements:,} statements up to {as_of}; sha256 of all that was
simulated `{digest}`). It cuts the limit of {cut:,} of them. A probability is the share of {futures} futures
of an account, with the same luck for whatever is compared. Intervals are of 95 %. The simulator is a model of mechanisms
and not of any portfolio: [simulated accounts](simulation.md).
"""

SECTIONS: Mapping[str, tuple[str, str]] = {
    "validity": (
        "Does the advice come true?",
        "Each plan is followed in the simulator with the account's own shocks, in four futures. `kept`: in the "
        "promised month or the next the served decision leaves the limit from before the cut alone; "
        "`kept_unshocked`: the same where no income loss or illness struck meanwhile. `fell`: the true "
        "probability of default in the six months after the promised month is lower than after carrying on as "
        "before, under the same reduced limit; `fell_limit_back`: the same with the limit back after the plan. "
        "Who has defaulted by then counts as certain: `default_on_the_way`. See [the way back](../service/advice.md).",
    ),
    "validity_by_month": ("Kept, by the month promised", ""),
    "promises": (
        "What promises rest on",
        "The same accounts advised by other rules: with less margin, and with plans that need not go without cash and "
        "new credit. `effort` is of a plan on average, in monthly incomes. `exactly`: kept where nobody pays more than "
        "the plan tells. `with_margin`: kept where the decision, like the promise, has to clear the cut-off by the "
        "margin; the decision that is served need not.",
    ),
    "durability": (
        "Do plans outlive the model?",
        "`hold`: plans followed to the letter that another model keeps too. The challenger has 400 trees of 31 "
        "leaves; the refits are of accounts drawn anew. `as_well`: of the accounts cut, those that it cuts as "
        "well.",
    ),
    "recourse": (
        "Reasons without recourse",
        "`movable`: in some month looked ahead a plan brings the reason's contribution below what carrying on would, "
        "by at least half of what it is now; of a reason that contributes nothing by itself, the log-odds by half of its "
        "effect. `without`: accounts none of whose reasons is movable.",
    ),
    "fidelity": (
        "Do the reasons name the true causes?",
        "Over the accounts that have a cause among the reason groups: how often the first reason is the group "
        "whose driver has the largest true effect (`top_1`), how often that group is among the reasons stated "
        "(`top_4`), and the rank correlation of the groups' weights with their true effects. `served`: the reasons "
        "as told; `contributions`: chosen alike from the exact contributions alone, without the effects; "
        "`path_dependent`: from LightGBM's own. `commonest`: the most frequent causes, named to everybody. Two that "
        "nobody outside a simulation can have: `relived_by_simulator`, the effects with the year lived again by the "
        "simulator instead of the ledger, the most that effects of this model could tell; and `trained_on_truth`, a "
        "forest that has seen other accounts' true causes, the most that the statements tell. `futures`: how well one "
        "half of the futures foretells the other, so how surely the truth is known. See "
        "[reasons and causes](../service/explanations.md#reasons-and-causes).",
    ),
    "effects": (
        "What each driver does",
        "The mean true effect on the probability of default, and the share of accounts of which it is a cause. "
        "`hidden`: income losses and illnesses, which no statement shows.",
    ),
    "symptoms": (
        "What stands for what",
        "By the first reason told: the driver with the largest true effect, as shares.",
    ),
    "ceiling": (
        "What could be known at all",
        "The AUC of the simulator's own probability given the full state, and of the model: [the model](model.md#ceiling).",
    ),
    "treatment": (
        "Accounts that were cut within the outcome window",
        "Each way of taking them, against the outcome if nothing is done: "
        "[the model](model.md#accounts-that-the-lender-cut-meanwhile).",
    ),
}


# The run has all columns; of these tables a page shows the ones that a decision is made by.
FIGURES: Mapping[str, Sequence[str]] = {
    "treatment": [
        "treated", "rows", "auc_expected", "log_loss_gain", "log_loss_gain_low", "log_loss_gain_high", "intercept",
        "band_log_loss_gain", "band_log_loss_gain_low", "band_log_loss_gain_high", "band_intercept", "changed",
    ],
}  # fmt: skip


def page(
    examined: Examined, world: Population, config: ExamineConfig, tables: Mapping[str, pl.DataFrame]
) -> str:
    """The page."""
    head = _HEAD.format(
        name=f"version {examined.version} of {examined.name}",
        bundle=examined.bundle[:12],
        accounts=config.accounts,
        seed=config.seed,
        statements=world.statements.height,
        as_of=f"{world.as_of:%Y-%m}",
        digest=world.digest[:16],
        cut=examined.cut,
        futures=config.futures,
    )
    parts = [head]
    for name, (title, text) in SECTIONS.items():
        table = tables[name].select(FIGURES[name]) if name in FIGURES else tables[name]
        parts += [f"## {title}\n"] + ([f"{text}\n"] if text else []) + [markdown(table)]
    return "\n".join(parts)
