"""Which form a metric has in the columns of items, for the main score of every task that there is, and by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from evalharness.catalog.tasks import all_task_names, find_task
from evalharness.errors import UsageError
from evalharness.metrics.forms import NOT_TESTED, Correlation, Decision, Labels, LabelSets, Mean
from evalharness.metrics.from_items import contributions, form_of, score_of
from evalharness.metrics.groups import group_column, groups_of_pairs
from evalharness.ranking.records import K_VALUES, Ranking, RetrievalRecords
from evalharness.ranking.scores import score_ranking
from evalharness.tasks import is_native

NAN = float("nan")
SIMILARITIES = {
    name: [0.1, 0.2, 0.3]
    for name in ("similarity", "cosine_similarity", "manhattan_similarity", "euclidean_similarity", "dot_similarity")
}
COLUMNS: Mapping[str, Mapping[str, Sequence[float]]] = {
    "STS": {"gold": [0.0, 0.5, 1.0], **SIMILARITIES},
    "PairClassification": {"label": [0.0, 1.0, 1.0], **SIMILARITIES},
    "Classification": {"correct": [1.0, 0.0], "label": [0.0, 1.0], "predicted_0": [0.0, 0.0]},
    "MultilabelClassification": {"exact_match": [1.0], "hamming": [1.0], "label": [0.0], "predicted_0": [0.0]},
    "Clustering": {"v_measure": [0.5], "ami": [0.5]},
    "Summarization": {name: [0.5] for name in ("cosine_spearman", "cosine_pearson", "spearman", "pearson")},
    "BitextMining": {"correct": [1.0], "gold": [0.0], "found": [0.0]},
}
# by hooks of mteb's tasks, see tests/parity/test_own_scores.py
OF_TOPICS = ("p-MRR", "paired_accuracy", "robustness_at_10")


def of_a_ranking(main_score: str) -> Mapping[str, Sequence[float]]:
    records = RetrievalRecords(
        corpus_ids=["a", "b"],
        corpus=["a", "b"],
        query_ids=["q_0", "q_1"],
        queries=["one", "two"],
        qrels=[{"a": 1}, {"b": 1}],
        k_values=(*K_VALUES, 2),
        has_subqueries=main_score.startswith("max_over_subqueries_"),
        main_score=main_score,
    )
    found = Ranking([np.array([0, 1])] * 2, [np.array([0.5, 0.2], dtype=np.float32)] * 2)
    columns = score_ranking(records, found).items.columns
    return {**columns, main_score: [0.5, NAN], "group": [0.0, 0.0]} if main_score in OF_TOPICS else columns


def test_the_items_give_the_main_score_of_every_native_task() -> None:
    specs = [spec for name in all_task_names() if (spec := find_task(name)) is not None and is_native(spec)]
    found = {(spec.scoring, spec.main_score) for spec in specs}
    # rare ones are among them
    assert {"p-MRR", "max_ap", "f1", "ami", "recall_at_2", "max_over_subqueries_map_at_1000"} <= {
        name for _, name in found
    }
    lacking = [
        (scoring, name)
        for scoring, name in sorted(found)
        if form_of(name, COLUMNS.get(scoring) or of_a_ranking(name), [["a"]] if "Multi" in scoring else ()) is None
    ]
    assert lacking == []


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("ndcg_at_5", {"ndcg_at_10": [1.0]}),
        ("nauc_ndcg_at_10_max", {"ndcg_at_10": [1.0]}),
        ("max_over_subqueries_map_at_1000", {"map_at_1000": [1.0]}),
        ("p-MRR", {"ndcg_at_10": [1.0]}),
        ("v_measure_std", {"v_measure": [1.0]}),
        ("num_rel", {"num_rel": [1.0]}),
        ("gm_map", {"gm_map": [1.0]}),
        ("dot_spearman", {"gold": [1.0], "cosine_similarity": [1.0]}),
        ("cosine_accuracy", {"gold": [1.0], "cosine_similarity": [1.0]}),
        ("spearman", {"label": [1.0], "cosine_similarity": [1.0]}),
        ("accuracy", {"label": [1.0], "similarity": [1.0]}),
        ("lrap", {"correct": [1.0], "label": [1.0], "predicted_0": [1.0]}),
        ("f1_weighted", {"correct": [1.0], "gold": [1.0], "found": [1.0]}),
        # of an older version
        ("max_ap", {"label": [1.0], "cosine_similarity": [1.0]}),
        ("accuracy", {"correct": [0.5]}),
        ("accuracy", {"exact_match": [1.0], "hamming": [1.0]}),
        ("cosine_spearman", {"cosine_spearman": [0.5], "cosine_pearson": [0.5]}),
    ],
)
def test_items_that_do_not_suffice(name: str, columns: dict[str, list[float]]) -> None:
    assert form_of(name, columns) is None


def test_average_precision_of_texts_does_not_exist() -> None:
    columns = {"label": [0.0, 1.0], "predicted_0": [0.0, 1.0]}
    assert form_of("ap", columns, ["no", "yes"]) is None
    assert form_of("ap", columns) is not None


def test_a_name_that_is_no_metric() -> None:
    with pytest.raises(UsageError, match="ndcg_at_10"):
        form_of("ndcg_at_1O", {"ndcg_at_10": [1.0]})
    assert form_of("group", {"group": [1.0]}) is None


def test_means() -> None:
    of_a_run = form_of("Rprec", {"Rprec": [0.25, 0.5]})
    assert of_a_run is not None
    assert score_of(of_a_run) == 0.375
    thirds = {"ndcg_at_10": [1 / 3, 1 / 3, 1.0], "mrr_at_10": [1 / 3, 1 / 3, 1.0], "recall_at_1": [1.0, 0.0, 0.0]}
    assert score_of(must(form_of("ndcg_at_10", thirds))) == 0.55556
    assert score_of(must(form_of("mrr_at_10", thirds))) == (1 / 3 + 1 / 3 + 1) / 3
    assert score_of(must(form_of("accuracy", thirds))) == 0.33333
    assert np.isnan(score_of(Mean(np.array([NAN]))))


def must(form: object) -> Mean | Correlation | Decision | Labels | LabelSets:
    assert isinstance(form, Mean | Correlation | Decision | Labels | LabelSets)
    return form


def test_a_column_of_the_metrics_own_name_is_averaged() -> None:
    assert score_of(must(form_of("accuracy", {"accuracy": [1.0, 0.0, 0.0]}))) == 1 / 3
    assert score_of(must(form_of("mae", {"mae": [0.5, 0.25]}))) == 0.375


def test_topics_are_added_up_in_the_order_of_their_numbers() -> None:
    columns = {"robustness_at_10": [0.1, NAN, 0.2, NAN, 0.3], "group": [2.0, 2.0, 0.0, 1.0, 1.0]}
    form = must(form_of("robustness_at_10", columns))
    assert isinstance(form, Mean)
    assert form.summed is not None
    assert form.summed.tolist() == [0.2, 0.3, 0.1]
    assert score_of(form) == (0.2 + 0.3 + 0.1) / 3 != (0.1 + 0.2 + 0.3) / 3


def test_p_values_count_where_they_are_there() -> None:
    plain = {name: [0.5, NAN, 0.25] for name in ("cosine_spearman", "spearman")}
    assert score_of(must(form_of("spearman", plain))) == 0.375
    tested = plain | {"spearman_p": [0.1, NAN, 0.15]}
    form = must(form_of("spearman", tested))
    assert score_of(form) == pytest.approx((0.5 + 0.1 + 0.25 + 0.15) / 4)
    assert_array_equal(contributions(form), [0.3, NAN, 0.2])
    # one that mteb does not leave out, and that has no correlation
    assert np.isnan(score_of(must(form_of("spearman", plain | {"spearman": [0.5, NAN, NAN]}))))


def test_labels_get_codes_in_their_order() -> None:
    columns = {
        "label": [-1.0, 7.0, 1.0, 1.0],
        "predicted_0": [-1.0, 1.0, NAN, NAN],
        "predicted_1": [NAN, NAN, 9.0, 1.0],
    }
    form = must(form_of("accuracy", columns))
    assert isinstance(form, Labels)
    assert form.gold.tolist() == [0, 2, 1, 1]
    assert form.predicted.tolist() == [[0, 1, NOT_TESTED, NOT_TESTED], [NOT_TESTED, NOT_TESTED, 3, 1]]
    assert form.positive == 1
    assert score_of(form) == 0.5
    assert_array_equal(contributions(form), [1.0, 0.0, 0.0, 1.0])


def test_the_accuracy_is_the_mean_of_those_of_uneven_folds() -> None:
    columns = {"label": [1.0, 1.0, 1.0, 2.0], "predicted_0": [1.0, 1.0, 2.0, NAN], "predicted_1": [NAN, NAN, NAN, 1.0]}
    form = must(form_of("accuracy", columns))
    assert score_of(form) == (2 / 3 + 0) / 2
    parts = contributions(form)
    assert parts is not None
    assert parts.mean() == pytest.approx(1 / 3)


def test_a_row_that_no_experiment_tests_does_not_count() -> None:
    columns = {"label": [1.0, 1.0, 2.0], "predicted_0": [1.0, NAN, 1.0]}
    form = must(form_of("accuracy", columns))
    assert score_of(form) == 0.5
    assert_array_equal(contributions(form), [1.0, NAN, 0.0])


def test_the_best_of_several_similarities() -> None:
    columns = {"label": [1.0, 0.0, 1.0, 0.0], **{name: [0.1, 0.2, 0.3, 0.4] for name in SIMILARITIES}}
    columns["dot_similarity"] = [0.9, 0.1, 0.8, 0.2]
    assert score_of(must(form_of("max_ap", columns))) == 1.0
    assert score_of(must(form_of("cosine_ap", columns))) < 1.0
    form = must(form_of("max_ap", columns))
    assert isinstance(form, Decision)
    assert form.similarities.shape == (5, 4)
    assert contributions(form) is None


def test_groups_are_numbered_by_first_appearance() -> None:
    assert group_column(["b", "a", "b"]) == {"group": [0.0, 1.0, 0.0]}
    assert group_column([]) == group_column(["a"]) == {}


@pytest.mark.parametrize(
    ("first", "second", "column"),
    [
        # a chain, and a text that is first here and second there
        (["a", "c", "e", "x", "y", "z"], ["b", "b", "a", "1", "2", "3"], [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]),
        # one chain through most pairs: by the side of fewer texts
        (["a", "a", "b", "b", "c"], ["1", "2", "2", "3", "4"], [0.0, 0.0, 1.0, 1.0, 2.0]),
        (["1", "2", "2", "3", "4"], ["a", "a", "b", "b", "c"], [0.0, 0.0, 1.0, 1.0, 2.0]),
        (["a", "b"], ["c", "d"], None),
        (["a"], ["a"], None),
    ],
)
def test_pairs_that_share_a_text_are_a_group(first: list[str], second: list[str], column: list[float] | None) -> None:
    assert group_column(groups_of_pairs(first, second)).get("group") == column
