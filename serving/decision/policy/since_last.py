"""What changed since the earlier decision on an account, by reason group.

    earlier decisions, today's rows -> explain_changes() -> a SinceLast for each account
    SinceLast, reasons              -> describe_rise()   -> the sentence of a notice, or None

The split is exact, with the earlier row as the only reference.  With f the present model, x today's
features and z those of the earlier statements, computed today,

    log_odds - earlier log_odds = sum of the groups' Shapley values of f from z to x
                                + (f(z) - earlier log_odds)            part ``model``
    distance = log_odds - logit(cut_off)
    change of the distance = change of the log-odds
                           + (logit(earlier cut_off) - logit(cut_off)) part ``policy``

so the parts add up to both changes, which is checked for every account.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from features.build import matrix_of, values_of
from features.catalogue import BY_NAME
from features.statements import Statements, read_table
from features.types import Matrix, Vector
from serving.decision.bundle import Bundle
from serving.decision.config.reasons import Text, Wording
from serving.decision.policy.dates import local_date
from serving.decision.policy.outcome import Action, Outcome
from serving.decision.reasons.ranking import Reason
from serving.decision.reasons.wording import day
from serving.decision.scoring.score import (
    ADDITIVITY_TOLERANCE,
    AdditivityError,
    Scores,
    compare_rows,
    logit,
)

MODEL, POLICY = "model", "policy"  # parts that are no reason group
_NAMED = 2  # groups in a sentence, at most
_MOST = 0.5  # of all that rose


@dataclass(frozen=True, slots=True)
class Earlier:
    """The latest earlier decision on an account, as it was answered.

    Attributes:
        decision_id: Of that decision.
        decided_at: Its time, with a time zone.
        action: What it decided.
        log_odds: What it answered.
        cut_off: The probability above which it would have cut.
        statements: What it was made from, as :mod:`features.schema` declares them, or as they were
            read.
    """

    decision_id: str
    decided_at: datetime.datetime
    action: Action
    log_odds: float
    cut_off: float
    statements: pl.DataFrame | Statements


@dataclass(frozen=True, slots=True)
class ChangePart:
    """A part of a change: ``code`` is a reason group, ``model`` or ``policy``.

    ``change`` is in log-odds; above 0 = toward a cut.
    """

    code: str
    change: float
    text: Text


@dataclass(frozen=True, slots=True)
class SinceLast:
    """What changed since the earlier decision on an account.

    Attributes:
        decision_id: Of the earlier decision.
        decided_on: Its day, on the lender's clock.
        action: What it decided.
        log_odds: What it answered.
        cut_off: The probability above which it would have cut.
        change: Of the log-odds: the sum of all parts but ``policy``.
        change_to_cut_off: Of the distance of the log-odds to the cut-off: the sum of all parts.
        parts: The parts that are not 0, by size, the largest first.
    """

    decision_id: str
    decided_on: datetime.date
    action: Action
    log_odds: float
    cut_off: float
    change: float
    change_to_cut_off: float
    parts: tuple[ChangePart, ...]


def explain_changes(
    statements: Statements,
    values: Matrix,
    scores: Scores,
    earlier: Mapping[str, Earlier],
    bundle: Bundle,
) -> list[SinceLast | None]:
    """For each account the change since its earlier decision; None for one without.

    It is None too where only one of the two cut-offs is 1, at which the model cuts no limit.

    ``values`` are the features of ``statements``, float64 (accounts, features); ``earlier`` is by
    account id.

    Raises:
        ValueError: An earlier decision is of an account that is not scored, or has statements of
            another account.
        StatementError: Earlier statements break the schema.
        AdditivityError: Parts miss the change by more than 1e-9.
    """
    account_ids = statements.account_ids
    found: list[SinceLast | None] = [None] * len(account_ids)
    if not earlier:
        return found
    _check_accounts(account_ids, earlier)
    places = [place for place, account_id in enumerate(account_ids) if account_id in earlier]
    own = {account_ids[place]: earlier[account_ids[place]] for place in places}
    changes = compare_rows(
        matrix_of(values[places], bundle.features),
        _earlier_rows(own, bundle),
        bundle.scorer,
    )
    groups = _sum_by_group(changes.contributions, bundle)
    for row, (place, before) in enumerate(zip(places, own.values(), strict=True)):
        cut_off = bundle.policy.cut_off(statements.products[place])
        parts = {code: float(values[row]) for code, values in groups.items()}
        parts[MODEL] = float(changes.earlier_log_odds[row]) - before.log_odds
        if (before.cut_off == 1.0) != (cut_off == 1.0):
            continue  # the log-odds of one of the two have no distance to a cut-off
        parts[POLICY] = _lowered_by(before.cut_off, cut_off)
        found[place] = _since_last(
            before,
            parts,
            float(scores.log_odds[place]),
            cut_off,
            bundle,
        )
    return found


def describe_rise(
    since: SinceLast | None,
    outcome: Outcome,
    reasons: Sequence[Reason],
    wording: Wording,
) -> Text | None:
    """The sentence of a notice about what rose since the earlier decision.

    It names at most two reason groups that rose and that are stated reasons, or says that the
    model or the policy changed.  It is None unless an account that was kept is cut by the model, or
    if nothing of the kind can be said.
    """
    if since is None or since.action != "keep" or since.change_to_cut_off <= 0:
        return None
    if outcome.action not in ("reduce", "suspend") or not outcome.by_model:
        return None
    rose = [part for part in since.parts if part.change > 0]
    total = sum(part.change for part in rose)
    anew = sum(part.change for part in rose if part.code in (MODEL, POLICY))
    if anew >= _MOST * total:
        return _fill("assessed_anew", since, (), wording)
    stated = {reason.code for reason in reasons if reason.contribution is not None}
    felt = wording.minimum_share * total
    named = [part for part in rose if part.code in stated and part.change >= felt][:_NAMED]
    if since.change <= 0 or not named:
        return None
    is_most = sum(part.change for part in named) >= _MOST * total
    return _fill(
        "rose_mostly" if is_most else "rose_in_part",
        since,
        named,
        wording,
    )


def _fill(
    template: str,
    since: SinceLast,
    named: Sequence[ChangePart],
    wording: Wording,
) -> Text:
    text = wording.since_last[template]
    english = " and ".join(part.text.en for part in named)
    chinese = "、".join(part.text.zh for part in named)
    return Text(
        en=text.en.format(
            earlier_on=day(since.decided_on, "en"),
            points=english,
        ),
        zh=text.zh.format(
            earlier_on=day(since.decided_on, "zh"),
            points=chinese,
        ),
    )


def _check_accounts(
    account_ids: Sequence[str],
    earlier: Mapping[str, Earlier],
) -> None:
    if unknown := sorted(earlier.keys() - set(account_ids)):
        raise ValueError(
            f"earlier decisions: expected accounts with statements, got {unknown[0]} "
            f"and {len(unknown) - 1} more without"
        )


def _earlier_rows(
    earlier: Mapping[str, Earlier],
    bundle: Bundle,
) -> Matrix:
    """Today's features of the earlier statements of each account, a row a decision."""
    rows = []
    for account_id, before in earlier.items():
        given = before.statements
        read = read_table(given) if isinstance(given, pl.DataFrame) else given
        if read.account_ids != [account_id]:
            raise ValueError(
                f"earlier decision {before.decision_id}: expected statements of account "
                f"{account_id}, got those of {read.account_ids}"
            )
        rows.append(values_of(read.window))
    return matrix_of(np.concatenate(rows), bundle.features)


