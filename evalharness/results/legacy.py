"""mteb's result files of any age in today's form: its early versions wrote other shapes, other names and other scores.

What differs, by the time of writing:

- before 1.11: `{"mteb_dataset_name": ..., "test": {...}}`, subsets as keys or none, metrics of each similarity in an
  object of its own (`cos_sim`, `max`), `map` of rerankers, four tasks under other names, MSMARCO's dev as `validation`;
- 0.0.2: average precision as the main score of classifications of two labels;
- copied from a model's card: numbers from 0 to 100, and no version of mteb, or 0.0.0.

A main score is looked up by the name of the task's main metric, as it is called today or was called then. The stored
`main_score` counts where no other metric is there to tell them apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from evalharness.catalog.tasks import mteb_task, mteb_task_names
from evalharness.errors import DataError, clip
from evalharness.reading import checked

# splits that were renamed
SPLITS: Mapping[str, Mapping[str, str]] = {"MSMARCO": {"validation": "dev"}}
_TASKS = {  # as in mteb's renamed_tasks
    "NorwegianParliament": "NorwegianParliamentClassification",
    "CMedQAv2": "CMedQAv2-reranking",
    "CMedQAv1": "CMedQAv1-reranking",
    "8TagsClustering": "EightTagsClustering",
    "PPC": "PpcPC",
}
_SUBSETS = {"XPQARetrieval": {"fr": "fra-fra"}}
# mteb 1.1.2.dev0 and 1.1.3.dev0 had the French part of these alone, and called it the default
_FRENCH = ("MLSUMClusteringP2P", "MLSUMClusteringS2S")
# objects of metrics that are no subsets, and what their metrics' names begin with today
_NESTS = {
    "cos_sim": "cosine_",
    "manhattan": "manhattan_",
    "euclidean": "euclidean_",
    "dot": "dot_",
    "max": "max_",
    "similarity": "similarity_",
}
# metrics that were called otherwise; the MRR of rerankers was cut at ten documents then, too
_OLDER = {"map_at_1000": "map", "max_over_subqueries_map_at_1000": "map", "mrr_at_10": "mrr"}
_MAIN = "main_score"
# key of an entry that has no score, with the reason
NO_SCORE = "no_score"
_META = ("dataset_revision", "mteb_dataset_name", "task_name", "mteb_version", "evaluation_time", "kg_co2_emissions")
_NO_REVISION = (None, "", "None", "dataset revision not available")
# versions of mteb that files name which were copied from a model's card
COPIED = (None, "", "0.0.0")
IN_PERCENT = "in percent in the file"
_WRITTEN, _CALLED = "written by mteb ", " by its older name"
_BOUNDED = re.compile(
    r"(\w+_)?(accuracy|ap|f1|map|mrr|ndcg|precision|recall|spearman|pearson|v_measure)(_at_\d+)?|main_score"
)
# two numbers of one metric, one of them rounded
_SAME = 1e-4
_PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A file of results in today's form.

    Attributes:
        task: its name today.
        revision: of the data; None where the file does not say.
        scores: split -> entries with `hf_subset` and `main_score`, or NO_SCORE and the reason.
        notes: what was read otherwise than it stands there.
        version: of mteb; empty where the file does not say.
    """

    task: str
    revision: str | None
    scores: Mapping[str, Sequence[Any]]
    notes: Sequence[str]
    version: str


def current_name(task: str) -> str:
    """A task's name today; any other name as it is.

    >>> current_name("CMedQAv1"), current_name("fever"), current_name("mine")
    ('CMedQAv1-reranking', 'FEVER', 'mine')
    """
    name = _TASKS.get(task, task)
    return name if mteb_task(name) is not None else _by_lower_case().get(name.lower(), name)


def is_routine(note: str) -> bool:
    """Whether a note of `ResultFile` is of the file's age alone, not of a number that was in doubt."""
    return note.startswith(_WRITTEN) or note.endswith(_CALLED) or note == IN_PERCENT


@cache
def _by_lower_case() -> Mapping[str, str]:
    return {name.lower(): name for name in mteb_task_names()}


def as_today(value: Mapping[str, Any], where: str) -> ResultFile:
    """A file's content in today's form.

    Args:
        value: the parsed file.
        where: the file, for messages.

    Raises:
        DataError: it is no result of a task, or nothing in it can be the main score.
    """
    is_old = "scores" not in value
    key = "mteb_dataset_name" if is_old and "mteb_dataset_name" in value else "task_name"
    task = current_name(checked(value.get(key), str, f"{where}: {key}"))
    revision = checked(value.get("dataset_revision"), (str, type(None)), f"{where}: dataset_revision")
    version = value.get("mteb_version")
    version = version if isinstance(version, str) else None
    splits = _old_splits(value, task, where) if is_old else _new_splits(value, where)
    scores: dict[str, list[Any]] = {}
    notes: list[str] = [f"{_WRITTEN}{version or 'before 1.11'}"] if is_old else []
    # ranges are told by the whole file: one entry of a copied file may be small by itself
    in_percent = not is_old and version in COPIED and _is_percent(splits)
    notes += [IN_PERCENT] if in_percent else []
    for split, entries in splits.items():
        read = [_entry(entry, task, notes, in_percent=in_percent) for entry in entries]
        renamed = SPLITS.get(task, {}).get(split, split)
        if renamed == split or renamed not in splits:
            scores[renamed] = read
    found = None if revision in _NO_REVISION else revision
    return ResultFile(task, found, scores, list(dict.fromkeys(notes)), version or "")


