"""Scoring of retrieval and reranking, mteb's and ours: `python benchmarks/ranking_speed.py [--quick] [--queries N]`.

Nothing is encoded. What is timed, in seconds of a processor (set OMP_NUM_THREADS=1):

- retrieval: from rankings of 1,000 documents per query to metrics and items, against mteb's evaluator on the same;
- reranking: from vectors and 40 candidates per query to metrics and items, in MindSmall's shape: sub-queries that share
  candidates, scored by themselves and as questions; against mteb's reranking and evaluator;
- MindSmall's size, 2.4 million queries, ours alone in a process of its own, with the most memory that it took.

Both sides alternate, medians count, and their metrics must be equal to 1e-6.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.metrics.ragged import Ragged
from evalharness.metrics.ranking import Grades
from evalharness.ranking.candidates import best_first, rank_candidates
from evalharness.ranking.judgements import Judgements
from evalharness.ranking.order import id_ranks
from evalharness.ranking.records import K_VALUES, Ranking, RetrievalRecords
from evalharness.ranking.scores import score_ranking
from evalharness.types import Dense

HITS, CANDIDATES, WIDTH = 1_000, 40, 384
# queries of each measurement
RETRIEVAL, RERANKING, MIND = (10_000,), (1_000, 10_000, 100_000), 2_400_000
QUICK_RETRIEVAL, QUICK_RERANKING, QUICK_MIND = (300,), (600,), 24_000
_DOCUMENTS, _TEXTS, _PER_QUESTION, _JUDGED, _ROUNDS = 65_000, 20_000, 30, 10, 3
HEADER = "| what | queries | documents each | mteb, s | ours, s | mteb / ours | most memory, GiB |"
RULE = "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds of a processor (medians), and GiB; None where nothing was measured."""

    what: str
    queries: int
    documents: int
    mteb: float | None
    ours: float
    memory: float | None = None

    def markdown(self) -> str:
        """A row of the table."""
        theirs = "" if self.mteb is None else f"{self.mteb:.2f}"
        ratio = "" if self.mteb is None else f"{self.mteb / self.ours:.1f}"
        memory = "" if self.memory is None else f"{self.memory:.1f}"
        return (
            f"| {self.what} | {self.queries:,} | {self.documents} | {theirs} | {self.ours:.2f} | {ratio} | {memory} |"
        )


