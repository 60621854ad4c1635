"""The examination's tables as a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from training.evaluate.text_tables import markdown
from training.examine.truth.population import ExamineConfig, Population


@dataclass(frozen=True, slots=True)
class ExaminedVersion:
    """The model's name, version and bundle digest, and how many accounts it cuts."""

    name: str
    version: str
    bundle: str
    cut: int


_HEAD = """# Examination of the served model

`python -m training examine` wrote this page: {name}, bundle `{bundle}`, on {accounts:,} simulated
accounts that it never saw (the simulation of its data with seed {seed}, {statements:,} statements
up to {as_of}; sha256 of everything simulated `{digest}`). It cuts the limit of {cut:,} of them. A
probability is the share of {futures} futures of an account; everything that is compared uses the
same random numbers. Intervals are of 95 %. The simulator is a model of mechanisms, not of any
portfolio: [simulated accounts](simulation.md).
"""

# Table -> title and text of its section.
SECTIONS: Mapping[str, tuple[str, str]] = {
    "promises_kept": (
        "Is the limit back when it is promised?",
        "Every promise is followed in the simulator with the account's own shocks, in four "
        "futures. The served decision is asked every month with the prior that its own answers "
        "left, and its answers are put into force: the next statement shows the limit that the "
        "answer set, and nobody draws on a suspended account. A referral to a person changes "
        "nothing: nobody confirms it. `restored`: in the promised month or the next, the answers "
        "have brought back the promised limit, and drawings are allowed. `cut_or_proposed`: until "
        "then the limit was cut or suspended again, or that was proposed to a person. "
        "`cut_after`: of the limits that came back, those cut again within six months, in which "
        "the customers go on with the plan, or act as they would have without it. `before`: the "
        "same measured when no decision remembered the one before; the limit was back for 0 of 199 "
        "in the promised month, and 120 of 200 were cut or proposed again while they followed the "
        "plan. `carry on`: the simulator's own course without a plan, for twelve months: shocks "
        "pass and late payments age, so most of these customers do not go on as before; those who "
        "do have a section of their own. Where an aim is missed, `defaulted_after` in the next "
        "table says whether the answers were right: a limit that comes back to a customer who then "
        "defaults in fewer cases than the cut-off is no mistake, and neither is a cut where more "
        "than that default.",
    ),
    "followers": (
        "Who follows the plan, and how",
        "`plan`: as above; `no shock`: without an income loss or illness until then; `and on with "
        "it`: the plan is followed for six months more; `exactly the plan`: nobody pays more than "
        "the plan states; `carry on`: nothing is changed. `closed`: futures in which the customer "
        "closed the account first; they count nowhere. `written_off`: futures in which the account "
        "was 180 days past due before the limit came back; it is asked about no more, and counts "
        "as not restored. `stepped`: a part of the limit, or drawings "
        "without it, came back before the rest. `back`: futures in which the limit came back; of "
        "these, `cut_after`, `proposed_after` and `defaulted_after` within six months.",
    ),
    "same_again": (
        "Does the limit come back to who goes on as before?",
        "The half-year before the cut is lived again, twice, in the same order: the same "
        "purchases, cash, applications and borrowing elsewhere, the same share of the balance "
        "paid, as late. "
        "That is what the reasons named; a suspended account alone draws nothing. The served "
        "decision is asked every month, its answers in force. `complete`: the share of answers by "
        "whose margin the whole limit would come back, in the months in which the half-year is "
        "complete, so that the statements say what they said at the cut; the aim is at most 5 %. "
        "`between`: the same in the other months, in which the same acts stand in another order, "
        "and each of which repeats a month before the cut. `uncut_before`: of the answers of "
        "`between` that would give back all, the share that repeats a month after which the "
        "account was at or below the cut-off: after the same acts the model did not ask for a cut "
        "then either. `restored`: the whole limit came back in some month; `cut_after`: of these, "
        "cut again within twelve months. So the answer to the same statements is the same, and who "
        "goes on as before may get the limit back for a few months. Staircases that would give "
        "less back to them were "
        "[measured and rejected](policy_lab.md#would-a-slower-staircase-be-better).",
    ),
    "other_promises": (
        "Is the limit back where a person or a rule cut it?",
        "`under review`: the model proposed the cut, and a person confirmed it on the same day. "
        "`past due`: a rule suspended the account, 60 days late or more. `accounts` have advice, "
        "`plans` a promise, in `months` on average. `kept`, `exactly` and `cut_or_proposed` as "
        "above. `margin`: of promises, the served one first.",
    ),
    "ways_out": (
        "Do the payments lead out of arrears?",
        "The accounts that are past due pay what the step says and nothing else. `kept`: the next "
        "statement shows the days that the step says; `less`: it shows fewer than `under` even if "
        "they pay a twentieth less.",
    ),
    "validity": (
        "Does the advice lower the risk?",
        "`kept`: `restored` as above; `kept_unshocked`: the same where no income loss or illness "
        "struck in between. `fell`: the true probability of default in the six months after the "
        "promised month is lower than after carrying on, under the same reduced limit; "
        "`fell_limit_back`: the same with the limit restored after the plan. Accounts that have "
        "defaulted by then count as certain: `default_on_the_way`. See "
        "[the way back](../service/advice.md).",
    ),
    "validity_by_month": ("Kept, by the month promised", ""),
    "promises": (
        "What promises rest on",
        "The same accounts advised by other rules: with other margins, and with plans that need "
        "not go without cash and new credit. `effort` is the mean of the plans, in monthly "
        "incomes. Each promise is followed in one future. `exactly`: kept by customers who never "
        "pay more than the plan states.",
    ),
    "durability": (
        "Do plans outlive the model?",
        "`hold`: plans that another model keeps too, if they are followed exactly and it is asked "
        "every month in place of the served one. The challenger "
        "has 400 trees of 31 leaves; the refits are fitted on bootstrap samples of accounts. "
        "`as_well`: the share of the cut accounts that the other model cuts too.",
    ),
    "recourse": (
        "Reasons without recourse",
        "`movable`: in some projected month, a plan lowers the reason's contribution below that of "
        "carrying on, by at least half of today's contribution. `without`: the share of accounts "
        "without a movable reason.",
    ),
    "reason_sentences": (
        "Are the reasons the model's?",
        "Over all accounts above the cut-off that the model cuts or proposes to cut: `stated`, "
        "the mean number of reasons; `explained`, the share of accounts with one; "
        "`first_is_largest`, the share whose first reason is the reason group with the largest "
        "contribution. Over all reasons: `pushes` and `named_pushes`, the shares whose group, and "
        "whose named feature, have a contribution above 0; `materially_worse`, the share whose "
        "named feature is strictly better, in figures that read differently, for at least three "
        "quarters of the comparison accounts; `share_better`, for what share of them on average. "
        "`before`: the ranking by the larger of contribution and effect. There the first reason "
        "was not the group with the largest contribution for 579 of 874 accounts, its own "
        "contribution was negative for 147 of them, and 390 of 3,193 reasons contributed nothing "
        "or less. In 38 of 266 answers of that time a difference was stated that nobody would act "
        "on.",
    ),
    "reason_deletion": (
        "Does the cut fall away without its reasons?",
        "The features of the deleted groups are set to those of every reference account in turn, "
        "and the log-odds averaged. `undone`: the share of the cuts whose account is then at or "
        "below the cut-off. Deleted are the `first` reason, all that are `stated`, and as controls "
        "`one_random` and `four_random` groups of the model. `fall`: by how much the log-odds "
        "fall. `before`: the first reason as it was ranked then, on 707 other accounts.",
    ),
    "reason_stability": (
        "Do other models state the same reasons?",
        "Over the cuts that both make (`cut_too`: of ours, the share that the other makes too): "
        "`same_first`, the other's first reason is ours; `among_equals`, it is ours or one of its "
        "equals, groups whose contribution is within 0.3 log-odds; `same_set`, all reasons are "
        "the same. `reference_sample`: the same model with other reference accounts from the same "
        "pool. `nudge`: the same model after one amount is 0.1 % higher or lower on all "
        "statements. `another_seed`: models fitted with another seed. `redrawn_accounts`: models "
        "of accounts drawn anew (bootstrap), with reference populations of their own. The last row "
        "says how far a reason depends on which customers the model happened to see; the first "
        "says only that the sample of the reference hardly matters. `least_among`: the least "
        "`among_equals` of one other. Intervals count accounts, not models.",
    ),
    "acting": (
        "What if a reader took the first reason for the cause?",
        "A reason says what moved the decision; [advice](../service/advice.md) says what to do. "
        "The reader here confuses them, and changes the behaviour of the first reason. `helps`: "
        "its driver is a cause for the account, with a true effect above twice its standard error. "
        "`wrong`: it is not, its effect being within its error or below zero, while another "
        "group's driver is a cause. `nothing_helps`: no group's driver is a cause. Accounts whose "
        "first reason no behaviour drives are left out.",
    ),
    "fidelity": (
        "Do the reasons name the true causes?",
        "A measured fact and no aim: a reason is what moved the decision, and a model may go by "
        "symptoms. (It was an aim before, and reasons were ranked by effects for it: 58 % of the "
        "largest true causes were named first, against 26 % by contributions alone.) Over the "
        "accounts that have a cause among the reason groups: how often the first reason is the "
        "group whose driver has the largest true effect (`top_1`), how often that group is among "
        "the reasons stated (`top_4`), and the rank correlation of the groups' weights with their "
        "true effects. `served`: the reasons as stated; `path_dependent`: chosen in the same way "
        "from LightGBM's own contributions; `effects`: by what each behaviour did to the log-odds "
        "with all that followed from it, by the lender's ledger; `gain`: from the gain of the "
        "whole model. `commonest`: the most frequent causes, stated to every account. Two exist "
        "only in a simulation: `relived_by_simulator`, the effects with the year replayed by the "
        "simulator, which bounds what effects of this model can explain; and `trained_on_truth`, a "
        "forest trained on other accounts' true causes, which bounds what the statements can "
        "explain. `futures`: how well one half of the futures predicts the other, so how certain "
        "the true causes are. See "
        "[reasons and causes](../service/explanations.md#reasons-and-causes).",
    ),
    "effects": (
        "What each driver does",
        "The mean true effect on the probability of default, and the share of accounts for which "
        "it is a cause. `hidden`: income losses, which statements show only once the lender learns "
        "of the lower income, and illnesses, which they never show.",
    ),
    "symptoms": (
        "What stands for what",
        "By the first reason stated: the driver with the largest true effect, as shares.",
    ),
    "nudges": (
        "Knife edges",
        "Each amount of the statements is changed by itself, up and down, in all months and in the "
        "last month alone; `any` is any of the columns. `accounts`: within 1 log-odds of the "
        "cut-off. `moved`: the share of them whose log-odds change by more than 0.1; `largest`: "
        "the largest change. `new_cuts` and `undone_cuts`: how many the model then cuts, or no "
        "longer cuts. See [no knife edges](../modelling/features.md#no-knife-edges).",
    ),
    "ceiling": (
        "What could be known at all",
        "The AUC of the simulator's own probability given the full state, and of the model: "
        "[the model](model.md#ceiling).",
    ),
    "treatment": (
        "Accounts that were cut within the outcome window",
        "Each treatment of them, against the outcome without cuts: "
        "[the model](model.md#accounts-that-the-lender-cut-meanwhile).",
    ),
}


