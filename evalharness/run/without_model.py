"""Work on tasks without a model: check local data, and score a run that was made elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import file_digest
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from evalharness import __version__
from evalharness.catalog.selection import TaskChoice
from evalharness.catalog.tasks import TaskSpec
from evalharness.data.mteb import load_mteb_task, pin_revision
from evalharness.data.tables import tell_all
from evalharness.data.trec import read_run
from evalharness.errors import DataError, UsageError, shorten
from evalharness.metrics.trec_eval import TrecMeasure, TrecScores, evaluate
from evalharness.ranking.order import best_order, id_ranks
from evalharness.ranking.records import Ranking, RetrievalRecords
from evalharness.results.records import (
    JobId,
    JobRecord,
    ResultsOf,
    check_folder,
    check_name,
    check_task_files,
    installed_version,
    model_meta,
    run_folder,
    write_job,
    write_model_meta,
)
from evalharness.results.views import refresh_view, run_key
from evalharness.run.done import over_subqueries
from evalharness.run.steps import Encoded, load, score
from evalharness.tasks import check_runnable, is_native, task_type, unused_splits
from evalharness.types import ItemScores


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What a split of a local task holds.

    Attributes:
        counts: what there is of it, for people.
        texts, distinct: column -> number of texts, and of different ones.
        notes: what a reader of scores would be told of them.
    """

    job: JobId
    counts: Mapping[str, int]
    texts: Mapping[str, int]
    distinct: Mapping[str, int]
    notes: Sequence[str] = ()


def check_data(spec: TaskSpec) -> list[SplitReport]:
    """Read all of a local task as a run would, without a model.

    Raises:
        UsageError, DataError: what a run would report.
        PrerequisiteError: its data are on the Hub and cannot be had.
    """
    if spec.data is None:
        raise UsageError(f"{spec.name} is mteb's; only local tasks can be checked")
    check_runnable([spec])
    choice = TaskChoice(pin_revision(spec), spec.splits, ("default",))
    unused = [f"the file for {part} is not read: it is none of the splits" for part in unused_splits(spec)]
    reports: list[SplitReport] = []
    tell_all(*(partial(_add_report, reports, choice, split) for split in spec.splits))
    return [replace(report, notes=(*report.notes, *unused)) for report in reports]


def _add_report(reports: list[SplitReport], choice: TaskChoice, split: str) -> None:
    job = JobId(choice.spec.name, split, "default")
    loaded = load(job, choice)
    texts = {column.name: len(column.texts) for column in loaded.columns}
    distinct = {column.name: len(set(column.texts)) for column in loaded.columns}
    reports.append(SplitReport(job, loaded.counts, texts, distinct, loaded.notes))


@dataclass(frozen=True, slots=True)
class ForeignRun:
    """A run that was made elsewhere.

    Attributes:
        path: a TREC run file; queries that the task does not judge are ignored, missing ones score 0, both are noted.
        name: what the system is called in results, `organisation/name`.
        measures: of trec_eval, to compute beside the task's metrics.
    """

    path: Path
    name: str
    measures: Sequence[TrecMeasure] = ()


def score_run(run: ForeignRun, choice: TaskChoice, output: Path, *, say: Callable[[str], None]) -> JobRecord:
    """Score a TREC run file as if a model had made it here, and store the result.

    trec_eval's measures are of the whole file, however deep, and stand under trec_eval's names among the metrics and,
    per query, among the items.

    Args:
        run: what to score.
        choice: one split and one subset of a retrieval or reranking task.
        output: root of all results.
        say: is told if the Hub has to be asked again.

    Raises:
        UsageError: the task is no retrieval, several splits or subsets are chosen, the name can be none, or the folder
            for the results holds another system's, or a file that would be replaced.
        DataError: the run names documents that are not in the corpus, or no query of the task.
    """
    system = ResultsOf(name=run.name)
    _check_place(output, system, choice.spec.name)
    _check_choice(choice)
    started = time.monotonic()
    choice = replace(choice, spec=pin_revision(choice.spec))
    spec, job = choice.spec, JobId(choice.spec.name, choice.splits[0], choice.subsets[0])
    loaded = load(job, choice, partial(load_mteb_task, say=say))
    found = _run_of(loaded.records, run.path, job)
    ranking = replace(ranking_of(loaded.records, found, str(run.path)), notes=_coverage(loaded.records, found))
    scores = score(loaded, Encoded(ranking=ranking))
    added = _by_trec_eval(loaded.records, found, run.measures)
    with run.path.open("rb") as handle:
        revision = file_digest(handle, "sha256").hexdigest()
    record = JobRecord(
        job=job,
        key={
            "run": revision,
            "dataset_revision": spec.revision,
            "score_version": task_type(spec.scoring).score_version,
            "mteb": installed_version("mteb"),
            **over_subqueries(spec),
        },
        main_score=spec.main_score,
        languages=list(spec.languages[job.subset]),
        dataset_revision=spec.revision,
        seconds=time.monotonic() - started,
        facts={"evalharness": __version__, "run": run.path.name, "task_type": spec.type},
        metrics=scores.metrics | {str(measure): its.overall for measure, its in added.items()},
        notes=("scored from a run file", *scores.notes),
    )
    per_query = {str(measure): its.per_query for measure, its in added.items()}
    return _stored(output, system, record, replace(scores.items, columns={**scores.items.columns, **per_query}))


