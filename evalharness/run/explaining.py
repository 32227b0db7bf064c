"""Why a task is better or worse: its items with their texts and rankings, read from what runs left, without a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evalharness.catalog.tasks import Member, TaskSpec, find_task
from evalharness.compare.changes import Pick, facts, measured, pick
from evalharness.compare.comparison import Settings
from evalharness.compare.explanation import Change, Explanation, Hit, Passage, Rankings, Relevant
from evalharness.compare.pairing import PairedTask, pair_task
from evalharness.compare.sides import Results
from evalharness.compare.slices import slices
from evalharness.errors import UsageError, unknown_names
from evalharness.hub import ignore_message
from evalharness.ranking.records import RetrievalRecords
from evalharness.run.rankings import StoredRanking, stored_ranking
from evalharness.run.texts import JobTexts, Sources, jobs_with_texts
from evalharness.store.storing import default_store

DEPTH = 5
MOST_RELEVANT = 10


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """What is to be explained.

    Attributes:
        task: name of the task, or path of its task file.
        items: how many losses are shown, and as many gains.
        store: folder of the embedding store; None for the usual one.
        settings: draws and seed.
        say: is told what a user should know meanwhile.
    """

    task: str
    items: int = 10
    store: Path | None = None
    settings: Settings = field(default_factory=Settings)
    say: Callable[[str], None] = ignore_message


def explain(base: Results, candidate: Results, request: ExplainRequest) -> Explanation:
    """Why a task is better or worse.

    No model is loaded and nothing is encoded: items and rankings come from the folders of results, texts from the
    task's data, and rankings that nobody kept from a search with the vectors that are in the store.

    Args:
        base: the results to compare with.
        candidate: the results to judge.
        request: which task, and how much of it.

    Raises:
        UsageError: there is no such task in both, or it cannot be compared item by item.
        DataError: the task file is wrong.
    """
    spec = find_task(request.task)
    name = spec.name if spec is not None else request.task
    pair = _paired(name, spec, base, candidate)
    jobs = jobs_with_texts(pair.jobs, Sources(base, candidate, spec, request.say))
    items = [job.items for job in jobs]
    picked = pick(items, request.items)
    metric = jobs[0].record.main_score
    shown = _Shown(jobs, _Sides(base, candidate, request.store or default_store()))
    losses, gains = shown.changes(picked.losses), shown.changes(picked.gains)
    return Explanation(
        task=name,
        type=pair.type,
        metric=metric,
        base=base.side,
        candidate=candidate.side,
        base_score=pair.base or 0.0,
        candidate_score=pair.candidate or 0.0,
        items=sum(len(each.base.ids) for each in items),
        lost=picked.lost,
        gained=picked.gained,
        losses=losses,
        gains=gains,
        slices=slices(items, request.settings),
        measure=measured(items[0].paired.base, metric).name,
        notes=tuple(dict.fromkeys((*pair.notes, *(job.missing for job in jobs if job.missing), *shown.notes))),
    )


def _paired(name: str, spec: TaskSpec | None, base: Results, candidate: Results) -> PairedTask:
    known = sorted({*base.tasks, *candidate.tasks})
    if name not in known and not (spec is not None and spec.parts):
        raise UsageError(f"--explain: {unknown_names('task of these results', [name], known)}")
    pair = pair_task(Member(task=name), spec, base, candidate)
    if not pair.jobs:
        raise UsageError(f"{name} cannot be explained, for it is not compared item by item: {pair.why}")
    return pair


@dataclass(frozen=True, slots=True)
class _Sides:
    """Both results, and the store that their vectors may be in."""

    base: Results
    candidate: Results
    store: Path


@dataclass(frozen=True, slots=True)
class _Shown:
    """Makes changes of items that were picked.

    Attributes:
        notes: what could not be had, filled meanwhile.
    """

    jobs: Sequence[JobTexts]
    sides: _Sides
    notes: list[str] = field(default_factory=list)

    def changes(self, picks: Sequence[Pick]) -> list[Change]:
        """The picked items, in their order."""
        members: dict[int, list[Pick]] = defaultdict(list)
        for item in picks:
            members[item.job].append(item)
        found: dict[Pick, Change] = {}
        for number, own in members.items():
            found |= zip(own, self._of_job(self.jobs[number], own), strict=True)
        return [found[item] for item in picks]

    def _of_job(self, job: JobTexts, picks: Sequence[Pick]) -> list[Change]:
        rows = [item.row for item in picks]
        told, rankings = facts(job.items, rows), self._rankings(job, rows)
        where = job.record.job
        return [
            Change(
                id=job.items.base.ids[item.row],
                task=where.task,
                split=where.split,
                subset=where.subset,
                adds=item.adds,
                facts=said,
                texts=_passages(job, item.row),
                rankings=found,
            )
            for item, said, found in zip(picks, told, rankings, strict=True)
        ]

    def _rankings(self, job: JobTexts, rows: Sequence[int]) -> list[Rankings | None]:
        """What both sides found for these queries; nothing where items are no queries."""
        records = job.queries
        if records is None:
            return [None] * len(rows)
        queries = [job.items.base.ids[row] for row in rows]
        stored = []
        for who, results, record in zip(
            ("base", "candidate"), (self.sides.base, self.sides.candidate), job.items.paired.records, strict=True
        ):
            # whoever has items has a folder
            folder = results.folder or Path()
            found = stored_ranking(folder, record, queries, job.loaded, self.sides.store)
            if found.why:
                self.notes.append(f"What the {who} ranked in {record.job} is not shown: {found.why}")
            stored.append(found)
        texts = _Documents(records)
        return [texts.rankings(query, stored[0], stored[1]) for query in queries]


def _passages(job: JobTexts, row: int) -> list[Passage]:
    """The texts of an item; one that is not the same on both sides is there twice."""
    one, other = job.texts(job.items.base, row), job.texts(job.items.candidate, row)
    found = []
    for name, text in one.items():
        if other.get(name) == text:
            found.append(Passage(name, text))
        else:
            found += [Passage(f"{name} by the base", text), Passage(f"{name} by the candidate", other.get(name, ""))]
    return found


class _Documents:
    """Documents of a corpus by their ids."""

    def __init__(self, records: RetrievalRecords) -> None:
        self._records = records
        self._numbers = {document: number for number, document in enumerate(records.corpus_ids)}
        self._rows = {query: row for row, query in enumerate(records.query_ids)}

    def rankings(self, query: str, one: StoredRanking, other: StoredRanking) -> Rankings:
        """What both sides found for a query, and where the relevant documents are in it."""
        judged = self._records.qrels[self._rows[query]]
        wanted = sorted((document for document in judged if judged[document] > 0), key=lambda name: -judged[name])
        ranks = [_ranks(found.found.get(query, ())) for found in (one, other)]
        return Rankings(
            base=self._hits(one, query, judged),
            candidate=self._hits(other, query, judged),
            relevant=[
                Relevant(document, self._text(document), judged[document], *(rank.get(document) for rank in ranks))
                for document in wanted[:MOST_RELEVANT]
            ],
            more=max(len(wanted) - MOST_RELEVANT, 0),
        )

    def _hits(self, ranking: StoredRanking, query: str, judged: Mapping[str, int]) -> list[Hit] | None:
        if ranking.why:
            return None
        found = ranking.found.get(query, ())[:DEPTH]
        return [Hit(document, self._text(document), judged.get(document)) for document in found]

    def _text(self, document: str) -> str | None:
        number = self._numbers.get(document)
        return None if number is None else self._records.corpus[number]


def _ranks(documents: Sequence[str]) -> dict[str, int]:
    return {document: rank for rank, document in enumerate(documents, start=1)}
