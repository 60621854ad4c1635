"""The project's policy, and accounts as the policy sees them."""

from __future__ import annotations

import dataclasses
import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from features.catalogue import CATALOGUE
from serving.decision.config.policy import Policy, read_policy
from serving.decision.policy.limit import Account

POLICY_TEXT = files("serving.decision.config").joinpath("policy.toml").read_text("utf-8")
POLICY = read_policy(POLICY_TEXT)
DECIDED_AT = datetime.datetime(2026, 10, 5, 9, 30, tzinfo=datetime.UTC)
AS_OF = datetime.date(2026, 9, 1)
# Of an account that the model may suspend by itself.
LATE = {"days_past_due_now": 5.0}
QUIET = {feature.name: 0.0 for feature in CATALOGUE} | {"income": 1e6, "months_observed": 24.0}


def make_account(
    probability: float, limit: float = 20_000.0, balance: float = 4_000.0, **features: float
) -> Account:
    """An account that no rule concerns, unless its features say otherwise."""
    values = QUIET | {"limit_now": limit, "balance_now": balance} | features
    return Account("pay_later", AS_OF, probability, values)


def change_policy(conversion: float, **cut: Any) -> Policy:
    """The project's policy with another credit conversion and other settings of the cut."""
    return dataclasses.replace(
        POLICY,
        cut=dataclasses.replace(POLICY.cut, **cut),
        economics=dataclasses.replace(POLICY.economics, credit_conversion=conversion),
    )


def write_policy_without_control_arm(folder: Path) -> Path:
    """The project's policy without a control arm, as a file in ``folder``.

    Which accounts the arm leaves alone depends on the secrets, which most tests draw.
    """
    text = POLICY_TEXT.replace("\nshare = 0.01\n", "\nshare = 0.0\n")
    if read_policy(text).control.share != 0.0:
        raise ValueError("expected [control] share = 0.01 in policy.toml")
    file = folder / "policy.toml"
    file.write_text(text, encoding="utf-8")
    return file
