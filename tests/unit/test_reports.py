from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalharness.catalog.tasks import Member, TaskList, find_task
from evalharness.errors import UsageError
from evalharness.reports.board import Board
from evalharness.reports.building.boards import Choice, make_boards
from evalharness.reports.formats import formats, render
from evalharness.reports.notebook import to_html
from evalharness.results.records import JobId, JobRecord
from evalharness.results.stored import StoredRun, StoredTask
from evalharness.results.views import StoredJob

SUITE = TaskList(
    name="trio",
    tasks=(Member(task="STS12"), Member(task="STSB", splits=("test",)), Member(task="Banking77Classification")),
)


def catalogued(name: str) -> str | None:
    found = find_task(name)
    return found.revision if found else None


def run(model: str, **scores: float) -> StoredRun:
    tasks = {name: StoredTask(name, {"test": {"default": score}}, catalogued(name)) for name, score in scores.items()}
    return StoredRun(model, "c" * 40, {}, tasks, Path("results") / model)


def changed(stored: StoredRun, name: str, **changes: Any) -> StoredRun:
    return replace(stored, tasks={**stored.tasks, name: replace(stored.tasks[name], **changes)})


def only_board(runs: list[StoredRun], tasks: TaskList | None) -> Board:
    (board,) = make_boards(runs, Choice(lists=[] if tasks is None else [tasks]))
    return board


def test_averages_over_tasks_and_over_types() -> None:
    board = only_board([run("a/x", STS12=0.6, STSB=0.8, Banking77Classification=0.5)], SUITE)
    row = board.rows[0]
    assert {kind: mean.score for kind, mean in row.types.items()} == {"STS": pytest.approx(0.7), "Classification": 0.5}
    assert row.mean_task.score == pytest.approx(1.9 / 3)
    assert row.mean_type.score == pytest.approx(0.6)


def test_a_missing_task_makes_averages_void_and_is_named() -> None:
    partial = run("a/partial", STS12=0.99, Banking77Classification=0.99)
    whole = run("a/whole", STS12=0.6, STSB=0.8, Banking77Classification=0.5)
    board = only_board([partial, whole], SUITE)
    assert [row.model for row in board.rows] == ["a/whole", "a/partial"]
    row = board.rows[1]
    assert (row.mean_task.score, row.mean_type.score, row.types["STS"].score) == (None, None, None)
    assert row.types["Classification"].score == 0.99
    text = render([board], "md")
    assert "| a/partial (cccccccc) [1] | – (2 of 3) | – (1 of 2) | – (1 of 2) | 99.00 |" in text
    assert "[1] no averages over missing tasks: STSB (not run)" in text


def test_missing_splits_and_subsets_make_a_task_missing() -> None:
    whole = TaskList(name="one", tasks=(Member(task="STSB"),))
    row = only_board([run("a/x", STSB=0.5)], whole).rows[0]
    assert row.cells["STSB"].score is None
    assert row.missing == ["STSB (1 of 2 subsets missing)"]


def test_an_aggregate_is_the_mean_of_its_parts() -> None:

    spec = find_task("CQADupstackRetrieval")
    assert spec is not None
    suite = TaskList(name="cqa", tasks=(Member(task="CQADupstackRetrieval"),))
    scores = {name: number / 100 for number, name in enumerate(spec.parts)}
    assert only_board([run("a/x", **scores)], suite).rows[0].mean_task.score == pytest.approx(0.055)
    del scores[spec.parts[3]]
    row = only_board([run("a/x", **scores)], suite).rows[0]
    assert row.missing == [f"CQADupstackRetrieval (its part {spec.parts[3]} not run)"]


def test_notes_become_footnotes() -> None:
    cut = changed(run("a/x", STS12=0.5), "STS12", notes=["7 texts cut to 256 tokens"])
    board = only_board([cut], None)
    text = render([board], "markdown")
    assert "a/x (cccccccc) [1]" in text
    assert "[1] STS12: 7 texts cut to 256 tokens" in text


def test_counts_of_one_kind_are_summed_over_splits_and_subsets_in_one_footnote() -> None:
    jobs = [
        StoredJob("test", subset, JobRecord(JobId("Mine", "test", subset), {}, "f1", (), "1", 1.0, {}, {}, [note]))
        for subset, note in {"en": "3 texts cut to 8 tokens", "de": "3 texts cut to 8 tokens", "fr": "odd"}.items()
    ]
    notes = ["3 texts cut to 8 tokens", "odd", "b.json is a copy"]
    both = changed(run("a/x", STS12=0.5, Mine=0.4), "Mine", jobs=jobs, notes=notes)
    both = changed(both, "STS12", notes=["40 texts cut to 8 tokens"])
    board = only_board([both], None)
    assert board.rows[0].notes == ["texts cut to 8 tokens: Mine (6), STS12 (40)", "Mine: odd", "Mine: b.json is a copy"]
    assert board.rows[0].cells["Mine"].notes == notes
    assert "| a/x (cccccccc) [1-3] |" in render([board], "md")


