"""Whole processes: `evalharness run` and `mteb run` in turn, on the same model, tasks and data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import TypeAlias

from speeding.tables import Times, table

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TASKS = (
    "Banking77Classification",
    "STS12",
    "STSBenchmark",
    "SICK-R",
    "LCQMC",
    "FarsTail",
    "PoemSentimentClassification",
)
# largest difference of a main score from mteb's that is accepted
_EXACT, _ROUNDED = 1e-4, 1e-3
MTEB = "mteb"
# task, split and subset -> main score
Found: TypeAlias = dict[tuple[str, str, str], float]


@dataclass(frozen=True, slots=True)
class Way:
    """A way of running the tasks with us.

    Attributes:
        options: for `evalharness run`.
        is_warm: whether the vectors are in the store already.
        is_first: whether nothing is kept of the model, either: no export, no token budget.
        tolerance: largest difference of a main score from mteb's.
        is_extra: whether it is measured once, in the second round.
    """

    options: Sequence[str] = ()
    is_warm: bool = False
    is_first: bool = False
    tolerance: float = _EXACT
    is_extra: bool = False


WAYS = {
    "cold, for the first time (export made)": Way(is_first=True),
    "cold": Way(),
    # right behind the run whose vectors it finds
    "warm": Way(is_warm=True),
    "cold, --engine torch": Way(("--engine", "torch"), is_extra=True),
    "cold, --no-overlap": Way(("--no-overlap",), is_extra=True),
    "cold, --precision bfloat16": Way(("--precision", "bfloat16"), tolerance=_ROUNDED),
}


def scores(folder: Path) -> Found:
    """Main scores in files of mteb's format."""
    found: Found = {}
    for path in sorted(folder.rglob("*.json")):
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict) and "task_name" in value:
            for split, entries in value["scores"].items():
                for entry in entries:
                    found[value["task_name"], split, entry["hf_subset"]] = entry["main_score"]
    return found


def _timed(command: Sequence[str], work: Path, cache: Path) -> float:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "MTEB_CACHE": str(work / "mteb-cache")}
    environment.pop("EVALHARNESS_ENGINE", None)
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return seconds


def run_mteb(tasks: Sequence[str], work: Path) -> float:
    """Seconds of `mteb run`, results anew."""
    output = work / MTEB
    rmtree(output, ignore_errors=True)
    rmtree(work / "mteb-cache", ignore_errors=True)
    command = [sys.executable, "-m", MTEB, "run", "-m", MODEL, "-t", *tasks, "--output-folder", str(output)]
    return _timed([*command, "--no-co2-tracker"], work, work / "cache")


def run_ours(name: str, tasks: Sequence[str], work: Path) -> float:
    """Seconds of `evalharness run`, results anew; what is kept of model and vectors is as the way says."""
    way, output, store = WAYS[name], work / "ours" / name, work / "store"
    rmtree(output, ignore_errors=True)
    if not way.is_warm:
        rmtree(store, ignore_errors=True)
    cache = work / "cache"
    if way.is_first:
        rmtree(cache, ignore_errors=True)
    command = [sys.executable, "-m", "evalharness", "run", "--model", MODEL, "--tasks", *tasks, "--device", "cpu"]
    return _timed([*command, "--output", str(output), "--store", str(store), *way.options], work, cache)


def largest_difference(name: str, work: Path) -> float:
    """Of a main score from mteb's; both must have the same tasks."""
    ours, wanted = scores(work / "ours" / name), scores(work / MTEB)
    if not wanted or ours.keys() != wanted.keys():
        raise SystemExit(f"{name}: other results than mteb's: {sorted(ours.keys() ^ wanted.keys())[:5]}")
    return max(abs(ours[place] - wanted[place]) for place in wanted)


def measure(work: Path, rounds: int, tasks: Sequence[str] = TASKS) -> str:
    """The section: rounds of mteb and of each way of ours in turn."""
    found: dict[str, list[float]] = {MTEB: [], **{name: [] for name in WAYS}}
    worst = dict.fromkeys(WAYS, 0.0)
    for number in range(rounds):
        found[MTEB].append(run_mteb(tasks, work))
        print(f"mteb: {found[MTEB][-1]:.1f} s", flush=True)
        for name, way in WAYS.items():
            if (way.is_first and number) or (way.is_extra and number != 1):
                continue
            found[name].append(run_ours(name, tasks, work))
            worst[name] = max(worst[name], largest_difference(name, work))
            print(f"{name}: {found[name][-1]:.1f} s, scores within {worst[name]:.1e}", flush=True)
            if worst[name] > way.tolerance:
                raise SystemExit(f"{name}: a main score is off by {worst[name]:.2g}, at most {way.tolerance:g} may be")
    times = {name: Times(tuple(seconds)) for name, seconds in found.items() if seconds}
    mteb = times[MTEB].median
    rows = [
        [name, len(time.seconds), str(time), f"{mteb / time.median:.2f}", f"{worst[name]:.1e}" if name in worst else ""]
        for name, time in times.items()
    ]
    return (
        f"## Whole processes\n\n{MODEL} on {', '.join(tasks)}. From start to end of the process, data on disk; scores "
        "are main scores, their largest difference from mteb's.\n\n"
        + table(["", "rounds", "seconds, median", "times as fast as mteb", "scores within"], rows)
    )
