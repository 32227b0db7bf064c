"""Write what mteb knows about text tasks, benchmarks and models as data: `python -m evalharness.data.mteb_catalog`.

Importing mteb takes seconds and needs torch. The files written here (tasks/mteb/) let planning, listing
and reports do without it. A test regenerates them from the installed mteb and compares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from evalharness.catalog.amounts import AMOUNTS
from evalharness.catalog.tasks import tasks_folder
from evalharness.data.mteb import abstract_class
from evalharness.data.mteb_amounts import describe_amounts

_Value = TypeVar("_Value")

_DEFAULT_SUBSET = "default"
# FloresBitextMining has 41,412 subsets; their sizes alone would be half of the catalogue
_MAX_SIZED_SUBSETS = 5000
_RETRIEVAL_TYPES = ("Retrieval", "Reranking", "InstructionRetrieval", "InstructionReranking")
# main scores that have a value for several queries together, of which mteb does not say how many there are
_OF_SEVERAL_QUERIES = ("max_over_subqueries", "p-MRR", "robustness", "paired_accuracy")
# beginnings of the methods that make scores; a task that has its own is scored by mteb
_SCORING_METHODS = ("evaluate", "_evaluate", "_calculate", "_compute", "_run_experiment", "_undersample")


def _is_text_only(task: Any) -> bool:  # noqa: ANN401 -- mteb's classes carry no stable types
    return list(task.metadata.modalities) == ["text"]


def _size(stats: dict[str, Any]) -> list[int] | None:
    """[texts, characters] that the encoder will see of one split, as mteb counted them."""
    samples = stats.get("num_samples")
    characters = stats.get("number_of_characters")
    text_statistics = stats.get("text_statistics")
    if characters is None and isinstance(text_statistics, dict):
        characters = text_statistics.get("total_text_length")
    if samples is None or characters is None:
        return None
    sides = 2 if "text1_statistics" in stats or "sentence1_statistics" in stats else 1
    return [sides * int(samples), int(characters)]


def _count(task: Any, stats: dict[str, Any]) -> int | None:  # noqa: ANN401
    """How many items the score of one split is made of: queries, pairs, texts or draws; None where nothing says it."""
    metadata = task.metadata
    if metadata.main_score.startswith(_OF_SEVERAL_QUERIES):
        return None
    if metadata.type in _RETRIEVAL_TYPES:
        return _queries(stats.get("queries_text_statistics"))
    if metadata.type != "Clustering":
        return stats.get("num_samples")
    # an item is one run of k-means, at one level at least; of how many sets the legacy protocol has, nothing is said
    return None if abstract_class(task).__name__.endswith("Legacy") else int(task.n_clusters)


def _queries(texts: dict[str, Any] | None) -> int | None:
    """How many they are: the total by the average; `num_queries` is missing of many tasks and wrong of some."""
    return round(texts["total_text_length"] / texts["average_text_length"]) if texts else None


def _by_subset(
    task: Any,  # noqa: ANN401
    measure: Callable[[dict[str, Any]], _Value | None],
) -> dict[str, dict[str, _Value]]:
    """What can be measured in mteb's statistics, split -> subset -> value."""
    stats = task.metadata.descriptive_stats or {}
    found: dict[str, dict[str, _Value]] = {}
    for split in task.eval_splits:
        whole = stats.get(split)
        if not isinstance(whole, dict):
            continue
        by_subset = whole.get("hf_subset_descriptive_stats") or {_DEFAULT_SUBSET: whole}
        values = {subset: measure(part) for subset, part in by_subset.items() if isinstance(part, dict)}
        found[split] = {subset: value for subset, value in values.items() if value}
    return {split: values for split, values in found.items() if values}


