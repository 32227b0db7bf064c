"""The older `model-index`: scores in the front matter of a model's README, from 0 to 1 as mteb 2 writes them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalharness.errors import DataError, UsageError, clip, shorten
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
    files, notes = [], []
    for one in (one for one in results if one.tasks):
        place = path / one.folder / _README if several else path
        text = _existing(place)
        try:
            existing, (ours,) = _models(front_matter(text)), _index(one, source_url)
            merged = _merged(existing, ours)
            content = with_key(text, _KEY, merged)
        except DataError as error:
            raise UsageError(f"{FLAG}: {place} stays as it is: {error}. Name a file that is not there yet") from None
        files.append(NewFile(place, content.encode(), lambda _: True))
        notes += [f"{place}: {note}" for note in (_naming(existing, ours), _scale(merged, ours)) if note]
    return Publication(FLAG, write_files(files, path if several else path.parent, FLAG), results, notes)


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


def _models(front: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The model-index that is there. Raises DataError where it is none."""
    existing = front.get(_KEY)
    if existing is None:
        return []
    if not isinstance(existing, list) or not all(isinstance(entry, dict) for entry in existing):
        raise DataError(f"its {_KEY} is no list of models")
    return existing


def _own_place(existing: Sequence[Mapping[str, Any]], name: str) -> int | None:
    """Which of the models is ours: of its name, whole or short, or the only one, if it is named as no repository is."""
    names = [entry.get("name") for entry in existing]
    for ours in (name, _short(name)):
        if ours in names:
            return names.index(ours)
    return 0 if len(names) == 1 and "/" not in str(names[0]) else None


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def _merged(existing: Sequence[dict[str, Any]], ours: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Ours among what is there: results of the same model on the same data give way, all others stay.

    Raises:
        DataError: our model has no results there that could be kept.
    """
    place = _own_place(existing, ours["name"])
    if place is None:
        return [*existing, dict(ours)]
    entry = existing[place]
    results = entry.get("results")
    if not isinstance(results, list):
        raise DataError(f"its {_KEY} has a model without a list of results")
    new = {_what(result) for result in ours["results"]}
    kept = [result for result in results if _what(result) not in new]
    merged = {**entry, "name": entry.get("name") or ours["name"], "results": [*kept, *ours["results"]]}
    return [*existing[:place], merged, *existing[place + 1 :]]


def _naming(existing: Sequence[Mapping[str, Any]], ours: Mapping[str, Any]) -> str:
    """What is said of the model's name in the file; nothing where it is the one that everybody expects."""
    names = [clip(str(entry["name"])) for entry in existing if entry.get("name")]
    place = _own_place(existing, ours["name"])
    if not names or (place is not None and existing[place]["name"] in (ours["name"], _short(ours["name"]))):
        return ""
    if place is None:
        return f"{clip(ours['name'])} is a further model there, beside {shorten(names)}"
    return f"its only model is called {names[0]}, and has these results now"


def _scale(merged: Sequence[Mapping[str, Any]], ours: Mapping[str, Any]) -> str:
    """What is said where results beside ours are in percent, as in every card before mteb 2."""
    place = _own_place(merged, ours["name"])
    beside = [] if place is None else [one for one in merged[place]["results"] if one not in ours["results"]]
    data = {result["dataset"]["type"] for result in ours["results"]}
    old = [str(one["dataset"].get("name")) for one in beside if _is_in_percent(one, data)]
    if not old:
        return ""
    count = "1 result that was there is" if len(old) == 1 else f"{len(old)} results that were there are"
    return (
        f"{count} in percent, as before mteb 2 ({shorten(old)}); those of this run are from 0 to 1, as mteb 2 writes "
        "them. Take out the old ones of the same tasks"
    )


def _is_in_percent(result: object, data: Collection[str]) -> bool:
    """Whether a result on data of mteb's, or on these data sets, has a value that no score of mteb 2 has."""
    if not isinstance(result, dict) or not isinstance(found := result.get("dataset"), dict):
        return False
    is_mtebs = str(found.get("type")).startswith("mteb/") or str(found.get("name")).startswith("MTEB ")
    metrics = result.get("metrics")
    values = [one.get("value") for one in metrics if isinstance(one, dict)] if isinstance(metrics, list) else []
    return (is_mtebs or found.get("type") in data) and any(
        isinstance(value, int | float) and value > 1 for value in values
    )


def _what(result: object) -> tuple[str, ...]:
    """Which numbers a result has: task, data and metrics, without their values."""
    parts = [result.get(name) for name in ("task", "dataset")] if isinstance(result, dict) else []
    task, data = (part if isinstance(part, dict) else {} for part in parts) if parts else ({}, {})
    names = [task.get("type"), *(data.get(name) for name in ("type", "name", "config", "split", "revision"))]
    metrics = result.get("metrics") if isinstance(result, dict) else None
    kinds = [metric.get("type") for metric in metrics if isinstance(metric, dict)] if isinstance(metrics, list) else []
    return tuple(map(str, (*names, *kinds)))
