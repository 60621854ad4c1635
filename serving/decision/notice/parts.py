"""Which of the texts in reasons.toml a notice is put together from, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from serving.decision.config.quick_init import quick_init
from serving.decision.config.reasons import Wording
from serving.decision.notice.subject import Subject
from serving.decision.policy.outcome import Action, Outcome

_RIGHTS: Mapping[Action, str] = {"review": "hearing", "restore": "rights_after_return"}


@quick_init
@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a notice by name: all that it says apart from the words of its case.

    ``main`` and ``further`` are the headings above the reasons; None where there is no such reason.
    ``also_known`` has the placeholder of the facts in each part, with the part's name.
    ``compares`` = whether a sentence speaks of the comparison accounts, by language.
    """

    product: str
    opening: tuple[str, ...]
    proposal: tuple[str, ...]
    main: str | None
    further: str | None
    also_known: tuple[tuple[str, str], ...]
    tells_change: bool
    compares: tuple[bool, bool]
    rights: str


def choose_parts(outcome: Outcome, subject: Subject, wording: Wording) -> Parts:
    """The parts of the notice of an outcome."""
    overdue = ["overdue"] if subject.overdue and "overdue" in wording.notice else []
    leaders = [reason.leader for reason in subject.reasons]
    main, further = leaders.count(True), leaders.count(False)
    heading = "reasons_for_less" if _gives_less(outcome) else _heading("reason", main, wording)
    return Parts(
        product=subject.product,
        opening=(*_sentences(outcome, subject, wording), *overdue),
        proposal=_proposal(outcome, wording) if outcome.action == "review" else (),
        main=heading if main else None,
        further=_heading("further_reason", further, wording) if further else None,
        also_known=_also_known(subject, wording) if subject.also_known else (),
        tells_change=subject.since_last is not None,
        compares=_compares(subject, wording),
        rights=_RIGHTS.get(outcome.action, "rights"),
    )


def _gives_less(outcome: Outcome) -> bool:
    """Whether the reasons say why a reduced limit is not higher."""
    is_look = outcome.action == "keep" and not outcome.suspended
    return is_look or outcome.action == "restore"


def _heading(one: str, reasons: int, wording: Wording) -> str:
    """The part above so many reasons: that of one reason, or that of several."""
    return one if reasons == 1 and one in wording.notice else f"{one}s"


def _also_known(subject: Subject, wording: Wording) -> tuple[tuple[str, str], ...]:
    """The part of the facts that counted less than the reasons, and that of the others."""
    counted = {fact.counted for fact in subject.also_known}
    parts = []
    if True in counted:
        part = "also_counted" if "also_counted" in wording.notice else "also_known"
        parts.append(("also_counted", part))
    if False in counted:
        parts.append(("also_known", "also_known"))
    return tuple(parts)


def _compares(subject: Subject, wording: Wording) -> tuple[bool, bool]:
    """Whether a sentence speaks of the comparison accounts, in English and in Chinese."""
    if subject.comparison is None:
        return False, False
    name = wording.comparison_name
    return (
        any(name.en in reason.text.en for reason in subject.reasons),
        any(name.zh in reason.text.zh for reason in subject.reasons),
    )


def _sentences(outcome: Outcome, subject: Subject, wording: Wording) -> list[str]:
    """The parts of the first paragraph."""
    if outcome.action == "restore":
        return _sentences_of_return(outcome, subject, wording)
    if outcome.action == "keep":
        still = "still_suspended" if outcome.suspended else "still_reduced"
        return [still, *_sentences_ahead(outcome, subject)]
    # A suspension leaves the limit as it is where nearly all of it is drawn.
    if outcome.action == "suspend" and outcome.new_limit != subject.credit_limit:
        return _with_why("suspend_and_reduce", wording)
    return [outcome.action]


def _with_why(part: str, wording: Wording) -> list[str]:
    """A part, and after a suspension that lowers the limit the part that says why it falls."""
    lowers = part in ("suspend_and_reduce", "propose_suspend_and_reduce")
    return [part, "why_less"] if lowers and "why_less" in wording.notice else [part]


def _sentences_of_return(outcome: Outcome, subject: Subject, wording: Wording) -> list[str]:
    is_raised = outcome.new_limit > subject.credit_limit
    opening = "raise"
    if outcome.lifts:
        opening = "allow_and_raise" if is_raised else "allow"
    if is_raised and outcome.new_limit >= subject.limit_before:
        return [opening, "whole_limit"]
    ahead = _sentences_ahead(outcome, subject)
    # Where a rule's cap holds the rest back, the reason of that rule says so.
    is_step = outcome.new_limit < subject.limit_before and not outcome.hits
    if is_step and "in_steps" in wording.notice:
        ahead.insert(ahead.index("limit_before") + 1, "in_steps")
    return [opening, *ahead]


def _sentences_ahead(outcome: Outcome, subject: Subject) -> list[str]:
    """The limit that is not back yet, and the next look."""
    parts = ["limit_before"] if outcome.new_limit < subject.limit_before else []
    return parts if outcome.review_on is None else [*parts, "next_look"]


def _proposal(outcome: Outcome, wording: Wording) -> tuple[str, ...]:
    """The parts of a proposal, and that on a decision that is near the cut-off."""
    parts = _with_why(_proposed(outcome), wording)
    return (*parts, "close") if "near_cut_off" in outcome.review_because else tuple(parts)


def _proposed(outcome: Outcome) -> str:
    """The template of the proposal; under review ``new_limit`` is the present limit."""
    proposed = outcome.new_limit if outcome.proposed_limit is None else outcome.proposed_limit
    lower, higher = proposed < outcome.new_limit, proposed > outcome.new_limit
    if outcome.lifts:
        return "propose_allow_and_raise" if higher else "propose_allow"
    if higher:
        return "propose_raise"
    if outcome.suspends:
        return "propose_suspend_and_reduce" if lower else "propose_suspend"
    return "propose_reduce" if lower else "propose_nothing"
