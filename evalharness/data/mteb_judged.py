"""Judgements and candidates of mteb's retrieval tasks, read as tables: millions of queries make no dicts of dicts.

mteb's own loader makes a dict per query and a text per judgement, of which MindSmall has 97 million.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import FunctionType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evalharness.metrics.ragged import Ragged, starts_of
from evalharness.metrics.ranking import Grades

# rows read at a time
_CHUNK = 1_000_000
_QUERY, _DOCUMENT, _DOCUMENTS, _GRADE = "query-id", "corpus-id", "corpus-ids", "score"
# what nobody is called
_NOBODY = -1

Numbers: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class NumberedGrades:
    """Judgements by numbers of documents; those that are not in the corpus are numbered after those that are."""

    grades: Grades
    absent: Sequence[str]


class _Rows(Mapping[str, Any]):
    """A table that mteb holds as a dict by query; it is made into one only for somebody who looks up a query."""

    def __init__(self, table: Any) -> None:  # noqa: ANN401 -- a datasets.Dataset
        self._table = table.with_format("arrow")

    def __getitem__(self, query: str) -> Any:  # noqa: ANN401
        return self._dict[query]

    def __contains__(self, query: object) -> bool:
        return query in self._queries

    def __iter__(self) -> Iterator[str]:
        return iter(self._queries)

    def __len__(self) -> int:
        return len(self._queries)

    @cached_property
    def _queries(self) -> dict[str, None]:
        """Ids, by first appearance."""
        return dict.fromkeys(name for chunk in self._chunks() for name in chunk[_QUERY].unique().to_pylist())

    @cached_property
    def _dict(self) -> dict[str, Any]:
        raise NotImplementedError

    def _chunks(self) -> Iterator[Any]:
        """Tables of pyarrow's."""
        chunks: Iterator[Any] = self._table.iter(_CHUNK)
        return chunks


