"""The items of two results with the data that they are of: their texts, read again as a run reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from evalharness.catalog.selection import TaskChoice
from evalharness.catalog.tasks import TaskSpec, find_task, needs_hub
from evalharness.compare.changes import JobItems
from evalharness.compare.matching import PairedJob, items_of, matched
from evalharness.compare.sides import Results
from evalharness.errors import EvalHarnessError, UsageError
from evalharness.hub import work_offline_if_unreachable
from evalharness.ranking.records import RetrievalRecords
from evalharness.results.records import JobId, JobRecord
from evalharness.run.job import TaskData
from evalharness.run.steps import Loaded
from evalharness.tasks import is_native, task_type
from evalharness.types import ItemScores


@dataclass(frozen=True, slots=True)
class JobTexts:
    """A job of both sides with its items and its data.

    Attributes:
        items: of both sides.
        loaded: the data; None where they cannot be had.
        missing: why; empty otherwise.
    """

    items: JobItems
    loaded: Loaded | None = None
    missing: str = ""

    @property
    def record(self) -> JobRecord:
        """Of the base."""
        return self.items.paired.records[0]

    @property
    def queries(self) -> RetrievalRecords | None:
        """The data, where items are queries."""
        return self.loaded.records if self.loaded is not None and _ranks(self.loaded) else None

    def texts(self, items: ItemScores, row: int) -> Mapping[str, str]:
        """The texts of an item, by what they are called.

        Args:
            items: of one side: what they lead to is among the texts.
            row: which.
        """
        if self.loaded is None:
            return {}
        kind, number = task_type(self.loaded.spec.scoring), items.ids[row]
        if kind.ranks:
            records: RetrievalRecords = self.loaded.records
            return {"query": records.queries[records.query_ids.index(number)]}
        columns = {name: values[row] for name, values in items.columns.items()}
        return kind.texts(self.loaded.records, int(number), columns) if kind.texts else {}


def _ranks(loaded: Loaded) -> bool:
    return task_type(loaded.spec.scoring).ranks


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the items and the data of a task come from.

    Attributes:
        base, candidate: results.
        spec: of the task, which may be in no catalogue; None if nobody knows it.
        say: is told what a user should know meanwhile.
    """

    base: Results
    candidate: Results
    spec: TaskSpec | None
    say: Callable[[str], None]


def jobs_with_texts(jobs: Sequence[PairedJob], sources: Sources) -> list[JobTexts]:
    """The jobs of a task with their items and, as far as they can be had, with their data.

    Args:
        jobs: of the task, or of those whose mean it is.
        sources: see there.
    """
    data = _Data([job.records[0].job for job in jobs], sources)
    return [_with_data(job, data, sources) for job in jobs]


def _with_data(job: PairedJob, data: _Data, sources: Sources) -> JobTexts:
    sides = zip((sources.base, sources.candidate), job.records, strict=True)
    one, other = (items_of(results, record) for results, record in sides)
    found = JobTexts(JobItems(job, *matched(one, other, job.records[0].job)))
    try:
        found = replace(found, loaded=data.load(job.records[0]))
    except EvalHarnessError as error:
        return replace(found, missing=f"No texts are shown: {error}")
    return replace(found, items=_counted(found))


def _counted(job: JobTexts) -> JobItems:
    """The items with the lengths of their texts, and how many documents are relevant to each."""
    items, records = job.items, job.queries
    if records is not None:
        rows = {query: row for row, query in enumerate(records.query_ids)}
        places = [rows[query] for query in items.base.ids]
        return replace(
            items,
            lengths=[len(records.queries[row]) for row in places],
            relevant=[sum(grade > 0 for grade in records.qrels[row].values()) for row in places],
        )
    lengths = []
    for row in range(len(items.base.ids)):
        one, other = job.texts(items.base, row), job.texts(items.candidate, row)
        # what one side alone has led to is not the item
        lengths.append(sum(len(text) for name, text in one.items() if other.get(name) == text))
    return replace(items, lengths=lengths)


class _Data:
    """Data of several jobs, of each task read once."""

    def __init__(self, jobs: Sequence[JobId], sources: Sources) -> None:
        self._jobs = jobs
        self._sources = sources
        self._has_asked = False
        self._read: dict[str, TaskData] = {}

    def load(self, record: JobRecord) -> Loaded:
        """The data of a job.

        Raises:
            EvalHarnessError: they cannot be had, or are not those of the record.
        """
        name = record.job.task
        if name not in self._read:
            spec = self._spec(record)
            if needs_hub(spec) and not self._has_asked:
                self._has_asked = True
                if warning := work_offline_if_unreachable():
                    self._sources.say(warning)
            own = [job for job in self._jobs if job.task == name]
            splits, subsets = (tuple(dict.fromkeys(getattr(job, of) for job in own)) for of in ("split", "subset"))
            self._read[name] = TaskData(TaskChoice(spec, splits, subsets), self._sources.say)
        return self._read[name].load(record.job)

    def _spec(self, record: JobRecord) -> TaskSpec:
        """The task of a record, with the data that it is of."""
        name, revision, spec = record.job.task, record.dataset_revision, self._sources.spec
        if spec is None or spec.name != name:
            spec = find_task(name)
        if spec is None:
            raise UsageError(f"{name} is in no catalogue; name its task file: --explain FOLDER/{name}.toml")
        if not is_native(spec):
            raise UsageError(f"mteb itself scores {name}, and which texts its items are is not known here")
        kind = task_type(spec.scoring)
        if not kind.ranks and kind.texts is None:
            raise UsageError(
                f"items of {spec.type} are no texts but draws of many, and which texts went where is not stored"
            )
        if spec.data is not None and spec.data.format == "hub":
            # a branch may have moved on
            return spec.changed({"revision": revision, "data": spec.data.changed({"revision": revision})})
        if spec.revision != revision:
            raise UsageError(f"the data of {name} have changed since: revision {revision[:8]}, now {spec.revision[:8]}")
        return spec
