"""Results that are made by hand, and baselines of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evalharness.compare.baseline import run_of_baseline
from evalharness.compare.saving import Saved, save, update
from evalharness.compare.sources import choose, named_runs
from evalharness.results.records import (
    JobId,
    JobRecord,
    model_meta,
    run_folder,
    write_job,
    write_model_meta,
)
from evalharness.results.views import refresh_view, run_key
from evalharness.types import ItemScores, ModelSpec
from support.lookup import spec

TASKS = {"STS12": 0.5, "STS13": 0.25, "中文 检索": 0.75}


def _rank(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("q Q0 d 1 1 t\n")


def put(output: Path, scores: dict[str, float], *, model: ModelSpec | None = None, **changes: Any) -> Path:
    """Results of a model as a run leaves them, ranking, log and all."""
    model = model or spec(name="me/model")
    folder = run_folder(output, model)
    write_model_meta(folder, model_meta(model))
    for task, score in scores.items():
        facts: dict[str, Any] = {
            "job": JobId(task, changes.get("split", "test"), changes.get("subset", "default")),
            "key": {"model": model.fingerprint, "mteb": "2.26.24"},
            "main_score": "cosine_spearman",
            "languages": ["eng-Latn"],
            "dataset_revision": "a" * 40,
            "seconds": 1.5,
            "facts": {"model": model.model_dump(mode="json"), "evalharness": "0.1.0", "task_type": "STS"},
            "metrics": {"cosine_spearman": score},
            "error": changes.get("error"),
        }
        items = None if facts["error"] else ItemScores(["0", "1"], {"gold": [0.0, score]})
        record = write_job(folder, JobRecord(**facts), items, _rank)
        refresh_view(folder, task, run_key(record.job, record.key))
    (folder / "run.log").write_text("{}\n")
    return folder


def saved(tmp_path: Path, scores: dict[str, float] | None = None, **options: Any) -> Path:
    put(tmp_path / "results", scores or TASKS, **options)
    save_all(tmp_path / "results", tmp_path / "base")
    return tmp_path / "base"


def save_all(results: Path, folder: Path) -> Saved:
    return save(choose(named_runs([str(results)])), folder)


def update_with(folder: Path, results: Path) -> Saved | None:
    return update(choose(named_runs([str(results)])), folder)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def score(folder: Path, task: str) -> float:
    return run_of_baseline(folder).tasks[task].scores["test"]["default"]
