"""What a report shows of what there is: lists, tasks, types, languages and models, by any name that they have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalharness.catalog.lists import task_lists
from evalharness.catalog.selection import Selection, select
from evalharness.catalog.tasks import Member, TaskList, find_task, read_lists, suites
from evalharness.errors import DataError, UsageError
from evalharness.reports.board import Board
from evalharness.reports.building.boards import make_boards
from evalharness.reports.building.choosing import SORTS, Choice, wanted_tasks
from evalharness.results.records import JobId, JobRecord
from evalharness.results.stored import StoredRun, StoredTask
from evalharness.results.views import StoredJob

TRIO = TaskList(name="trio", tasks=tuple(Member(task=name) for name in ("STS12", "NFCorpus", "SciFact")))


def run(model: str, scores: Mapping[str, float | Mapping[str, float]], **changes: Any) -> StoredRun:
    """A run with a score, or scores by subset, on each task's only split, `test`."""
    tasks = {}
    for name, given in scores.items():
        spec = find_task(name)
        subsets = given if isinstance(given, Mapping) else {"default": given}
        tasks[name] = StoredTask(name, {"test": dict(subsets)}, spec.revision if spec else None)
    return replace(StoredRun(model, "c" * 40, {}, tasks, Path("results") / model), **changes)


def board(runs: list[StoredRun], **choice: Any) -> Board:
    (found,) = make_boards(runs, Choice(**choice))
    return found


def models(found: Board) -> list[str]:
    return [row.model for row in found.rows]


def refusal(runs: list[StoredRun], **choice: Any) -> list[str]:
    with pytest.raises(UsageError) as raised:
        make_boards(runs, Choice(**choice))
    return str(raised.value).splitlines()


MINE = run("me/mine", {"STS12": 0.5, "NFCorpus": 0.4, "SciFact": 0.6, "MyTask": 0.7})


def test_tasks_alone_are_a_list() -> None:
    found = board([MINE], tasks=["SciFact", "MyTask"])
    assert (found.title, found.tasks) == ("the named tasks", ["SciFact", "MyTask"])
    assert found.rows[0].mean_task.score == pytest.approx(0.65)
    # what is named is a list: other data than the catalogue's are none
    other = replace(MINE, tasks={"SciFact": StoredTask("SciFact", {"test": {"default": 0.5}}, "b" * 40)})
    assert "data revision bbb" in board([other], tasks=["SciFact"]).rows[0].cells["SciFact"].missing


def test_tasks_and_types_keep_a_part_of_each_list_and_its_title_says_so() -> None:
    found = board([MINE], lists=[TRIO], tasks=["SciFact", "STS12"])
    assert (found.title, found.tasks) == ("trio, only 2 of its 3 tasks", ["STS12", "SciFact"])
    found = board([MINE], lists=[TRIO], types=["retrieval"])
    assert (found.title, dict(found.types)) == (
        "trio, only 2 of its 3 tasks, only Retrieval",
        {"Retrieval": ["NFCorpus", "SciFact"]},
    )
    assert board([MINE], lists=[TRIO], tasks=["STS12", "NFCorpus", "SciFact"]).title == "trio"
    assert board([MINE], types=["other"]).tasks == ["MyTask"]


def test_languages_keep_subsets_and_scores_are_over_those_alone() -> None:
    subsets = {"en-en": 0.9, "es-es": 0.7, "ar-ar": 0.1}
    whole = board([run("a/x", {"STS17": subsets})], lists=[TaskList(name="one", tasks=(Member(task="STS17"),))])
    assert whole.rows[0].mean_task.score is None
    only = Member(task="STS17", subsets=("en-en", "es-es", "ar-ar"))
    listed = TaskList(name="one", tasks=(only, Member(task="NFCorpus")))
    runs = [run("a/x", {"STS17": subsets, "NFCorpus": 0.4})]
    found = board(runs, lists=[listed], languages=["spanish", "ara"])
    assert found.title == "one, only 1 of its 2 tasks, only languages spanish, ara"
    assert found.rows[0].cells["STS17"].score == pytest.approx(0.4)
    assert [part.subset for part in found.rows[0].cells["STS17"].parts] == ["ar-ar", "es-es"]
    assert list(found.notes) == ["over their subsets with spanish, ara only, not over all that they have: STS17"]
    # nothing is left out: it is the list itself
    assert board([MINE], lists=[TRIO], languages=["english"], types=["STS", "retrieval"]).title == "trio"
    both = board(runs, lists=[listed], languages=["en"])
    assert both.tasks == ["STS17", "NFCorpus"]
    assert both.rows[0].mean_task.score == pytest.approx(0.65)


