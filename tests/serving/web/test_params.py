"""Query parameters: switches, pages, and queries that must be empty."""

from __future__ import annotations

import functools
from collections.abc import Callable
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams
from starlette.requests import Request

from serving.web.errors import MAX_LISTED, ApiError, Problem
from serving.web.params import PageQuery, read_page, read_switches, refuse_query

SWITCHES = ("advice",)
STATUSES = ("open", "resolved")
MARK = "Geheimnis7319"
ONCE = "expected each parameter once"


def refused(read: Callable[[], object]) -> Problem:
    with pytest.raises(ApiError) as caught:
        read()
    assert caught.value.problem.status == 422
    return caught.value.problem


def switches_problem(query: str) -> Problem:
    return refused(lambda: read_switches(QueryParams(query.encode("latin-1")), SWITCHES))


def faults_of(problem: Problem) -> list[tuple[str, str]]:
    return [(fault.path, fault.message) for fault in problem.errors]


# Switches


def test_a_switch_is_on_only_with_true() -> None:
    assert read_switches(QueryParams("advice=true"), SWITCHES) == {"advice"}
    # The same URL in another encoding.
    assert read_switches(QueryParams("advi%63e=true"), SWITCHES) == {"advice"}
    assert read_switches(QueryParams("advice=false"), SWITCHES) == frozenset()
    assert read_switches(QueryParams(""), SWITCHES) == frozenset()
    assert read_switches(QueryParams(""), ()) == frozenset()


def test_the_full_vector_is_asked_for_by_its_one_value() -> None:
    known = ("advice", "detail")
    assert read_switches(QueryParams("detail=full"), known) == {"detail"}
    assert read_switches(QueryParams("detail=full&advice=false"), known) == {"detail"}
    for value in ("", "true", "false", "Full", "full ", "decision"):
        query = QueryParams({"detail": value})
        problem = refused(functools.partial(read_switches, query, known))
        assert faults_of(problem) == [("?detail", "expected full")]
    twice = refused(lambda: read_switches(QueryParams("detail=full&detail=full"), known))
    assert faults_of(twice) == [("?detail", ONCE)]


NEARLY = ["0", "1", "True", "TRUE", "yes", "on", "null", " true", "true ", "true,false", ""]
OTHER_TEXT = st.text(max_size=12).filter(lambda value: value not in ("true", "false"))


@given(value=st.sampled_from(NEARLY) | OTHER_TEXT)
def test_any_other_value_is_refused_and_not_repeated(value: str) -> None:
    problem = switches_problem(f"advice={quote(value, safe='')}")
    assert faults_of(problem) == [("?advice", "expected true or false")]


@given(name=st.text(max_size=12).filter(lambda name: name not in SWITCHES))
def test_an_unknown_name_is_repeated_only_if_it_is_shaped_like_a_field(name: str) -> None:
    shaped = name.isascii() and name.isidentifier()
    path = f"?{name}" if shaped else "?"
    problem = switches_problem(urlencode({name: "true"}))
    assert faults_of(problem) == [(path, "unknown parameter")]


def test_names_of_other_parameters_and_fields_are_unknown() -> None:
    problem = switches_problem("Advice=true&advice=true&account_id=1")
    assert [fault.path for fault in problem.errors] == ["?Advice", "?account_id"]


@pytest.mark.parametrize(
    "query",
    [
        "advice=true&advice=true",
        "advice=true&advice=false",
        "advice=1&advice=true",
        "advice&advice=",
    ],
)
def test_a_repeated_switch_has_one_fault(query: str) -> None:
    assert faults_of(switches_problem(query)) == [("?advice", ONCE)]


def test_all_faults_are_counted_and_the_first_listed() -> None:
    unknown = "&".join(f"p{number}={MARK}" for number in range(30))
    problem = switches_problem(f"{unknown}&{MARK}%20={MARK}")
    assert problem.detail.startswith("31 faults")
    assert len(problem.errors) == MAX_LISTED
    assert MARK not in problem.model_dump_json()


def test_names_that_are_not_repeated_share_one_fault() -> None:
    problem = switches_problem(f"{MARK}%20=1&{MARK}-=2")
    assert [fault.path for fault in problem.errors] == ["?"]


# Pages


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ("", PageQuery(None, None)),
        ("status=open", PageQuery("open", None)),
        ("after=0192F3A0", PageQuery(None, "0192f3a0")),
        ("after=a&status=resolved", PageQuery("resolved", "a")),
    ],
)
def test_a_page_is_read_from_the_query(query: str, page: PageQuery) -> None:
    assert read_page(QueryParams(query), STATUSES) == page


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("more=1&status=lost", ("?more", "unknown parameter")),
        (f"{MARK}%20=1", ("?", "unknown parameter")),
        (f"status={MARK}", ("?status", "expected one of: open, resolved")),
        ("status=", ("?status", "expected one of: open, resolved")),
        ("status=open&status=open", ("?status", ONCE)),
        ("after=a&after=b", ("?after", ONCE)),
    ],
)
def test_a_wrong_page_is_refused(query: str, fault: tuple[str, str]) -> None:
    problem = refused(lambda: read_page(QueryParams(query), STATUSES))
    assert faults_of(problem) == [fault]
    assert MARK not in problem.model_dump_json()


# No query


def request_with(query: str) -> Request:
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/v1/decisions/d-1",
            "query_string": query.encode(),
            "headers": [],
            "server": ("127.0.0.1", 3000),
            "scheme": "http",
        }
    )


def test_an_empty_query_is_accepted() -> None:
    refuse_query(request_with(""))


@pytest.mark.parametrize(
    ("query", "paths"),
    [("x=1", ["?x"]), ("x=1&x=2&y", ["?x", "?y"]), ("&", ["?"]), (f"{MARK}%20=1", ["?"])],
)
def test_any_query_is_refused_where_none_is_expected(query: str, paths: list[str]) -> None:
    problem = refused(lambda: refuse_query(request_with(query)))
    assert [fault.path for fault in problem.errors] == paths
