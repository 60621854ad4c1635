"""Whole answers of a version to hold-out accounts, to be read before anybody gets one.

A table of figures does not show a sentence that no customer would understand.  So the page has the
statements beside what the version says about them, in both languages.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from serving.decision.pipeline import decide_many
from serving.decision.reasons.ranking import Reason
from serving.decision.result import Decision
from training.data.dataset import load
from training.data.labels import soon_after
from training.data.sample_request import hold_out
from training.evaluate.model_lookup import Model
from training.evaluate.text_tables import markdown

MONTHS_SHOWN = 13  # a year, and the statement that it begins with
# Columns of whole numbers; all others that are shown are amounts.
_COUNTS = ("days_past_due", "limit_requests", "credit_inquiries")
_AMOUNTS = (
    "credit_limit",
    "balance",
    "spend",
    "cash_advance",
    "payment",
    "minimum_due",
    "external_debt",
    "income",
)

_HEAD = """# The first {count} answers to customers whose limit is cut or suspended

`python -m training answers` wrote this page: version {model}, bundle `{bundle}`. These are the
first {count} accounts of the hold-out, in order of account, that the model cuts or suspends or
proposes to, with their last {months} statements as the model saw them (CNY, rounded here alone) and
the notice that each customer gets. Nothing is left out and nothing is corrected. A lender's letter
has more around it: its name and address, how to reach it, where to complain, and what else the law
of the place asks for. `contribution` is in log-odds; `share` is of all that pushes toward the cut.
"""


class NoAnswers(LookupError):
    """The model cuts no account of the hold-out."""


def write_answers(data: Path, model: Model, most: int, out: Path) -> str:
    """Write the page of :func:`answers_page` to ``out``, and return it."""
    page = answers_page(data, model, most)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, "utf-8")
    return page


def answers_page(data: Path, model: Model, most: int) -> str:
    """The page of the first ``most`` accounts that the model cuts, as Markdown.

    The accounts are those of the hold-out of ``data``, each with its latest statements.

    Raises:
        ValueError: ``most`` is below 1.
        NoAnswers: The model cuts no account.
    """
    if most < 1:
        raise ValueError(f"most: expected 1 account or more, got {most}")
    # With another split than the fit's, the hold-out would contain accounts that the trees saw.
    windows = hold_out(load(data), model.config)
    decisions = decide_many(windows, model.bundle, soon_after(windows["month"].max()))
    cut = [decision for decision in decisions if _is_by_model(decision)][:most]
    if not cut:
        raise NoAnswers(
            f"version {model.selector}: expected accounts whose limit it cuts, "
            f"got none among {len(decisions)} of the hold-out"
        )
    head = _HEAD.format(
        count=len(cut),
        model=model.selector,
        bundle=model.bundle.digest[:12],
        months=MONTHS_SHOWN,
    )
    parts = [head]
    for number, decision in enumerate(cut, start=1):
        window = windows.filter(pl.col("account_id") == decision.account_id)
        parts.append(_answer(number, decision, window))
    return "\n".join(parts)


def _is_by_model(decision: Decision) -> bool:
    # A rule has no contribution.
    return any(reason.contribution is not None for reason in decision.reasons)


def _answer(number: int, decision: Decision, window: pl.DataFrame) -> str:
    limit_after = decision.new_limit
    if decision.proposed_limit is not None:
        limit_after = decision.proposed_limit
    title = (
        f"## {number}. {decision.account_id}, {decision.product}: {decision.action}, "
        f"{decision.credit_limit:,.0f} to {limit_after:,.0f}"
    )
    scores = f"Probability {decision.probability:.1%}; limits are cut above {decision.cut_off:.1%}."
    parts = [title, scores, _statements(window), _reasons(decision.reasons)]
    if decision.notice is not None:
        parts.append(f"Send by {decision.notice.send_by}.")
        parts.append(_quoted(decision.notice.text.en))
        parts.append(_quoted(decision.notice.text.zh))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _statements(window: pl.DataFrame) -> str:
    amounts = [pl.col(name).round(0).cast(pl.Int64) for name in _AMOUNTS]
    counts = [pl.col(name).cast(pl.Int64) for name in _COUNTS]
    month = pl.col("month").dt.strftime("%Y-%m")
    shown = window.sort("month").tail(MONTHS_SHOWN)
    return markdown(shown.select(month, *amounts, *counts))


def _reasons(reasons: Sequence[Reason]) -> str:
    rows = []
    for reason in reasons:
        row = {
            "rank": reason.rank,
            "code": reason.code,
            "contribution": reason.contribution,
            "share": reason.share,
            "feature": reason.features[0].name if reason.features else None,
        }
        rows.append(row)
    return markdown(pl.DataFrame(rows))


def _quoted(text: str) -> str:
    lines = [f"> {line}".rstrip() for line in text.split("\n")]
    return "\n".join(lines)
