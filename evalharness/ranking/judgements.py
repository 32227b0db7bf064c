"""Which documents are relevant to which queries: arrays of document numbers and grades, seen as a mapping per query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from evalharness.metrics.ragged import Ragged
from evalharness.metrics.ranking import Grades


@dataclass(frozen=True, slots=True, eq=False)
class Judgements(Sequence[Mapping[str, int]]):
    """Per query, document id -> grade.

    Attributes:
        grades: by numbers of documents.
        corpus_ids: of the documents.
        absent: ids of further judged documents, which are not in the corpus; they are numbered after those that are.

    >>> judged = Judgements.of([{"b": 1, "z": 2}, {}, {"a": 0}], ["a", "b"])
    >>> judged.grades.documents.values.tolist(), judged.absent, list(judged)
    ([1, 2, 0], ['z'], [{'b': 1, 'z': 2}, {}, {'a': 0}])
    """

    grades: Grades
    corpus_ids: Sequence[str]
    absent: Sequence[str] = ()

    @classmethod
    def of(cls, qrels: Sequence[Mapping[str, int]], corpus_ids: Sequence[str]) -> Judgements:
        """Judgements that are given as mappings; such as are arrays already are taken as they are."""
        if isinstance(qrels, Judgements):
            return qrels
        judged_ids = {name for judged in qrels for name in judged}
        # of these alone: a corpus may have many more documents; and it may have an id twice
        numbers = {name: number for number, name in enumerate(corpus_ids) if name in judged_ids}
        absent = {name: len(corpus_ids) + place for place, name in enumerate(_absent(qrels, numbers))}
        numbers |= absent
        by_number = [{numbers[name]: grade for name, grade in judged.items()} for judged in qrels]
        return cls(Grades.of(by_number), corpus_ids, list(absent))

    def __len__(self) -> int:
        return len(self.grades.documents)

    @overload
    def __getitem__(self, index: int) -> dict[str, int]: ...
    @overload
    def __getitem__(self, index: slice) -> Judgements: ...
    def __getitem__(self, index: int | slice) -> dict[str, int] | Judgements:
        if isinstance(index, slice):
            return Judgements(self.grades.take(np.arange(len(self))[index]), self.corpus_ids, self.absent)
        numbers = self.grades.documents[index].tolist()
        grades = Ragged(self.grades.grades, self.grades.documents.starts)[index].tolist()
        return dict(zip(map(self._name, numbers), grades, strict=True))

    def __iter__(self) -> Iterator[dict[str, int]]:
        return (self[query] for query in range(len(self)))

    def _name(self, number: int) -> str:
        count = len(self.corpus_ids)
        return self.corpus_ids[number] if number < count else self.absent[number - count]


def _absent(qrels: Sequence[Mapping[str, int]], there: Mapping[str, int]) -> dict[str, None]:
    return dict.fromkeys(name for judged in qrels for name in judged if name not in there)
