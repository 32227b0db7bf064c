"""Many tests at once: the gate over 40 tasks, and a series of checkpoints that is looked at again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from calibrating.pools import Pool, by_type
from calibrating.tables import table
from calibrating.trials import ALPHA, Cell, Share, linear_cell, spread
from evalharness.metrics.forms import Values
from evalharness.metrics.statistics import SEED
from evalharness.metrics.statistics.draws import generator, signs
from evalharness.metrics.statistics.multiple import holm
from evalharness.metrics.statistics.spending import per_pair

# 40 tasks, about as many of each type as benchmarks have
TASKS: Mapping[str, int] = {
    "Retrieval": 12,
    "Classification": 10,
    "Reranking": 6,
    "STS": 4,
    "PairClassification": 3,
    "Clustering": 3,
    "Summarization": 2,
}
_DRAWS, _TOGETHER, _LARGE = 1_999, 100, 500
_SLACK = 1e-12
_LOOKS = (5, 20)
SERIES_ITEMS = 300


@dataclass(frozen=True, slots=True)
class Task:
    """A task of the gate.

    Attributes:
        type: task type.
        values: differences of a population; None where `bank` is there.
        items: of a sample.
        bank: of a score that is no mean: per sample its difference, and the standard error of it.
    """

    type: str
    values: Values | None
    items: int
    bank: Values | None = None


def tasks_of(pools: Sequence[Pool], trials: int) -> list[Task]:
    """Forty tasks, of each type the pools in turn.

    Args:
        pools: populations; types that have none are left out, and the others have more tasks.
        trials: how many samples of scores that are no means are kept.
    """
    types = by_type(
        _real([pool for pool in pools if pool.kind.split(",")[0] in TASKS and not pool.kind.endswith(", f1")])
    )
    there = {name: count for name, count in TASKS.items() if name in types}
    # scores that are no means take long: one population of each type
    kept = {name: pools if pools[0].is_mean else pools[:1] for name, pools in types.items() if name in there}
    found, banks = [], _banks([pool for pools in kept.values() for pool in pools if not pool.is_mean], trials)
    names = [name for name, count in there.items() for _ in range(count)]
    while len(names) < sum(TASKS.values()):
        names.append(next(iter(there)))
    turns: dict[str, int] = {}
    for name in names:
        turn = turns[name] = turns.get(name, -1) + 1
        pool = kept[name][turn % len(kept[name])]
        if pool.is_mean:
            found.append(Task(name, pool.differences(), min(pool.items, _LARGE)))
        else:
            found.append(Task(name, None, _LARGE, banks[pool.name, pool.kind]))
    return found


def _real(pools: Sequence[Pool]) -> list[Pool]:
    """Real ones, and made-up ones of types that have none."""
    types = {pool.kind.partition(",")[0] for pool in pools if not pool.is_made_up}
    return [pool for pool in pools if not pool.is_made_up or pool.kind.partition(",")[0] not in types]


def _banks(pools: Sequence[Pool], trials: int) -> dict[tuple[str, str], Values]:
    cells = [Cell(pool, _LARGE, "swapped", "linearised", trials) for pool in pools]
    return {
        (cell.pool.name, cell.pool.kind): bank for cell, bank in zip(cells, spread(linear_cell, cells), strict=True)
    }


@dataclass(frozen=True, slots=True)
class Gate:
    """Comparisons through a gate: these tasks, this tolerance, so many, under this number."""

    tasks: Sequence[Task]
    tolerance: float
    trials: int
    number: int


def regressed(gate: Gate) -> int:
    """How many comparisons of equals have anything that regressed: a task, a type or one of the two means."""
    source, found = generator(SEED, "gate", str(gate.number), str(gate.tolerance)), 0
    for start in range(0, gate.trials, _TOGETHER):
        count = min(_TOGETHER, gate.trials - start)
        p_values, differences = _findings(gate, count, source)
        for row, moved in zip(p_values, differences, strict=True):
            adjusted = np.array(holm(row.tolist()))
            found += bool(((adjusted <= ALPHA) & (moved < -gate.tolerance)).any())
    return found


def _findings(gate: Gate, count: int, source: np.random.Generator) -> tuple[Values, Values]:
    """One-sided p-values and differences of tasks, types and means: shape (trials, findings)."""
    p_values, moved, nulls = [], [], []
    for task in gate.tasks:
        p, difference, null = _task(task, gate.tolerance, count, source)
        p_values.append(p)
        moved.append(difference)
        nulls.append(null)
    kinds = dict.fromkeys(task.type for task in gate.tasks)
    types, of_types = [], []
    for kind in kinds:
        members = [place for place, task in enumerate(gate.tasks) if task.type == kind]
        types.append(np.mean([nulls[place] for place in members], axis=0))
        of_types.append(np.mean([moved[place] for place in members], axis=0))
    groups = [*zip(types, of_types, strict=True)] if len(kinds) > 1 else []
    groups += [(np.mean(nulls, axis=0), np.mean(moved, axis=0)), (np.mean(types, axis=0), np.mean(of_types, axis=0))]
    for null, difference in groups:
        p_values.append(_less(difference + gate.tolerance, null))
        moved.append(difference)
    return np.stack(p_values, axis=1), np.stack(moved, axis=1)


def _less(observed: Values, null: Values) -> Values:
    slack = _SLACK * np.abs(null).max(axis=1)
    hits = (null <= (observed + slack)[:, None]).sum(axis=1)
    return np.asarray((hits + 1) / (null.shape[1] + 1))


def _task(task: Task, tolerance: float, count: int, source: np.random.Generator) -> tuple[Values, Values, Values]:
    """Samples of a task: p-values, differences, and each's null; the sign flip by one matrix of signs for all."""
    if task.bank is not None:
        rows = task.bank[source.integers(0, len(task.bank), count)]
        difference, error, df = rows[:, 0], rows[:, 1], task.items - 1
        null = error[:, None] * source.standard_t(df, (count, _DRAWS))
        return np.asarray(stdtr(df, (difference + tolerance) / error)), difference, null
    values = np.asarray(task.values)[source.integers(0, len(np.asarray(task.values)), (count, task.items))]
    values = values * signs(source, count, task.items)
    flips = signs(source, _DRAWS, task.items).astype(np.float64).T
    null = np.abs(values) @ flips / task.items
    shifted = null if tolerance == 0 else np.abs(values + tolerance) @ flips / task.items
    difference = values.mean(axis=1)
    return _less(difference + tolerance, shifted), difference, null


