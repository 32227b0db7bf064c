"""Result files as mteb's early versions wrote them; shapes and most numbers are those of public files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REVISION = "e8379541af4e31359cca9fbcf4b00f2671dba205"


def nested(spearman: float) -> dict[str, Any]:
    """Correlations as they were until 1.11."""
    return {
        "cos_sim": {"pearson": 0.645576715741212, "spearman": spearman},
        "euclidean": {"pearson": 0.6674176032848087, "spearman": spearman},
        "manhattan": {"pearson": 0.6707638959129594, "spearman": spearman + 0.005},
    }


def pairs(cosine_ap: float, max_accuracy: float) -> dict[str, Any]:
    """Pair classification as it was until 1.11."""
    return {
        "cos_sim": {
            "accuracy": max_accuracy - 0.002,
            "accuracy_threshold": 0.9055497050285339,
            "ap": cosine_ap,
            "f1": 0.6826347305389221,
        },
        "dot": {"accuracy": max_accuracy - 0.003, "accuracy_threshold": 770.436767578125, "ap": cosine_ap - 0.002},
        "evaluation_time": 6.6,
        "max": {"accuracy": max_accuracy, "ap": cosine_ap, "f1": 0.6826347305389221},
    }


def old(task: str, splits: Mapping[str, Any], version: str | None = "0.0.2") -> dict[str, Any]:
    """A whole file."""
    head = {"mteb_dataset_name": task, "dataset_revision": REVISION}
    return {**head, **({} if version is None else {"mteb_version": version}), **splits}


def today(task: str, splits: Mapping[str, Any], version: str | None = "1.18.0") -> dict[str, Any]:
    """A file in the form of 1.11 and later; entries without a subset are of the default one."""
    scores = {
        split: [{"hf_subset": "default", "languages": ["eng-Latn"], **entry} for entry in entries]
        for split, entries in splits.items()
    }
    return {
        "task_name": task,
        "dataset_revision": REVISION,
        "mteb_version": version,
        "evaluation_time": 1.0,
        "scores": scores,
    }


def write(folder: Path, name: str, value: object) -> Path:
    """A file of a task, in a folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return path