def test_an_incomplete_task_keeps_its_notes() -> None:
    notes = ["3 texts cut to 8 tokens"]
    scores, lacking = {"validation": {"default": 0.5}}, {"test": {"default": "failed: no"}}
    part = changed(run("a/x", STSB=0.5), "STSB", scores=scores, problems=lacking, notes=notes)
    suite = TaskList(name="one", tasks=(Member(task="STSB"),))
    cell = only_board([part], suite).rows[0].cells["STSB"]
    assert (cell.score, list(cell.notes)) == (None, notes)
    suite = TaskList(name="one", tasks=(Member(task="STSB", splits=("test",)),))
    cell = only_board([part], suite).rows[0].cells["STSB"]
    assert (cell.missing, list(cell.notes)) == ("failed: no", notes)


def test_without_a_list_all_stored_tasks_count() -> None:
    board = only_board([run("a/x", STS12=0.5), run("a/y", STSB=0.5)], None)
    assert board.types == {"STS": ["STS12", "STSB"]}
    assert [row.mean_task.score for row in board.rows] == [None, None]


def test_two_folders_of_one_model_are_two_rows_that_say_where_they_are() -> None:
    second = replace(run("a/x", STS12=0.6), folder=Path("elsewhere"))
    rows = only_board([run("a/x", STS12=0.5), second, run("a/y", STS12=0.4)], None).rows
    assert [row.cells["STS12"].score for row in rows] == [0.6, 0.5, 0.4]
    assert [list(row.notes) for row in rows] == [
        ["one of 2 folders of this model: elsewhere"],
        ["one of 2 folders of this model: results/a/x"],
        [],
    ]


OTHER = "b" * 40


def test_a_score_on_other_data_is_none_in_a_suite_and_both_revisions_are_named() -> None:
    wanted = catalogued("STS12")
    other = changed(run("a/x", STS12=0.9, STSB=0.8, Banking77Classification=0.5), "STS12", revision=OTHER)
    row = only_board([other], SUITE).rows[0]
    assert (row.cells["STS12"].score, row.mean_task.score) == (None, None)
    assert row.missing == [f"STS12 (data revision {OTHER}, the catalogue has {wanted})"]
    unknown = changed(other, "STS12", revision=None)
    assert only_board([unknown], SUITE).rows[0].missing == [
        f"STS12 (data revision unknown, the catalogue has {wanted})"
    ]


def test_a_part_on_other_data_makes_its_aggregate_none() -> None:
    found = find_task("CQADupstackRetrieval")
    assert found is not None
    suite = TaskList(name="cqa", tasks=(Member(task="CQADupstackRetrieval"),))
    whole = run("a/x", **dict.fromkeys(found.parts, 0.5))
    assert only_board([whole], suite).rows[0].mean_task.score == 0.5
    row = only_board([changed(whole, found.parts[2], revision=OTHER)], suite).rows[0]
    assert row.mean_task.score is None
    assert row.missing[0].startswith(f"CQADupstackRetrieval (its part {found.parts[2]} data revision {OTHER}")


def test_a_catalogue_that_names_no_commit_is_believed() -> None:
    suite = TaskList(name="one", tasks=(Member(task="PublicHealthQA", splits=("test",), subsets=("english",)),))
    stored = StoredTask("PublicHealthQA", {"test": {"english": 0.5}}, OTHER)
    board = only_board([replace(run("a/x"), tasks={"PublicHealthQA": stored})], suite)
    assert board.rows[0].mean_task.score == 0.5


def test_without_a_list_other_data_are_a_footnote() -> None:
    other = changed(run("a/y", STS12=0.4), "STS12", revision=OTHER)
    rows = only_board([run("a/x", STS12=0.5), other], None).rows
    assert [row.cells["STS12"].score for row in rows] == [0.5, 0.4]
    assert list(rows[0].notes) == [f"STS12: data revision {catalogued('STS12')}, other rows have another"]
    assert list(rows[1].notes) == [f"STS12: data revision {OTHER}, the catalogue has {catalogued('STS12')}"]
    own = [replace(run(name, Mine=0.5)) for name in ("a/x", "a/y")]
    assert [list(row.notes) for row in only_board(own, None).rows] == [[], []]
    own[1] = changed(own[1], "Mine", revision=OTHER)
    assert list(only_board(own, None).rows[1].notes) == [f"Mine: data revision {OTHER}, other rows have another"]


def test_what_failed_or_is_damaged_is_named_as_that() -> None:
    failed = changed(run("a/x", STS12=0.5), "STS12", scores={}, problems={"test": {"default": "failed: no\nmore"}})
    assert only_board([failed], None).rows[0].missing == ["STS12 (failed: no)"]
    problems = {"test": {"default": "damaged: cut"}}
    part = changed(run("a/x", STSB=0.5), "STSB", scores={"validation": {"default": 0.5}}, problems=problems)
    suite = TaskList(name="one", tasks=(Member(task="STSB"),))
    assert only_board([part], suite).rows[0].missing == ["STSB (1 of 2 subsets missing: [test, default] damaged: cut)"]
    long = changed(failed, "STS12", problems={"test": {"default": "failed: " + "x" * 1000}})
    assert len(only_board([long], None).rows[0].missing[0]) < 200
    advised = changed(failed, "STS12", problems={"test": {"default": "damaged: " + "x" * 200 + "; run the task again"}})
    (missing,) = only_board([advised], None).rows[0].missing
    assert missing.endswith("xxx...; run the task again)")
    assert len(missing) < 200