def recorded(name: str, languages: Mapping[str, list[str]]) -> StoredTask:
    """A task that the catalogue has not, with a record per subset."""
    jobs = []
    for subset, codes in languages.items():
        record = JobRecord(JobId(name, "test", subset), {}, "ap", codes, "1", 1.0, {}, {"ap": 0.5})
        jobs.append(StoredJob("test", subset, record))
    scores = {subset: 0.1 * place for place, subset in enumerate(languages, start=1)}
    return StoredTask(name, {"test": scores}, "1", jobs=jobs, metric="ap")


def test_languages_of_other_tasks_are_those_of_their_records() -> None:
    tasks = {"Mine": recorded("Mine", {"a": ["deu-Latn"], "b": ["eng-Latn"]}), "Bare": MINE.tasks["MyTask"]}
    mine = replace(MINE, tasks={**tasks, "Bare": replace(tasks["Bare"], task="Bare")})
    found = board([mine], languages=["de"])
    assert found.tasks == ["Mine"]
    assert found.rows[0].cells["Mine"].score == pytest.approx(0.1)
    assert "left out, for nobody says their languages: Bare" in found.notes


def test_a_language_may_be_asked_for_in_one_script() -> None:
    texts = {"old": ["srp-Cyrl"], "new": ["srp-Latn"], "both": ["srp-Cyrl", "eng-Latn"]}
    mine = replace(MINE, tasks={"Mine": recorded("Mine", texts)})
    kept = {
        asked: [part.subset for part in board([mine], languages=[asked]).rows[0].cells["Mine"].parts]
        for asked in ("srp", "srp-Cyrl", "srp-latn")
    }
    assert kept == {"srp": ["both", "new", "old"], "srp-Cyrl": ["both", "old"], "srp-latn": ["new"]}


def test_models_by_name_short_name_and_revision() -> None:
    second = replace(run("me/other", {"STS12": 0.3}), revision="d" * 40)
    third = replace(second, model="you/mine")
    runs = [MINE, second, third]
    assert models(board(runs, models=["me/mine"])) == ["me/mine"]
    assert set(models(board(runs, models=["MINE"]))) == {"me/mine", "you/mine"}
    assert models(board(runs, models=["mine@dddd"])) == ["you/mine"]
    assert set(models(board(runs, models=["other", "me/mine"]))) == {"me/mine", "me/other"}
    assert refusal(runs, models=["me/mien", "mine@eee"]) == [
        f"no results of the model 'mine@eee': those that there are have the revision {'c' * 40}, {'d' * 40}",
        "unknown model 'me/mien': did you mean me/mine or mine?",
    ]


def test_all_wrong_names_are_told_at_once() -> None:
    wrong = refusal(
        [MINE],
        lists=[TRIO],
        tasks=["STS21", "MyTusk"],
        types=["STSS"],
        languages=["englisch"],
        models=["mein"],
        sort="STS21",
    )
    assert [line.partition(":")[0] for line in wrong if line.startswith("unknown")] == [
        "unknown model 'mein'",
        "unknown task 'STS21'",
        "unknown task 'MyTusk'",
        "unknown task type 'STSS'",
        "unknown language 'englisch'",
        "unknown order 'STS21'",
    ]
    assert wrong[-1] == f"Rows are ordered by {', '.join(SORTS)}, a task type or a task of the lists"
    assert "did you mean MyTask?" in wrong[2]


def test_what_is_in_no_list_or_leaves_nothing_is_refused() -> None:
    assert refusal([MINE], lists=[TRIO], tasks=["MyTask"]) == ["the task MyTask is in none of the named lists"]
    other = TRIO.model_copy(update={"name": "other"})
    assert refusal([MINE], lists=[TRIO, other], languages=["cmn"]) == [
        "nothing is left of trio, other: check --tasks, --task-types and --languages, or leave out these lists"
    ]


