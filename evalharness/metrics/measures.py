"""Names of metrics as values: `ndcg_at_10` is `Metric("ndcg", k=10)`, and back.

A name in results is mteb's: `[max_over_subqueries_][nauc_][similarity_]measure[_at_k][_variant][_confidence]`.
trec_eval's own measures, which `score-run --measures` adds under trec_eval's names, are in `trec_eval`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from evalharness.errors import UsageError, unknown_names

Confidence: TypeAlias = Literal["", "max", "std", "diff1"]

OVER_SUBQUERIES = "max_over_subqueries_"
_AT, _NAUC = "_at_", "nauc_"
_CONFIDENCES: tuple[Confidence, ...] = ("max", "std", "diff1")
# a rank beyond any corpus is a slip
_MOST_DIGITS = 9


@dataclass(frozen=True, slots=True)
class _Measure:
    """What may stand around a measure's name.

    Attributes:
        plain: whether it may stand without a depth.
        depth: whether it may have one.
        similarities: by which pairs of texts may be compared for it, before its name.
        variants: after its name.
        trec: what trec_eval calls it with a depth.
    """

    plain: bool = True
    depth: bool = False
    similarities: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    trec: str = ""


_OF_PAIRS = ("max", "similarity", "cosine", "manhattan", "euclidean", "dot")
_OF_DISTANCES = ("cosine", "manhattan", "euclidean", "dot")
_MEASURES: Mapping[str, _Measure] = {
    # ranked documents; some of the names have another meaning without a depth
    "ndcg": _Measure(plain=False, depth=True, trec="ndcg_cut"),
    "map": _Measure(plain=False, depth=True, trec="map_cut"),
    "recall": _Measure(depth=True, similarities=_OF_PAIRS, variants=("weighted",), trec="recall"),
    "precision": _Measure(depth=True, similarities=_OF_PAIRS, variants=("weighted",), trec="P"),
    "hit_rate": _Measure(plain=False, depth=True, trec="success"),
    "mrr": _Measure(plain=False, depth=True),
    "robustness": _Measure(plain=False, depth=True),
    "p-MRR": _Measure(),
    "paired_accuracy": _Measure(),
    # labels and pairs
    "accuracy": _Measure(similarities=_OF_PAIRS),
    "f1": _Measure(similarities=_OF_PAIRS, variants=("weighted",)),
    "ap": _Measure(similarities=_OF_PAIRS, variants=("weighted",)),
    "lrap": _Measure(),
    "hamming": _Measure(),
    # judgements and numbers
    "pearson": _Measure(similarities=_OF_DISTANCES),
    "spearman": _Measure(similarities=_OF_DISTANCES),
    "kendalltau": _Measure(),
    "mae": _Measure(),
    "mse": _Measure(),
    "rmse": _Measure(),
    "r2": _Measure(),
    "alpha_auc": _Measure(),
    # clusters
    "v_measure": _Measure(variants=("std",)),
    "ami": _Measure(variants=("std",)),
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric, which hashes, and whose name parses back.

    Attributes:
        measure: `ndcg`, `spearman`, `v_measure` ...
        k: how many ranks count; None where there are none.
        similarity: by which pairs of texts were compared; empty for the model's own, or where there are no pairs.
        variant: `weighted` by label frequency, or `std`, the standard deviation over experiments.
        confidence: if not empty, this is the nAUC of the metric under this confidence.
        over_subqueries: whether a document counts by its best score among the sub-queries of a question.
    """

    measure: str
    k: int | None = None
    similarity: str = ""
    variant: str = ""
    confidence: Confidence = ""
    over_subqueries: bool = False

    def __str__(self) -> str:
        """Its name in results.

        >>> str(Metric("ndcg", k=10)), str(Metric("ap", similarity="max")), str(Metric("mrr", k=1, confidence="std"))
        ('ndcg_at_10', 'max_ap', 'nauc_mrr_at_1_std')
        """
        before = (OVER_SUBQUERIES if self.over_subqueries else "") + (_NAUC if self.confidence else "")
        parts = [self.similarity, self.measure, "" if self.k is None else f"at_{self.k}", self.variant, self.confidence]
        return before + "_".join(part for part in parts if part)

    @property
    def trec_name(self) -> str | None:
        """What trec_eval calls it; None where it has no such measure."""
        name = _MEASURES[self.measure].trec
        return f"{name}_{self.k}" if name and self.k and self == Metric(self.measure, self.k) else None


