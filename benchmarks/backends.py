"""One model by several backends: `python benchmarks/backends.py WORK OUTPUT [--url http://...] --suite starter`.

Runs `evalharness run` for MiniLM by transformers, sentence-transformers and an exported ONNX file, and by a server that
answers at `--url`, into WORK, where what is there is not done again; options that are not its own (`--suite`, `--tasks`
...) go to `evalharness run`. Writes to OUTPUT, as markdown, how far all scores in WORK are from those of transformers.
Exits with 1 if a main score is off by more than 1e-4.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from evalharness.results.records import installed_version
from evalharness.run.job import PACKAGES

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TOLERANCE = 1e-4
# task, split and subset -> the metrics of mteb's format
Found: TypeAlias = dict[tuple[str, str, str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a backend is from transformers, in one subset."""

    main: float
    worst: float
    metric: str


def run(backend: str, options: list[str], work: Path) -> Found:
    """Scores of one backend; its results and its stored vectors lie in a folder of its own."""
    folder = work / backend
    command = [sys.executable, "-m", "evalharness", "run", "--model", MODEL, "--backend", backend, *options]
    subprocess.run([*command, "--output", str(folder)], check=True)
    found: Found = {}
    for path in sorted(folder.rglob("*.json")):
        value = json.loads(path.read_text(encoding="utf-8"))
        if "task_name" not in value:
            continue
        for split, entries in value["scores"].items():
            for entry in entries:
                found[value["task_name"], split, entry["hf_subset"]] = entry
    return found


def difference(entry: dict[str, Any], wanted: dict[str, Any]) -> Difference:
    """Of the main score, and of the metric that differs most; a NaN on one side only differs infinitely."""
    found = {}
    for name, value in wanted.items():
        if isinstance(value, float):
            both_nan = math.isnan(value) and math.isnan(entry[name])
            gap = abs(entry[name] - value)
            found[name] = 0.0 if both_nan else math.inf if math.isnan(gap) else gap
    worst = max(found, key=found.__getitem__)
    return Difference(found["main_score"], found[worst], worst)


def render(plain: Found, others: dict[str, Found], server: str) -> str:
    """The table as markdown: a line per subset, two columns per backend."""
    versions = ", ".join(f"{name} {installed_version(name)}" for name in (*PACKAGES, "onnxruntime"))
    text = f"""# One model by several backends

{MODEL} on {datetime.now(UTC):%Y-%m-%d}, CPU; {versions}; server behind `http`: {server}.
Written by `python benchmarks/backends.py`. Each cell is the distance from the score of `transformers`: of the main
score, then of the metric that differs most.

"""
    text += f"| task | split | subset | transformers | {' | '.join(others)} |\n"
    text += f"| --- | --- | --- | ---: |{' --- |' * len(others)}\n"
    for key, wanted in plain.items():
        cells = []
        for found in others.values():
            gap = difference(found[key], wanted)
            cells.append(f"{gap.main:.1e}, {gap.worst:.1e}" + (f" ({gap.metric})" if gap.worst else ""))
        text += f"| {' | '.join(key)} | {wanted['main_score']:.6f} | {' | '.join(cells)} |\n"
    return text


def main() -> None:
    """Run, write the table and say how it went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("work", type=Path, help="folder for the results of all backends")
    parser.add_argument("output", type=Path, help="the markdown file to write")
    parser.add_argument("--url", help="a server of the model, for the http backend")
    parser.add_argument("--server", default="none", help="what serves it, with its version")
    chosen, selection = parser.parse_known_args()
    wanted = {"transformers": [], "sentence-transformers": [], "onnx": ["--onnx-file", "export"]}
    if chosen.url:
        wanted["http"] = ["--url", chosen.url]
    found = {backend: run(backend, [*options, *selection], chosen.work) for backend, options in wanted.items()}
    plain = found.pop("transformers")
    chosen.output.write_text(render(plain, found, chosen.server), encoding="utf-8")
    gaps = [difference(other[key], plain[key]).main for other in found.values() for key in plain]
    off = sum(gap > TOLERANCE for gap in gaps)
    print(f"{chosen.output}: {len(gaps)} comparisons, {off} main scores off by more than {TOLERANCE:g}")
    sys.exit(1 if off else 0)


if __name__ == "__main__":
    main()