def gate_table(pools: Sequence[Pool], trials: int, tolerances: Sequence[float]) -> str:
    """Shares of comparisons of equals in which the gate fails."""
    tasks, rows = tasks_of(pools, trials), []
    for tolerance in tolerances:
        halves = [Gate(tasks, tolerance, trials // 2, number) for number in range(2)]
        share = Share(sum(spread(regressed, halves)), 2 * (trials // 2))
        rows.append(
            [f"{100 * tolerance:g}", str(len(tasks)), f"{share.trials:,}", str(share), share.judged(0.0, ALPHA)]
        )
    return table(["tolerance, points", "tasks", "comparisons", "anything regressed, %", "at most 5"], rows)


# --- series


@dataclass(frozen=True, slots=True)
class Series:
    """Series of checkpoints that are all the same: how many looks, of which differences, how often."""

    looks: int
    spread: Values
    trials: int
    is_spending: bool


def alarmed(series: Series) -> Share:
    """In how many series any look shows a loss against the best so far.

    Each checkpoint has for each item one of two real systems' scores, as chance wills.
    """
    source, hits = generator(SEED, "series", str(series.looks)), 0
    n = SERIES_ITEMS
    for _ in range(series.trials):
        values = series.spread[source.integers(0, len(series.spread), n)] * (signs(source, series.looks + 1, n) > 0)
        means, best = values.mean(axis=1), 0
        for look in range(1, series.looks + 1):
            moved = values[look] - values[best]
            error = moved.std(ddof=1) / np.sqrt(n)
            level = per_pair(look, ALPHA) if series.is_spending else ALPHA
            if error > 0 and stdtr(n - 1, moved.mean() / error) <= level:
                hits += 1
                break
            if means[look] > means[best]:
                best = look
    return Share(hits, series.trials)


def series_table(values: Values, trials: int) -> str:
    """False alarms of series, with spending and without."""
    cells = [Series(looks, values, trials, spending) for looks in _LOOKS for spending in (True, False)]
    rows = [
        [
            str(cell.looks),
            "alpha spending" if cell.is_spending else "each look at .05",
            f"{cell.trials:,}",
            str(share),
            share.judged(0.0, ALPHA) if cell.is_spending else "for contrast",
        ]
        for cell, share in zip(cells, spread(alarmed, cells), strict=True)
    ]
    return table(["looks", "levels", "series", "any false alarm, %", "at most 5"], rows)
