"""Scores that others published, from the box that comes with evalharness, as rows beside results.

Several scores of one model on one task are common: runs of a pinned revision, early runs of an unknown one, numbers
copied from the model's card. A rule chooses one of them, the same for all tasks; a row says how many are from where.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from evalharness.errors import DataError
from evalharness.reading import read_toml
from evalharness.results.legacy import SPLITS
from evalharness.results.stored import StoredRun, StoredTask

# `preferred`: a pinned revision first; `card`: what the authors printed first, pair classification by cosine AP
Rule: TypeAlias = Literal["preferred", "card"]
REVISION, UNPINNED, EXTERNAL = "revision", "no_revision_available", "external"
NOT_PUBLISHED = "not published"
COLUMNS: Mapping[str, type] = {
    "task": str,
    "task_type": str,
    "subset": str,
    "split": str,
    "metric": str,
    "model": str,
    "revision": str,
    "score": float,
    "mteb_version": str,
    "source": str,
    "metric_in_file": str,
    "cosine_ap": float,
    "commit": str,
    "dataset_revision": str,
    "note": str,
    "preferred": bool,
    "unusable": str,
}
_CARD_ORDER = (EXTERNAL, UNPINNED, REVISION)
_PERCENT = 100.0
# nothing, or that a score is of one of two splits, which is seen where the splits are known
_SAID = (None, "1 of 2 split/subset cells")


@dataclass(frozen=True, slots=True)
class PublishedScore:
    """A row of the box: the columns of `COLUMNS`; None where nobody says.

    Attributes:
        split: `a+b` for a mean over both.
        metric: the task's main metric; `metric_in_file` is its name there, an older one perhaps.
        score, cosine_ap: 0-100, as published.
        source: `revision`, `no_revision_available` (early leaderboard) or `external` (copied from a model's card).
        commit: of the results repository.
        preferred: whether it is the one that the rule `preferred` takes.
        unusable: why it is no score of the model; None if it is one.
    """

    task: str
    task_type: str
    subset: str
    split: str
    metric: str
    model: str
    revision: str
    score: float
    mteb_version: str | None
    source: str
    metric_in_file: str
    cosine_ap: float | None
    commit: str
    dataset_revision: str | None
    note: str | None
    preferred: bool
    unusable: str | None


def published_folder() -> Path:
    """The folder `results/published/`: inside an installed package, or beside it in a checkout."""
    bundled = Path(__file__).parents[1] / "bundled_published"
    return bundled if bundled.is_dir() else Path(__file__).parents[2] / "results" / "published"


@cache
def published_scores() -> Sequence[PublishedScore]:
    """All of the box.

    Raises:
        DataError: the box is missing or damaged; it comes with evalharness.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = published_folder() / "scores.parquet"
    try:
        # `read_table` would import pandas
        columns: dict[str, list[Any]] = pq.ParquetFile(path).read().to_pydict()
        return [PublishedScore(*values) for values in zip(*(columns[name] for name in COLUMNS), strict=True)]
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read ({error}); install evalharness again") from None


def published_runs(rule: Rule = "preferred", models: Collection[str] | None = None) -> list[StoredRun]:
    """A run per model, with one published score per task and subset.

    Args:
        rule: which of several scores is taken.
        models: only these; None for all.
    """
    found: dict[str, list[PublishedScore]] = defaultdict(list)
    for score in published_scores():
        if models is None or score.model in models:
            found[score.model].append(score)
    return [_run(model, scores, rule) for model, scores in sorted(found.items())]


def _chosen(scores: Iterable[PublishedScore], rule: Rule) -> PublishedScore:
    """One score of a subset of a split; what is unusable is taken only where there is nothing else."""

    def rank(score: PublishedScore) -> tuple[bool, int, bool]:
        by_source = _CARD_ORDER.index(score.source) if rule == "card" else -_CARD_ORDER.index(score.source)
        return (score.unusable is not None, by_source, not score.preferred)

    return min(scores, key=rank)


def _run(model: str, scores: Sequence[PublishedScore], rule: Rule) -> StoredRun:
    tasks: dict[str, dict[tuple[str, str], list[PublishedScore]]] = defaultdict(lambda: defaultdict(list))
    for score in scores:
        split = SPLITS.get(score.task, {}).get(score.split, score.split)
        tasks[score.task][split, score.subset].append(replace(score, split=split))
    chosen = {name: [_chosen(members, rule) for members in places.values()] for name, places in tasks.items()}
    return StoredRun(
        model=model,
        revision=row_revision([score.revision for members in chosen.values() for score in members]),
        overrides={},
        tasks={name: _task(name, members, rule) for name, members in sorted(chosen.items())},
        folder=published_folder(),
        absent=NOT_PUBLISHED,
        is_published=True,
    )


@cache
def _known() -> Sequence[Mapping[str, Any]]:
    """What is said of single published scores in known.toml."""
    entries: Sequence[Mapping[str, Any]] = read_toml(published_folder() / "known.toml")["entry"]
    return entries


def with_what_is_known(model: str, revision: str, task: StoredTask) -> StoredTask:
    """The same published scores; those that are known to be of another model are none, and others have a note.

    Args:
        model: whose they are.
        revision: of the model, or another source.
        task: as it was read.
    """
    source = revision if revision in (UNPINNED, EXTERNAL) else REVISION
    for entry in _known():
        if (entry["model"], entry["source"]) != (model, source) or task.task not in entry["tasks"]:
            continue
        if not entry.get("unusable"):
            task = replace(task, notes=[*task.notes, entry["why"]])
            continue
        wanted = entry.get("subsets")
        for split, found in task.scores.items():
            wrong = {subset: entry["why"] for subset in found if wanted is None or subset in wanted}
            kept = {subset: score for subset, score in found.items() if subset not in wrong}
            problems = {**task.problems, split: {**task.problems.get(split, {}), **wrong}}
            task = replace(task, scores={**task.scores, split: kept}, problems=problems)
    return task


def row_revision(revisions: Iterable[str]) -> str:
    """What a row says of the revision of the model where its scores are of several runs."""
    found = set(revisions)
    pinned = found - {UNPINNED, EXTERNAL}
    if len(pinned) == 1:
        return pinned.pop()
    return "several" if pinned else EXTERNAL if found == {EXTERNAL} else "unknown"


def _task(name: str, scores: Sequence[PublishedScore], rule: Rule) -> StoredTask:
    found: dict[str, dict[str, float]] = defaultdict(dict)
    problems: dict[str, dict[str, str]] = defaultdict(dict)
    sources: dict[str, dict[str, str]] = defaultdict(dict)
    for score in scores:
        if score.unusable is not None:
            problems[score.split][score.subset] = score.unusable
            continue
        value = score.cosine_ap if rule == "card" and score.cosine_ap is not None else score.score
        found[score.split][score.subset] = value / _PERCENT
        sources[score.split][score.subset] = score.revision
    revisions = {score.dataset_revision for score in scores}
    by_cosine = rule == "card" and any(score.cosine_ap is not None for score in scores)
    return StoredTask(
        task=name,
        scores=dict(found),
        revision=revisions.pop() if len(revisions) == 1 else None,
        problems=dict(problems),
        notes=sorted({score.note for score in scores if score.note not in _SAID and score.unusable is None}),
        type=scores[0].task_type,
        metric="cosine_ap" if by_cosine else scores[0].metric,
        sources=dict(sources),
    )
