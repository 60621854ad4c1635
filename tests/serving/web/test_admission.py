"""A bounded queue: what fits is served, the rest is refused at once, and keys share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from http import HTTPStatus

import pytest

from serving.web.admission import Admission, HeldRefusals, Slots, Ticket
from serving.web.errors import ApiError


def ten() -> Admission:
    return Admission(Slots(2, 2, 2), 1.0, 0.1, clock=lambda: 0.0)


def enter_all(admission: Admission, key: str, number: int) -> tuple[list[Ticket], list[ApiError]]:
    entered, refused = [], []
    for _ in range(number):
        try:
            entered.append(admission.enter(key, 1.0))
        except ApiError as error:
            refused.append(error)
    return entered, refused


def status_of(error: ApiError) -> int:
    return error.problem.status


def test_more_than_fits_is_refused_with_when_to_come_again() -> None:
    entered, refused = enter_all(ten(), "a", 100)
    assert 10 <= len(entered) <= 12
    assert {status_of(error) for error in refused} == {HTTPStatus.SERVICE_UNAVAILABLE}
    assert int(refused[0].headers["retry-after"]) >= 1
    assert refused[0].problem.errors[0].path == "$"


def test_whoever_leaves_makes_room() -> None:
    admission = ten()
    entered, _ = enter_all(admission, "a", 100)
    assert enter_all(admission, "a", 1)[0] == []
    for ticket in entered:
        ticket.leave()
    assert admission.cost == 0
    assert len(enter_all(admission, "a", 100)[0]) == len(entered)


def test_one_large_request_is_taken_when_nothing_is_ahead() -> None:
    admission = ten()
    ticket = admission.enter("a", 1000.0)
    with pytest.raises(ApiError):
        admission.enter("a", 1.0)
    ticket.leave()
    admission.enter("a", 1.0)


async def first_done(*waiting: Coroutine[object, object, None]) -> list[asyncio.Task[None]]:
    tasks = [asyncio.ensure_future(one) for one in waiting]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


def test_only_as_many_run_as_there_are_slots_and_keys_take_turns() -> None:
    async def run() -> list[str]:
        admission = ten()
        many, _ = enter_all(admission, "many", 6)
        [one], _ = enter_all(admission, "one", 1)
        tickets = [*many, one]
        tasks = await first_done(*(ticket.start() for ticket in tickets))
        order = [ticket.key for ticket, task in zip(tickets, tasks, strict=True) if task.done()]
        assert order == ["many", "many"]
        many[0].leave()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        done = [ticket.key for ticket, task in zip(tickets, tasks, strict=True) if task.done()]
        for task in tasks:
            task.cancel()
        return done

    assert sorted(asyncio.run(run())) == ["many", "many", "one"]


def test_a_key_below_its_share_takes_the_place_of_the_one_with_the_most() -> None:
    async def run() -> ApiError:
        admission = ten()
        hostile, _ = enter_all(admission, "hostile", 100)
        tasks = await first_done(*(ticket.start() for ticket in hostile))
        polite = admission.enter("polite", 1.0)
        # The newest of the key with the most is refused, and one more of its own too.
        with pytest.raises(ApiError) as refused:
            admission.enter("hostile", 1.0)
        assert status_of(refused.value) == HTTPStatus.TOO_MANY_REQUESTS
        await asyncio.sleep(0)
        error = tasks[-1].exception()
        assert isinstance(error, ApiError)
        polite.leave()
        for task in tasks[:-1]:
            task.cancel()
        return error

    error = asyncio.run(run())
    assert status_of(error) == HTTPStatus.TOO_MANY_REQUESTS
    assert "more requests waiting than its share" in error.problem.errors[0].message


def test_a_request_that_is_given_up_leaves_its_slot_to_others() -> None:
    async def run() -> None:
        admission = ten()
        tickets, _ = enter_all(admission, "a", 4)
        tasks = await first_done(*(ticket.start() for ticket in tickets))
        tasks[2].cancel()
        await asyncio.gather(tasks[2], return_exceptions=True)
        tickets[2].leave()
        tickets[0].leave()
        await asyncio.wait_for(tasks[3], 10)
        tickets[1].leave()
        tickets[3].leave()
        assert admission.cost == 0
        again, _ = enter_all(admission, "a", 2)
        for ticket in again:
            await asyncio.wait_for(ticket.start(), 10)

    asyncio.run(run())


def test_the_bound_follows_the_speed_that_is_measured() -> None:
    """A machine ten times slower than supposed takes fewer requests, not the same number."""

    async def run() -> int:
        now = [0.0]
        admission = Admission(Slots(1, 1, 1), 1.0, 0.01, clock=lambda: now[0])
        for _ in range(100):
            tickets, _ = enter_all(admission, "a", 3)
            tasks = await first_done(*(ticket.start() for ticket in tickets))
            for ticket, task in zip(tickets, tasks, strict=True):
                await task
                now[0] += 0.1
                ticket.leave()
        return len(enter_all(admission, "a", 1000)[0])

    assert len(enter_all(Admission(Slots(1, 1, 1), 1.0, 0.01), "a", 1000)[0]) >= 100
    assert 10 <= asyncio.run(run()) <= 15


def test_a_machine_that_was_slow_for_a_moment_is_not_thought_slow_for_ever() -> None:
    """So few are taken after it that none waits, and the speed is measured all the same."""

    async def run(pause: float) -> tuple[int, int]:
        now = [0.0]
        admission = Admission(Slots(4, 4, 4), 1.0, 0.01, clock=lambda: now[0])

        async def answer(seconds: float) -> None:
            tickets, _ = enter_all(admission, "a", 8)
            tasks = await first_done(*(ticket.start() for ticket in tickets))
            for ticket, task in zip(tickets, tasks, strict=True):
                await task
                now[0] += seconds
                ticket.leave()

        for _ in range(20):
            await answer(2.0)
        taken, _ = enter_all(admission, "a", 1000)
        for ticket in taken:
            ticket.leave()
        for _ in range(200):
            await answer(0.01)
            now[0] += pause
        return len(taken), len(enter_all(admission, "a", 1000)[0])

    # Requests that come now and then, so that most of the time nothing runs.
    slow, fast = asyncio.run(run(pause=5.0))
    assert slow <= 2
    assert fast >= 50


def started_of_many(slots: Slots, is_above_rate: bool = False) -> list[int]:
    """How many of a key's requests have started: alone, beside another key, and much later."""

    async def run() -> list[int]:
        now = [0.0]
        admission = Admission(slots, 100.0, 0.1, clock=lambda: now[0])
        if is_above_rate:
            admission.note_above_rate("many")
        many, _ = enter_all(admission, "many", 20)
        tasks = await first_done(*(ticket.start() for ticket in many))
        found = [sum(ticket.started for ticket in many)]
        [one], _ = enter_all(admission, "one", 1)
        tasks += await first_done(one.start())
        for ticket in many[:3]:
            ticket.leave()
        await first_done()
        assert one.started
        found.append(sum(ticket.started for ticket in many))
        many[3].leave()
        await first_done()
        found.append(sum(ticket.started for ticket in many))
        now[0] += 10.0
        one.leave()
        await first_done()
        found.append(sum(ticket.started for ticket in many))
        for task in tasks:
            task.cancel()
        return found

    return asyncio.run(run())


