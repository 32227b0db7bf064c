"""Models by tasks, and what is known of the order of the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evalharness.errors import UsageError, shorten
from evalharness.metrics.forms import Values
from evalharness.metrics.statistics import SEED
from evalharness.metrics.statistics.draws import generator
from evalharness.metrics.statistics.ranks import Ranking, rank_models

ALPHA = 0.05
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of models that have every task.

    Attributes:
        name: of the list of tasks.
        models: names, each once.
        tasks: names.
        scores: 0-1, shape (models, tasks).
        items: by task, of those of which all models have the same items: what each says of each model's score, shape
            (models, independent items).
        left_out: models that are not among them -> why.
    """

    name: str
    models: Sequence[str]
    tasks: Sequence[str]
    scores: Values
    items: Mapping[str, Values]
    left_out: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Board:
    """Scores in their order.

    Attributes:
        scores: what was ranked.
        ranking: in whose rows models are numbered as there.
        draws: resamples.
    """

    scores: Scores
    ranking: Ranking
    draws: int

    @property
    def told_apart_by_items(self) -> int | None:
        """How many pairs of neighbours are, on these tasks; None without items."""
        p_values = [pair.p_on_these_tasks for pair in self.ranking.neighbours]
        return None if not self.scores.items else sum(p is not None and p <= ALPHA for p in p_values)

    @property
    def told_apart_by_tasks(self) -> int | None:
        """How many pairs of neighbours are, on tasks like these; None of a single task."""
        p_values = [pair.p_on_tasks_like_these for pair in self.ranking.neighbours]
        return None if len(self.scores.tasks) == 1 else sum(p is not None and p <= ALPHA for p in p_values)


def rank(scores: Scores, draws: int, seed: int = SEED) -> Board:
    """Rank models by their mean over the tasks.

    Raises:
        UsageError: fewer than two models have all of the tasks.
    """
    if len(scores.models) < 2:  # noqa: PLR2004 -- one model is first whatever happens
        reasons = [f"{model}: {why}" for model, why in scores.left_out.items()]
        raise UsageError(
            f"{scores.name}: ranks need two models that have all {len(scores.tasks)} tasks, and there "
            f"{'is one' if scores.models else 'is none'}. Left out: {shorten(reasons, 3) or 'none'}"
        )
    nothing = np.zeros((len(scores.models), 0))
    items = [scores.items.get(task, nothing) for task in scores.tasks] if scores.items else None
    source = generator(seed, "ranks", scores.name)
    return Board(scores, rank_models(scores.scores, generator=source, items=items, draws=draws, level=LEVEL), draws)
