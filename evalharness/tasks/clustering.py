"""Clustering: k-means on the vectors, compared with the true groups; mteb's fast and legacy protocols."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from evalharness.catalog.tasks import TaskSpec
from evalharness.data.mteb import abstract_class, column, mteb_rows, text_column
from evalharness.data.tables import Table, check_label, split_table, tell_all
from evalharness.errors import DataError
from evalharness.metrics.clustering import Agreement, agreement
from evalharness.tasks.definition import TaskType, settings_of
from evalharness.tasks.fitting import fit_all
from evalharness.types import Embeddings, Frozen, ItemScores, Metrics, Scores, TextColumn

SEED = 42
_LEGACY = "AbsTaskClusteringLegacy"
_LEGACY_BATCH = 500
_FAST_BATCH = 512
_MISSING = -1


@dataclass(frozen=True, slots=True)
class Fit:
    """One run of k-means.

    Attributes:
        name: `level/experiment`, or the number of the cluster set.
        rows: which texts, possibly repeated.
        labels: their true groups.
        groups: how many clusters to make.
    """

    name: str
    rows: NDArray[np.int64]
    labels: NDArray[Any]
    groups: int


@dataclass(frozen=True, slots=True)
class ClusteringRecords:
    """Texts and the runs of k-means on them; `levels` is None for the legacy protocol."""

    texts: Sequence[str]
    fits: Sequence[Fit]
    batch_size: int
    levels: int | None


@dataclass(frozen=True, slots=True)
class FastPlan:
    """Parameters of the fast protocol, as mteb's task classes hold them after loading.

    Attributes:
        fraction, limit: share or number of texts to draw first; both None for all.
        draws: texts per experiment, drawn with replacement.
        experiments: per level.
        depth: levels that count, None for all.
        batch_size: of k-means.
    """

    fraction: float | None
    limit: int | None
    draws: int
    experiments: int
    depth: int | None
    batch_size: int


def _sampled(count: int, plan: FastPlan, state: random.Random) -> list[int]:
    """The texts that are embedded, in the order they were drawn."""
    if plan.fraction is None and plan.limit is None:
        return list(range(count))
    wanted = int(plan.fraction * count) if plan.fraction is not None else plan.limit or 0
    return state.sample(range(count), k=min(count, wanted))


def _level_labels(labels: Sequence[Sequence[Any]], level: int) -> NDArray[Any]:
    """Labels at one level. Among texts NumPy makes a missing level's -1 a text, and so it is a group, as in mteb."""
    return np.array([path[level] if len(path) > level else _MISSING for path in labels])


def _fast_fits(labels: Sequence[Any], plan: FastPlan, state: random.Random) -> tuple[list[int], list[Fit]]:
    """Draw the texts and the experiments, in mteb's order.

    Returns:
        Numbers of the embedded texts, and the fits; their rows count within the embedded texts.
    """
    chosen = _sampled(len(labels), plan, state)
    paths = [labels[n] if isinstance(labels[n], list) else [labels[n]] for n in chosen]
    deepest = max(map(len, paths))
    fits = []
    for level in range(deepest if plan.depth is None else min(plan.depth, deepest)):
        at_level = _level_labels(paths, level)
        present = np.flatnonzero(np.array([label != _MISSING for label in at_level]))
        groups = int(np.unique(at_level[present]).size)
        for experiment in range(plan.experiments):
            drawn = np.array(state.choices(range(len(present)), k=plan.draws))
            rows = present[drawn]
            fits.append(Fit(f"Level {level}/{experiment}", rows, at_level[rows], groups))
    return chosen, fits


def _fast_records(
    texts: Sequence[str], labels: Sequence[Any], plan: FastPlan, state: random.Random
) -> ClusteringRecords:
    chosen, fits = _fast_fits(labels, plan, state)
    levels = len({fit.name.partition("/")[0] for fit in fits})
    return ClusteringRecords([texts[n] for n in chosen], fits, plan.batch_size, levels)


