"""Compare stored results with mteb's: `python benchmarks/fidelity.py RESULTS REFERENCE PUBLISHED OUTPUT`.

RESULTS is a folder that `evalharness run` wrote, REFERENCE a JSON file task -> split -> subset -> metric -> value as
mteb computed them on the same data (local tasks as `custom/<name>`), PUBLISHED one of results/published/, OUTPUT the
markdown file to write. Exits with 1 if a main score is off by more than 1e-4, or if a subset of the reference is
missing.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from evalharness.results.records import installed_version
from evalharness.run.job import PACKAGES

MAIN_TOLERANCE, OTHER_TOLERANCE = 1e-4, 1e-3


@dataclass(frozen=True, slots=True)
class Line:
    """One subset of one split: both main scores, and the metric that differs most."""

    task: str
    split: str
    subset: str
    ours: float
    mteb: float
    worst: str
    worst_difference: float
    beyond: int


def compare(entry: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, float]:
    """Differences of all metrics. A metric that is NaN on one side only differs infinitely."""
    found = {}
    for name, wanted in reference.items():
        if isinstance(wanted, float) and name != "main_score":
            value = float(entry[name])
            both_nan = math.isnan(value) and math.isnan(wanted)
            found[name] = 0.0 if both_nan else math.inf if math.isnan(value - wanted) else abs(value - wanted)
    return found


def lines(results: Path, reference: Mapping[str, Any]) -> Iterator[Line]:
    """All subsets that both have, in the order of task names."""
    for path in sorted(results.rglob("*.json")):
        value = json.loads(path.read_text(encoding="utf-8"))
        task = value.get("task_name")
        known = reference.get(task) or reference.get(f"custom/{task}")
        if known is None:
            continue
        for split, entries in value["scores"].items():
            for entry in entries:
                wanted = known[split][entry["hf_subset"]]
                differences = compare(entry, wanted)
                worst = max(differences, key=differences.__getitem__)
                yield Line(
                    task=task,
                    split=split,
                    subset=entry["hf_subset"],
                    ours=entry["main_score"],
                    mteb=wanted["main_score"],
                    worst=worst,
                    worst_difference=differences[worst],
                    beyond=sum(difference > OTHER_TOLERANCE for difference in differences.values()),
                )


def summary(found: list[Line], published: Mapping[str, Mapping[str, float]]) -> str:
    """A line per task and split: means over the subsets, beside the published score."""
    text = "| task | split | subsets | ours | mteb | published | ours - mteb | ours - published |\n"
    text += "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    for (task, split), members in groupby(found, key=lambda line: (line.task, line.split)):
        group = list(members)
        ours, mteb = (sum(values) / len(group) for values in ([x.ours for x in group], [x.mteb for x in group]))
        public = published.get(task, {}).get(split)
        shown = ("none", "") if public is None else (f"{public:.4f}", f"{ours - public:+.4f}")
        scores = f"{len(group)} | {ours:.6f} | {mteb:.6f} | {shown[0]} | {ours - mteb:+.1e} | {shown[1]}"
        text += f"| {task} | {split} | {scores} |\n"
    return text


def missing(found: list[Line], reference: Mapping[str, Any]) -> list[str]:
    """Subsets of the reference that were not run."""
    seen = {(line.task, line.split, line.subset) for line in found}
    return [
        f"{task} [{split}, {subset}]"
        for task, splits in reference.items()
        if task != "_about"
        for split, subsets in splits.items()
        for subset in subsets
        if (task.removeprefix("custom/"), split, subset) not in seen
    ]


def render(found: list[Line], about: Mapping[str, str], published: Mapping[str, Mapping[str, float]]) -> str:
    """The table as markdown."""
    versions = ", ".join(f"{name} {installed_version(name)}" for name in PACKAGES)
    main = max(abs(line.ours - line.mteb) for line in found)
    beyond = [line for line in found if line.beyond]
    listed = "; ".join(f"{line.task} [{line.subset}] {line.beyond} metrics" for line in beyond) or "none"
    tasks = len({line.task for line in found})
    text = f"""# Fidelity: our scores against mteb's own on the same data

Model {about["model"]} at {about["revision"]}; mteb {about["mteb"]}. Written by
`python benchmarks/fidelity.py RESULTS REFERENCE PUBLISHED OUTPUT` on {datetime.now(UTC):%Y-%m-%d}, CPU; {versions}.

{len(found)} subsets of {tasks} tasks. Largest difference of a main score: {main:.1e}.
Subsets in which some other metric differs by more than {OTHER_TOLERANCE:g}: {listed}.

{summary(found, published)}
| task | split | subset | ours | mteb | difference | largest difference of any metric |
| --- | --- | --- | ---: | ---: | ---: | --- |
"""
    for line in found:
        scores = f"{line.ours:.6f} | {line.mteb:.6f} | {line.ours - line.mteb:+.1e}"
        worst = f"{line.worst_difference:.1e} ({line.worst})"
        text += f"| {line.task} | {line.split} | {line.subset} | {scores} | {worst} |\n"
    return text


def main() -> None:
    """Write the table and say how it went."""
    results, reference_path, published_path, output = map(Path, sys.argv[1:])
    reference = json.loads(reference_path.read_text(encoding="utf-8"))
    published = json.loads(published_path.read_text(encoding="utf-8"))["scores"]
    found = list(lines(results, reference))
    output.write_text(render(found, reference["_about"], published), encoding="utf-8")
    off = [line for line in found if abs(line.ours - line.mteb) > MAIN_TOLERANCE]
    print(f"{output}: {len(found)} subsets, {len(off)} main scores off by more than {MAIN_TOLERANCE:g}")
    for name in (absent := missing(found, reference)):
        print(f"not run: {name}")
    sys.exit(1 if off or absent else 0)


if __name__ == "__main__":
    main()