class _Repeated:
    """Rows of which many are the same, as the store holds them; see `types.Rows`."""

    def __init__(self, vectors: NDArray[np.float32], which: NDArray[np.int64]) -> None:
        self._vectors, self._which = vectors, which
        self.shape = (len(which), vectors.shape[1])

    def __getitem__(self, index: Any) -> _Repeated:  # noqa: ANN401 -- whatever NumPy takes
        return _Repeated(self._vectors, self._which[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.float32]:  # noqa: ANN401, FBT001
        del dtype, copy
        return self._vectors[self._which]


def _ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def _even(values: NDArray[Any]) -> Ragged:
    """The rows of a matrix."""
    return Ragged(values.ravel(), np.arange(len(values) + 1) * values.shape[1])


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Judged queries, and what was found for them."""

    records: RetrievalRecords
    found: Ranking


def retrieval(queries: int) -> Retrieval:
    """Random rankings with ties; half of the judged documents were found."""
    rng = np.random.default_rng(0)
    steps = rng.integers(1, _DOCUMENTS // HITS, (queries, HITS))
    # distinct within a row, in no order
    documents = rng.permuted(np.cumsum(steps, axis=1), axis=1).astype(np.int32)
    scores = -np.sort(-rng.integers(0, 10_000, (queries, HITS)) / np.float32(10_000), axis=1).astype(np.float32)
    near = np.stack([documents[:, place] for place in rng.choice(HITS, _JUDGED // 2, replace=False)], axis=1)
    judged = np.concatenate([near, near + _DOCUMENTS], axis=1)
    grades = rng.integers(0, 3, judged.size).astype(np.int8)
    grades[::_JUDGED] = 1
    corpus = _ids("d", 2 * _DOCUMENTS)
    records = RetrievalRecords(
        corpus_ids=corpus,
        corpus=[""] * len(corpus),
        query_ids=_ids("q", queries),
        queries=_ids("query ", queries),
        qrels=Judgements(Grades(_even(judged.astype(np.int32)), grades), corpus),
        main_score="ndcg_at_10",
    )
    return Retrieval(records, best_first(_even(documents), _even(scores), id_ranks(corpus), HITS))


@dataclass(frozen=True, slots=True)
class Reranking:
    """Sub-queries with candidates, and the vectors of their texts."""

    records: RetrievalRecords
    queries: Dense
    corpus: Dense


def reranking(queries: int) -> Reranking:
    """Questions of 30 sub-queries, which share 40 candidates, all judged, 2 of them relevant; few distinct texts."""
    rng = np.random.default_rng(0)
    questions = -(-queries // _PER_QUESTION)
    steps = rng.integers(1, _DOCUMENTS // CANDIDATES, (questions, CANDIDATES), dtype=np.int32)
    lists = rng.permuted(np.cumsum(steps, axis=1, dtype=np.int32), axis=1)
    candidates = _even(np.repeat(lists, _PER_QUESTION, axis=0)[:queries])
    grades = np.zeros((queries, CANDIDATES), dtype=np.int8)
    grades[:, [3, 17]] = 1
    corpus = _ids("document", _DOCUMENTS)
    texts = rng.integers(0, _TEXTS, queries)
    records = RetrievalRecords(
        corpus_ids=corpus,
        corpus=corpus,
        query_ids=[f"q{number // _PER_QUESTION}_{number % _PER_QUESTION}" for number in range(queries)],
        queries=list(map(_ids("text ", _TEXTS).__getitem__, texts.tolist())),
        qrels=Judgements(Grades(candidates, grades.ravel()), corpus),
        candidates=candidates,
        has_subqueries=True,
        main_score="max_over_subqueries_map_at_1000",
    )
    vectors, documents = (rng.normal(size=(count, WIDTH)).astype(np.float32) for count in (_TEXTS, _DOCUMENTS))
    return Reranking(records, Dense(_Repeated(vectors, texts)), Dense(documents))


def reranked(made: Reranking) -> Mapping[str, float]:
    """Our metrics, and items beside them."""
    records = made.records
    candidates = records.candidates or ()
    found = rank_candidates(made.queries, made.corpus, candidates, records.corpus_ids, max(K_VALUES))
    return score_ranking(records, found).metrics


@dataclass(frozen=True, slots=True)
class Scored:
    """Metrics, and the seconds of a processor that they took."""

    metrics: Mapping[str, float]
    seconds: float


def _timed(score: Callable[[], Mapping[str, float]]) -> Scored:
    started = time.process_time()
    metrics = score()
    return Scored(metrics, time.process_time() - started)


def _by_mteb(results: Mapping[str, Mapping[str, float]], qrels: Mapping[str, Any]) -> dict[str, float]:
    from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores, make_score_dict

    found = calculate_retrieval_scores(results, qrels, list(K_VALUES))
    return make_score_dict(
        ndcg=found.ndcg,
        _map=found.map,
        recall=found.recall,
        precision=found.precision,
        naucs=found.naucs,
        mrr=found.mrr,
        naucs_mrr=found.naucs_mrr,
        hit_rate=found.hit_rate,
        task_scores={},
    )


def reranked_by_mteb(made: Reranking, corpus: Any, qrels: Mapping[str, Any]) -> Callable[[], Scored]:  # noqa: ANN401
    """mteb's metrics of the same vectors; its data are made before."""
    from mteb import get_task
    from mteb._evaluators.retrieval_metrics import max_over_subqueries
    from mteb.models.search_wrappers import rerank_top_ranked_documents
    from mteb.similarity_functions import cos_sim

    records = made.records
    names = [[records.corpus_ids[number] for number in row.tolist()] for row in Ragged.of(records.candidates or ())]
    top = dict(zip(records.query_ids, names, strict=True))
    vectors, documents = made.queries.vectors, made.corpus.vectors
    metadata = get_task("MindSmallReranking").metadata

    def measured() -> Scored:
        started = [0.0]

        def encode(*_: object, **__: object) -> NDArray[np.float32]:
            # what was before is mteb's way to bring texts to a model
            started[0] = time.process_time()
            return documents

        heaps = rerank_top_ranked_documents(
            task_corpus=corpus,
            query_idx_to_id=dict(enumerate(records.query_ids)),
            query_embeddings=vectors,
            top_ranked=top,
            top_k=max(K_VALUES),
            task_metadata=metadata,
            hf_subset="default",
            hf_split="test",
            encode_kwargs={"show_progress_bar": False},
            encode_fn=encode,
            similarity_fn=cos_sim,
        )
        # as mteb's wrapper does
        results = {query: {name: score for score, name in heap} for query, heap in heaps.items()}
        metrics = _by_mteb(results, qrels) | max_over_subqueries(qrels, results, list(K_VALUES))
        return Scored(metrics, time.process_time() - started[0])

    return measured


@dataclass(frozen=True, slots=True)
class _Taken:
    """Seconds of a processor of both sides, medians."""

    mteb: float
    ours: float


def _alternated(mteb: Callable[[], Scored], ours: Callable[[], Scored], rounds: int) -> _Taken:
    taken: list[list[float]] = [[], []]
    for _ in range(rounds):
        theirs, mine = mteb(), ours()
        apart = {
            name: (value, mine.metrics.get(name))
            for name, value in theirs.metrics.items()
            if not _equal(value, mine.metrics.get(name))
        }
        if apart or not theirs.metrics:
            raise AssertionError(f"scores differ (mteb's, ours): {apart}")
        taken[0].append(theirs.seconds)
        taken[1].append(mine.seconds)
    return _Taken(median(taken[0]), median(taken[1]))


def _equal(theirs: float, ours: float | None) -> bool:
    return ours is not None and bool(np.isclose(theirs, ours, rtol=0, atol=1e-6, equal_nan=True))


def lines(*, quick: bool = False, rounds: int = _ROUNDS, mind: int | None = None) -> Iterator[Line]:
    """Measure one after the other.

    Args:
        quick: small sizes, for a look whether it works.
        rounds: of which the medians count.
        mind: queries of the last measurement, instead of MindSmall's.
    """
    for count in QUICK_RETRIEVAL if quick else RETRIEVAL:
        taken = _of_retrieval(count, rounds)
        yield Line("retrieval", count, HITS, taken.mteb, taken.ours)
    for count in QUICK_RERANKING if quick else RERANKING:
        taken = _of_reranking(count, rounds)
        yield Line("reranking", count, CANDIDATES, taken.mteb, taken.ours)
    yield _apart(mind or (QUICK_MIND if quick else MIND))


def _of_retrieval(count: int, rounds: int) -> _Taken:
    made = retrieval(count)
    qrels = dict(zip(made.records.query_ids, made.records.qrels, strict=True))
    results = {query: dict(found) for query, found in score_ranking(made.records, made.found).retrieved or ()}
    return _alternated(
        lambda: _timed(lambda: _by_mteb(results, qrels)),
        lambda: _timed(lambda: score_ranking(made.records, made.found).metrics),
        rounds,
    )


def _of_reranking(count: int, rounds: int) -> _Taken:
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    made = reranking(count)
    corpus = Dataset.from_dict({"id": list(made.records.corpus_ids), "text": list(made.records.corpus)})
    judged = dict(zip(made.records.query_ids, made.records.qrels, strict=True))
    return _alternated(reranked_by_mteb(made, corpus, judged), lambda: _timed(lambda: reranked(made)), rounds)


def _apart(queries: int) -> Line:
    """MindSmall's shape in a process of its own, whose memory is its own."""
    command = [sys.executable, __file__, "--alone", str(queries)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    found = json.loads(done.stdout)
    return Line("reranking, MindSmall's shape", queries, CANDIDATES, None, found["seconds"], found["memory"])


def _alone(queries: int) -> None:
    made = reranking(queries)
    seconds = _timed(lambda: reranked(made)).seconds
    print(json.dumps({"seconds": seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--queries", type=int, help="of the last measurement, instead of 2.4 million")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        _alone(given.alone)
        return
    print(f"{HEADER}\n{RULE}")
    for line in lines(quick=given.quick, rounds=given.rounds, mind=given.queries):
        print(line.markdown(), flush=True)


if __name__ == "__main__":
    main()