@pytest.mark.parametrize(
    ("sort", "expected", "sorted_by"),
    [
        ("mean", "xzy", "mean"),
        ("type-mean", "xzy", "type-mean"),
        ("Type Mean", "xzy", "type-mean"),
        ("name", "xyz", "name"),
        ("sts", "xzy", "STS"),
        ("Retrieval", "yxz", "Retrieval"),
        ("scifact", "yzx", "SciFact"),
        ("NFCorpus", "xzy", "NFCorpus"),
        ("borda", "xzy", "borda"),
        # nobody has any, so by name
        ("parameters", "xyz", "parameters"),
        ("speed", "xyz", "speed"),
    ],
)
def test_order(sort: str, expected: str, sorted_by: str) -> None:
    runs = [
        run("z", {"STS12": 0.5, "NFCorpus": 0.3, "SciFact": 0.5}),
        run("y", {"NFCorpus": 0.2, "SciFact": 0.9}),
        run("x", {"STS12": 0.6, "NFCorpus": 0.8, "SciFact": 0.25}),
    ]
    found = board(runs, lists=[TRIO], sort=sort)
    assert ("".join(models(found)), found.sorted_by) == (expected, sorted_by)


def test_a_board_without_what_orders_the_others_says_so() -> None:
    pair = TaskList(name="pair", tasks=(Member(task="STS12"),))
    runs = [run("x", {"STS12": 0.1, "SciFact": 0.9}), run("y", {"STS12": 0.2, "SciFact": 0.1})]
    first, second = make_boards(runs, Choice(lists=[TRIO, pair], sort="SciFact"))
    assert (models(first), first.sorted_by, list(first.notes)) == (["x", "y"], "SciFact", [])
    assert (models(second), second.sorted_by) == (["y", "x"], "mean")
    assert list(second.notes) == ["has no SciFact, so rows are ordered by their means"]


def test_the_mean_over_common_tasks_is_named_and_no_other_mean() -> None:
    runs = [
        run("x", {"STS12": 0.1, "NFCorpus": 0.3, "SciFact": 0.9}),
        run("y", {"STS12": 0.5, "SciFact": 0.7}),
        run("nothing", {}),
    ]
    found = board(runs, lists=[TRIO], common=True)
    assert list(found.common) == ["STS12", "SciFact"]
    rows = {row.model: row for row in found.rows}
    assert rows["y"].common is not None
    assert rows["y"].common.score == pytest.approx(0.6)
    assert (rows["y"].mean_task.score, rows["y"].mean_task.present, rows["y"].mean_task.expected) == (None, 2, 3)
    assert rows["nothing"].common is not None
    assert (rows["nothing"].common.score, rows["nothing"].common.present) == (None, 0)
    assert board(runs, lists=[TRIO]).rows[0].common is None
    by_common = board(runs, lists=[TRIO], sort="common")
    assert models(by_common) == ["y", "x", "nothing"]
    apart = board([run("x", {"STS12": 0.1}), run("y", {"SciFact": 0.1})], lists=[TRIO], common=True)
    assert (list(apart.common), list(apart.notes)) == (
        [],
        ["no task is common to all rows, so there is no mean over common tasks"],
    )


def test_metrics_are_the_catalogues_or_those_of_most_results() -> None:
    mine = replace(MINE, tasks={**MINE.tasks, "MyTask": replace(MINE.tasks["MyTask"], metric="ap")})
    other = replace(mine, model="a/b", tasks={"MyTask": replace(mine.tasks["MyTask"], metric="f1")})
    third = replace(mine, model="a/c", tasks={"MyTask": mine.tasks["MyTask"]})
    found = board([mine, other, third])
    assert (found.metrics["STS12"], found.metrics["MyTask"]) == ("cosine_spearman", "ap")
    cells = {row.model: row.cells["MyTask"] for row in found.rows}
    assert (cells["a/b"].score, cells["a/b"].missing) == (None, "scored by f1, the table has ap")
    assert (cells["a/c"].score, cells["me/mine"].score) == (0.7, 0.7)
    wrong = replace(mine, tasks={"STS12": replace(mine.tasks["STS12"], metric="cosine_pearson")})
    assert "scored by cosine_pearson" in board([wrong], lists=[TRIO]).rows[0].cells["STS12"].missing


