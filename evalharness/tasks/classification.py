"""Classification: logistic regression on few vectors per label, repeated with fixed draws."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from evalharness.catalog.tasks import TaskSpec
from evalharness.data.mteb import column, mteb_rows, text_column
from evalharness.data.tables import split_table, tell_all
from evalharness.errors import DataError, shorten
from evalharness.metrics.classification import coded_scores, positive_code
from evalharness.metrics.forms import NOT_TESTED
from evalharness.metrics.groups import group_column
from evalharness.metrics.measures import LABEL, PREDICTED
from evalharness.tasks.definition import TaskType, settings_of
from evalharness.tasks.fitting import fit_all
from evalharness.types import Embeddings, Frozen, ItemScores, Scores, TextColumn

SEED = 42
# that a fit takes, for each row, dimension and label; about
_SECONDS = 2e-9


@dataclass(frozen=True, slots=True)
class Experiment:
    """Row numbers of one experiment: training rows in the order they were drawn, and test rows."""

    train: Sequence[int]
    test: Sequence[int]


@dataclass(frozen=True, slots=True)
class LabelledRecords:
    """Labelled texts and the experiments on them.

    Attributes:
        train_texts, train_labels: only the rows that some experiment draws.
        test_texts, test_labels: all rows of the evaluated split.
        experiments: row numbers into the two above.
        classifier: of mteb's task, unfitted; every experiment gets a clone. None for the usual one.
        notes: what a reader of the scores must know of the data.
    """

    train_texts: Sequence[str]
    train_labels: Sequence[Any]
    test_texts: Sequence[str]
    test_labels: Sequence[Any]
    experiments: Sequence[Experiment]
    classifier: Any
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledTable:
    """Texts and labels of one split."""

    texts: Sequence[str]
    labels: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """How many experiments (or folds), with how many training rows per label, and which classifier."""

    count: int
    per_label: int
    classifier: Any = None


def shuffles(rows: int, count: int) -> list[list[int]]:
    """mteb's orders of training rows: experiment i applies the same shuffle to the order of experiment i - 1."""
    order = list(range(rows))
    orders = []
    for _ in range(count):
        np.random.RandomState(SEED).shuffle(order)
        orders.append(list(order))
    return orders


def undersample(labels: Sequence[Any], order: Sequence[int], per_label: int) -> list[int]:
    """Walk rows in this order and take each whose label was taken fewer than `per_label` times.

    >>> undersample(["a", "a", "b"], [2, 1, 0], 1)
    [2, 1]
    """
    taken: Counter[Any] = Counter()
    rows = []
    for row in order:
        if taken[labels[row]] < per_label:
            taken[labels[row]] += 1
            rows.append(row)
    return rows


def _held_out(train: LabelledTable, test: LabelledTable, plan: Plan) -> LabelledRecords:
    """The usual case: draw from the training split, test on the whole evaluated split."""
    drawn = [undersample(train.labels, order, plan.per_label) for order in shuffles(len(train.labels), plan.count)]
    union = sorted({row for rows in drawn for row in rows})
    place = {row: position for position, row in enumerate(union)}
    everything = range(len(test.labels))
    return LabelledRecords(
        train_texts=[train.texts[row] for row in union],
        train_labels=[train.labels[row] for row in union],
        test_texts=test.texts,
        test_labels=test.labels,
        experiments=[Experiment([place[row] for row in rows], everything) for rows in drawn],
        classifier=plan.classifier,
    )


def _cross_validated(table: LabelledTable, plan: Plan) -> LabelledRecords:
    """mteb's variant for data with one split: draw inside each fold, in the order left by the fold before."""
    from sklearn.model_selection import KFold

    experiments = []
    order: list[int] | None = None
    for train, test in KFold(n_splits=plan.count, shuffle=True, random_state=SEED).split(range(len(table.labels))):
        order = list(range(len(train))) if order is None else order
        np.random.RandomState(SEED).shuffle(order)
        rows = undersample([table.labels[row] for row in train], order, plan.per_label)
        experiments.append(Experiment([int(train[row]) for row in rows], [int(row) for row in test]))
    return LabelledRecords(table.texts, table.labels, table.texts, table.labels, experiments, plan.classifier)