def _scored_as(task: Any) -> str | None:  # noqa: ANN401
    """The type by which a task is scored, where its own type does not say it: another class of mteb's, or own code."""
    own, base = type(task), abstract_class(task)
    changed = [name for name in dir(base) if getattr(own, name) is not getattr(base, name, None)]
    if any(name.startswith(_SCORING_METHODS) for name in changed):
        return "mteb"
    name = base.__name__.removeprefix("AbsTask").removesuffix("Legacy")
    same = task.metadata.type in _RETRIEVAL_TYPES if name == "Retrieval" else task.metadata.type == name
    return None if same else name


def _instruction(task: Any) -> str:  # noqa: ANN401
    """What mteb tells instructed models on queries and on texts without a side."""
    prompt = task.metadata.prompt or getattr(task, "abstask_prompt", "")
    # where there is one per side, texts without a side get the first
    return prompt.get("query") or next(iter(prompt.values())) if isinstance(prompt, dict) else str(prompt)


def describe_task(task: Any) -> dict[str, Any]:  # noqa: ANN401
    """The catalogue entry of one mteb task."""
    metadata = task.metadata
    splits = list(task.eval_splits)
    entry: dict[str, Any] = {
        "name": metadata.name,
        "type": metadata.type,
        "main_score": metadata.main_score,
        "revision": metadata.revision,
        "splits": splits,
        "languages": {subset: list(codes) for subset, codes in metadata.hf_subsets_to_langscripts.items()},
    }
    if not task.is_aggregate:
        entry["dataset"] = metadata.dataset["path"]
    if instruction := _instruction(task):
        entry["instruction"] = instruction
    if metadata.superseded_by:
        entry["superseded_by"] = metadata.superseded_by
    if task.is_aggregate:
        entry["parts"] = [part.metadata.name for part in metadata.tasks]
    elif scored_as := _scored_as(task):
        entry["scored_as"] = scored_as
    if len(entry["languages"]) <= _MAX_SIZED_SUBSETS:
        entry |= {"sizes": _by_subset(task, _size), "items": _by_subset(task, partial(_count, task))}
    return {name: value for name, value in entry.items() if value or name not in ("sizes", "items")}


def describe_benchmark(benchmark: Any) -> dict[str, Any] | None:  # noqa: ANN401
    """The catalogue entry of one benchmark, or None if it has tasks that are not about text."""
    if not all(_is_text_only(task) for task in benchmark.tasks):
        return None
    members = []
    for task in benchmark.tasks:
        member: dict[str, Any] = {"task": task.metadata.name, "splits": list(task.eval_splits)}
        if set(task.hf_subsets) != set(task.metadata.hf_subsets):
            member["subsets"] = list(task.hf_subsets)
        members.append(member)
    note = {"note": said} if (said := _of_other_means(benchmark)) else {}
    return {"name": benchmark.name, "aliases": list(benchmark.aliases or ()), "tasks": members, **note}


def _of_other_means(benchmark: Any) -> str:  # noqa: ANN401 -- as in `_is_text_only`
    """What is said of a benchmark whose means or ranks are others on mteb's leaderboard; empty of all others."""
    from mteb.benchmarks.benchmark import BenchmarkAggregation, RtebBenchmark

    if BenchmarkAggregation.MEAN_SUBSET in benchmark.aggregations:
        return "mteb's leaderboard has means and ranks over subsets of this benchmark; these are over its tasks"
    if isinstance(benchmark, RtebBenchmark):
        private = [task.metadata.name for task in benchmark.tasks if not task.metadata.is_public]
        return f"mteb's leaderboard shows no zero-shot share of this benchmark, and leaves out {', '.join(private)}"
    return ""


