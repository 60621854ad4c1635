from __future__ import annotations

import dataclasses
from importlib.resources import files

import pytest

from serving.decision.config.reasons import Text, read_wording
from serving.decision.notice import Subject, make_notice
from serving.decision.policy.outcome import apply
from tests.support.each import each
from tests.support.policies import DECIDED_AT, POLICY, make_account

WORDING = read_wording(files("serving.decision.config").joinpath("reasons.toml").read_text("utf-8"))
REDUCED = apply(make_account(0.3, 20_000.0, 4_000.0), POLICY, DECIDED_AT)
SUBJECT = Subject("card-0042", "cash_loan", 20_000.0, 20_000.0, (), None)


def texts_with(rights: Text) -> Text:
    wording = dataclasses.replace(WORDING, notice={**WORDING.notice, "rights": rights})
    notice = make_notice(REDUCED, SUBJECT, wording, POLICY, DECIDED_AT)
    assert notice is not None
    return notice.text


def test_a_notice_has_the_texts_of_its_own_wording() -> None:
    """Forms are kept by the identity of a wording, of which more are made than are kept."""
    for number in each(range(20)):
        text = texts_with(Text(f"Call {number}.", f"请致电{number}。"))
        assert text.en.endswith(f"\n\nCall {number}.")
        assert text.zh.endswith(f"\n\n请致电{number}。")


def test_a_percent_sign_stays_as_it_is() -> None:
    text = texts_with(Text("We read 100% of letters: %s, %(rank)s.", "100%%"))
    assert text.en.endswith("\n\nWe read 100% of letters: %s, %(rank)s.")
    assert text.zh.endswith("\n\n100%%")


def test_a_placeholder_that_no_notice_has_is_refused() -> None:
    with pytest.raises(KeyError, match="shoe_size"):
        texts_with(Text("Your shoes: {shoe_size}.", ""))
