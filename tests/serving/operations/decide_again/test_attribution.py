"""Each change is attributed to what was changed, and the parts add up without a remainder."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
from decimal import Decimal
from typing import Any

import pytest

from serving.api.answers import Basis, answer_requests
from serving.decision.bundle import Bundle, BundleError
from serving.decision.ids import UNKEYED
from serving.decision.pipeline import decide_many
from serving.operations.decide_again.attribution import (
    FIELDS,
    STEPS,
    State,
    States,
    UnderBundles,
    changed_by,
    follow_steps,
    money,
    parts_of,
    state_of,
)
from serving.operations.decide_again.mixing import PARTS, bundles_between, changed_parts, mix
from serving.reviews.recorded import Recorded, read_recorded
from serving.schemas.base import parse
from serving.schemas.decision import Request
from tests.support.each import each
from tests.support.entries import decision_entry, stored_entry
from tests.support.other_bundles import golden_rows, other_bundle
from tests.support.served import as_requests

SUBSETS = [subset for size in range(1, 5) for subset in itertools.combinations(PARTS, size)]


@pytest.fixture(scope="module")
def asked() -> list[Request]:
    """Requests of accounts that are kept, cut, suspended and referred."""
    rows, _ = golden_rows()
    return [parse(Request, json.dumps(body).encode()) for body in as_requests(rows)]


def decided_at() -> datetime.datetime:
    return golden_rows()[1]


def follow(request: Request, old: Bundle, new: Bundle) -> States:
    entry = stored_entry(decision_entry(request, old, at=decided_at()))
    bundles = UnderBundles(old, bundles_between(old, new), new)
    return follow_steps(entry, read_recorded(entry, None), bundles, UNKEYED)


def changing_steps(states: States) -> set[str]:
    return {step for steps in changed_by(states).values() for step in steps}


def answer_of(request: Request, bundle: Bundle) -> dict[str, Any]:
    basis = Basis(bundle, decided_at(), UNKEYED)
    [answered] = answer_requests("decisions", [request], False, basis)
    answer: dict[str, Any] = json.loads(answered.content)
    return answer


@pytest.mark.parametrize("changed", SUBSETS, ids="+".join)
def test_only_the_changed_parts_change_anything(
    golden: Bundle, asked: list[Request], changed: tuple[str, ...]
) -> None:
    other = other_bundle(golden, changed)
    assert changed_parts(golden, other) == changed
    followed = [follow(request, golden, other) for request in asked]
    guilty = {
        step for states in followed for steps in changed_by(states).values() for step in steps
    }
    assert guilty == set(changed)
    for request, states in zip(asked, followed, strict=True):
        # The whole: the first state is the recorded answer, the last that of the new bundle alone.
        assert states[0] == states[1] == state_of(answer_of(request, golden))
        assert states[-1] == state_of(answer_of(request, other))


def test_each_part_shows_in_what_it_decides(golden: Bundle, asked: list[Request]) -> None:
    """Log-odds are the model's, the base the reference's, cut-offs the policy's, texts the rest."""
    other = other_bundle(golden, PARTS)
    by_field: dict[str, set[str]] = {name: set() for name in FIELDS}
    for request in asked:
        for name, steps in changed_by(follow(request, golden, other)).items():
            by_field[name].update(steps)
    assert by_field["log_odds"] == by_field["probability"] == {"model"}
    assert by_field["base_log_odds"] == {"model", "reference"}
    assert "policy" in by_field["new_limit"]
    assert "wording" in by_field["notice"]
    assert by_field["content"] == set(PARTS)


@pytest.mark.parametrize("name", ["new_limit", "limit_if_confirmed", "log_odds"])
def test_parts_add_up_to_the_change_without_a_remainder(
    golden: Bundle, asked: list[Request], name: str
) -> None:
    other = other_bundle(golden, PARTS)
    changes = []
    for request in asked:
        states = follow(request, golden, other)
        before, after = answer_of(request, golden), answer_of(request, other)
        if name == "limit_if_confirmed":
            whole = Decimal(0) + confirmed(after) - confirmed(before)
        else:
            whole = money(after[name]) - money(before[name])
        assert sum(parts_of(states, name).values()) == whole
        changes.append(whole)
    assert any(changes)


