"""Which event goes next: per account in order, and what a failing endpoint gets."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from serving.operations.serve.deliver.schedule import (
    FIRST_WAIT,
    LONGEST_WAIT_OF_ACCOUNT,
    LONGEST_WAIT_OF_ENDPOINT,
    TROUBLES_TO_PAUSE,
    Event,
    Schedule,
)
from tests.support.each import each


def schedule_of(*persons: str, most_in_flight: int = 4) -> Schedule:
    schedule = Schedule(most_in_flight, random.Random(1))
    for seq, person in enumerate(persons):
        schedule.add(Event(seq, 0, person))
    return schedule


@pytest.mark.parametrize("seed", range(20))
def test_the_events_of_an_account_finish_in_order_whatever_fails(seed: int) -> None:
    draw = random.Random(seed)
    persons = [draw.choice("abcdef") for _ in range(60)]
    schedule = schedule_of(*persons, most_in_flight=3)
    now, on_their_way, finished = 0.0, list[Event](), list[Event]()
    while len(schedule):
        on_their_way += schedule.take(now)
        assert len({event.person for event in on_their_way}) == len(on_their_way) <= 3
        assert schedule.in_flight == len(on_their_way)
        now += draw.uniform(0, 2)
        if not on_their_way:
            continue
        event = on_their_way.pop(draw.randrange(len(on_their_way)))
        if draw.random() < 0.3:
            schedule.fail(event, now)
        else:
            schedule.finish(event)
            finished.append(event)
    assert sorted(finished) == [Event(seq, 0, person) for seq, person in enumerate(persons)]
    for person in each(sorted(set(persons))):
        own = [event for event in finished if event.person == person]
        assert own == sorted(own)


def test_an_account_that_fails_holds_up_no_other() -> None:
    schedule = schedule_of("a", "a", "b", "c")
    first, second, third = schedule.take(0.0)
    schedule.fail(first, 0.0)
    schedule.finish(second)
    schedule.finish(third)
    schedule.add(Event(9, 0, "d"))
    assert [event.person for event in schedule.take(0.1)] == ["d"]
    assert schedule.first == first
    assert [event.seq for event in schedule.take(FIRST_WAIT)] == [0]


def test_the_waits_of_an_account_grow_to_the_longest() -> None:
    schedule, now, waits = schedule_of("a", "b"), 0.0, []
    [event, other] = schedule.take(now)
    schedule.finish(other)
    for number in range(15):
        schedule.fail(event, now)
        begin = now
        while not schedule.take(now):
            now += 0.25
        waits.append(now - begin)
        # Others are delivered meanwhile: the endpoint is not down.
        schedule.add(Event(100 + number, 0, "b"))
        [one] = schedule.take(now)
        schedule.finish(one)
    assert waits[0] <= FIRST_WAIT
    for wait, longer in each(pairwise(waits[:8])):
        assert wait < longer
    assert LONGEST_WAIT_OF_ACCOUNT / 2 <= waits[-1] <= LONGEST_WAIT_OF_ACCOUNT + 0.25


@pytest.mark.parametrize("outcome", ["fail", "set_aside"])
def test_an_endpoint_that_takes_nothing_is_tried_by_one_event_at_a_time(outcome: str) -> None:
    """Whether it answers 500 or 404: of an hour of faults at the app few events are set aside."""
    schedule = schedule_of(*(f"person {number}" for number in range(1000)), most_in_flight=8)
    now, tries = 0.0, 0
    while now < 3600:
        for event in schedule.take(now):
            tries += 1
            if outcome == "fail":
                schedule.fail(event, now)
            else:
                schedule.set_aside(event, now)
        now += 0.5
    assert 3600 / LONGEST_WAIT_OF_ENDPOINT <= tries <= 3600 / (LONGEST_WAIT_OF_ENDPOINT / 2) + 20
    # The first one that is taken ends it.
    while not (taken := schedule.take(now)):
        now += 1
    assert len(taken) == 1
    schedule.finish(taken[0])
    assert len(schedule.take(now)) == 8


def test_what_the_app_says_it_needs_is_waited_for() -> None:
    schedule = schedule_of("a", "b", most_in_flight=1)
    [event] = schedule.take(0.0)
    schedule.fail(event, 0.0, retry_after=30.0)
    assert schedule.take(29.9) == []
    assert len(schedule.take(30.0)) == 1


def test_the_endpoint_is_not_taken_for_down_by_few_faults() -> None:
    schedule = schedule_of(*"abcdefgh", most_in_flight=8)
    for event in schedule.take(0.0)[: TROUBLES_TO_PAUSE - 1]:
        schedule.fail(event, 0.0)
    schedule.add(Event(99, 0, "z"))
    assert [event.seq for event in schedule.take(0.0)] == [99]
