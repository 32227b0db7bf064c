"""Multilabel classification: nearest neighbours among few training texts, each text with any number of labels."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.catalog.tasks import TaskSpec
from evalharness.data.mteb import column, mteb_rows, text_column
from evalharness.data.tables import check_label, split_table, tell_all
from evalharness.errors import DataError
from evalharness.metrics.classification import hamming_scores, set_score
from evalharness.metrics.forms import SetMeasure
from evalharness.metrics.groups import group_column
from evalharness.metrics.measures import LABEL, PREDICTED
from evalharness.tasks.classification import ClassificationSettings, unlearnt
from evalharness.tasks.definition import TaskType, settings_of
from evalharness.types import Embeddings, ItemScores, Scores, TextColumn

SEED = 42
_NEIGHBOURS = 5
_WORD = 64
_MEASURES: tuple[SetMeasure, ...] = ("accuracy", "lrap", "f1", "hamming")


@dataclass(frozen=True, slots=True)
class MultilabelTable:
    """Texts, each with its list of labels."""

    texts: Sequence[str]
    labels: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class MultilabelRecords:
    """Training texts (only those that some experiment draws), test texts, and the experiments' training rows.

    Attributes:
        train, test: texts and labels.
        experiments: per experiment, row numbers into `train`, in the order they were drawn.
        classifier: of mteb's task, unfitted; every experiment gets a clone. None for the usual one.
        notes: what a reader of the scores must know of the data.
    """

    train: MultilabelTable
    test: MultilabelTable
    experiments: Sequence[Sequence[int]]
    classifier: Any
    notes: tuple[str, ...] = ()


def undersample(labels: Sequence[Sequence[Any]], order: Sequence[int], per_label: int) -> list[int]:
    """Walk rows in this order and take each that has a label which was taken fewer than `per_label` times.

    >>> undersample([["a"], ["a", "b"], ["a"]], [0, 1, 2], 1)
    [0, 1]
    """
    taken: Counter[Any] = Counter()
    rows = []
    for row in order:
        if any(taken[label] < per_label for label in labels[row]):
            rows.append(int(row))
            taken.update(labels[row])
    return rows


def _shuffled(rows: int, generator: np.random.Generator) -> list[int]:
    order = list(range(rows))
    generator.shuffle(order)
    return order


def _records(
    train: MultilabelTable, test: MultilabelTable, drawn: Sequence[Sequence[int]], classifier: object = None
) -> MultilabelRecords:
    union = sorted({row for rows in drawn for row in rows})
    place = {row: position for position, row in enumerate(union)}
    kept = MultilabelTable([train.texts[row] for row in union], [train.labels[row] for row in union])
    return MultilabelRecords(kept, test, [[place[row] for row in rows] for rows in drawn], classifier)


def _from_mteb(task: Any, split: str, subset: str) -> MultilabelRecords:  # noqa: ANN401 -- an mteb task object
    where = f"{task.metadata.name} [{split}, {subset}]"

    def table(name: str) -> MultilabelTable:
        rows = mteb_rows(task, name, subset)
        return MultilabelTable(
            text_column(rows, task.input_column_name, where), column(rows, task.label_column_name, where)
        )

    train, test = table(task.train_split), table(split)
    generator = np.random.default_rng(SEED)
    # one fresh mteb run draws for all splits and subsets from one generator
    for place in product(task.eval_splits, task.hf_subsets):
        if place == (split, subset):
            break
        for _ in range(task.n_experiments):
            _shuffled(len(mteb_rows(task, task.train_split, place[1])), generator)
    drawn = [
        undersample(train.labels, _shuffled(len(train.labels), generator), task.samples_per_label)
        for _ in range(task.n_experiments)
    ]
    if task.max_eval_samples is not None and len(test.texts) > task.max_eval_samples:
        chosen = _stratified(test.labels, task.max_eval_samples)
        test = MultilabelTable([test.texts[n] for n in chosen], [test.labels[n] for n in chosen])
    return _records(train, test, drawn, task.evaluator_model)


def _stratified(labels: Sequence[Sequence[Any]], wanted: int) -> list[int]:
    """Rows that mteb tests on where there are too many, by its own copy of a library's algorithm."""
    from mteb.abstasks._stratification import _iterative_train_test_split
    from sklearn.preprocessing import MultiLabelBinarizer

    rows, binary = np.arange(len(labels)).reshape(-1, 1), MultiLabelBinarizer().fit_transform(labels)
    _, chosen = _iterative_train_test_split(rows, binary, test_size=wanted / len(labels), random_state=SEED)
    return [int(row) for row in np.asarray(chosen).ravel()]


def _from_files(spec: TaskSpec, split: str) -> MultilabelRecords:
    wanted = settings_of(spec, ClassificationSettings)
    tell_all(lambda: _local_table(spec, "train"), lambda: _local_table(spec, split))
    train, test = _local_table(spec, "train"), _local_table(spec, split)
    generator = np.random.default_rng(SEED)
    drawn = [
        undersample(train.labels, _shuffled(len(train.labels), generator), wanted.samples_per_label)
        for _ in range(wanted.n_experiments)
    ]
    if min(map(len, drawn)) < _NEIGHBOURS:
        raise DataError(f"{spec.name}: an experiment draws fewer than {_NEIGHBOURS} training texts; give more of them")
    records = _records(train, test, drawn)
    return replace(records, notes=unlearnt(chain(*test.labels), chain(*train.labels), split))