def test_versions_of_the_scoring_are_told_where_they_differ() -> None:
    def scored(model: str, version: object) -> StoredRun:
        task = recorded("Mine", {"default": ["eng-Latn"]})
        record = task.jobs[0].record
        assert record is not None
        jobs = [replace(task.jobs[0], record=replace(record, key={"score_version": version}))]
        return replace(MINE, model=model, tasks={"Mine": replace(task, jobs=jobs)})

    same = board([scored("a", 1), scored("b", 1)])
    assert [list(row.notes) for row in same.rows] == [[], []]
    mixed = board([scored("a", 1), scored("b", 2)])
    assert [list(row.notes) for row in mixed.rows] == [
        ["Mine: scored by version 1, other rows by another"],
        ["Mine: scored by version 2, other rows by another"],
    ]
    assert [list(row.cells["Mine"].notes) for row in mixed.rows] == [
        ["scored by version 1, other rows by another"],
        ["scored by version 2, other rows by another"],
    ]


def test_a_published_row_and_a_run_of_the_same_model_are_no_two_folders() -> None:
    public = replace(run("me/mine", {"STS12": 0.4}), is_published=True)
    rows = board([MINE, public], lists=[TaskList(name="one", tasks=(Member(task="STS12"),))]).rows
    assert [row.origin for row in rows] == ["results", "published"]
    assert not any("folders of this model" in note for row in rows for note in row.notes)


def test_own_lists_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "lists.toml"
    path.write_text(
        '[a]\ntasks = ["STS12"]\n[b]\ntasks = [{ task = "STS17", subsets = ["en-en"] }]\n', encoding="utf-8"
    )
    assert [item.name for item in task_lists([str(path), "quick-en"], [])] == ["a", "b", "quick-en"]
    assert set(read_lists(path)) == {"a", "b"}
    assert [(item.spec.name, item.subsets) for item in select(Selection(suites=[str(path)]))] == [
        ("STS12", ("default",)),
        ("STS17", ("en-en",)),
    ]
    for text, why in {
        "": "holds no list",
        'a = "STS12"': "[a]: expected an object, found a text",
        "[a]": "tasks: expected a list, found null",
        "[a]\ntasks = [1]": "tasks.0",
        '[a]\ntasks = ["STS12"]\nlanguages = ["eng"]': "unknown key 'languages'",
    }.items():
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError) as raised:
            task_lists([str(path)], [])
        assert why in str(raised.value)
    path.write_text('[quick-en]\ntasks = ["STS12"]\n', encoding="utf-8")
    with pytest.raises(UsageError, match="two lists have the name quick-en"):
        task_lists(["quick-en", str(path)], [])
    assert len(task_lists([str(path), str(path)], [])) == 1
    with pytest.raises(UsageError, match="unknown suite 'quik-en': did you mean quick-en"):
        task_lists(["quik-en"], [])


def test_odd_members_of_own_lists_are_told() -> None:
    odd = TaskList(
        name="odd",
        tasks=(
            Member(task="STS21"),
            Member(task="STS12", splits=("dev",)),
            Member(task="STS17", subsets=("en", "en-en")),
            Member(task="MyTask", splits=("any",)),
        ),
    )
    told = refusal([MINE], lists=[odd])
    assert told[:2] == [
        "odd: unknown task 'STS21': did you mean STS12 or STS22 or STS17?",
        "odd: STS12 unknown split 'dev': there is test",
    ]
    assert told[2].startswith("odd: STS17 unknown subset 'en': ")
    assert len(told) == 3


def test_which_results_a_choice_needs(tmp_path: Path) -> None:
    assert wanted_tasks(Choice()) is None
    assert wanted_tasks(Choice(types=["STS"], languages=["en"])) is None
    found = wanted_tasks(
        Choice(tasks=["MyTask"], lists=[TaskList(name="c", tasks=(Member(task="CQADupstackRetrieval"),))])
    )
    spec = find_task("CQADupstackRetrieval")
    assert spec is not None
    assert found == {"MyTask", "CQADupstackRetrieval", *spec.parts}
    file = Path(__file__).parents[2] / "tasks" / "starter" / "sts_eng.toml"
    assert wanted_tasks(Choice(tasks=[str(file)])) == {"StarterSTSEng"}
    assert {"c-mteb-35", "bge-reranking"} <= set(suites())