# The run has all columns; the page shows those that a decision is based on.
FIGURES: Mapping[str, Sequence[str]] = {
    "treatment": [
        "treated",
        "rows",
        "auc_expected",
        "log_loss_gain",
        "log_loss_gain_low",
        "log_loss_gain_high",
        "intercept",
        "band_log_loss_gain",
        "band_log_loss_gain_low",
        "band_log_loss_gain_high",
        "band_intercept",
        "changed",
    ],
}


def page(
    examined: ExaminedVersion,
    population: Population,
    config: ExamineConfig,
    tables: Mapping[str, pl.DataFrame],
) -> str:
    """Return the page; ``tables`` by the names of :data:`SECTIONS`."""
    head = _HEAD.format(
        name=f"version {examined.version} of {examined.name}",
        bundle=examined.bundle[:12],
        accounts=config.accounts,
        seed=config.seed,
        statements=population.statements.height,
        as_of=f"{population.as_of:%Y-%m}",
        digest=population.digest[:16],
        cut=examined.cut,
        futures=config.futures,
    )
    parts = [head]
    for name, (title, text) in SECTIONS.items():
        parts.append(f"## {title}\n")
        if text:
            parts.append(f"{text}\n")
        table = tables[name].select(FIGURES[name]) if name in FIGURES else tables[name]
        parts.append(markdown(table))
    return "\n".join(parts)
