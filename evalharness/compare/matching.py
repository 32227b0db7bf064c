"""Items of one split and subset of both sides, put side by side, if they are the same items."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from evalharness.compare.sides import Results
from evalharness.errors import DataError, UsageError, as_utf8, clip, shorten
from evalharness.metrics.forms import NOT_TESTED, Decision, Form, Labels, Mean
from evalharness.metrics.from_items import contributions, form_of, score_of
from evalharness.metrics.measures import GROUP, LABEL, PREDICTED
from evalharness.metrics.statistics.influence import decided
from evalharness.results.items import read_arrays, read_items
from evalharness.results.records import JobId, JobRecord, items_path
from evalharness.types import ItemScores

# columns that say what is true, and not what a model makes of it
_TRUTHS = ("gold", LABEL)
# a stored score and what its items give are the same number; reading JSON loses nothing
_ROUNDING = 1e-9


class NotComparedError(Exception):
    """The two are not of the same thing."""


class ScoresOnlyError(Exception):
    """There are no items that could be compared."""


@dataclass(frozen=True, slots=True)
class PairedJob:
    """Items of one split and subset, of both sides in the same order.

    Attributes:
        weight: of its score in the task's.
        base, candidate: what the two scores are made of.
        groups: per item, what it belongs to; items of one group, of other subsets of its split too, are resampled
            together.
        records: of the base and of the candidate, as they are stored.
    """

    weight: float
    base: Form
    candidate: Form
    groups: Sequence[str]
    records: Sequence[JobRecord] = ()


def first_line(text: str) -> str:
    """Of a message that stands inside another."""
    return next(iter(as_utf8(text).splitlines()), "")


def items_of(results: Results, record: JobRecord) -> ItemScores:
    """The items that a record vouches for.

    Args:
        results: where they are.
        record: of one job.

    Raises:
        ScoresOnlyError: there are none.
        NotComparedError: they cannot be read.
    """
    if record.items is None or results.folder is None:
        raise ScoresOnlyError(f"{results.side.model} has no items for {record.job}")
    return _read(results.folder, record, read_items)


def _read(folder: Path, record: JobRecord, read: Callable[[Path], ItemScores]) -> ItemScores:
    try:
        items = read(items_path(folder, record.job))
    except DataError as error:
        raise NotComparedError(first_line(str(error))) from None
    if not items.ids:
        raise NotComparedError(f"the file of items of {record.job} holds none")
    return items


def alone(folder: Path, record: JobRecord, weight: float) -> PairedJob:
    """A job whose items stand on both sides, in the order of their ids: what is known of its score needs no other.

    Args:
        folder: of the results.
        record: of the job; it has items.
        weight: of its score in the task's.

    Raises:
        ScoresOnlyError: the items do not have what the main score is made of.
        NotComparedError: they cannot be read, or do not give the score that is stored.
    """
    items = _by_id(_read(folder, record, read_arrays))
    form = checked_form(items, record, quick_score)
    return PairedJob(weight, form, form, _groups(items, record.job.split), (record, record))


def _by_id(items: ItemScores) -> ItemScores:
    order = sorted(range(len(items.ids)), key=items.ids.__getitem__)
    rows = np.array(order)
    columns: Mapping[str, Any] = {name: np.asarray(values)[rows] for name, values in items.columns.items()}
    return replace(items, ids=list(map(items.ids.__getitem__, order)), columns=columns)


def pair_items(one: ItemScores, other: ItemScores, records: Sequence[JobRecord], weight: float) -> PairedJob:
    """Items of both sides as one.

    Args:
        one: items of the base.
        other: of the candidate.
        records: of the same two.
        weight: of their score in the task's.

    Raises:
        ScoresOnlyError: they do not have what the main score is made of.
        NotComparedError: they are not the same items, or do not give the score that is stored.
    """
    one, other = matched(one, other, records[0].job)
    forms = [checked_form(items, record) for items, record in zip((one, other), records, strict=True)]
    if _experiments(forms[0]) != _experiments(forms[1]):
        raise NotComparedError(f"{records[0].job}: the experiments are not the same, or did not test the same items")
    return PairedJob(weight, forms[0], forms[1], _groups(one, records[0].job.split), records)


def matched(one: ItemScores, other: ItemScores, job: JobId) -> tuple[ItemScores, ItemScores]:
    """Items of both sides in the order of the one's, with the same codes for the same labels.

    Args:
        one: the items.
        other: those of the other side.
        job: which they are of.

    Raises:
        NotComparedError: they are not the same items.
    """
    where = f"[{job.split}, {job.subset}]"
    try:
        one, other = _named_alike(one, other)
    except (LookupError, TypeError):
        raise NotComparedError(f"{where}: the labels are not of the same kind on the two sides") from None
    return one, _in_order(one, other, where)


def quick_score(form: Form) -> float:
    """The score but for rounding, without the time that sklearn takes: it adds up over hundreds of results."""
    if isinstance(form, Decision):
        return max(decided(form.labels == 1, row, form.measure) for row in form.similarities)
    values = None if isinstance(form, Mean) else contributions(form)
    return score_of(form) if values is None else float(np.nanmean(values))


def checked_form(items: ItemScores, record: JobRecord, score: Callable[[Form], float] = score_of) -> Form:
    """How the main score is made of the items, which do give it.

    Args:
        items: at least one.
        record: that vouches for them.
        score: of a form.

    Raises:
        ScoresOnlyError: the items do not have what the main score is made of.
        NotComparedError: they do not give the score that is stored.
    """
    try:
        form = form_of(record.main_score, items.columns, items.names)
        given = math.nan if form is None else score(form)
    except (LookupError, TypeError, ValueError, UsageError) as error:
        raise NotComparedError(f"items of {record.job} make no sense ({first_line(str(error))})") from None
    if form is None:
        raise ScoresOnlyError(
            f"items of {record.job} do not have what {record.main_score} is made of, for an older version wrote them; "
            "run the task again, which encodes nothing that the store has"
        )
    stored = record.metrics[record.main_score]
    if not abs(given - stored) <= _ROUNDING:
        raise NotComparedError(f"items of {record.job} give {given:.6f}, and its record says {stored:.6f}")
    return form


def _experiments(form: Form) -> list[list[bool]]:
    """Which items each experiment tested."""
    return (form.predicted != NOT_TESTED).tolist() if isinstance(form, Labels) else []


def _named_alike(one: ItemScores, other: ItemScores) -> tuple[ItemScores, ItemScores]:
    """The same items, where a code in columns of labels stands for the same label on both sides."""
    if list(one.names) == list(other.names):
        return one, other
    keys = [
        [tuple(name) if isinstance(name, Sequence) and not isinstance(name, str) else name for name in items.names]
        for items in (one, other)
    ]
    names = sorted({*keys[0], *keys[1]})
    code = {name: float(place) for place, name in enumerate(names)}

    def recoded(items: ItemScores, own: Sequence[Any]) -> ItemScores:
        columns = {
            name: [value if math.isnan(value) else code[own[int(value)]] for value in values]
            if name == LABEL or name.startswith(PREDICTED)
            else values
            for name, values in items.columns.items()
        }
        return replace(
            items, columns=columns, names=[list(name) if isinstance(name, tuple) else name for name in names]
        )

    return recoded(one, keys[0]), recoded(other, keys[1])


def _in_order(one: ItemScores, other: ItemScores, where: str) -> ItemScores:
    """The other items in the order of the one's, if they are the same.

    Raises:
        NotComparedError: they are not.
    """
    if list(one.ids) != list(other.ids):
        place = {name: row for row, name in enumerate(other.ids)}
        differing = set(one.ids) ^ set(place)
        if differing or len(place) < len(other.ids):
            raise NotComparedError(
                f"{where}: the items are not the same: {len(one.ids)} and {len(other.ids)}, and not in both: "
                f"{shorten(sorted(map(clip, differing))) or 'none, but some are there twice'}"
            )
        rows = [place[name] for name in one.ids]
        columns = {name: [values[row] for row in rows] for name, values in other.columns.items()}
        other = replace(other, ids=one.ids, columns=columns)
    for name in (*_TRUTHS, GROUP):
        _check_truth(one, other, name, where)
    return other


def _check_truth(one: ItemScores, other: ItemScores, name: str, where: str) -> None:
    truths = [list(items.columns.get(name, [])) for items in (one, other)]
    if truths[0] != truths[1]:
        changed = sum(a != b for a, b in zip(*truths, strict=False)) or "all"
        raise NotComparedError(f"{where}: {changed} of {len(one.ids)} items have another {name} on the two sides")


def _groups(items: ItemScores, split: str) -> list[str]:
    """Per item the name of what it belongs to: of the first item of its group, so that parallel subsets agree.

    Splits do not: where ids are numbers of rows, those of two splits have nothing in common.
    """
    names = [f"{split}/{name}" for name in items.ids]
    if GROUP not in items.columns:
        return names
    first: dict[float, str] = {}
    return [first.setdefault(group, name) for group, name in zip(items.columns[GROUP], names, strict=True)]
