"""The results of the pipeline: the decision, the decision with advice, and every stage."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from features.build import Features
from features.display import notebook_display
from features.statements import Statements
from features.types import Matrix
from features.window import Window
from serving.decision.advice.constraints import Constraints
from serving.decision.advice.result import Advice
from serving.decision.config.quick_init import quick_init
from serving.decision.config.reasons import Text
from serving.decision.notice import Notice
from serving.decision.policy.control import Arm
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Action, Outcome
from serving.decision.policy.prior import Prior
from serving.decision.policy.since_last import Earlier, SinceLast
from serving.decision.reasons.comparison import ComparisonNote
from serving.decision.reasons.ranking import Evidence, Reason
from serving.decision.scoring.score import Scores


class ProductError(ValueError):
    """An account has a product without a reference population in the bundle.

    ``known`` are the products of the bundle, sorted.
    """

    def __init__(self, message: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.known = known


@notebook_display
@quick_init
@dataclass(frozen=True, slots=True)
class Decision:
    """The decision for one account.  Amounts in CNY, dates on the lender's clock.

    Attributes:
        credit_limit: The limit in force before the decision.
        new_limit: The limit in force from ``effective_on``; under ``review`` that before.
        proposed_limit: Under ``review``, the limit that a person is asked to confirm; else None.
        effective_on: The day of the decision for ``restore``; None for ``keep`` and ``review``.
        review_on: None for ``keep`` without a cut in force, and if all of a limit came back.
        review_because: The grounds of a review.
        log_odds: ``base_log_odds`` plus the sum of all contributions.
        cut_off: The probability above which limits are cut.
        leaders: How many of the first reasons are main reasons.
        comparison: Whom the reasons compare the customer with; None for ``restore``, and for
            ``keep`` without a notice.
        notice: The notice to the customer; None for ``keep``, unless it is the day of a look at a
            cut in force.
        suspended: Whether no new drawing is allowed after the decision.
        prior: What earlier decisions left in force, as it was used; None = nothing.
        arm: ``control`` for a cut by the model alone that was not made, ``treated`` for one that
            was; None: the model would not cut, or the case is exempt.
        since_last: What changed since the earlier decision on the account; None = there was none.
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
    leaders: int
    comparison: ComparisonNote | None
    notice: Notice | None
    suspended: bool = False
    prior: Prior | None = None
    arm: Arm | None = None
    since_last: SinceLast | None = None


@notebook_display
@dataclass(frozen=True, slots=True)
class Advised:
    """A decision with advice on how to regain the limit.

    Attributes:
        below_cut_off: The cut-off minus the log-odds; negative = the account is above the cut-off.
            None: the product's cut-off is 1, so the model cuts no limit of it.
        notes: Why there is no advice, or what else the customer should know.
        advice: None if behaviour cannot regain the limit: it is not cut, or a rule alone cut it.
    """

    decision: Decision
    below_cut_off: float | None
    notes: tuple[Text, ...]
    advice: Advice | None


@dataclass(frozen=True, slots=True)
class AdviceOptions:
    """How advice is searched for."""

    # What each customer has fixed, in order of account; None = nothing for anybody.
    constraints: Sequence[Constraints] | None = None
    threads: int = 1  # of the search
    # The latest earlier decision on each account that has one; None = there were none.
    earlier: Mapping[str, Earlier] | None = None


NO_OPTIONS = AdviceOptions()


class Stages(NamedTuple):
    """The result of each stage of the pipeline, in order of account."""

    statements: pl.DataFrame
    window: Window
    features: Features
    scores: Scores
    changes: list[SinceLast | None]
    evidence: list[Evidence]
    accounts: list[Account]
    outcomes: list[Outcome]
    arms: list[Arm | None]
    decisions: list[Decision]


@quick_init
@dataclass(frozen=True, slots=True)
class Found:
    """What :class:`Stages` holds, as arrays; ``values`` are float64 (accounts, features).

    Requests are decided with it: to make tables of one account takes longer than to decide.
    """

    statements: Statements
    values: Matrix
    scores: Scores
    changes: list[SinceLast | None]
    evidence: list[Evidence]
    accounts: list[Account]
    outcomes: list[Outcome]
    arms: list[Arm | None]
    decisions: list[Decision] = field(default_factory=list)
