"""Result files of mteb's early versions: what is read of them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.old_files import REVISION, nested, old, pairs, today, write

from evalharness.results.legacy import as_today, current_name, is_routine
from evalharness.results.stored import StoredTask, read_task_file


def read(folder: Path, name: str, value: object) -> StoredTask:
    return read_task_file(write(folder, name, value))


def test_flat_scores_are_of_the_default_subset(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "ThuNewsClusteringS2S",
        old("ThuNewsClusteringS2S", {"test": {"v_measure": 0.5, "evaluation_time": 9}}),
    )
    assert found.scores == {"test": {"default": 0.5}}
    assert found.revision == REVISION
    assert found.notes == ["written by mteb 0.0.2"]


def test_subsets_are_told_from_metrics(tmp_path: Path) -> None:
    splits = {"test": {"en": nested(0.65), "fr": nested(0.76), "evaluation_time": 62.5}}
    assert read(tmp_path, "STS22", old("STS22", splits)).scores == {"test": {"en": 0.65, "fr": 0.76}}
    assert read(tmp_path, "STS12", old("STS12", {"test": nested(0.7)})).scores == {"test": {"default": 0.7}}


def test_pair_classification_is_read_by_the_name_of_the_main_score(tmp_path: Path) -> None:
    assert read(tmp_path, "Ocnli", old("Ocnli", {"validation": pairs(0.616, 0.591)})).scores == {
        "validation": {"default": 0.591}
    }
    assert read(tmp_path, "TwitterSemEval2015", old("TwitterSemEval2015", {"test": pairs(0.7, 0.85)})).scores == {
        "test": {"default": 0.7}
    }
    # between 1.11 and 1.12.48, the metrics of a similarity were in an object of their own in today's form, too
    entry = {**pairs(0.7, 0.85), "main_score": 0.7}
    assert read(tmp_path, "TwitterSemEval2015", today("TwitterSemEval2015", {"test": [entry]}, "1.12.10")).scores == {
        "test": {"default": 0.7}
    }


@pytest.mark.parametrize("task", ["AskUbuntuDupQuestions", "MMarcoReranking"])
def test_map_of_rerankers_has_another_name_today(tmp_path: Path, task: str) -> None:
    found = read(tmp_path, task, old(task, {"dev": {"map": 0.68, "mrr": 0.72}}, "1.1.1.dev0"))
    assert found.scores == {"dev": {"default": 0.68}}
    assert found.notes[0] == "written by mteb 1.1.1.dev0"
    assert found.notes[1].startswith("map is ")
    assert all(map(is_routine, found.notes))


def test_mrr_of_rerankers_has_another_name_today(tmp_path: Path) -> None:
    entry = {"map": 0.165609, "mrr": 0.148282, "main_score": 0.148282}
    found = read(tmp_path, "WebLINXCandidatesReranking", today("WebLINXCandidatesReranking", {"validation": [entry]}))
    assert found.scores == {"validation": {"default": 0.148282}}


def test_msmarco_was_scored_on_what_was_called_validation(tmp_path: Path) -> None:
    found = read(tmp_path, "MSMARCO", old("MSMARCO", {"validation": {"ndcg_at_10": 0.4}, "test": {"ndcg_at_10": 0.7}}))
    assert found.scores == {"dev": {"default": 0.4}, "test": {"default": 0.7}}
    both = old("MSMARCO", {"dev": {"ndcg_at_10": 0.41}, "validation": {"ndcg_at_10": 0.4}})
    assert read(tmp_path, "MSMARCO", both).scores == {"dev": {"default": 0.41}}


@pytest.mark.parametrize(
    ("task", "subset", "ap", "accuracy"),
    [
        ("ToxicConversationsClassification", "default", 0.137901, 0.7004),
        ("AmazonCounterfactualClassification", "en", 0.399833, 0.770746),
    ],
)
@pytest.mark.parametrize("form", ["old", "today"])
def test_average_precision_is_not_accuracy(
    tmp_path: Path, task: str, subset: str, ap: float, accuracy: float, form: str
) -> None:
    metrics = {"accuracy": accuracy, "ap": ap, "f1": 0.5, "main_score": ap}
    value = (
        old(task, {"test": {subset: metrics}})
        if form == "old"
        else today(task, {"test": [{**metrics, "hf_subset": subset}]})
    )
    found = read(tmp_path, task, value)
    assert found.scores == {"test": {subset: accuracy}}
    assert f"stored main_score is {ap} (ap); accuracy is shown" in found.notes
    assert not is_routine(found.notes[-1])


def test_another_metric_is_no_main_score(tmp_path: Path) -> None:
    found = read(tmp_path, "NFCorpus", today("NFCorpus", {"test": [{"map_at_10": 0.2, "main_score": 0.2}]}))
    assert not found.scores
    assert "has no ndcg_at_10; its main_score is that of (map_at_10)" in found.damage
    assert "no ndcg_at_10" in read(tmp_path, "NFCorpus", old("NFCorpus", {"test": {"map_at_10": 0.2}})).damage


def test_a_main_score_alone_counts(tmp_path: Path) -> None:
    assert read(tmp_path, "NFCorpus", today("NFCorpus", {"test": [{"main_score": 0.2}]})).scores == {
        "test": {"default": 0.2}
    }


def test_main_scores_keep_their_last_digit(tmp_path: Path) -> None:
    # the view of a run rounds its main score and its metrics alike, and others round one of them
    entry = {"ndcg_at_10": 0.3123456789, "main_score": 0.312346}
    found = read(tmp_path, "NFCorpus", today("NFCorpus", {"test": [entry]}))
    assert found.scores == {"test": {"default": 0.312346}}
    assert not found.notes


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("CMedQAv1", "CMedQAv1-reranking"),
        ("NorwegianParliament", "NorwegianParliamentClassification"),
        ("8TagsClustering", "EightTagsClustering"),
        ("Fever", "FEVER"),
        ("STS12", "STS12"),
        ("mine", "mine"),
    ],
)
def test_tasks_were_called_otherwise(then: str, now: str) -> None:
    assert current_name(then) == now


def test_a_renamed_task_is_found_by_its_name_today(tmp_path: Path) -> None:
    found = read(tmp_path, "CMedQAv1", old("CMedQAv1", {"test": {"map": 0.68, "mrr": 0.7}}))
    assert (found.task, found.scores) == ("CMedQAv1-reranking", {"test": {"default": 0.68}})


def copied(task: str, split: str, **metrics: float) -> dict[str, Any]:
    return today(task, {split: [metrics]}, None)


@pytest.mark.parametrize("version", [None, "0.0.0"])
def test_what_was_copied_from_a_card_is_in_percent(tmp_path: Path, version: str | None) -> None:
    entry = {"ndcg_at_10": 42.492999999999995, "precision_at_1000": 0.104, "main_score": 42.492999999999995}
    value = today("MSMARCO", {"dev": [entry]}, version)
    value["evaluation_time"] = float("nan")
    value["dataset_revision"] = "None"
    found = read(tmp_path, "MSMARCO", value)
    assert found.scores["dev"]["default"] == pytest.approx(0.42493)
    assert found.notes == ["in percent in the file"]
    assert found.revision is None


def test_a_copied_file_may_be_from_0_to_1(tmp_path: Path) -> None:
    found = read(tmp_path, "MSMARCO", copied("MSMARCO", "dev", ndcg_at_10=0.42, main_score=0.42))
    assert (found.scores, found.notes) == ({"dev": {"default": 0.42}}, [])


def test_small_scores_of_a_file_in_percent_are_in_percent(tmp_path: Path) -> None:
    value = today(
        "Tatoeba",
        {
            "test": [
                {"hf_subset": "deu-eng", "f1": 90.1, "main_score": 90.1},
                {"hf_subset": "tel-eng", "f1": 0.7, "main_score": 0.7},
            ]
        },
        None,
    )
    assert read(tmp_path, "Tatoeba", value).scores["test"] == {
        "deu-eng": pytest.approx(0.901),
        "tel-eng": pytest.approx(0.007),
    }


def test_what_mteb_itself_wrote_is_never_in_percent(tmp_path: Path) -> None:
    found = read(tmp_path, "NFCorpus", today("NFCorpus", {"test": [{"ndcg_at_10": 31.0, "main_score": 31.0}]}))
    assert not found.scores
    assert "from -1 to 1" in found.damage


def test_thresholds_and_times_are_no_reason_to_think_of_percent(tmp_path: Path) -> None:
    entry = {"max_ap": 0.7, "main_score": 0.7, "dot_accuracy_threshold": 770.4, "evaluation_time": 62.5}
    assert read(tmp_path, "TwitterSemEval2015", today("TwitterSemEval2015", {"test": [entry]}, None)).scores == {
        "test": {"default": 0.7}
    }


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"mteb_dataset_name": "APPS", "queries": {"NDCG@10": 0.18}, "mteb_version": "1.2.0"}, "name of the file"),
        ({"mteb_dataset_name": "FEVER", "queries": {"NDCG@10": 0.18}, "mteb_version": "1.2.0"}, "no ndcg_at_10"),
        ({"mteb_dataset_name": "FEVER", "mteb_version": "1.2.0"}, "holds no scores"),
        ({"mteb_version": "1.2.0"}, "task_name"),
        ({"mteb_dataset_name": 3, "test": {}}, "mteb_dataset_name"),
        ({"mteb_dataset_name": "FEVER", "test": {}}, "no ndcg_at_10"),
    ],
)
def test_what_is_no_result_says_why(tmp_path: Path, value: object, why: str) -> None:
    found = read(tmp_path, "FEVER", value)
    assert not found.scores
    assert why in found.damage


def test_the_french_part_was_the_default_once() -> None:
    value = old("MLSUMClusteringP2P", {"test": {"v_measure": 0.4}}, "1.1.2.dev0")
    assert as_today(value, "x").scores == {"test": [{"hf_subset": "fr", "main_score": 0.4}]}
