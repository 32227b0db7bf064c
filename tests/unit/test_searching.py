"""The search by the nodes of a cluster, with a stand-in for Ray whose nodes fail in all ways: equal numbers always."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from evalharness.ranking.best import Found
from evalharness.ranking.exact import last_bits, search_all, search_part
from evalharness.ranking.parts import Part, searched_by
from evalharness.run.cluster import searching
from evalharness.run.cluster.searching import ByNodes
from evalharness.store.index import VECTORS, StoredRows
from evalharness.store.shard_files import write_shard
from evalharness.types import Dense

DOCUMENTS, DIMENSIONS = 9000, 16


class RayError(Exception):
    pass


class Affinity:
    def __init__(self, node_id: str, *, soft: bool) -> None:
        assert not soft
        self.node = node_id


class FakeRay(ModuleType):
    """Nodes that do what they are asked at once, or something else."""

    def __init__(self, count: int, fate: Callable[[str], str]) -> None:
        super().__init__("ray")
        self.count, self.fate = count, fate
        self.asked: list[str] = []
        self.answers: dict[object, Any] = {}
        self.cancelled: list[object] = []

    def nodes(self) -> list[dict[str, Any]]:
        made = [{"NodeID": f"n{number}", "Alive": True, "Resources": {"CPU": 1.0}} for number in range(self.count)]
        idle = {"NodeID": "head", "Alive": True, "Resources": {}}
        return [*made, idle, {"NodeID": "gone", "Alive": False, "Resources": {"CPU": 1.0}}]

    def put(self, value: object) -> object:
        return value

    def remote(self, *, num_cpus: int, max_retries: int) -> Callable[[Callable[..., Any]], Any]:
        assert (num_cpus, max_retries) == (0, 0)
        return lambda work: Task(self, work, "")

    def wait(self, references: Sequence[object], timeout: float) -> tuple[list[object], list[object]]:
        return [one for one in references if self.answers[one] != "silent"][:1], []

    def get(self, reference: object, timeout: float) -> Any:
        answer = self.answers[reference]
        if answer == "fails":
            raise RayError
        return None if answer == "other bits" else pickle.loads(answer)  # noqa: S301 -- made here

    def cancel(self, reference: object, *, force: bool) -> None:
        assert force
        self.cancelled.append(reference)


class Task:
    def __init__(self, ray: FakeRay, work: Callable[..., Any], node: str) -> None:
        self.ray, self.work, self.node = ray, work, node

    def options(self, *, scheduling_strategy: Affinity) -> Task:
        return Task(self.ray, self.work, scheduling_strategy.node)

    def remote(self, *arguments: object) -> object:
        reference, fate = object(), self.ray.fate(self.node)
        self.ray.asked.append(self.node)
        sent = pickle.loads(pickle.dumps(arguments))  # noqa: S301 -- made here
        self.ray.answers[reference] = pickle.dumps(self.work(*sent)) if fate == "answers" else fate
        return reference


@pytest.fixture
def corpus(tmp_path: Path) -> Dense:
    vectors = np.random.default_rng(0).integers(-2, 3, (DOCUMENTS, DIMENSIONS)).astype(np.float32)
    write_shard(tmp_path / "a.shard", {VECTORS: vectors})
    rows = np.random.default_rng(1).permutation(DOCUMENTS).astype(np.int32)
    return Dense(StoredRows([tmp_path / "a.shard"], np.zeros(DOCUMENTS, dtype=np.int32), rows, DIMENSIONS))


def search(monkeypatch: pytest.MonkeyPatch, corpus: Dense, ray: FakeRay, by_nodes: ByNodes) -> None:
    """See that nodes find what is found here."""
    exceptions, strategies = ModuleType("ray.exceptions"), ModuleType("ray.util.scheduling_strategies")
    exceptions.RayError, strategies.NodeAffinitySchedulingStrategy = RayError, Affinity  # type: ignore[attr-defined]  # a made module
    for module in (ray, exceptions, ModuleType("ray.util"), strategies):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    ids = [f"d{number}" for number in np.random.default_rng(2).permutation(DOCUMENTS)]
    queries = Dense(np.random.default_rng(3).integers(-2, 3, (20, DIMENSIONS)).astype(np.float32))
    usual = search_all(queries, corpus, ids, 100)
    with searched_by(by_nodes):
        found = search_all(queries, corpus, ids, 100)
    assert np.array(found.documents).tolist() == np.array(usual.documents).tolist()
    assert np.array(found.scores).tobytes() == np.array(usual.scores).tobytes()


@pytest.mark.parametrize("seed", range(8))
def test_whatever_nodes_do_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch, corpus: Dense, seed: int) -> None:
    rng = np.random.default_rng(seed)
    fates = ["answers", "answers", "fails", "other bits", "silent"]
    ray = FakeRay(int(rng.integers(0, 5)), lambda _: str(rng.choice(fates)))
    search(monkeypatch, corpus, ray, ByNodes(2048, 2048, patience=0.0))
    assert {"head", "gone"}.isdisjoint(ray.asked)


def test_nodes_that_answer_do_it_all(monkeypatch: pytest.MonkeyPatch, corpus: Dense) -> None:
    ray = FakeRay(2, lambda _: "answers")
    monkeypatch.setattr(searching, "search_part", lambda *_: pytest.fail("it was searched here"))
    monkeypatch.setattr(searching, "answer", _answer)
    search(monkeypatch, corpus, ray, ByNodes(2048, 2048))
    assert ray.asked == ["n0", "n1", "n0", "n1", "n0"]


def _answer(part: Part, vectors: NDArray[np.float32], k: int, threads: int, bits: str) -> Found:
    assert bits == last_bits(DIMENSIONS, "cosine")
    return search_part(part, vectors, k, threads)


def test_a_node_that_fails_is_asked_no_more_and_a_part_three_times_at_most(
    monkeypatch: pytest.MonkeyPatch, corpus: Dense
) -> None:
    ray = FakeRay(9, lambda _: "fails")
    search(monkeypatch, corpus, ray, ByNodes(2048, 2048))
    assert len(ray.asked) == len(set(ray.asked))
    searched: list[Part] = []

    def counted(part: Part, vectors: NDArray[np.float32], k: int, threads: int | None = None) -> Found:
        searched.append(part)
        return search_part(part, vectors, k, threads)

    monkeypatch.setattr(searching, "search_part", counted)
    # the first node fails, the others answer
    ray = FakeRay(3, lambda node: "fails" if node == "n0" else "answers")
    search(monkeypatch, corpus, ray, ByNodes(2048, 2048))
    assert ray.asked.count("n0") == 1
    # `answer` searches, too
    assert len(searched) == 5


def test_nothing_is_awaited_for_ever(monkeypatch: pytest.MonkeyPatch, corpus: Dense) -> None:
    ray = FakeRay(2, lambda _: "silent")
    search(monkeypatch, corpus, ray, ByNodes(2048, 2048, patience=0.0))
    assert len(ray.cancelled) == len(ray.asked) == 2


def test_small_corpora_and_vectors_in_memory_are_searched_here(monkeypatch: pytest.MonkeyPatch, corpus: Dense) -> None:
    ray = FakeRay(2, lambda _: pytest.fail("a node was asked"))
    search(monkeypatch, corpus, ray, ByNodes())
    search(monkeypatch, Dense(corpus.vectors), ray, ByNodes(2048, 2048))
