"""Are the error rates what they should be? `python benchmarks/calibration.py OUTPUT --base FOLDER --candidates ...`.

Draws samples of real items where nothing differs, or where the difference is known, decides about them with the
functions of `evalharness compare`, and writes to OUTPUT, as markdown, how often they are wrong. `--parts` does some of
it; sections that are already in WORK are taken from there. Without results folders items are made up; `--quick` tries
everything with few trials.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    # two processes, each of which shall use one core; NumPy reads it when it is imported
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

from calibrating import covering, families
from calibrating.pools import Pool, largest, made_up, pools_of, trec_pools
from calibrating.power_curves import power_table
from calibrating.published import published_table
from calibrating.tables import table
from calibrating.trials import Cell, Method, Null, Rates, method_of, rates, spread

from evalharness.compare.comparison import TOLERANCE
from evalharness.compare.differences import RECOMPUTED

LOW, HIGH = 0.045, 0.055
_SIZES = (20, 50, 100, 300, 1000)
_RECOMPUTED_SIZES, _LINEAR_SIZES = (50, 100), (300, 1000)
# fewer that differ cannot be told apart at .05, or only just: levels between are not to be had
_FEW = 10


@dataclass(frozen=True, slots=True)
class Work:
    """What is measured on.

    Attributes:
        pools: all populations.
        trec, published: folders, if they are at hand.
        is_quick: whether this is only a trial of the script.
        share: of the trials, how many are made.
    """

    pools: Sequence[Pool]
    trec: Path | None
    published: Path | None
    is_quick: bool
    share: float = 1.0

    def trials(self, count: int) -> int:
        """How many, of so many."""
        return max(40, count // 250 if self.is_quick else round(self.share * count))

    def sizes(self, sizes: Sequence[int]) -> Sequence[int]:
        """Numbers of items."""
        return [n for n in sizes if n <= 100][-1:] if self.is_quick else sizes


def false_alarms(work: Work) -> str:
    """A/A trials of each method on each kind."""
    cells = []
    for pool in largest(work.pools):
        nulls: tuple[Null, ...] = ("swapped", "tilted")
        for null in nulls:
            for method, sizes in _methods(pool):
                trials = work.trials(10_000 if pool.is_mean else 5_000)
                # many more than there are would be the same ones again and again
                most = _SIZES[-1] if pool.is_mean else 3 * pool.items
                cells += [Cell(pool, n, null, method, trials) for n in work.sizes(sizes) if n <= most]
    # the dear ones first, so that neither process waits
    cells.sort(key=lambda cell: -cell.items * (1 if cell.pool.is_mean else 10))
    found = dict(zip(cells_by_name(cells), spread(rates, cells), strict=True))
    return table(
        ["population", "without a difference", "decided by", "items", "differ", "false alarms, %", "4.5-5.5", "losses"],
        [found_row for _, found_row in sorted((key, _alarm_row(key, one)) for key, one in found.items())],
    )


_Key = tuple[str, str, str, int, bool]


def cells_by_name(cells: Sequence[Cell]) -> list[_Key]:
    """What a row says of its cell, in the order of rows."""
    return [
        (
            f"{cell.pool.kind} ({cell.pool.name})",
            cell.method,
            cell.null,
            cell.items,
            method_of(cell.pool, cell.items) == cell.method,
        )
        for cell in cells
    ]


def _methods(pool: Pool) -> Sequence[tuple[Method, Sequence[int]]]:
    if pool.is_mean:
        return [("sign flip", sorted({*_SIZES, min(pool.items, 1000)}))]
    # one number per item is quick to compute again, and soon enough to be linear
    more = pool.kind.startswith("STS")
    recomputed, linear = (_RECOMPUTED_SIZES, _LINEAR_SIZES) if not more else (_SIZES[:-1], _SIZES[2:])
    return [("recomputed", recomputed), ("linearised", linear)]


def _alarm_row(key: _Key, found: Rates) -> list[str]:
    name, method, null, items, is_used = key
    judged = found.shown.judged(LOW, HIGH)
    if judged == "BELOW" and found.differing < _FEW:
        judged = "below: too few differ"
    method = method if is_used else f"{method} (not used at this size)"
    return [name, null, method, f"{items:,}", f"{found.differing:.0f}", str(found.shown), judged, str(found.beyond)]


def coverage_of_means(work: Work) -> str:
    """Coverage of intervals of means."""
    return covering.of_means(largest(work.pools), work.sizes((20, 50, 100, 300)), work.trials(2_000))


def coverage_of_the_rest(work: Work) -> str:
    """Coverage of intervals of scores that are no means, and of clusters."""
    values = next(pool for pool in largest(work.pools) if pool.is_mean and pool.items > 20).differences()
    forms = covering.of_forms(largest(work.pools), work.sizes((50, 100, 300, 1000)), work.trials(500))
    return f"{forms}\n\n{covering.of_clusters(values, (20, 60), work.trials(2_000))}"


def gate(work: Work) -> str:
    """The gate over 40 tasks."""
    return families.gate_table(work.pools, work.trials(10_000), (0.0, TOLERANCE))


def series(work: Work) -> str:
    """Repeated looks at checkpoints."""
    values = max((pool for pool in work.pools if pool.is_mean), key=lambda pool: pool.items).differences()
    return families.series_table(values, work.trials(10_000))


def power(work: Work) -> str:
    """Power curves."""
    kinds = ("Retrieval", "Reranking", "Classification, acc", "STS", "PairClass", "TREC, AP")
    pools = [pool for pool in largest(work.pools) if pool.kind.startswith(kinds)]
    return power_table(pools, work.sizes((100, 300, 1000, 3000)), work.trials(1_000))


def published(work: Work) -> str:
    """The published simulation again."""
    if work.trec is None:
        return "Not done: no TREC matrices were given."
    return published_table(work.trec, work.published, work.sizes((25, 50, 100)), work.trials(10_000))


@dataclass(frozen=True, slots=True)
class Part:
    """A section of the report."""

    title: str
    about: str
    make: Callable[[Work], str]


PARTS = {
    "alarms": Part(
        "False alarms",
        "A sample is drawn with replacement from the population, and decided two-sided at .05. Without a difference: "
        "*swapped*: each item's two systems are swapped as a coin falls; *tilted*: items come so often that the "
        "population's difference is exactly 0, with its zeros, ties and skewness (the two systems are not "
        "exchangeable then, as in real life). *Losses*: one-sided, in %. Where recomputed, 99 swaps a trial, of "
        f"means 199 flips: the level is .05 exactly at either. `compare` recomputes up to {RECOMPUTED:,} numbers a "
        "score.\n\n"
        "Too few false alarms are no danger, only power that is lost: a permutation of the few items that differ has "
        "no level near .05, nor has one of values that are often equal. The influence of items on Spearman's "
        "correlation "
        "is too careful of two systems that are nearly the same, as ranks in a sample move in steps. Too many: ten "
        "draws of clustering that are skewed (20 are enough); macro F1 by influence where labels have few items "
        "(so `compare` computes it again below 12 a label). *Another scale*: the candidate's similarities to the third "
        "power, which swaps understand from 300 items on, and are too careful of before.",
        false_alarms,
    ),
    "gate": Part(
        "The gate",
        "Forty tasks at their own sizes (at most 500 items), of which nothing differs (swapped): how often does "
        "anything among tasks, types and means regress, after Holm? Below 5%, as tasks where few items "
        "differ cannot raise one.",
        gate,
    ),
    "intervals": Part(
        "Intervals of means",
        "The population's own difference is the truth; samples in which nothing differs are left out. `compare` has "
        "the first: the symmetric studentised bootstrap with the padded standard error. *Studentised* is the plain "
        "one, with equal tails. It misses where items are very skewed (log-normal: skewness 6) and fewer than 100, and "
        "where fewer than 15 items differ at all, which `compare` says of each such task.",
        coverage_of_means,
    ),
    "other": Part(
        "Intervals of other scores, and of clusters",
        "As above. BCa is too short below 100 items, and F1 has no interval that is right where labels have few items; "
        "`compare` says so of both. Clusters: of the first population of means, five each, half of them the same item.",
        coverage_of_the_rest,
    ),
    "power": Part(
        "Power",
        "Tilted populations whose candidate is really worse by so many points; in %, two-sided at .05 and one-sided at "
        ".05 beyond the tolerance of 0.3 points. Expected: `power_of` of the population's standard deviation.",
        power,
    ),
    "series": Part(
        "Series of checkpoints",
        f"Checkpoints of {families.SERIES_ITEMS} items that differ by chance alone, each against the best so far by "
        "the paired t: in how many series is any loss shown?",
        series,
    ),
    "published": Part(
        "The published comparison of tests",
        "Type I errors in % on TREC AP, two-tailed at .05 (Urbano et al. 2019's in brackets, whose simulation is "
        "another one: fitted margins and copulas; here topics of real pairs, centred and smoothed).",
        published,
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--work", type=Path, help="where sections are kept; nowhere if not given")
    parser.add_argument("--base", type=Path, help="results of a model")
    parser.add_argument("--candidates", type=Path, nargs="*", default=[], help="results of others")
    parser.add_argument("--trec", type=Path, help="folder of TREC matrices")
    parser.add_argument("--published", type=Path, help="folder of published error rates")
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--share", type=float, default=1.0, help="of the trials, where time is short")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args(arguments)
    pools = pools_of(given.base, given.candidates) if given.base else []
    pools += trec_pools(given.trec) if given.trec else []
    pools += made_up()
    work = Work(pools, given.trec, given.published, given.quick, given.share)
    folder = given.work or given.output.parent / f".{given.output.stem}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in given.parts:
        started = time.perf_counter()
        found = PARTS[name].make(work)
        taken = f"{time.perf_counter() - started:.0f} s on two processes"
        (folder / f"{name}.md").write_text(f"{found}\n\n{taken}.\n", encoding="utf-8")
        print(f"{name}: {taken}", flush=True)
    write(given.output, folder, work)


def write(output: Path, folder: Path, work: Work) -> None:
    """The report of all sections that there are."""
    lines = [
        "# Calibration",
        "",
        "Written by `python benchmarks/calibration.py`; shares in % ± their Monte Carlo error.",
    ]
    if work.is_quick:
        lines += ["", "**Quick: too few trials to say anything.**"]
    found = {name: folder / f"{name}.md" for name in PARTS}
    sections = {name: path.read_text(encoding="utf-8").rstrip() for name, path in found.items() if path.is_file()}
    lines += [
        "",
        "| section | in the band | within the Monte Carlo error of it | out of it |",
        "| --- | --- | --- | --- |",
    ]
    for name, text in sections.items():
        counts = [sum(text.count(f"| {said} |") for said in group) for group in _JUDGED]
        lines.append(f"| {PARTS[name].title} | {' | '.join(map(str, counts))} |")
    for name, text in sections.items():
        lines += ["", f"## {PARTS[name].title}", "", PARTS[name].about, "", text]
    output.write_text("\n".join(lines) + "\n", encoding="utf-8")


# what rows say of themselves, from well to badly
_JUDGED = (("in",), ("in, within the error",), ("BELOW", "ABOVE"))


if __name__ == "__main__":
    main()
