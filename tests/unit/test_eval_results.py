"""`.eval_results/*.yaml`: read back by the Hub's own code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Cli
from huggingface_hub import EvalResultEntry, parse_eval_result_entries
from support.publications import NAME, of_mteb, own, public_model, stored
from support.stored import StoredScores, random_ndcg

from evalharness.errors import UsageError
from evalharness.reports.board import Span
from evalharness.reports.publishing.eval_results import write_eval_results
from evalharness.reports.publishing.own import OwnResults


def entries(path: Path) -> list[EvalResultEntry]:
    return parse_eval_result_entries(yaml.safe_load(path.read_text(encoding="utf-8")))


def with_interval(results: OwnResults, span: Span) -> OwnResults:
    def sure(task: Any) -> Any:
        return replace(task, cell=replace(task.cell, parts=[replace(part, interval=span) for part in task.cell.parts]))

    return replace(results, tasks=[sure(task) for task in results.tasks])


def one_task(folder: Path, scores: StoredScores | None = None) -> list[OwnResults]:
    jobs = {("NFCorpus", "test", "default"): of_mteb("NFCorpus", scores or random_ndcg(1, 20))}
    return own(stored(folder, jobs))


@pytest.mark.parametrize(
    "content",
    ["- notes: evalharness\n  date: 2024-02-31\n", "[" * 5_000, "a: [", "\x00", "- {? [a] : b}\n"],
    ids=["a day that no month has", "deep", "open", "nul", "a list as a name"],
)
def test_a_file_that_is_no_yaml_is_in_the_way(tmp_path: Path, content: str) -> None:
    place = tmp_path / "repo" / ".eval_results" / "NFCorpus.yaml"
    place.parent.mkdir(parents=True)
    place.write_text(content)
    with pytest.raises(UsageError, match="would replace what was not made by it"):
        write_eval_results(one_task(tmp_path / "results"), tmp_path / "repo")
    assert place.read_text() == content


def test_a_file_per_task_with_its_parts_and_the_whole(tmp_path: Path) -> None:
    jobs = {
        ("STS22.v2", "test", subset): of_mteb("STS22.v2", replace(random_ndcg(1), score=score, items=None))
        for subset, score in zip(
            ["en", "de", "es", "pl", "tr", "ar", "ru", "zh", "fr", "de-en", "es-en", "it", "pl-en", "zh-en", "es-it",
             "de-fr", "de-pl", "fr-pl"],
            [0.5, 0.25] + [0.125] * 16,
            strict=True,
        )
    }  # fmt: skip
    publication = write_eval_results(own(stored(tmp_path / "results", jobs)), tmp_path / "repo")
    assert [path.relative_to(tmp_path / "repo").as_posix() for path in publication.files] == [
        ".eval_results/STS22.v2.yaml"
    ]
    found = entries(publication.files[0])
    values = {entry.task_id: entry.value for entry in found}
    assert len(values) == 19
    assert (values["STS22.v2_en_test"], values["STS22.v2_de_test"]) == (50.0, 25.0)
    assert values["STS22.v2"] == round(100 * (0.5 + 0.25 + 16 * 0.125) / 18, 5)
    assert {(entry.dataset_id, entry.dataset_revision) for entry in found} == {
        ("mteb/sts22-crosslingual-sts", jobs["STS22.v2", "test", "en"].key["dataset_revision"])
    }


def test_what_is_said_beside_a_score(tmp_path: Path) -> None:
    (results,) = one_task(tmp_path / "results")
    sure = with_interval(results, Span(0.31234, 0.5, "BCa of 20 queries", is_trusted=False))
    (path,) = write_eval_results([sure], tmp_path / "repo", "https://example.org/me").files
    part, whole = entries(path)
    assert part.notes == (
        "evalharness 0.1.0, mteb 2.26.24; protocol mteb; 95% interval 31.23 to 50.00 (BCa of 20 queries), of too few "
        "items to rely on it"
    )
    assert whole.notes == part.notes
    assert part.source_url == "https://example.org/me"
    assert part.date is not None
    assert part.date.startswith("20")
    (path,) = write_eval_results([with_interval(results, Span(float("nan"), 1.0))], tmp_path / "other").files
    assert all("interval" not in str(entry.notes) and entry.source_url is None for entry in entries(path))


def test_a_second_time_the_same_bytes_and_newer_results_take_the_place_of_older(tmp_path: Path) -> None:
    results = one_task(tmp_path / "results")
    (path,) = write_eval_results(results, tmp_path / "repo").files
    before = path.read_bytes()
    write_eval_results(results, tmp_path / "repo")
    assert path.read_bytes() == before
    newer = one_task(tmp_path / "newer", random_ndcg(2, 20))
    write_eval_results(newer, tmp_path / "repo")
    assert path.read_bytes() != before


@pytest.mark.parametrize(
    "theirs",
    [
        "- dataset: {id: mteb/nfcorpus, task_id: NFCorpus}\n  value: 1\n  notes: by hand\n",
        "- dataset: {id: mteb/nfcorpus, task_id: NFCorpus}\n  value: 1\n",
        "- notes: evalharness\n- by hand\n",
        "[]\n",
        "- [\n",
        "",
    ],
)
def test_what_somebody_else_wrote_stays(tmp_path: Path, theirs: str) -> None:
    place = tmp_path / "repo" / ".eval_results" / "NFCorpus.yaml"
    place.parent.mkdir(parents=True)
    place.write_text(theirs)
    with pytest.raises(UsageError, match=r"--eval-results would replace what was not made by it: .*NFCorpus.yaml"):
        write_eval_results(one_task(tmp_path / "results"), tmp_path / "repo")
    assert place.read_text() == theirs


def test_texts_of_others_stay_texts(tmp_path: Path) -> None:
    (results,) = one_task(tmp_path / "results")
    hostile = "cut: 3\n- dataset: {id: x}\n\u202e!!python/object:os.system <script> \x1b[31m"
    (task,) = results.tasks
    noted = replace(results, tasks=[replace(task, stored=replace(task.stored, notes=[hostile]))])
    unsure = with_interval(noted, Span(float("nan"), float("nan")))
    (path,) = write_eval_results([unsure], tmp_path / "repo").files
    part, _ = entries(path)
    assert part.notes == (
        "evalharness 0.1.0, mteb 2.26.24; protocol mteb; cut: 3 - dataset: {id: x} \ufffd!!python/object:os.system "
        "<script> \ufffd[31m"
    )


def test_results_that_mteb_wrote_say_so(tmp_path: Path) -> None:
    stored(tmp_path / "results")
    for jobs in list((tmp_path / "results").rglob("jobs")):
        view = (
            '{"task_name": "NFCorpus", "dataset_revision": "ec0fa4fe99da2ff19ca1214b7966684033a58814", "mteb_version": '
        )
        (jobs.parent / "NFCorpus.json").write_text(
            view + '"2.1.0", "date": 1.7e9, "scores": {"test": [{"hf_subset": "default", "main_score": 0.25}]}}'
        )
        jobs.rename(tmp_path / "gone")
    (path,) = write_eval_results(own(tmp_path / "results"), tmp_path / "repo").files
    part, whole = entries(path)
    assert (part.value, whole.value, part.date) == (25.0, 25.0, "2023-11-14")
    assert part.notes == "published by evalharness from a file of mteb 2.1.0; protocol mteb"


def test_several_models_have_folders(here: Cli, tmp_path: Path) -> None:
    jobs = {("NFCorpus", "test", "default"): of_mteb("NFCorpus", random_ndcg(1, 20))}
    stored(tmp_path / "results", jobs)
    stored(tmp_path / "results", jobs, public_model(revision="2" * 40))
    done = here("report", "results", "--eval-results", "out", "--source-url", "https://example.org")
    assert done.returncode == 0, done.stderr
    found = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "out").rglob("*.yaml"))
    folder = f"out/{NAME.replace('/', '__')}"
    assert found == [
        f"{folder}/{revision}/.eval_results/NFCorpus.yaml" for revision in ("2" * 40, public_model().revision)
    ]
    assert {entry.source_url for name in found for entry in entries(tmp_path / name)} == {"https://example.org"}
