"""Files that are made from records: a task's results in mteb's format, and what the model is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path

from evalharness.errors import StorageError
from evalharness.results.records import model_meta, task_folder, write_model_meta
from evalharness.results.views import refresh_view, run_key
from evalharness.run.events import PlannedJob
from evalharness.types import ModelSpec


@contextmanager
def views_in_the_end(folder: Path, jobs: Sequence[PlannedJob], spec: ModelSpec) -> Iterator[None]:
    """However a run ends, what it did stands in the tasks' files, as far as the disk allows; see `refresh_views`."""
    try:
        yield
    except BaseException:
        with suppress(StorageError):
            refresh_views(folder, jobs, spec)
        raise
    refresh_views(folder, jobs, spec)


def refresh_views(folder: Path, jobs: Sequence[PlannedJob], spec: ModelSpec) -> None:
    """See that all files made from the records of a plan's tasks are there and say what the records say.

    Args:
        folder: of the model's results.
        jobs: of the plan; nothing of them has to be left to do.
        spec: the model that it was made for.

    Raises:
        StorageError: one is not, and cannot be written.
    """
    if any(task_folder(folder, name).is_dir() for name in {job.id.task for job in jobs}):
        write_model_meta(folder, model_meta(spec))
    for members in by_task(jobs):
        refresh(folder, members)


def refresh(folder: Path, jobs: Sequence[PlannedJob]) -> None:
    """The same for the jobs of one task."""
    last = jobs[-1]
    refresh_view(folder, last.id.task, run_key(last.id, last.key))


def by_task(jobs: Sequence[PlannedJob]) -> Iterator[list[PlannedJob]]:
    """Jobs of one task after another's, who are neighbours."""
    return (list(group) for _, group in groupby(jobs, key=lambda job: job.id.task))
