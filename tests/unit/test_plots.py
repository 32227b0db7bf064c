"""Plots: what stands in the figures, and the files that they are written to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite, log10, nan
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from support.boards import HOSTILE, boards, many

from evalharness.catalog.models import ModelFacts
from evalharness.errors import PrerequisiteError, StorageError, UsageError
from evalharness.files import storage_errors
from evalharness.reports import plots
from evalharness.reports.board import Board, Mean, Row, Span
from evalharness.reports.plots import check_plots, draw, save_plots
from evalharness.reports.plots.drawing.names import row_names
from evalharness.reports.plots.pareto import ticks

ROOT = Path(__file__).parents[2]
BOARD = boards()[0]
SVG = "{http://www.w3.org/2000/svg}"
PNG = b"\x89PNG\r\n\x1a\n"


def with_rows(rows: Sequence[Row], board: Board = BOARD) -> Board:
    return replace(board, rows=rows)


def by_gid(figure: Figure, gid: str) -> Artist:
    (found,) = figure.findobj(lambda artist: artist.get_gid() == gid)
    return found


def points(line: Line2D) -> list[list[float]]:
    found: list[list[float]] = np.asarray(line.get_xydata()).tolist()
    return found


def drawn(figure: Figure, gid: str) -> list[list[float]]:
    """The points of a line."""
    line = by_gid(figure, gid)
    assert isinstance(line, Line2D)
    return points(line)


def gids(figure: Figure, start: str) -> list[str]:
    found = [gid for artist in figure.findobj(Artist) if (gid := artist.get_gid()) and gid.startswith(f"{start}-")]
    return sorted(set(found))


def texts(path: Path) -> list[str]:
    return ["".join(node.itertext()) for node in ET.parse(path).iter(f"{SVG}text")]  # noqa: S314 -- our own file


def said(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts)


@pytest.mark.parametrize("name", plots.plots())
def test_a_figure_is_written_as_svg_and_png(tmp_path: Path, name: str) -> None:
    done = save_plots([BOARD], [name, name], tmp_path / "new")
    assert [path.name for path in done.files] == [f"{name}.svg", f"{name}.png"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [f"{name}.png", f"{name}.svg"]
    svg, png = done.files
    root = ET.parse(svg).getroot()  # noqa: S314 -- our own file
    assert root.tag == f"{SVG}svg"
    assert root.findtext(f"{SVG}title", "").startswith("Every kind of row: ")
    shown = texts(svg)
    assert "Every kind of row" in shown
    assert any("protocol: mteb" in text for text in shown)
    assert png.read_bytes().startswith(PNG)


def test_the_same_board_makes_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from support.boards import boards
from evalharness.reports.plots import plots, save_plots
save_plots(boards()[:1], plots(), Path(sys.argv[1]))
print("matplotlib.pyplot" in sys.modules)
"""
    save_plots([BOARD], plots.plots(), tmp_path / "here")
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"  # sets have another order there
    environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", program, str(tmp_path / "there")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    # nothing of this process' matplotlib is changed, and nothing of a screen is looked for
    assert done.stdout == "False\n"
    for file in (f"{name}.{suffix}" for name in plots.plots() for suffix in ("svg", "png")):
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes(), file
    assert not re.search(rb"\d{4}-\d\d-\d\d", (tmp_path / "here" / "types.svg").read_bytes())


