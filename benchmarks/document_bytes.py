"""What a document costs in memory on the way of a retrieval: `python benchmarks/document_bytes.py [DOCUMENTS]`.

Each structure is made by the code that makes it in a run, of 1,000,000 documents whose vectors are stored, and weighed
by tracemalloc and pyarrow's own count: bytes per document that are held, and those at the peak while it is made.
Texts have 330 characters, about as the passages of MS MARCO v2 (342 on average by mteb's statistics), and ids are made
as theirs are.
"""

from __future__ import annotations

import argparse
import gc
import pickle
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evalharness.data.mteb_judged import JudgedRows
from evalharness.models.encoder import _distinct
from evalharness.ranking import order
from evalharness.ranking.exact import as_one_part
from evalharness.ranking.judgements import Judgements
from evalharness.ranking.records import Ranking, RetrievalRecords
from evalharness.ranking.scores import _without_own
from evalharness.store.index import VECTORS, Contents, Index
from evalharness.store.shard_files import ArrayPlace, Shard
from evalharness.store.shards import SHARD_TEXTS, missing_shards, text_digests
from evalharness.types import Dense

DOCUMENTS, CHARACTERS, JUDGED, QUERIES = 1_000_000, 330, 10_000, 4000
OF_ALL = 138_364_198


@dataclass(frozen=True, slots=True)
class Weight:
    """Bytes per document of one structure: that are held, and at the peak."""

    name: str
    held: float
    peak: float

    def line(self) -> str:
        """A row of the table."""
        return f"| {self.name} | {self.held:.0f} | {self.peak:.0f} | {self.peak * OF_ALL / 1e9:.1f} |"


class Scales:
    """Weighs what is made, one after another."""

    def __init__(self, documents: int) -> None:
        self.documents, self.weights = documents, list[Weight]()

    def weigh(self, name: str, make: Callable[[], Any]) -> Any:  # noqa: ANN401 -- whatever is made
        """What is made; its weight is a row more."""
        gc.collect()
        usual = pa.default_memory_pool()
        counted = pa.proxy_memory_pool(usual)
        pa.set_memory_pool(counted)
        tracemalloc.start()
        made = make()
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        pa.set_memory_pool(usual)
        held, peak = held + counted.bytes_allocated(), peak + counted.max_memory()
        self.weights.append(Weight(name, held / self.documents, peak / self.documents))
        return made


def contents(digests: np.ndarray[Any, Any]) -> Iterator[Contents]:
    """Shards as they are read from the store."""
    for first in range(0, len(digests), SHARD_TEXTS):
        some = digests[first : first + SHARD_TEXTS].copy()
        flags = np.zeros(len(some), dtype=bool)
        shard = Shard(Path(f"{first}.shard"), {VECTORS: ArrayPlace("<f4", (len(some), 384), 0, "")}, 0)
        yield Contents(shard, some, flags, flags)


def names(documents: int) -> list[str]:
    """Ids like those of MS MARCO v2's passages."""
    return [f"msmarco_passage_{number % 70:02}_{number:09}" for number in range(documents)]


def passages(documents: int) -> list[str]:
    """Different texts."""
    return [f"{number:09}" + "x" * (CHARACTERS - 9) for number in range(documents)]


def judged_rows(ids: Sequence[str]) -> JudgedRows:
    """A table of judgements, as mteb's data sets have it."""
    from datasets import Dataset

    rows = range(JUDGED)
    documents = [ids[number * (len(ids) // JUDGED)] for number in rows]
    queries = [f"q{number % QUERIES}" for number in rows]
    return JudgedRows(Dataset.from_dict({"query-id": queries, "corpus-id": documents, "score": [1] * JUDGED}))


def load(scales: Scales) -> RetrievalRecords:
    """Weigh what loading holds."""
    ids = scales.weigh("ids of documents (`records.corpus_ids`)", lambda: names(scales.documents))
    texts = scales.weigh(f"texts of {CHARACTERS} characters (`records.corpus`)", lambda: passages(scales.documents))
    asked, rows = [f"q{number}" for number in range(QUERIES)], judged_rows(ids)
    scales.weigh("judgements from tables of mteb's (`JudgedRows.numbered`)", lambda: rows.numbered(asked, ids))
    qrels = [rows[query] for query in asked]
    scales.weigh("judgements from mappings (`Judgements.of`)", lambda: Judgements.of(qrels, ids))
    return RetrievalRecords(ids, texts, asked, asked, qrels, ignore_identical_ids=True)


def find(scales: Scales, texts: Sequence[str]) -> Dense:
    """Weigh what leads to stored vectors."""
    listed = scales.weigh("the encoder's list of texts (`encode_columns`)", lambda: list(texts))
    scales.weigh("which texts are there twice (`DedupingEncoder`)", lambda: _distinct(listed))
    digests = scales.weigh("digests of texts (`text_digests`)", lambda: text_digests(listed))
    missing = np.ones(len(listed), dtype=bool)
    scales.weigh("plan of shards where all are missing (`missing_shards`)", lambda: missing_shards(listed, "", missing))
    shards, index = list(contents(digests)), Index(packed=False)
    scales.weigh("index of the store (`Index`)", lambda: index.add(shards))
    places = scales.weigh("places in the index (`Index.find`)", lambda: index.find(digests))
    return Dense(scales.weigh("places of vectors in files (`StoredRows`)", lambda: index.rows(places)))


def search(scales: Scales, corpus: Dense, records: RetrievalRecords) -> None:
    """Weigh what a search needs besides its blocks."""
    part = scales.weigh("order of reading (`Part`)", lambda: as_one_part(corpus, records.corpus_ids))
    scales.weigh("all of it as one part sent elsewhere (`Part.alone`)", lambda: pickle.dumps(part.alone()))
    scales.weigh("ranks of ids, where over k + 512 scores are equal", lambda: order.id_ranks(records.corpus_ids))
    found = Ranking([np.arange(1)] * QUERIES, [np.ones(1, dtype=np.float32)] * QUERIES)
    scales.weigh("which documents are queries, too (`score_ranking`)", lambda: _without_own(records, found))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=int, nargs="?", default=DOCUMENTS)
    scales = Scales(parser.parse_args().documents)
    records = load(scales)
    search(scales, find(scales, records.corpus), records)
    print(f"| structure | bytes per document held | at the peak | GB at the peak, {OF_ALL:,} documents |")
    print("| --- | ---: | ---: | ---: |")
    for weight in scales.weights:
        print(weight.line())


if __name__ == "__main__":
    main()