class JudgedRows(_Rows):
    """Query id -> document id -> grade, as mteb's `relevant_docs`."""

    @cached_property
    def _dict(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for chunk in self._chunks():
            columns = (chunk[name].to_pylist() for name in (_QUERY, _DOCUMENT, _GRADE))
            for query, document, grade in zip(*columns, strict=True):
                found.setdefault(query, {})[document] = grade
        return found

    def numbered(self, queries: Sequence[str], documents: Sequence[str]) -> NumberedGrades:
        """The judgements of these queries, in their order."""
        asked, there = _Names(queries), _Names(documents)
        absent: dict[str, int] = {}
        parts: list[tuple[Numbers, Numbers]] = []
        grades: list[NDArray[np.integer]] = []
        for chunk in self._chunks():
            query, document = asked.numbers(chunk[_QUERY]), there.numbers(chunk[_DOCUMENT])
            lost = np.flatnonzero((document == _NOBODY) & (query != _NOBODY))
            for place, name in zip(lost.tolist(), chunk[_DOCUMENT].take(lost).to_pylist(), strict=True):
                document[place] = absent.setdefault(name, len(documents) + len(absent))
            kept = query != _NOBODY
            parts.append((query[kept], document[kept]))
            grades.append(_small(chunk[_GRADE].to_numpy()[kept]))
        query, document = (_joined([part[side] for part in parts]) for side in (0, 1))
        grade = np.concatenate([np.empty(0, dtype=np.int8), *grades])
        if (query[1:] < query[:-1]).any():
            order = np.argsort(query, kind="stable")
            query, document, grade = query[order], document[order], grade[order]
        rows = Ragged(document, np.searchsorted(query, np.arange(len(queries) + 1, dtype=np.int32)))
        return NumberedGrades(_last_ones(rows, grade), list(absent))


class CandidateRows(_Rows):
    """Query id -> document ids, as mteb's `top_ranked`."""

    @cached_property
    def _dict(self) -> dict[str, list[str]]:
        columns = ((chunk[_QUERY].to_pylist(), chunk[_DOCUMENTS].to_pylist()) for chunk in self._chunks())
        return {query: names for ids, lists in columns for query, names in zip(ids, lists, strict=True)}

    def numbered(self, queries: Sequence[str], documents: Sequence[str]) -> Ragged | None:
        """The candidates of these queries, in their order, each once; None if one is not in the corpus."""
        import pyarrow as pa

        asked, there = _Names(queries), _Names(documents)
        owners, lengths, named = [], [], []
        for chunk in self._chunks():
            lists = chunk[_DOCUMENTS].combine_chunks()
            owners.append(asked.numbers(chunk[_QUERY]))
            lengths.append(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
            named.append(there.numbers(pa.chunked_array([lists.flatten()])))
        owner, found = _joined(owners), Ragged(_joined(named), starts_of(_joined(lengths).astype(np.int64)))
        # of several rows of a query the last counts; a query without any has an empty one
        row = np.full(len(queries), len(found))
        row[owner[owner != _NOBODY]] = np.flatnonzero(owner != _NOBODY)
        found = Ragged(found.values, np.r_[found.starts, found.starts[-1]])
        in_order = np.array_equal(row, np.arange(len(found) - 1))
        found = found[:-1] if in_order else found.take(row)
        return None if (found.values == _NOBODY).any() else _once(found)


class _Names:
    """Numbers of names."""

    def __init__(self, names: Sequence[str]) -> None:
        import pyarrow as pa

        self._names = pa.array(names, type=pa.large_string())

    def numbers(self, values: Any) -> Numbers:  # noqa: ANN401 -- a chunked array of pyarrow's
        """The number of each value; -1 for those that have none."""
        import pyarrow as pa
        from pyarrow import compute

        coded = values.cast(pa.large_string()).dictionary_encode().unify_dictionaries().combine_chunks()
        # a table of the values, not of the names, of which there may be many more
        which = compute.index_in(self._names, value_set=coded.dictionary).fill_null(_NOBODY).to_numpy()
        named = np.flatnonzero(which != _NOBODY)
        found = np.full(len(coded.dictionary) + 1, _NOBODY, dtype=np.int32)
        # where a name is there twice, its last place counts
        found[which[named]] = named
        numbers: Numbers = found[coded.indices.fill_null(_NOBODY).to_numpy()]
        return numbers


def _joined(parts: Sequence[NDArray[Any]]) -> Numbers:
    return np.concatenate([np.empty(0, dtype=np.int32), *parts], dtype=np.int32)


def _small(grades: NDArray[np.integer]) -> NDArray[np.integer]:
    """The same numbers in a byte each, where they go into one."""
    limits = np.iinfo(np.int8)
    fits = limits.min <= grades.min(initial=0) and grades.max(initial=0) <= limits.max
    return grades.astype(np.int8) if fits else grades


@dataclass(frozen=True, slots=True, eq=False)
class _Repeats:
    """Where values that a row has more than once stand first and last; and which values are not the first of theirs."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    again: NDArray[np.int64]


def _repeats(rows: Ragged) -> _Repeats:
    span, found = int(rows.values.max(initial=0)) + 1, []
    for some in rows.blocks():
        part = rows[some]
        keys = part.row_numbers() * span + part.values
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
        if len(starts) < len(keys):
            last = np.r_[starts[1:], len(keys)] - 1
            is_first = np.zeros(len(keys), dtype=np.bool_)
            is_first[starts] = True
            order += rows.starts[some.start]
            found.append(_Repeats(order[starts], order[last], order[~is_first]))
    none = np.empty(0, dtype=np.int64)
    return _Repeats(
        np.concatenate([none, *(part.first for part in found)]),
        np.concatenate([none, *(part.last for part in found)]),
        np.concatenate([none, *(part.again for part in found)]),
    )


def _without(rows: Ragged, places: NDArray[np.int64]) -> Ragged:
    lost = np.bincount(np.searchsorted(rows.starts, places, side="right") - 1, minlength=len(rows))
    return Ragged(np.delete(rows.values, places), starts_of(rows.lengths - lost))


def _last_ones(rows: Ragged, grades: NDArray[np.integer]) -> Grades:
    """Each document of a row once, with the last of its grades."""
    repeats = _repeats(rows)
    if not len(repeats.again):
        return Grades(rows, grades)
    grades[repeats.first] = grades[repeats.last]
    return Grades(_without(rows, repeats.again), np.delete(grades, repeats.again))


def _once(rows: Ragged) -> Ragged:
    """Each document of a row once, where it stands first."""
    again = _repeats(rows).again
    return _without(rows, again) if len(again) else rows


def load_lean(task: Any) -> None:  # noqa: ANN401 -- an mteb task object
    """Load a task's data as mteb does, but for judgements and candidates of retrieval, which stay tables.

    Tasks of another kind, and those that load or change their data in a way of their own, do just that.
    """
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.abstask import AbsTask

    kind, usual = type(task), AbsTaskRetrieval.load_data
    if kind.load_data is not usual or kind.dataset_transform is not AbsTask.dataset_transform:
        task.load_data()
        return
    # a function of its own: mteb's module stays as it is
    changed = usual.__globals__ | {"RetrievalDatasetLoader": _loader()}
    load = FunctionType(usual.__code__, changed, usual.__name__, usual.__defaults__, usual.__closure__)
    load.__kwdefaults__ = usual.__kwdefaults__
    load(task)


def _loader() -> type:
    from datasets import List, Value
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalDatasetLoader

    texts = (Value("string"), Value("large_string"))
    lists = tuple(List(text) for text in texts)
    numbers = tuple(Value(f"int{bits}") for bits in (8, 16, 32, 64))

    class Loader(RetrievalDatasetLoader):
        """mteb's, which makes no dicts of tables that need no conversion."""

        def _load_qrels(self, num_proc: int | None) -> Any:  # noqa: ANN401
            table = self._plain("qrels", num_proc, {_QUERY: texts, _DOCUMENT: texts, _GRADE: numbers})
            return super()._load_qrels(num_proc) if table is None else JudgedRows(table)

        def _load_top_ranked(self, num_proc: int | None) -> Any:  # noqa: ANN401
            table = self._plain("top_ranked", num_proc, {_QUERY: texts, _DOCUMENTS: lists})
            return super()._load_top_ranked(num_proc) if table is None else CandidateRows(table)

        def _plain(self, part: str, num_proc: int | None, wanted: Mapping[str, Sequence[Any]]) -> Any:  # noqa: ANN401
            """A table of which nothing has to be converted; None where there is none."""
            config = part if self.config is None else f"{self.config}-{part}"
            if part == "qrels" and self.config is None and "default" in self.dataset_configs:
                config = "default"
            if config not in self.dataset_configs:
                return None
            table = self._load_dataset_split(config, num_proc)
            is_plain = all(
                table.features.get(name) in types and not table.data.column(name).null_count
                for name, types in wanted.items()
            )
            return table.select_columns(list(wanted)) if is_plain else None

    return Loader
