"""Why a task changed: what runs left is enough to say it, for every task type, and no model is opened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from math import fsum
from pathlib import Path
from unittest.mock import patch

import pytest
from support.local_tasks import ROWS, jsonl_task, lines, task_file
from support.small_runs import save_small_tasks
from support.tiny import save_cross_encoder, save_sentence_model

from evalharness.catalog.tasks import Member, find_task
from evalharness.cli.main import execute
from evalharness.compare.explanation import Change, Explanation, Fact
from evalharness.compare.explanation_markdown import render
from evalharness.compare.pairing import pair_task
from evalharness.compare.sides import Results, read_side
from evalharness.errors import UsageError
from evalharness.models import loading, opening
from evalharness.results.items import read_items, write_items
from evalharness.results.records import items_path, ranking_path
from evalharness.run.explaining import DEPTH, ExplainRequest, explain
from evalharness.run.rankings import stored_ranking
from evalharness.run.texts import Sources, jobs_with_texts

OF_ROWS = ("PairClassification", "BitextMining", "Clustering", "Summarization", "Reranking")
NAMES = ["SmallPairs", "SmallSearch", "SmallLabels", *(f"My{kind}" for kind in OF_ROWS), "MyMulti"]
OPEN = opening.open_backend
# as tiny models have little to say of texts of two words
WORDS = ("ferns", "shade of trees", "a puncture", "glue", "bread", "yeast and salt", "the harbour", "tide")
SUMMARIES = [
    {
        "human_summaries": [f"{WORDS[n % 8]} {n}"],
        "machine_summaries": [WORDS[(n + step) % 8] for step in range(4)],
        "relevance": [1, n % 4, 3, 2],
    }
    for n in range(24)
]
RERANKED = [
    {"query": f"{WORDS[n % 8]} {n}", "positive": [WORDS[(n + 1) % 8]], "negative": [WORDS[(n + 3) % 8], WORDS[n % 5]]}
    for n in range(24)
]


def save_tasks(folder: Path) -> list[str]:
    rows = {**ROWS, "Summarization": SUMMARIES, "Reranking": RERANKED}
    rows["BitextMining"] = [{"sentence1": f"{WORDS[n % 8]} {n}", "sentence2": f"{n} {WORDS[n % 7]}"} for n in range(24)]
    rows["PairClassification"] = [{**row, "label": n % 2} for n, row in enumerate(rows["BitextMining"])]
    files = save_small_tasks(folder)
    files += [str(jsonl_task(folder / f"My{kind}.toml", kind, rows[kind])) for kind in OF_ROWS]
    labelled = [{"text": f"{WORDS[n % 8]} {n}", "label": [n % 3, 3 + n % 2]} for n in range(24)]
    (folder / "multi.jsonl").write_bytes(b"\n".join(lines(labelled)))
    data = 'format = "jsonl"\nfiles = { train = "multi.jsonl", test = "multi.jsonl" }'
    return [*files, str(task_file(folder / "MyMulti.toml", "MultilabelClassification", data))]


def run(folder: Path, model: Path, tasks: list[str], output: str, *more: str) -> None:
    store, results = str(folder / "store"), str(folder / output)
    command = ["run", "--model", str(model), "--tasks", *tasks, "--store", store, "--output", results, *more]
    with patch.object(loading, "open_backend", OPEN):
        assert execute(command) == 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models' results of all types, and their vectors; no ranking is kept."""
    folder = tmp_path_factory.mktemp("explained")
    tasks = save_tasks(folder / "tasks")
    run(folder, save_sentence_model(folder / "model"), tasks, "base")
    run(folder, folder / "model", tasks, "candidate", "--pooling", "cls", "--max-length", "6")
    return folder


