from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.models.pool.queue import TRIES, Queue, Ticket

ACTORS = range(4)


class Actors:
    """Actors that take, do, lose, give back and reserve work as they are told, and what came of each piece."""

    def __init__(self, calls: list[list[int]]) -> None:
        self.queue = Queue()
        self.running: dict[int, Ticket] = {}
        self.done: Counter[Ticket] = Counter()
        self.losses: Counter[Ticket] = Counter()
        self.given_up: set[Ticket] = set()
        self.dropped: set[int] = set()
        self.calls = range(len(calls))
        for call, costs in enumerate(calls):
            self.queue.add(call, call % 2, costs)

    def take(self, actor: int) -> None:
        # what others have reserved comes last, but nobody is idle where something waits
        waits = self.queue.wanted > len(self.running)
        ticket = self.queue.take(actor, where=str(actor % 2))
        assert (ticket is not None) == waits
        if ticket is not None:
            assert ticket not in self.running.values()
            assert ticket.call not in self.dropped
            self.running[actor] = ticket

    def end(self, actor: int) -> None:
        self.queue.done(actor)
        self.done[self.running.pop(actor)] += 1

    def lose(self, actor: int) -> None:
        why = self.queue.lost(actor, "killed", str(actor % 2))
        ticket = self.running.pop(actor)
        self.losses[ticket] += ticket.call not in self.dropped
        assert (why is not None) == (self.losses[ticket] == TRIES and ticket.call not in self.dropped)
        if why is not None:
            assert len(why) == TRIES
            self.given_up.add(ticket)

    def give_back(self, actor: int) -> None:
        self.queue.give_back(actor)
        self.running.pop(actor)

    def reserve(self, actor: int) -> None:
        near = self.queue.reserve(actor, len(ACTORS))
        assert near is None or near.model == self.running[actor].model

    def drop(self, actor: int) -> None:
        call = self.running[actor].call
        if len(self.dropped) < len(self.calls) - 1:
            self.dropped.add(call)
            assert actor in self.queue.drop(call)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=4), st.data())
def test_each_piece_of_work_is_done_once_or_lost_so_often_or_dropped(
    calls: list[list[int]], data: st.DataObject
) -> None:
    actors = Actors(calls)
    deeds = [actors.end, actors.lose, actors.give_back, actors.reserve, actors.drop]
    while actors.queue.wanted:
        actor = data.draw(st.sampled_from(ACTORS))
        (data.draw(st.sampled_from(deeds)) if actor in actors.running else actors.take)(actor)
    everything = {(call, index) for call, costs in enumerate(calls) for index in range(len(costs))}
    through = {(ticket.call, ticket.index) for ticket in [*actors.done, *actors.given_up]}
    assert {piece for piece in everything - through if piece[0] not in actors.dropped} == set()
    assert set(actors.done.values()) <= {1}
    assert not set(actors.done) & actors.given_up
    assert all(actors.losses[ticket] < TRIES for ticket in actors.done)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20))
def test_the_most_expensive_goes_first_and_an_earlier_call_before_a_later_one(costs: list[float]) -> None:
    queue = Queue()
    queue.add(2, 0, [1000.0])
    queue.add(1, 0, costs)
    order = []
    while (ticket := queue.take(0)) is not None:
        queue.done(0)
        order.append(ticket)
    assert [ticket.call for ticket in order] == [1] * len(costs) + [2]
    assert [-ticket.rank for ticket in order[:-1]] == sorted(costs, reverse=True)


def test_what_is_reserved_is_taken_by_whoever_is_free_if_nothing_else_is_there() -> None:
    queue = Queue()
    queue.add(1, 0, [3.0, 2.0, 1.0])
    assert queue.take(1) is not None
    near = queue.reserve(1, actors=2)
    assert near is not None
    assert near.rank == -2.0
    # not twice, and not for those who are idle
    assert queue.reserve(1, actors=2) is None
    assert queue.reserve(2, actors=2) is None
    taken = queue.take(2)
    assert taken is not None
    assert taken.rank == -1.0
    assert queue.take(3) == near
    queue.done(1)
    assert queue.take(1) is None


def test_the_last_pieces_are_nobodys_before_they_are_taken() -> None:
    queue = Queue()
    queue.add(1, 0, [3.0, 2.0])
    queue.take(1)
    assert queue.reserve(1, actors=2) is None
    assert queue.reserve(1, actors=1) is not None


def test_an_actor_gets_nothing_for_a_model_that_it_refuses() -> None:
    queue = Queue()
    queue.add(1, 7, [1.0])
    queue.add(2, 8, [1.0])
    assert queue.models == {7, 8}
    first = queue.take(1, refused={7})
    assert first is not None
    assert first.model == 8
    assert queue.take(2, refused={7}) is None
    assert queue.take(2) is not None


def test_what_an_actor_died_of_is_tried_elsewhere_if_there_is_anything_else_to_do() -> None:
    queue = Queue()
    queue.add(1, 0, [3.0, 2.0, 1.0])
    deadly = queue.take(1, where="here")
    assert queue.lost(1, "killed", "here") is None
    second, other = queue.take(2, where="here"), queue.take(3, where="there")
    assert (second != deadly, other == deadly) == (True, True)
    queue.give_back(3)
    queue.take(4, where="here")
    assert queue.take(5, where="here") == deadly
