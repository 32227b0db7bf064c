"""The actors of a run: who gets which work, and who does over what another one died of.

One thread decides all that. Whoever wants work done, and every answer of an actor, sends it something to do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from evalharness.errors import ModelError, StoppedError, shorten
from evalharness.models.pool.calls import Call, Came, Failed
from evalharness.models.pool.heart import LOST, is_lost
from evalharness.models.pool.queue import TRIES, Queue, Ticket
from evalharness.models.pool.roster import Doing, Member, Roster
from evalharness.models.pool.staff import ActorGoneError, Employer, Place
from evalharness.models.pool.worker import Done, Opened, Order, Presence
from evalharness.store.shards import PlannedShard
from evalharness.store.text_encoder import ShardWork
from evalharness.types import EncodeEvent, Notice

_LOOK_SECONDS = 0.25
# progress is told this often
_HEAR_SECONDS = 0.4


class NobodyError(StoppedError):
    """For too long there was no actor."""


@dataclass(slots=True, eq=False)
class _Model:
    """A model: how actors open it, and what the first of them found, which is true of all."""

    order: Order
    opened: Opened | None = None


class Crew:
    """Actors that several callers and models share; they end when the last model has left."""

    def __init__(self, employer: Employer) -> None:
        self._roster = Roster(employer)
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._numbers = iter(range(1, 1 << 62))
        self._queue = Queue()
        self._models: dict[int, _Model] = {}
        self._calls: dict[int, Call] = {}
        self._dropped: dict[int, Call] = {}
        # whoever is collected as garbage leaves in any thread, also one that is in here
        self._lock = threading.RLock()
        self._count = 0
        self._broken: BaseException | None = None
        self._is_closed = self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="evalharness-crew", daemon=True)
        self._thread.start()

    # -- from any thread

    def admit(self, order: Order) -> int | None:
        """Take in a model: its number; None where the crew is about to end."""
        with self._lock:
            if self._is_closing or self._broken is not None:
                return None
            self._count += 1
            number = next(self._numbers)
        self._inbox.put(partial(self._admit, number, replace(order, number=number)))
        return number

    def leave(self, number: int) -> None:
        """Have a model go; with the last one, everybody does."""
        with self._lock:
            self._count -= 1
            self._is_closing = is_last = self._count == 0
        self._inbox.put(self._close if is_last else partial(self._leave, number))
        if is_last:
            self._thread.join(_HEAR_SECONDS)

    def ask(self, model: int) -> Call:
        """Have a model opened; what comes is an `Opened`."""
        return self._submit(Call(self._next(), model))

    def spread(self, model: int, work: ShardWork[Any], shards: Sequence[PlannedShard], costs: Sequence[float]) -> Call:
        """Have work done on shards; what comes is a `Done` for each, as they are done."""
        return self._submit(Call(self._next(), model, shards, work, costs))

    def drop(self, call: Call) -> None:
        """Nobody wants any more of a call."""
        self._inbox.put(partial(self._drop, call))

    def check(self) -> None:
        """See that somebody decides. Raises whatever ended that."""
        if self._broken is not None:
            raise self._broken
        if is_lost():
            raise StoppedError(LOST)

    @property
    def places(self) -> int:
        """For how many there is room, as was seen last."""
        return self._roster.size

    def _next(self) -> int:
        with self._lock:
            return next(self._numbers)

    def _submit(self, call: Call) -> Call:
        self.check()
        self._inbox.put(partial(self._take_call, call))
        return call

    # -- in the thread that decides

    def _run(self) -> None:
        try:
            while not self._is_closed:
                with suppress(Empty):
                    self._inbox.get(timeout=_LOOK_SECONDS)()
                    # all that is there, before anybody is hired for it
                    while True:
                        self._inbox.get_nowait()()
                for member in self._roster.hire(self._queue.wanted, self._queue.models, self._numbers):
                    member.actor.call("where", (), partial(self._answered, self._ready, member))
                self._hand_out()
                if self._roster.is_starved(self._queue.models):
                    self._give_up()
        except BaseException as error:  # noqa: BLE001 -- raised where somebody waits
            self._broken = error
        finally:
            for call in self._calls.values():
                call.heard.put(Failed(self._broken or StoppedError("the model is no longer in use")))
            with suppress(Exception):
                self._roster.close()

    def _close(self) -> None:
        self._is_closed = True

    def _admit(self, number: int, order: Order) -> None:
        self._models[number] = _Model(order)

    def _leave(self, number: int) -> None:
        self._models.pop(number, None)
        for member in self._roster.members.values():
            if number in member.opened:
                member.opened.discard(number)
                member.actor.call("forget", (number,), _no_answer)

    def _take_call(self, call: Call) -> None:
        self._calls[call.number] = call
        self._queue.add(call.number, call.model, call.costs)

    def _drop(self, call: Call) -> None:
        if self._calls.pop(call.number, None) is None:
            return
        self._dropped[call.number] = call
        for number in self._queue.drop(call.number):
            member = self._roster.members[number]
            if member.doing is not None:
                member.actor.call("stop", (_name(member.doing.ticket),), _no_answer)
        self._see_ended()

    def _see_ended(self) -> None:
        """Tell of dropped calls that nobody is at any more."""
        at = {member.doing.ticket.call for member in self._roster.members.values() if member.doing is not None}
        for number in [number for number in self._dropped if number not in at]:
            self._dropped.pop(number).has_ended.set()

    def _fail(self, call: int, error: BaseException) -> None:
        if (found := self._calls.get(call)) is not None:
            found.heard.put(Failed(error))
            self._drop(found)

    def _notice(self, call: int, message: str) -> None:
        if (found := self._calls.get(call)) is not None:
            found.heard.put(Notice(message))

    def _answered(
        self,
        step: Callable[[Member, Any, BaseException | None], None],
        member: Member,
        found: Any,  # noqa: ANN401 -- see `Answer`
        error: BaseException | None,
    ) -> None:
        """An answer came, in any thread; the step is for the one that decides, if the actor counts then."""

        def act() -> None:
            if member.number not in self._roster.members:
                return
            if isinstance(error, ActorGoneError):
                self._bury(member, str(error))
            else:
                step(member, found, error)

        self._inbox.put(act)

    def _ready(self, member: Member, presence: Presence | None, error: BaseException | None) -> None:
        ours = Presence("", 0)
        if error is not None or presence is None:
            self._bury(member, f"{type(error).__name__}: {error}")
        elif (presence.code, presence.python) != (ours.code, ours.python):
            other = "another evalharness" if presence.code != ours.code else f"Python {presence.python}"
            self._bury(member, f"has {other}; install there what is installed here", failures=TRIES)
        else:
            member.presence = presence

    def _hand_out(self) -> None:
        for member in self._roster.idle():
            if (ticket := self._queue.take(member.number, member.refused, member.place.node)) is not None:
                member.doing = Doing(ticket)
                self._begin(member, ticket)

    def _begin(self, member: Member, ticket: Ticket) -> None:
        """Have an actor begin with what it was given: it opens the model first."""
        model, call = self._models.get(ticket.model), self._calls.get(ticket.call)
        if model is None or call is None:
            self._end(member, None)
        elif ticket.model not in member.opened:
            member.actor.call("open", (_order(model, member.place),), partial(self._answered, self._open, member))
        elif call.work is None:
            self._end(member, None if model.opened is None else Came(ticket.index, model.opened))
        else:
            arguments = (_name(ticket), ticket.model, call.work, call.shards[ticket.index])
            member.actor.call("do", arguments, partial(self._answered, self._did, member))
            self._listen(member)
            if (near := self._queue.reserve(member.number, len(self._roster.members))) is not None:
                later = self._calls[near.call]
                member.actor.call(
                    "prepare", (_name(near), near.model, later.work, later.shards[near.index]), _no_answer
                )

    def _open(self, member: Member, opened: Opened | None, error: BaseException | None) -> None:
        doing = member.doing
        if doing is None or (model := self._models.get(doing.ticket.model)) is None:
            self._end(member, None)
        elif opened is not None and (model.opened is None or opened.identity == model.opened.identity):
            model.opened = model.opened or opened
            member.opened.add(doing.ticket.model)
            self._begin(member, doing.ticket)
        elif model.opened is None:
            self._end(member, Failed(error or AssertionError("what cannot be opened has an error")))
        else:
            member.refused.add(doing.ticket.model)
            member.doing = None
            self._queue.give_back(member.number)
            why = str(error) if opened is None else _difference(opened, model.opened)
            self._roster.last_failure = f"{member.place.title} does nothing for {model.order.model.spec.name}: {why}"
            self._notice(doing.ticket.call, self._roster.last_failure)

    def _listen(self, member: Member) -> None:
        member.actor.call("hear", (_HEAR_SECONDS,), partial(self._answered, self._hear, member))

    def _hear(self, member: Member, events: Sequence[EncodeEvent] | None, error: BaseException | None) -> None:
        if (doing := member.doing) is None:
            return
        if error is not None:
            self._bury(member, f"{type(error).__name__}: {error}")
            return
        self._tell(member, doing, events or ())
        # what an actor tells last comes with what it has done
        if doing.ending is None:
            self._listen(member)
        else:
            self._end(member, doing.ending)

    def _tell(self, member: Member, doing: Doing, events: Sequence[EncodeEvent]) -> None:
        if (call := self._calls.get(doing.ticket.call)) is not None:
            by = f"{member.place.node}/{member.number}"
            for event in events:
                doing.texts = call.tell(doing.ticket.index, event, doing.texts, by)

    def _did(self, member: Member, done: Done | None, error: BaseException | None) -> None:
        if member.doing is not None:
            index = member.doing.ticket.index
            nothing = AssertionError("what is not done has an error")
            member.doing.ending = Failed(error or nothing) if done is None else Came(index, done)

    def _end(self, member: Member, ending: Came | Failed | None) -> None:
        """An actor is through with what it was at, one way or the other; nobody may want to know."""
        doing, member.doing = member.doing, None
        if doing is None:
            return
        self._queue.done(member.number)
        self._roster.praise(member)
        self._see_ended()
        if (call := self._calls.get(doing.ticket.call)) is None:
            return
        if isinstance(ending, Failed):
            self._fail(call.number, ending.error)
        elif ending is not None:
            if isinstance(ending.result, Done):
                self._tell(member, doing, ending.result.events)
            call.heard.put(ending)

    def _bury(self, member: Member, why: str, failures: int = 1) -> None:
        """An actor is dead or of no use: what it was at waits again, unless it was tried often enough."""
        roster, ticket = self._roster, self._queue.running(member.number)
        roster.bury(member, why, failures)
        if ticket is not None and ticket.model not in member.opened and self._is_opened(ticket.model):
            # others could, so that says nothing against the work
            self._queue.give_back(member.number)
        losses = self._queue.lost(member.number, roster.last_failure, member.place.node)
        self._see_ended()
        if ticket is not None and losses is not None:
            self._fail(ticket.call, self._lost(ticket, losses))
        elif ticket is not None:
            self._notice(ticket.call, f"an actor ended on {roster.last_failure}; what it was at is done over")
        elif not roster.is_sound(member.place):
            for number in self._calls:
                self._notice(number, f"no actor can be on {roster.last_failure}")

    def _is_opened(self, model: int) -> bool:
        return model in self._models and self._models[model].opened is not None

    def _lost(self, ticket: Ticket, losses: Sequence[str]) -> ModelError:
        call, model = self._calls.get(ticket.call), self._models.get(ticket.model)
        name = "a model" if model is None else model.order.model.spec.name
        what = "opening it"
        if call is not None and call.shards:
            lengths = [len(text) for text in call.shards[ticket.index].texts]
            what = f"a shard of {len(lengths):,} texts of {min(lengths):,} to {max(lengths):,} characters"
        died = shorten(list(dict.fromkeys(losses)))
        return ModelError(
            f"{name}: {what} was tried {len(losses)} times, and each time the actor ended ({died}). If memory is short "
            "there, lower --batch-tokens or --max-length; the same command goes on with what is left"
        )

    def _give_up(self) -> None:
        reason = self._roster.last_failure or "others have all of it"
        names = {model.order.model.spec.name for model in self._models.values()}
        message = (
            f"Ray has no device for {' and '.join(sorted(names))} ({reason}); what is done is kept, and the same "
            "command goes on"
        )
        for number in list(self._calls):
            self._fail(number, NobodyError(message))


def _order(model: _Model, place: Place) -> Order:
    """How a model is opened at a place."""
    changes: dict[str, object] = {"device": place.device}
    if place.device == "cpu":
        changes["threads"] = place.threads
    if model.opened is not None and (tokens := model.opened.computing.batch_tokens) is not None:
        # it decides last bits
        changes["batch_tokens"] = tokens
    return replace(model.order, execution=model.order.execution.changed(changes), is_near=place.is_near)


def _name(ticket: Ticket) -> str:
    return f"{ticket.call}-{ticket.index}"


def _difference(own: Opened, first: Opened) -> str:
    names = [name for name in {**own.identity, **first.identity} if own.identity.get(name) != first.identity.get(name)]
    different = [f"{name} {own.identity.get(name)} and not {first.identity.get(name)}" for name in names]
    return f"its vectors would be others ({shorten(different)})"


def _no_answer(found: Any, error: BaseException | None) -> None:  # noqa: ANN401 -- see `Answer`
    """Nothing depends on it."""
