"""Small tasks built from mteb's own task classes, with data made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset, DatasetDict
from mteb.abstasks.classification import AbsTaskClassification
from mteb.abstasks.clustering import AbsTaskClustering
from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy
from mteb.abstasks.multilabel_classification import AbsTaskMultilabelClassification
from mteb.abstasks.pair_classification import AbsTaskPairClassification
from mteb.abstasks.regression import AbsTaskRegression
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.sts import AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.abstasks.text.bitext_mining import AbsTaskBitextMining
from mteb.abstasks.text.summarization import AbsTaskSummarization

from support.local_tasks import MAIN_SCORES

BASES: Mapping[str, Any] = {
    "Retrieval": AbsTaskRetrieval,
    "Reranking": AbsTaskRetrieval,
    "InstructionReranking": AbsTaskRetrieval,
    "InstructionRetrieval": AbsTaskRetrieval,
    "STS": AbsTaskSTS,
    "Classification": AbsTaskClassification,
    "MultilabelClassification": AbsTaskMultilabelClassification,
    "PairClassification": AbsTaskPairClassification,
    "Clustering": AbsTaskClustering,
    "ClusteringLegacy": AbsTaskClusteringLegacy,
    "Summarization": AbsTaskSummarization,
    "BitextMining": AbsTaskBitextMining,
    "Regression": AbsTaskRegression,
}
_MAIN_SCORES = {
    **MAIN_SCORES,
    "InstructionReranking": "p-MRR",
    "InstructionRetrieval": "ndcg_at_10",
    "Regression": "kendalltau",
}


def make_task(kind: str, data: Any, subsets: Sequence[str] = (), **attributes: Any) -> Any:
    """A loaded mteb task of this type.

    Args:
        kind: task type, or `ClusteringLegacy`.
        data: what `task.dataset` shall be.
        subsets: names of the subsets of a multilingual task; none for a monolingual one.
        attributes: class attributes, for example samples_per_label.
    """
    langs: Any = {subset: ["eng-Latn"] for subset in subsets} if subsets else ["eng-Latn"]
    first = data[subsets[0]] if subsets and subsets[0] in data else data
    splits = list(first.get("default", first))
    base, kind = BASES[kind], kind.removesuffix("Legacy")
    metadata = TaskMetadata(
        name=f"Synthetic{kind}",
        description="made by a test",
        reference="https://example.org",
        dataset={"path": "test/synthetic", "revision": "1" * 40},
        type=kind,
        category="t2t",
        modalities=["text"],
        eval_splits=[split for split in splits if split != "train"] or ["train"],
        eval_langs=langs,
        main_score=attributes.pop("main_score", _MAIN_SCORES[kind]),
        date=("2024-01-01", "2024-01-02"),
        domains=["Written"],
        task_subtypes=[],
        license="cc0-1.0",
        annotations_creators="derived",
        dialect=[],
        sample_creation="created",
        bibtex_citation="",
    )

    def load_data(self: Any, num_proc: int | None = None, **options: Any) -> None:
        del num_proc, options
        self.dataset = data
        self.data_loaded = True

    cls = type("SyntheticTask", (base,), {"metadata": metadata, "load_data": load_data, **attributes})
    cls.__module__ = "synthetic"
    task = cls()
    task.load_data()
    return task


def retrieval_split(
    corpus: Sequence[Mapping[str, Any]],
    queries: Sequence[Mapping[str, Any]],
    qrels: Mapping[str, Mapping[str, int]],
    top_ranked: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """One split of a retrieval task, as mteb holds it after loading."""
    return {
        "corpus": Dataset.from_list([dict(row) for row in corpus]),
        "queries": Dataset.from_list([dict(row) for row in queries]),
        "relevant_docs": {query: dict(judged) for query, judged in qrels.items()},
        "top_ranked": None if top_ranked is None else {query: list(names) for query, names in top_ranked.items()},
    }


def table_splits(splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> DatasetDict:
    """Splits of a task whose rows are plain tables."""
    return DatasetDict({name: Dataset.from_list([dict(row) for row in rows]) for name, rows in splits.items()})
