"""A frozen dataclass with a quick ``__init__`` is what it is without."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.decision.config.quick_init import quick_init
from tests.support.each import each


@dataclass(frozen=True, slots=True)
class Plain:
    """A class with every kind of field."""

    name: str
    number: float = 1.5
    names: list[str] = field(default_factory=list, repr=False)


@quick_init
@dataclass(frozen=True, slots=True)
class Quick:
    """The same class."""

    name: str
    number: float = 1.5
    names: list[str] = field(default_factory=list, repr=False)


@dataclass
class WithoutSlots:
    """A class that has no slots."""

    name: str


@dataclass(frozen=True, slots=True)
class WithStep:
    """A class whose ``__init__`` has a step of its own."""

    name: str

    def __post_init__(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class WithoutParameter:
    """A class with a field that is no parameter."""

    name: str = field(init=False, default="")


def read(one: Any) -> tuple[Any, ...]:
    return one.name, one.number, one.names


@given(st.text(), st.one_of(st.none(), st.floats(allow_nan=False)), st.lists(st.text()))
def test_it_has_the_fields_defaults_and_equality_of_the_plain_class(
    name: str, number: float | None, names: list[str]
) -> None:
    stated: dict[str, Any] = {"name": name, "names": names}
    if number is not None:
        stated["number"] = number
    quick, plain = Quick(**stated), Plain(**stated)
    assert read(quick) == read(plain)
    assert repr(quick) == repr(plain).replace("Plain", "Quick")
    assert quick == Quick(**stated)
    assert quick != replace(quick, name=name + "x")
    assert read(pickle.loads(pickle.dumps(quick))) == read(copy.deepcopy(quick)) == read(plain)
    assert type(quick) is Quick


def test_a_default_that_is_made_is_made_for_each_object() -> None:
    assert Quick("a").names is not Quick("b").names


def test_it_is_frozen() -> None:
    quick = Quick("a")
    changes: list[Callable[[], None]] = [
        lambda: setattr(quick, "name", "b"),
        lambda: delattr(quick, "name"),
    ]
    for change in each(changes):
        with pytest.raises(FrozenInstanceError):
            change()
    assert quick.name == "a"


@pytest.mark.parametrize(("positional", "named"), [((), {}), (("a",), {"other": 1}), ("abcd", {})])
def test_wrong_arguments_are_refused(positional: Any, named: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="argument"):
        Quick(*positional, **named)


def test_the_parameters_are_those_of_the_plain_class() -> None:
    assert list(inspect.signature(Quick).parameters) == list(inspect.signature(Plain).parameters)


@pytest.mark.parametrize("cls", [WithoutSlots, WithStep, WithoutParameter, int])
def test_a_class_that_it_cannot_make_is_refused(cls: type) -> None:
    with pytest.raises(TypeError, match="dataclass"):
        quick_init(cls)
