"""From the outcome of each account to its decision: id, reasons, comparison, notice and advice."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from features.ledger import DAYS_A_MONTH
from features.months import add_months
from serving.decision.advice.result import Advice
from serving.decision.advice.staircase import LimitCut
from serving.decision.bundle import Bundle
from serving.decision.config.advice import NoteName
from serving.decision.config.policy import Policy
from serving.decision.config.quick_init import quick_init
from serving.decision.config.reasons import Text
from serving.decision.ids import decision_ids
from serving.decision.notice import AlsoKnown, Subject, has_notice, make_notice
from serving.decision.policy.dates import effective_date, local_date
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Outcome, change_of
from serving.decision.policy.prior import Change, after
from serving.decision.policy.since_last import Earlier, describe_rise
from serving.decision.reasons.comparison import ComparisonNote, describe
from serving.decision.reasons.income_fall import income_fell, tells_income_fall
from serving.decision.reasons.naming import group_of, pushed, worst_fact
from serving.decision.reasons.ranking import Evidence, Ranked, Reason, principal_reasons
from serving.decision.reasons.sentence import say
from serving.decision.reasons.wording import day
from serving.decision.result import Advised, Decision, Found
from serving.decision.scoring.score import logit


@quick_init
@dataclass(frozen=True, slots=True)
class Making:
    """What decisions are made of besides the results of the stages.

    Attributes:
        rankings: Of the reason groups, in order of account; None where the model did not decide.
        decided_at: The time of the decision, with a time zone.
        id_key: Keys the decisions' ids.
        earlier: The latest earlier decisions, by account.
    """

    rankings: Sequence[Ranked | None]
    decided_at: datetime.datetime
    id_key: bytes
    earlier: Mapping[str, Earlier]


def make_decisions(result: Found, making: Making, bundle: Bundle) -> list[Decision]:
    """One decision per account, in order of account; ``result`` has all stages before."""
    ids = _make_ids(result, making, bundle)
    return [
        _make_decision(place, decision_id, result, making, bundle)
        for place, decision_id in enumerate(ids)
    ]


def _make_ids(result: Found, making: Making, bundle: Bundle) -> list[str]:
    account_ids = result.statements.account_ids
    past: dict[str, str] = {}
    for account_id, account in zip(account_ids, result.accounts, strict=True):
        if account.prior is not None:
            past[account_id] = account.prior.text()
        if account_id in making.earlier:
            past[account_id] = past.get(account_id, "") + making.earlier[account_id].decision_id
    return decision_ids(
        result.statements.texts(),
        bundle.digest,
        making.decided_at,
        making.id_key,
        past,
    )


def _make_decision(
    place: int, decision_id: str, result: Found, making: Making, bundle: Bundle
) -> Decision:
    account, outcome = result.accounts[place], result.outcomes[place]
    evidence, scores = result.evidence[place], result.scores
    reasons = principal_reasons(
        evidence,
        outcome.hits,
        outcome.by_model,
        bundle.wording,
        making.rankings[place],
    )
    comparison = _describe_comparison(outcome, evidence, bundle)
    notice = None
    if has_notice(outcome):
        subject = _subject_of(place, result, reasons, comparison, bundle)
        notice = make_notice(
            outcome,
            subject,
            bundle.wording,
            bundle.policy,
            making.decided_at,
        )
    return Decision(
        decision_id=decision_id,
        account_id=result.statements.account_ids[place],
        product=account.product,
        as_of=account.as_of,
        decided_at=making.decided_at.astimezone(datetime.UTC),
        action=outcome.action,
        credit_limit=account.limit,
        new_limit=outcome.new_limit,
        proposed_limit=outcome.proposed_limit,
        effective_on=outcome.effective_on,
        review_on=outcome.review_on,
        review_because=outcome.review_because,
        probability=float(scores.probability[place]),
        log_odds=float(scores.log_odds[place]),
        base_log_odds=float(scores.base_log_odds[place]),
        cut_off=bundle.policy.cut_off(account.product),
        reasons=reasons,
        leaders=sum(reason.leader for reason in reasons),
        comparison=comparison,
        notice=notice,
        suspended=outcome.suspended,
        prior=account.prior,
        arm=result.arms[place],
        since_last=result.changes[place],
    )


def _subject_of(
    place: int,
    result: Found,
    reasons: Sequence[Reason],
    comparison: ComparisonNote | None,
    bundle: Bundle,
) -> Subject:
    """What the notice to an account is about."""
    account, outcome = result.accounts[place], result.outcomes[place]
    evidence = result.evidence[place]
    since_last = describe_rise(result.changes[place], outcome, reasons, bundle.wording)
    return Subject(
        account_id=result.statements.account_ids[place],
        product=account.product,
        credit_limit=account.limit,
        limit_before=account.limit_measured,
        reasons=reasons,
        comparison=None if comparison is None else Text(comparison.en, comparison.zh),
        since_last=since_last,
        also_known=_also_known(outcome, reasons, evidence, bundle),
        overdue=evidence.values.get("days_past_due_now", 0.0) >= DAYS_A_MONTH,
    )


def _also_known(
    outcome: Outcome,
    reasons: Sequence[Reason],
    evidence: Evidence,
    bundle: Bundle,
) -> list[AlsoKnown]:
    """The facts that the customer would look for and that no reason tells."""
    if not outcome.by_model or outcome.action == "restore":
        return []
    facts = []
    delay = worst_fact(evidence, bundle.wording)
    told_delay = None if delay is None else _delay_not_told(delay, reasons, evidence, bundle)
    if delay is not None and told_delay is not None:
        counted = pushed((delay,), evidence)
        facts.append(AlsoKnown(told_delay, counted))
    fell = income_fell(evidence, bundle.wording)
    if fell is not None and not tells_income_fall(reasons, evidence, bundle.wording):
        counted = pushed(("income", "income_change_12"), evidence)
        facts.append(AlsoKnown(fell, counted))
    return facts


def _delay_not_told(
    fact: str,
    reasons: Sequence[Reason],
    evidence: Evidence,
    bundle: Bundle,
) -> Text | None:
    """The sentence of a delay that is never silent; None if a reason tells of it."""
    sentence = say(group_of(fact), fact, evidence, bundle.wording)
    is_told = any(
        sentence.en in reason.text.en or _names_delay(reason, evidence.values[fact])
        for reason in reasons
    )
    return None if is_told else sentence


def _names_delay(reason: Reason, days: float) -> bool:
    """Whether the sentence of a reason is about a delay of so many days."""
    named = reason.features[0]
    return named.unit == "days" and named.value == days


def _describe_comparison(
    outcome: Outcome, evidence: Evidence, bundle: Bundle
) -> ComparisonNote | None:
    if outcome.action == "restore" or (outcome.action == "keep" and not outcome.looked):
        return None
    return describe(
        evidence.comparison,
        bundle.wording,
        bundle.policy.version,
        bundle.digest,
    )


def cut_with_way_back(
    decision: Decision, outcome: Outcome, account: Account, policy: Policy
) -> LimitCut | None:
    """The cut that is made, proposed or still in force, if behaviour may win it back; else None.

    It can win back what the model cut, and a suspension by a rule, such as that on past-due
    accounts.  A cap that a rule sets alone stays until what the rule looks at changes.
    """
    today = local_date(decision.decided_at, policy)
    change = change_of(outcome, account, decision.decision_id, today)
    if decision.action == "review":
        change = _as_confirmed(change, outcome, policy)
    left = after(account.prior, change)
    if left is None or not left.cuts:
        return None
    is_new = change.limit < change.limit_before or outcome.suspends
    if is_new and not (outcome.by_model or change.suspended):
        return None
    return LimitCut(
        product=decision.product,
        as_of=decision.as_of,
        limit_before=left.limit_before,
        limit_after=left.limit_in_force,
        suspended=left.suspended,
        prior=left,
        decided_on=today,
    )


def _as_confirmed(change: Change, outcome: Outcome, policy: Policy) -> Change:
    """What a proposal puts in force if a person confirms it on the same day."""
    if outcome.proposed_limit is None:
        return change
    return replace(
        change,
        limit=outcome.proposed_limit,
        effective_on=effective_date(change.on, policy),
        suspended=outcome.suspends or outcome.suspended,
        review_on=add_months(change.on, int(policy.dates.review_after_months)),
        refers=False,
    )


def add_advice(
    decision: Decision, outcome: Outcome, advice: Advice | None, bundle: Bundle
) -> Advised:
    """The decision with its advice, or with the note that says why it has none."""
    texts = bundle.advice.notes
    below_cut_off = None
    if decision.cut_off < 1.0:
        below_cut_off = logit(decision.cut_off) - decision.log_odds
    if advice is None:
        return Advised(
            decision,
            below_cut_off,
            (_why_no_advice(decision, outcome, texts),),
            None,
        )
    proposed = (texts["proposed"],) if decision.action == "review" else ()
    return Advised(decision, below_cut_off, proposed + advice.notes, advice)


def _why_no_advice(decision: Decision, outcome: Outcome, texts: Mapping[NoteName, Text]) -> Text:
    """The note on an account without advice, with the day of the next look if a rule cut it."""
    if not outcome.hits or decision.review_on is None:
        return texts["not_cut"]
    note = texts["asked_by_rule" if decision.action == "review" else "by_rule"]
    return Text(
        note.en.format(day=day(decision.review_on, "en")),
        note.zh.format(day=day(decision.review_on, "zh")),
    )
