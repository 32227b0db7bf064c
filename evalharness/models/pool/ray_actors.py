"""Actors of Ray: where there is room for them, and what became of those who do not answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from evalharness.errors import PrerequisiteError, one_line
from evalharness.models.options import Execution
from evalharness.models.pool import connecting
from evalharness.models.pool.ray_library import (
    ActorDiedError,
    ActorUnavailableError,
    NodeAffinitySchedulingStrategy,
    RayError,
    RayTaskError,
    ray,
)
from evalharness.models.pool.staff import Actor, ActorGoneError, Answer, Employer, Place
from evalharness.models.pool.worker import Worker

# one works, others ask and tell meanwhile
_CALLS_AT_ONCE = 4
# beyond that, an engine gains little by more threads, and several engines gain more
_MOST_THREADS = 8
_LONGEST_REASON = 200


class RayEmployer:
    """An `Employer` with the nodes of a cluster: a place for each GPU, or for so many CPU threads."""

    def __init__(self, execution: Execution) -> None:
        """See the class; Ray has been entered."""
        self._device = execution.device
        self._threads = execution.threads

    def places(self) -> Sequence[Place]:
        """See `Employer`."""
        near = ray.get_runtime_context().get_node_id()
        nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]  # Ray's
        nodes.sort(key=lambda node: (node["NodeID"] != near, node["NodeID"]))
        wants_gpu = self._device == "cuda" or (self._device is None and any(_count(node, "GPU") for node in nodes))
        threads = self._threads or min([_MOST_THREADS, *(count for node in nodes if (count := _count(node, "CPU")))])
        found = [place for node in nodes for place in _places(node, threads, self._threads, wants_gpu=wants_gpu)]
        # by turns: the first of each node, then the second
        return sorted((replace(place, is_near=place.node == near) for place in found), key=lambda place: place.number)

    def hire(self, place: Place) -> Actor:
        """See `Employer`."""
        on_gpu = place.device == "cuda"
        options = {
            "num_gpus": int(on_gpu),
            "num_cpus": 0 if on_gpu else place.threads,
            "max_concurrency": _CALLS_AT_ONCE,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(place.node, soft=False),
        }
        return RayActor(ray.remote(Worker).options(**options).remote(place.threads))

    def close(self) -> None:
        """See `Employer`."""
        connecting.leave()


class RayActor:
    """An `Actor` of Ray."""

    def __init__(self, handle: Any) -> None:  # noqa: ANN401 -- made by Ray of any class
        self._handle = handle

    def call(self, method: str, arguments: Sequence[Any], answer: Answer) -> None:
        """See `Actor`."""
        try:
            future: Future[Any] = getattr(self._handle, method).remote(*arguments).future()
        except Exception as error:  # noqa: BLE001 -- what cannot be sent, or Ray that is gone
            answer(None, error)
            return
        future.add_done_callback(partial(_pass_on, answer))

    def kill(self) -> None:
        """See `Actor`."""
        if ray.is_initialized():
            with suppress(Exception):
                ray.kill(self._handle)


def employ(execution: Execution) -> Employer:
    """Whoever has the actors of a way to run.

    Raises:
        PrerequisiteError: there is no Ray, or no such device in it.
    """
    connecting.enter(execution.ray or "")
    employer = RayEmployer(execution)
    if not employer.places():
        employer.close()
        wanted = "a GPU" if execution.device == "cuda" else f"{execution.threads or 1} CPUs for Ray"
        raise PrerequisiteError(f"--ray {execution.ray}: no node has {wanted}; see: ray status")
    return employer


def _pass_on(answer: Answer, future: Future[Any]) -> None:
    error = future.exception()
    if error is None:
        answer(future.result(), None)
    elif isinstance(error, RayTaskError):
        cause = getattr(error, "cause", None)
        answer(None, cause if isinstance(cause, Exception) else error)
    elif isinstance(error, RayError):
        answer(None, ActorGoneError(_reason(error)))
    else:
        answer(None, error)


def _reason(error: RayError) -> str:
    """What became of an actor, in a few words."""
    said = str(error)
    if isinstance(error, ActorDiedError) and error.actor_init_failed:
        return one_line([line for line in said.splitlines() if line.strip()][-1], _LONGEST_REASON)
    if "low on memory" in said:
        return "its process was ended, for the machine was low on memory"
    if "node" in said and ("node died" in said or "node has died" in said or "node was terminated" in said):
        return "its machine has left the cluster"
    if isinstance(error, ActorDiedError):
        return "its process died"
    if isinstance(error, ActorUnavailableError):
        return "its process or machine does not answer"
    return one_line(said, _LONGEST_REASON)


def _count(node: Mapping[str, Any], resource: str) -> int:
    return int(node["Resources"].get(resource, 0))


def _places(node: Mapping[str, Any], threads: int, asked: int | None, *, wants_gpu: bool) -> list[Place]:
    """Places of a machine: its GPUs, or its CPUs in parts of so many."""
    name, cpus, gpus = node["NodeManagerHostname"], _count(node, "CPU"), _count(node, "GPU")
    if wants_gpu:
        own = asked or max(1, cpus // max(gpus, 1))
        return [Place(node["NodeID"], number, f"{name} (a GPU)", "cuda", own) for number in range(gpus)]
    return [Place(node["NodeID"], number, name, "cpu", threads) for number in range(cpus // threads)]
