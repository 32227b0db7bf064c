"""How far apart similar models' items are: `python benchmarks/typical.py BASE VARIANT...`, folders with results.

Writes `evalharness/compare/power/typical.toml`, by which `evalharness power` knows what tasks can show of which nothing
is stored. For each task the standard deviation of the paired difference per item is taken between the base and each
variant (`benchmarks/regressions.py` makes damaged copies of all-MiniLM-L6-v2), its median over variants, and the median
over the tasks of a type and metric. Copies that differ by rounding alone say nothing and are left out.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from statistics import median

from evalharness.catalog.tasks import Member, find_task
from evalharness.compare.power.spreads import of_models, of_pairs
from evalharness.compare.power.typical import FILE
from evalharness.compare.sides import Results, read_all, read_side
from evalharness.results.records import installed_version


@dataclass(frozen=True, slots=True)
class Measured:
    """One task: standard deviation of the difference per item, by that of the base's items, and of how many pairs."""

    task: str
    sd: float
    ratio: float
    pairs: int


def measure(base: Results, variants: list[Results]) -> dict[tuple[str, str], list[Measured]]:
    """By task type and metric."""
    found: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    for name, task in sorted(base.tasks.items()):
        spec, member = find_task(name), Member(task=name)
        alone = of_models(member, None, [base])
        pairs = [of_pairs(member, None, [base, variant]) for variant in variants]
        errors = [error for pair in pairs for error in pair.errors]
        records = [job.record for job in task.jobs if job.record is not None]
        if not (errors and alone.errors and records):
            why = next((problem for seen in (alone, *pairs) for problem in seen.problems), "no variant differs")
            print(f"without {name}: {why}")
            continue
        scored_as = spec.scoring if spec is not None else task.type or "Other"
        sd = median(errors) * sqrt(alone.items)
        one = Measured(name, sd, median(errors) / alone.errors[0], len(errors))
        found[scored_as, records[0].main_score].append(one)
    return found


def as_toml(found: dict[tuple[str, str], list[Measured]], base: Results, variants: list[Results]) -> str:
    """The table, with where it comes from."""
    names = ", ".join(sorted({variant.side.model for variant in variants}))
    lines = [
        "# How far apart the items of two similar models are: written by benchmarks/typical.py, not by hand.",
        f"# {datetime.now(UTC):%Y-%m-%d}, evalharness {installed_version('evalharness')}",
        f"# base: {base.side.model} ({base.side.revision[:8]})",
        f"# variants: {names}",
        "# sd: of the paired difference per item, 0-1; ratio: that by the standard deviation of the base's own items.",
        "# Medians over variants, then over tasks.",
    ]
    for (kind, metric), tasks in sorted(found.items()):
        lines += [
            "",
            f"# {', '.join(f'{one.task} {one.sd:.3f}' for one in tasks)}",
            "[[typical]]",
            f'type = "{kind}"',
            f'metric = "{metric}"',
            f"sd = {median(one.sd for one in tasks):.4f}",
            f"ratio = {median(one.ratio for one in tasks):.3f}",
            f"tasks = {len(tasks)}",
            f"pairs = {sum(one.pairs for one in tasks)}",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="results of one model")
    parser.add_argument("variants", nargs="+", help="results of models like it")
    parser.add_argument("--output", type=Path, default=FILE)
    given = parser.parse_args()
    base, variants = read_side(given.base), read_all(given.variants)
    given.output.write_text(as_toml(measure(base, variants), base, variants), encoding="utf-8")


if __name__ == "__main__":
    main()