def test_a_key_has_few_slots_only_while_others_send_requests_too() -> None:
    # Three slots stay empty until it has been alone for some seconds.
    assert started_of_many(Slots(4, 1, 1)) == [4, 4, 5, 8]


def test_a_key_above_its_rate_has_fewer_slots_than_others() -> None:
    slots = Slots(4, 4, above_rate=1)
    assert started_of_many(slots, is_above_rate=True) == [4, 4, 5, 8]
    assert started_of_many(slots) == started_of_many(Slots(4, 4, 4)) == [4, 6, 7, 8]


def test_a_key_above_its_rate_has_half_as_much_waiting_beside_another() -> None:
    def taken(is_above_rate: bool, is_alone: bool) -> int:
        admission = Admission(Slots(4, 2, 1), 10.0, 0.1, clock=lambda: 0.0)
        if is_above_rate:
            admission.note_above_rate("many")
        if not is_alone:
            admission.enter("one", 1.0).leave()
        return len(enter_all(admission, "many", 200)[0])

    assert taken(is_above_rate=True, is_alone=False) == 50
    assert taken(is_above_rate=True, is_alone=True) >= 100
    assert taken(is_above_rate=False, is_alone=False) >= 100


def test_with_all_slots_a_key_takes_what_another_left() -> None:
    """The control."""
    assert started_of_many(Slots(4, 4, 4)) == [4, 6, 7, 8]


@pytest.mark.parametrize("clients", [1, 16, 64, 128, 512])
def test_clients_that_send_again_at_once_get_few_refusals_a_second(clients: int) -> None:
    """As many as ever are held: each client sends as soon as it is refused."""
    held = HeldRefusals()
    seconds = [held.begin() for _ in range(clients)][-1]
    for _ in range(1000):
        held.end()
        assert held.begin() == seconds
    assert 0.02 <= seconds <= 0.06
    assert clients / seconds <= 2000 or seconds == 0.06


def test_a_refusal_that_is_given_up_is_held_no_more() -> None:
    held = HeldRefusals()

    async def give_up(number: int) -> None:
        tasks = [asyncio.ensure_future(held.wait()) for _ in range(number)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(give_up(500))
    assert held.begin() == 0.02
