"""Decisions as text: every stage of the flow as a table, and an answer as a letter words it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from features.catalogue import BY_NAME, Unit
from serving.decision.bundle import Bundle
from serving.decision.policy.limit import (
    Account,
    expected_loss,
    limits_by_model,
    lines_of_accounts,
)
from serving.decision.reasons.naming import group_of
from serving.decision.reasons.ranking import Evidence, sums_of
from serving.decision.reasons.wording import amount_due, number
from serving.decision.result import Stages

_ACTIONS = {
    "keep": "the limit stays",
    "reduce": "the limit is reduced",
    "suspend": "no new drawings",
    "restore": "a part of what was taken, or all of it, comes back",
    "review": "a person decides; nothing changes yet",
}
_NO_CUT = "none: the limit stays"
_LABEL_WIDTH = 17  # of the answer's first column

Row = Sequence[str]


def stages_text(made: Stages, bundle: Bundle) -> str:
    """The result of every stage for the one account in ``made``."""
    evidence, decision = made.evidence[0], made.decisions[0]
    sections = [
        ("Statements", _statements(made)),
        ("Features", _features(evidence.values, evidence.comparison.medians, decision.product)),
        ("Contributions to the log-odds", _contributions(evidence.contributions)),
        ("Reason groups", _groups(evidence)),
        ("Score", _score(made, bundle)),
        ("Policy", _policy(made, bundle)),
        ("Reasons", _reasons(made)),
        ("Notice", _notice(made)),
    ]
    return "\n\n".join(f"{title}\n{'=' * len(title)}\n{text}" for title, text in sections)


def answer_text(answer: Mapping[str, Any], arm: str | None = None) -> str:
    """An answer of the service, as parsed from JSON, in words.

    ``arm`` is the account's arm in the record; None also if only the answer is known.
    """
    lines = [
        f"Account {answer['account_id']}, statements up to {answer['as_of']}",
        f"Decision {answer['decision_id']} of {answer['decided_at']}",
        "",
    ]
    rows = [*_outcome_rows(answer), ("Left alone", _why_left_alone(answer, arm))]
    lines += [f"{label:<{_LABEL_WIDTH}}{value}" for label, value in rows if value]
    lines += ["", "Reasons" if answer["reasons"] else "No reasons: nothing is cut."]
    for reason in answer["reasons"]:
        lines += _answer_reason(reason)
    if answer["comparison"]:
        lines += ["", answer["comparison"]["en"], answer["comparison"]["zh"]]
    if answer.get("advice"):
        lines += ["", "The way back"]
        lines += [f"  {line}".rstrip() for line in _advice(answer["advice"])]
    model = answer["model"]
    lines += [
        "",
        f"Model {model['name']} version {model['version']}, policy {model['policy']}, "
        f"bundle {model['bundle'][:12]}",
    ]
    return "\n".join(lines)


def _outcome_rows(answer: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Labels and values; an empty value is not shown."""
    action, proposed, notice = answer["action"], answer["proposed_limit"], answer["notice"]
    probability = f"{answer['probability']:.1%}"
    return [
        ("Action", f"{action}: {_ACTIONS[action]}"),
        ("Credit limit", _money(answer["credit_limit"])),
        ("New limit", _money(answer["new_limit"])),
        ("Proposed limit", None if proposed is None else _money(proposed)),
        ("Effective on", answer["effective_on"]),
        ("Review on", answer["review_on"]),
        ("Review because", ", ".join(answer["review_because"])),
        ("Notice", None if notice is None else _notice_line(notice["kind"], notice["send_by"])),
        ("Probability", f"{probability} (limits are cut above {answer['cut_off']:.1%})"),
    ]


def _why_left_alone(answer: Mapping[str, Any], arm: str | None) -> str | None:
    """Why a limit stays at such a probability; None for every other answer."""
    if arm == "control":
        return "the model would cut the limit, but the account is in the control arm"
    if answer["action"] == "keep" and answer["probability"] > answer["cut_off"]:
        return "the cut would be too small or too soon, or the account is in the control arm"
    return None


