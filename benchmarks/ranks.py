"""Ranks of hundreds of models: `python benchmarks/ranks.py OUTPUT [MATRIX.csv BENCHMARK]`.

Times 300 made-up models on 40 tasks of ITEMS items each with 1,000 resamples of tasks and of items; exits with 1 if it
takes longer than 5 seconds. With a table of published scores (a row a model, a column a task, in points) it also says
how many neighbours are told apart there, as embeddings-benchmark/mteb asks in its issue 5208. Writes OUTPUT, markdown.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np

from evalharness.catalog.tasks import benchmark
from evalharness.compare.ranks.boards import ALPHA, Scores, rank
from evalharness.compare.ranks.matrix import read_matrix, scores_of
from evalharness.metrics.statistics.multiple import benjamini_hochberg
from evalharness.metrics.statistics.paired_tests import paired_t
from evalharness.results.records import installed_version

MODELS, TASKS, ITEMS, DRAWS = 300, 40, 500, 1_000
MOST_SECONDS = 5.0
_PACKAGES = ("numpy", "scipy")


def made_up() -> Scores:
    """Models whose skills are near each other, on items that differ in how hard they are."""
    random = np.random.default_rng(0)
    skills = random.normal(0, 0.02, (MODELS, 1))
    tasks = [f"task {number}" for number in range(TASKS)]
    items = {
        task: 0.5
        + skills
        + random.normal(0, 0.01, (MODELS, 1))
        + random.normal(0, 0.3, (1, ITEMS))
        + random.normal(0, 0.1, (MODELS, ITEMS))
        for task in tasks
    }
    scores = np.stack([values.mean(axis=1) for values in items.values()], axis=1)
    return Scores("made up", [f"model {number}" for number in range(MODELS)], tasks, scores, items, {})


@dataclass(frozen=True, slots=True)
class Published:
    """Neighbours on a published table that are not told apart, by how p-values are adjusted; `apart`: of all pairs."""

    models: int
    tasks: int
    left_out: int
    plain: int
    hochberg: int
    holm: int
    apart: float


def of_published(table: Path, name: str) -> Published:
    """Count them; two-sided paired t over tasks, at .05."""
    tasks = benchmark(name)
    if tasks is None:
        sys.exit(f"no benchmark {name}")
    scores = scores_of(read_matrix(table), tasks)
    board = rank(scores, DRAWS)
    pairs = board.ranking.neighbours
    plain = [paired_t(scores.scores[pair.better] - scores.scores[pair.worse]).p_value for pair in pairs]
    return Published(
        models=len(scores.models),
        tasks=len(scores.tasks),
        left_out=len(scores.left_out),
        plain=sum(p > ALPHA for p in plain),
        hochberg=sum(p > ALPHA for p in benjamini_hochberg(plain)),
        holm=len(pairs) - (board.told_apart_by_tasks or 0),
        apart=fmean(paired_t(one - other).p_value <= ALPHA for one, other in combinations(scores.scores, 2)),
    )


def described(found: Published, name: str) -> str:
    """As markdown."""
    pairs = found.models - 1
    return f"""
## Published scores of {name}

{found.models} models have a score of all {found.tasks} tasks; {found.left_out} others have not and are left out.
Of the {pairs} pairs of neighbours in the order of the mean over tasks these are not told apart at .05 (two-sided paired
t over tasks, "on tasks like these"):

| p-values | not told apart |
| --- | ---: |
| as they are | {found.plain} of {pairs} |
| Benjamini-Hochberg | {found.hochberg} of {pairs} |
| Holm, as `evalharness ranks` shows | {found.holm} of {pairs} |

Issue 5208 of embeddings-benchmark/mteb finds 176 of 180 on the leaderboard of August 2026, by a paired bootstrap over
tasks without adjustment, and that 85% of all pairs are told apart; here, without adjustment, {found.apart:.0%} are.
"""


def main() -> None:
    """Time and count, write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("output", type=Path, help="the markdown file to write")
    parser.add_argument("table", type=Path, nargs="?", help="published scores, CSV")
    parser.add_argument("benchmark", nargs="?", default="MTEB(eng, v2)", help="whose tasks are taken of it")
    given = parser.parse_args()
    scores = made_up()
    began = time.perf_counter()
    rank(scores, DRAWS)
    seconds = time.perf_counter() - began
    versions = ", ".join(f"{name} {installed_version(name)}" for name in _PACKAGES)
    command = "python benchmarks/ranks.py OUTPUT"
    command += f" MATRIX.csv {shlex.quote(given.benchmark)}" if given.table else ""
    text = f"""# Ranks of many models

Written by `{command}` on {datetime.now(UTC):%Y-%m-%d}; {os.cpu_count()} shared CPU cores, {versions}.

{MODELS} models x {TASKS} tasks x {ITEMS} items, {DRAWS:,} resamples of tasks and of items, and tests of all neighbours:
{seconds:.1f} s (at most {MOST_SECONDS:g} s).
"""
    text += described(of_published(given.table, given.benchmark), given.benchmark) if given.table else ""
    given.output.write_text(text, encoding="utf-8")
    print(text)
    if seconds > MOST_SECONDS:
        sys.exit(1)


if __name__ == "__main__":
    main()
