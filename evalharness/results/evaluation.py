"""What `evaluate` gives: the records of its jobs, with their items, as values and as pandas frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

from evalharness.errors import MAX_LISTED, DataError, UsageError, clip, printable
from evalharness.results.items import read_items, with_names
from evalharness.results.records import JobId, JobRecord, damage, items_path
from evalharness.types import ItemScores, Metrics, ModelSpec

if TYPE_CHECKING:
    import pandas as pd

_HEADINGS = ("task", "split", "subset", "metric", "score")


@dataclass(frozen=True, slots=True)
class JobResult:
    """What came of a job: task x split x subset.

    Attributes:
        record: as it is stored.
        folder: where it is, see `run_folder`.
    """

    record: JobRecord
    folder: Path

    def __repr__(self) -> str:
        outcome = f"{self.main_score} {self.score:.4f}" if self.score is not None else f"failed: {self.record.error}"
        return f"<JobResult {self.record.job}: {outcome}>"

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.record.job.task

    @property
    def split(self) -> str:
        """Name of the split."""
        return self.record.job.split

    @property
    def subset(self) -> str:
        """Name of the subset."""
        return self.record.job.subset

    @property
    def main_score(self) -> str:
        """Name of the metric that ranks the task."""
        return self.record.main_score

    @property
    def score(self) -> float | None:
        """The main score, unrounded; None if the job failed."""
        return None if self.record.error is not None else float(self.record.metrics[self.main_score])

    @property
    def metrics(self) -> Metrics:
        """All metrics; none if the job failed."""
        return self.record.metrics

    @property
    def notes(self) -> Sequence[str]:
        """What a reader of the score must know."""
        return self.record.notes

    @property
    def error(self) -> str | None:
        """Why the job failed; None if it is done."""
        return self.record.error

    @property
    def items(self) -> ItemScores:
        """Scores per item (query, pair, text), read from the folder; none of a task whose scores have none.

        Raises:
            UsageError: the job failed, so that there are none.
            DataError: they are missing, or not those of this record.
        """
        if self.error is not None:
            raise UsageError(f"{self.record.job} failed and has no items: {self.error}")
        if self.record.items is None:
            return ItemScores([], {})
        if what := damage(self.folder, self.record):
            raise DataError(f"the items of {self.record.job} are gone: {what}; evaluate again")
        return read_items(items_path(self.folder, self.record.job))

    def frame(self) -> pd.DataFrame:
        """The items as a pandas frame: `item_id`, then their columns, labels as labels. Raises as `items`."""
        import pandas as pd

        return pd.DataFrame(with_names(self.items))


@dataclass(frozen=True, slots=True, repr=False)
class Evaluation(Sequence[JobResult]):
    """What `evaluate` gives: a sequence of the results of its jobs.

    Attributes:
        model: as it was used.
        folder: where its results are.
        jobs: results, in the order of the tasks.
        undone: jobs that a time budget or `fail_fast` left undone; the same call goes on with them.
    """

    model: ModelSpec
    folder: Path
    jobs: tuple[JobResult, ...]
    undone: tuple[JobId, ...] = ()

    @overload
    def __getitem__(self, index: int) -> JobResult: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[JobResult]: ...

    def __getitem__(self, index: int | slice) -> JobResult | Sequence[JobResult]:
        return self.jobs[index]

    def __len__(self) -> int:
        return len(self.jobs)

    @property
    def failed(self) -> list[JobResult]:
        """Results of the jobs that failed."""
        return [job for job in self.jobs if job.error is not None]

    def frame(self) -> pd.DataFrame:
        """A pandas frame with a row per job: its names, main score, error and notes; NaN where there is no score."""
        import pandas as pd

        texts = {name: [getattr(job, name) for job in self.jobs] for name in ("task", "split", "subset", "main_score")}
        return pd.DataFrame(
            {
                **texts,
                "score": pd.Series([job.score for job in self.jobs], dtype="float64"),
                # a column of texts would make NaN of None
                "error": pd.Series([job.error for job in self.jobs], dtype="object"),
                "notes": pd.Series([list(job.notes) for job in self.jobs], dtype="object"),
            }
        )

    def __repr__(self) -> str:
        rows = [_HEADINGS, *map(_cells, self.jobs)]
        widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADINGS))]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        why = [printable(f"{job.record.job} failed: {job.error}") for job in self.failed]
        return "\n".join((self._title(), *lines, *why[:MAX_LISTED]))

    def _title(self) -> str:
        jobs = len(self.jobs) + len(self.undone)
        counts = {"failed": len(self.failed), "not done": len(self.undone)}
        said = "".join(f", {count} {what}" for what, count in counts.items() if count)
        overrides = self.model.overrides.items()
        changed = "".join(f", {name} {clip(value) if isinstance(value, str) else value}" for name, value in overrides)
        return printable(f"{self.model.name}{changed}: {jobs} {'job' if jobs == 1 else 'jobs'}{said}")


def _cells(job: JobResult) -> tuple[str, ...]:
    score = "failed" if job.score is None else f"{job.score:.4f}"
    return tuple(map(printable, (job.task, job.split, job.subset, job.main_score, score)))
