"""How long does a comparison of 56 tasks take? `python benchmarks/comparison_speed.py [DRAWS]`.

Makes up items of tasks as many and as large as those of MTEB(eng, v1), and does with them what `evalharness compare`
does once files are read: scores, tests, intervals, means. Prints seconds of each type and in all, and the memory that
it took. It is a single process.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from evalharness.compare.comparison import Settings
from evalharness.compare.differences import Difference, mean_difference, task_difference
from evalharness.compare.matching import PairedJob
from evalharness.metrics.forms import Correlation, Decision, Form, Labels, Mean
from evalharness.metrics.statistics import SEED
from evalharness.metrics.statistics.draws import generator

# items of each task, by type
SIZES: Mapping[str, Sequence[int]] = {
    "Classification": (670, 400_000, 3_080, 2_000, 25_000, 2_974, 2_974, 4_386, 4_386, 50_000, 3_534, 5_000),
    "Clustering": (31, 31, 10, 10, 10, 10, 25, 25, 10, 10, 10),
    "PairClassification": (101_097, 16_777, 51_534),
    "Reranking": (361, 130, 3_978, 2_992),
    "Retrieval": (1_406, 49_900 // 10, 1_535, 6_666, 648, 7_405, 43, 323, 3_452, 10_000, 1_000, 300, 50, 249, 400),
    "STS": (100, 9_927, 3_108, 1_500, 3_750, 3_000, 1_186, 250, 197, 1_379),
    "Summarization": (100,),
}
_EXPERIMENTS = 10
_MIB = 2**20


def _mean(draw: np.random.Generator, items: int) -> list[Form]:
    gains = np.append(1 / np.log2(np.arange(2, 12)), 0.0)
    place = draw.integers(0, len(gains), items)
    moved = np.where(draw.random(items) < 0.3, draw.integers(0, len(gains), items), place)
    return [Mean(gains[place]), Mean(gains[moved])]


def _labels(draw: np.random.Generator, items: int) -> list[Form]:
    gold = draw.integers(0, 10, items)
    return [
        Labels(gold, np.where(draw.random((_EXPERIMENTS, items)) < 0.7, gold, (gold + 1) % 10), "accuracy")
        for _ in range(2)
    ]


def _pairs(draw: np.random.Generator, items: int) -> list[Form]:
    labels = (draw.random(items) < 0.2).astype(np.int64)
    shared = labels + draw.normal(size=items)
    return [Decision(labels, shared + 0.2 * draw.normal(size=(5, items)), "ap") for _ in range(2)]


def _correlation(draw: np.random.Generator, items: int) -> list[Form]:
    gold = np.round(draw.uniform(0, 5, items), 1)
    shared = gold + draw.normal(size=items)
    return [Correlation(gold, shared + 0.3 * draw.normal(size=items), "spearman") for _ in range(2)]


MAKES: Mapping[str, Callable[[np.random.Generator, int], list[Form]]] = {
    "Classification": _labels,
    "PairClassification": _pairs,
    "STS": _correlation,
}


def tasks() -> Iterator[tuple[str, str, PairedJob]]:
    """Types, names and items of all 56 tasks, one after the other."""
    for kind, sizes in SIZES.items():
        for number, items in enumerate(sizes):
            name = f"{kind} {number}"
            base, candidate = MAKES.get(kind, _mean)(generator(SEED, name), items)
            yield kind, name, PairedJob(1.0, base, candidate, [f"{number}" for number in range(items)])


def peak() -> float:
    """Most memory that this process ever had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MIB


def main() -> None:
    """Measure and print."""
    settings = Settings(draws=int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    start_of_all = peak()
    cpu, seconds = 0.0, dict[str, float]()
    found: dict[str, list[Difference]] = {}
    for kind, name, job in tasks():
        started, used = time.perf_counter(), time.process_time()
        found.setdefault(kind, []).append(task_difference(name, [job], settings))
        seconds[kind] = seconds.get(kind, 0.0) + time.perf_counter() - started
        cpu += time.process_time() - used
    started = time.perf_counter()
    types = [mean_difference(members, settings.tolerance) for members in found.values()]
    mean_difference([one for members in found.values() for one in members], settings.tolerance)
    mean_difference(types, settings.tolerance)
    seconds["means"] = time.perf_counter() - started
    for kind, taken in seconds.items():
        print(f"{kind}: {taken:.1f} s")
    count = sum(map(len, found.values()))
    print(f"{count} tasks, {settings.draws:,} resamples: {sum(seconds.values()):.1f} s, {cpu:.1f} s of a processor")
    print(f"memory at the start {start_of_all:.0f} MiB, at most {peak():.0f} MiB, items of the largest task included")


if __name__ == "__main__":
    main()