def _from_mteb(task: Any, split: str, subset: str) -> LabelledRecords:  # noqa: ANN401 -- an mteb task object
    def table(name: str) -> LabelledTable:
        rows, where = mteb_rows(task, name, subset), f"{task.metadata.name} [{name}, {subset}]"
        return LabelledTable(
            text_column(rows, task.input_column_name, where), column(rows, task.label_column_name, where)
        )

    from sklearn.base import clone

    classifier = clone(task.evaluator_model)
    if "random_state" in classifier.get_params():
        classifier.set_params(random_state=SEED)
    if not task.is_cross_validation:
        return _held_out(
            table(task.train_split), table(split), Plan(task.n_experiments, task.samples_per_label, classifier)
        )
    if task.train_split != split:
        raise DataError(
            f"{task.metadata.name}: is cross-validated on {task.train_split!r}, there is no test on {split!r}"
        )
    return _cross_validated(table(split), Plan(task.n_splits, task.samples_per_label, classifier))


class ClassificationSettings(Frozen):
    """Experiments, and training texts per label in each."""

    n_experiments: int = Field(default=10, ge=1)
    samples_per_label: int = Field(default=8, ge=1)


def _from_files(spec: TaskSpec, split: str) -> LabelledRecords:
    def table(name: str) -> LabelledTable:
        rows = split_table(spec, name, ["text", "label"])
        tell_all(lambda: rows.texts("text"), lambda: rows.labels("label"))
        return LabelledTable(rows.texts("text"), rows.labels("label"))

    wanted = settings_of(spec, ClassificationSettings)
    tell_all(lambda: table("train"), lambda: table(split))
    train, test = table("train"), table(split)
    if isinstance(train.labels[0], str) != isinstance(test.labels[0], str):
        raise DataError(
            f"{spec.name}: labels are like {train.labels[0]!r} in the split 'train' and like {test.labels[0]!r} in "
            f"{split!r}; write them alike"
        )
    records = _held_out(train, test, Plan(wanted.n_experiments, wanted.samples_per_label))
    return replace(records, notes=unlearnt(test.labels, train.labels, split))


def unlearnt(labels: Iterable[Any], known: Iterable[Any], split: str) -> tuple[str, ...]:
    """A note of the labels of a split that training lacks."""
    missing = sorted({str(label) for label in set(labels) - set(known)})
    if not missing:
        return ()
    return (
        f"{len(missing)} labels of the split {split} are not in training and cannot be predicted: {shorten(missing)}",
    )


def _columns(records: LabelledRecords) -> list[TextColumn]:
    return [TextColumn("train", records.train_texts, None), TextColumn("test", records.test_texts, None)]


def _score(records: LabelledRecords, embeddings: Mapping[str, Embeddings]) -> Scores:
    """Mean over the experiments of accuracy, F1 and so on.

    Items: a test row's label, what each experiment predicts (NaN if it did not test the row), and the share of
    experiments that got it right.
    """
    from sklearn.utils.multiclass import unique_labels

    train, test = embeddings["train"].vectors, embeddings["test"].vectors
    present, gold = np.unique(np.asarray(records.test_labels), return_inverse=True)
    predictions = [
        _predict(classifier, test, _rows(experiment, len(gold)))
        for classifier, experiment in zip(_fitted(records, train), records.experiments, strict=True)
    ]
    # it also refuses texts and numbers together, and numbers that name no class
    labels = unique_labels(present, *(each.labels for each in predictions))
    gold, positive = np.searchsorted(labels, present)[gold], positive_code(labels)
    right, tested = np.zeros(len(gold)), np.zeros(len(gold))
    found = []
    codes = np.full((len(predictions), len(gold)), NOT_TESTED)
    for row, each in zip(codes, predictions, strict=True):
        row[each.rows] = np.searchsorted(labels, each.labels)[each.codes]
        found.append(coded_scores(gold[each.rows], row[each.rows], positive))
        right += row == gold
        tested[each.rows] += 1
    metrics: dict[str, Any] = {"scores_per_experiment": found}
    for name in found[0]:
        values = [value for scores in found if (value := scores[name]) is not None]
        metrics[name] = float(np.mean(values)) if values else float("nan")
    correct = np.divide(right, tested, out=np.full(len(gold), np.nan), where=tested > 0)
    names = _names(labels)
    items = {
        "correct": correct.tolist(),
        **_label_columns(gold, codes, np.arange(len(labels)) if names else labels),
        **group_column(records.test_texts),
    }
    return Scores(metrics, ItemScores([str(row) for row in range(len(gold))], items, names))


