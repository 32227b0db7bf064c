"""From stored runs to a leaderboard: averages by task type and over all, void where a task is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from evalharness.catalog import Member, TaskList, TaskSpec, find_task
from evalharness.errors import DataError
from evalharness.results import StoredRun, StoredTask, experiment_name

LOCAL_TYPE = "Other"
_DEFAULT_PROTOCOL = "mteb"
# changes of a model that a table shows in its title or beside the name
_SHOWN_ELSEWHERE = ("protocol", "reranker", "rerank_top_k")


@dataclass(frozen=True, slots=True)
class Row:
    """A model's line.

    Attributes:
        model, revision: which.
        second_stage: the reranker and its depth; empty if there is none.
        experiment: what else was changed by options, the protocol apart; empty if nothing.
        tasks: task -> score (0-1), None if it is missing or not complete.
        types: task type -> mean of its tasks, None if one is missing.
        mean_task: mean over all tasks, None if one is missing.
        mean_type: mean of the means of the task types, None if one is missing.
        missing: for each task without a score, what is missing.
        notes: footnotes of single numbers, "task: note".
    """

    model: str
    revision: str
    second_stage: str
    experiment: str
    tasks: Mapping[str, float | None]
    types: Mapping[str, float | None]
    mean_task: float | None
    mean_type: float | None
    missing: Sequence[str]
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """A table of models, all by one protocol.

    Attributes:
        title: name of the benchmark or suite.
        protocol: whose rules the scores follow.
        types: task type -> its tasks, both in the list's order.
        rows: best mean over tasks first, models without one last.
    """

    title: str
    protocol: str
    types: Mapping[str, Sequence[str]]
    rows: Sequence[Row]


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present and len(present) == len(values) else None


def _wanted(member: Member, spec: TaskSpec | None) -> dict[str, set[str]] | None:
    """Split -> subsets that a task's score needs; None if nobody says, then whatever is stored counts."""
    if spec is None:
        return None
    subsets = set(member.subsets or spec.languages)
    return dict.fromkeys(member.splits or spec.splits, subsets)


def _task_score(stored: StoredTask | None, wanted: Mapping[str, set[str]] | None) -> tuple[float | None, str]:
    """Mean over all wanted splits and subsets, or None and what is missing."""
    if stored is None:
        return None, "not run"
    scores = stored.scores
    if wanted is None:
        wanted = {split: set(subsets) for split, subsets in scores.items()}
    pairs = [(split, subset) for split in sorted(wanted) for subset in sorted(wanted[split])]
    present = [scores[split][subset] for split, subset in pairs if subset in scores.get(split, {})]
    if len(present) < len(pairs):
        return None, f"{len(pairs) - len(present)} of {len(pairs)} subsets missing"
    return fmean(present), ""


def _member_score(run: StoredRun, member: Member) -> tuple[float | None, str]:
    """A task's score; an aggregate's is the mean of its parts'."""
    spec = find_task(member.task)
    if spec is None or not spec.parts or member.task in run.tasks:
        return _task_score(run.tasks.get(member.task), _wanted(member, spec))
    found = [(part, *_member_score(run, Member(task=part))) for part in spec.parts]
    absent = [f"{part} {why}" for part, score, why in found if score is None]
    return _mean([score for _, score, _ in found]), f"its part {absent[0]}" if absent else ""


def _row(run: StoredRun, types: Mapping[str, Sequence[Member]]) -> Row:
    scores: dict[str, float | None] = {}
    missing, notes = [], []
    for members in types.values():
        for member in members:
            score, why = _member_score(run, member)
            scores[member.task] = score
            if why:
                missing.append(f"{member.task} ({why})")
            notes += [f"{member.task}: {note}" for note in run.notes.get(member.task, ())]
    second = str(run.overrides.get("reranker", "")).partition("@")[0]
    other = {key: value for key, value in run.overrides.items() if key not in _SHOWN_ELSEWHERE}
    means = {name: _mean([scores[member.task] for member in members]) for name, members in types.items()}
    return Row(
        model=run.model,
        revision=run.revision,
        second_stage=f"{second} (top {run.overrides.get('rerank_top_k')})" if second else "",
        experiment=experiment_name(other) or "",
        tasks=scores,
        types=means,
        mean_task=_mean(list(scores.values())),
        mean_type=_mean(list(means.values())),
        missing=missing,
        notes=notes,
    )


def _by_type(members: Sequence[Member]) -> dict[str, list[Member]]:
    types: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        spec = find_task(member.task)
        types[spec.type if spec else LOCAL_TYPE].append(member)
    return dict(types)


def _check_single(runs: Sequence[StoredRun]) -> None:
    seen: dict[tuple[str, str, str], StoredRun] = {}
    for run in runs:
        key = (run.model, run.revision, experiment_name(run.overrides) or "")
        if key in seen:
            first, second = (
                next(iter(item.tasks.values())).path.parent if item.tasks else item.model for item in (seen[key], run)
            )
            raise DataError(
                f"two folders hold results of {run.model} at {run.revision}: {first} and {second}; give one"
            )
        seen[key] = run


def make_leaderboards(runs: Sequence[StoredRun], tasks: TaskList | None) -> list[Leaderboard]:
    """Put runs side by side: a table per protocol, for their scores do not compare.

    Args:
        runs: see `results.read_runs`.
        tasks: a benchmark or suite; None for all tasks that any run has.

    Raises:
        DataError: two folders hold the same model.
    """
    _check_single(runs)
    if tasks is None:
        names = sorted({name for run in runs for name in run.tasks})
        tasks = TaskList(name="all stored tasks", tasks=tuple(Member(task=name) for name in names))
    protocols: dict[str, list[StoredRun]] = defaultdict(list)
    for run in runs:
        protocols[str(run.overrides.get("protocol", _DEFAULT_PROTOCOL))].append(run)
    return [_leaderboard(members, tasks, protocol) for protocol, members in sorted(protocols.items())]


def _leaderboard(runs: Sequence[StoredRun], tasks: TaskList, protocol: str) -> Leaderboard:
    types = _by_type(tasks.tasks)
    rows = [_row(run, types) for run in runs]
    rows.sort(key=lambda row: (row.mean_task is None, -(row.mean_task or 0.0), row.model, row.revision))
    names = {name: [m.task for m in members] for name, members in types.items()}
    return Leaderboard(tasks.name, protocol, names, rows)
