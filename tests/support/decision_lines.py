"""Records and labels as a lender has them, of simulated accounts decided by a bundle."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from features.schema import COLUMNS
from serving.decision.bundle import Bundle
from serving.decision.pipeline import decide_many
from serving.decision.result import Decision
from serving.operations.export import ExportedDecision, ExportedReason, ExportedRequest, line
from training.data.labels import select_windows, soon_after


def lines(
    statements: pl.DataFrame,
    bundle: Bundle,
    month: datetime.date,
    with_asked: bool = True,
    tenant: str = "lender",
) -> list[str]:
    """The export of the decisions on all accounts that have a statement of the month."""
    seen = select_windows(statements, month)
    decisions = decide_many(seen, bundle, soon_after(month))
    names = [column.name for column in COLUMNS if column.name not in ("account_id", "product")]
    told = seen.with_columns(pl.col("month").dt.strftime("%Y-%m"))
    by_account = {
        key[0]: part.select(names).to_dicts()
        for key, part in told.group_by("account_id", maintain_order=True)
    }
    return [
        _line(d, by_account[d.account_id] if with_asked else None, bundle, tenant)
        for d in decisions
    ]


def _line(
    decision: Decision, asked: Sequence[dict[str, object]] | None, bundle: Bundle, tenant: str
) -> str:
    one = ExportedDecision(
        decision_id=decision.decision_id,
        tenant=tenant,
        decided_at=decision.decided_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        as_of=f"{decision.as_of:%Y-%m}",
        product=decision.product,
        action=decision.action,
        credit_limit=decision.credit_limit,
        new_limit=decision.new_limit,
        suspended=decision.suspended,
        limit_before_cut=None,
        review_on=None if decision.review_on is None else decision.review_on.isoformat(),
        prior="record",
        probability=decision.probability,
        reasons=tuple(ExportedReason(r.rank, r.code, r.cause, "", "") for r in decision.reasons),
        model=bundle.provenance.name,
        version=bundle.provenance.version,
        bundle=bundle.digest,
        reference=bundle.reference_digest,
        policy=bundle.policy.version,
        person=None,
        erased=False,
        send_by=None,
        notified_at=None,
        channel=None,
        language=None,
        notice_days=None,
        reviews=(),
        asked=None if asked is None else ExportedRequest(decision.account_id, tuple(asked)),
    )
    return line(one)


def write_lines(file: Path, some: Sequence[str]) -> Path:
    file.write_text("".join(f"{one}\n" for one in some), encoding="utf-8")
    return file


def labels_of(
    statements: pl.DataFrame, month: datetime.date, horizon: int = 6, days: int = 60
) -> pl.DataFrame:
    """What was seen to become of the accounts of a month."""
    end = datetime.date(
        month.year + (month.month + horizon - 1) // 12, (month.month + horizon - 1) % 12 + 1, 1
    )
    later = statements.filter(
        (pl.col("month") > month) & (pl.col("month") <= end) & (pl.col("days_past_due") >= days)
    )
    accounts = statements.filter(pl.col("month") == month)
    label = (
        pl.col("account_id")
        .is_in(later["account_id"].unique().implode())
        .cast(pl.Int8)
        .alias("label")
    )
    return accounts.select("account_id", pl.lit(month).alias("as_of"), label)
