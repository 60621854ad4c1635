"""What a customer has settled already, and whether it can be done: a plan keeps to it and differs
in the rest alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from features.schema import LARGEST_AMOUNT
from features.window import HALF_CENT, Window
from serving.decision.advice.rollout import HABITS
from serving.decision.config.advice import LeverName
from serving.decision.policy.limit import grid_up


@dataclass(frozen=True, slots=True)
class Constraints:
    """Amounts in CNY a month; None = not said.

    ``monthly_payment`` is the most that can be paid, here and elsewhere together.  ``extra`` is
    paid above the minimum due and ``repay_elsewhere`` off debt elsewhere, exactly so; ``spending``
    is the most that is bought with the account.
    """

    monthly_payment: float | None = None
    extra: float | None = None
    spending: float | None = None
    repay_elsewhere: float | None = None

    def fixed(self) -> dict[LeverName, list[float]]:
        """The levers whose amount is settled, each with that amount as the only one to try.

        >>> Constraints(monthly_payment=900.0, extra=300.0).fixed()
        {'extra': [300.0]}
        """
        said: dict[LeverName, float | None] = {
            "extra": self.extra,
            "spending": self.spending,
            "repay_elsewhere": self.repay_elsewhere,
        }
        # Adding nought turns a minus nought, which would be told as such, into nought.
        return {name: [amount + 0.0] for name, amount in said.items() if amount is not None}


UNCONSTRAINED = Constraints()


class ConstraintError(ValueError):
    """A choice that cannot be: ``field`` of :class:`Constraints`, and what was ``expected`` there;
    no amount is named.
    """

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"choices.{field}: {expected}")
        self.field, self.expected = field, expected


def check_constraints(
    choices: Constraints, window: Window, rounding: float, account: int = 0
) -> None:
    """Raises :class:`ConstraintError` for the first choice that is out of range, beyond the
    account, or against another.

    ``window`` is where the account stands, in column ``account``; ``rounding`` that of advice.toml:
    a plan tells amounts rounded up to it, and what it tells can be chosen.  Debt elsewhere that is
    not known counts as none, as in a plan.
    """
    for field in fields(Constraints):
        _in_range(field.name, getattr(choices, field.name))
    balance = max(float(window.now("balance")[account]), 0.0)
    debt = float(np.nan_to_num(window.last_known("external_debt")[account]))
    limit = float(window.now("credit_limit")[account])
    spent = float(np.nan_to_num(window.mean("spend", HABITS)[account]))
    extra, spending, elsewhere = (
        amount or 0.0 for amount in (choices.extra, choices.spending, choices.repay_elsewhere)
    )
    if extra > grid_up(balance, rounding):
        raise ConstraintError("extra", "expected at most the balance of the last statement")
    if spending > max(limit, spent):
        raise ConstraintError(
            "spending",
            "expected at most the limit before the cut, or what is spent now where that is more",
        )
    if elsewhere > grid_up(debt, rounding):
        raise ConstraintError(
            "repay_elsewhere", "expected at most the debt elsewhere that is last known"
        )
    due = float(np.nan_to_num(window.now("minimum_due")[account])) if extra else 0.0
    if (
        choices.monthly_payment is not None
        and due + extra + elsewhere > choices.monthly_payment + HALF_CENT
    ):
        raise ConstraintError(
            "monthly_payment",
            "expected at least the minimum due with what is chosen above it and elsewhere",
        )


def _in_range(name: str, amount: float | None) -> None:
    above = name == "monthly_payment"
    # Written so that NaN is refused.
    if amount is not None and not (0.0 <= amount <= LARGEST_AMOUNT and (amount > 0.0 or not above)):
        raise ConstraintError(name, f"expected {'above 0' if above else '0'} to {LARGEST_AMOUNT:g}")
