"""The project's policy with economics of round numbers, and accounts as the policy sees them."""

from __future__ import annotations

import dataclasses
import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from features.catalogue import CATALOGUE
from serving.decision.bundle import Bundle
from serving.decision.config.economics import Estimate, LearntProduct
from serving.decision.config.policy import Policy, read_policy
from serving.decision.policy.limit import Account

POLICY_TEXT = files("serving.decision.config").joinpath("policy.toml").read_text("utf-8")


def with_income_cap(text: str) -> str:
    """The text of policy.toml with its example of a regulation's rule, which is off there."""
    lines, is_example = [], False
    for line in text.splitlines():
        is_example = line == "# [[rules]]" or (is_example and line.startswith("# "))
        lines.append(line.removeprefix("# ") if is_example else line)
    return "\n".join(lines) + "\n"


WITH_INCOME_CAP = with_income_cap(POLICY_TEXT)


def learnt_product(margin: float, conversion: float, *by_fifth: float) -> LearntProduct:
    """The economics of a product as if learnt from a thousand accounts."""

    def estimate(value: float) -> Estimate:
        return Estimate(value, 0.9 * value, min(1.1 * value, 1.0), 2_000, 1_000)

    return LearntProduct(
        margin=estimate(margin),
        credit_conversion=estimate(conversion),
        conversions=tuple(estimate(value) for value in by_fifth),
        cut_before=50,
        fully_drawn=100,
    )


# About what the default simulation shows.
LEARNT = {
    "pay_later": learnt_product(0.01, 0.33, 0.2, 0.35, 0.45, 0.6, 0.9),
    "cash_loan": learnt_product(0.01, 0.1, 0.1, 0.05, 0.0, 0.2, 1.0),
}
POLICY = read_policy(WITH_INCOME_CAP, LEARNT)
DECIDED_AT = datetime.datetime(2026, 10, 5, 9, 30, tzinfo=datetime.UTC)
AS_OF = datetime.date(2026, 9, 1)
# Of an account that the model may suspend by itself.
LATE = {"days_past_due_now": 5.0}
QUIET = {feature.name: 0.0 for feature in CATALOGUE} | {"income": 1e6, "months_observed": 24.0}


def make_account(
    probability: float, limit: float = 20_000.0, balance: float = 4_000.0, **features: float
) -> Account:
    """An account of ``pay_later`` that no rule concerns, unless its features say otherwise."""
    values = QUIET | {"limit_now": limit, "balance_now": balance} | features
    return Account("pay_later", AS_OF, probability, values)


def change_policy(conversion: float | None = None, **cut: Any) -> Policy:
    """The project's policy with other settings of the cut, and one conversion; None = as learnt."""
    return dataclasses.replace(
        POLICY,
        cut=dataclasses.replace(POLICY.cut, **cut),
        economics=dataclasses.replace(POLICY.economics, credit_conversion=conversion),
    )


def cut_more(bundle: Bundle) -> Bundle:
    """The bundle with a policy that cuts more of a test's few accounts.

    It counts no harm and a small margin: that of all accounts, and not of those near the cut-off.
    """
    economics = dataclasses.replace(bundle.policy.economics, harm=0.0, margin=0.008)
    policy = dataclasses.replace(bundle.policy, economics=economics)
    return dataclasses.replace(bundle, policy=policy)


def policy_without_control_arm() -> str:
    """The text of the project's policy without a control arm and with the income cap.

    Which accounts the arm leaves alone depends on the secrets, which most tests draw.  The cap is
    the only rule that a regulation asks for.
    """
    return without_control_arm(WITH_INCOME_CAP)


def without_control_arm(text: str) -> str:
    """The text of a policy.toml with a control arm of no accounts."""
    changed = text.replace("\nshare = 0.01\n", "\nshare = 0.0\n")
    if read_policy(changed, LEARNT).control.share != 0.0:
        raise ValueError("expected [control] share = 0.01 in policy.toml")
    return changed


def write_policy_without_control_arm(folder: Path) -> Path:
    """A file in ``folder`` with :func:`policy_without_control_arm`: the policy of most bundles."""
    file = folder / "policy.toml"
    file.write_text(policy_without_control_arm(), encoding="utf-8")
    return file
