"""Scoring alone, mteb's and ours, on equal vectors: `python benchmarks/scoring_speed.py [TYPE ...] [--sizes N,N]`.

Vectors are known and encoding costs nothing on either side. What is timed:

- mteb: `task.evaluate` of mteb's own task class on data in memory, without the seconds inside `encode`;
- all of ours: `from_mteb` (the same task object becomes records: draws and columns), `columns` and `score`, which gives
  mteb's metrics and the items;
- ours, score: `score` alone, which is what a job does when its data and vectors are there.

They alternate, and medians count. Both sides' metrics must be equal to six decimals, as mteb writes them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

# mteb's task classes with data made here are those of the tests
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.compare import differences
from support.synthetic import make_task, table_splits

from evalharness.tasks import task_type
from evalharness.types import Dense

WIDTH = 384
SIZES = (1_000, 20_000, 100_000)
QUICK_SIZES = (500,)
ROUNDS = 3
HEADER = "| type | items | mteb, s | ours, all, s | ours, score, s | mteb / all | mteb / score |"
RULE = "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"


@dataclass(frozen=True, slots=True)
class Made:
    """A loaded task of mteb's, and the vector of each of its texts."""

    task: Callable[[], Any]
    rows: Mapping[str, int]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Line:
    """Medians of a type at a size, in seconds."""

    kind: str
    items: int
    mteb: float
    whole: float
    score: float

    def markdown(self) -> str:
        """A row of the table."""
        seconds = " | ".join(f"{value:.3f}" for value in (self.mteb, self.whole, self.score))
        ratios = f"{self.mteb / self.whole:.1f} | {self.mteb / self.score:.1f}"
        return f"| {self.kind} | {self.items:,} | {seconds} | {ratios} |"


def _blobs(labels: NDArray[np.int64], spread: float, seed: int = 0) -> NDArray[np.float32]:
    """Vectors around a centre per label, of length 1."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(int(labels.max()) + 1, WIDTH))
    vectors = centres[labels] + spread * rng.normal(size=(len(labels), WIDTH))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def _named(prefix: str, count: int) -> list[str]:
    return [f"{prefix} {number}" for number in range(count)]


def _made(kind: str, data: object, texts: Sequence[str], vectors: NDArray[np.float32], **attributes: Any) -> Made:  # noqa: ANN401 -- of a task class
    rows = {text: row for row, text in enumerate(texts)}
    return Made(lambda: make_task(kind, data, **attributes), rows, vectors)


def _classification(items: int, labels: int) -> Made:
    rng = np.random.default_rng(1)
    codes = {"train": rng.integers(labels, size=max(items // 3, 40 * labels)), "test": rng.integers(labels, size=items)}
    texts = {split: _named(split, len(found)) for split, found in codes.items()}
    data = table_splits(
        {
            split: [
                {"text": text, "label": label} for text, label in zip(texts[split], codes[split].tolist(), strict=True)
            ]
            for split in codes
        }
    )
    together = np.concatenate([codes["train"], codes["test"]])
    return _made("Classification", data, texts["train"] + texts["test"], _blobs(together, 1.5))


def _multilabel(items: int) -> Made:
    rng = np.random.default_rng(2)
    texts = {"train": _named("train", items), "test": _named("test", items)}
    first = rng.integers(20, size=2 * items)
    more = [
        sorted({int(label), *rng.integers(20, size=n).tolist()})
        for label, n in zip(first, rng.integers(3, size=2 * items), strict=True)
    ]
    every = texts["train"] + texts["test"]
    rows = [{"text": text, "label": labels} for text, labels in zip(every, more, strict=True)]
    data = table_splits({"train": rows[:items], "test": rows[items:]})
    return _made("MultilabelClassification", data, every, _blobs(first, 1.5), max_eval_samples=None)


def _clustering(items: int) -> Made:
    codes = np.random.default_rng(3).integers(20, size=items)
    texts = _named("text", items)
    data = table_splits(
        {
            "test": [
                {"sentences": text, "labels": f"group {code}"} for text, code in zip(texts, codes.tolist(), strict=True)
            ]
        }
    )
    return _made(
        "Clustering",
        data,
        texts,
        _blobs(codes, 2.0),
        max_fraction_of_documents_to_embed=None,
        max_documents_per_cluster=min(items, 16_384),
    )


def _clustering_legacy(items: int) -> Made:
    codes = np.random.default_rng(4).integers(20, size=items)
    texts = _named("text", items)
    parts = [range(start, min(start + max(items // 10, 50), items)) for start in range(0, items, max(items // 10, 50))]
    rows = [{"sentences": [texts[n] for n in part], "labels": [f"group {codes[n]}" for n in part]} for part in parts]
    return _made("ClusteringLegacy", table_splits({"test": rows}), texts, _blobs(codes, 2.0))


def _pairs(items: int) -> tuple[list[str], list[str], NDArray[np.float32]]:
    rng = np.random.default_rng(5)
    first = rng.normal(size=(items, WIDTH))
    second = first + rng.uniform(0.3, 3, size=(items, 1)) * rng.normal(size=(items, WIDTH))
    vectors = np.concatenate([first, second])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return _named("left", items), _named("right", items), vectors.astype(np.float32)


def _pair_classification(items: int) -> Made:
    first, second, vectors = _pairs(items)
    likely = (vectors[:items] * vectors[items:]).sum(axis=1) + np.random.default_rng(6).normal(size=items) / 3 > 0.5
    rows = [
        {"sentence1": left, "sentence2": right, "labels": int(label)}
        for left, right, label in zip(first, second, likely, strict=True)
    ]
    return _made("PairClassification", table_splits({"test": rows}), first + second, vectors)


def _sts(items: int) -> Made:
    first, second, vectors = _pairs(items)
    gold = (vectors[:items] * vectors[items:]).sum(axis=1) * 4 + np.random.default_rng(7).normal(size=items) / 3
    rows = [
        {"sentence1": left, "sentence2": right, "score": round(float(score), 1)}
        for left, right, score in zip(first, second, np.clip(gold, 0, 5), strict=True)
    ]
    return _made("STS", table_splits({"test": rows}), first + second, vectors, min_score=0, max_score=5)


def _bitext(items: int) -> Made:
    first, second, vectors = _pairs(items)
    rows = [{"sentence1": left, "sentence2": right} for left, right in zip(first, second, strict=True)]
    return _made("BitextMining", table_splits({"test": rows}), first + second, vectors)


def _summarization(items: int) -> Made:
    """As SummEval: 16 rated summaries and 11 of people for each text; `items` are ratings."""
    rng, texts = np.random.default_rng(8), max(items // 16, 1)
    human, machine = _named("human", 11 * texts), _named("machine", 16 * texts)
    rows = [
        {
            "text": f"text {number}",
            "human_summaries": human[11 * number : 11 * (number + 1)],
            "machine_summaries": machine[16 * number : 16 * (number + 1)],
            "relevance": np.round(rng.uniform(1, 5, size=16), 1).tolist(),
        }
        for number in range(texts)
    ]
    vectors = rng.normal(size=(27 * texts, WIDTH)).astype(np.float32)
    return _made("Summarization", table_splits({"test": rows}), human + machine, vectors, min_score=1, max_score=5)


KINDS: Mapping[str, Callable[[int], Made]] = {
    "classification, 2 labels": lambda items: _classification(items, 2),
    "classification, 20 labels": lambda items: _classification(items, 20),
    "classification, 77 labels": lambda items: _classification(items, 77),
    "multilabel classification": _multilabel,
    "clustering, fast": _clustering,
    "clustering, legacy": _clustering_legacy,
    "pair classification": _pair_classification,
    "STS": _sts,
    "bitext mining": _bitext,
    "summarisation": _summarization,
}


class _Known:
    """mteb's model that looks its vectors up, and how long that takes."""

    def __new__(cls, made: Made) -> Any:  # noqa: ANN401 -- a subclass of mteb's encoder
        """An object of a subclass of mteb's, which is imported here."""
        from mteb.models.abs_encoder import AbsEncoder
        from mteb.models.model_meta import ModelMeta

        class Lookup(AbsEncoder):
            seconds = 0.0

            def __init__(self) -> None:
                self.mteb_model_meta = ModelMeta.create_empty(overwrites={"name": "a/b", "revision": "0" * 40})

            def encode(self, inputs: Any, **options: object) -> NDArray[np.float32]:  # noqa: ANN401
                del options
                start = time.perf_counter()
                found = made.vectors[[made.rows[text] for text in inputs.dataset["text"]]]
                self.seconds += time.perf_counter() - start
                return found

        return Lookup()


