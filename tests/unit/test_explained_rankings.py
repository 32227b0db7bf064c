"""What was ranked is shown without a model: from run files, and from vectors and scores of pairs that are stored."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from support.explained_runs import copied, explained, of, refuse_models, run, save_runs, sides
from support.tiny import save_cross_encoder

from evalharness.catalog.tasks import Member, find_task
from evalharness.compare.explanation_markdown import render
from evalharness.compare.pairing import pair_task
from evalharness.compare.sides import read_side
from evalharness.results.records import ranking_path
from evalharness.run.explaining import DEPTH, ExplainRequest, explain
from evalharness.run.rankings import stored_ranking
from evalharness.run.texts import Sources, jobs_with_texts


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_runs(tmp_path_factory.mktemp("explained"))


@pytest.fixture(autouse=True)
def no_model(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del runs
    refuse_models(monkeypatch)


def trec(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        query, _, document, *_ = line.split()
        found.setdefault(query, []).append(document)
    return found


@pytest.mark.parametrize("name", ["SmallSearch", "MyReranking"])
def test_rankings_come_from_stored_vectors_and_are_those_of_the_run(runs: Path, tmp_path: Path, name: str) -> None:
    searched = explained(runs, name, items=50)
    kept = copied(runs, tmp_path)
    task = [str(kept / "tasks" / f"{name}.toml")]
    run(kept, runs / "model", task, "base", "--save-rankings")
    run(kept, runs / "model", task, "candidate", "--pooling", "cls", "--max-length", "6", "--save-rankings")
    files = [trec(ranking_path(side.folder or Path(), side.tasks[name].jobs[0].record.job)) for side in sides(kept)]  # type: ignore[union-attr]
    shutil.rmtree(kept / "store")
    read = explained(kept, name, items=50)
    assert read == replace(searched, base=read.base, candidate=read.candidate)
    assert read.losses
    for change in read.losses:
        assert change.rankings is not None
        assert change.rankings.base is not None
        assert [hit.document for hit in change.rankings.base] == files[0][change.id][:DEPTH]
        for relevant in change.rankings.relevant:
            assert relevant.base == files[0][change.id].index(relevant.document) + 1
            assert relevant.candidate == files[1][change.id].index(relevant.document) + 1
            assert relevant.text


def test_a_damaged_run_file_is_not_read(runs: Path, tmp_path: Path) -> None:
    kept, name = copied(runs, tmp_path), "SmallSearch"
    run(kept, runs / "model", [str(kept / "tasks" / f"{name}.toml")], "base", "--save-rankings")
    wanted = explained(kept, name)
    (path,) = (kept / "base").rglob("*.trec")
    path.write_text(path.read_text().replace("d0", "d1"))
    assert explained(kept, name) == wanted
    shutil.rmtree(kept / "store")
    found = explained(kept, name)
    assert any("is not what was written" in note for note in found.notes)
    assert found.losses[0].rankings is not None
    assert found.losses[0].rankings.base is None


def test_without_rankings_and_vectors_queries_and_scores_are_left_and_a_command(runs: Path, tmp_path: Path) -> None:
    kept = copied(runs, tmp_path)
    shutil.rmtree(kept / "store")
    found = explained(kept, "SmallSearch")
    assert not (kept / "store").exists()
    assert len(found.notes) == 2
    for note, who in zip(found.notes, ("base", "candidate"), strict=True):
        assert note.startswith(f"What the {who} ranked in SmallSearch [test, default] is not shown: ")
        assert "vectors of 0 of" in note
        assert f"--tasks SmallSearch --output {kept / who} --save-rankings" in note
    change = found.losses[0]
    assert change.texts[0].text
    assert of(change, "ndcg_at_10").base != of(change, "ndcg_at_10").candidate
    assert change.rankings is not None
    assert (change.rankings.base, change.rankings.candidate) == (None, None)
    assert change.rankings.relevant[0].text
    assert "not stored" in render(found)


def test_pairs_of_a_reranker_are_ranked_again_from_their_stored_scores(runs: Path, tmp_path: Path) -> None:
    kept, name = copied(runs, tmp_path), "MyReranking"
    model, task = save_cross_encoder(tmp_path / "reranker"), [str(kept / "tasks" / f"{name}.toml")]
    run(kept, model, task, "pairs", "--save-rankings")
    base, candidate = read_side(str(kept / "base")), read_side(str(kept / "pairs"))
    request = ExplainRequest(task[0], 50, kept / "store")
    read = explain(base, candidate, request)
    (path,) = (kept / "pairs").rglob("*.trec")
    files = trec(path)
    path.unlink()
    found = explain(base, candidate, request)
    assert found == read
    assert found.notes == ()
    for change in found.losses:
        assert change.rankings is not None
        assert change.rankings.candidate is not None
        assert [hit.document for hit in change.rankings.candidate] == files[change.id][:DEPTH]


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ({"kind": "lexical", "backend": "bm25"}, "the bm25 backend leaves nothing in the store"),
        ({"backend": "python"}, "the python backend leaves nothing in the store"),
        ({"overrides": {"reranker": "a/b"}}, "two stages leave nothing in the store"),
        ({"name": None}, "does not say which model it is of"),
        ({"fingerprint": "0"}, "has vectors of 0 of"),
    ],
    ids=str,
)
def test_what_leaves_nothing_in_the_store_is_told_so(runs: Path, model: Mapping[str, object], why: str) -> None:
    base, candidate = sides(runs)
    spec = find_task(str(runs / "tasks" / "SmallSearch.toml"))
    pair = pair_task(Member(task="SmallSearch"), spec, base, candidate)
    (job,) = jobs_with_texts(pair.jobs, Sources(base, candidate, spec, print))
    changed = replace(job.record, facts={**job.record.facts, "model": {**job.record.facts["model"], **model}})
    found = stored_ranking(base.folder or Path(), changed, ["q0"], job.loaded, runs / "store")
    assert why in found.why
    assert "evalharness run --model" in found.why
    assert not found.found


def test_a_command_is_told_wherever_the_results_are(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # named from inside, so that there are no folders above them; and copied, so that they are in no folder of a model
    (source,) = (runs / "base").rglob("model_meta.json")
    monkeypatch.chdir(source.parent.parent)
    shutil.copytree(source.parent, tmp_path / "lone")
    task, spec = str(runs / "tasks" / "SmallSearch.toml"), "--model local/model --tasks SmallSearch"
    for place, output in ((source.parent.name, f" --output {runs / 'base'}"), (str(tmp_path / "lone"), "")):
        one = read_side(place)
        found = explain(one, read_side(str(runs / "candidate")), ExplainRequest(task, 1, tmp_path / "no-store"))
        assert f"evalharness run {spec}{output} --save-rankings" in found.notes[0]
