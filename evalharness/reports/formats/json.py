"""Leaderboards as JSON, for programs; docs/report.schema.json describes it, and `SCHEMA` counts its changes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from evalharness.compare.formats.json import Text
from evalharness.reports.board import Board, Origin

# one higher where a key goes or means something else; a new key changes nothing for whoever reads the others
SCHEMA: Final = 1
# what is none of JSON's numbers is written as null
Number: TypeAlias = float | None
_OTHER_THAN_ASCII = re.compile(r"[^\x00-\x7e]")


def _ordered(value: object) -> object:
    return sorted(value) if isinstance(value, (set, frozenset)) else value


def _place(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)


class SpanPart(_Part):
    """A 95% interval on items like these."""

    low: Number
    high: Number
    method: Text = Field(description="how it was made, for people")
    is_trusted: bool = Field(description="whether there are enough items for it to cover what it says")


class RankPart(_Part):
    """A 95% interval of a rank."""

    best: int
    worst: int


class SubsetPart(_Part):
    """A score on one subset of one split."""

    split: Text
    subset: Text
    languages: list[Text] = Field(description="mteb language codes; empty where unknown")
    score: Number
    interval: SpanPart | None


class CellPart(_Part):
    """A row's score of a task."""

    score: Number = Field(description="null if it is missing or not complete")
    missing: Text = Field(description="what is missing; empty if nothing is")
    interval: SpanPart | None = Field(description="null where no items are at hand")
    parts: list[SubsetPart] = Field(description="subsets that have a score, also where the whole is missing")
    notes: list[Text] = Field(description="footnotes of the number, for people")
    is_trained_on: bool | None = Field(description="whether the task is in the training data; null if nobody says")
    source: Text = Field(description="whose number it is, for a published score; empty for results")


class MeanPart(_Part):
    """A mean over tasks, or over task types."""

    score: Number = Field(description="null if one of them is missing")
    present: int = Field(description="how many of them have a score")
    expected: int
    interval: SpanPart | None


class FactsPart(_Part):
    """What is known of a model; null where nobody says."""

    dimensions: int | None
    max_length: int | None = Field(description="in tokens")
    parameters: int | None
    embedding_parameters: int | None
    licence: Text | None
    release_date: Text | None = Field(description="year-month-day")
    trained_on: Annotated[list[Text] | None, BeforeValidator(_ordered)] = Field(description="names of tasks")
    link: Text | None
    is_open: bool | None = Field(description="whether its weights can be had")
    superseded_by: Text | None
    made_from: Text | None = Field(description="the model that it was fine-tuned from")


class RowPart(_Part):
    """A model's line."""

    model: Text
    revision: Text
    second_stage: Text = Field(description="the reranker and its depth; empty if there is none")
    experiment: Text = Field(description="what else was changed by options; empty if nothing")
    origin: Origin
    cells: dict[Text, CellPart] = Field(description="by task, all of the board's")
    types: dict[Text, MeanPart] = Field(description="by task type, the mean of its tasks")
    mean_task: MeanPart = Field(description="over all tasks")
    mean_type: MeanPart = Field(description="over the means of the task types")
    common: MeanPart | None = Field(description="over the tasks that all rows have; null where it was not asked for")
    borda: int | None = Field(description="rank by mteb's Borda count, 1 is first")
    on_these_tasks: RankPart | None = Field(description="rank by the mean over tasks, items resampled")
    on_tasks_like_these: RankPart | None = Field(description="the same, tasks resampled")
    facts: FactsPart
    zero_shot: int | None = Field(description="percent of the board's tasks that are not in the training data")
    texts_per_second: Number
    step: int | None = Field(description="of a checkpoint of a training run")
    folder: Annotated[Text | None, BeforeValidator(_place)] = Field(description="where the results are")
    notes: list[Text] = Field(description="footnotes, for people")


class ColumnPart(_Part):
    """A column that only this board has."""

    title: Text
    values: list[Number] = Field(description="a score by row, in the order of the rows")


class TypePart(_Part):
    """A task type with its tasks, in the order of the board."""

    name: Text
    tasks: list[Text]


class BoardPart(_Part):
    """A table of models, all by one protocol; scores are 0-1 and not rounded."""

    title: Text
    protocol: Text = Field(description="whose rules the scores follow")
    sorted_by: Text
    types: list[TypePart]
    metrics: dict[Text, Text] = Field(description="by task, the name of its main score, where it is known")
    common: list[Text] = Field(description="the tasks that all rows have, where a mean over them was asked for")
    rows: list[RowPart]
    columns: list[ColumnPart]
    notes: list[Text] = Field(description="footnotes of the whole table, for people")


class Document(_Part):
    """What `evalharness report --format json` writes, whatever the number of boards."""

    model_config = ConfigDict(json_schema_extra={"$schema": "https://json-schema.org/draft/2020-12/schema"})

    version: Literal[1] = Field(alias="schema", description="version of this format")
    boards: list[BoardPart]


def render(boards: Sequence[Board]) -> str:
    """All that is known, unrounded, from 0 to 1; what is no number is null, and nothing in it moves a terminal."""
    document = Document(schema=SCHEMA, boards=[_part(board) for board in boards])
    text = document.model_dump_json(by_alias=True, indent=1)
    return _OTHER_THAN_ASCII.sub(_shown, text) + "\n"


def _part(board: Board) -> BoardPart:
    parts = {name: getattr(board, name) for name in BoardPart.model_fields if name != "types"}
    types = [TypePart(name=name, tasks=list(tasks)) for name, tasks in board.types.items()]
    return BoardPart.model_validate({**parts, "types": types}, from_attributes=True)


def _shown(found: re.Match[str]) -> str:
    """A character that turns or hides what follows, as JSON escapes it; all others as they are."""
    character = found[0]
    if character.isprintable():
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))
