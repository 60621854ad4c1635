"""What the customer has fixed; a plan keeps to it and differs in the rest alone."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from features.limits import LARGEST_AMOUNT
from features.window import HALF_CENT, Window
from serving.decision.advice.ahead.habits import HABIT_MONTHS
from serving.decision.config.advice import LeverName
from serving.decision.policy.limit import grid_up


@dataclass(frozen=True, slots=True)
class Constraints:
    """Amounts in CNY a month; None = left open."""

    monthly_payment: float | None = None  # most that can be paid, here and elsewhere together
    extra: float | None = None  # paid on top of what is paid now, exactly
    spending: float | None = None  # most that is bought with the account
    repay_elsewhere: float | None = None  # paid off debt elsewhere, exactly

    def fixed_by_customer(self) -> dict[LeverName, list[float]]:
        """The levers whose amount is fixed, each with that amount as the only one to try.

        >>> Constraints(monthly_payment=900.0, extra=300.0).fixed_by_customer()
        {'extra': [300.0]}
        """
        amounts: dict[LeverName, float | None] = {
            "extra": self.extra,
            "spending": self.spending,
            "repay_elsewhere": self.repay_elsewhere,
        }
        # Adding 0 turns -0.0, which a step would state with its sign, into 0.0.
        return {name: [amount + 0.0] for name, amount in amounts.items() if amount is not None}


UNCONSTRAINED = Constraints()


class ConstraintError(ValueError):
    """A constraint that cannot be met.

    ``field`` is one of :class:`Constraints`, ``expected`` says what was expected there.  Neither
    contains an amount of the account, because the error is sent to the caller and logged.
    """

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"choices.{field}: {expected}")
        self.field, self.expected = field, expected


def check_constraints(
    constraints: Constraints,
    window: Window,
    rounding: float,
    account: int = 0,
) -> None:
    """Raise :class:`ConstraintError` for the first constraint that cannot be met.

    That is one out of range, beyond the account at position ``account`` of the window, or in
    conflict with another.  Up to ``rounding`` (of advice.toml) more than the balance or the debt is
    accepted, because a plan states amounts rounded up to it and these can be chosen.  Unknown debt
    elsewhere counts as 0, as in a plan.
    """
    for field in fields(Constraints):
        _check_range(field.name, getattr(constraints, field.name))
    _check_extra(constraints.extra or 0.0, window, rounding, account)
    _check_spending(constraints.spending or 0.0, window, account)
    _check_repayment(constraints.repay_elsewhere or 0.0, window, rounding, account)
    _check_sum(constraints, window, account)


def _check_range(name: str, amount: float | None) -> None:
    if amount is None:
        return
    above_zero = name == "monthly_payment"
    # Comparisons that NaN fails.
    in_range = 0.0 <= amount <= LARGEST_AMOUNT
    if not in_range or (above_zero and amount == 0.0):
        lowest = "above 0" if above_zero else "0"
        raise ConstraintError(name, f"expected {lowest} to {LARGEST_AMOUNT:g}")


def _check_extra(
    extra: float,
    window: Window,
    rounding: float,
    account: int,
) -> None:
    balance = max(float(window.now("balance")[account]), 0.0)
    if extra > grid_up(balance, rounding):
        raise ConstraintError("extra", "expected at most the balance of the last statement")


def _check_spending(
    spending: float,
    window: Window,
    account: int,
) -> None:
    limit = float(window.now("credit_limit")[account])
    spent = _known(window.mean("spend", HABIT_MONTHS)[account])
    if spending > max(limit, spent):
        raise ConstraintError(
            "spending",
            "expected at most the limit before the cut, or what is spent now where that is more",
        )


def _check_repayment(
    elsewhere: float,
    window: Window,
    rounding: float,
    account: int,
) -> None:
    debt = _known(window.last_known("external_debt")[account])
    if elsewhere > grid_up(debt, rounding):
        raise ConstraintError(
            "repay_elsewhere", "expected at most the debt elsewhere that is last known"
        )


def _check_sum(
    constraints: Constraints,
    window: Window,
    account: int,
) -> None:
    if constraints.monthly_payment is None:
        return
    extra, elsewhere = constraints.extra or 0.0, constraints.repay_elsewhere or 0.0
    # The extra amount is paid on top of the minimum due at least; without it the minimum is asked
    # for whatever the customer can pay.  What is paid now is asked for within what can be paid.
    due = _known(window.now("minimum_due")[account]) if extra else 0.0
    if due + extra + elsewhere > constraints.monthly_payment + HALF_CENT:
        raise ConstraintError(
            "monthly_payment",
            "expected at least the minimum due with what is chosen above it and elsewhere",
        )


def _known(amount: np.float64) -> float:
    return float(np.nan_to_num(amount))
