"""Slices of a task's items, on pairs that are made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import nan
from typing import TypeAlias

import numpy as np
import pytest
from scipy.stats import ttest_ind

from evalharness.compare.changes import JobItems, facts, measured, pick
from evalharness.compare.comparison import Settings
from evalharness.compare.explanation import Fact, Slice
from evalharness.compare.matching import PairedJob
from evalharness.compare.slices import LEAST, by_cluster, slices
from evalharness.metrics.forms import Correlation, Decision, Form, Labels, LabelSets, Mean
from evalharness.metrics.from_items import score_of
from evalharness.metrics.statistics.multiple import benjamini_hochberg
from evalharness.results.records import JobId, JobRecord
from evalharness.types import ItemScores

SETTINGS = Settings(draws=1_000)


Columns: TypeAlias = dict[str, Sequence[float]]


def job(base: Form, candidate: Form, columns: tuple[Columns, Columns], metric: str, subset: str = "x") -> JobItems:
    ids = [str(number) for number in range(len(next(iter(columns[0].values()))))]
    record = JobRecord(JobId("T", "test", subset), {}, metric, [], "", 0.0, {})
    paired = PairedJob(1.0, base, candidate, [f"{subset}/{name}" for name in ids], (record, record))
    return JobItems(paired, ItemScores(ids, columns[0]), ItemScores(ids, columns[1]))


def of_means(base: Sequence[float], candidate: Sequence[float], subset: str = "x") -> JobItems:
    columns = ({"ndcg_at_10": base}, {"ndcg_at_10": candidate})
    return job(Mean(np.array(base)), Mean(np.array(candidate)), columns, "ndcg_at_10", subset)


def of_kind(found: Sequence[Slice], kind: str) -> list[Slice]:
    return [item for item in found if item.kind == kind]


def test_a_loss_in_long_texts_is_found_there() -> None:
    source = np.random.default_rng(0)
    base = source.uniform(0.4, 0.9, 200)
    lengths = np.arange(200)
    candidate = base - np.where(lengths > 150, 0.3, 0.0) + source.normal(0, 0.05, 200)
    items = replace(of_means(base.tolist(), candidate.tolist()), lengths=lengths.tolist())
    found = slices([items], SETTINGS)
    assert [item.name for item in found] == ["0 to 50", "51 to 100", "101 to 150", "151 to 199"]
    assert sum(item.items for item in found) == 200
    last = found[-1]
    assert last.differs
    assert last.interval is not None
    assert last.interval.low < last.difference < last.interval.high < 0
    assert last.difference == pytest.approx((candidate - base)[151:].mean())
    moved = candidate - base
    wanted = [ttest_ind(moved[part], np.delete(moved, part), equal_var=False).pvalue for part in (
        range(51), range(51, 101), range(101, 151), range(151, 200))]  # fmt: skip
    assert [item.p_value for item in found] == pytest.approx(wanted)
    assert [item.adjusted for item in found] == pytest.approx(benjamini_hochberg(wanted))


def test_slices_of_the_same_difference_are_seldom_marked() -> None:
    source, marked = np.random.default_rng(1), 0
    for _ in range(200):
        base, candidate = source.uniform(0, 1, 80), source.uniform(0, 1, 80)
        items = replace(of_means(base.tolist(), candidate.tolist()), lengths=list(range(80)))
        marked += any(item.differs for item in slices([items], SETTINGS))
    # 5% in truth; beyond 10% of 200 once in a thousand times
    assert marked <= 20


def test_few_items_have_no_interval_and_no_p_value() -> None:
    items = of_means([0.5] * 30, [0.4, 0.6] * 15)
    found = slices([replace(items, relevant=[1] * (LEAST - 1) + [2] * (31 - LEAST))], SETTINGS)
    assert [(item.kind, item.name, item.items) for item in found] == [
        ("relevant documents", "1", LEAST - 1), ("relevant documents", "2", 31 - LEAST)
    ]  # fmt: skip
    assert (found[0].interval, found[0].p_value, found[0].adjusted, found[0].differs) == (None, None, None, False)
    # it has an interval, and nothing to be held against
    assert found[1].interval is not None
    assert found[1].p_value is None


def test_items_of_one_group_count_as_one() -> None:
    items = of_means([0.5] * 40, [0.4, 0.6] * 20)
    together = replace(items.paired, groups=["same"] * 30 + [str(number) for number in range(10)])
    found = slices([replace(items, paired=together, lengths=[1] * 30 + [2] * 10)], SETTINGS)
    assert [item.items for item in found] == [30, 10]
    assert found[0].interval is None
    assert found[1].interval is not None


def test_clusters_keep_the_mean_of_their_items() -> None:
    source = np.random.default_rng(2)
    values, groups = source.normal(size=50), source.integers(0, 12, 50).astype(str)
    assert by_cluster(values, groups).mean() == pytest.approx(values.mean())


def test_what_one_side_leaves_out_is_in_no_slice() -> None:
    items = replace(of_means([nan, 0.5, 0.5, nan], [nan, 0.5, 0.7, 0.1]), lengths=[1, 1, 2, 2])
    found = slices([items], SETTINGS)
    assert [(item.items, round(item.difference, 9)) for item in found] == [(1, 0.0), (1, 0.2)]
    picked = pick([items], 5)
    assert [(item.row, round(item.adds, 9)) for item in picked.gains] == [(2, 0.1)]
    assert not picked.losses


def test_equal_counts_make_no_slices() -> None:
    assert slices([replace(of_means([0.1, 0.2], [0.3, 0.1]), lengths=[7, 7])], SETTINGS) == []


def test_subsets_have_their_own_scores_the_worst_first() -> None:
    source = np.random.default_rng(3)
    jobs = []
    for subset, loss in (("fine", 0.0), ("bad", 0.4), ("worse", 0.5)):
        gold = source.uniform(0, 1, 60)
        similar = [gold + source.normal(0, 0.1 + share, 60) for share in (0.0, loss)]
        columns = ({"gold": gold.tolist()}, {"gold": gold.tolist()})
        forms = [Correlation(gold, values, "spearman") for values in similar]
        jobs.append(job(forms[0], forms[1], columns, "spearman", subset))
    found = of_kind(slices(jobs, SETTINGS), "subset")
    assert [item.difference for item in found] == sorted(item.difference for item in found)
    assert found[-1].name == "T [test, fine]"
    for item, own in zip(sorted(found, key=lambda item: item.name), (jobs[1], jobs[0], jobs[2]), strict=True):
        assert (item.base, item.candidate) == (score_of(own.paired.base), score_of(own.paired.candidate))
        assert item.interval is not None
        assert item.interval.low <= item.difference <= item.interval.high
    assert found[-1].differs


def test_what_may_be_averaged_over_any_items() -> None:
    gold = np.array([0.0, 0.5, 1.0])
    apart = measured(Correlation(gold, np.array([0.1, 0.9, 0.5]), "spearman"), "spearman")
    assert apart.values.tolist() == pytest.approx([1.0, 2 / 3, 2 / 3])
    decided = measured(Decision(np.array([1, 0, 0, 1]), np.array([[0.9, 0.2, 0.7, 0.6]]), "accuracy"), "max_accuracy")
    assert decided.values.tolist() == [1.0, 1.0, 1.0, 0.0]
    labels = Labels(np.array([0, 1, 1]), np.array([[0, 1, 0], [0, 0, -1]]), "f1")
    assert measured(labels, "f1").values.tolist() == [1.0, 0.5, 0.0]
    sets = LabelSets(np.array([[True, False], [True, True]]), np.array([[[True, False], [True, False]]]), "f1")
    assert measured(sets, "f1").values.tolist() == [1.0, 0.5]
    assert measured(sets, "f1").name == "Hamming score"


def test_a_text_that_is_predicted_as_before_did_not_change() -> None:
    # its label's F1 did, as another text is now taken for it
    base = Labels(np.array([0, 0, 1, 1]), np.array([[0, 0, 1, 1]]), "f1")
    candidate = replace(base, predicted=np.array([[0, 0, 1, 0]]))
    columns: Columns = {"label": [0.0, 0.0, 1.0, 1.0]}
    items = job(base, candidate, (columns, columns), "f1")
    picked = pick([items], 10)
    assert [item.row for item in picked.losses] == [3]
    assert (picked.lost, picked.gained) == (1, 0)


def test_the_best_similarity_of_each_side_is_named() -> None:
    labels = np.array([1, 0, 1, 0])
    good, bad = [0.9, 0.1, 0.8, 0.2], [0.1, 0.9, 0.2, 0.8]
    base = Decision(labels, np.array([good, bad, bad, bad, bad]), "ap")
    candidate = Decision(labels, np.array([bad, good, bad, bad, bad]), "ap")
    columns: Columns = {"label": [1.0, 0.0, 1.0, 0.0]}
    told = facts(job(base, candidate, (columns, columns), "max_ap"), [0])[0]
    assert told[0] == Fact("label", "belong together", "belong together")
    assert told[1] == Fact("similarity", "0.9000 (similarity by the model's own measure)", "0.9000 (cosine similarity)")
    assert told[2] == Fact("right at the best threshold", "yes", "yes")
