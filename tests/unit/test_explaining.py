"""Why a task changed: what runs left is enough to say it, for every task type, and no model is opened."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from math import fsum
from pathlib import Path

import pytest
from support.explained_runs import NAMES, WORDS, copied, explained, of, refuse_models, run, save_runs, sides
from support.local_tasks import lines, task_file

from evalharness.cli.main import execute
from evalharness.compare.explanation_markdown import render
from evalharness.compare.sides import read_side
from evalharness.errors import UsageError
from evalharness.results.items import read_items, write_items
from evalharness.results.records import items_path
from evalharness.run.explaining import ExplainRequest, explain


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_runs(tmp_path_factory.mktemp("explained"))


@pytest.fixture(autouse=True)
def no_model(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del runs
    refuse_models(monkeypatch)


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
        (["--explain", "SmallPairs", "--format", "json"], "leave --format out"),
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
