"""`evalharness.report`: the command's tables as a value, as pandas frames, and in a notebook."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from conftest import Cli
from support.boards import HOSTILE, boards, many
from support.lookup import lookup_model

import evalharness
from evalharness import Choice, Evaluation, Report, report
from evalharness.errors import UsageError
from evalharness.reports import frames
from evalharness.reports.board import Board
from evalharness.results.stored import read_runs

MEASURED = Path(__file__).parents[2] / "results" / "measured"
(EVERYTHING, PUBLISHED, EMPTY) = boards()
SHOWN = Report([EVERYTHING, PUBLISHED])
FRAMES = {"summary": frames.SUMMARY, "types": frames.TYPES, "tasks": frames.TASKS, "subsets": frames.SUBSETS}


def test_it_is_what_the_command_shows(here: Cli) -> None:
    found = report(MEASURED, suite="quick-en", benchmark=["MTEB(eng, v2)"], tasks=["STS12", "SciFact"])
    arguments = ("--suite", "quick-en", "--benchmark", "MTEB(eng, v2)", "--tasks", "STS12,SciFact")
    done = here("report", str(MEASURED), *arguments)
    assert found.markdown() == done.stdout
    assert found.markdown() == found._repr_markdown_() == found.render("md")
    subsets = report(str(MEASURED), tasks="AmazonCounterfactualClassification", choice=Choice(subsets=True))
    done = here("report", str(MEASURED), "--tasks", "AmazonCounterfactualClassification", "--subsets")
    assert (subsets.markdown(), done.stderr) == (done.stdout, "")


def test_public_models_stand_beside_mine(here: Cli, tmp_path: Path) -> None:
    found = report(MEASURED, tasks=["STS12", "SciFact"], choice=Choice(nearest=2))
    done = here("report", str(MEASURED), "--tasks", "STS12,SciFact", "--nearest", "2")
    assert found.markdown() == done.stdout
    assert [row.origin for row in found.boards[0].rows].count("published") == 2
    every = report(MEASURED, tasks=["STS12", "SciFact"], published=True)
    assert len(every.boards[0].rows) > 20
    place = tmp_path / "clone" / "results" / "lab__public" / ("a" * 40)
    place.mkdir(parents=True)
    scores = {"test": [{"hf_subset": "default", "languages": ["eng-Latn"], "main_score": 0.5}]}
    value = {"task_name": "STS12", "dataset_revision": "a", "mteb_version": "1.2.3", "scores": scores}
    (place / "STS12.json").write_text(json.dumps(value), encoding="utf-8")
    cloned = report(MEASURED, tasks="STS12", published=tmp_path / "clone")
    assert {row.model for row in cloned.boards[0].rows if row.origin == "published"} == {"lab/public"}


def test_results_are_folders_evaluations_and_runs() -> None:
    (folder,) = (path.parent for path in MEASURED.rglob("model_meta.json"))
    runs = read_runs([folder])
    spec = lookup_model().spec
    whole = report(folder).markdown()
    assert report(runs).markdown() == report(runs[0]).markdown() == whole
    assert report(Evaluation(spec, folder, ())).markdown() == whole
    assert report([folder, Evaluation(spec, folder, ())]).markdown() == whole
    other = replace(runs[0], model="me/other")
    assert [row.model for row in report([folder, other]).boards[0].rows] == ["me/other", runs[0].model]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"no such folder: {tmp_path / 'nope'}"):
        report([MEASURED, tmp_path / "nope"])
    with pytest.raises(UsageError, match=f"no such folder: {tmp_path / 'nope'}; name your clone"):
        report(MEASURED, published=tmp_path / "nope")
    with pytest.raises(UsageError, match="no results to report"):
        report([])
    with pytest.raises(UsageError, match="did you mean quick-en"):
        report(MEASURED, suite="quik-en")
    with pytest.raises(UsageError, match="unknown task 'STS21'"):
        report(MEASURED, tasks="STS21")


def test_a_file_is_in_the_format_of_its_ending(tmp_path: Path) -> None:
    for name in ("a.md", "a.csv", "a.json", "a.tex"):
        SHOWN.save(tmp_path / "new" / name)
        assert (tmp_path / "new" / name).read_text(encoding="utf-8") == SHOWN.render(name.partition(".")[2])
    SHOWN.save(str(tmp_path / "b.dat"), "csv")
    assert (tmp_path / "b.dat").read_text(encoding="utf-8").startswith("board,protocol,")
    with pytest.raises(UsageError, match="unknown format 'dat'") as caught:
        SHOWN.save(tmp_path / "c.dat")
    assert "c.dat: " in str(caught.value)
    assert "Name the format: save(path, format='md')" in str(caught.value)
    assert "--" not in str(caught.value)
    (tmp_path / "d.md").mkdir()
    with pytest.raises(UsageError, match=r"d\.md is a folder"):
        SHOWN.save(tmp_path / "d.md")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.dat", "d.md", "new"]


@pytest.mark.parametrize("given", [SHOWN.boards, [], [EMPTY], [PUBLISHED]], ids=["all", "none", "empty", "published"])
def test_frames_have_the_same_columns_and_types_whatever_is_there(given: list[Board]) -> None:
    for name, columns in FRAMES.items():
        frame: pd.DataFrame = getattr(Report(given), name)
        assert {column: str(kind) for column, kind in frame.dtypes.items()} == columns


def test_counts_are_whole_numbers_and_scores_are_floats() -> None:
    kinds: dict[str, list[str]] = {}
    for name, kind in SHOWN.summary.dtypes.items():
        kinds.setdefault(str(kind), []).append(str(name))
    assert kinds["Int64"] == [
        "place", "present", "expected", "borda", "rank_best", "rank_worst", "rank_best_such_tasks",
        "rank_worst_such_tasks", "dimensions", "max_length", "parameters", "embedding_parameters", "zero_shot", "step",
    ]  # fmt: skip
    assert kinds["float64"] == ["mean_task", "low", "high", "mean_type", "mean_common", "texts_per_second"]
    assert kinds["boolean"] == ["is_trusted"]
    for frame in (SHOWN.types, SHOWN.tasks, SHOWN.subsets):
        assert {str(frame[name].dtype) for name in ("score", "low", "high")} == {"float64"}


def test_a_summary_has_a_line_for_each_row() -> None:
    summary = SHOWN.summary
    rows = [*EVERYTHING.rows, *PUBLISHED.rows]
    assert list(summary["model"]) == [row.model for row in rows]
    assert list(summary["place"]) == [*range(1, 21), 1, 2]
    first, row = summary.iloc[0], rows[0]
    assert row.mean_task.interval is not None
    assert first["mean_task"] == row.mean_task.score
    span = row.mean_task.interval
    assert (first["low"], first["high"], first["interval"], first["is_trusted"]) == (
        (span.low, span.high, span.method, span.is_trusted)
    )
    assert (first["mean_type"], first["mean_common"]) == (row.mean_type.score, row.common and row.common.score)
    assert (first["borda"], first["rank_best"], first["rank_worst_such_tasks"]) == (1, 1, 6)
    assert (first["parameters"], first["licence"], first["step"]) == (109482240, "apache-2.0", 2500)
    void = summary[summary["model"] == "me/partial"].iloc[0]
    assert pd.isna(void["mean_task"])
    assert (void["present"], void["expected"]) == (6, 7)


def test_scores_are_found_by_type_task_and_subset() -> None:
    row = EVERYTHING.rows[0]
    types, tasks, subsets = SHOWN.types, SHOWN.tasks, SHOWN.subsets
    assert len(types) == 20 * 3 + 2
    assert len(tasks) == 20 * 7 + 2 * 2
    own = types[types["model"] == row.model].set_index("type")["score"]
    assert dict(own) == {kind: mean.score for kind, mean in row.types.items()}
    cells = tasks[tasks["model"] == row.model].set_index("task")
    assert dict(cells["score"]) == {task: cell.score for task, cell in row.cells.items()}
    assert cells.loc["NFCorpus", "metric"] == "ndcg_at_10"
    assert bool(cells.loc["AmazonPolarityClassification", "is_trained_on"])
    lost = tasks[tasks["score"].isna()].set_index("model")["missing"]
    assert dict(lost) == {
        "me/half": "1 of 3 subsets missing: [test, de] out of memory",
        "me/partial": "not run",
    }
    massive = subsets[(subsets["model"] == row.model) & (subsets["task"] == "MassiveIntentClassification")]
    assert dict(zip(massive["subset"], massive["languages"], strict=True)) == {
        "en": "eng-Latn", "zh-CN": "cmn-Hans", "de": "deu-Latn"
    }  # fmt: skip
    assert len(subsets) == sum(len(c.parts) for board in SHOWN.boards for r in board.rows for c in r.cells.values())


class Elements(HTMLParser):
    """What a browser would find."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.rows = 0
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.rows += tag == "tr"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def elements(text: str) -> Elements:
    found = Elements()
    found.feed(text)
    found.close()
    return found


def test_a_notebook_shows_tables_and_what_anyone_wrote_stays_text() -> None:
    text = SHOWN._repr_html_()
    found = elements(text)
    assert found.names == {
        "div", "table", "caption", "thead", "tbody", "tr", "th", "td", "strong", "span", "p", "ol", "li"
    }  # fmt: skip
    assert found.attributes == {"style", "scope"}
    assert HOSTILE[0] in "".join(found.text)
    # no formula for MathJax
    assert "$" not in text
    assert "63.59" in text


def test_a_notebook_shows_the_first_of_many() -> None:
    text = Report([many()])._repr_html_()
    assert len(text) < 150_000
    assert "30 of 600 rows" in text


def test_in_a_shell_it_is_what_a_terminal_shows() -> None:
    assert f"{SHOWN!r}\n" == SHOWN.render("terminal")
    assert evalharness.report is report


def test_a_file_is_no_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" in SHOWN.render("terminal")
    SHOWN.save(tmp_path / "shown.txt", "terminal")
    assert "\x1b" not in (tmp_path / "shown.txt").read_text(encoding="utf-8")
