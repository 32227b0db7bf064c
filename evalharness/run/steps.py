"""The steps of a job: load -> encode -> score, each a function of what the one before gives.

All of them give values, which may be pickled: one step may run while another one of another job does, here or
elsewhere. The last is pure: no model, no file, no clock in it. Tasks that mteb scores have no last step of their own,
for mteb calls the model while it scores; see `encode_and_score_in_mteb`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from evalharness.catalog.selection import TaskChoice
from evalharness.catalog.tasks import TaskSpec
from evalharness.data.mteb import load_mteb_task
from evalharness.errors import UsageError
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.rankers import RankingModel
from evalharness.ranking.records import Ranking
from evalharness.results.records import JobId
from evalharness.tasks import is_native, task_type
from evalharness.tasks.mteb_bridge import score_with_mteb
from evalharness.types import Embeddings, Emit, Scores, TextColumn

Model: TypeAlias = EmbeddingModel | RankingModel
# of mteb's task objects, whose class is mteb's own
ReadTask: TypeAlias = Callable[[TaskChoice], Any]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is known of a job before there is a model.

    Attributes:
        spec: its task.
        job: which split and subset.
        records: as its task type makes them; of a task that mteb scores, mteb's task object.
        columns: the texts that are to be encoded; none where mteb asks for them while it scores.
    """

    spec: TaskSpec
    job: JobId
    records: Any
    columns: Sequence[TextColumn]

    @property
    def counts(self) -> Mapping[str, int]:
        """What there is of it, for people."""
        return task_type(self.spec.scoring).counts(self.records)

    @property
    def notes(self) -> Sequence[str]:
        """What a reader of the scores must know of the data."""
        return task_type(self.spec.scoring).notes(self.records)


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a model makes of a job's data: vectors, or the documents that it found.

    Attributes:
        embeddings: by column; empty where there is a ranking.
        ranking: of a model that ranks.
    """

    embeddings: Mapping[str, Embeddings] = field(default_factory=dict)
    ranking: Ranking | None = None


# as `score`
Scoring: TypeAlias = Callable[[Loaded, Encoded], Scores]


def load(job: JobId, choice: TaskChoice, read: ReadTask = load_mteb_task) -> Loaded:
    """Read what a job is about.

    Args:
        job: which.
        choice: its task, with all splits and subsets that are to be loaded with it.
        read: gives mteb's task object with its data, which several jobs may share.

    Raises:
        DataError: they are not as they should be.
        PrerequisiteError: they cannot be had.
    """
    spec = choice.spec
    if not is_native(spec):
        return Loaded(spec, job, read(choice), ())
    kind = task_type(spec.scoring)
    if spec.data is not None:
        records = kind.from_files(spec, job.split)
    else:
        records = kind.from_mteb(read(choice), job.split, job.subset)
    return Loaded(spec, job, records, kind.columns(records))


def encode(loaded: Loaded, model: Model, emit: Emit) -> Encoded:
    """Have a model make vectors of the texts, or rank the documents.

    Args:
        loaded: see `load`.
        model: which.
        emit: is told of progress, and may raise to end it there.

    Raises:
        ModelError: the model fails, or gives what is no number.
        StorageError: the store cannot be used.
        UsageError: the task wants vectors and the model has none, or a reranker has no candidates.
    """
    spec = loaded.spec
    if isinstance(model, RankingModel) and task_type(spec.scoring).ranks:
        languages = spec.languages[loaded.job.subset]
        return Encoded(ranking=model.rank(loaded.records, languages, spec.context(), emit))
    return Encoded(_embedder(model).encode_columns(loaded.columns, task=spec.context(), emit=emit))


def _embedder(model: Model) -> EmbeddingModel:
    if isinstance(model, RankingModel):
        raise UsageError(f"{model.spec.name} ranks documents and has no vectors; choose retrieval and reranking tasks")
    return model


def score(loaded: Loaded, encoded: Encoded) -> Scores:
    """Metrics and items of a job, with notes on its data and its scores; a pure function."""
    if encoded.ranking is None:
        scores: Scores = task_type(loaded.spec.scoring).score(loaded.records, encoded.embeddings)
    else:
        # it imports sklearn: seconds that a mistyped command need not wait for
        from evalharness.ranking.scores import score_ranking

        scores = score_ranking(loaded.records, encoded.ranking)
    return replace(scores, notes=(*loaded.notes, *scores.notes))


def encode_and_score_in_mteb(loaded: Loaded, model: Model, emit: Emit) -> Scores:
    """The last two steps of a task that mteb scores: it asks for vectors while it does.

    Arguments as for `encode`.

    Raises:
        UsageError: the model has no vectors, or the task wants more than vectors of texts.
    """
    embedder = _embedder(model)

    def encode_one(column: TextColumn) -> Embeddings:
        return embedder.encode_columns([column], task=loaded.spec.context(), emit=emit)[column.name]

    return score_with_mteb(loaded.records, loaded.job.split, loaded.job.subset, embedder.spec, encode_one)
