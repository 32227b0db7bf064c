"""Lines per item of an Every Eval Ever record: what the model gave for each, and what that contributes.

Texts are not stored, so no line has one: `sample_id` names the item in its data set. What a line's score is depends on
how the metric is made of items, and each line says it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalharness.errors import DataError, UsageError
from evalharness.files import atomic_path
from evalharness.metrics.measures import LABEL, PREDICTED
from evalharness.results.evaluation import JobResult
from evalharness.results.records import JobRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evalharness.metrics.forms import Decision, Form, Labels, LabelSets, Values
    from evalharness.types import ItemScores

VERSION = "0.3.0"
_GOLD = "gold"
_SHARE = "the share of experiments that give the item's labels"


@dataclass(frozen=True, slots=True)
class Origin:
    """What the lines of a job belong to.

    Attributes:
        evaluation_id, model: of the whole record.
        name: of the evaluation, unique in it.
        record: of the job.
    """

    evaluation_id: str
    model: str
    name: str
    record: JobRecord


@dataclass(frozen=True, slots=True)
class Samples:
    """What was written of items.

    Attributes:
        rows: how many lines; without any there is no file.
        checksum: sha256 of the file.
        items: by evaluation, how many items have a line.
        without: by evaluation, why none has.
    """

    rows: int
    checksum: str
    items: Mapping[str, int]
    without: Mapping[str, str]


def result_id(name: str, record: JobRecord) -> str:
    """What lines and the record call a score."""
    return f"{name}:{record.main_score}"


def write_samples(path: Path, origins: Sequence[Origin], folder: Path) -> Samples:
    """Write a line per item, job after job; no more than the items of one job are in memory.

    Args:
        path: where.
        origins: the jobs.
        folder: of the run that they are in.
    """
    from evalharness.compare.matching import NotComparedError, ScoresOnlyError, checked_form

    items: dict[str, int] = {}
    without: dict[str, str] = {}
    digest = sha256()
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        for origin in origins:
            try:
                found = JobResult(origin.record, folder).items
                # what contradicts the score beside it is not published as what it is made of
                form = checked_form(found, origin.record) if found.ids else None
            except (DataError, UsageError, NotComparedError, ScoresOnlyError) as error:
                without[origin.name] = str(error)
                continue
            if form is None:
                without[origin.name] = "no items of it are stored"
                continue
            for line in _lines(origin, form, found):
                handle.write(line)
                digest.update(line)
                items[origin.name] = items.get(origin.name, 0) + 1
    if not items:
        path.unlink()
    return Samples(sum(items.values()), digest.hexdigest(), items, without)


def _lines(origin: Origin, form: Form, items: ItemScores) -> Iterator[bytes]:
    """The lines of items that the score counts."""
    scores, meaning = _scores(form)
    has_answer = _has_answer(form)
    for place, name in enumerate(items.ids):
        score = float(scores[place])
        if not isfinite(score):
            continue
        value = {
            "schema_version": VERSION,
            "evaluation_id": origin.evaluation_id,
            "model_id": origin.model,
            "evaluation_name": origin.name,
            "evaluation_result_id": result_id(origin.name, origin.record),
            "sample_id": name,
            "interaction_type": "single_turn",
            "input": {"raw": "", "reference": _reference(items, place)},
            "output": {"raw": _output(form, items, place)},
            "answer_attribution": [],
            "evaluation": {"score": score, "is_correct": has_answer and score == 1},
            "metadata": {"score": meaning, "is_correct_applicable": "true" if has_answer else "false"},
        }
        # in ASCII: whoever splits at what Unicode calls the end of a line gets whole lines
        yield f"{json.dumps(value, sort_keys=True, allow_nan=False)}\n".encode()


def _scores(form: Form) -> tuple[Values, str]:
    """A value per item, NaN where it does not count, and what it is."""
    from evalharness.metrics.forms import Correlation, Decision, Labels, Mean

    match form:
        case Mean():
            return form.values, "the metric of the item, whose mean over items is the score"
        case Correlation():
            return form.similarities, "the similarity of the pair; the score is its correlation with the reference"
        case Decision():
            return form.similarities[0], _of_decision(form)
        case Labels():
            return _share(form), _SHARE
        case _:
            return _share_of_sets(form), _SHARE


def _of_decision(form: Decision) -> str:
    how = "average precision over pairs" if form.measure == "ap" else f"{form.measure} at the best threshold"
    if len(form.similarities) == 1:
        return f"the similarity of the pair; the score is the {how}"
    return f"the model's own similarity of the pair; the score is the {how}, by the best of several similarities"


def _share(form: Labels) -> Values:
    import numpy as np

    from evalharness.metrics.forms import NOT_TESTED

    tested: NDArray[np.bool_] = form.predicted != NOT_TESTED
    count = tested.sum(axis=0)
    right = ((form.predicted == form.gold) & tested).sum(axis=0)
    shares: Values = np.divide(right, count, out=np.full(count.shape, np.nan), where=count > 0)
    return shares


def _share_of_sets(form: LabelSets) -> Values:
    shares: Values = (form.predicted == form.gold).all(axis=2).mean(axis=0)
    return shares


def _has_answer(form: Form) -> bool:
    """Whether an item is right or wrong."""
    from evalharness.metrics.forms import Labels, LabelSets

    return isinstance(form, Labels | LabelSets)


def _reference(items: ItemScores, place: int) -> list[str]:
    column = next((name for name in (LABEL, _GOLD) if name in items.columns), None)
    return [] if column is None else _texts(items, column, place)


def _output(form: Form, items: ItemScores, place: int) -> list[str]:
    """What the model gave: a similarity, or what each experiment predicts."""
    from evalharness.metrics.forms import Correlation, Decision

    if isinstance(form, Correlation | Decision):
        return [repr(float(_scores(form)[0][place]))]
    return [text for name in items.columns if _is_predicted(name) for text in _texts(items, name, place)]


def _is_predicted(column: str) -> bool:
    return column.startswith(PREDICTED) or column == "found"


def _texts(items: ItemScores, column: str, place: int) -> list[str]:
    """A label, the members of a set of labels, or a number; nothing of an item that an experiment did not test."""
    number = items.columns[column][place]
    if not isfinite(number):
        return []
    if items.names and (column == LABEL or column.startswith(PREDICTED)):
        label: Any = items.names[int(number)]
        return [str(member) for member in label] if isinstance(label, list | tuple) else [str(label)]
    return [repr(int(number)) if float(number).is_integer() else repr(float(number))]
