"""The words of steps, notes and hardship, from the project's own advice.toml."""

from __future__ import annotations

import dataclasses
import datetime
import math
import re
from importlib.resources import files

import numpy as np
import polars as pl
import pytest

from features.schema import check
from features.window import Window, lay_out
from serving.decision.advice.constraints import UNCONSTRAINED
from serving.decision.advice.plans import Finances, make_plan_grid
from serving.decision.advice.result import FoundPaths, PathMonth, PlanPath, Step
from serving.decision.advice.rollout import Plans
from serving.decision.advice.wording import Teller, hardship_of, plan_notes, plan_steps
from serving.decision.config.advice import read_advice
from serving.decision.config.reasons import Text
from serving.decision.config.strict_toml import ConfigError
from tests.support.each import each

TEXT = files("serving.decision.config").joinpath("advice.toml").read_text("utf-8")
RULES = read_advice(TEXT)
TELLER = Teller(RULES, income=5_000.0, paid_months=6, suspended=False)
TODAY = datetime.date(2026, 11, 28)
LIMIT = 20_000.0


def plan(**changed: float) -> Plans:
    """A plan that changes nothing but what is given."""
    usual = {"spending": math.inf}
    names = [field.name for field in dataclasses.fields(Plans)]
    return Plans(**{name: np.array([changed.get(name, usual.get(name, 0.0))]) for name in names})


def told(teller: Teller = TELLER, **changed: float) -> dict[str, Text]:
    """By lever the text of the plan's steps."""
    return {step.lever: step.text for step in plan_steps(plan(**changed), teller)}


def finances(paid: float) -> Finances:
    return Finances(9_000.0, 0.0, 5_000.0, 500.0, paid, 0.0, 6, True)


