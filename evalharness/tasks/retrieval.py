"""Retrieval: exact search of a corpus for each query, scored as trec_eval scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.catalog import TaskSpec
from evalharness.data import (
    column,
    local_data,
    mteb_rows,
    read_beir_qrels,
    read_jsonl,
    require_standard_scoring,
    text_column,
)
from evalharness.encoder import document_text
from evalharness.errors import DataError, clip, shorten
from evalharness.metrics import ranking
from evalharness.metrics.abstention import confidences, heap_order, nauc
from evalharness.similarity import top_k
from evalharness.tasks import TaskType
from evalharness.types import Embeddings, ItemScores, Metrics, Scores, TextColumn

K_VALUES = (1, 3, 5, 10, 20, 100, 1000)
# mteb rounds the means of these, and not those of mrr_at_k and nauc_*
_ROUNDED = 5
_FAMILIES: Mapping[str, ranking.RankMetric] = {
    "ndcg": ranking.ndcg,
    "map": ranking.average_precision,
    "recall": ranking.recall,
    "precision": ranking.precision,
    "hit_rate": ranking.hit_rate,
    "mrr": ranking.reciprocal_rank,
}
_ITEM_DEPTHS = {"ndcg": 10, "map": 1000, "mrr": 10, "recall": 100}


@dataclass(frozen=True, slots=True)
class RetrievalRecords:
    """A corpus, queries and judgements.

    Attributes:
        corpus_ids, corpus: document ids and texts (title joined).
        query_ids, queries: only queries with at least one judged document.
        qrels: per query, document id -> grade; ids that are not in the corpus count as relevant but are never found.
        ignore_identical_ids: whether a document with the query's own id is dropped from its results.
        k_values: depths of the metrics; the largest is the depth of the search.
    """

    corpus_ids: Sequence[str]
    corpus: Sequence[str]
    query_ids: Sequence[str]
    queries: Sequence[str]
    qrels: Sequence[Mapping[str, int]]
    ignore_identical_ids: bool = False
    k_values: Sequence[int] = K_VALUES


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
    require_standard_scoring(task, ["_evaluate_subset", "task_specific_scores"])
    rows, where = mteb_rows(task, split, subset), f"{task.metadata.name} [{split}, {subset}]"
    if rows["top_ranked"] is not None:
        raise DataError(f"{where}: comes with candidates to rerank, which this version cannot run")
    qrels = {query: judged for query, judged in rows["relevant_docs"].items() if judged}
    ids = column(rows["queries"], "id", f"{where} queries")
    kept = [number for number, query in enumerate(ids) if query in qrels]
    texts = column(rows["queries"], "text", f"{where} queries")
    has_instruction = "instruction" in rows["queries"].column_names
    instructions = column(rows["queries"], "instruction", where) if has_instruction else [None] * len(ids)
    return RetrievalRecords(
        corpus_ids=column(rows["corpus"], "id", f"{where} corpus"),
        corpus=_documents(rows["corpus"], where),
        query_ids=[ids[number] for number in kept],
        queries=[query_text(texts[number], instructions[number]) for number in kept],
        qrels=[qrels[ids[number]] for number in kept],
        ignore_identical_ids=task.ignore_identical_ids,
        k_values=tuple(task.k_values),
    )


def _documents(corpus: Any, where: str) -> list[str]:  # noqa: ANN401 -- a datasets.Dataset
    texts = column(corpus, "text", f"{where} corpus")
    titles = column(corpus, "title", where) if "title" in corpus.column_names else [None] * len(texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"{where} corpus, row {number + 1}: expected a text, got {clip(str(text))}")
    return [document_text(title, text) for title, text in zip(titles, texts, strict=True)]


def _from_files(spec: TaskSpec, split: str) -> RetrievalRecords:
    data, base = local_data(spec)
    if data.format != "beir" or data.path is None:
        raise DataError(f'{spec.origin}: a retrieval task needs [data] format = "beir" and path = "FOLDER"')
    folder = base / data.path
    corpus = read_jsonl(folder / "corpus.jsonl", data.columns, ["_id", "text"], ["title"])
    queries = read_jsonl(folder / "queries.jsonl", data.columns, ["_id", "text"])
    for name, table in (("corpus", corpus), ("queries", queries)):
        for key in ("_id", "text"):
            text_column(table, key, f"{folder / name}.jsonl")
        if twice := [item for item, count in Counter(table["_id"]).items() if count > 1]:
            raise DataError(f"{folder / name}.jsonl: these ids occur more than once: {shorten(twice)}")
    judged: dict[str, dict[str, int]] = {}
    path = folder / "qrels" / f"{split}.tsv"
    known, asked = set(corpus["_id"]), set(queries["_id"])
    for query, document, grade in read_beir_qrels(path):
        if query not in asked or document not in known:
            wrong = f"query {query!r}" if query not in asked else f"document {document!r}"
            raise DataError(f"{path}: the judgement {query} {document} {grade} names a {wrong} that is not in the data")
        judged.setdefault(query, {})[document] = grade
    if not judged:
        raise DataError(f"{path}: judges no query")
    kept = [number for number, query in enumerate(queries["_id"]) if query in judged]
    return RetrievalRecords(
        corpus_ids=corpus["_id"],
        corpus=[document_text(title, text) for title, text in zip(corpus["title"], corpus["text"], strict=True)],
        query_ids=[queries["_id"][number] for number in kept],
        queries=[queries["text"][number] for number in kept],
        qrels=[judged[queries["_id"][number]] for number in kept],
        ignore_identical_ids=bool(spec.settings.get("ignore_identical_ids", False)),
    )


def _columns(records: RetrievalRecords) -> list[TextColumn]:
    return [TextColumn("queries", records.queries, "query"), TextColumn("corpus", records.corpus, "document")]


@dataclass(frozen=True, slots=True)
class Ranking:
    """What was found.

    Attributes:
        documents: per query, numbers of documents, best first.
        scores: per query, their scores in mteb's order (`abstention.heap_order`).
    """

    documents: Sequence[NDArray[np.int64]]
    scores: Sequence[NDArray[np.float32]]


def _search(records: RetrievalRecords, embeddings: Mapping[str, Embeddings]) -> Ranking:
    found = top_k(embeddings["queries"], embeddings["corpus"], records.corpus_ids, max(records.k_values))
    layout = heap_order(found.scores.shape[1])
    documents, scores = list(found.documents), list(found.scores[:, layout])
    if records.ignore_identical_ids:
        ids = np.asarray(records.corpus_ids, dtype=object)
        for number, query in enumerate(records.query_ids):
            # after the search, as in mteb: such a query keeps one document fewer
            other = ids[documents[number]] != query
            documents[number], scores[number] = documents[number][other], scores[number][other[layout]]
    return Ranking(documents, scores)


def _score(records: RetrievalRecords, embeddings: Mapping[str, Embeddings]) -> Scores:
    """trec_eval's metrics at each k, mrr and nAUC. Items: nDCG@10, AP, RR and recall@100 per query."""
    return score_ranking(records, _search(records, embeddings))