def _answer_reason(reason: Mapping[str, Any]) -> list[str]:
    text, by_rule = reason["text"], reason["share"] is None
    table = _table([_feature_row(feature, compared=not by_rule) for feature in reason["features"]])
    return [
        f"  {reason['rank']}. {text['en']}",
        f"     {text['zh']}",
        *(f"       {line}" for line in table),
    ]


def _feature_row(feature: Mapping[str, Any], compared: bool) -> Row:
    own = [feature["name"], _value(feature["value"], feature["unit"])]
    if not compared:  # a rule looks at no other account
        return own
    reference = _value(feature["reference_value"], feature["unit"])
    return [*own, "comparison accounts:", reference]


def _advice(advice: Mapping[str, Any]) -> list[str]:
    notes = _both_languages(advice["notes"])
    found = advice["way_back"]
    if found is None:
        return notes
    plan = found["plan"]
    if plan["restored"]:
        lines = [f"The limit is back after {plan['restored']}, if you do this every month:"]
    else:
        lines = ["What lowers the risk most, if you do it every month:"]
    for step in plan["steps"]:
        lines += [f"- {step['text']['en']}", f"  {step['text']['zh']}"]
    lines += ["", *_path_table(plan["path"], found["carry_on"]["path"]), ""]
    lines += _both_languages(step["text"] for step in found["arrears"])
    lines += _both_languages(aged["text"] for aged in found["ageing"])
    if hardship := found["hardship"]:
        lines += _both_languages(hardship[name] for name in ("text", "contact", "debt_advice"))
    return [*lines, *notes, f"Holds until {found['expires_on']}."]


def _both_languages(texts: Iterable[Mapping[str, str]]) -> list[str]:
    return [line for text in texts for line in (text["en"], text["zh"])]


def _path_table(
    path: Iterable[Mapping[str, Any]], carry_on: Iterable[Mapping[str, Any]]
) -> list[str]:
    header = ["month", "payment", "owed then", "probability", "limit", "probability as before"]
    rows = [
        [
            month["month"],
            amount_due(month["payment"], "en"),
            _money(month["balance"]),
            f"{month['probability']:.1%}",
            _money(month["limit"]),
            f"{unchanged['probability']:.1%}",
        ]
        for month, unchanged in zip(path, carry_on, strict=True)
    ]
    return _table([header, *rows])


def _statements(made: Stages) -> str:
    statements = made.statements.drop("account_id", "product")
    rows = []
    for month, *values in statements.iter_rows():
        rows.append([f"{month:%Y-%m}", *(_plain(value) for value in values)])
    return "\n".join(_table([statements.columns, *rows]))


def _features(
    values: Mapping[str, float],
    reference: Mapping[str, float],
    product: str,
) -> str:
    rows = [["feature", "value", f"median of compared {product}", "unit"]]
    for name, value in values.items():
        unit = BY_NAME[name].unit
        median = ""
        if name in reference:
            median = _value(reference[name], unit)
        row = [name, _value(value, unit), median, unit]
        rows.append(row)
    return "\n".join(_table(rows))


def _contributions(contributions: Mapping[str, float]) -> str:
    moving = {name: value for name, value in contributions.items() if value != 0}
    names = sorted(moving, key=lambda name: (-abs(moving[name]), name))
    rows = [["feature", "group", "contribution"]]
    for name in names:
        row = [name, group_of(name), _signed(moving[name])]
        rows.append(row)
    lines = _table(rows)
    silent = len(contributions) - len(moving)
    lines.append(f"{silent} features: 0")
    return "\n".join(lines)


def _groups(evidence: Evidence) -> str:
    sums = sums_of(evidence.contributions)
    push = sum(total for total in sums.values() if total > 0)
    names = sorted(sums, key=lambda name: (-sums[name], name))
    rows = [["group", "contribution", "share of the push"]]
    for name in names:
        share = ""
        if sums[name] > 0:
            share = f"{sums[name] / push:.1%}"
        row = [name, _signed(sums[name]), share]
        rows.append(row)
    return "\n".join(_table(rows))


