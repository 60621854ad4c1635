"""The control arm: a few accounts that the model would cut are left alone.

Nobody can see what a cut does from accounts that are all cut: neither what a good customer would
have earned, nor whether the others would have defaulted.  So a small share of the cuts is not made,
chosen by a hash of the account and by nothing else, and the two arms are compared later
(``python -m training policy --effect``).

Only a cut that the model makes by itself is part of it.  Exempt, and in no arm, are:

* what a rule decides, alone or with the model: regulation and delinquency have no control arm
* a suspension: at such a probability, more debt would harm the customer as well as the lender
* a review: a person decides about it, whatever the arm
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from serving.decision.config.policy import Policy
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Outcome

# None: the account is in neither arm, as the model would not cut it or its case is exempt.
Arm = Literal["treated", "control"]
_NAME = b"control arm\0"
_BYTES = 8  # of the digest


def draw(name: bytes, account_id: str, key: bytes) -> float:
    """A number in [0, 1) that belongs to an account: the same one every month.

    ``name`` says what is drawn; each draws independently of the others.
    """
    digest = hmac.digest(
        key,
        name + account_id.encode(),
        hashlib.sha256,
    )
    drawn: float = int.from_bytes(digest[:_BYTES], "big") / 2 ** (8 * _BYTES)
    return drawn


def in_control(
    account_id: str,
    key: bytes,
    share: float,
) -> bool:
    """Whether an account belongs to the control arm: the same answer every month.

    A larger share keeps the accounts of a smaller one.  Without the key nobody can tell the arm
    from the account; another key draws other accounts.

    >>> [account for account in "abcdefgh" if in_control(account, b"", 0.4)]
    ['e', 'h']
    """
    return draw(_NAME, account_id, key) < share


def assign_arms(
    outcomes: Sequence[Outcome],
    accounts: Sequence[Account],
    account_ids: Sequence[str],
    policy: Policy,
    key: bytes,
) -> tuple[list[Outcome], list[Arm | None]]:
    """:func:`assign_arm` for each account, in order, with the share of the policy."""
    kept: list[Outcome] = []
    arms: list[Arm | None] = []
    for outcome, account, account_id in zip(
        outcomes,
        accounts,
        account_ids,
        strict=True,
    ):
        own, arm = assign_arm(
            outcome,
            account_id,
            account.limit,
            key,
            policy.control.share,
        )
        kept.append(own)
        arms.append(arm)
    return kept, arms


def assign_arm(
    outcome: Outcome,
    account_id: str,
    limit: float,
    key: bytes,
    share: float,
) -> tuple[Outcome, Arm | None]:
    """The outcome that is put into force, and the account's arm; None if it is in neither.

    ``limit`` is the limit in force before the decision, CNY; ``share`` that of the control arm.
    With a share of 0 there is no experiment, and no account is in an arm.
    """
    is_cut_by_model_alone = outcome.action == "reduce" and outcome.by_model and not outcome.hits
    if share == 0 or not is_cut_by_model_alone:
        return outcome, None
    if not in_control(account_id, key, share):
        return outcome, "treated"
    kept = replace(
        outcome,
        action="keep",
        new_limit=limit,
        effective_on=None,
        review_on=None,
        by_model=False,
    )
    return kept, "control"
