from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from serving.web.errors import MAX_LISTED, ApiError, Problem
from serving.web.params import read_switches

KNOWN = ("advice",)
MARK = "Geheimnis7319"


def problem_of(query: str) -> Problem:
    with pytest.raises(ApiError) as caught:
        read_switches(QueryParams(query.encode("latin-1")), KNOWN)
    return caught.value.problem


def test_a_switch_is_on_only_where_it_is_true() -> None:
    assert read_switches(QueryParams("advice=true"), KNOWN) == {"advice"}
    # The same URL in another encoding.
    assert read_switches(QueryParams("advi%63e=true"), KNOWN) == {"advice"}
    assert read_switches(QueryParams("advice=false"), KNOWN) == frozenset()
    assert read_switches(QueryParams(""), KNOWN) == frozenset()
    assert read_switches(QueryParams(""), ()) == frozenset()


NEARLY = ["0", "1", "True", "TRUE", "yes", "on", "null", " true", "true ", "true,false", ""]


@given(
    st.sampled_from(NEARLY)
    | st.text(max_size=12).filter(lambda value: value not in ("true", "false"))
)
def test_any_other_value_is_refused_and_not_repeated(value: str) -> None:
    problem = problem_of(f"advice={quote(value, safe='')}")
    assert [(fault.path, fault.message) for fault in problem.errors] == [
        ("?advice", "expected true or false")
    ]


@given(st.text(max_size=12).filter(lambda name: name not in KNOWN))
def test_an_unknown_name_is_refused_and_repeated_only_if_shaped_like_a_fields(name: str) -> None:
    problem = problem_of(urlencode({name: "true"}))
    shaped = name.isascii() and name.isidentifier()
    assert [(fault.path, fault.message) for fault in problem.errors] == [
        (f"?{name}" if shaped else "?", "unknown parameter")
    ]


def test_a_name_that_is_a_field_s_of_another_kind_is_unknown() -> None:
    assert [fault.path for fault in problem_of("Advice=true&advice=true&account_id=1").errors] == [
        "?Advice",
        "?account_id",
    ]


@pytest.mark.parametrize(
    "query",
    [
        "advice=true&advice=true",
        "advice=true&advice=false",
        "advice=1&advice=true",
        "advice&advice=",
    ],
)
def test_a_repeated_switch_is_refused_once(query: str) -> None:
    assert [(fault.path, fault.message) for fault in problem_of(query).errors] == [
        ("?advice", "expected each parameter once")
    ]


def test_many_faults_are_counted_and_the_first_listed() -> None:
    problem = problem_of(
        "&".join(f"p{number}={MARK}" for number in range(30)) + f"&{MARK}%20={MARK}"
    )
    assert problem.detail.startswith("31 faults")
    assert len(problem.errors) == MAX_LISTED
    assert MARK not in problem.model_dump_json()
    assert [fault.path for fault in problem_of(f"{MARK}%20=1&{MARK}-=2").errors] == ["?"]