def _sum_by_group(
    contributions: Matrix,
    bundle: Bundle,
) -> dict[str, Vector]:
    """The contributions of each reason group, float64 (accounts,)."""
    groups: dict[str, Vector] = {}
    for place, name in enumerate(bundle.features):
        code = BY_NAME[name].group
        groups[code] = (
            groups.get(
                code,
                np.zeros(len(contributions)),
            )
            + contributions[:, place]
        )
    return groups


def _since_last(
    before: Earlier,
    parts: Mapping[str, float],
    log_odds: float,
    cut_off: float,
    bundle: Bundle,
) -> SinceLast:
    change = log_odds - before.log_odds
    to_cut_off = change
    if cut_off < 1.0:
        to_cut_off = (log_odds - logit(cut_off)) - (before.log_odds - logit(before.cut_off))
    total = sum(parts.values())
    _check_sum(
        before,
        total - parts[POLICY],
        change,
    )
    _check_sum(before, total, to_cut_off)
    stated = [
        ChangePart(
            code,
            value,
            _name_part(code, bundle.wording),
        )
        for code, value in parts.items()
        if value != 0.0
    ]
    return SinceLast(
        decision_id=before.decision_id,
        decided_on=local_date(before.decided_at, bundle.policy),
        action=before.action,
        log_odds=before.log_odds,
        cut_off=before.cut_off,
        change=change,
        change_to_cut_off=to_cut_off,
        parts=tuple(
            sorted(
                stated,
                key=lambda part: -abs(part.change),
            )
        ),
    )


def _lowered_by(before: float, now: float) -> float:
    """By how many log-odds the cut-off is lower than before; a cut-off of 1 that stayed is not."""
    return 0.0 if before == now else logit(before) - logit(now)


def _check_sum(
    before: Earlier,
    total: float,
    change: float,
) -> None:
    # "not <=" and not ">", because NaN must fail too.
    if not abs(total - change) <= ADDITIVITY_TOLERANCE:
        raise AdditivityError(
            f"changes since decision {before.decision_id}: expected parts that add up to "
            f"{change:.6g}, got {total:.6g}"
        )


def _name_part(
    code: str,
    wording: Wording,
) -> Text:
    if code in (MODEL, POLICY):
        return wording.since_last[code]
    return wording.groups[code].name
