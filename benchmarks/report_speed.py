"""Seconds and memory of a report on many models: `python benchmarks/report_speed.py [FOLDER] [--output FILE]`.

Makes results of MTEB(eng, v1), 56 tasks per model, as mteb writes them and as the public results repository has them:
indented JSON with all metrics of the task type, ten experiments of a classification, and for one model in four all
languages of its multilingual tasks. The numbers are drawn (seeded). Then `report --benchmark "MTEB(eng, v1)"` runs once
per format in a process of its own, and its time and peak memory are printed as a table. Exits with 1 if markdown
takes more than 5 seconds or 1 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalharness.catalog.tasks import TaskSpec, benchmark, mteb_task
from evalharness.reports.formats import files_of_formats

NAME = "MTEB(eng, v1)"
MOST_SECONDS, MOST_GB = 5.0, 1.0
SEED = 13
_MULTILINGUAL = 4
_EXPERIMENTS = 10
_CUTS = (1, 3, 5, 10, 20, 100, 1000)
_GB = 2**20  # of the kB that the system counts in


def metric_names(spec: TaskSpec) -> list[str]:
    """What mteb stores of a task of this type, about."""
    if spec.type in ("Retrieval", "Reranking"):
        kinds = ("ndcg", "map", "recall", "precision", "mrr", "hit_rate")
        nauc = [f"nauc_{kind}_at_{k}_{end}" for kind in kinds[:5] for k in _CUTS for end in ("max", "std", "diff1")]
        return [*(f"{kind}_at_{k}" for kind in kinds for k in _CUTS), *nauc]
    if spec.type == "PairClassification":
        ways = ("similarity", "cosine", "dot", "max", "euclidean")
        return [f"{how}_{kind}" for how in ways for kind in ("accuracy", "f1", "precision", "recall", "ap")]
    if spec.type == "Classification":
        return ["accuracy", "f1", "f1_weighted", "precision", "precision_weighted", "recall", "ap", "ap_weighted"]
    if spec.type == "Clustering":
        return ["v_measure", "v_measure_std"]
    return [f"{how}_{kind}" for how in ("cosine", "manhattan", "euclidean") for kind in ("pearson", "spearman")]


def entry(spec: TaskSpec, subset: str, draw: random.Random) -> dict[str, Any]:
    """A subset's scores."""

    def scores() -> dict[str, Any]:
        return {name: round(draw.random(), 6) for name in metric_names(spec)}

    found: dict[str, Any] = {**scores(), "hf_subset": subset, "languages": list(spec.languages[subset])}
    if spec.type == "Classification":
        found["scores_per_experiment"] = [scores() for _ in range(_EXPERIMENTS)]
    if spec.type == "Clustering":
        found["v_measures"] = {"Level 0": [round(draw.random(), 6) for _ in range(_EXPERIMENTS)]}
    return {**found, "main_score": found.setdefault(spec.main_score, round(draw.random(), 6))}


def task_result(spec: TaskSpec, subsets: Sequence[str], splits: Sequence[str], draw: random.Random) -> dict[str, Any]:
    """A file of mteb's."""
    return {
        "dataset_revision": spec.revision,
        "task_name": spec.name,
        "mteb_version": "2.26.24",
        "scores": {split: [entry(spec, subset, draw) for subset in subsets] for split in splits},
        "evaluation_time": round(1000 * draw.random(), 3),
        "kg_co2_emissions": None,
    }


def make(folder: Path, models: int) -> None:
    """Results of all models, in the layout of the public repository."""
    draw = random.Random(SEED)  # noqa: S311 -- data, not secrets
    tasks = benchmark(NAME)
    if tasks is None:
        raise SystemExit(f"no benchmark {NAME}")
    for number in range(models):
        revision = f"{draw.getrandbits(160):040x}"
        place = folder / f"org{number % 150}__model-{number}" / revision
        place.mkdir(parents=True)
        meta = {
            "name": f"org{number % 150}/model-{number}",
            "revision": revision,
            "n_parameters": draw.randint(10**7, 10**10),
        }
        (place / "model_meta.json").write_text(json.dumps(meta, indent=2), encoding="utf-8")
        for member in tasks.tasks:
            if (spec := mteb_task(member.task)) is None:
                raise SystemExit(f"no task {member.task}")
            subsets = member.subsets or tuple(spec.languages)
            wanted = tuple(spec.languages) if number % _MULTILINGUAL == 0 else subsets
            found = task_result(spec, wanted, member.splits or spec.splits, draw)
            (place / f"{spec.name}.json").write_text(json.dumps(found, indent=2), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a command took.

    Attributes:
        seconds: wall time.
        processor: seconds of a processor, which others that use the machine change little.
        gigabytes: the most memory that it had.
        size: bytes of its output.
    """

    seconds: float
    processor: float
    gigabytes: float
    size: int


def measure(folder: Path, name: str) -> Measured:
    """One report in this format, in a process of its own."""
    command = [sys.executable, "-m", "evalharness", "report", str(folder), "--benchmark", NAME, "--format", name]
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
        processor = used.ru_utime + used.ru_stime
        return Measured(seconds, processor, used.ru_maxrss / _GB, os.fstat(output.fileno()).st_size)


def page(files: Sequence[Path], found: Mapping[str, Measured], load: float) -> str:
    """What was measured, in markdown."""
    size = sum(path.stat().st_size for path in files) / 1e6
    how = (
        f"Measured on {time.strftime('%Y-%m-%d')} by `python benchmarks/report_speed.py` with CPython "
        f"{platform.python_version()} on {platform.system()}, {os.cpu_count()} cores, {load:.1f} other processes at "
        f'work when it began: `report --benchmark "{NAME}"` on {len(files):,} files of {size:,.0f} MB, each format '
        "in a process of its own."
    )
    lines = [
        how,
        "",
        "| format | seconds | of a processor | memory, GB | output, MB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {name} | {item.seconds:.1f} | {item.processor:.1f} | {item.gigabytes:.2f} | {item.size / 1e6:.2f} |"
        for name, item in found.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description="Seconds and memory of a report on many models.")
    parser.add_argument("folder", nargs="?", type=Path, help="where results are made, or were made before")
    parser.add_argument("--models", type=int, default=600)
    parser.add_argument("--output", type=Path, help="also write what is printed to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = options.folder or Path(temporary) / "results"
        if not folder.exists():
            make(folder, options.models)
        files = list(folder.rglob("*.json"))
        load = os.getloadavg()[0]
        found = {name: measure(folder, name) for name in sorted(files_of_formats())}
        text = page(files, found, load)
    print(text, end="")
    if options.output is not None:
        title = f"# A report on {options.models} models and 56 tasks\n\n"
        options.output.write_text(title + text, encoding="utf-8")
    return int(found["markdown"].seconds > MOST_SECONDS or found["markdown"].gigabytes > MOST_GB)


if __name__ == "__main__":
    sys.exit(main())