def path_of(*payments: float, limit: float = 9_000.0) -> PlanPath:
    """A path from November 2026 whose whole limit is back in its last month."""
    step = Step("no_cash", None, None, Text("Draw no cash.", "不取现。"))
    months = []
    for place, payment in enumerate(payments):
        month = datetime.date(2026 + (10 + place) // 12, (10 + place) % 12 + 1, 1)
        is_last = place == len(payments) - 1
        limit_then = limit if is_last else 9_000.0
        months.append(PathMonth(month, payment, 8_000.0, 0.2, "keep", limit_then, False))
    return PlanPath((step,), 0.1, None, tuple(months))


def test_what_is_paid_at_least_is_called_the_average_that_it_is() -> None:
    """Of payments of 4,743, 711, 1,120, 0 and 0 nobody pays the mean now."""
    for share in (0.0, 0.1):
        text = told(paid_now=1_050.0, paid_share=share, on_time=1.0)["on_time"]
        assert "CNY 1,050, about your average payment of the last 6 months." in text.en
        assert "1,050元（约为您近6个月的月均还款额）" in text.zh
        assert "now" not in text.en
        assert "目前" not in text.zh


@pytest.mark.parametrize("months", [0, 1])
def test_an_amount_that_is_no_average_is_not_called_one(months: int) -> None:
    teller = dataclasses.replace(TELLER, paid_months=months)
    text = told(teller, paid_now=1_050.0, on_time=1.0)["on_time"]
    assert "Pay no less than CNY 1,050. If you owe less" in text.en
    assert "且不少于1,050元；欠款" in text.zh


def test_a_customer_who_can_pay_less_is_not_told_of_an_average() -> None:
    less = dataclasses.replace(UNCONSTRAINED, monthly_payment=400.0)
    assert make_plan_grid(finances(1_080.0), LIMIT, RULES, UNCONSTRAINED, 0.1).paid_months == 6
    assert make_plan_grid(finances(1_080.0), LIMIT, RULES, less, 0.1).paid_months == 0


def test_steps_about_the_use_of_a_suspended_account_are_for_afterwards() -> None:
    suspended = dataclasses.replace(TELLER, suspended=True)
    steps = {"spending": 1_150.0, "no_cash": 1.0, "no_new_credit": 1.0, "on_time": 1.0}
    usual, later = told(TELLER, **steps), told(suspended, **steps)
    assert later["spending"].en == (
        "Once you can use the account again: spend at most CNY 1,150 a month with this account, "
        "23% of your monthly income."
    )
    assert later["no_cash"].zh == "账户恢复使用后：不使用本账户取现。"
    # The controls: other steps, other accounts, and a file of before that has no such text.
    assert later["on_time"] == usual["on_time"]
    assert later["no_new_credit"] == usual["no_new_credit"]
    assert usual["spending"].en.startswith("Spend at most")
    older = dataclasses.replace(suspended, rules=dataclasses.replace(RULES, suspended=None))
    assert told(older, **steps) == usual


def test_amounts_to_pay_are_rounded_up_and_those_to_spend_down() -> None:
    text = told(extra=199.2, repay_elsewhere=50.01, spending=899.9)
    assert "Pay CNY 200 more" in text["extra"].en
    assert "偿还其他机构负债51元" in text["repay_elsewhere"].zh
    assert "at most CNY 899 a month" in text["spending"].en


def test_hardship_asks_for_enough_by_a_day_that_is_to_come() -> None:
    first = hardship_of(path_of(2_857.14, 100.0), 5_000.0, RULES.hardship, TODAY)
    assert first is not None
    assert first.amount == 2_858.0
    assert first.text.en.startswith("By 30 November 2026 these steps ask for CNY 2,858, which is")
    assert "不晚于2026年11月30日还款2,858元" in first.text.zh
    # On the last day it is still true; after it, the next month that asks for much is told.
    asked = path_of(2_857.14, 100.0, 2_500.0)
    last = hardship_of(asked, 5_000.0, RULES.hardship, datetime.date(2026, 11, 30))
    assert last == first
    later = hardship_of(asked, 5_000.0, RULES.hardship, datetime.date(2026, 12, 1))
    assert later is not None
    assert later.month == datetime.date(2027, 1, 1)


def window() -> Window:
    """One account with one statement."""
    amounts = dict.fromkeys(("spend", "cash_advance", "payment", "external_debt"), 0.0)
    counts = dict.fromkeys(("days_past_due", "limit_requests", "credit_inquiries"), 0)
    row = {
        "account_id": "a",
        "product": "pay_later",
        "month": [datetime.date(2026, 10, 1)],
        "credit_limit": LIMIT,
        "balance": 8_000.0,
        "minimum_due": 800.0,
        "income": 5_000.0,
    }
    return lay_out(check(pl.DataFrame(row | amounts | counts)))


def notes_of(path: PlanPath, most: float | None = None) -> list[str]:
    """The English notes on a plan, where harmful ones would bring the limit back."""
    found = FoundPaths(path, path, path, True, LIMIT, 9_000.0, None)
    own = dataclasses.replace(UNCONSTRAINED, monthly_payment=most)
    return [note.en for note in plan_notes(window(), 0, found, own, RULES, TODAY)]


def test_notes_on_harmful_steps_do_not_contradict_the_others() -> None:
    """Steps that are shown, and nothing that can be advised, are other steps than the harmful."""
    narrow, short = path_of(100.0, 100.0, limit=LIMIT), path_of(100.0, 100.0)
    outcomes = {
        "these steps would bring the whole limit back in December 2026": notes_of(narrow),
        "nothing that we can advise surely brings": notes_of(short),
        "With the amounts that you have set, nothing": notes_of(short, most=2_000.0),
    }
    for outcome, notes in each(outcomes.items()):
        assert outcome in notes[0]
        assert notes[1].startswith("Other steps than these would bring the limit back.")
        assert "There are steps" not in " ".join(notes)
    # The control: where no step is shown there are no others.
    notes = notes_of(dataclasses.replace(short, steps=()))
    assert "know of no steps to advise" in notes[0]
    assert notes[1].startswith("There are steps that would bring the limit back.")


def test_a_payment_beyond_what_can_be_paid_is_asked_for_by_a_day() -> None:
    notes = notes_of(path_of(100.0, 2_857.14), most=2_000.0)
    assert notes[-1] == (
        "By 31 December 2026 this comes to CNY 2,858, more than you say you can pay a month. "
        "Please ask us by then."
    )


def test_a_file_of_before_is_read() -> None:
    """A bundle of this format that was fitted before these texts came."""
    older = re.sub(r"\[(suspended|notes\.others_harmful)\](.|\n)*?(?=\n\[|\n#)", "", TEXT)
    older = re.sub(r"\n(en|zh)_average = .*", "", older).replace("{average}", "")
    rules = read_advice(re.sub(r"(By |不晚于)\{day\}", r"\1{month}", older))
    teller = dataclasses.replace(TELLER, rules=rules)
    assert told(teller, paid_now=50.0, on_time=1.0)["on_time"].en.count("CNY 50.") == 1
    burden = hardship_of(path_of(2_857.14), 5_000.0, rules.hardship, TODAY)
    assert burden is not None
    assert burden.text.en.startswith("By November 2026")


def test_a_text_without_its_day_is_refused() -> None:
    text = TEXT.replace("By {day} these steps", "By then these steps")
    with pytest.raises(ConfigError, match=r"\[hardship\] en: expected the placeholder 'day'"):
        read_advice(text)
