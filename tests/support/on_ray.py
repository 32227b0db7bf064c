"""Jobs that Ray tasks score, in the process of `ray_nodes`. What encodes is a pool of threads."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from threading import Lock
from typing import Any
from unittest.mock import patch

from evalharness.catalog.selection import Selection, TaskChoice, select
from evalharness.results.records import JobId
from evalharness.run.cluster import scoring
from evalharness.run.plan import make_plan, run_plan
from evalharness.run.steps import Encoded, Loaded, encode, load, score
from evalharness.types import Dense, ignore_event
from support.elsewhere import LONG_SECONDS, OddRows
from support.local_tasks import ROWS, jsonl_task, write
from support.pools import Company, Pool, alone, own_texts, pooled
from support.side_by_side import local_tasks
from support.small_runs import state

SCORED_HERE: list[JobId] = []
KINDS = ("plain", "on this node", "fails", "fails oddly", "has no files", "cannot be sent", "dies once", "takes long")


class Workers:
    """Of a pool."""

    engines = 3
    at_once = 3

    def __init__(self, *, share_store: bool) -> None:
        self.share_store = share_store


def scored_here(loaded: Loaded, encoded: Encoded) -> Any:
    SCORED_HERE.append(loaded.job)
    return score(loaded, encoded)


def tasks(folder: Path) -> list[TaskChoice]:
    """Of all types, and one that fails."""
    paths = [jsonl_task(folder / "Constant.toml", "STS", [{**row, "score": 1} for row in ROWS["STS"]])]
    for kind in ("Retrieval", "Classification", "MultilabelClassification"):
        (folder / kind).mkdir(parents=True)
        path = write(folder / kind, kind, [json.dumps(row).encode() for row in ROWS[kind]])
        path.write_text(path.read_text().replace('"Mine"', f'"{kind}"'))
        paths.append(path)
    return [*local_tasks(folder), *select(Selection(tasks=list(map(str, paths))))]


def whole_run(folder: Path) -> dict[str, object]:
    """A run with a store, against one whose jobs go one after another in this process."""
    choices = tasks(folder / "data")
    wanted = alone(Company(), folder / "one")
    run_plan(make_plan(choices, wanted.spec, folder / "serial", save_rankings=True), wanted, lambda _: None)
    del SCORED_HERE[:]
    with Pool(Company()) as pool:
        model = pooled(pool, folder / "several")
        plan = make_plan(choices, model.spec, folder / "tasks", save_rankings=True)
        records = run_plan(plan, model, lambda _: None)
    return {
        "jobs": len(records),
        "failed": [record.job.task for record in records if record.error is not None],
        "same": state(folder / "tasks") == state(folder / "serial"),
        "here": len(SCORED_HERE),
    }


def one_job(folder: Path, kind: str) -> dict[str, object]:
    """A job whose vectors are odd in other processes."""
    folder.mkdir()
    choice = own_texts(folder, 1)[0]
    loaded = load(JobId(choice.spec.name, "test", "default"), choice)
    found = encode(loaded, alone(Company(), None), ignore_event)
    odd: dict[str, Any] = {
        name: Dense(OddRows(each.vectors, os.getpid(), kind, folder / "tries"))
        for name, each in found.embeddings.items()
    }
    if kind == "cannot be sent":
        odd["lock"] = Lock()
    ended: list[float] = []
    begun, tries = time.time(), folder / "tries"

    def is_over() -> bool:
        # for what takes long, as soon as it is under way
        if not ended and kind == "takes long":
            if tries.exists():
                ended.append(tries.stat().st_mtime)
            elif time.time() > begun + LONG_SECONDS / 2:
                ended.append(time.time())
        return bool(ended)

    del SCORED_HERE[:]
    try:
        scores = scoring.Scorer(Workers(share_store=kind != "on this node"), is_over)(loaded, Encoded(odd))
        said = "same" if scores.metrics == score(loaded, found).metrics else "other"
    except Exception as error:  # noqa: BLE001 -- it is what is asked for
        said = f"{type(error).__name__}: {error}"
    was_told = [time.time() - since for since in ended]
    return {"said": said, "here": len(SCORED_HERE), "went": tries.exists(), "after": was_told}


def found(folder: Path) -> dict[str, Any]:
    """What comes of a run, and of each kind of job.

    Args:
        folder: an empty one.
    """
    folder.mkdir()
    with patch.object(scoring, "score", scored_here):
        return {"run": whole_run(folder), **{kind: one_job(folder / kind, kind) for kind in KINDS}}
