"""What mteb's statistics say of the texts that a job encodes, for `catalog.amounts`; with mteb's own task classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import exp
from typing import Any

from evalharness.data.mteb import abstract_class

_DEFAULT_SUBSET = "default"
# what is left out has thousands of subsets of a few sentences each
_MOST_SUBSETS = 200
_COLUMNS = {
    "queries_text_statistics": "queries",
    "documents_text_statistics": "corpus",
    "text_statistics": "texts",
    "text1_statistics": "sentence1",
    "text2_statistics": "sentence2",
    "sentence1_statistics": "sentence1",
    "sentence2_statistics": "sentence2",
    "human_summaries_statistics": "human",
    "machine_summaries_statistics": "machine",
}
_PAIR = ("sentence1", "sentence2")
# different texts of a side, by its rows, where they are said to be repeated
_REPEATED = 2 / 3
# nothing says how many cluster sets the tasks of mteb's legacy protocol have
_LEGACY_SETS = 10


def describe_amounts(task: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401 -- mteb's classes carry no stable types
    """Split -> subset -> the fields of `JobAmounts`, for what mteb evaluates and has counted."""
    stats = task.metadata.descriptive_stats or {}
    if task.is_aggregate or len(task.metadata.hf_subsets_to_langscripts) > _MOST_SUBSETS:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for split in task.eval_splits:
        parts = _parts(stats.get(split))
        entries = {subset: _entry(task, part, _trained_on(task, stats, subset)) for subset, part in parts.items()}
        if kept := {subset: entry for subset, entry in entries.items() if entry["columns"]}:
            found[split] = kept
    return found


def _parts(stats: Any) -> Mapping[str, dict[str, Any]]:  # noqa: ANN401 -- JSON
    if not isinstance(stats, dict):
        return {}
    parts = stats.get("hf_subset_descriptive_stats") or {_DEFAULT_SUBSET: stats}
    return {subset: part for subset, part in parts.items() if isinstance(part, dict)}


def _trained_on(task: Any, stats: Mapping[str, Any], subset: str) -> dict[str, Any]:  # noqa: ANN401 -- a task of mteb's
    return _parts(stats.get(getattr(task, "train_split", ""))).get(subset, {})


def _entry(task: Any, part: dict[str, Any], train: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 -- a task of mteb's
    columns = {name: amount for key, name in _COLUMNS.items() if (amount := _amount(part.get(key)))}
    entry: dict[str, Any] = {"columns": _together(columns, part)}
    if candidates := (part.get("top_ranked_statistics") or {}).get("num_top_ranked"):
        entry["candidates"] = int(candidates)
    if task.metadata.type == "Clustering" and "texts" in columns:
        return _clustered(task, part, columns)
    if hasattr(task, "samples_per_label") and "texts" in columns:
        return _classified(task, part, train, columns)
    return entry


def _together(columns: dict[str, list[int]], part: dict[str, Any]) -> dict[str, list[int]]:
    """Columns without the texts of the second that are in the first as well, of which nothing says how many there are.

    Where on both sides of pairs many texts occur several times, both are taken to be drawn from the same texts.
    """
    rows, pair = part.get("num_samples") or 0, [columns.get(name) for name in _PAIR]
    first, second = pair
    if first is None or second is None or not rows or max(first[0], second[0]) > _REPEATED * rows:
        return columns
    share = (first[0] + second[0]) / 2 / rows
    # drawn so often, each of the texts, as many of them were not drawn at all
    drawn = _solved(lambda often: (1 - exp(-often)) / often - share)
    both = (1 - exp(-2 * drawn)) / (2 * (1 - exp(-drawn)))
    shrunk = {name: [round(both * amount[0]), round(both * amount[1]), amount[2]] for name, amount in columns.items()}
    return {name: shrunk[name] if name in _PAIR else amount for name, amount in columns.items()}


def _solved(falling: Callable[[float], float]) -> float:
    """Where a function that falls is 0, between numbers that are far enough apart here."""
    low, high = 1e-6, 1e6
    for _ in range(100):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return low


def _amount(stats: Any) -> list[int] | None:  # noqa: ANN401 -- JSON
    """[different texts, their characters, characters of the longest]; those that occur twice count once."""
    if not isinstance(stats, dict) or not stats.get("average_text_length"):
        return None
    average, different = stats["average_text_length"], stats["unique_texts"]
    return [int(different), round(average * different), int(stats["max_text_length"])]


def _counts(part: Mapping[str, Any]) -> list[int]:
    """How many texts each label has."""
    labels = part.get("label_statistics") or part.get("labels_statistics") or {}
    return [int(label["count"]) for label in (labels.get("labels") or {}).values()]


def _classified(
    task: Any,  # noqa: ANN401 -- a task of mteb's
    part: dict[str, Any],
    train: dict[str, Any],
    columns: dict[str, list[int]],
) -> dict[str, Any]:
    """A classification: each experiment is fitted on some texts of each label, drawn anew from the training split."""
    counts, wanted = _counts(train) or _counts(part), task.samples_per_label
    crossed = bool(getattr(task, "is_cross_validation", False))
    fits = task.n_splits if crossed else task.n_experiments
    tested = columns["texts"]
    entry = {"columns": {"test": tested}, "labels": len(counts), "fits": fits}
    entry["rows"] = sum(min(wanted, count) for count in counts)
    if crossed:
        return entry
    # of each label's texts, those that some draw has
    drawn = round(sum(count * (1 - max(0.0, 1 - wanted / count) ** fits) for count in counts if count))
    kind = _amount(train.get("text_statistics")) or tested
    drawn = min(drawn, kind[0])
    entry["columns"]["train"] = [drawn, round(kind[1] / kind[0] * drawn), kind[2]]
    return entry


def _clustered(
    task: Any,  # noqa: ANN401 -- a task of mteb's
    part: dict[str, Any],
    columns: dict[str, list[int]],
) -> dict[str, Any]:
    """A clustering: of some texts, or of all of them."""
    texts, labels = columns["texts"], len(_counts(part))
    if abstract_class(task).__name__.endswith("Legacy"):
        rows = part["num_samples"] // _LEGACY_SETS
        return {"columns": columns, "labels": labels, "fits": _LEGACY_SETS, "rows": rows}
    fraction, limit = task.max_fraction_of_documents_to_embed, task.max_document_to_embed
    share = 1.0 if fraction is None else fraction
    if fraction is None and limit is not None:
        share = min(1.0, limit / max(part["num_samples"], 1))
    stats = part.get("label_statistics") or part.get("labels_statistics") or {}
    levels = max(1, min(int(stats.get("max_labels_per_text") or 1), task.max_depth or 1_000))
    kept = [max(1, round(texts[0] * share)), round(texts[1] * share), texts[2]]
    return {
        "columns": {"texts": kept},
        "labels": labels,
        "fits": task.n_clusters * levels,
        "rows": task.max_documents_per_cluster,
    }
