"""Judgements and candidates that stay tables say what mteb's dicts of them say."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from mteb.abstasks import AbsTaskRetrieval
from support.quick_hub import write_jsonl, write_retrieval
from support.synthetic import make_task, retrieval_split

from evalharness.data import mteb_judged
from evalharness.data.mteb_judged import CandidateRows, JudgedRows, load_lean
from evalharness.errors import DataError
from evalharness.metrics import ragged
from evalharness.ranking.judgements import Judgements
from evalharness.tasks.retrieval import TASK_TYPE, candidate_numbers

ROWS = st.lists(st.tuples(st.sampled_from("pqrs"), st.sampled_from("abcdyz"), st.integers(-1, 300)), min_size=1)
LISTS = st.lists(st.tuples(st.sampled_from("pqrs"), st.lists(st.sampled_from("abcd"), max_size=6)), min_size=1)
# an id is there twice, and some judged documents are not
CORPUS = ["a", "b", "c", "a", "d"]


def small(patch: pytest.MonkeyPatch, seed: int) -> None:
    """Parts and blocks of a few rows."""
    rng = random.Random(seed)
    patch.setattr(mteb_judged, "_CHUNK", rng.randint(1, 9))
    patch.setattr(ragged, "BLOCK", rng.randint(1, 9))


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 1000))
def test_judgements_are_those_of_a_dict_of_the_rows(rows: list[tuple[str, str, int]], seed: int) -> None:
    wanted: dict[str, dict[str, int]] = {}
    for query, document, grade in rows:
        wanted.setdefault(query, {})[document] = grade
    columns = {
        name: list(values)
        for name, values in zip(("query-id", "corpus-id", "score"), zip(*rows, strict=True), strict=True)
    }
    asked = [query for query in "srqp" if query in wanted and random.Random(seed).random() < 0.9]
    with pytest.MonkeyPatch.context() as patch:
        small(patch, seed)
        lazy = JudgedRows(Dataset.from_dict(columns))
        assert list(lazy) == list(wanted)
        assert len(lazy) == len(wanted)
        assert "nobody" not in lazy
        found = lazy.numbered(asked, CORPUS)
        assert list(Judgements(found.grades, CORPUS, found.absent)) == [wanted[query] for query in asked]
        # the last of equal ids counts, as for candidates
        assert 0 not in found.grades.documents.values.tolist()
        assert dict(lazy) == wanted


@settings(max_examples=60, deadline=None)
@given(rows=LISTS, seed=st.integers(0, 1000))
def test_candidates_are_those_of_a_dict_of_the_rows(rows: list[tuple[str, list[str]]], seed: int) -> None:
    columns = {"query-id": [query for query, _ in rows], "corpus-ids": [names for _, names in rows]}
    asked = random.Random(seed).sample("pqrs", random.Random(seed).randint(1, 4))
    wanted = candidate_numbers(dict(rows), asked, CORPUS, "here")
    with pytest.MonkeyPatch.context() as patch:
        small(patch, seed)
        lazy = CandidateRows(Dataset.from_dict(columns).cast_column("corpus-ids", List(Value("string"))))
        found = candidate_numbers(lazy, asked, CORPUS, "here")
    assert found is not None
    assert wanted is not None
    assert [list(row) for row in found] == wanted
    assert dict(lazy) == dict(rows)


def test_a_candidate_that_is_not_in_the_corpus_is_named() -> None:
    lazy = CandidateRows(Dataset.from_dict({"query-id": ["q"], "corpus-ids": [["a", "nobody"]]}))
    with pytest.raises(DataError, match="candidates of the query 'q' are not in the corpus: nobody"):
        candidate_numbers(lazy, ["q"], ["a"], "here")


def task_at(folder: Path, **attributes: Any) -> Any:
    """A task of mteb's whose data set is a folder."""
    split = retrieval_split([{"id": "d", "text": "t"}], [{"id": "q", "text": "t"}], {"q": {"d": 1}})
    metadata = make_task("Reranking", {"default": {"test": split}}).metadata
    metadata = metadata.model_copy(update={"dataset": {"path": str(folder), "revision": "main"}})
    made: Any = type(
        "TaskOfAFolder", (AbsTaskRetrieval,), {"metadata": metadata, "__module__": "synthetic", **attributes}
    )
    return made()


@pytest.mark.parametrize("score", [1, 1.0, "1"])
def test_data_are_loaded_as_mteb_loads_them(tmp_path: Path, score: object) -> None:
    write_retrieval(tmp_path, random.Random(0), with_candidates=True)
    rows = [json.loads(line) for line in (tmp_path / "qrels" / "test.jsonl").read_text().splitlines()]
    write_jsonl(tmp_path / "qrels" / "test.jsonl", [{**row, "score": score} for row in rows])
    usual, lean = task_at(tmp_path), task_at(tmp_path)
    usual.load_data()
    load_lean(lean)
    parts = {name: lean.dataset["default"]["test"][name] for name in ("relevant_docs", "top_ranked")}
    # what has to be converted is left to mteb
    assert isinstance(parts["relevant_docs"], JudgedRows if score == 1 and isinstance(score, int) else dict)
    assert isinstance(parts["top_ranked"], CandidateRows)
    assert {name: dict(part) for name, part in parts.items()} == {
        name: usual.dataset["default"]["test"][name] for name in parts
    }
    first, second = (TASK_TYPE.from_mteb(task, "test", "default") for task in (usual, lean))
    assert list(first.qrels) == list(second.qrels)
    assert [list(row) for row in second.candidates or ()] == first.candidates
    assert first.query_ids == second.query_ids
    assert TASK_TYPE.counts(first) == TASK_TYPE.counts(second)


def test_a_task_that_changes_its_data_gets_them_as_dicts(tmp_path: Path) -> None:
    write_retrieval(tmp_path, random.Random(0))
    seen = []

    def look(self: Any, num_proc: int | None = None, **rest: Any) -> None:
        del num_proc, rest
        seen.append(type(self.dataset["default"]["test"]["relevant_docs"]))

    load_lean(task_at(tmp_path, dataset_transform=look))
    assert seen == [dict]
