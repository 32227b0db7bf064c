"""Names of metrics: every one in results is a value, and the value's name is that name."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.catalog.tasks import all_task_names, find_task
from evalharness.errors import UsageError
from evalharness.metrics import trec_eval
from evalharness.metrics.measures import (
    _CONFIDENCES,
    _MEASURES,
    ITEM_METRICS,
    Metric,
    parse,
)
from evalharness.tasks import native_types, task_type


@st.composite
def metrics(draw: Any) -> Metric:
    measure = draw(st.sampled_from(list(_MEASURES)))
    facts = _MEASURES[measure]
    if facts.depth and (not facts.plain or draw(st.booleans())):
        k = draw(st.integers(1, 10**9 - 1))
        confidence = draw(st.sampled_from(["", *_CONFIDENCES]))
        return Metric(measure, k, confidence=confidence, over_subqueries=draw(st.booleans()))
    plain = [Metric(measure), *(Metric(measure, variant=variant) for variant in facts.variants)]
    names = st.sampled_from(plain + [Metric(measure, similarity=similarity) for similarity in facts.similarities])
    return cast("Metric", draw(names))


@settings(max_examples=500)
@given(metric=metrics())
def test_the_name_of_a_metric_is_read_as_that_metric(metric: Metric) -> None:
    assert parse(str(metric)) == metric


@settings(max_examples=500)
@given(name=st.text() | st.from_regex(r"(nauc_)?(max_|cosine_)?(ndcg|recall|ap|accuracy)(_at_[0-9]{1,3})?(_max|_std)?"))
def test_a_name_that_is_read_is_the_name_of_what_was_read(name: str) -> None:
    try:
        assert str(parse(name)) == name
    except UsageError as error:
        assert str(error).startswith("unknown metric")  # noqa: PT017 -- either is right


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("ndcg_at_10", Metric("ndcg", 10)),
        ("nauc_precision_at_1000_diff1", Metric("precision", 1000, confidence="diff1")),
        ("max_over_subqueries_map_at_1000", Metric("map", 1000, over_subqueries=True)),
        ("max_over_subqueries_nauc_mrr_at_1_max", Metric("mrr", 1, confidence="max", over_subqueries=True)),
        ("max_over_subqueries_accuracy", Metric("accuracy", over_subqueries=True)),
        ("max_ap", Metric("ap", similarity="max")),
        ("similarity_precision", Metric("precision", similarity="similarity")),
        ("precision", Metric("precision")),
        ("ap_weighted", Metric("ap", variant="weighted")),
        ("v_measure_std", Metric("v_measure", variant="std")),
        ("p-MRR", Metric("p-MRR")),
        ("robustness_at_10", Metric("robustness", 10)),
    ],
)
def test_parts_of_a_name(name: str, metric: Metric) -> None:
    assert parse(name) == metric


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("ndcg_at_01", "ndcg_at_1"), ("ndcg_at_0", "ndcg_at_1"), ("ndcg_at_", "ndcg_at_1"),
        ("ndgc_at_10", "ndcg_at_10"),
        ("cosine_sperman", "cosine_spearman"), ("max_aps", "max_ap"), ("v_mesure", "v_measure"),
    ],
)  # fmt: skip
def test_what_is_no_metric_is_told_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"unknown metric '{name}': did you mean .*{near}"):
        parse(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "ndcg", "nauc_ndcg_at_10", "ndcg_at_10_max", "nauc_accuracy_max", "max_ndcg_at_10", "hamming_at_3",
        "p-MRR_std", "max_recall_weighted", "ndcg_at_٣", "ndcg_at_1e3", "max_over_subqueries_f1", "cosine_ami",
        "nauc_max_over_subqueries_ndcg_at_1_max",
    ],
)  # fmt: skip
def test_parts_that_do_not_go_together_are_no_metric(name: str) -> None:
    with pytest.raises(UsageError, match="unknown metric"):
        parse(name)


def test_every_main_score_of_the_catalogue_and_of_local_tasks_is_a_metric() -> None:
    specs = [find_task(name) for name in all_task_names()]
    names = {spec.main_score for spec in specs if spec is not None}
    assert "p-MRR" in names
    for kind in native_types():
        names |= set(task_type(kind).metric_names)
    assert {name for name in names if str(parse(name)) != name} == set()


def test_names_of_trec_eval() -> None:
    assert [metric.trec_name for metric in (*ITEM_METRICS, Metric("precision", 5), Metric("hit_rate", 1))] == [
        "ndcg_cut_10", "map_cut_1000", None, "recall_100", "P_5", "success_1",
    ]  # fmt: skip
    for name in ("recall", "nauc_ndcg_at_10_max", "max_over_subqueries_map_at_5", "cosine_recall", "v_measure"):
        assert parse(name).trec_name is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Rprec", "Rprec"), ("bpref", "bpref"), ("Bpref", "bpref"), ("P_30", "P_30"), ("P@30", "P_30"), ("map", "map"),
        ("AP", "map"), ("AP@100", "map_cut_100"), ("RR", "recip_rank"), ("R@5", "recall_5"), ("nDCG", "ndcg"),
        ("nDCG@10", "ndcg_cut_10"), ("ndcg_cut_10", "ndcg_cut_10"), ("Success@1", "success_1"), ("set_F", "set_F"),
        ("SetF", "set_F"), ("SetP", "set_P"), ("SetR", "set_recall"), ("SetAP", "set_map"),
        ("SetRelP", "set_relative_P"), ("NumRet", "num_ret"), ("NumRel", "num_rel"),
        ("iprec_at_recall_0.10", "iprec_at_recall_0.10"), ("IPrec@.1", "iprec_at_recall_0.10"),
        ("iprec_at_recall_1", "iprec_at_recall_1.00"), ("Rprec_mult_1.2", "Rprec_mult_1.20"), ("11pt_avg", "11pt_avg"),
    ],
)  # fmt: skip
def test_both_spellings_of_a_measure_of_trec_eval(text: str, name: str) -> None:
    measure = trec_eval.parse(text)
    assert str(measure) == name
    assert trec_eval.parse(name) == measure


# of some of them trec_eval would end the process
NO_MEASURES = [
    "", "P", "P_", "P@0", "P_0", "P_-1", "P_1,5", "P_1.5", "P_1e3", "P@x", "P_٣", "P_99999999", "ndcg_cut", "RR@10",
    "iprec_at_recall", "iprec_at_recall_", "iprec_at_recall_.", "iprec_at_recall_1.1", "iprec_at_recall_nan", "Rprc",
    "iprec_at_recall_0.105", "Rprec_mult_2.1", "utility_1", "map_10", "ndcg_at_10", "relstring", "runid", "P@30@2", "@",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_MEASURES)
def test_what_is_no_measure_of_trec_eval(text: str) -> None:
    with pytest.raises(UsageError, match="unknown measure of trec_eval"):
        trec_eval.parse(text)


def test_all_wrong_measures_are_told_with_the_nearest_and_with_what_there_is() -> None:
    with pytest.raises(UsageError) as found:
        trec_eval.parse_all(["Rprec, Rprc", "P@10 nDGC@10"])
    lines = str(found.value).splitlines()
    assert lines[0] == "unknown measure of trec_eval 'Rprc': did you mean Rprec or RR?"
    assert lines[1].startswith("unknown measure of trec_eval 'nDGC@10': did you mean nDCG@10")
    assert lines[2].startswith("There are map, Rprec, bpref,")
    assert [str(measure) for measure in trec_eval.parse_all(["P@10 P_10,map", "AP"])] == ["P_10", "map"]


@pytest.mark.parametrize("texts", [[""], [" "], [","], ["P(rel=2)@10"], ["IPrec@10"]])
def test_no_measure_is_none_and_what_is_offered_is_one(texts: list[str]) -> None:
    with pytest.raises(UsageError) as found:
        trec_eval.parse_all(texts)
    offered = str(found.value).splitlines()[0].partition("did you mean ")[2].removesuffix("?").replace(" or ", ", ")
    assert trec_eval.parse_all([]) == []
    for name in filter(None, offered.split(", ")):
        assert trec_eval.parse_all([name])
