"""Measures of a run file against pytrec_eval called directly on what is in the files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import pytrec_eval
from conftest import Cli
from hypothesis import given, settings
from hypothesis import strategies as st

from evalharness.data.trec import read_run
from evalharness.metrics import trec_eval
from evalharness.results.items import read_items
from evalharness.results.records import JobId, ResultsOf, items_path, read_job, run_folder

DOCUMENTS = 1200
MEASURES = "Rprec bpref P@30 nDCG@10 map AP@1100 RR R@1100 num_ret gm_map iprec_at_recall_0.10 set_F"
NAMES = [
    "Rprec", "bpref", "P_30", "ndcg_cut_10", "map", "map_cut_1100", "recip_rank", "recall_1100", "num_ret", "gm_map",
    "iprec_at_recall_0.10", "set_F",
]  # fmt: skip
GRADES = {
    # judged and not relevant, above and below what is; a negative grade; what is not in the run
    "q1": {"d3": 0, "d5": 2, "d7": -1, "d900": 1, "d1050": 1, "d1199": 0},
    "q2": {"d1100": 3, "d0": 0, "d1": 0},
    "q3": {"d4": 1, "d6": 0},
}


def write_task(folder: Path, *, ignore: bool) -> None:
    texts = [{"_id": f"d{number}", "text": f"text {number}"} for number in range(DOCUMENTS)]
    # a document of a query's own id, which is found first
    texts.append({"_id": "q1", "text": "itself"})
    data = folder / "data"
    (data / "qrels").mkdir(parents=True)
    (data / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    asked = [{"_id": query, "text": "?"} for query in GRADES]
    (data / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    lines = [f"{query}\t{name}\t{grade}\n" for query, judged in GRADES.items() for name, grade in judged.items()]
    (data / "qrels" / "test.tsv").write_text("".join(["query-id\tcorpus-id\tscore\n", *lines]))
    (folder / "task.toml").write_text(
        'name = "Deep"\ntype = "Retrieval"\nmain_score = "ndcg_at_10"\nlanguages = ["eng-Latn"]\nsplits = ["test"]\n'
        f'[data]\nformat = "beir"\npath = "data"\n[settings]\nignore_identical_ids = {str(ignore).lower()}\n'
    )
    run = [f"q1 Q0 q1 1 {DOCUMENTS + 1} x\n"]
    # two ties, and q3 is missing
    run += [f"{query} Q0 d{n} {n} {DOCUMENTS - n // 2} x\n" for query in ("q1", "q2") for n in range(DOCUMENTS)]
    (folder / "run.trec").write_text("".join(run) + "other Q0 d1 1 1 x\n")


@pytest.mark.parametrize("ignore", [False, True])
def test_measures_are_those_of_pytrec_eval_on_the_files(here: Cli, tmp_path: Path, ignore: bool) -> None:
    write_task(tmp_path, ignore=ignore)
    done = here("score-run", "run.trec", "--task", "task.toml", "--name", "me/x", "--measures", MEASURES)
    assert done.returncode == 0, done.stderr
    folder, job = run_folder(tmp_path / "results", ResultsOf(name="me/x")), JobId("Deep", "test", "default")
    record = read_job(folder, job)
    assert record is not None
    run = {query: read_run(tmp_path / "run.trec").get(query, {}) for query in GRADES}
    if ignore:
        del run["q1"]["q1"]
    asked = {name.replace("_30", ".30") if name == "P_30" else name for name in NAMES}
    asked -= {"ndcg_cut_10", "map_cut_1100", "recall_1100", "iprec_at_recall_0.10"}
    asked |= {"ndcg_cut.10", "map_cut.1100", "recall.1100", "iprec_at_recall.0.10"}
    theirs = pytrec_eval.RelevanceEvaluator(GRADES, asked).evaluate(run)
    items = read_items(items_path(folder, job))
    assert items.ids == list(GRADES)
    for name in NAMES:
        per_query = [theirs[query][name] for query in GRADES]
        assert items.columns[name] == per_query, name
        overall = pytrec_eval.compute_aggregated_measure(name, per_query)
        assert record.metrics[name] == overall, name
        assert f"    {name} {overall:.4f}\n" in done.stdout
    # beyond the depth of the task's own metrics
    assert record.metrics["recall_1100"] > record.metrics["recall_at_1000"]
    assert record.metrics["num_ret"] == 2 * DOCUMENTS + (not ignore)
    assert record.metrics["ndcg_cut_10"] == pytest.approx(record.metrics["ndcg_at_10"], abs=5.1e-6)


def test_measures_leave_the_task_s_own_metrics_as_they_are(here: Cli, tmp_path: Path) -> None:
    write_task(tmp_path, ignore=False)
    found = []
    for name, more in (("me/plain", ()), ("me/more", ("--measures", "Rprec", "--measures", "P@5"))):
        assert here("score-run", "run.trec", "--task", "task.toml", "--name", name, *more).returncode == 0
        record = read_job(run_folder(tmp_path / "results", ResultsOf(name=name)), JobId("Deep", "test", "default"))
        assert record is not None
        found.append(record)
    plain, more_of_it = found
    assert plain.key == more_of_it.key
    assert set(more_of_it.metrics) - set(plain.metrics) == {"Rprec", "P_5"}
    # nAUC may be no number
    assert repr(sorted(plain.metrics.items())) == repr(
        sorted(item for item in more_of_it.metrics.items() if item[0] in plain.metrics)
    )


def test_wrong_measures_are_told_before_anything(here: Cli, tmp_path: Path) -> None:
    done = here("score-run", "run.trec", "--task", "nowhere.toml", "--name", "me/x", "--measures", "Rprc P@5")
    assert done.returncode == 2
    assert "unknown measure of trec_eval 'Rprc': did you mean Rprec" in done.stderr
    assert list(tmp_path.iterdir()) == []


IDS = st.sampled_from([f"d{number}" for number in range(8)])
RUN = st.dictionaries(IDS, st.sampled_from([-1.0, 0.0, 0.5, 0.1, 1e30]), max_size=8)
JUDGED = st.dictionaries(IDS, st.integers(-1, 3), min_size=1, max_size=8)
ALL = trec_eval.parse_all([*trec_eval._PLAIN, *(f"{name}_3" for name in trec_eval._WITH_DEPTH),
                           "iprec_at_recall_0.5 Rprec_mult_0.20"])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(queries=st.lists(st.tuples(RUN, JUDGED), min_size=1, max_size=4))
def test_every_measure_equals_trec_eval(queries: list[tuple[dict[str, float], dict[str, int]]]) -> None:
    run = {str(number): found for number, (found, _) in enumerate(queries)}
    qrels = {str(number): judged for number, (_, judged) in enumerate(queries)}
    ours = trec_eval.evaluate(ALL, qrels, {query: found for query, found in run.items() if found})
    names = {str(measure) if not measure.parameter else f"{measure.name}.{measure.parameter}" for measure in ALL}
    # its ndcg never ends where all grades are negative
    ending = {query: judged if max(judged.values()) >= 0 else {**judged, "more": 0} for query, judged in qrels.items()}
    theirs = pytrec_eval.RelevanceEvaluator(ending, names).evaluate(run)
    for measure in ALL:
        for query, value in zip(qrels, ours[measure].per_query, strict=True):
            wanted = theirs[query][str(measure)]
            assert value == (0 if wanted != wanted else wanted), measure  # noqa: PLR0124 -- NaN
        if measure.name.startswith("num_"):
            assert ours[measure].overall == sum(ours[measure].per_query)


def test_negative_grades_alone_are_scored_and_score_nothing() -> None:
    found = trec_eval.evaluate(ALL, {"q": {"d1": -1, "d2": -2}}, {"q": {"d1": 0.5, "d9": 0.25}})
    zero = {str(measure) for measure, scores in found.items() if scores.per_query == [0]}
    # the number of documents that were found, what they cost, and logarithms of almost nothing
    assert {str(measure) for measure in ALL} - zero == {"num_ret", "utility", "gm_map", "gm_bpref"}


def test_several_depths_of_one_measure() -> None:
    measures = trec_eval.parse_all(["P@1 P@2 P@4", "IPrec@0.5 IPrec@1", "Rprec"])
    found = trec_eval.evaluate(measures, {"q": {"d1": 1, "d3": 1}}, {"q": {"d1": 4.0, "d2": 3.0, "d3": 2.0}})
    assert {str(measure): scores.per_query for measure, scores in found.items()} == {
        "P_1": [1.0], "P_2": [0.5], "P_4": [0.5], "iprec_at_recall_0.50": [1.0],
        "iprec_at_recall_1.00": [pytest.approx(2 / 3)], "Rprec": [0.5],
    }  # fmt: skip