# mteb's classes carry no stable types, here as well
def describe_model(meta: Any, aliases: Collection[str], tasks: Collection[str]) -> dict[str, Any]:  # noqa: ANN401
    """The catalogue entry of one model: the fields of `catalog.models.ModelFacts` that mteb fills.

    Args:
        meta: mteb's `ModelMeta`.
        aliases: names that it had before.
        tasks: names of the tasks whose scores its training data can matter to.
    """
    sizes = meta.embed_dim if isinstance(meta.embed_dim, list | tuple) else [meta.embed_dim]
    # with the tasks that share data with those named, and what the model was adapted from was trained on
    trained_on = meta.get_training_datasets()
    entry = {
        # of several sizes, mteb's leaderboard shows the largest
        "dimensions": max((size for size in sizes if size is not None), default=None),
        "max_length": int(meta.max_tokens) if meta.max_tokens is not None and isfinite(meta.max_tokens) else None,
        "parameters": meta.n_parameters,
        "embedding_parameters": meta.n_embedding_parameters,
        "licence": meta.license,
        "release_date": meta.release_date,
        "trained_on": None if trained_on is None else sorted(trained_on & set(tasks)),
        "link": meta.reference,
        "is_open": meta.open_weights,
        "superseded_by": meta.superseded_by,
    }
    known = {name: value for name, value in entry.items() if value is not None}
    return {"name": meta.name, "aliases": sorted(aliases), **known}


def _models(tasks: Collection[str]) -> list[dict[str, Any]]:
    """The entries of all models that read text."""
    from mteb.models.get_model_meta import _MODEL_RENAMES
    from mteb.models.model_implementations import MODEL_REGISTRY

    return [
        describe_model(meta, [old for old, new in _MODEL_RENAMES.items() if new == name], tasks)
        for name, meta in MODEL_REGISTRY.items()
        if "text" in meta.modalities
    ]


def describe_mteb() -> dict[str, list[str]]:
    """Read the installed mteb.

    Returns:
        File name -> lines; in .jsonl files, one JSON object a line.
    """
    import mteb

    every = mteb.get_tasks(exclude_superseded=False, exclude_private=False, exclude_beta=False, exclude_aggregate=False)
    tasks = [task for task in every if _is_text_only(task)]
    entries = [describe_task(task) for task in tasks]
    benchmarks = [entry for benchmark in mteb.get_benchmarks() if (entry := describe_benchmark(benchmark))]

    def lines(values: list[dict[str, Any]]) -> list[str]:
        ordered = sorted(values, key=lambda value: str(value["name"]))
        return [json.dumps(value, sort_keys=True, ensure_ascii=False) for value in ordered]

    codes = {code.partition("-")[0] for entry in entries for group in entry["languages"].values() for code in group}
    instructions = {task.metadata.type: task.abstask_prompt for task in tasks if hasattr(task, "abstask_prompt")}
    return {
        "tasks.jsonl": lines(entries),
        AMOUNTS: _amounts(tasks),
        "benchmarks.jsonl": lines(benchmarks),
        "models.jsonl": lines(_models([entry["name"] for entry in entries])),
        "instructions.json": _shown(instructions),
        "languages.json": _shown(_language_names(codes)),
    }


def _amounts(tasks: list[Any]) -> list[str]:
    """A line per task that mteb has counted, which begins with its name."""
    found = {task.metadata.name: amounts for task in tasks if (amounts := describe_amounts(task))}
    return [json.dumps({name: found[name]}, ensure_ascii=False, separators=(",", ":")) for name in sorted(found)]


def _shown(value: object) -> list[str]:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=2).splitlines()


def _language_names(codes: set[str]) -> dict[str, Any]:
    """English names of the languages that tasks have, and the two-letter codes of ISO 639-1 for ISO 639-3."""
    from mteb import languages

    folder = Path(str(languages.__file__)).parent
    names, short = (
        json.loads((folder / file).read_text(encoding="utf-8"))
        for file in ("iso_639_3_to_language.json", "iso_639_1_to_3.json")
    )
    return {"names": {code: names.get(code, code) for code in codes}, "short": short}


def write_catalog(folder: Path) -> None:
    """Write tasks, benchmarks, models (.jsonl), languages and instructions by task type, for tasks without (.json)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in describe_mteb().items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_catalog(tasks_folder() / "mteb")