@pytest.fixture(autouse=True)
def no_model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the runs of the fixture are done, whoever opens a backend fails."""
    request.getfixturevalue("runs")

    def refuse(*_: object) -> None:
        raise AssertionError("a backend was opened")

    monkeypatch.setattr(opening, "open_backend", refuse)
    monkeypatch.setattr(loading, "open_backend", refuse)


def sides(folder: Path) -> tuple[Results, Results]:
    return read_side(str(folder / "base")), read_side(str(folder / "candidate"))


def explained(folder: Path, name: str, items: int = 10) -> Explanation:
    base, candidate = sides(folder)
    request = ExplainRequest(str(folder / "tasks" / f"{name}.toml"), items, folder / "store")
    return explain(base, candidate, request)


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def of(change: Change, name: str) -> Fact:
    (found,) = (fact for fact in change.facts if fact.name == name)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_type_is_explained(runs: Path, name: str) -> None:
    found = explained(runs, name)
    stored = [side.tasks[name].scores["test"]["default"] for side in sides(runs)]
    assert [found.base_score, found.candidate_score] == stored
    losses, gains = ([change.adds for change in changes] for changes in (found.losses, found.gains))
    assert losses == sorted(losses)
    assert gains == sorted(gains, reverse=True)
    assert all(adds < 0 for adds in losses)
    assert all(adds > 0 for adds in gains)
    assert (len(losses), len(gains)) == (min(found.lost, 10), min(found.gained, 10))
    # the models of these runs are not the same, and every type but clustering of few texts feels it
    assert losses or gains or name == "MyClustering"
    if name != "MyClustering":
        assert found.notes == ()
        assert all(change.texts for change in (*found.losses, *found.gains))
        assert {item.kind for item in found.slices} >= {"length"}


@pytest.mark.parametrize("name", ["SmallSearch", "SmallLabels", "MyReranking", "MyMulti", "MySummarization"])
def test_what_items_add_is_the_difference_where_the_score_is_a_mean(runs: Path, name: str) -> None:
    found = explained(runs, name, items=1_000)
    assert fsum(change.adds for change in (*found.losses, *found.gains)) == pytest.approx(found.difference, abs=1e-5)


def test_pairs_have_both_similarities_and_what_people_say(runs: Path) -> None:
    found = explained(runs, "SmallPairs", items=24)
    rows = [json.loads(line) for line in (runs / "tasks" / "SmallPairs.jsonl").read_text().splitlines()]
    scores = [read_items(next((runs / side).rglob("SmallPairs/*.parquet"))) for side in ("base", "candidate")]
    assert len(found.losses) + len(found.gains) == 24
    for change in (*found.losses, *found.gains):
        row = rows[int(change.id)]
        assert [passage.text for passage in change.texts] == [row["sentence1"], row["sentence2"]]
        assert of(change, "rated by people, 0-1").base == row["score"] / 5
        told = of(change, "cosine similarity")
        assert [told.base, told.candidate] == [items.columns["cosine_similarity"][int(change.id)] for items in scores]
    # the ranks of what was lost most are further apart than they were
    worst = of(found.losses[0], "ranks apart, share of all pairs")
    assert float(worst.candidate) > float(worst.base)


def test_decisions_are_right_or_wrong_at_the_best_threshold(runs: Path) -> None:
    found = explained(runs, "MyPairClassification", items=24)
    for change in (*found.losses, *found.gains):
        assert of(change, "label").base == ("belong together" if int(change.id) % 2 else "do not")
        assert {of(change, "right at the best threshold").base} <= {"yes", "no"}


def test_classified_texts_have_both_predictions_by_name(runs: Path) -> None:
    found = explained(runs, "SmallLabels", items=24)
    assert found.losses
    for change in (*found.losses, *found.gains):
        label, correct, predicted = of(change, "label"), of(change, "correct"), of(change, "predicted")
        assert label.base == label.candidate == ("ferns", "shade")[int(change.id) % 2]
        for share, said in ((correct.base, predicted.base), (correct.candidate, predicted.candidate)):
            count = round(10 * float(share))
            assert (f"{label.base} ({count} of 10)" in str(said)) == (count > 0)
    assert [item.name for item in found.slices if item.kind == "label"] == ["ferns", "shade"]


def test_sets_of_labels_are_told_by_name(runs: Path) -> None:
    found = explained(runs, "MyMulti", items=24)
    change = found.losses[0] if found.losses else found.gains[0]
    number = int(change.id)
    assert of(change, "label").base == f"{number % 3}, {3 + number % 2}"
    assert " of 10)" in str(of(change, "predicted").base)
    # a text is in the slice of each of its labels
    labels = [item for item in found.slices if item.kind == "label"]
    assert [item.name for item in labels] == ["0", "1", "2", "3", "4"]
    assert sum(item.items for item in labels) == 48


def test_translations_have_what_both_found(runs: Path) -> None:
    found = explained(runs, "MyBitextMining", items=24)
    rows = [json.loads(line) for line in (runs / "tasks" / "MyBitextMining.jsonl").read_text().splitlines()]
    scores = [read_items(next((runs / side).rglob("MyBitextMining/*.parquet"))) for side in ("base", "candidate")]
    changes = (*found.losses, *found.gains)
    assert changes
    for change in changes:
        texts = {passage.name: passage.text for passage in change.texts}
        places = [int(items.columns["found"][int(change.id)]) for items in scores]
        # nothing changed for the others, whatever the measure makes of it
        assert places[0] != places[1]
        assert texts["found by the base"] == rows[places[0]]["sentence2"] or rows[places[0]] == rows[places[1]]
        assert texts["translation"] == rows[int(change.id)]["sentence2"]


def test_clustering_says_what_is_out_of_reach(runs: Path) -> None:
    found = explained(runs, "MyClustering")
    assert len(found.notes) == 1
    assert "draws of many" in found.notes[0]
    assert not found.slices
    assert "draws of many" in render(found)


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


def test_data_that_have_changed_since_are_not_shown(runs: Path, tmp_path: Path) -> None:
    kept = copied(runs, tmp_path)
    path = kept / "tasks" / "SmallPairs.jsonl"
    path.write_text(path.read_text().replace("ferns", "mosses"))
    found = explained(kept, "SmallPairs")
    assert "have changed since" in found.notes[0]
    assert found.losses
    assert not any(change.texts for change in found.losses)
    assert of(found.losses[0], "cosine similarity")


def test_a_task_that_no_catalogue_has_is_explained_without_texts(runs: Path) -> None:
    found = explain(*sides(runs), ExplainRequest("SmallPairs", 3, runs / "store"))
    assert found.losses
    assert "name its task file: --explain FOLDER/SmallPairs.toml" in found.notes[0]


def test_tasks_that_cannot_be_explained_are_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean SmallPairs"):
        explain(*sides(runs), ExplainRequest("SmalPairs"))
    kept = copied(runs, tmp_path)
    shutil.rmtree(next((kept / "candidate").rglob("jobs/SmallPairs")))
    next((kept / "candidate").rglob("SmallPairs.json")).unlink()
    with pytest.raises(UsageError, match=r"SmallPairs cannot be explained.*the candidate has no result"):
        explained(kept, "SmallPairs")


def test_items_that_differ_are_refused(runs: Path, tmp_path: Path) -> None:
    kept = copied(runs, tmp_path)
    side = read_side(str(kept / "candidate"))
    record = side.tasks["SmallPairs"].jobs[0].record
    assert record is not None
    path = items_path(side.folder or Path(), record.job)
    items = read_items(path)
    write_items(path, replace(items, ids=["other", *items.ids[1:]]))
    with pytest.raises(UsageError, match="cannot be explained"):
        explained(kept, "SmallPairs")


def test_several_splits_are_told_apart_the_worst_first(runs: Path, tmp_path: Path) -> None:
    kept = copied(runs, tmp_path)
    rows = [{"sentence1": f"{WORDS[n % 8]} {n}", "sentence2": f"{n} {WORDS[n % 5]}", "score": n % 6} for n in range(40)]
    for part, some in (("dev", rows[:16]), ("test", rows[16:])):
        (kept / "tasks" / f"two-{part}.jsonl").write_bytes(b"\n".join(lines(some)))
    data = 'format = "jsonl"\nfiles = { dev = "two-dev.jsonl", test = "two-test.jsonl" }'
    path = task_file(kept / "tasks" / "Two.toml", "STS", data)
    path.write_text(path.read_text().replace("[data]", 'splits = ["dev", "test"]\n[data]'))
    for output, more in (("base", ()), ("candidate", ("--pooling", "cls", "--max-length", "6"))):
        run(kept, runs / "model", [str(path)], output, *more)
    found = explained(kept, "Two", items=40)
    parts = [item for item in found.slices if item.kind == "subset"]
    scores = [side.tasks["Two"].scores for side in sides(kept)]
    assert [item.difference for item in parts] == sorted(item.difference for item in parts)
    # mteb's file, which scores are read from here, has six digits
    assert {item.name: (round(item.base, 6), round(item.candidate, 6)) for item in parts} == {
        f"Two [{split}, default]": (scores[0][split]["default"], scores[1][split]["default"])
        for split in ("dev", "test")
    }
    assert all(item.interval is not None for item in parts)
    assert {change.split for change in (*found.losses, *found.gains)} == {"dev", "test"}
    text = {
        f"{split}/{n}": row["sentence1"]
        for split, some in (("dev", rows[:16]), ("test", rows[16:]))
        for n, row in enumerate(some)
    }
    for change in found.losses:
        assert change.texts[0].text == text[f"{change.split}/{change.id}"]
    assert "(Two: dev, default)" in render(found)


def test_the_command_prints_it(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task, store = str(runs / "tasks" / "SmallSearch.toml"), str(runs / "store")
    command = ["compare", str(runs / "base"), str(runs / "candidate"), "--explain", task]
    capsys.readouterr()
    assert execute([*command, "--explain-items", "2", "--store", store]) == 0
    found = explained(runs, "SmallSearch", items=2)
    assert capsys.readouterr().out == render(found)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--explain", "SmallPairs", "--gate", "regression"], "leave --gate out"),
        (["--explain", "SmallPairs", "--tolerance", "0", "--tasks", "A"], "leave --tasks and --tolerance out"),
        (["--explain-items", "3"], "--explain is not given; leave --explain-items out"),
        (["candidate", "--explain", "SmallPairs"], "is about one candidate, got 2"),
        (["--explain", "SmalPairs"], "did you mean SmallPairs"),
        (["--explain", "nowhere.toml"], "nowhere.toml: cannot be read"),
    ],
    ids=" ".join,
)
def test_the_command_refuses_what_it_cannot_do(
    runs: Path, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["compare", str(runs / "base"), str(runs / "candidate"), *flags]) == 2
    assert said in capsys.readouterr().err