def score_ranking(records: RetrievalRecords, found: Ranking) -> Scores:
    """Score what a search found.

    Args:
        records: the task's data.
        found: results of the queries, in their order.
    """
    numbers = {document: number for number, document in enumerate(records.corpus_ids)}
    absent = len(numbers)
    # a judged document that is not in the corpus gets a number that no search returns
    qrels = [
        {numbers.get(name, absent + place): grade for place, (name, grade) in enumerate(judged.items())}
        for judged in records.qrels
    ]
    judged_ranks = ranking.judge(found.documents, qrels, max(records.k_values))
    values = {(family, k): metric(judged_ranks, k) for family, metric in _FAMILIES.items() for k in records.k_values}
    items = {
        f"{family}_at_{k}": values[family, k].tolist() for family, k in _ITEM_DEPTHS.items() if (family, k) in values
    }
    return Scores(_means(values) | _naucs(values, found), ItemScores(records.query_ids, items))


def _means(values: Mapping[tuple[str, int], NDArray[np.float64]]) -> Metrics:
    metrics: Metrics = {}
    for (family, k), per_query in values.items():
        mean = sum(per_query.tolist()) / len(per_query)
        metrics[f"{family}_at_{k}"] = mean if family == "mrr" else round(mean, _ROUNDED)
    if "recall_at_1" in metrics:
        metrics["accuracy"] = metrics["recall_at_1"]
    return metrics


def _naucs(values: Mapping[tuple[str, int], NDArray[np.float64]], found: Ranking) -> Metrics:
    trust = confidences(found.scores)
    return {
        f"nauc_{family}_at_{k}_{name}": nauc(confidence, per_query)
        for (family, k), per_query in values.items()
        if family != "hit_rate"
        for name, confidence in trust.items()
    }


TASK_TYPE = TaskType(score_version=1, from_mteb=_from_mteb, from_files=_from_files, columns=_columns, score=_score)
