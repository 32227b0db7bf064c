"""The older `model-index`: scores in the front matter of a model's README, from 0 to 1 as mteb 2 writes them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalharness.errors import DataError, UsageError
from evalharness.reading import read_bytes
from evalharness.reports.publishing.eval_results import on_the_hub
from evalharness.reports.publishing.front_matter import front_matter, with_key
from evalharness.reports.publishing.own import OwnResults, OwnTask
from evalharness.reports.publishing.writing import NewFile, Publication, check_any, write_files

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

FLAG = "--model-index"
_KEY, _README = "model-index", "README.md"
_OTHER = "other"
# the Hub's task by task type, as mteb has it
HUB_TASKS: Mapping[str, str] = {
    "BitextMining": "translation",
    "Classification": "text-classification",
    "MultilabelClassification": "text-classification",
    "Clustering": "text-classification",
    "PairClassification": "text-classification",
    "Reranking": "text-ranking",
    "Retrieval": "text-retrieval",
    "STS": "sentence-similarity",
    "Summarization": "summarization",
    "InstructionRetrieval": "text-retrieval",
    "InstructionReranking": "text-ranking",
}


def write_model_index(results: Sequence[OwnResults], path: Path, source_url: str | None = None) -> Publication:
    """Write a README's front matter, or put it into a README that is there.

    Args:
        results: see `own_results`; of several runs, each has a README in a folder of its own, below the path.
        path: of a file for one run. One that is there has to be a README; all of it but its model-index stays, and so
            do results of others in that.
        source_url: where more can be read; None for nowhere.

    Raises:
        UsageError: there is nothing to publish, or what is there cannot be changed without damage.
        StorageError: it cannot be written.
    """
    results = [on_the_hub(one) for one in results]
    check_any(results, FLAG)
    several = len(results) > 1
    files = []
    for one in (one for one in results if one.tasks):
        place = path / one.folder / _README if several else path
        text = _existing(place)
        try:
            content = with_key(text, _KEY, _merged(front_matter(text).get(_KEY), _index(one, source_url)))
        except DataError as error:
            raise UsageError(f"{FLAG}: {place} stays as it is: {error}. Name a file that is not there yet") from None
        files.append(NewFile(place, content.encode(), lambda _: True))
    return Publication(FLAG, write_files(files, path if several else path.parent, FLAG), results)


def _existing(path: Path) -> str:
    if not os.path.lexists(path):
        return ""
    if path.name.casefold() != _README.casefold():
        raise UsageError(
            f"{FLAG}: {path} is there already; name a file that is not, or the {_README} that is to be changed"
        )
    try:
        return read_bytes(path).decode()
    except (DataError, UnicodeDecodeError) as error:
        raise UsageError(f"{FLAG}: {path} stays as it is: {error}") from None


def _index(results: OwnResults, source_url: str | None) -> list[dict[str, Any]]:
    from huggingface_hub.repocard_data import eval_results_to_model_index

    entries = [entry for task in results.tasks for entry in _entries(task, source_url)]
    return eval_results_to_model_index(results.run.model, entries)


def _entries(task: OwnTask, source_url: str | None) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    spec = task.spec
    if spec is None:
        return []
    return [
        EvalResult(
            task_type=HUB_TASKS.get(spec.type, _OTHER),
            task_name=spec.type,
            dataset_type=task.hub_id,
            dataset_name=f"{task.name} ({part.subset})",
            dataset_config=part.subset,
            dataset_split=part.split,
            dataset_revision=task.revision,
            metric_type=spec.main_score,
            metric_name=spec.main_score,
            metric_value=part.score,
            source_url=source_url,
            source_name="evalharness" if source_url else None,
        )
        for part in task.cell.parts
    ]


def _merged(existing: object, ours: Sequence[dict[str, Any]]) -> list[Any]:
    """Ours among what is there: results of the same model on the same data give way, all others stay.

    Raises:
        DataError: what is there is no model-index.
    """
    if existing is None:
        return list(ours)
    (own,) = ours
    if not isinstance(existing, list) or not all(isinstance(entry, dict) for entry in existing):
        raise DataError(f"its {_KEY} is no list of models")
    new = {_what(result) for result in own["results"]}
    merged: list[Any] = []
    is_there = False
    for entry in existing:
        if entry.get("name") != own["name"] or is_there:
            merged.append(entry)
            continue
        is_there = True
        results = entry.get("results")
        if not isinstance(results, list):
            raise DataError(f"its {_KEY} has a model without a list of results")
        kept = [result for result in results if _what(result) not in new]
        merged.append({**entry, "results": [*kept, *own["results"]]})
    return merged if is_there else [*merged, own]


def _what(result: object) -> tuple[str, ...]:
    """Which numbers a result has: task, data and metrics, without their values."""
    parts = [result.get(name) for name in ("task", "dataset")] if isinstance(result, dict) else []
    task, data = (part if isinstance(part, dict) else {} for part in parts) if parts else ({}, {})
    names = [task.get("type"), *(data.get(name) for name in ("type", "name", "config", "split", "revision"))]
    metrics = result.get("metrics") if isinstance(result, dict) else None
    kinds = [metric.get("type") for metric in metrics if isinstance(metric, dict)] if isinstance(metrics, list) else []
    return tuple(map(str, (*names, *kinds)))
