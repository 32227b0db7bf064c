"""What is known of a row's model: what its own records say, else mteb's registry; and what it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

from evalharness.catalog.models import NOTHING_KNOWN, ModelFacts, known_facts, model_facts
from evalharness.catalog.tasks import mteb_task
from evalharness.reports.board import Cell, Row
from evalharness.results.records import ABOUT
from evalharness.results.stored import StoredRun

# of what is changed in a model: how many dimensions are kept, by us and by mteb
_SIZES = ("dimensions", "embed_dim")
# changes after which vectors are of another size than the registry says
_OTHER_VECTORS = (*_SIZES, "mode")


def with_facts(row: Row, run: StoredRun) -> Row:
    """The row with the facts of its model, the zero-shot share, and the tasks marked that it was trained on.

    The share is mteb's, over the tasks of the row that mteb knows: of others nobody says whose training data they are
    in. Facts are of the first stage alone; with a reranker, both stages' training data count.

    Args:
        row: with its cells.
        run: what it was made of.
    """
    said = _recorded(run)
    trained = _training(run, said.get("made_from"))
    listed = model_facts(run.model) or NOTHING_KNOWN
    if any(name in run.overrides for name in _OTHER_VECTORS):
        listed = replace(listed, dimensions=None)
    facts = replace(listed, **said, trained_on=trained.tasks if trained.is_all else None)
    known = [task for task in row.cells if mteb_task(task) is not None]
    seen = trained.tasks & set(known)
    return replace(
        row,
        facts=facts,
        # mteb's `ModelMeta.zero_shot_percentage`
        zero_shot=int(100 - 100 * (len(seen) / len(known))) if known and trained.is_all else None,
        cells={task: _marked(cell, task, trained) if task in known else cell for task, cell in row.cells.items()},
        notes=[*row.notes, *_notes(facts, trained, seen)],
    )


def _recorded(run: StoredRun) -> Mapping[str, Any]:
    """What the newest record says of the model, else an older one, else what was changed in it, else its folder."""
    jobs = (job for task in run.tasks.values() for job in task.jobs if not job.problem)
    records = sorted((job.record for job in jobs if job.record is not None), key=lambda record: record.written)
    changed, own, mtebs = run.overrides, *_SIZES
    kept = {"max_length": changed.get("max_length"), "dimensions": changed.get(own, changed.get(mtebs))}
    found = {**run.about, **known_facts(kept)}
    for record in records:
        found |= known_facts(record.facts.get("model")) | known_facts(record.facts.get(ABOUT))
    return found


@dataclass(frozen=True, slots=True)
class _Training:
    """Tasks in training data, and whether these are all, as far as mteb knows."""

    tasks: AbstractSet[str]
    is_all: bool


def _training(run: StoredRun, made_from: str | None) -> _Training:
    second = run.overrides.get("reranker")
    stages = [_of_model(run.model, made_from)]
    stages += [_of_model(second.partition("@")[0])] if isinstance(second, str) else []
    return _Training(
        frozenset(task for stage in stages for task in stage.tasks), is_all=all(stage.is_all for stage in stages)
    )


def _of_model(name: str, made_from: str | None = None) -> _Training:
    """A model's, or at least that of the model that it was made from."""
    own = model_facts(name)
    if own is not None and own.trained_on is not None:
        return _Training(own.trained_on, is_all=True)
    base = None if made_from is None else model_facts(made_from)
    return _Training((base and base.trained_on) or frozenset(), is_all=False)


def _marked(cell: Cell, task: str, trained: _Training) -> Cell:
    if task in trained.tasks:
        return replace(cell, is_trained_on=True)
    return replace(cell, is_trained_on=False) if trained.is_all else cell


def _notes(facts: ModelFacts, trained: _Training, seen: AbstractSet[str]) -> list[str]:
    if trained.is_all or facts.made_from is None or not seen:
        return []
    return [f"of its training data only those of {facts.made_from} are known, from which it was made"]
