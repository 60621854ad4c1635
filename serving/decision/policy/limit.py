"""The limit formula: exposure, expected loss, and the new limit that follows from them.

Conventions
-----------
All functions take and return arrays of one shape, float64 unless stated.  ``limit`` is the limit in
force and ``balance`` the amount owed, both in CNY and never NaN; a negative balance counts as 0.
``probability`` is in [0, 1].
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from features.types import Mask, Vector
from serving.decision.config.economics import FIFTHS, utilization_fifth
from serving.decision.config.policy import Policy
from serving.decision.config.quick_init import quick_init
from serving.decision.policy.prior import Prior, limit_in_force
from serving.decision.scoring.score import logit, probability_of_one

USUAL_SPEND = "spend_mean_6"  # the feature that a month's usual purchases are taken from
# In grid steps: an amount this close to a multiple counts as the multiple.
GRID_TOLERANCE = 1e-9


@quick_init
@dataclass(frozen=True, slots=True)
class Account:
    """The policy's view of an account.

    ``probability`` is in (0, 1); ``features`` are values by name, NaN = unknown; ``prior`` is what
    earlier decisions left in force, and ``log_odds_without_cut`` are the log-odds of the account as
    if its limit had not been cut, None where they are not needed
    (:mod:`serving.decision.policy.without_cut`).  ``implausible``: the last statement says what
    cannot be (:mod:`serving.decision.policy.rules`).
    """

    product: str
    as_of: datetime.date
    probability: float
    features: Mapping[str, float]
    prior: Prior | None = None
    log_odds_without_cut: float | None = None
    implausible: bool = False

    @property
    def log_odds_measured(self) -> float:
        """The log-odds that decide whether the model cuts."""
        if self.log_odds_without_cut is None:
            return logit(self.probability)
        return self.log_odds_without_cut

    @property
    def probability_measured(self) -> float:
        """The probability that decides how far the model cuts."""
        if self.log_odds_without_cut is None:
            return self.probability
        return probability_of_one(self.log_odds_without_cut)

    @property
    def limit(self) -> float:
        """The limit in force before the decision, CNY."""
        stated = self.features["limit_now"]
        return stated if self.prior is None else limit_in_force(self.prior, self.as_of, stated)

    @property
    def balance(self) -> float:
        """Owed on the latest statement, CNY; negative = overpaid."""
        return self.features["balance_now"]

    @property
    def cut_in_force(self) -> Prior | None:
        """The prior, if it has a cut or a suspension in force."""
        return self.prior if self.prior is not None and self.prior.cuts else None

    @property
    def is_suspended(self) -> bool:
        """Whether an earlier decision that is in force stopped new drawings."""
        return self.prior is not None and self.prior.suspended

    @property
    def limit_measured(self) -> float:
        """The limit that the policy measures by, CNY: from before the first cut in force."""
        cut = self.cut_in_force
        return self.limit if cut is None else cut.limit_before

    @property
    def balance_measured(self) -> float:
        """The balance that the policy measures by, CNY: that at the first cut in force.

        Who repays is measured by the same balance as before, and so is never cut deeper for it.
        """
        cut = self.cut_in_force
        return self.balance if cut is None else cut.balance_before


@dataclass(frozen=True, slots=True)
class Lines:
    """What a new limit is measured against; float64 arrays of one shape.

    Attributes:
        limit: CNY, before the first cut that is in force.
        balance: What was owed at that cut, CNY; the present balance if no cut is in force.
        next_balance: What the next statement may show: :func:`next_balance_of`.
        in_force: The present limit, CNY.
        cut_off: The probability above which limits of the account's product are cut.
        conversion: The share of the unused limit that is drawn by the time of default.
    """

    limit: Vector
    balance: Vector
    next_balance: Vector
    in_force: Vector
    cut_off: Vector
    conversion: Vector


def lines_of(
    products: Sequence[str], limit: Vector, balance: Vector, next_balance: Vector, policy: Policy
) -> Lines:
    """The lines of accounts of these products without a cut in force.

    ``limit``, ``balance`` and ``next_balance`` are (..., products), in CNY.

    Raises:
        EconomicsError: The policy has no economics of one of the products.
    """
    known = sorted(set(products))
    places = {product: place for place, product in enumerate(known)}
    place = np.array([places[product] for product in products], dtype=np.int64)
    cut_offs = np.array([policy.cut_off(product) for product in known])
    conversions = np.array([policy.economics.of(product).conversions for product in known])
    # With these columns even where there is no product.
    conversions = conversions.reshape(len(known), FIFTHS)
    fifth = utilization_fifth(limit, balance)
    return Lines(
        limit=limit,
        balance=balance,
        next_balance=next_balance,
        in_force=limit,
        cut_off=cut_offs[place],
        conversion=conversions[place, fifth],
    )


def next_balance_of(balance: Vector, spend: Vector, policy: Policy) -> Vector:
    """What the next statement shows of an account that pays nothing, CNY.

    ``spend`` is a month's usual purchases, CNY; interest on the balance comes on top.
    """
    owed = np.maximum(balance, 0.0)
    interest = policy.terms.monthly_rate * owed
    next_balance: Vector = owed + interest + spend
    return next_balance


def limit_for_balance(balance: Vector, policy: Policy) -> Vector:
    """The limit of an account that draws nothing more, CNY: what is owed, with head-room.

    As under any other cut, a month's interest and fees do not put the account over its limit.
    """
    owed = np.maximum(balance, 0.0)
    with_headroom = owed * (1.0 + policy.cut.headroom)
    next_balance = next_balance_of(owed, np.zeros_like(owed), policy)
    lowest = np.maximum(with_headroom, next_balance)
    # Not -0.0, which rounding up makes of 0.
    limit: Vector = round_up(lowest, policy.cut.rounding) + 0.0
    return limit


def cut_offs_of(products: Sequence[str], policy: Policy) -> Vector:
    """The probability above which limits are cut, of each product in the sequence."""
    cut_off = {product: policy.cut_off(product) for product in set(products)}
    return np.array([cut_off[product] for product in products])


def cut_off_log_odds_of(products: Sequence[str], policy: Policy) -> Vector:
    """The log-odds of :func:`cut_offs_of`."""
    cut_off = {product: logit(policy.cut_off(product)) for product in set(products)}
    return np.array([cut_off[product] for product in products])


def exposure(limit: Vector, balance: Vector, conversion: Vector) -> Vector:
    """The amount that is expected to be owed at a default, CNY."""
    owed = np.maximum(balance, 0.0)
    at_default: Vector = owed + conversion * np.maximum(limit - owed, 0.0)
    return at_default


def expected_loss(probability: Vector, lines: Lines, policy: Policy) -> Vector:
    """Probability x loss given default x exposure, CNY."""
    at_default = exposure(lines.limit, lines.balance, lines.conversion)
    loss: Vector = probability * policy.economics.loss_given_default * at_default
    return loss


def near_cut_off(log_odds: Vector, cut_off: Vector, policy: Policy) -> Mask:
    """Whether the log-odds lie in the band around the cut-off within which a person decides."""
    # math.log, one by one: np.log differs from it in the last bit on some processors.
    of_value = {value: logit(value) for value in set(cut_off.tolist())}
    cut_off_log_odds = np.array([of_value[value] for value in cut_off.tolist()])
    near: Mask = np.abs(log_odds - cut_off_log_odds) < policy.review.band
    return near


def limit_by_model(probability: Vector, lines: Lines, policy: Policy) -> Vector:
    """The limit that the probability allows, CNY.

    It is ``lines.limit`` where no cut is due or the cut would be too small.  Before rounding it is
    continuous in the probability, and never rises with it.
    """
    limit = lines.limit
    no_cut_due = probability <= lines.cut_off
    if no_cut_due.all():  # most calls are for one account, and most accounts keep their limit
        return limit.copy()
    rounding = policy.cut.rounding
    tolerated = round_down(_tolerated_limit(probability, lines, policy), rounding)
    lowest = round_up(_lowest_limit(lines, policy), rounding)
    new_limit = np.maximum(tolerated, lowest)
    new_limit = np.minimum(new_limit, limit)
    new_limit = without_small_cut(new_limit, limit, limit, policy)
    return np.where(no_cut_due, limit, new_limit)


def limits_by_model(accounts: Sequence[Account], policy: Policy) -> tuple[Vector, Mask]:
    """:func:`limit_by_model` and :func:`near_cut_off` of these accounts, both (accounts,)."""
    probability = np.array([account.probability_measured for account in accounts])
    # math.log, one by one: np.log differs from it in the last bit on some processors.
    log_odds = np.array([account.log_odds_measured for account in accounts])
    cut_off = cut_offs_of([account.product for account in accounts], policy)
    near = near_cut_off(log_odds, cut_off, policy)
    if (probability <= cut_off).all():
        # Most calls are for one account that keeps its limit: it needs no lines.
        return np.array([account.limit_measured for account in accounts]), near
    lines = lines_of_accounts(accounts, policy)
    return limit_by_model(probability, lines, policy), near


def lines_of_accounts(accounts: Sequence[Account], policy: Policy) -> Lines:
    """The lines of these accounts, (accounts,), by what the policy measures them by."""
    products = [account.product for account in accounts]
    limit = np.array([account.limit_measured for account in accounts])
    balance = np.array([account.balance_measured for account in accounts])
    balance_now = np.array([account.features["balance_now"] for account in accounts])
    spend = np.array([account.features[USUAL_SPEND] for account in accounts])
    # Whoever owes more than at the first cut must not be over the limit either.
    next_balance = next_balance_of(np.maximum(balance, balance_now), spend, policy)
    lines = lines_of(products, limit, balance, next_balance, policy)
    return replace(lines, in_force=np.array([account.limit for account in accounts]))


def round_down(amount: Vector, rounding: float) -> Vector:
    """The largest multiples of ``rounding`` that are at most ``amount``."""
    rounded: Vector = np.floor(amount / rounding + GRID_TOLERANCE) * rounding
    return rounded


def round_up(amount: Vector, rounding: float) -> Vector:
    """The smallest multiples of ``rounding`` that are at least ``amount``."""
    rounded: Vector = np.ceil(amount / rounding - GRID_TOLERANCE) * rounding
    return rounded


def grid_down(amount: float, rounding: float) -> float:
    """:func:`round_down` for one amount."""
    return float(round_down(np.array(amount), rounding))


def grid_up(amount: float, rounding: float) -> float:
    """:func:`round_up` for one amount."""
    return float(round_up(np.array(amount), rounding))


def _tolerated_limit(probability: Vector, lines: Lines, policy: Policy) -> Vector:
    """The limit with the largest expected loss that is tolerated, before rounding.

    It means nothing at or below the cut-off, where no cut is due.
    """
    cut_off = lines.cut_off
    loss_given_default = policy.economics.loss_given_default
    owed = np.maximum(lines.balance, 0.0)
    at_default = exposure(lines.limit, lines.balance, lines.conversion)
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = policy.cut.depth * (probability - cut_off)
        share = cut_off / (cut_off + excess)
        at_cut_off = cut_off * loss_given_default * at_default
        # A small loss is tolerated whatever the probability is.
        loss = np.maximum(share * at_cut_off, policy.cut.minimum_expected_loss)
        tolerated_exposure = loss / (probability * loss_given_default)
        undrawn = np.maximum(tolerated_exposure - owed, 0.0) / lines.conversion
    # Where no unused limit is drawn by the time of default, no limit is too high.
    undrawn = np.where(lines.conversion > 0.0, undrawn, lines.limit)
    tolerated: Vector = owed + undrawn
    return tolerated


def _lowest_limit(lines: Lines, policy: Policy) -> Vector:
    """The lowest limit that one decision may leave, before rounding."""
    cut = policy.cut
    owed = np.maximum(lines.balance, 0.0)
    with_headroom = owed * (1.0 + cut.headroom)
    room = np.maximum(with_headroom, lines.next_balance)
    step = cut.largest_step * lines.limit
    lowest: Vector = np.maximum(room, lines.in_force - step)
    return np.maximum(lowest, cut.floor)


def without_small_cut(
    new_limit: Vector, in_force: Vector, measured: Vector, policy: Policy
) -> Vector:
    """``new_limit``, or the limit in force where that is not lower by a cut large enough, CNY.

    ``measured`` is the limit from before the first cut in force, which the smallest cut is a share
    of.
    """
    too_small = in_force - new_limit < smallest_cut(measured, policy)
    return np.where(too_small, in_force, new_limit)


def smallest_cut(limit: Vector, policy: Policy) -> Vector:
    """The smallest reduction that is made, CNY."""
    return np.maximum(policy.cut.minimum_cut_share * limit, policy.cut.minimum_cut_amount)