@dataclass(frozen=True, slots=True)
class _Timed:
    seconds: float
    metrics: Mapping[str, Any]
    score: float = 0.0


def _mteb(made: Made) -> _Timed:
    task, model = made.task(), _Known(made)
    start = time.perf_counter()
    found = task.evaluate(model, "test", subsets_to_run=["default"], encode_kwargs={"batch_size": 32})["default"]
    return _Timed(time.perf_counter() - start - model.seconds, found)


def _ours(made: Made) -> _Timed:
    task = made.task()
    kind = task_type(task.metadata.type)
    start = time.perf_counter()
    records = kind.from_mteb(task, "test", "default")
    columns = kind.columns(records)
    read = time.perf_counter() - start
    known = {
        column.name: Dense(made.vectors[[made.rows[text] for text in column.texts]], is_checked=True)
        for column in columns
    }
    start = time.perf_counter()
    scores = kind.score(records, known)
    score = time.perf_counter() - start
    return _Timed(read + score, {**scores.metrics, "main_score": scores.metrics[task.metadata.main_score]}, score)


def measure(kind: str, items: int, rounds: int = ROUNDS) -> Line:
    """Time a type at a size.

    Raises:
        SystemExit: the scores differ.
    """
    made = KINDS[kind](items)
    theirs, ours = [], []
    for _ in range(rounds):
        theirs.append(_mteb(made))
        ours.append(_ours(made))
        if wrong := differences(ours[-1].metrics, {**theirs[-1].metrics}):
            raise SystemExit(f"{kind}, {items} items: scores differ\n" + "\n".join(wrong[:10]))
    return Line(
        kind,
        items,
        mteb=median(each.seconds for each in theirs),
        whole=median(each.seconds for each in ours),
        score=median(each.score for each in ours),
    )


def lines(kinds: Sequence[str] = tuple(KINDS), sizes: Sequence[int] = SIZES, rounds: int = ROUNDS) -> Iterator[Line]:
    """Medians of these types at these sizes, one by one as they are measured; once for imports, which do not count."""
    for kind in kinds:
        measure(kind, QUICK_SIZES[0], 1)
        for items in sizes:
            yield measure(kind, items, rounds)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="Scoring alone, mteb's and ours, on equal vectors.")
    parser.add_argument("types", nargs="*", help=f"parts of names of: {'; '.join(KINDS)} (all)")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="items, with commas")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="one round of a small size: does it run, are scores equal")
    given = parser.parse_args()
    kinds = [kind for kind in KINDS if not given.types or any(part in kind for part in given.types)]
    sizes = QUICK_SIZES if given.quick else [int(size) for size in given.sizes.split(",")]
    print(HEADER, RULE, sep="\n")
    for line in lines(kinds, sizes, 1 if given.quick else given.rounds):
        print(line.markdown(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
