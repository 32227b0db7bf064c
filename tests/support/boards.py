"""Boards that have everything that a board can have, of models that nobody made; their numbers follow from formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan
from pathlib import Path

from evalharness.catalog.models import ModelFacts
from evalharness.reports.board import Board, Cell, Column, Mean, Part, RankSpan, Row, Span
from evalharness.reports.building.cells import mean_of
from evalharness.reports.building.rows import mean

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    'me/two\nlines | "pipe" \u202egnp.exe\u202c \x1b[31m',
    '=HYPERLINK("http://a.example";"x") \\write18{rm} $x_1^2$ 100% #1 & ~ {',
)
TYPES: Mapping[str, Sequence[str]] = {
    "Classification": ("AmazonPolarityClassification", "MassiveIntentClassification"),
    "Retrieval": ("ArguAna", "NFCorpus", "SciFact"),
    "STS": ("STS12", "STSBenchmark"),
}
METRICS = {
    **dict.fromkeys(TYPES["Classification"], "accuracy"),
    **dict.fromkeys(TYPES["Retrieval"], "ndcg_at_10"),
    **dict.fromkeys(TYPES["STS"], "cosine_spearman"),
}
# of the one task that has several
SUBSETS = {"en": ("eng-Latn",), "zh-CN": ("cmn-Hans",), "de": ("deu-Latn",)}
REVISION = "0123456789abcdef0123456789abcdef01234567"


def boards() -> list[Board]:
    """Twenty rows of every kind; two rows by the authors' own settings with an odd list; and a board without rows."""
    return [_all_kinds(), _published_protocol(), Board("Nothing yet", "mteb", {"STS": ["STS12"]}, [])]


def many(models: int = 600, tasks: int = 56) -> Board:
    """A large board, as public leaderboards are: published rows, of which some lack tasks, and two of mine."""
    kinds = ("Classification", "Clustering", "PairClassification", "Reranking", "Retrieval", "STS", "Summarization")
    types = {
        kind: [f"{kind}{number}" for number in range(place, tasks, len(kinds))] for place, kind in enumerate(kinds)
    }
    rows = [_row(types, f"lab{number % 40}/model-{number}", number) for number in range(models)]
    # two of them are mine
    rows = [replace(row, origin="published") if number % 300 else row for number, row in enumerate(rows)]
    rows = [without(row, types, types["STS"][0]) if number % 7 == 3 else row for number, row in enumerate(rows)]
    return ranked(Board(f"{tasks} tasks", "mteb", types, rows))


def ranked(board: Board) -> Board:
    """The same with rows by their mean, and a rank for each that stands for mteb's."""
    rows = sorted(board.rows, key=lambda row: (row.mean_task.score is None, -(row.mean_task.score or 0), row.model))
    numbered = [replace(row, borda=number) for number, row in enumerate(rows, start=1)]
    return replace(board, rows=numbered)


def without(row: Row, types: Mapping[str, Sequence[str]], task: str, why: str = "not run") -> Row:
    """A row that lacks a task."""
    return _averaged(replace(row, cells={**row.cells, task: Cell(None, why)}), types)


def _score(number: int, place: int, step: int = 0) -> float:
    """From 0.30 to 0.83, to four decimals."""
    return round(0.30 + ((number * 37 + place * 17) % 41) / 100 + step / 25_000 + number / 5_000, 4)


def _span(score: float | None, half: float = 0.0123) -> Span | None:
    return (
        None if score is None else Span(round(score - half, 6), round(score + 1.1 * half, 6), "studentised bootstrap")
    )


def _cell(number: int, place: int, step: int, task: str) -> Cell:
    score = _score(number, place, step)
    if task != "MassiveIntentClassification":
        return Cell(score, parts=[Part("test", "default", ("eng-Latn",), score)])
    found = {name: round(score + shift / 50, 4) for shift, name in enumerate(SUBSETS, start=-1)}
    parts = [Part("test", name, SUBSETS[name], value) for name, value in found.items()]
    return Cell(mean_of(list(found.values())), parts=parts)


def _averaged(row: Row, types: Mapping[str, Sequence[str]]) -> Row:
    """The same row with the means of its cells, and an interval where all of them have one."""

    def of(tasks: Sequence[str]) -> Mean:
        found = mean([row.cells[task].score for task in tasks])
        return (
            replace(found, interval=_span(found.score, 0.004)) if all(row.cells[t].interval for t in tasks) else found
        )

    means = {name: of(tasks) for name, tasks in types.items()}
    whole = of([task for tasks in types.values() for task in tasks])
    by_type = mean([found.score for found in means.values()])
    spans = all(found.interval for found in means.values())
    by_type = replace(by_type, interval=_span(by_type.score, 0.005)) if spans else by_type
    return replace(row, types=means, mean_task=whole, mean_type=by_type)


