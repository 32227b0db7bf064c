"""What `run --dry-run` says against what happens: `python benchmarks/estimates.py WORK [--output FILE] [RUN ...]`.

Runs of all-MiniLM-L6-v2, each in a process of its own with a store that is empty: tasks of the Hub (HF_ENDPOINT and
HF_HOME say which, and their data have to be there already) and tasks made here, of several types, sizes, lengths and
languages. Before the first of them the model is opened once and calibrated, as a dry run does. The first estimate is by
that calibration alone, the second by what the runs before have shown as well. Seconds are of a clock, so nothing else
should run meanwhile. WORK is a folder for results, stores and the tasks that are made.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from evalharness.catalog.selection import Selection
from evalharness.errors import EvalHarnessError
from evalharness.models.options import Execution, ModelOptions, ParsedOptions
from evalharness.results.records import installed_version
from evalharness.run.estimating.foreseeing import Setting, foresee
from evalharness.run.estimating.scripts import CHINESE, ENGLISH, samples
from evalharness.run.request import RunRequest, plan_run

MODEL = "all-MiniLM-L6-v2"
# those of the starter tasks, in any order
WORDS = [word for text in samples()[ENGLISH] for word in text.split()]
SIGNS = "".join(samples()[CHINESE])


def english(draws: random.Random, words: int) -> str:
    """About so many words."""
    return " ".join(draws.choices(WORDS, k=max(1, round(draws.lognormvariate(0, 0.5) * words))))


def chinese(draws: random.Random, signs: int) -> str:
    """About so many signs."""
    return "".join(draws.choices(SIGNS, k=max(2, round(draws.lognormvariate(0, 0.5) * signs))))


Write = Callable[[random.Random, int], str]


@dataclass(frozen=True, slots=True)
class Made:
    """A task that is made here: its type, how many rows (or documents) of which length, written how."""

    kind: str
    rows: int
    length: int
    write: Write = english

    def save(self, folder: Path) -> Path:
        """Write the task's files; returns that of the task."""
        folder.mkdir(parents=True, exist_ok=True)
        draws = random.Random(self.rows)  # noqa: S311 -- test data
        for name, rows in self._files(draws).items():
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        files = ", ".join(f'{path.stem} = "{path.name}"' for path in sorted(folder.glob("*.jsonl")))
        language = "cmn-Hans" if self.write is chinese else "eng-Latn"
        (folder / "task.toml").write_text(
            f'name = "{folder.name}"\ntype = "{self.kind}"\nlanguages = ["{language}"]\n'
            f'[data]\nformat = "jsonl"\nfiles = {{ {files} }}\n',
            encoding="utf-8",
        )
        return folder / "task.toml"

    def _files(self, draws: random.Random) -> Mapping[str, Sequence[Mapping[str, object]]]:
        def text() -> str:
            return self.write(draws, self.length)

        count = self.rows
        if self.kind == "Retrieval":
            queries = range(max(count // 10, 10))
            return {
                "corpus": [{"_id": f"d{row}", "text": text()} for row in range(count)],
                "queries": [{"_id": f"q{row}", "text": self.write(draws, 8)} for row in queries],
                "test": [{"query-id": f"q{q}", "corpus-id": f"d{draws.randrange(count)}", "score": 1} for q in queries],
            }
        if self.kind == "STS":
            rows = [{"sentence1": text(), "sentence2": text(), "score": draws.randrange(6)} for _ in range(count)]
            return {"test": rows}
        labelled = {"test": count} if self.kind == "Clustering" else {"train": count, "test": count}
        return {
            part: [{"text": text(), "label": f"label {draws.randrange(12)}"} for _ in range(rows)]
            for part, rows in labelled.items()
        }


HUB = (
    "STS12", "STSBenchmark", "SICK-R", "LCQMC", "FarsTail", "PoemSentimentClassification", "Banking77Classification",
)  # fmt: skip
MADE: Mapping[str, Made] = {
    "ShortDocuments": Made("Retrieval", 20_000, 12),
    "LongDocuments": Made("Retrieval", 2_000, 300),
    "ChineseDocuments": Made("Retrieval", 4_000, 60, chinese),
    "ManyPairs": Made("STS", 6_000, 15),
    "ChinesePairs": Made("STS", 5_000, 20, chinese),
    "Labelled": Made("Classification", 4_000, 30),
    "Groups": Made("Clustering", 3_000, 25),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run: seconds by calibration alone, by what runs have shown as well, and of the clock."""

    name: str
    calibrated: float
    corrected: float
    happened: float


def places(work: Path, tasks: Sequence[str]) -> list[str]:
    """The arguments of a run into a fresh folder."""
    return ["--model", MODEL, "--tasks", *tasks, "--output", str(work / "results"), "--store", str(work / "store")]


def command(*arguments: str, cache: Path) -> float:
    """Run the command line in a process of its own; its seconds by the clock."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "evalharness", "run", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
    )
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}")
    return took


def estimate(work: Path, tasks: Sequence[str], cache: Path) -> float:
    """Seconds that a dry run would say."""
    os.environ["XDG_CACHE_HOME"] = str(cache)
    request = RunRequest(MODEL, ParsedOptions(ModelOptions()), Selection(tasks=tasks), work / "results")
    plan, system = plan_run(request, download=False, warn=print)
    if system is None:
        raise SystemExit(f"{MODEL} is not here: pip install 'evalharness[demo]'")
    foresight = foresee(plan, system, Setting(Execution(), work / "store"), print)
    if foresight.cost is None:
        raise EvalHarnessError(foresight.why)
    return foresight.cost.seconds


def measure(name: str, tasks: Sequence[str], work: Path) -> Outcome:
    """Estimate a run, and do it."""
    place = work / "runs" / name
    shutil.rmtree(place, ignore_errors=True)
    calibrated, learning = (estimate(place, tasks, work / cache) for cache in ("calibrated", "learning"))
    outcome = Outcome(name, calibrated, learning, command(*places(place, tasks), cache=work / "learning"))
    print(row(outcome), flush=True)
    return outcome


def row(outcome: Outcome) -> str:
    """A line of the table."""
    ratios = (outcome.calibrated / outcome.happened, outcome.corrected / outcome.happened)
    seconds = (outcome.calibrated, outcome.corrected, outcome.happened)
    cells = [*(f"{value:.1f}" for value in seconds), *(f"{ratio:.2f}" for ratio in ratios)]
    return f"| {outcome.name} | {' | '.join(cells)} |"


HEAD = (
    "| run | estimate, calibrated (s) | estimate, corrected by the runs above (s) | happened (s) "
    "| calibrated / happened | corrected / happened |\n| --- | --- | --- | --- | --- | --- |"
)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Estimates of runs against what happens.")
    parser.add_argument("work", type=Path)
    parser.add_argument("runs", nargs="*", help="names of runs; all of them if left out")
    parser.add_argument("--output", type=Path, help="file for the table")
    given = parser.parse_args()
    work = given.work.absolute()
    runs = {name: [name] for name in HUB} | {name: [str(work / "tasks" / name / "task.toml")] for name in MADE}
    for name, made in MADE.items():
        made.save(work / "tasks" / name)
    runs["Several"] = ["STS13", "STSBenchmark", *runs["ManyPairs"], *runs["ChineseDocuments"]]
    for cache in ("calibrated", "learning"):
        shutil.rmtree(work / cache, ignore_errors=True)
    # exported and measured once, which no later run does again
    command(*places(work / "first", ["StarterSTSEng"]), "--overwrite", cache=work / "calibrated")
    command(*places(work / "first", ["StarterSTSEng"]), "--overwrite", "--dry-run", cache=work / "calibrated")
    shutil.copytree(work / "calibrated", work / "learning")
    print(HEAD)
    found = [measure(name, tasks, work) for name, tasks in runs.items() if name in (given.runs or runs)]
    if given.output:
        within = sum(abs(one.corrected / one.happened - 1) <= 0.25 for one in found)
        lines = ["# Estimates of runs", "", *introduction(), "", HEAD, *map(row, found), ""]
        lines.append(
            f"{within} of {len(found)} runs took what was estimated, corrected by the runs before, within 25%."
        )
        given.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


def introduction() -> list[str]:
    """What was measured, where and when."""
    version, day = installed_version("evalharness"), f"{datetime.now(UTC):%Y-%m-%d}"
    where = f"{day}, evalharness {version}, {os.cpu_count()} processors, {MODEL}"
    seconds = "Seconds are those of whole processes. The model was calibrated once, before all runs."
    return [f"`python benchmarks/estimates.py WORK --output FILE`, {where}. {seconds}"]


if __name__ == "__main__":
    main()
