"""Retrieval: exact search of a corpus for each query, scored as trec_eval scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.catalog.tasks import TaskSpec
from evalharness.data.mteb import column, mteb_rows
from evalharness.data.mteb_judged import CandidateRows, JudgedRows
from evalharness.data.tables import Table, check_text, listed, split_table, tell_all
from evalharness.data.texts import document_text
from evalharness.errors import DataError, clip, shorten
from evalharness.ranking.judgements import Judgements
from evalharness.ranking.records import RetrievalRecords
from evalharness.ranking.scores import METRIC_NAMES, score_ranking
from evalharness.ranking.search import search, text_columns
from evalharness.tasks.definition import TaskType, settings_of
from evalharness.tasks.mteb_hooks import merges_subqueries, own_scores
from evalharness.types import Embeddings, Frozen, Scores

# part of a local task: which documents a query's ranking chooses from
CANDIDATES = "candidates"


def query_text(text: Any, instruction: str | None) -> str:  # noqa: ANN401 -- a text or a conversation
    """A query as models read it. Source: mteb's query dataloader.

    An instruction follows a plain query and precedes a conversation; turns of a conversation are joined with "; ".

    >>> query_text("What is love?", "Find lyrics.")
    'What is love? Find lyrics.'
    >>> query_text([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], None)
    'user: Hi; assistant: Hello'
    """
    if isinstance(text, str):
        return text if instruction is None else f"{text} {instruction}"
    turns = [turn if isinstance(turn, str) else f"{turn['role']}: {turn['content']}" for turn in text]
    joined = "; ".join(turns)
    return joined if instruction is None else f"{instruction} {joined}"


def _from_mteb(task: Any, split: str, subset: str) -> RetrievalRecords:  # noqa: ANN401 -- an mteb task object
    rows, where = mteb_rows(task, split, subset), f"{task.metadata.name} [{split}, {subset}]"
    qrels = rows["relevant_docs"]
    if not isinstance(qrels, JudgedRows):
        qrels = {query: judged for query, judged in qrels.items() if judged}
    ids = column(rows["queries"], "id", f"{where} queries")
    kept = [number for number, query in enumerate(ids) if query in qrels]
    texts = column(rows["queries"], "text", f"{where} queries")
    has_instruction = "instruction" in rows["queries"].column_names
    instructions = column(rows["queries"], "instruction", where) if has_instruction else [None] * len(ids)
    documents, asked = column(rows["corpus"], "id", f"{where} corpus"), [ids[number] for number in kept]
    queries = _queries([texts[number] for number in kept], [instructions[number] for number in kept])
    return RetrievalRecords(
        corpus_ids=documents,
        corpus=_documents(rows["corpus"], where),
        query_ids=asked,
        queries=queries.joined,
        bare_queries=queries.bare,
        instructions=queries.instructions,
        qrels=_judgements(qrels, asked, documents),
        candidates=candidate_numbers(rows["top_ranked"], asked, documents, where),
        ignore_identical_ids=task.ignore_identical_ids,
        k_values=tuple(task.k_values),
        own_scores=own_scores(task, qrels, split, subset),
        has_subqueries=merges_subqueries(task),
        main_score=task.metadata.main_score,
    )


def _judgements(qrels: Mapping[str, Mapping[str, int]], asked: Sequence[str], documents: Sequence[str]) -> Judgements:
    if isinstance(qrels, JudgedRows):
        found = qrels.numbered(asked, documents)
        return Judgements(found.grades, documents, found.absent)
    return Judgements.of([qrels[query] for query in asked], documents)


@dataclass(frozen=True, slots=True)
class _Queries:
    """A task's queries as `RetrievalRecords` has them."""

    joined: Sequence[str]
    bare: Sequence[str]
    instructions: Sequence[str | None]


def _queries(texts: Sequence[Any], instructions: Sequence[str | None]) -> _Queries:
    joined = [query_text(*item) for item in zip(texts, instructions, strict=True)]
    if all(instruction is None for instruction in instructions):
        return _Queries(joined, [], [])
    return _Queries(joined, [query_text(text, None) for text in texts], instructions)