def confirmed(answer: dict[str, Any]) -> Decimal:
    proposed = answer["proposed_limit"]
    return money(answer["new_limit"] if proposed is None else proposed)


def test_a_change_that_is_undone_names_both_parts() -> None:
    states = [state("keep"), state("keep"), state("reduce"), state("reduce"), state("keep")]
    assert changed_by((*states, state("keep"))) == {"action": ["model", "policy"]}


def test_amounts_of_a_tenth_leave_no_remainder() -> None:
    limits = (0.1, 0.1, 0.8, 0.3, 0.7, 1.3)
    states = tuple(state("keep", limit) for limit in limits)
    assert sum(parts_of(states, "new_limit").values()) == Decimal("1.2")
    # The control: as floats they leave one.
    floats = [after - before for before, after in itertools.pairwise(limits)]
    assert sum(floats) != 1.3 - 0.1


def state(action: str, limit: float = 100.0) -> State:
    return State(
        action=action,
        new_limit=limit,
        limit_if_confirmed=limit,
        suspended=False,
        probability=0.5,
        log_odds=0.0,
        base_log_odds=0.0,
        first_reason=None,
        notice=None,
        content="",
    )


@pytest.mark.parametrize("taken", [set[str](), set(PARTS)], ids=["nothing", "everything"])
def test_a_mixture_of_one_bundle_is_that_bundle(golden: Bundle, taken: Any) -> None:
    rows, at = golden_rows()
    other = other_bundle(golden, PARTS)
    whole = dataclasses.replace(other if taken else golden, digest=golden.digest)
    mixed = mix(golden, other, taken)
    assert decide_many(rows, mixed, at) == decide_many(rows, whole, at)
    # The control: the two bundles decide differently.
    other_digest = dataclasses.replace(other, digest=golden.digest)
    assert decide_many(rows, golden, at) != decide_many(rows, other_digest, at)


def test_a_reference_that_lacks_a_feature_is_replaced_with_the_model(golden: Bundle) -> None:
    lacking = golden.reference.drop(golden.features[-1])
    old = dataclasses.replace(golden, reference=lacking, reference_digest="other")
    other = other_bundle(golden, ("model", "policy"))
    between = bundles_between(old, other)
    assert list(between) == ["model", "policy"]
    assert between["model"].reference is other.reference
    with pytest.raises(BundleError, match=golden.features[-1]):
        mix(old, other, {"model"})


def test_the_program_is_named_where_a_replay_differs(golden: Bundle, asked: list[Request]) -> None:
    draft = decision_entry(asked[0], golden, at=decided_at())
    answer = json.loads(draft.response_body or b"")
    changed = json.dumps(answer | {"new_limit": answer["new_limit"] - 100.0})
    entry = stored_entry(dataclasses.replace(draft, response_body=changed.encode()))
    bundles = UnderBundles(golden, bundles_between(golden, golden), golden)
    states = follow_steps(entry, read_recorded(entry, None), bundles, UNKEYED)
    assert changed_by(states).keys() == {"new_limit", "limit_if_confirmed", "content"}
    assert changing_steps(states) == {"program"}
    assert parts_of(states, "new_limit") == dict.fromkeys(STEPS[1:], Decimal(0)) | {
        "program": Decimal(100)
    }


def test_an_arm_is_drawn_again_with_the_key_that_drew_it(
    golden: Bundle, asked: list[Request]
) -> None:
    """The control arm depends on the key; a row of an earlier version has none."""
    entry = stored_entry(decision_entry(asked[0], golden, at=decided_at()))
    recorded: Recorded = read_recorded(entry, None)
    bundles = UnderBundles(golden, {}, golden)
    assert changed_by(follow_steps(entry, recorded, bundles, b"another key")) == {}


def test_each_step_has_a_state(golden: Bundle, asked: list[Request]) -> None:
    for request in each(asked):
        assert len(follow(request, golden, golden)) == len(STEPS)
