"""A run on several devices, without a model: which device encodes which shard, when, and what is left idle.

A run is tasks, a task is calls of the encoder one after another (queries, then documents), a call is shards of so many
seconds. A device that is free takes a shard of the call that was opened first, its longest that is left; so does
`models.pool.queue`. A call ends with its last shard.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import count
from operator import attrgetter
from typing import TypeAlias

# of a shard, before the run gives up
TRIES = 3

# seconds per shard, by call
Task: TypeAlias = Sequence[Sequence[float]]


class NobodyLeftError(Exception):
    """Shards are left that nobody encodes, for no device is, or for they took one device down after the other."""


@dataclass(frozen=True, slots=True)
class Death:
    """A device dies, and what it is busy with is begun anew by another.

    Attributes:
        device: its number.
        at: seconds after the start of the run.
        comes_back: whether another begins to start in its place at once.
    """

    device: int
    at: float
    comes_back: bool


@dataclass(frozen=True, slots=True)
class Cluster:
    """What encodes.

    Attributes:
        devices: how many.
        start: seconds that each needs before its first shard, to load the model.
        deaths: in any order.
    """

    devices: int
    start: float = 0.0
    deaths: Sequence[Death] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run took.

    Attributes:
        seconds: from the start to the end of the last shard.
        busy: device-seconds of shards that were finished.
        lost: device-seconds of shards that were broken off.
        starting: device-seconds of loading the model.
        away: device-seconds after deaths of devices that nothing took the place of.
        idle: device-seconds of waiting for a shard.
        repeated: shards that were broken off.
    """

    seconds: float
    busy: float
    lost: float
    starting: float
    away: float
    idle: float
    repeated: int

    def share(self, device_seconds: float) -> float:
        """What part of the time of all devices that were there something is, 0-1."""
        there = self.busy + self.lost + self.starting + self.idle
        return device_seconds / there if there else 0.0


@dataclass(slots=True)
class _Call:
    """A call that is open: shards that wait, the longest last; how many are not done; and the calls after it."""

    waiting: list[_Shard]
    left: int
    after: Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard, and which try of it this is."""

    seconds: float
    tries: int = 1


@dataclass(frozen=True, slots=True)
class _Event:
    """A device is done with what it does, if it has died no more than so often; or it dies."""

    device: int
    deaths: int
    dies: bool = False
    comes_back: bool = False


@dataclass(slots=True)
class _Device:
    """A device: when it began what it does, its shard and that one's call if it has one, and how often it died."""

    since: float = 0.0
    shard: _Shard | None = None
    call: _Call | None = None
    is_starting: bool = True
    is_away: bool = False
    deaths: int = 0


def simulate(tasks: Sequence[Task], cluster: Cluster, at_once: int = 1) -> Outcome:
    """A run of some tasks.

    Args:
        tasks: in the order in which they are begun.
        cluster: what encodes.
        at_once: how many tasks are open at a time.

    Raises:
        NobodyLeftError: see there.
    """
    run = _Run(tasks, cluster)
    for _ in range(at_once):
        run.open_task()
    while run.events and run.left:
        run.step()
    if run.left:
        raise NobodyLeftError(f"shards that are left: {run.left}; devices: none")
    return run.outcome()


class _Run:
    """Events in the order of time, from one to the next."""

    def __init__(self, tasks: Sequence[Task], cluster: Cluster) -> None:
        self._start = cluster.start
        whole = [[call for call in task if len(call)] for task in tasks]
        self._tasks = iter([task for task in whole if task])
        self._devices = [_Device() for _ in range(cluster.devices)]
        self._calls: list[_Call] = []
        self._free: list[int] = []
        self._what: dict[int, _Event] = {}
        self._number = count()
        self.left = sum(len(call) for task in whole for call in task)
        self.now = self.busy = self.lost = self.starting = 0.0
        self.repeated = 0
        # when, and the number of what happens
        self.events: list[tuple[float, int]] = []
        for death in cluster.deaths:
            self._at(death.at, _Event(death.device, 0, dies=True, comes_back=death.comes_back))
        for device in range(cluster.devices):
            self._at(cluster.start, _Event(device, 0))

    def _at(self, when: float, event: _Event) -> None:
        number = next(self._number)
        self._what[number] = event
        heappush(self.events, (when, number))

    def open_task(self) -> None:
        """Open the first call of the next task, if there is one."""
        if calls := next(self._tasks, None):
            self._open(calls)

    def _open(self, calls: Sequence[Sequence[float]]) -> None:
        self._calls.append(_Call([_Shard(seconds) for seconds in sorted(calls[0])], len(calls[0]), calls[1:]))

    def step(self) -> None:
        """Go on to the next event."""
        self.now, number = heappop(self.events)
        event = self._what.pop(number)
        device = self._devices[event.device]
        if event.dies and not device.is_away:
            self._die(event)
        elif not event.dies and event.deaths == device.deaths:
            self._finish(device)
            heappush(self._free, event.device)
        self._give()

    def _finish(self, device: _Device) -> None:
        """A device has started, or is done with its shard."""
        if device.is_starting:
            self.starting += self.now - device.since
            device.is_starting = False
        if device.shard is None or device.call is None:
            return
        self.busy += device.shard.seconds
        self.left -= 1
        call, device.shard, device.call = device.call, None, None
        call.left -= 1
        if not call.left:
            self._calls.remove(call)
            if call.after:
                self._open(call.after)
            else:
                self.open_task()

    def _die(self, event: _Event) -> None:
        device = self._devices[event.device]
        if device.is_starting:
            self.starting += self.now - device.since
        if device.shard is not None and device.call is not None:
            self.lost += self.now - device.since
            self.repeated += 1
            if device.shard.tries == TRIES:
                raise NobodyLeftError(f"a shard of {device.shard.seconds} s was tried {TRIES} times")
            again = _Shard(device.shard.seconds, device.shard.tries + 1)
            insort(device.call.waiting, again, key=attrgetter("seconds"))
        self._free = [free for free in self._free if free != event.device]
        heapify(self._free)
        deaths = device.deaths + 1
        self._devices[event.device] = _Device(
            self.now, is_starting=event.comes_back, is_away=not event.comes_back, deaths=deaths
        )
        if event.comes_back:
            self._at(self.now + self._start, _Event(event.device, deaths))

    def _give(self) -> None:
        """Each free device takes the next shard."""
        for call in self._calls:
            while call.waiting and self._free:
                number = heappop(self._free)
                device = self._devices[number]
                device.shard, device.call, device.since = call.waiting.pop(), call, self.now
                self._at(self.now + device.shard.seconds, _Event(number, device.deaths))

    def outcome(self) -> Outcome:
        """What it took, once nothing is left."""
        for device in self._devices:
            self.starting += (self.now - device.since) * device.is_starting
        away = sum((self.now - device.since for device in self._devices if device.is_away), 0.0)
        whole = self.now * len(self._devices)
        idle = max(whole - self.busy - self.lost - self.starting - away, 0.0)
        return Outcome(self.now, self.busy, self.lost, self.starting, away, idle, self.repeated)
