"""Scores that mteb's retrieval tasks have of their own (p-MRR, paired accuracy, robustness), by their own hooks.

The number is the hook's. Of the scores of topics, which several queries share, it is also told what each is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from evalharness.data.mteb import abstract_class
from evalharness.ranking.records import OwnScores, TaskScores, TopicScores

Results = Mapping[str, Mapping[str, float]]

# what hooks call, by which they are known
_OVER_SUBQUERIES = "max_over_subqueries"
_PAIRED, _ROBUST, _CHANGED = "paired_accuracy", "robustness_at_10", "evaluate_p_mrr_change"
# ends of the ids of queries that are variants of one topic
_VARIANTS = ("-og", "-changed")


def merges_subqueries(task: Any) -> bool:  # noqa: ANN401 -- an mteb task object
    """Whether a task's own scores are mteb's maximum over sub-queries (MindSmall), which is computed here."""
    return _OVER_SUBQUERIES in _hook(task).__code__.co_names


def own_scores(task: Any, qrels: Mapping[str, Mapping[str, int]], split: str, subset: str) -> OwnScores | None:  # noqa: ANN401
    """What computes a task's own scores; None if it has none, or only such as are computed here."""
    if _hook(task) is abstract_class(task).task_specific_scores or merges_subqueries(task):
        return None
    return _OwnScores(task, dict(qrels), split, subset)


def _hook(task: Any) -> FunctionType:  # noqa: ANN401
    hook: FunctionType = type(task).task_specific_scores
    return hook


@dataclass(frozen=True, slots=True)
class _OwnScores:
    """A task's hook, with what it wants to be told."""

    task: Any
    qrels: Mapping[str, Mapping[str, int]]
    split: str
    subset: str

    def __call__(self, results: Results, per_query: Results) -> TaskScores:
        """What mteb's code makes of a ranking and of trec_eval's scores per query."""
        called, changed = _hook(self.task), _Changed()
        if _CHANGED in called.__code__.co_names:
            called = changed.noted_by(called)
        found = called(self.task, per_query, self.qrels, results, hf_split=self.split, hf_subset=self.subset)
        return TaskScores(found, self._topics(called, results, per_query, changed))

    def _topics(
        self, hook: FunctionType, results: Results, per_query: Results, changed: _Changed
    ) -> TopicScores | None:
        if _CHANGED in hook.__code__.co_names:
            members = _members(results, _without_variant)
            return TopicScores("p-MRR", {topic: members[topic] for topic in sorted(members)}, changed.scores(results))
        members = _members(self.qrels, lambda query: query.split("_")[0])
        if _ROBUST in hook.__code__.co_names:
            lowest = {
                topic: min(per_query[query]["ndcg_cut_10"] for query in queries) for topic, queries in members.items()
            }
            return TopicScores(_ROBUST, members, lowest)
        if _PAIRED in hook.__code__.co_names:
            both = {
                topic: float(all(per_query[f"{topic}_{variant}"]["recall_1"] == 1 for variant in ("q1", "q2")))
                for topic in members
            }
            return TopicScores(_PAIRED, members, both)
        return None


def _members(queries: Mapping[str, object], topic_of: Callable[[str], str]) -> dict[str, list[str]]:
    """Topic -> its queries, in the order in which they appear."""
    found: dict[str, list[str]] = {}
    for query in queries:
        found.setdefault(topic_of(query), []).append(query)
    return found


def _without_variant(query: str) -> str:
    return next((query.removesuffix(end) for end in _VARIANTS if query.endswith(end)), query)


@dataclass(frozen=True, slots=True)
class _Changed:
    """Documents by topic whose relevance an instruction changes, which a hook loads and gives to mteb's p-MRR."""

    documents: dict[str, list[str]] = field(default_factory=dict)

    def noted_by(self, hook: FunctionType) -> FunctionType:
        """The hook, which does the same, and notes here which documents they are."""
        scorer = hook.__globals__[_CHANGED]

        def noting(qrels: Any, results: Any, changed: Mapping[str, list[str]], k_values: Any) -> Any:  # noqa: ANN401 -- mteb's
            self.documents.update(changed)
            return scorer(qrels, results, changed, k_values)

        # a function of its own: mteb's module stays as it is
        return FunctionType(
            hook.__code__, hook.__globals__ | {_CHANGED: noting}, hook.__name__, hook.__defaults__, hook.__closure__
        )

    def scores(self, results: Results) -> dict[str, float]:
        """p-MRR of each topic, sorted; topics that mteb leaves out have none.

        As in mteb's `calculate_pmrr`, which does not tell them, with the same frame of all topics: the last bit of
        pandas' means of groups depends on whether the groups of the frame are in order.
        """
        import pandas as pd
        from mteb._evaluators.retrieval_metrics import get_rank_from_dict, rank_score

        changes = []
        for topic, documents in self.documents.items():
            before, after = (results.get(topic + end) for end in _VARIANTS)
            if before is None or after is None:
                continue
            for document in documents:
                ranks: dict[str, float] = {
                    name: get_rank_from_dict(dict(run), document)[0]
                    for name, run in (("og_rank", before), ("new_rank", after))
                }
                changes.append({"qid": topic, "p-MRR": rank_score(ranks)})
        means = pd.DataFrame(changes).groupby("qid").agg({"p-MRR": "mean"})["p-MRR"]
        return {str(topic): float(value) for topic, value in means.items()}
