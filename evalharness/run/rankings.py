"""What a run ranked, without its model: as its run file says, or searched again among vectors that the store has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evalharness.data.trec import read_run
from evalharness.errors import EvalHarnessError, PrerequisiteError
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.rankers import PairModel, RankingModel, Reranker
from evalharness.models.registry import find_backend
from evalharness.ranking.records import Ranking, RetrievalRecords, Retrieved
from evalharness.results.records import EXPERIMENTS, JobRecord, ResultsOf, damage, ranking_path, run_folder
from evalharness.run.steps import Loaded, encode
from evalharness.store.stored_only import StoredOnlyEncoder
from evalharness.tasks import task_type
from evalharness.types import ModelSpec, ignore_event

# nothing runs
_NO_DEVICE = "none"


@dataclass(frozen=True, slots=True)
class StoredRanking:
    """What was found for some queries.

    Attributes:
        found: query id -> document ids, best first; empty where nothing is known.
        why: why nothing is, and what would make it so; empty otherwise.
    """

    found: Mapping[str, Sequence[str]]
    why: str = ""


def stored_ranking(
    folder: Path, record: JobRecord, queries: Collection[str], loaded: Loaded | None, store: Path
) -> StoredRanking:
    """What a job found for some of its queries.

    Args:
        folder: of its results.
        record: of the job.
        queries: ids.
        loaded: the job's data, for a search; None where they cannot be had.
        store: folder of the embedding store.
    """
    try:
        return StoredRanking(_from_file(folder, record, queries))
    except PrerequisiteError as error:
        missing = str(error)
    try:
        if loaded is None:
            raise PrerequisiteError("without the data nothing can be searched again")
        return StoredRanking(_searched(record, queries, loaded, store))
    except EvalHarnessError as error:
        return StoredRanking({}, f"{missing}, and {error}. To have it: {_command(folder, record)}")


def _from_file(folder: Path, record: JobRecord, queries: Collection[str]) -> dict[str, list[str]]:
    if record.ranking is None:
        raise PrerequisiteError("what was ranked was not kept")
    if what := damage(folder, record, ranking=True):
        raise PrerequisiteError(what)
    found = read_run(ranking_path(folder, record.job), set(queries))
    return {query: list(found.get(query, ())) for query in queries}


def _searched(record: JobRecord, queries: Collection[str], loaded: Loaded, store: Path) -> dict[str, list[str]]:
    """The same search again, for these queries only, with vectors (or scores of pairs) that the store has.

    Raises:
        PrerequisiteError: the store lacks some, or the model has none.
        StorageError: the store cannot be read.
    """
    some = _only(loaded, queries)
    model = _without_weights(record, loaded, store)
    encoded = encode(some, model, ignore_event)
    records: RetrievalRecords = some.records
    ranking = encoded.ranking or _search(records, encoded.embeddings)
    dropped = records.ignore_identical_ids
    return {
        query: [name for name in documents if not dropped or name != query]
        for query, documents in Retrieved(records.query_ids, records.corpus_ids, ranking)
    }


def _search(records: RetrievalRecords, embeddings: Mapping[str, Any]) -> Ranking:
    # it imports torch, which is not needed where the rankings were kept
    from evalharness.ranking.search import search

    return search(records, embeddings["queries"], embeddings["corpus"])


def _only(loaded: Loaded, queries: Collection[str]) -> Loaded:
    """The same data with these queries only."""
    records: RetrievalRecords = loaded.records
    rows = [row for row, query in enumerate(records.query_ids) if query in queries]
    kept = replace(
        records,
        query_ids=[records.query_ids[row] for row in rows],
        queries=[records.queries[row] for row in rows],
        qrels=[records.qrels[row] for row in rows],
        candidates=None if records.candidates is None else [records.candidates[row] for row in rows],
        bare_queries=[records.bare_queries[row] for row in rows] if records.bare_queries else (),
        instructions=[records.instructions[row] for row in rows] if records.instructions else (),
    )
    return replace(loaded, records=kept, columns=task_type(loaded.spec.scoring).columns(kept))


def _without_weights(record: JobRecord, loaded: Loaded, store: Path) -> EmbeddingModel | RankingModel:
    """The model of a record in front of the store alone.

    Raises:
        PrerequisiteError: the record does not say which it is, or its kind leaves nothing in the store.
    """
    try:
        spec = ModelSpec.model_validate(record.facts.get("model"))
    except ValidationError:
        raise PrerequisiteError("the record does not say which model it is of") from None
    if spec.kind == "lexical" or "reranker" in spec.overrides or not find_backend(spec.backend).keeps_vectors:
        what = "two stages leave" if "reranker" in spec.overrides else f"the {spec.backend} backend leaves"
        raise PrerequisiteError(f"{what} nothing in the store that could be ranked again")
    stored = StoredOnlyEncoder(store, spec, loaded.spec.name)
    if spec.kind == "reranker":
        return RankingModel(spec, None, Reranker(PairModel(spec, stored, device=_NO_DEVICE), 0))
    return EmbeddingModel(spec, stored, device=_NO_DEVICE)


def _command(folder: Path, record: JobRecord) -> str:
    model = record.facts.get("model")
    name = str(model.get("name", "...")) if isinstance(model, dict) else "..."
    return (
        f"evalharness run --model {name} --tasks {record.job.task}{_output(folder, name)} --save-rankings, with the "
        "options that it was run with"
    )


def _output(folder: Path, model: str) -> str:
    """The flag that names the root of results; none where the folder is not at a run's place below one."""
    place = folder.absolute()
    place = place.parents[1] if place.parent.name == EXPERIMENTS else place
    # see `run_folder`
    is_there = place.parent == run_folder(place.parent.parent, ResultsOf(name=model)).parent
    return f" --output {place.parent.parent}" if is_there else ""