def _row(types: Mapping[str, Sequence[str]], model: str, number: int, step: int = 0) -> Row:
    names = [task for tasks in types.values() for task in tasks]
    cells = {task: _cell(number, place, step, task) for place, task in enumerate(names)}
    empty = Mean(None, 0, 0)
    facts = ModelFacts(
        dimensions=(384, 768, 1024)[number % 3],
        max_length=(512, 8192)[number % 2],
        parameters=(33_360_000, 109_482_240, 335_141_888)[number % 3],
        embedding_parameters=(11_720_000, 23_440_896, 31_254_528)[number % 3],
        licence=("mit", "apache-2.0", "cc-by-nc-4.0")[number % 3],
        release_date=f"202{number % 6}-0{1 + number % 9}-15",
        trained_on=frozenset(names[: number % 3]),
        link=f"https://models.example/{number}",
    )
    cells = {task: replace(cell, is_trained_on=task in (facts.trained_on or ())) for task, cell in cells.items()}
    row = Row(model, REVISION, "", "", cells, {}, empty, empty, facts=facts)
    zero_shot = round(100 * sum(not cell.is_trained_on for cell in cells.values()) / len(cells))
    return replace(_averaged(row, types), zero_shot=zero_shot, texts_per_second=round(2400 / (1 + number), 1))


def _sure(row: Row, types: Mapping[str, Sequence[str]]) -> Row:
    """The same row where all items are at hand."""
    cells = {
        task: replace(
            cell,
            interval=_span(cell.score),
            parts=[replace(part, interval=_span(part.score, 0.02)) for part in cell.parts],
        )
        for task, cell in row.cells.items()
    }
    return _averaged(replace(row, cells=cells), types)


def _mine() -> list[Row]:
    """Checkpoints of a training, the last of them in three variants, and what can be wrong with results."""
    steps = [
        replace(_sure(_row(TYPES, f"me/tuned/checkpoint-{step}", 1, step), TYPES), step=step, revision=f"{step:040x}")
        for step in range(0, 2501, 500)
    ]
    last = _sure(_row(TYPES, "me/tuned", 2, 2500), TYPES)
    cut = last.cells["NFCorpus"]
    noted = replace(
        cut, notes=["7 texts cut to 256 tokens"], interval=Span(nan, nan, "too few items", is_trusted=False)
    )
    few = last.cells["STS12"]
    noted_few = replace(few, interval=replace(_span(few.score) or Span(0, 1), is_trusted=False))
    half = _row(TYPES, "me/half", 4)
    missing = "1 of 3 subsets missing: [test, de] out of memory"
    massive = half.cells["MassiveIntentClassification"]
    halved = {**half.cells, "MassiveIntentClassification": Cell(None, missing, parts=massive.parts[:2])}
    return [
        *steps,
        replace(last, cells={**last.cells, "NFCorpus": noted, "STS12": noted_few}),
        replace(_row(TYPES, "me/tuned", 3), second_stage="lab/reranker-base (top 100)"),
        replace(_row(TYPES, "me/tuned", 5), experiment="max_length=256,pooling=mean", notes=["1 of 2 folders: b"]),
        _averaged(replace(half, cells=halved), TYPES),
        without(_row(TYPES, "me/partial", 6), TYPES, "SciFact"),
    ]


def _public(number: int) -> Row:
    """What somebody published: no items, no folder, and not each fact known."""
    row = replace(_row(TYPES, f"lab/public-{number}", 7 + number), origin="published", texts_per_second=None)
    cells = {task: replace(cell, source="external") for task, cell in row.cells.items()}
    if number == 1:
        cells["STS12"] = replace(cells["STS12"], notes=["data revision unknown"])
    if number == 2:
        cells = {task: replace(cell, is_trained_on=None) for task, cell in cells.items()}
        row = replace(row, facts=ModelFacts(), zero_shot=None, revision="external")
    return replace(row, cells=cells)


def _all_kinds() -> Board:
    strange = [
        replace(_row(TYPES, name, 20 + number), notes=[f"a note of {name}"]) for number, name in enumerate(HOSTILE)
    ]
    mine = [replace(row, folder=Path("results") / f"run-{number}") for number, row in enumerate([*_mine(), *strange])]
    board = ranked(Board("Every kind of row", "mteb", TYPES, [*mine, *map(_public, range(6))], METRICS))
    common = [task for task in board.tasks if all(row.cells[task].score is not None for row in board.rows)]
    rows = [
        replace(
            row,
            common=mean([row.cells[task].score for task in common]),
            on_these_tasks=RankSpan(max(1, number - 2), number + 1) if row.mean_task.interval else None,
            on_tasks_like_these=RankSpan(max(1, number - 4), min(20, number + 5)) if row.mean_task.score else None,
        )
        for number, row in enumerate(board.rows, start=1)
    ]
    printed = Column("As printed", [None if number % 4 else 0.5 + number / 100 for number in range(len(rows))])
    notes = ["published scores are of mixed sources", "a note with a | pipe and <b>tags</b>"]
    return replace(board, rows=rows, common=common, columns=[printed], notes=notes)


def _published_protocol() -> Board:
    types = {"Reranking": ["T2Reranking", "a_task|of <mine>\u2066"]}
    rows = [_row(types, f"lab/own-{number}", 30 + number) for number in range(2)]
    plain = [replace(row, facts=ModelFacts(), zero_shot=None, texts_per_second=None) for row in rows]
    return ranked(Board("Reranking & more", "published", types, plain, sorted_by="name"))
