"""A comparison as JSON, for programs; docs/comparison.schema.json describes it, and `SCHEMA` counts its changes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from evalharness.compare.comparison import Adjustment, Level, Verdict
from evalharness.compare.gate import GateKind, Reason
from evalharness.compare.judged import Judged

# one higher where a key goes or means something else; a new key changes nothing for whoever reads the others
SCHEMA: Final = 1
_HALVES = re.compile("[\ud800-\udfff]")


def _finite(value: object) -> object:
    """JSON has no NaN and no infinity; what is none of its numbers is not known."""
    return None if isinstance(value, float) and not isfinite(value) else value


def _whole(value: object) -> object:
    """A text without halves of characters, which UTF-8 does not have."""
    return _HALVES.sub("\ufffd", value) if isinstance(value, str) else value


def _any_json(value: object) -> object:
    """What anyone put into settings, as JSON."""
    if isinstance(value, Mapping):
        return {_HALVES.sub("\ufffd", str(key)): _any_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_any_json(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return _finite(value)
    return _HALVES.sub("\ufffd", str(value))


def _ordered(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else value


Text: TypeAlias = Annotated[str, BeforeValidator(_whole)]
Number: TypeAlias = Annotated[float | None, BeforeValidator(_finite)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)


class RangePart(_Part):
    """An interval of a difference, candidate minus base, from 0 to 1."""

    low: Number
    high: Number


class SidePart(_Part):
    """One of the two that are compared."""

    model: Text
    revision: Text = Field(description='"unknown" where nobody says')
    overrides: Annotated[dict[str, JsonValue], BeforeValidator(_any_json)] = Field(description="changed settings")
    place: Text = Field(description="where its results are, as it was named")
    protocol: Text = Field(description="whose rules its scores follow")


class SettingsPart(_Part):
    """How the comparison was made."""

    tolerance: Number = Field(description="a loss that nobody minds, 0-1")
    tolerances: dict[Level, dict[Text, Number]] = Field(description="those of single tasks, types and means")
    alpha: Number = Field(description="how often all findings together may raise a false alarm")
    adjustment: Adjustment = Field(description="of p-values over all findings")
    draws: int
    seed: int
    optional: Annotated[list[Text], BeforeValidator(_ordered)] = Field(description="tasks that means may do without")


class FindingPart(_Part):
    """What is known of the difference in a task, in the mean of a task type, or in the mean of all; scores are 0-1."""

    name: Text
    level: Level
    type: Text = Field(description="task type; empty for the means")
    metric: Text = Field(description="main score of a task; empty for a mean over tasks")
    base: Number
    candidate: Number
    difference: Number = Field(description="candidate minus base")
    verdict: Verdict
    tolerance: Number = Field(description="the loss that nobody minds")
    interval: RangePart | None = Field(description="95%, items resampled: on these tasks")
    like_these: RangePart | None = Field(description="95%, tasks resampled: on tasks like these; null for a task")
    p_value: Number = Field(description="of no difference, two-sided")
    adjusted: Number = Field(description="the same, adjusted over all findings")
    p_beyond: Number = Field(description="of a loss within the tolerance at most, one-sided, adjusted")
    smallest: Number = Field(description="the smallest difference that could have been shown with a power of 0.8")
    items: int = Field(description="pairs of items; of a mean, in all its tasks")
    clusters: int = Field(description="groups of items that were resampled as a whole")
    needed: int | None = Field(description="how many items (of a mean: tasks) would tell")
    method: Text = Field(description="how it was decided, for people")
    why: Text = Field(description="why it was compared by score only, or not at all")
    notes: tuple[Text, ...] = Field(description="what a reader must know, for people")


class FailurePart(_Part):
    """What fails the gate."""

    name: Text = Field(description="of a task, type or mean")
    reason: Reason
    why: Text = Field(description="for people")


class GatePart(_Part):
    """The gate's outcome."""

    kind: GateKind
    passes: bool
    failures: list[FailurePart]


class ComparisonPart(_Part):
    """A candidate against a base."""

    base: SidePart
    candidate: SidePart
    settings: SettingsPart
    notes: list[Text] = Field(description="what is different beside the model: precision, engine, device, versions")
    gate: GatePart | None = Field(description="null where there was no gate")
    means: list[FindingPart]
    types: list[FindingPart]
    tasks: list[FindingPart]


class Document(_Part):
    """What `evalharness compare --format json` writes."""

    model_config = ConfigDict(json_schema_extra={"$schema": "https://json-schema.org/draft/2020-12/schema"})

    version: Literal[1] = Field(alias="schema", description="version of this format")
    passes: bool | None = Field(description="whether every candidate passes the gate; null where there was none")
    comparisons: list[ComparisonPart] = Field(description="one for each candidate, in the order of the command")


def render(series: Sequence[Judged]) -> str:
    """All that is known, unrounded, from 0 to 1; keys are sorted, and what is no number is null."""
    outcomes = [judged.outcome for judged in series if judged.outcome is not None]
    passes = all(outcome.passes for outcome in outcomes) if outcomes else None
    document = Document(schema=SCHEMA, passes=passes, comparisons=[_part(judged) for judged in series])
    value = document.model_dump(mode="json", by_alias=True)
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _part(judged: Judged) -> ComparisonPart:
    comparison, outcome = judged.comparison, judged.outcome
    parts: dict[str, Any] = {name: getattr(comparison, name) for name in ComparisonPart.model_fields if name != "gate"}
    return ComparisonPart.model_validate({**parts, "gate": outcome}, from_attributes=True)