def candidate_numbers(
    top_ranked: Mapping[str, Sequence[str]] | None, queries: Sequence[str], corpus: Sequence[str], where: str
) -> Sequence[Sequence[int] | NDArray[np.int64]] | None:
    """Candidates as numbers of documents, each once; a query without an entry has none.

    Raises:
        DataError: a candidate is not in the corpus.
    """
    if top_ranked is None:
        return None
    if isinstance(top_ranked, CandidateRows) and (found := top_ranked.numbered(queries, corpus)) is not None:
        return found
    numbers = {document: number for number, document in enumerate(corpus)}
    for query in queries:
        if absent := [name for name in top_ranked.get(query) or () if name not in numbers]:
            raise DataError(f"{where}: candidates of the query {query!r} are not in the corpus: {shorten(absent)}")
    return [[numbers[name] for name in dict.fromkeys(top_ranked.get(query) or ())] for query in queries]


def _documents(corpus: Any, where: str) -> list[str]:  # noqa: ANN401 -- a datasets.Dataset
    texts = column(corpus, "text", f"{where} corpus")
    titles = column(corpus, "title", where) if "title" in corpus.column_names else [None] * len(texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"{where} corpus, row {number + 1}: expected a text, got {clip(str(text))}")
    return [document_text(title, text) for title, text in zip(titles, texts, strict=True)]


class RetrievalSettings(Frozen):
    """Whether a document with the query's own id is dropped from its results."""

    ignore_identical_ids: bool = False


def records_from_files(spec: TaskSpec, split: str, *, with_candidates: bool = False) -> RetrievalRecords:
    """A corpus, queries and judgements from local files.

    Args:
        spec: a local task.
        split: whose judgements count.
        with_candidates: whether each query has candidates of its own (part `candidates`).

    Raises:
        DataError: the files are not as they should be.
    """
    corpus = split_table(spec, "corpus", ["_id", "text"], ["title"])
    queries = split_table(spec, "queries", ["_id", "text"], ["instruction"])
    judgements = split_table(spec, split, ["query-id", "corpus-id", "score"])
    tell_all(
        lambda: corpus.unique_ids("_id"),
        lambda: _local_documents(corpus),
        lambda: queries.unique_ids("_id"),
        lambda: queries.texts("text"),
        lambda: _local_instructions(queries),
        lambda: judgements.whole_numbers("score"),
    )
    documents, asked = corpus.unique_ids("_id"), queries.unique_ids("_id")
    known = set(asked)
    judged = _judged(judgements, known, set(documents))
    kept = [number for number, query in enumerate(asked) if query in judged.grades]
    names = [asked[number] for number in kept]
    texts, instructions = queries.texts("text"), _local_instructions(queries)
    read = _queries([texts[number] for number in kept], [instructions[number] for number in kept])
    return RetrievalRecords(
        corpus_ids=documents,
        corpus=_local_documents(corpus),
        query_ids=names,
        queries=read.joined,
        bare_queries=read.bare,
        instructions=read.instructions,
        qrels=[judged.grades[query] for query in names],
        candidates=_local_candidates(spec, names, documents, known) if with_candidates else None,
        ignore_identical_ids=settings_of(spec, RetrievalSettings).ignore_identical_ids,
        notes=judged.notes,
        main_score=spec.main_score,
    )


def _local_documents(corpus: Table) -> list[str]:
    titles, texts = corpus.optional_texts("title"), corpus.optional_texts("text")
    documents = iter([document_text(title, text) for title, text in zip(titles, texts, strict=True)])
    # a document may be its title alone
    return corpus.each("text", lambda _, where: check_text(next(documents), where, blank=corpus.allow_empty))


def _local_instructions(queries: Table) -> list[str | None]:
    """Instructions, which a query may lack; in a file of texts an empty cell is none."""

    def instruction(value: object, where: object) -> str | None:
        is_missing = value is None or (queries.is_text and value == "")
        return None if is_missing else check_text(value, where, blank=True)

    return queries.each("instruction", instruction)


@dataclass(frozen=True, slots=True)
class _Judged:
    """Query id -> document id -> grade; and what a reader of the scores must know of them."""

    grades: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]


