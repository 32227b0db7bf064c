"""Reranking: retrieval in which each query has its own candidates."""

from __future__ import annotations

from dataclasses import replace

from evalharness.catalog.tasks import TaskSpec
from evalharness.data.tables import split_table, tell_all
from evalharness.ranking.records import RetrievalRecords
from evalharness.tasks import retrieval
from evalharness.tasks.definition import settings_of
from evalharness.tasks.retrieval import RetrievalSettings


class RerankingSettings(RetrievalSettings):
    """Also: whether rows without answers or without other texts are left out, as mteb does; else they are an error."""

    drop_incomplete: bool = False


def _from_files(spec: TaskSpec, split: str) -> RetrievalRecords:
    """A corpus with candidates, or rows of a query, texts that answer it (positive) and texts that do not (negative).

    Documents of such rows get mteb's ids: among equal scores the larger id wins, so that a tie counts against the
    system.
    """
    if spec.data and (spec.data.format == "beir" or retrieval.CANDIDATES in spec.data.files):
        return retrieval.records_from_files(spec, split, with_candidates=True)
    table = split_table(spec, split, ["query", "positive", "negative"])
    if settings_of(spec, RerankingSettings).drop_incomplete:
        table = table.where_all("positive", "negative")
    tell_all(lambda: table.texts("query"), lambda: table.text_lists("positive"), lambda: table.text_lists("negative"))
    positives, negatives = table.text_lists("positive"), table.text_lists("negative")
    corpus: dict[str, str] = {}
    qrels: list[dict[str, int]] = []
    for number, (positive, negative) in enumerate(zip(positives, negatives, strict=True)):
        judged = {}
        for name, texts, grade in (("apositive", positive, 1), ("negative", negative, 0)):
            for place, text in enumerate(texts):
                document = f"{name}_{split}_query{number}_{place:05}"
                corpus[document], judged[document] = text.strip(), grade
        qrels.append(judged)
    numbers = {document: place for place, document in enumerate(corpus)}
    return RetrievalRecords(
        corpus_ids=list(corpus),
        corpus=list(corpus.values()),
        query_ids=[f"{split}_query{number}" for number in range(len(qrels))],
        queries=table.texts("query"),
        qrels=qrels,
        candidates=[[numbers[document] for document in judged] for judged in qrels],
        main_score=spec.main_score,
    )


TASK_TYPE = replace(retrieval.TASK_TYPE, from_files=_from_files, settings=RerankingSettings)