# to which mteb rounds the means of rankings' metrics; not those of mrr, of nAUC and of what is a task's own
RANKING_DIGITS = 5
# columns of items: labels, predictions by the number of the experiment, and equal numbers for items that depend on
# each other
LABEL, PREDICTED, GROUP = "label", "predicted_", "group"
# by which pairs are compared, in the order in which the best of them is found; the first is the model's own
SIMILARITIES = ("similarity", "cosine", "manhattan", "euclidean", "dot")
# per query, in the items of a ranking
ITEM_METRICS = (Metric("ndcg", 10), Metric("map", 1000), Metric("mrr", 10), Metric("recall", 100))


def similarity_column(similarity: str) -> str:
    """The column of items that has this similarity of pairs; the model's own may be left out of metrics' names.

    >>> similarity_column("cosine"), similarity_column("")
    ('cosine_similarity', 'similarity')
    """
    return "similarity" if similarity in ("", "similarity") else f"{similarity}_similarity"


def parse(name: str) -> Metric:
    """The metric of this name in results.

    Raises:
        UsageError: there is none; the nearest names are told.

    >>> parse("max_over_subqueries_nauc_map_at_5_diff1")
    Metric(measure='map', k=5, similarity='', variant='', confidence='diff1', over_subqueries=True)
    """
    rest = name.removeprefix(OVER_SUBQUERIES)
    made = Metric("", over_subqueries=rest != name)
    confidence = next((after for after in _CONFIDENCES if rest.startswith(_NAUC) and rest.endswith(f"_{after}")), None)
    if confidence is not None:
        made, rest = replace(made, confidence=confidence), rest.removeprefix(_NAUC).removesuffix(f"_{confidence}")
    rest, at, depth = rest.partition(_AT)
    if at and depth.isascii() and depth.isdigit() and len(depth) <= _MOST_DIGITS:
        made = replace(made, k=int(depth))
    made = replace(made, measure=rest) if rest in _MEASURES else _around(made, rest)
    # 01 is no depth, nor 0
    if made.k == 0 or str(made) != name or not _exists(made):
        raise UsageError(unknown_names("metric", [name], _usual_names()))
    return made


def _exists(metric: Metric) -> bool:
    facts = _MEASURES.get(metric.measure)
    if facts is None:
        return False
    if metric.k is not None:
        return facts.depth and not (metric.similarity or metric.variant)
    of_pairs = not metric.variant and metric.similarity in ("", *facts.similarities)
    varied = not metric.similarity and metric.variant in facts.variants
    # of a ranking, accuracy is recall at 1
    over = metric.over_subqueries and metric != Metric("accuracy", over_subqueries=True)
    return facts.plain and (of_pairs or varied) and not metric.confidence and not over


def _around(made: Metric, rest: str) -> Metric:
    """What stands before and after a measure that is not alone."""
    similarity, _, after = rest.partition("_")
    if after in _MEASURES:
        return replace(made, measure=after, similarity=similarity)
    before, _, variant = rest.rpartition("_")
    return replace(made, measure=before, variant=variant)


def _usual_names() -> list[str]:
    """Names to guess from: every metric without a depth, and those with the depths that are usual."""
    found: list[Metric] = []
    for measure, facts in _MEASURES.items():
        if facts.plain:
            found += [Metric(measure, similarity=similarity) for similarity in ("", *facts.similarities)]
            found += [Metric(measure, variant=variant) for variant in facts.variants]
        if facts.depth:
            found += [Metric(measure, k) for k in (1, 3, 5, 10, 20, 100, 1000)]
    return [str(metric) for metric in found]