def _legacy_records(sets: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> ClusteringRecords:
    texts: list[str] = []
    fits = []
    for number, (members, labels) in enumerate(sets):
        groups = len(set(labels))
        # a set of one group is perfect by definition and is not encoded
        kept = members if groups > 1 else []
        rows = np.arange(len(texts), len(texts) + len(kept))
        texts += kept
        fits.append(Fit(str(number), rows, np.array(labels[: len(kept)]), groups))
    return ClusteringRecords(texts, fits, _LEGACY_BATCH, None)


def _from_mteb(task: Any, split: str, subset: str) -> ClusteringRecords:  # noqa: ANN401 -- an mteb task object
    where = f"{task.metadata.name} [{split}, {subset}]"
    if abstract_class(task).__name__ == _LEGACY:
        rows = mteb_rows(task, split, subset)
        members = column(rows, task.input_column_name, where)
        return _legacy_records(list(zip(members, column(rows, task.label_column_name, where), strict=True)))
    # read after loading: many tasks change their limits while they load
    plan = FastPlan(
        fraction=task.max_fraction_of_documents_to_embed,
        limit=task.max_document_to_embed,
        draws=task.max_documents_per_cluster,
        experiments=task.n_clusters,
        depth=task.max_depth,
        batch_size=task.k_mean_batch_size,
    )
    state = random.Random(SEED)  # noqa: S311 -- mteb's own source of draws
    for earlier in product(task.eval_splits, task.hf_subsets):
        labels = column(mteb_rows(task, *earlier), task.label_column_name, where)
        if earlier == (split, subset):
            texts = text_column(mteb_rows(task, split, subset), task.input_column_name, where)
            return _fast_records(texts, labels, plan, state)
        _fast_fits(labels, plan, state)  # one fresh mteb run draws for all subsets from one state
    raise DataError(f"{where}: the loaded task has no such split and subset")


class ClusteringSettings(Frozen):
    """How texts are drawn and clustered; names as in mteb's task classes.

    Attributes:
        protocol: `fast`: k-means on draws from all texts, repeated; `legacy`: once per cluster set.
        max_fraction_of_documents_to_embed, max_document_to_embed: share or number of texts to draw first (fast).
        max_documents_per_cluster: texts per experiment, drawn with replacement (fast).
        n_clusters: experiments per level of the labels (fast).
        max_depth: levels of the labels that count; all if None (fast).
    """

    protocol: Literal["fast", "legacy"] = "fast"
    max_fraction_of_documents_to_embed: float | None = Field(default=None, gt=0, le=1)
    max_document_to_embed: int | None = Field(default=None, ge=2)
    max_documents_per_cluster: int = Field(default=16_384, ge=2)
    n_clusters: int = Field(default=10, ge=1)
    max_depth: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _all_count(self) -> ClusteringSettings:
        given = [name for name in _FAST_ONLY if name in self.model_fields_set]
        if self.protocol == "legacy" and given:
            raise ValueError(f'protocol = "legacy" has no {" and no ".join(given)}; leave it out')
        if self.max_fraction_of_documents_to_embed is not None and self.max_document_to_embed is not None:
            raise ValueError(
                "max_fraction_of_documents_to_embed and max_document_to_embed exclude each other; leave one out"
            )
        return self


_FAST_ONLY = (
    "max_fraction_of_documents_to_embed",
    "max_document_to_embed",
    "max_documents_per_cluster",
    "n_clusters",
    "max_depth",
)


def _from_files(spec: TaskSpec, split: str) -> ClusteringRecords:
    wanted = settings_of(spec, ClusteringSettings)
    table = split_table(spec, split, [], ["text", "label", "texts", "labels"])
    if table.values["texts"][0] is not None:
        if wanted.protocol != "legacy":
            raise DataError(f'{table.where}: cluster sets (texts, labels) need protocol = "legacy" in [settings]')
        return _legacy_records(_local_sets(table))
    table = split_table(spec, split, ["text", "label"])
    has_paths = isinstance(table.values["label"][0], list)
    tell_all(
        lambda: table.texts("text"),
        lambda: table.lists("label") if has_paths else table.labels("label"),
    )
    texts = table.texts("text")
    if wanted.protocol == "legacy":
        return _legacy_records([(texts, table.labels("label"))])
    plan = FastPlan(
        fraction=wanted.max_fraction_of_documents_to_embed,
        limit=wanted.max_document_to_embed,
        draws=wanted.max_documents_per_cluster,
        experiments=wanted.n_clusters,
        depth=wanted.max_depth,
        batch_size=_FAST_BATCH,
    )
    labels: Sequence[Any] = table.lists("label") if has_paths else table.labels("label")
    for row, path in enumerate(labels if has_paths else []):
        for label in path:
            check_label(label, labels[0][0], table.at(row, "label"))
    _check_sample(table.where, labels, plan)
    return _fast_records(texts, labels, plan, random.Random(SEED))  # noqa: S311 -- as above


def _check_sample(where: str, labels: Sequence[Any], plan: FastPlan) -> None:
    """See that what is drawn can be told apart.

    Raises:
        DataError: it has fewer than two different labels at the levels that count.
    """
    chosen = _sampled(len(labels), plan, random.Random(SEED))  # noqa: S311 -- as above
    paths = [labels[row] if isinstance(labels[row], list) else [labels[row]] for row in chosen]
    found = len({tuple(path[: plan.depth]) for path in paths})
    if found > 1:
        return
    names = {
        "max_fraction_of_documents_to_embed": plan.fraction,
        "max_document_to_embed": plan.limit,
        "max_depth": plan.depth,
    }
    given = [f"{name} = {value}" for name, value in names.items() if value is not None]
    advice = f"; raise {' or '.join(given)} in [settings], or leave it out" if given else ""
    raise DataError(
        f"{where}: {len(chosen)} of {len(labels)} rows are left to cluster, with {found} different labels; expected at "
        f"least two labels{advice}"
    )


def _local_sets(table: Table) -> list[tuple[list[str], list[Any]]]:
    """Cluster sets, one per row."""
    tell_all(lambda: table.text_lists("texts"), lambda: table.lists("labels"))
    texts, labels = table.text_lists("texts"), table.lists("labels")
    for row, (members, named) in enumerate(zip(texts, labels, strict=True)):
        where = table.at(row, "labels")
        if len(named) != len(members):
            raise DataError(f"{where}: expected a label for each of the {len(members)} texts, got {len(named)}")
        for label in named:
            check_label(label, named[0], where)
        if len(set(named)) == 1:
            raise DataError(f"{where}: all texts of the set have the label {named[0]!r}; expected at least two labels")
    return list(zip(texts, labels, strict=True))


def _columns(records: ClusteringRecords) -> list[TextColumn]:
    return [TextColumn("texts", records.texts, None)]


def _agreements(records: ClusteringRecords, vectors: NDArray[np.float32]) -> list[Agreement]:
    """Of the clusters of each fit with its labels; a set that is perfect by definition has no rows."""
    is_fast = records.levels is not None
    fits = [fit for fit in records.fits if len(fit.rows)]
    found = iter(
        fit_all(
            _agreement,
            [(fit, vectors, records.batch_size, is_fast) for fit in fits],
            sum(_seconds(fit, vectors.shape[1]) for fit in fits),
        )
    )
    return [next(found) if len(fit.rows) else Agreement(1.0) for fit in records.fits]


def _agreement(fit: Fit, vectors: NDArray[np.float32], batch_size: int, is_fast: bool) -> Agreement:  # noqa: FBT001 -- of `fit_all`
    from sklearn.cluster import MiniBatchKMeans

    start = 1 if is_fast else "auto"
    model = MiniBatchKMeans(n_clusters=fit.groups, batch_size=batch_size, n_init=start, random_state=SEED)
    return agreement(fit.labels, model.fit(vectors[fit.rows]).labels_, adjusted=is_fast)


def _seconds(fit: Fit, width: int) -> float:
    """What a run of k-means takes; about. It ends after a number of steps that hardly depends on the rows."""
    return min(8 * len(fit.rows), 50_000) * width * (4 + 0.12 * fit.groups) * 1e-9


def _score(records: ClusteringRecords, embeddings: Mapping[str, Embeddings]) -> Scores:
    """V-measure (and adjusted mutual information in the fast protocol). Items: one per cluster set or experiment."""
    found = _agreements(records, embeddings["texts"].vectors)
    measures = {"v_measure": [each.v_measure for each in found]}
    if records.levels is not None:
        measures["ami"] = [each.ami for each in found if each.ami is not None]
    metrics: Metrics = {}
    for name, values in measures.items():
        metrics[name] = float(np.mean(values))
        metrics[f"{name}_std"] = float(np.std(values))
        by_level = "v_measures" if name == "v_measure" else f"{name}_scores"
        metrics[by_level] = values if records.levels is None else _by_level(records.fits, values)
    return Scores(metrics, ItemScores([fit.name for fit in records.fits], measures))


def _by_level(fits: Sequence[Fit], values: Sequence[float]) -> dict[str, list[float]]:
    levels: dict[str, list[float]] = defaultdict(list)
    for fit, value in zip(fits, values, strict=True):
        levels[fit.name.partition("/")[0]].append(value)
    return dict(levels)


def _counts(records: ClusteringRecords) -> dict[str, int]:
    return {"k-means runs": len(records.fits), "groups": max(fit.groups for fit in records.fits)}


TASK_TYPE = TaskType(
    score_version=1,
    from_mteb=_from_mteb,
    from_files=_from_files,
    columns=_columns,
    score=_score,
    counts=_counts,
    metric_names=("v_measure", "v_measure_std", "ami", "ami_std"),
    settings=ClusteringSettings,
    draws_in_order=True,
)
