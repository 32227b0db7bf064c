"""Compare stored results with mteb's own: `python benchmarks/fidelity.py RESULTS REFERENCE OUTPUT`.

RESULTS is a folder that `evalharness run` wrote, REFERENCE a JSON file task -> split -> subset -> metric -> value as
mteb computed them on the same data, OUTPUT the markdown file to write. Exits with 1 if a main score is off by more
than 1e-4.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evalharness.results import installed_version
from evalharness.run import PACKAGES

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


def compare(entry: Mapping[str, Any], reference: Mapping[str, Any]) -> tuple[str, float]:
    """The metric with the largest difference. A metric that is NaN on one side only differs infinitely."""
    found = {}
    for name, wanted in reference.items():
        if isinstance(wanted, float) and name != "main_score":
            value = float(entry[name])
            both_nan = math.isnan(value) and math.isnan(wanted)
            found[name] = 0.0 if both_nan else math.inf if math.isnan(value - wanted) else abs(value - wanted)
    worst = max(found, key=found.__getitem__)
    return worst, found[worst]


def lines(results: Path, reference: Mapping[str, Any]) -> Iterator[Line]:
    """All subsets that both have, in the order of task names."""
    for path in sorted(results.rglob("*.json")):
        value = json.loads(path.read_text(encoding="utf-8"))
        if value.get("task_name") not in reference:
            continue
        task = value["task_name"]
        for split, entries in value["scores"].items():
            for entry in entries:
                wanted = reference[task][split][entry["hf_subset"]]
                worst, difference = compare(entry, wanted)
                main = wanted["main_score"]
                yield Line(task, split, entry["hf_subset"], entry["main_score"], main, worst, difference)


def render(found: list[Line], about: Mapping[str, str]) -> str:
    """The table as markdown."""
    versions = ", ".join(f"{name} {installed_version(name)}" for name in PACKAGES)
    main = max(abs(line.ours - line.mteb) for line in found)
    beyond = sum(line.worst_difference > OTHER_TOLERANCE for line in found)
    tasks = len({line.task for line in found})
    text = f"""# Fidelity: our scores against mteb's own on the same data

Model {about["model"]} at {about["revision"]}; mteb {about["mteb"]}. Written by
`python benchmarks/fidelity.py RESULTS REFERENCE OUTPUT` on {datetime.now(UTC):%Y-%m-%d}, CPU; {versions}.

{len(found)} subsets of {tasks} tasks. Largest difference of a main score: {main:.1e}.
Subsets in which some other metric differs by more than {OTHER_TOLERANCE:g}: {beyond}.

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
    results, reference_path, output = map(Path, sys.argv[1:])
    reference = json.loads(reference_path.read_text(encoding="utf-8"))
    found = list(lines(results, reference))
    output.write_text(render(found, reference["_about"]), encoding="utf-8")
    off = [line for line in found if abs(line.ours - line.mteb) > MAIN_TOLERANCE]
    print(f"{output}: {len(found)} subsets, {len(off)} main scores off by more than {MAIN_TOLERANCE:g}")
    sys.exit(1 if off else 0)


if __name__ == "__main__":
    main()
