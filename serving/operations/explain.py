"""Decisions as text for a person: each stage of the flow as a table, and an answer as a letter
would say it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from features.catalogue import BY_NAME, Unit
from serving.decision.bundle import Bundle
from serving.decision.policy.limit import Account, expected_loss, limits_by_model
from serving.decision.reasons.ranking import Evidence, group_of, sums_of, weights_of
from serving.decision.reasons.wording import number
from serving.decision.result import Stages

_ACTIONS = {
    "keep": "the limit stays",
    "reduce": "the limit is reduced",
    "suspend": "no new drawings",
    "review": "a person decides; nothing changes yet",
}


def stages_text(made: Stages, bundle: Bundle) -> str:
    """What each stage made of the one account in ``made``."""
    evidence, decision = made.evidence[0], made.decisions[0]
    sections = [
        ("Statements", _statements(made)),
        ("Features", _features(evidence.values, evidence.reference, decision.product)),
        ("Contributions to the log-odds", _contributions(evidence.contributions)),
        ("Reason groups", _groups(evidence)),
        ("Score", _score(made, bundle)),
        ("Policy", _policy(made, bundle)),
        ("Reasons", _reasons(made)),
        ("Notice", _notice(made)),
    ]
    return "\n\n".join(f"{title}\n{'=' * len(title)}\n{text}" for title, text in sections)


def answer_text(answer: Mapping[str, Any]) -> str:
    """An answer of the endpoint, as JSON gave it, for a person."""
    lines = [
        f"Account {answer['account_id']}, statements up to {answer['as_of']}",
        f"Decision {answer['decision_id']} of {answer['decided_at']}",
        "",
        f"Action           {answer['action']}: {_ACTIONS[answer['action']]}",
        f"Credit limit     {_money(answer['credit_limit'])}",
        f"New limit        {_money(answer['new_limit'])}",
    ]
    optional = {
        "Proposed limit": None
        if answer["proposed_limit"] is None
        else _money(answer["proposed_limit"]),
        "Effective on": answer["effective_on"],
        "Review on": answer["review_on"],
        "Review because": ", ".join(answer["review_because"]),
        "Notice": ""
        if answer["notice"] is None
        else _notice_line(answer["notice"]["kind"], answer["notice"]["send_by"]),
        "Probability": f"{answer['probability']:.1%} (limits are cut from {answer['cut_off']:.1%})",
    }
    lines += [f"{name:<17}{value}" for name, value in optional.items() if value]
    lines += ["", "Reasons" if answer["reasons"] else "No reasons: the limit stays."]
    for reason in answer["reasons"]:
        lines += [f"  {reason['rank']}. {reason['text']['en']}", f"     {reason['text']['zh']}"]
        lines += [f"       {line}" for line in _table(_feature_rows(reason["features"]))]
    if answer.get("advice"):
        lines += ["", "The way back", *(f"  {line}".rstrip() for line in _advice(answer["advice"]))]
    model = answer["model"]
    lines += [
        "",
        f"Model {model['name']} version {model['version']}, policy {model['policy']}, bundle {model['bundle'][:12]}",
    ]
    return "\n".join(lines)


def _notice_line(kind: str, send_by: object) -> str:
    return f"{kind.replace('_', ' ')}, to be sent by {send_by}"


def _advice(advice: Mapping[str, Any]) -> list[str]:
    notes = [line for note in advice["notes"] for line in (note["en"], note["zh"])]
    found = advice["way_back"]
    if found is None:
        return notes
    plan, without = found["plan"], found["carry_on"]
    restored = plan["restored"]
    lines = [
        f"The limit is back after {restored}, if every month"
        if restored
        else "What lowers the risk most, every month"
    ]
    for step in plan["steps"]:
        lines += [f"- {step['text']['en']}", f"  {step['text']['zh']}"]
    header = ["month", "payment", "owed then", "probability", "limit", "probability as before"]
    rows = [
        [
            month["month"],
            _money(month["payment"]),
            _money(month["balance"]),
            f"{month['probability']:.1%}",
            _money(month["limit"]),
            f"{before['probability']:.1%}",
        ]
        for month, before in zip(plan["path"], without["path"], strict=True)
    ]
    lines += ["", *_table([header, *rows]), ""]
    for aged in found["ageing"]:
        lines += [aged["text"]["en"], aged["text"]["zh"]]
    return [*lines, *notes, f"Holds until {found['expires_on']}."]


def _statements(made: Stages) -> str:
    names = [name for name in made.statements.columns if name not in ("account_id", "product")]
    rows = [
        [f"{row[0]:%Y-%m}", *(_plain(value) for value in row[1:])]
        for row in made.statements.select(names).iter_rows()
    ]
    return "\n".join(_table([names, *rows]))


def _features(values: Mapping[str, float], reference: Mapping[str, float], product: str) -> str:
    header = ["feature", "value", f"median of kept {product}", "unit"]
    rows = [
        [
            name,
            _said(value, BY_NAME[name].unit),
            _said(reference[name], BY_NAME[name].unit) if name in reference else "",
            unit,
        ]
        for name, value in values.items()
        for unit in [BY_NAME[name].unit]
    ]
    return "\n".join(_table([header, *rows]))


def _contributions(contributions: Mapping[str, float]) -> str:
    ranked = sorted(contributions.items(), key=lambda item: (-abs(item[1]), item[0]))
    rows = [[name, group_of(name), f"{value:+.4f}"] for name, value in ranked if value != 0]
    return "\n".join(
        [
            *_table([["feature", "group", "contribution"], *rows]),
            f"{len(ranked) - len(rows)} features: 0",
        ]
    )


def _groups(evidence: Evidence) -> str:
    sums, weights = (
        sums_of(evidence.contributions),
        weights_of(evidence.contributions, evidence.effects),
    )
    push = sum(weight for weight in weights.values() if weight > 0)
    rows = [
        [
            name,
            f"{sums[name]:+.4f}",
            f"{evidence.effects[name]:+.4f}" if name in evidence.effects else "",
            f"{weight / push:.1%}" if weight > 0 else "",
        ]
        for name, weight in sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    ]
    return "\n".join(_table([["group", "contribution", "effect", "share of the push"], *rows]))


def _score(made: Stages, bundle: Bundle) -> str:
    decision = made.decisions[0]
    rows = [
        [f"base log-odds: mean of kept {decision.product}", f"{decision.base_log_odds:+.4f}"],
        ["+ contributions", f"{math.fsum(made.evidence[0].contributions.values()):+.4f}"],
        ["= log-odds", f"{decision.log_odds:+.4f}"],
        ["probability", f"{decision.probability:.2%}"],
        ["cut-off", f"{bundle.policy.cut_off:.2%}"],
    ]
    return "\n".join(_table(rows))


def _policy(made: Stages, bundle: Bundle) -> str:
    decision, outcome, evidence = made.decisions[0], made.outcomes[0], made.evidence[0]
    account = Account(decision.product, decision.as_of, decision.probability, evidence.values)
    limits, near = limits_by_model([account], bundle.policy)
    loss = expected_loss(
        np.array(decision.probability),
        np.array(evidence.values["limit_now"]),
        np.array(evidence.values["balance_now"]),
        bundle.policy,
    )
    rows = [
        ["near the cut-off", "yes" if near[0] else "no"],
        ["expected loss at this limit", _money(float(loss))],
        ["limit by the model", _money(float(limits[0]))],
        ["decided by the model", "yes" if outcome.by_model else "no"],
        ["rules that decided", ", ".join(hit.rule.code for hit in outcome.hits) or "none"],
        ["limit", _money(decision.credit_limit)],
        ["new limit", _money(decision.new_limit)],
        [
            "proposed limit",
            "" if decision.proposed_limit is None else _money(decision.proposed_limit),
        ],
        ["action", decision.action],
        ["review because", ", ".join(decision.review_because)],
        ["effective on", str(decision.effective_on or "")],
        ["review on", str(decision.review_on or "")],
    ]
    return "\n".join(_table([row for row in rows if row[1]]))


def _reasons(made: Stages) -> str:
    lines = []
    for reason in made.decisions[0].reasons:
        weight = "a rule" if reason.share is None else f"{reason.share:.1%} of the push"
        lines += [
            f"{reason.rank}. {reason.code} ({reason.cause}; {weight})",
            f"   {reason.text.en}",
            f"   {reason.text.zh}",
        ]
    return "\n".join(lines) or "none: the limit stays"


def _notice(made: Stages) -> str:
    notice = made.decisions[0].notice
    if notice is None:
        return "none: the limit stays"
    return "\n\n".join((_notice_line(notice.kind, notice.send_by), notice.text.en, notice.text.zh))


def _feature_rows(features: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    return [
        [
            f["name"],
            _said(f["value"], f["unit"]),
            "accounts that keep their limit:",
            _said(f["reference_value"], f["unit"]),
        ]
        for f in features
    ]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows in columns; those of numbers only, below the first row, stand to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    right = [
        len(rows) > 2 and all(_numeric(row[place]) for row in rows[1:])
        for place in range(len(rows[0]))
    ]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


def _numeric(cell: str) -> bool:
    return not cell or cell[0] in "+-0123456789"


def _plain(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


def _said(value: float | None, unit: Unit) -> str:
    return number(math.nan if value is None else value, unit, "en")


def _money(value: float) -> str:
    return number(value, "CNY", "en")
