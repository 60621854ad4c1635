"""What a decision returns: the decision, the decision with advice, and the result of each stage."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from features.build import Features
from features.window import Window
from serving.decision.advice.result import Advice
from serving.decision.config.reasons import Text
from serving.decision.notice import Notice
from serving.decision.policy.outcome import Action, Outcome
from serving.decision.reasons.ranking import Evidence, Reason
from serving.decision.scoring.score import Scores


class ProductError(ValueError):
    """An account of a product that the model has no reference population for."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is answered for one account.  Amounts in CNY; dates on the lender's clock.

    ``new_limit`` is in force from ``effective_on``; under ``review`` nothing changes yet and
    ``proposed_limit`` is what a person is asked to confirm, because of ``review_because``.
    ``effective_on`` and ``review_on`` are null for ``keep``. ``log_odds = base_log_odds + sum of
    contributions``; ``cut_off`` is the probability from which limits are cut. ``notice`` is what
    the customer is told, null for ``keep``.
    """

    decision_id: str
    account_id: str
    product: str
    as_of: datetime.date
    decided_at: datetime.datetime
    action: Action
    credit_limit: float
    new_limit: float
    proposed_limit: float | None
    effective_on: datetime.date | None
    review_on: datetime.date | None
    review_because: tuple[str, ...]
    probability: float
    log_odds: float
    base_log_odds: float
    cut_off: float
    reasons: tuple[Reason, ...]
    notice: Notice | None


@dataclass(frozen=True, slots=True)
class Advised:
    """A decision with the way back.

    ``advice`` is null where there is nothing to win back by behaviour: the limit is not cut, or a
    rule alone cut it. ``below_cut_off`` is how far the log-odds lie below the cut-off; negative =
    above it.  ``notes`` say so in words, or what must be known beside the advice.
    """

    decision: Decision
    below_cut_off: float
    notes: tuple[Text, ...]
    advice: Advice | None


class Stages(NamedTuple):
    """What each stage of the flow made of some accounts, in order of account."""

    statements: pl.DataFrame
    window: Window
    features: Features
    scores: Scores
    evidence: list[Evidence]
    outcomes: list[Outcome]
    decisions: list[Decision]