@dataclass(frozen=True, slots=True)
class _Predicted:
    """Which rows an experiment tested, the labels that it predicts, ascending, and the place of each row's in them."""

    rows: NDArray[np.int64] | slice
    labels: NDArray[Any]
    codes: NDArray[np.int64]


def _rows(experiment: Experiment, count: int) -> NDArray[np.int64] | slice:
    """The rows that it tests; all of `count` need no copy."""
    return slice(None) if experiment.test == range(count) else np.asarray(experiment.test)


def _names(labels: NDArray[Any]) -> list[str]:
    """Labels that are texts, sorted; none if they are numbers."""
    return [] if labels.dtype.kind in "biuf" else [str(label) for label in labels]


def _label_columns(
    gold: NDArray[np.int64], predicted: NDArray[np.int64], numbers: NDArray[Any]
) -> dict[str, list[float]]:
    """The label of each row and the predicted ones, as the number of each code; NaN where there is none."""
    # the last is found by `NOT_TESTED`
    named = np.append(np.asarray(numbers, dtype=np.float64), np.nan)
    predictions = {f"{PREDICTED}{number}": named[row].tolist() for number, row in enumerate(predicted)}
    return {LABEL: named[gold].tolist(), **predictions}


def _fitted(records: LabelledRecords, train: NDArray[np.float32]) -> list[Any]:
    """The classifier of each experiment."""
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression

    usual = LogisticRegression(max_iter=100, random_state=SEED)
    classifier = usual if records.classifier is None else records.classifier
    drawn = [list(experiment.train) for experiment in records.experiments]
    arguments = [(clone(classifier), train[rows], [records.train_labels[row] for row in rows]) for rows in drawn]
    seconds = _SECONDS * sum(map(len, drawn)) * train.shape[1] * len(set(records.train_labels))
    return fit_all(_fit, arguments, seconds)


def _fit(classifier: Any, vectors: NDArray[np.float32], labels: Sequence[Any]) -> Any:  # noqa: ANN401 -- sklearn's
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # 100 iterations are the protocol, converged or not
        warnings.simplefilter("ignore", ConvergenceWarning)
        return classifier.fit(vectors, labels)


def _predict(classifier: Any, test: NDArray[np.float32], rows: NDArray[np.int64] | slice) -> _Predicted:  # noqa: ANN401
    """What `predict` says; of a logistic regression without the checks, which take longer than the product."""
    from sklearn.linear_model import LogisticRegression

    vectors = test[rows]
    if type(classifier) is LogisticRegression:
        scores = vectors @ classifier.coef_.T + classifier.intercept_
        # else the checks have something to say
        if np.isfinite(scores).all():
            places = scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype(np.int64)
            present = np.flatnonzero(np.bincount(places))
            return _Predicted(rows, classifier.classes_[present], np.searchsorted(present, places))
    labels, codes = np.unique(classifier.predict(vectors), return_inverse=True)
    return _Predicted(rows, labels, codes)


def _counts(records: LabelledRecords) -> dict[str, int]:
    return {"labels": len(set(records.test_labels)), "experiments": len(records.experiments)}


def _texts(records: LabelledRecords, number: int, item: Mapping[str, float]) -> dict[str, str]:
    del item
    return {"text": records.test_texts[number]}


TASK_TYPE = TaskType(
    score_version=1,
    from_mteb=_from_mteb,
    from_files=_from_files,
    columns=_columns,
    score=_score,
    counts=_counts,
    metric_names=(
        "accuracy",
        *(f"{name}{by}" for name in ("f1", "precision", "recall", "ap") for by in ("", "_weighted")),
    ),
    settings=ClassificationSettings,
    parts=("train",),
    notes=lambda records: records.notes,
    texts=_texts,
    items_version=2,
)
