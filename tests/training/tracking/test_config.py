"""``--set`` sets exactly the named field, for every type that a field may have."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.config import DataConfig
from training.data.simulate.config import SimulationConfig
from training.fit.bundle import BundleConfig
from training.fit.config import FitConfig
from training.tracking.config import FORMER_NAMES, as_assignments, as_text, override
from training.tracking.store import RunInfo


@dataclass(frozen=True, slots=True)
class Every:
    """A field of each type."""

    flag: bool = False
    count: int = 1
    share: float = 0.5
    name: str = "x"
    day: datetime.date = datetime.date(2026, 1, 1)
    file: Path | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Other:
    """Shares a name with :class:`Every`, of another type."""

    count: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Awkward:
    """A field that a command line cannot set."""

    pair: tuple[int, int] = (1, 2)


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "flag": st.booleans(),
    "count": st.integers(),
    "share": st.floats(allow_nan=False, allow_infinity=False),
    "name": st.text(),
    "day": st.dates(),
    "file": st.none() | st.sampled_from([Path("a b.toml"), Path("/x/y")]),
    "names": st.lists(st.sampled_from(["income", "spend 3", "x=y"])).map(tuple),
}
ASSIGNED = st.sampled_from(sorted(VALUES)).flatmap(
    lambda name: st.tuples(st.just(name), VALUES[name])
)
NOT_OF = {"flag": bool, "count": int, "share": float, "day": datetime.date}


@given(st.lists(ASSIGNED, max_size=8))
def test_the_last_assignment_of_a_field_is_set(assigned: list[tuple[str, Any]]) -> None:
    config = Every()
    (changed,) = override([config], [f"{name}={as_text(value)}" for name, value in assigned])
    expected = asdict(config) | dict(assigned)
    assert asdict(changed) == expected
    types = {name: type(value) for name, value in asdict(changed).items()}
    assert types == {name: type(value) for name, value in expected.items()}
    assert config == Every()


@given(
    st.sampled_from(["True", "true", "TRUE", "tRuE"]), st.sampled_from(["False", "false", "FALSE"])
)
def test_true_and_false_are_read_in_any_case(yes: str, no: str) -> None:
    assert override([Every()], [f"flag={yes}"])[0].flag is True
    assert override([Every(flag=True)], [f"flag={no}"])[0].flag is False


@given(st.integers(-(2**40), 2**40))
def test_a_name_of_several_configs_is_set_in_each_in_its_own_type(count: int) -> None:
    untouched = Awkward()
    first, second, third = override([Every(), Other(), untouched], [f"count={count}"])
    assert (first.count, type(first.count)) == (count, int)
    assert (second.count, type(second.count)) == (float(count), float)
    assert second.seed == 0
    assert third is untouched


def readable(name: str, text: str) -> bool:
    """Whether Python parses the text as a finite value of the field's type."""
    kind = NOT_OF[name]
    if kind is bool:
        return text.lower() in ("true", "false")
    try:
        value = datetime.date.fromisoformat(text) if kind is datetime.date else kind(text)
    except ValueError:
        return False
    return not isinstance(value, float) or value - value == 0


@given(
    st.sampled_from(sorted(NOT_OF)),
    st.text(max_size=12) | st.sampled_from(["nan", "inf", "-Infinity", "1e999", "1.5", "1"]),
)
def test_a_value_of_another_type_is_refused_with_what_was_expected(name: str, text: str) -> None:
    if readable(name, text):
        override([Every()], [f"{name}={text}"])
        return
    message = f"setting {name}: expected {NOT_OF[name].__name__}, got "
    with pytest.raises(ValueError, match=message) as refused:
        override([Every()], [f"{name}={text}"])
    assert repr(text) in str(refused.value)


@given(st.text().filter(lambda text: "=" not in text))
def test_an_assignment_without_an_equals_sign_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="settings: expected name=value") as refused:
        override([Every()], [text])
    assert repr(text) in str(refused.value)


@given(st.text(max_size=8).filter(lambda name: "=" not in name and name not in VALUES))
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match="no setting is named") as refused:
        override([Every(), Other()], [f"{name}=1"])
    assert repr(name) in str(refused.value)
    assert all(known in str(refused.value) for known in (*VALUES, "seed"))


@pytest.mark.parametrize(
    ("wrong", "meant"), [("cuont", "count"), ("SEED", "seed"), ("nam", "name"), ("fleg", "flag")]
)
def test_a_name_that_is_nearly_known_is_suggested(wrong: str, meant: str) -> None:
    message = rf"no setting is named '{wrong}' \(did you mean '{meant}'\?\); there are"
    with pytest.raises(ValueError, match=message):
        override([Every(), Other()], [f"{wrong}=1"])


def test_as_assignments_is_the_inverse_of_override() -> None:
    configs = [Every(flag=True, share=0.1 + 0.2, day=datetime.date(2025, 2, 3)), Other(seed=4)]
    assert as_assignments([Every(), Other()]) == []
    assert override([Every(), Other()], as_assignments(configs)) == configs


@pytest.mark.parametrize(
    "config",
    [SimulationConfig(), DataConfig(), FitConfig(), BundleConfig()],
    ids=lambda c: type(c).__name__,
)
def test_every_field_of_our_configs_can_be_set(config: Any) -> None:
    written = [f"{field.name}={as_text(getattr(config, field.name))}" for field in fields(config)]
    assert override([config], written) == [config]


def test_a_field_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match=r"setting pair: a field of type tuple.* cannot be set"):
        override([Awkward()], ["pair=1"])


def test_a_former_name_sets_the_field_that_it_became() -> None:
    expected = FitConfig(excluded_features=("income", "spend_growth"))
    assert override([FitConfig()], ["without=income; spend_growth"]) == [expected]
    known = {field.name for config in (FitConfig(), BundleConfig()) for field in fields(config)}
    assert set(FORMER_NAMES.values()) <= known
    assert not known & set(FORMER_NAMES)


def test_parameters_of_an_earlier_run_are_read_by_their_names_of_today() -> None:
    earlier = {"fit.trees": "90", "fit.without": "income", "bundle.policy": "", "data.seed": "3"}
    info = RunInfo(earlier, {}, "", "")
    assert info.stage("fit") == {"trees": "90", "excluded_features": "income"}
    assignments = [
        f"{name}={value}"
        for stage in ("fit", "bundle")
        for name, value in info.stage(stage).items()
    ]
    fitted_with = override([FitConfig(), BundleConfig()], assignments)
    assert fitted_with == [FitConfig(trees=90, excluded_features=("income",)), BundleConfig()]


@pytest.mark.parametrize("config", [Every, {"count": 1}])
def test_only_configs_are_overridden(config: object) -> None:
    with pytest.raises(TypeError, match="expected a config dataclass, got"):
        override([config], ["count=1"])