def _check_choice(choice: TaskChoice) -> None:
    """See that a run file can be about what was chosen."""
    if len(choice.splits) > 1 or len(choice.subsets) > 1:
        raise UsageError(
            f"a run file is about one split and one subset; name them with --splits ({shorten(choice.splits)}) and "
            f"--subsets ({shorten(choice.subsets)})"
        )
    spec = choice.spec
    if not is_native(spec) or not task_type(spec.scoring).ranks:
        raise UsageError(f"{spec.name} is of the type {spec.type}; a run file can be scored on retrieval and reranking")


def _by_trec_eval(
    records: RetrievalRecords, found: Mapping[str, Mapping[str, float]], measures: Sequence[TrecMeasure]
) -> dict[TrecMeasure, TrecScores]:
    """Scores of all that was found, by all judgements, also those of documents that are not relevant."""
    if not measures:
        return {}
    dropped = records.ignore_identical_ids
    kept = {
        query: {name: score for name, score in documents.items() if not dropped or name != query}
        for query, documents in found.items()
    }
    return evaluate(measures, dict(zip(records.query_ids, records.qrels, strict=True)), kept)


def _check_place(output: Path, system: ResultsOf, task: str) -> None:
    """See that the result of a task can be stored, before anything is scored."""
    check_name(system.name)
    folder = run_folder(output, system)
    check_folder(folder, model_meta(system))
    check_task_files(folder, [task], "Name another folder with --output, or another name with --name")


def _stored(output: Path, system: ResultsOf, record: JobRecord, items: ItemScores) -> JobRecord:
    folder = run_folder(output, system)
    write_model_meta(folder, model_meta(system))
    stored = write_job(folder, record, items)
    refresh_view(folder, stored.job.task, run_key(stored.job, stored.key))
    return stored


def _run_of(records: RetrievalRecords, path: Path, job: JobId) -> dict[str, dict[str, float]]:
    found = read_run(path)
    if not set(found) & set(records.query_ids):
        raise DataError(
            f"{path}: its queries ({shorten(list(found))}) are none of the judged queries of {job} "
            f"({shorten(list(records.query_ids))}); see whether it is the run of another task or split"
        )
    return found


def ranking_of(records: RetrievalRecords, found: Mapping[str, Mapping[str, float]], where: str) -> Ranking:
    """What was found elsewhere, as a search here gives it.

    Args:
        records: the task's data.
        found: query id -> document id -> score.
        where: it comes from, for messages.

    Raises:
        DataError: a document is not in the corpus, or a score is too large.
    """
    numbers = {document: number for number, document in enumerate(records.corpus_ids)}
    depth, ranks = max(records.k_values), id_ranks(records.corpus_ids)
    documents, scores = [], []
    for query in records.query_ids:
        # in float32, as models' scores are, and as trec_eval compares them up to 9.0.8 (10.0 compares doubles)
        with np.errstate(over="ignore"):
            single = {name: np.float32(score) for name, score in found.get(query, {}).items()}
        if large := [name for name, score in single.items() if not isfinite(score)]:
            raise DataError(
                f"{where}: scores of the query {query} leave float32: those of {shorten(large)}; scale them"
            )
        if absent := [name for name in single if name not in numbers]:
            raise DataError(f"{where}: documents of the query {query} are not in the corpus: {shorten(absent)}")
        values = np.array(list(single.values()), dtype=np.float32)
        chosen = np.array([numbers[name] for name in single], dtype=np.int64)
        best = best_order(values, ranks[chosen])[:depth]
        documents.append(chosen[best])
        scores.append(values[best])
    return Ranking(documents, scores, [np.arange(len(found)) for found in documents])


def _coverage(records: RetrievalRecords, found: Mapping[str, Any]) -> tuple[str, ...]:
    missing, unknown = set(records.query_ids) - set(found), set(found) - set(records.query_ids)
    notes = []
    if missing:
        notes.append(f"{len(missing)} judged queries are not in the run and score 0")
    if unknown:
        notes.append(f"{len(unknown)} queries of the run are not judged and were ignored")
    return tuple(notes)