def _judged(table: Table, queries: AbstractSet[str], documents: AbstractSet[str]) -> _Judged:
    """The judgements of a split.

    Raises:
        DataError: one is of an unknown query or document, two contradict each other, or nothing is relevant.
    """
    found: dict[str, dict[str, int]] = {}
    rows: dict[tuple[str, str], int] = {}
    problems, repeated = [], 0
    pairs, grades = _known_pairs(table, queries, documents), table.whole_numbers("score")
    for row, (pair, grade) in enumerate(zip(pairs, grades, strict=True)):
        judged = found.setdefault(pair.query, {})
        if (first := rows.setdefault((pair.query, pair.document), row)) != row:
            repeated += 1
            if judged[pair.document] != grade:
                problems.append(
                    f"{table.at(row, 'score')}: the query {pair.query!r} and the document {pair.document!r} have the "
                    f"grade {grade} here and {judged[pair.document]} in row {first + 1}; keep one of them"
                )
        judged[pair.document] = grade
    if problems:
        raise DataError(listed(problems))
    if all(grade <= 0 for grade in grades):
        raise DataError(f"{table.where}: no judgement is above 0, so there is nothing to find")
    return _Judged(found, (f"{repeated} judgements are there more than once",) if repeated else ())


@dataclass(frozen=True, slots=True)
class _Pair:
    """A query's id and a document's."""

    query: str
    document: str


def _known_pairs(table: Table, queries: AbstractSet[str], documents: AbstractSet[str]) -> list[_Pair]:
    """Query ids and document ids of a table, all of them in the data."""

    def check(name: str, what: str, ids: AbstractSet[str]) -> list[str]:
        found = iter(table.ids(name))

        def is_there(_: object, where: object) -> str:
            value = next(found)
            if value not in ids:
                raise DataError(f"{where}: there is no {what} {value!r}")
            return value

        return table.each(name, is_there)

    tell_all(lambda: check("query-id", "query", queries), lambda: check("corpus-id", "document", documents))
    return list(map(_Pair, table.ids("query-id"), table.ids("corpus-id")))


def _local_candidates(
    spec: TaskSpec, queries: Sequence[str], documents: Sequence[str], known: AbstractSet[str]
) -> list[list[int]]:
    table = split_table(spec, CANDIDATES, ["query-id", "corpus-id"])
    numbers = {document: number for number, document in enumerate(documents)}
    found: dict[str, dict[int, None]] = {query: {} for query in queries}
    for pair in _known_pairs(table, known, numbers.keys()):
        found.setdefault(pair.query, {})[numbers[pair.document]] = None
    return [list(found[query]) for query in queries]


def _from_files(spec: TaskSpec, split: str) -> RetrievalRecords:
    """A corpus, which each query's ranking chooses from, or from its candidates in it, if the task names any."""
    return records_from_files(spec, split, with_candidates=spec.data is not None and CANDIDATES in spec.data.files)


def _score(records: RetrievalRecords, embeddings: Mapping[str, Embeddings]) -> Scores:
    """trec_eval's metrics at each k, mrr and nAUC. Items: nDCG@10, AP, RR, recall@100 and the main metric per query."""
    return score_ranking(records, search(records, embeddings["queries"], embeddings["corpus"]))


def _counts(records: RetrievalRecords) -> dict[str, int]:
    grades = Judgements.of(records.qrels, records.corpus_ids).grades.grades
    # some collections have them; elsewhere they are a sign of a broken file
    empty = sum(not text for text in records.corpus)
    counts = {
        "judged queries": len(records.queries),
        "judgements": len(grades),
        "relevant": int((grades > 0).sum()),
        "empty documents": empty,
    }
    return counts if records.candidates is None else counts | {"candidates": sum(map(len, records.candidates))}


TASK_TYPE = TaskType(
    score_version=1,
    from_mteb=_from_mteb,
    from_files=_from_files,
    columns=text_columns,
    score=_score,
    counts=_counts,
    metric_names=METRIC_NAMES,
    settings=RetrievalSettings,
    ranks=True,
    parts=("corpus", "queries", CANDIDATES),
    notes=lambda records: records.notes,
    items_version=2,
)