def _local_table(spec: TaskSpec, split: str) -> MultilabelTable:
    table = split_table(spec, split, ["text", "label"])
    tell_all(lambda: table.texts("text"), lambda: table.lists("label"))
    labels = table.lists("label")
    for row, values in enumerate(labels):
        for value in values:
            check_label(value, labels[0][0], table.at(row, "label"))
    if len({value for values in labels for value in values}) == 1:
        raise DataError(
            f"{table.where}, column {table.names['label']!r}: there is no label but {labels[0][0]!r}; "
            "expected at least two labels"
        )
    return MultilabelTable(table.texts("text"), labels)


def _columns(records: MultilabelRecords) -> list[TextColumn]:
    return [TextColumn("train", records.train.texts, None), TextColumn("test", records.test.texts, None)]


def _score(records: MultilabelRecords, embeddings: Mapping[str, Embeddings]) -> Scores:
    """Means over the experiments of exact match, LRAP, macro F1 and Hamming score; labels are those of the test texts.

    Items: a test text's labels and those that each experiment predicts, how often it got exactly its labels, and its
    mean Hamming score.
    """
    from sklearn.base import clone
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import MultiLabelBinarizer

    train, test = embeddings["train"].vectors, embeddings["test"].vectors
    usual = KNeighborsClassifier(n_neighbors=_NEIGHBOURS)
    classifier = usual if records.classifier is None else records.classifier
    binarizer = MultiLabelBinarizer()
    gold = binarizer.fit_transform(records.test.labels)
    exact, hamming = np.zeros(len(gold)), np.zeros(len(gold))
    found: list[dict[str, float]] = []
    sets = [gold]
    for rows in records.experiments:
        with warnings.catch_warnings():
            # labels that no test text has do not count, by protocol
            warnings.filterwarnings("ignore", message="unknown class")
            wanted = binarizer.transform([records.train.labels[row] for row in rows])
        predicted: NDArray[Any] = clone(classifier).fit(train[list(rows)], wanted).predict(test)
        found.append({measure: set_score(measure, gold, predicted) for measure in _MEASURES})
        exact += (gold == predicted).all(axis=1)
        hamming += hamming_scores(gold, predicted)
        sets.append(predicted)
    metrics: dict[str, Any] = {"scores_per_experiment": found}
    metrics |= {name: float(np.mean([scores[name] for scores in found])) for name in found[0]}
    count = len(found)
    coded = _coded(sets, binarizer.classes_.tolist())
    columns = [LABEL, *(f"{PREDICTED}{number}" for number in range(count))]
    items = {
        "exact_match": (exact / count).tolist(),
        "hamming": (hamming / count).tolist(),
        **dict(zip(columns, coded.codes, strict=True)),
        **group_column(records.test.texts),
    }
    return Scores(metrics, ItemScores([str(row) for row in range(len(gold))], items, coded.names))


@dataclass(frozen=True, slots=True)
class _Coded:
    """Different sets of labels, and for each of several predictions one number of a set per row."""

    names: Sequence[Sequence[Any]]
    codes: Sequence[list[float]]


def _coded(sets: Sequence[NDArray[Any]], labels: Sequence[Any]) -> _Coded:
    rows = np.concatenate(sets) == 1
    # sorted as rows of 0 and 1 are, 64 of them at a time
    words = np.zeros((len(rows), -(-rows.shape[1] // _WORD) * 8), dtype=np.uint8)
    packed = np.packbits(rows, axis=1)
    words[:, : packed.shape[1]] = packed
    order = np.lexsort(words.view(">u8").astype(np.uint64).T[::-1])
    is_new = np.append(False, (words[order[1:]] != words[order[:-1]]).any(axis=1))
    codes = np.empty(len(rows))
    codes[order] = np.cumsum(is_new)
    different = rows[order[np.append(0, np.flatnonzero(is_new))]]
    names = [[label for label, has in zip(labels, row, strict=True) if has] for row in different.tolist()]
    return _Coded(names, codes.reshape(len(sets), -1).tolist())


def _counts(records: MultilabelRecords) -> dict[str, int]:
    labels = {label for labels in records.test.labels for label in labels}
    return {"labels": len(labels), "experiments": len(records.experiments)}


def _texts(records: MultilabelRecords, number: int, item: Mapping[str, float]) -> dict[str, str]:
    del item
    return {"text": records.test.texts[number]}


TASK_TYPE = TaskType(
    score_version=1,
    from_mteb=_from_mteb,
    from_files=_from_files,
    columns=_columns,
    score=_score,
    counts=_counts,
    metric_names=_MEASURES,
    settings=ClassificationSettings,
    parts=("train",),
    notes=lambda records: records.notes,
    draws_in_order=True,
    texts=_texts,
    items_version=2,
)