def test_the_settings_of_the_user_play_no_part_and_stay(tmp_path: Path) -> None:
    save_plots([BOARD], ["types"], tmp_path / "plain")
    theirs: dict[Any, Any] = {"text.usetex": True, "font.size": 31.0, "axes.facecolor": "black", "svg.fonttype": "path"}
    with mpl.rc_context(theirs):
        save_plots([BOARD], ["types"], tmp_path / "theirs")
        assert {key: mpl.rcParams[key] for key in theirs} == theirs
    for name in ("types.svg", "types.png"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


@pytest.mark.parametrize("name", ["types", "pareto"])
def test_names_stay_text(tmp_path: Path, name: str) -> None:
    odd = ("中文/文本嵌入", "مرحبا", "a\x00b\ufffec\udcff\u2028d", "\U0001f600", "x" * 500, "$\\frac{1}{0}$", "")
    rows = [
        replace(BOARD.rows[-8], model=model, origin="results", mean_task=Mean(0.4 + number / 50, 7, 7))
        for number, model in enumerate((*HOSTILE, *odd))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (svg, _) = save_plots([with_rows(rows)], [name], tmp_path).files
    root = ET.parse(svg).getroot()  # noqa: S314 -- our own file
    assert {node.tag.rpartition("}")[2] for node in root.iter()} <= {
        *("svg", "title", "metadata", "RDF", "Work", "type", "format", "defs", "style", "g", "path", "text", "use"),
        *("clipPath", "rect"),
    }
    for shown in ("<img src=x onerror=alert(1)>", "$\\frac{1}{0}$", "文本嵌入"):
        assert any(text.startswith(shown) for text in texts(svg)), shown
    letters = set("".join(texts(svg)))
    assert not [letter for letter in letters if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def test_rows_have_names_of_their_own_as_short_as_the_others_allow() -> None:
    def row(model: str, revision: str = "a" * 40, more: str = "") -> Row:
        return replace(BOARD.rows[0], model=model, revision=revision, experiment=more)

    one, other, changed = row("lab/one"), row("lab/other"), row("lab/other", more="int8")
    assert row_names([one, other, changed]) == ["one", "other", "other [int8]"]
    assert row_names([one, row("me/one")]) == ["lab/one", "me/one"]
    assert row_names([one, row("lab/one", "b" * 40)]) == ["lab/one (aaaaaaaa)", "lab/one (bbbbbbbb)"]
    assert row_names([one, replace(one, origin="published")]) == [
        "lab/one (aaaaaaaa, results)",
        "lab/one (aaaaaaaa, published)",
    ]
    assert row_names([one, one]) == ["lab/one (aaaaaaaa, results) #1", "lab/one (aaaaaaaa, results) #2"]
    assert row_names([row("https://a.example/x"), row("a b/c")]) == ["https://a.example/x", "a b/c"]


@pytest.mark.parametrize(
    ("values", "are_few", "expected"),
    [
        ([22e6, 109e6, 335e6], False, [22e6, 109e6, 335e6]),
        ([1e7, 1.01e7, 2e9, 2.1e9], False, [1e7, 1e8, 1e9]),
        ([1.0e8, 1.01e8, 3.1e8], False, [1e8, 1.5e8, 2e8, 3e8]),
        ([768, 768, 770, 1024, 384], True, [384, 768, 1024]),
        ([512], False, [512]),
    ],
)
def test_labels_of_an_axis_of_powers_are_values_or_round_numbers(
    values: list[float], are_few: bool, expected: list[float]
) -> None:
    assert ticks(log10(min(values)) - 0.1, log10(max(values)) + 0.1, values, are_few=are_few) == expected


def test_types_show_each_mean_and_its_interval_in_points() -> None:
    figure = draw(BOARD, "types")
    rows = [row for row in BOARD.rows if row.origin == "results"][:12]
    panels = [[row.mean_task for row in rows], *([row.types[name] for row in rows] for name in BOARD.types)]
    expected = {
        f"mark-{n}-{k}" for n, means in enumerate(panels) for k, mean in enumerate(means) if mean.score is not None
    }
    assert set(gids(figure, "mark")) == expected
    for number, means in enumerate(panels):
        for lane, mean in enumerate(means):
            if mean.score is not None:
                assert drawn(figure, f"mark-{number}-{lane}") == [[100 * mean.score, lane]]
            if mean.interval is not None and isfinite(mean.interval.low):
                ends = [100 * mean.interval.low, 100 * mean.interval.high]
                assert drawn(figure, f"interval-{number}-{lane}") == [[end, lane] for end in ends]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["Mean (7)", "Classification (2)", "Retrieval (3)", "STS (2)"]
    assert "8 of 20 models not shown for lack of room; choose with --models." in said(figure)


def test_models_that_have_no_type_complete_are_told_from_those_without_room() -> None:
    void = Mean(None, 1, 2)
    lacking = [replace(row, types=dict.fromkeys(row.types, void)) for row in BOARD.rows[:2]]
    text = said(draw(with_rows([*lacking, *BOARD.rows[2:5]]), "types"))
    assert "2 of 5 models have all tasks of no type, so have no mark." in text
    assert "--models" not in text
    text = said(draw(with_rows([*lacking[:1], *BOARD.rows[1:]]), "types"))
    assert "1 of 20 models has all tasks of no type, so has no mark." in text
    assert "7 of 20 models not shown for lack of room; choose with --models." in text


def test_scores_of_the_user_come_before_published_ones() -> None:
    figure = draw(many(40, 56), "types")
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(names) == 12
    assert "model-0" in names
    assert "Hollow marks: published scores." in said(figure)


def test_panels_span_as_many_points_unless_one_would_flatten_the_others() -> None:
    def spans(wide: float) -> list[float]:
        rows = [
            replace(row, types={**row.types, "STS": Mean(0.5 + shift, 2, 2)})
            for row, shift in zip(BOARD.rows[:2], (0.0, wide), strict=True)
        ]
        found = [axes.get_xlim() for axes in draw(with_rows(rows), "types").axes]
        return [round(high - low, 6) for low, high in found]

    assert len(set(spans(0.03))) == 1
    assert len(set(spans(0.4))) > 1


def test_a_type_that_nobody_has_is_named_instead_of_drawn() -> None:
    void = Mean(None, 1, 2)
    rows = [replace(row, types={**row.types, "STS": void}, mean_task=void, common=None) for row in BOARD.rows[:3]]
    figure = draw(with_rows(rows), "types")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Classification (2)", "Retrieval (3)"]
    assert "No model has all tasks of: Mean (7), STS (2)." in said(figure)


def test_where_no_row_has_all_tasks_the_mean_over_common_ones_is_shown() -> None:
    rows = [replace(row, mean_task=Mean(None, 6, 7), common=Mean(0.5, 3, 3)) for row in BOARD.rows[:3]]
    board = replace(BOARD, rows=rows, common=BOARD.tasks[:3])
    assert draw(board, "types").axes[0].get_title(loc="left") == "Mean (3 common)"
    assert "Mean over the 3 of 7 tasks that all models have" in said(draw(board, "pareto"))


def steps(run: str, scores: Mapping[int, float | None], spans: Mapping[int, Span] = {}) -> list[Row]:
    """Checkpoints with these means."""
    return [
        replace(
            BOARD.rows[0], model=f"{run}/checkpoint-{step}", step=step, mean_task=Mean(score, 7, 7, spans.get(step))
        )
        for step, score in scores.items()
    ]


def test_a_curve_goes_through_its_scores_and_its_band_through_their_intervals() -> None:
    spans = {10: Span(0.25, 0.5), 20: Span(0.375, 0.625), 40: Span(nan, nan, is_trusted=False)}
    figure = draw(with_rows(steps("run", {40: 0.75, 20: 0.5, 10: 0.375}, spans)), "curve")
    assert drawn(figure, "line-0-0") == [[10, 37.5], [20, 50], [40, 75]]
    band = by_gid(figure, "band-0-0")
    assert isinstance(band, PolyCollection)
    corners = {tuple(corner) for path in band.get_paths() for corner in np.asarray(path.vertices).tolist()}
    assert corners == {(10, 25), (20, 37.5), (20, 62.5), (10, 50)}
    assert "2 of" not in said(figure)
    assert "Training: run. Main scores" in said(figure)


def test_a_missing_score_is_a_gap_and_an_interval_alone_is_a_bar() -> None:
    spans = {1: Span(0.25, 0.5), 3: Span(0.5, 0.75), 4: Span(0.5, 0.75)}
    figure = draw(with_rows(steps("run", {1: 0.375, 2: None, 3: 0.625, 4: 0.625}, spans)), "curve")
    assert [isfinite(y) for _, y in drawn(figure, "line-0-0")] == [True, False, True, True]
    bars = [points(line) for line in figure.axes[0].lines if line.get_gid() is None]
    assert bars == [[[1, 25], [1, 50]]]
    assert "Gaps: a task is missing." in said(figure)


def test_trainings_are_apart_and_named() -> None:
    runs = [row for number in range(9) for row in steps(f"run-{number}", {1: 0.5, 2: 0.6})]
    figure = draw(with_rows([*runs, *steps("run-8", {3: 0.7}), BOARD.rows[-1]]), "curve")
    assert len(gids(figure, "line")) == 8 * 4
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["run-8", *(f"run-{number}" for number in range(7))]
    assert "1 of 9 trainings not shown" in said(figure)
    assert "Rows without a step, not shown: 1." in said(figure)


def public(values: Sequence[tuple[float | None, float | None]]) -> Board:
    """Rows of these parameters and scores, of which nothing else is known."""
    rows = [
        replace(
            BOARD.rows[0],
            model=f"lab/m{number}",
            facts=ModelFacts(parameters=None if size is None else int(size)),
            mean_task=Mean(score, 7, 7),
            texts_per_second=None,
        )
        for number, (size, score) in enumerate(values)
    ]
    return with_rows(rows)


def test_a_front_joins_the_models_that_nothing_beats() -> None:
    figure = draw(public([(1e7, 0.5), (2e7, 0.4), (1e8, 0.7), (1e9, 0.6), (None, 0.9), (1e9, None)]), "pareto")
    (axes,) = figure.axes
    assert (axes.get_title(loc="left"), axes.get_xscale()) == ("Parameters", "log")
    front = by_gid(figure, "front-0")
    assert isinstance(front, Line2D)
    # to the edge: a larger model has nothing better to offer
    assert points(front) == [[1e7, 50], [1e8, 70], [axes.get_xlim()[1], 70]]
    assert front.get_drawstyle() == "steps-post"
    assert len(gids(figure, "mark")) == 4
    for words in (
        "Left out where nobody says: Parameters, 1 of 5 models.",
        "Known of no model: Dimension of the vectors, Texts per second, as measured.",
        "1 of 6 models lack tasks",
    ):
        assert words in said(figure)
    assert {"m0", "m1", "m2", "m3"} <= {text.get_text() for text in axes.texts}


def test_of_a_speed_more_is_better() -> None:
    rows = [
        replace(row, texts_per_second=speed, mean_task=Mean(score, 7, 7))
        for row, speed, score in zip(BOARD.rows, (10.0, 100.0, 50.0, 0.0), (0.75, 0.5, 0.25, 0.875), strict=False)
    ]
    figure = draw(with_rows(rows), "pareto")
    axes = figure.axes[2]
    assert drawn(figure, "front-2") == [[axes.get_xlim()[0], 75], [10, 75], [100, 50]]
    assert "more is better" in axes.get_xlabel()
    # a speed of nothing has no place on the axis
    assert len(gids(figure, "mark-2")) == 3


def test_with_many_models_the_front_and_the_users_own_have_names() -> None:
    board = many()
    axes = draw(board, "pareto").axes[0]
    named = {text.get_text() for text in axes.texts}
    assert {"model-0", "model-300"} <= named
    assert len(named) < 30


def test_what_a_board_lacks_is_said() -> None:
    empty = with_rows([])
    with pytest.raises(UsageError, match=r"no row with a training step; give results of checkpoints .*checkpoint-500"):
        draw(with_rows(BOARD.rows[-1:]), "curve")
    with pytest.raises(UsageError, match="of which the parameters, the dimension or the speed are known"):
        draw(public([(None, 0.5)]), "pareto")
    for name, what in (("types", "all tasks of a type"), ("pareto", "a mean over its tasks")):
        with pytest.raises(UsageError, match=f"{what}; choose tasks that the models have"):
            draw(empty, name)
    void = Mean(None, 0, 2)
    rows = [
        replace(row, types=dict.fromkeys(row.types, void), mean_task=void, common=None)
        for row in steps("run", {1: 0.5})
    ]
    with pytest.raises(UsageError, match="has no checkpoint with all tasks of a type"):
        draw(with_rows(rows), "curve")


def test_boards_without_what_a_plot_shows_are_left_out_and_named(tmp_path: Path) -> None:
    done = save_plots(boards(), ["curve"], tmp_path)
    assert [path.name for path in done.files] == ["curve-Every-kind-of-row.svg", "curve-Every-kind-of-row.png"]
    assert [text.partition(" has no")[0] for text in done.left_out] == [
        "--plot curve: Reranking & more (published)",
        "--plot curve: Nothing yet (mteb)",
    ]
    with pytest.raises(UsageError, match=r"(?s)Reranking.*Nothing yet"):
        save_plots(boards()[1:], ["types", "curve"], tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(UsageError, match="no leaderboard to draw"):
        save_plots([], ["types"], tmp_path)


def test_no_board_takes_the_file_of_another(tmp_path: Path) -> None:
    titles = ["MTEB(eng, v1)", "MTEB eng v1", "mteb(ENG, v1)", "../../up", "Ä", "A\u0308", "检索", "?", "", "x" * 300]
    small = with_rows(BOARD.rows[:1], replace(BOARD, types={"STS": BOARD.types["STS"]}))
    found = [replace(small, title=title) for title in titles]
    found += [replace(small, title="MTEB(eng, v1)", protocol="published")]
    names = [path.name for path in save_plots(found, ["types"], tmp_path / "plots").files]
    assert names[0] == "types-MTEB-eng-v1-mteb.svg"
    assert names[-1] == "types-MTEB-eng-v1-published.png"
    assert len({name.casefold() for name in names}) == len(names) == 2 * len(found)
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(names)
    assert [path.name for path in tmp_path.iterdir()] == ["plots"]


def test_wrong_names_and_a_missing_package_are_told_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"unknown plot 'curves': did you mean curve\?\nunknown plot 'radar'"):
        check_plots(["curves", "types", "radar"])
    monkeypatch.setattr(plots, "find_spec", lambda _: None)
    check_plots([])
    with pytest.raises(PrerequisiteError, match=r"plots need matplotlib.*: pip install 'evalharness\[plots\]'"):
        check_plots(["types"])


def test_a_plot_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError), storage_errors(tmp_path / "file", "no", "another"):
        save_plots([BOARD], ["types"], tmp_path / "file")
    (tmp_path / "types.png").mkdir()
    with pytest.raises(StorageError), storage_errors(tmp_path, "no", "another"):
        save_plots([BOARD], ["types"], tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