def _score(made: Stages, bundle: Bundle) -> str:
    decision = made.decisions[0]
    contributions = made.evidence[0].contributions
    total = math.fsum(contributions.values())
    base = f"base log-odds: mean of kept {decision.product}"
    rows = [
        [base, _signed(decision.base_log_odds)],
        ["+ contributions", _signed(total)],
        ["= log-odds", _signed(decision.log_odds)],
        ["probability", f"{decision.probability:.2%}"],
        ["cut-off", f"{decision.cut_off:.2%}"],
    ]
    return "\n".join(_table(rows))


def _policy(made: Stages, bundle: Bundle) -> str:
    decision, outcome, evidence = made.decisions[0], made.outcomes[0], made.evidence[0]
    account = Account(
        decision.product,
        decision.as_of,
        decision.probability,
        evidence.values,
    )
    limits, near = limits_by_model([account], bundle.policy)
    lines = lines_of_accounts([account], bundle.policy)
    loss = expected_loss(np.array([decision.probability]), lines, bundle.policy)
    proposed = decision.proposed_limit
    rows = [
        ["near the cut-off", _yes_no(bool(near[0]))],
        ["expected loss at this limit", _money(float(loss[0]))],
        ["limit by the model", _money(float(limits[0]))],
        ["decided by the model", _yes_no(outcome.by_model)],
        ["rules that decided", ", ".join(hit.rule.code for hit in outcome.hits) or "none"],
        ["limit", _money(decision.credit_limit)],
        ["new limit", _money(decision.new_limit)],
        ["proposed limit", "" if proposed is None else _money(proposed)],
        ["action", decision.action],
        ["review because", ", ".join(decision.review_because)],
        ["effective on", str(decision.effective_on or "")],
        ["review on", str(decision.review_on or "")],
    ]
    return "\n".join(_table([row for row in rows if row[1]]))


def _reasons(made: Stages) -> str:
    lines = []
    for reason in made.decisions[0].reasons:
        share = "a rule" if reason.share is None else f"{reason.share:.1%} of the push"
        main = "; main" if reason.leader else ""
        lines += [
            f"{reason.rank}. {reason.code} ({reason.cause}; {share}{main})",
            f"   {reason.text.en}",
            f"   {reason.text.zh}",
        ]
    return "\n".join(lines) or _NO_CUT


def _notice(made: Stages) -> str:
    notice = made.decisions[0].notice
    if notice is None:
        return _NO_CUT
    head = _notice_line(notice.kind, notice.send_by)
    parts = (head, notice.text.en, notice.text.zh)
    return "\n\n".join(parts)


def _notice_line(kind: str, send_by: object) -> str:
    return f"{kind.replace('_', ' ')}, to be sent by {send_by}"


def _table(rows: Sequence[Row]) -> list[str]:
    """Align rows in columns; columns with only numbers below the header are right-aligned."""
    columns = [_align(column) for column in zip(*rows, strict=True)]
    lines = []
    for cells in zip(*columns, strict=True):
        line = "  ".join(cells)
        lines.append(line.rstrip())
    return lines


def _align(column: Row) -> Row:
    width = max(len(cell) for cell in column)
    # Two rows may be a table without a header, as those of a reason are.
    if len(column) > 2 and all(_is_number(cell) for cell in column[1:]):
        return [cell.rjust(width) for cell in column]
    return [cell.ljust(width) for cell in column]


def _is_number(cell: str) -> bool:
    return not cell or cell[0] in "+-0123456789"


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _plain(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


def _value(value: float | None, unit: Unit) -> str:
    return number(math.nan if value is None else value, unit, "en")


def _signed(log_odds: float) -> str:
    return f"{log_odds:+z.4f}"  # "z": what rounds to zero is +0.0000


def _money(value: float) -> str:
    return number(value, "CNY", "en")
