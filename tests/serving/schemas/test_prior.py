"""A prior as JSON."""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.limits import LARGEST_AMOUNT, round_amount
from serving.decision.policy import prior as policy_prior
from serving.schemas import examples
from serving.schemas.base import encode, parse
from serving.schemas.decision import Request
from serving.schemas.prior import Prior, make_prior, priors_of
from serving.web.errors import ApiError
from tests.support.each import each

Json = dict[str, Any]
PRIOR: Json = {
    "limit_before": 45000.0,
    "balance_before": 17450.0,
    "first_cut_on": "2026-05-03",
    "last_cut_on": "2026-07-03",
    "log_odds": -1.25,
    "limit_after": 20000.0,
    "limit_in_force": 30000.0,
    "in_force_from": "2026-10-03",
    "suspended": False,
    "restored_on": "2026-10-03",
    "referred_on": None,
    "review_on": "2027-01-03",
    "decisions": ["01a1c4af-86fb-8550-97d9-e511ab2309c0"],
}


def parse_request(**fields: Any) -> Request:
    return parse(Request, json.dumps(examples.REQUEST | fields).encode())


def paths_of(**fields: Any) -> list[str]:
    with pytest.raises(ApiError) as caught:
        parse_request(**fields)
    return [fault.path for fault in caught.value.problem.errors]


def test_the_fields_are_those_of_the_decision_and_each_is_described() -> None:
    names = [field.name for field in dataclasses.fields(policy_prior.Prior)]
    assert list(Prior.model_fields) == names
    for name, field in each(Prior.model_fields.items()):
        assert field.description, name
        assert field.is_required(), name


days = st.dates(datetime.date(1900, 1, 1), datetime.date(2099, 12, 31))
amounts = st.floats(0.0, LARGEST_AMOUNT).map(round_amount)
priors = st.builds(
    policy_prior.Prior,
    limit_before=amounts,
    balance_before=amounts.map(lambda amount: round_amount(-amount)),
    first_cut_on=st.none() | days,
    last_cut_on=st.none() | days,
    log_odds=st.none() | st.floats(-20, 20),
    limit_after=amounts,
    limit_in_force=amounts,
    in_force_from=days,
    suspended=st.booleans(),
    restored_on=st.none() | days,
    referred_on=st.none() | days,
    review_on=st.none() | days,
    decisions=st.lists(st.uuids().map(str), max_size=64).map(tuple),
)


@given(priors)
def test_a_prior_survives_its_json(known: policy_prior.Prior) -> None:
    made = make_prior(known)
    assert made is not None
    request = parse_request(prior=json.loads(encode(made)))
    assert priors_of([request]) == {"A-1027": known}
    assert request.prior is not None
    assert encode(request.prior) == encode(made)


def test_left_out_and_null_are_told_apart() -> None:
    left_out, null = parse_request(), parse_request(prior=None)
    assert (left_out.states_prior, null.states_prior) == (False, True)
    assert (left_out.prior, null.prior) == (None, None)
    assert priors_of([left_out, null]) == {}
    # A request without the field keeps the bytes that it had before there was one.
    assert json.loads(encode(left_out)) == examples.REQUEST
    assert json.loads(encode(null)) == examples.REQUEST | {"prior": None}
    assert parse_request(**json.loads(encode(null))).states_prior


def test_the_prior_of_the_record_can_be_put_into_a_request() -> None:
    request, stated = parse_request(), parse_request(prior=PRIOR)
    filled = request.model_copy(update={"prior": stated.prior})
    assert encode(filled) == encode(stated)
    assert encode(request.model_copy(update={"prior": None})) == encode(parse_request(prior=None))


WRONG: list[tuple[str, Any]] = [
    ("limit_before", -0.01),
    ("limit_before", 2 * LARGEST_AMOUNT),
    ("limit_after", "20000"),
    ("limit_in_force", None),
    ("balance_before", None),
    ("first_cut_on", "2026-05"),
    ("last_cut_on", 20260703),
    ("log_odds", 1e300),
    ("in_force_from", None),
    ("suspended", 0),
    ("restored_on", ""),
    ("review_on", "2027-02-30"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_field_is_refused_with_its_path(name: str, value: Any) -> None:
    assert paths_of(prior=PRIOR | {name: value}) == [f"$.prior.{name}"]


@pytest.mark.parametrize("name", PRIOR)
def test_no_field_may_be_missing(name: str) -> None:
    fewer = {other: value for other, value in PRIOR.items() if other != name}
    assert paths_of(prior=fewer) == [f"$.prior.{name}"]


def test_ids_are_bounded_and_unknown_fields_are_refused() -> None:
    assert paths_of(prior=PRIOR | {"decisions": ["x"] * 65}) == ["$.prior.decisions"]
    assert paths_of(prior=PRIOR | {"decisions": [""]}) == ["$.prior.decisions[0]"]
    assert paths_of(prior=PRIOR | {"decisions": ["x" * 65]}) == ["$.prior.decisions[0]"]
    assert paths_of(prior=PRIOR | {"limit": 1.0}) == ["$.prior.limit"]
