"""From stored runs to boards: a table per list and protocol."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from evalharness.errors import as_utf8
from evalharness.files import no_collection
from evalharness.reports.board import Board
from evalharness.reports.building.cells import catalogued, other_revision
from evalharness.reports.building.choosing import SORTS, Choice, Chosen, ChosenList, choose
from evalharness.reports.building.facts import with_facts
from evalharness.reports.building.public import shown_rows
from evalharness.reports.building.rows import make_row
from evalharness.reports.building.speed import with_speed_notes
from evalharness.reports.building.standing import common_tasks, incomplete, ordered, with_borda, with_common
from evalharness.reports.building.uncertainty import with_uncertainty
from evalharness.results.stored import StoredRun, StoredTask
from evalharness.types import PROTOCOLS, content_digest

# what is asked for, with what makes a table of it
__all__ = ["Choice", "make_boards"]
_VERSION = "score_version"
# without anything that was asked for
_EVERYTHING = Choice()


def make_boards(runs: Sequence[StoredRun], choice: Choice = _EVERYTHING) -> list[Board]:
    """Put runs side by side: a table per list and protocol, for scores of two protocols do not compare.

    Args:
        runs: see `stored.read_runs`.
        choice: what is shown.

    Raises:
        UsageError: something that was asked for does not exist; see `choose`.
    """
    chosen = choose(runs, choice)
    shown = _versions_noted(_told_apart(chosen.runs))
    with no_collection():
        return [
            with_uncertainty(
                _board(members, tasks, protocol, choice, chosen),
                members,
                intervals=choice.intervals,
                ranks=choice.ranks,
            )
            for tasks in chosen.lists
            for protocol, members in _by_protocol(shown if tasks.is_named else _revisions_noted(shown))
        ]


def _by_protocol(runs: Sequence[StoredRun]) -> list[tuple[str, list[StoredRun]]]:
    protocols: dict[str, list[StoredRun]] = defaultdict(list)
    for run in runs:
        protocols[str(run.overrides.get("protocol", PROTOCOLS[0]))].append(run)
    return sorted(protocols.items())


def _told_apart(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The same runs; where several are of one model with the same settings, each says where it is."""
    identities = [content_digest([run.model, run.revision, run.is_published, dict(run.overrides)]) for run in runs]
    count = Counter(identities)
    return [
        replace(run, problems=(*run.problems, f"one of {count[identity]} folders of this model: {as_utf8(run.folder)}"))
        if count[identity] > 1
        else run
        for run, identity in zip(runs, identities, strict=True)
    ]


def _revisions_noted(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The same runs; where data of a task are not the same in all of them or in the catalogue, each says its own."""
    revisions: dict[str, set[str | None]] = defaultdict(set)
    for task in (task for run in runs for task in run.tasks.values() if task.scores and not run.is_published):
        revisions[task.task].add(task.revision)

    def noted(task: StoredTask) -> StoredTask:
        why = other_revision(task, catalogued(task.task))
        if not why and len(revisions[task.task]) > 1:
            why = f"data revision {task.revision or 'unknown'}, other rows have another"
        return replace(task, notes=(*task.notes, why)) if why else task

    # a published row says once how many of its scores are on other data
    return [
        run if run.is_published else replace(run, tasks={name: noted(task) for name, task in run.tasks.items()})
        for run in runs
    ]


def _versions_noted(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The same runs; where a task was not scored by one version of our scoring in all of them, each says its own."""
    versions: dict[str, set[str]] = defaultdict(set)
    for task in (task for run in runs for task in run.tasks.values()):
        versions[task.task] |= _versions(task)

    def noted(task: StoredTask) -> StoredTask:
        own = _versions(task) if len(versions[task.task]) > 1 else ()
        why = f"scored by version {' and '.join(sorted(own))}, other rows by another"
        return replace(task, notes=(*task.notes, why)) if own else task

    return [replace(run, tasks={name: noted(task) for name, task in run.tasks.items()}) for run in runs]


def _versions(task: StoredTask) -> set[str]:
    records = (job.record for job in task.jobs if not job.problem)
    return {str(record.key[_VERSION]) for record in records if record is not None and _VERSION in record.key}


def _metrics(runs: Sequence[StoredRun], names: Sequence[str]) -> dict[str, str]:
    """By task, the catalogue's main score; of a task that it has not, the one of most of the results."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for task in (task for run in runs for task in run.tasks.values() if task.metric and task.scores):
        counts[task.task][task.metric] += 1
    usual = {name: min(found, key=lambda metric: (-found[metric], metric)) for name, found in counts.items()}
    known = {name: spec.main_score for name in names if (spec := catalogued(name))}
    return {name: metric for name in names if (metric := known.get(name, usual.get(name)))}


def _board(runs: Sequence[StoredRun], tasks: ChosenList, protocol: str, choice: Choice, chosen: Chosen) -> Board:
    types = {name: [member.task for member in members] for name, members in tasks.types.items()}
    names = [name for members in types.values() for name in members]
    metrics = _metrics(runs, names)
    made = [with_facts(make_row(run, tasks.types, metrics, strict=tasks.is_named), run) for run in runs]
    shown = shown_rows(made, nearest=choice.nearest, all_named=bool(choice.models))
    rows = with_borda(shown.rows, names)
    notes, common = [*tasks.notes, *shown.notes, *incomplete(rows)], common_tasks(rows, names) if chosen.common else []
    if chosen.common:
        rows = with_common(rows, common)
        notes += [] if common else ["no task is common to all rows, so there is no mean over common tasks"]
    is_here = chosen.sort in (*SORTS, *types, *names)
    notes += [] if is_here else [f"has no {chosen.sort}, so rows are ordered by their means"]
    sort = chosen.sort if is_here else SORTS[0]
    board = Board(
        title=tasks.title,
        protocol=protocol,
        types=types,
        rows=ordered(rows, sort),
        metrics=metrics,
        common=common,
        sorted_by=sort,
        notes=notes,
        shows_subsets=choice.subsets,
    )
    return with_speed_notes(board)
