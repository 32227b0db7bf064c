"""Power curves: how often a true drop is shown, against what the package says beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calibrating.pools import Pool, samples_of, take, tilted
from calibrating.tables import table
from calibrating.trials import ALPHA, Cell, linear, method_of, rates, spread
from evalharness.compare.comparison import TOLERANCE
from evalharness.metrics.statistics import SEED
from evalharness.metrics.statistics.draws import generator
from evalharness.metrics.statistics.power import power_of

DROPS = (0.005, 0.01, 0.02)


def power_table(pools: Sequence[Pool], sizes: Sequence[int], trials: int) -> str:
    """Shares of samples in which a drop is shown, and shown to be beyond the tolerance; in % beside what was expected.

    Args:
        pools: of each kind one.
        sizes: items.
        trials: samples of each.
    """
    cells = [
        Cell(pool, n, "tilted", method_of(pool, n), trials, -drop, TOLERANCE)
        for pool in pools
        for drop in DROPS
        if tilted(pool, -drop) is not None
        for n in sizes
    ]
    rows = []
    for cell, found in zip(cells, spread(rates, cells), strict=True):
        error, df = standard_deviation(cell) / np.sqrt(cell.items), cell.items - 1
        drop = -cell.difference
        shown, beyond = power_of(drop, error, df, ALPHA), power_of(drop - TOLERANCE, error, df, 2 * ALPHA)
        rows.append(
            [
                f"{cell.pool.kind} ({cell.pool.name})",
                f"{100 * drop:g}",
                f"{cell.items:,}",
                cell.method,
                f"{100 * found.lost.value:.0f}",
                f"{100 * shown:.0f}",
                f"{100 * found.beyond.value:.0f}",
                f"{100 * beyond:.0f}",
            ]
        )
    head = ["population", "drop, points", "items", "by", "shown", "expected", "beyond 0.3", "expected"]
    return table(head, rows)


def standard_deviation(cell: Cell) -> float:
    """Of what items say of the difference, in the population that is sampled."""
    weights = tilted(cell.pool, cell.difference)
    if cell.pool.is_mean:
        moved = cell.pool.differences()
    else:
        # what items say depends on how often they come: of a large sample
        rows = samples_of(np.ones(cell.pool.items) if weights is None else weights, 20_000, generator(SEED, "spread"))
        moved, weights = linear(take(cell.pool.base, rows), take(cell.pool.candidate, rows)), None
    mean = float(np.average(moved, weights=weights))
    return float(np.sqrt(np.average((moved - mean) ** 2, weights=weights)))