def test_what_a_newer_run_of_an_own_task_did_not_need_is_only_a_footnote() -> None:
    problems = {"old": {"default": "stale: computed on other data"}}
    own = changed(run("a/x", Mine=0.5), "Mine", problems=problems)
    row = only_board([own], None).rows[0]
    assert (row.cells["Mine"].score, list(row.missing)) == (0.5, [])
    assert list(row.notes) == ["Mine: [old, default] stale: computed on other data"]
    failed = changed(own, "Mine", problems={**problems, "new": {"default": "failed: no"}})
    assert only_board([failed], None).rows[0].missing == ["Mine (1 of 2 subsets missing: [new, default] failed: no)"]


def test_what_cannot_be_read_makes_no_column() -> None:
    odd = replace(run("a/x", STS12=0.5), tasks={"Odd": StoredTask("Odd", {}, damage="damaged: Odd.json")})
    board = only_board([odd, run("a/y", STS12=0.5)], None)
    assert board.types == {"STS": ["STS12"]}
    assert [list(row.notes) for row in board.rows] == [[], ["damaged: Odd.json"]]
    assert board.rows[0].mean_task.score == 0.5


def test_why_a_file_is_no_result_is_a_whole_footnote() -> None:
    damage = (
        "damaged: STS12 (conflicted copy 2024-05-01 of somebody else).json: says that it is of the task 'STS12'; "
        "expected the name of the file; remove the file, or run the task again"
    )
    odd = changed(run("a/x", STS12=0.5, Copy=0.5), "Copy", scores={}, damage=damage)
    board = only_board([odd], None)
    assert board.rows[0].notes == [damage]
    assert board.rows[0].mean_task.score == 0.5


def test_formats() -> None:
    assert {"markdown", "md"} <= set(formats())
    with pytest.raises(UsageError, match="unknown format 'markdwn': did you mean markdown"):
        render(make_boards([run("a/x", STS12=0.5)]), "markdwn")


def test_protocols_are_never_in_one_table_and_named_in_every_title() -> None:
    published = replace(run("a/x", STS12=0.6), overrides={"protocol": "published"})
    boards = make_boards([run("a/x", STS12=0.5), published])
    assert [(board.protocol, board.rows[0].cells["STS12"].score) for board in boards] == [
        ("mteb", 0.5),
        ("published", 0.6),
    ]
    titles = [line for line in render(boards, "md").splitlines() if line.startswith("#")]
    assert titles == [
        "# all stored tasks (protocol: mteb)", "## Tasks (protocol: mteb)",
        "# all stored tasks (protocol: published)", "## Tasks (protocol: published)",
    ]  # fmt: skip
    # the protocol is no change that stands beside a name
    text = render(boards, "md")
    assert text.count("| a/x (cccccccc) |") == 4
    assert "set otherwise" not in text


def test_what_options_changed_stands_beside_the_name_in_all_formats_of_text() -> None:
    boards = make_boards([run("a/x", STS12=0.5), replace(run("a/x", STS12=0.4), overrides={"dimensions": 16})])
    for text in (*(render(boards, form) for form in ("md", "tex", "terminal")), to_html(boards)):
        flat = " ".join(text.replace("\\", "").split())
        assert "a/x (cccccccc)" in flat
        assert "a/x [dimensions_16] (cccccccc)" in flat
    text = render(boards, "md")
    assert text.count(r"a/x \[dimensions_16\] (cccccccc)") == 3
    assert "In brackets behind a model's name: what was set otherwise than the model has it." in text
    # there is nothing more to say in a footnote
    assert "[1]" not in text


def test_what_is_too_long_beside_a_name_has_a_footnote() -> None:
    long = {"document_prompt": "<b>" + "x" * 90 + "|"}
    text = render(make_boards([replace(run("a/x", STS12=0.4), overrides=long)]), "md")
    assert "x\u2026\\] (cccccccc) [1] |" in text
    assert "x" * 90 not in text.partition("[1] run with")[0]
    (footnote,) = [line for line in text.splitlines() if line.startswith("[1] run with other settings than")]
    assert "x" * 90 in footnote


def test_a_second_stage_stands_beside_the_name() -> None:
    overrides = {"reranker": "b/reranker@12345678", "rerank_top_k": 20}
    text = render(make_boards([replace(run("a/x", STS12=0.5), overrides=overrides)]), "md")
    assert "| a/x + b/reranker (top 20) (cccccccc) |" in text