def _new_splits(value: Mapping[str, Any], where: str) -> dict[str, list[Any]]:
    scores = checked(value.get("scores"), dict, f"{where}: scores")
    return {split: checked(entries, list, f"{where}: scores.{clip(split)}") for split, entries in scores.items()}


def _old_splits(value: Mapping[str, Any], task: str, where: str) -> dict[str, list[Any]]:
    """Today's form of what stands there by split, and perhaps by subset; nothing else is a split than an object."""
    found: dict[str, list[Any]] = {}
    for split, content in value.items():
        if split in _META or not isinstance(content, dict):
            continue
        subsets = {name: metrics for name, metrics in content.items() if _is_subset(name, metrics)}
        if not subsets:
            is_french = task in _FRENCH and value.get("mteb_version") in ("1.1.2.dev0", "1.1.3.dev0")
            subsets = {"fr" if is_french else "default": content}
        renamed = _SUBSETS.get(task, {})
        found[split] = [{**metrics, "hf_subset": renamed.get(name, name)} for name, metrics in subsets.items()]
    if not found:
        raise DataError(f"{where}: holds no scores")
    return found


def _is_subset(name: str, metrics: object) -> bool:
    return isinstance(metrics, dict) and name not in _NESTS and name != "v_measures"


def _entry(entry: object, task: str, notes: list[str], *, in_percent: bool) -> object:
    """The same entry with the task's main score, or none; what is no entry is left to whoever reads it."""
    if not isinstance(entry, dict):
        return entry
    try:
        score = _main_score(_flat(entry), task, notes)
    except DataError as error:
        return {"hf_subset": entry.get("hf_subset"), NO_SCORE: str(error)}
    if in_percent and _is_number(score):
        score /= _PERCENT
    return {"hf_subset": entry.get("hf_subset"), _MAIN: score}


def _flat(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Metrics by today's names."""
    nests = {prefix: inner for name, prefix in _NESTS.items() if isinstance(inner := entry.get(name), dict)}
    then = {f"{prefix}{name}": value for prefix, inner in nests.items() for name, value in inner.items()}
    return {**then, **entry} if then else entry


def _main_score(metrics: Mapping[str, Any], task: str, notes: list[str]) -> Any:  # noqa: ANN401 -- JSON
    """The number of the main metric; of a task that nobody knows, what is stored.

    Raises:
        DataError: it is not there, and nothing or another metric is stored as the main score.
    """
    spec, stored = mteb_task(task), metrics.get(_MAIN)
    if spec is None:
        return stored
    main = spec.main_score
    by_name = metrics.get(main)
    if by_name is None and (older := _OLDER.get(main)) is not None and (by_name := metrics.get(older)) is not None:
        notes.append(f"{older} is {main}{_CALLED}")
    if by_name is not None:
        if _is_number(stored) and _is_number(by_name) and abs(stored - by_name) > _SAME * max(1.0, abs(by_name)):
            notes.append(f"stored main_score is {stored:.6g}{_called(metrics, stored)}; {main} is shown")
            return by_name
        return by_name if stored is None else stored
    if stored is None:
        raise DataError(f"has no {main}")
    if other := _called(metrics, stored):
        raise DataError(f"has no {main}; its main_score is that of{other}")
    return stored


def _called(metrics: Mapping[str, Any], stored: Any) -> str:  # noqa: ANN401 -- JSON
    """The metric that has this value, in brackets; empty if there is none."""
    names = (name for name, value in metrics.items() if name != _MAIN and _is_number(value) and value == stored)
    return next((f" ({name})" for name in names if _BOUNDED.fullmatch(name)), "")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(splits: Mapping[str, Sequence[Any]]) -> Iterator[float]:
    """All values of metrics that are from 0 to 1, or from 0 to 100."""
    for entry in (entry for entries in splits.values() for entry in entries if isinstance(entry, dict)):
        for name, value in _flat(entry).items():
            if _is_number(value) and _BOUNDED.fullmatch(name):
                yield value


def _is_percent(splits: Mapping[str, Sequence[Any]]) -> bool:
    numbers = list(_numbers(splits))
    return max(numbers, default=0.0) > 1 and all(-_PERCENT <= number <= _PERCENT for number in numbers)
