"""bge-m3's three kinds of vectors and their mixtures, against FlagEmbedding, on random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from FlagEmbedding import BGEM3FlagModel
from support.contract import PROMPT, TEXTS, check_contract
from support.tiny import save_bert, save_m3

from evalharness.errors import ModelError, UsageError
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.loading import ModelOptions, open_embedder, resolve_model
from evalharness.models.options import Execution
from evalharness.ranking import multipart, search
from evalharness.ranking.multipart import Parts, pack, unpack
from evalharness.ranking.records import RetrievalRecords
from evalharness.store.unstored import PackedArrays
from evalharness.types import MultiPart, TextColumn, ignore_event

ALL = "dense+sparse+multi-vector"
QUERIES = ["How do ferns grow?", "stone and river", "a", "7 clouds, in shade", ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_m3(tmp_path_factory.mktemp("models") / "m3")


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    return BGEM3FlagModel(str(folder), use_fp16=False, devices="cpu")


def opened(folder: Path, mode: str, store: Path | None = None, **options: Any) -> EmbeddingModel:
    chosen: dict[str, Any] = {"like": "BAAI/bge-m3", "max_length": 64, "mode": mode}
    execution = Execution(device="cpu", batch_tokens=options.pop("batch_tokens", None))
    return open_embedder(resolve_model(str(folder), ModelOptions(**chosen, **options)), execution, store=store)


def embedded(model: EmbeddingModel, queries: list[str], documents: list[str]) -> tuple[MultiPart, MultiPart]:
    columns = [TextColumn("queries", queries, "query"), TextColumn("corpus", documents, "document")]
    found = model.encode_columns(columns, None, ignore_event)
    left, right = found["queries"], found["corpus"]
    assert isinstance(left, MultiPart)
    assert isinstance(right, MultiPart)
    return left, right


def test_all_kinds_of_vectors_equal_flag_embedding(folder: Path, reference: Any) -> None:
    wanted = reference.encode(TEXTS, max_length=64, return_dense=True, return_sparse=True, return_colbert_vecs=True)
    found, _ = embedded(opened(folder, ALL), TEXTS, ["a"])
    for number, row in enumerate(found.source.load()):
        parts = unpack(row)
        np.testing.assert_allclose(parts.dense, wanted["dense_vecs"][number], atol=1e-5)
        words = {int(token): weight for token, weight in wanted["lexical_weights"][number].items()}
        assert set(parts.tokens.tolist()) == set(words)
        np.testing.assert_allclose(parts.weights, [words[token] for token in parts.tokens.tolist()], atol=1e-5)
        np.testing.assert_allclose(parts.vectors, wanted["colbert_vecs"][number], atol=1e-5)
    assert any(len(unpack(row).tokens) > 3 for row in found.source.load())


def test_the_dense_mode_is_the_dense_vector_alone(folder: Path, reference: Any) -> None:
    vectors = opened(folder, "dense").encode(TEXTS)
    np.testing.assert_allclose(vectors, reference.encode(TEXTS, max_length=64)["dense_vecs"], atol=1e-5)


def test_the_contract_of_embedders(folder: Path) -> None:
    prompted = {"like": "BAAI/bge-m3", "max_length": 64, "query_prompt": PROMPT}
    resolved = resolve_model(str(folder), ModelOptions(**prompted))
    check_contract(lambda execution: open_embedder(resolved, execution))


@pytest.mark.parametrize(
    ("mode", "theirs", "weights"),
    [
        ("sparse", "sparse", None),
        ("multi-vector", "colbert", None),
        ("dense+sparse", "sparse+dense", [0.4, 0.2, 0.4]),
        (ALL, "colbert+sparse+dense", [0.4, 0.2, 0.4]),
        (ALL, "colbert+sparse+dense", [1.0, 1.0, 1.0]),
        (ALL, "colbert+sparse+dense", [0.15, 0.5, 0.35]),
    ],
)
def test_scores_of_every_mode_equal_compute_score(
    folder: Path, reference: Any, mode: str, theirs: str, weights: list[float] | None
) -> None:
    kinds = mode.split("+")
    chosen = None if weights is None else tuple(weights[: len(kinds)])
    queries, documents = embedded(opened(folder, mode, mode_weights=chosen), QUERIES, TEXTS)
    found = multipart.scores(queries, documents)
    pairs = [(query, document) for query in QUERIES for document in TEXTS]
    lengths = {"max_query_length": 64, "max_passage_length": 64}
    wanted = reference.compute_score(pairs, weights_for_different_modes=weights, **lengths)[theirs]
    wanted = np.array(wanted).reshape(len(QUERIES), len(TEXTS))
    if "multi-vector" in kinds:
        # theirs pads documents with zero vectors, which lift a negative maximum to 0; one by one there are none
        one_by_one = [
            [reference.compute_score([p], weights_for_different_modes=weights, **lengths)[theirs][0]] for p in pairs
        ]
        wanted = np.array(one_by_one).reshape(found.shape)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_order_batches_duplicates_and_the_store_do_not_matter(folder: Path, tmp_path: Path) -> None:
    whole, _ = embedded(opened(folder, ALL), TEXTS, ["a"])
    rows = whole.source.load()
    np.testing.assert_array_equal(rows[0], rows[4])
    for options in ({"batch_tokens": 1}, {"batch_tokens": 300}, {"store": tmp_path}, {"store": tmp_path}):
        other, _ = embedded(opened(folder, ALL, **options), TEXTS[::-1], ["a"])
        for row, wanted in zip(other.source.load()[::-1], rows, strict=True):
            np.testing.assert_allclose(row, wanted, atol=1e-5)


def test_stored_parts_are_not_encoded_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = embedded(opened(folder, ALL, store=tmp_path), TEXTS, ["a"])
    second = opened(folder, ALL, store=tmp_path)
    monkeypatch.setattr(second._encoder._below._below, "encode", None)  # type: ignore[attr-defined]
    again, _ = embedded(second, TEXTS, ["a"])
    for row, wanted in zip(again.source.load(), first.source.load(), strict=True):
        np.testing.assert_array_equal(row, wanted)


def records(queries: int, documents: int) -> RetrievalRecords:
    return RetrievalRecords(
        corpus_ids=[f"d{n}" for n in range(documents)],
        corpus=[f"{TEXTS[n % 8][:40]} {n}" for n in range(documents)],
        query_ids=[f"q{n}" for n in range(queries)],
        queries=[f"{QUERIES[n % 4]} {n}" for n in range(queries)],
        qrels=[{"d0": 1}] * queries,
        k_values=(5,),
    )


def test_chunks_do_not_matter_and_too_much_goes_in_two_steps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = records(6, 40)
    queries, corpus = embedded(opened(folder, "multi-vector"), list(data.queries), list(data.corpus))
    whole = search.search(data, queries, corpus)
    assert whole.notes == ()
    scores = multipart.scores(queries, corpus)
    for number, documents in enumerate(whole.documents):
        assert documents.tolist() == np.argsort(-scores[number], kind="stable")[:5].tolist()
    monkeypatch.setattr(multipart, "CHUNK", 7)
    monkeypatch.setattr(multipart, "_DOCUMENT_TOKENS", 50)
    monkeypatch.setattr(multipart, "_QUERY_TOKENS", 10)
    chunked = search.search(data, queries, corpus)
    for mine, theirs in zip(whole.documents, chunked.documents, strict=True):
        assert mine.tolist() == theirs.tolist()
    monkeypatch.setattr(search, "MOST_PRODUCTS", 1.0)
    stepped = search.search(data, queries, corpus)
    assert stepped.notes == (
        "multi-vector scores of the 5 best documents by dense vectors only; all of them would take too long",
    )
    dense = np.argsort(-multipart.scores(multipart.only(queries, "dense"), corpus)[0], kind="stable")[:5]
    assert set(stepped.documents[0].tolist()) == set(dense.tolist())


def test_documents_without_words_or_vectors_score_zero() -> None:
    empty = pack(
        Parts(np.ones(2, np.float32), np.empty(0, np.int64), np.empty(0, np.float32), np.empty((0, 2), np.float32))
    )
    full = pack(
        Parts(np.ones(2, np.float32), np.array([3, 9]), np.array([1, 2], np.float32), np.ones((1, 2), np.float32))
    )
    left = MultiPart(PackedArrays([empty, full]), {"sparse": 1.0, "multi-vector": 1.0})
    assert multipart.scores(left, left).tolist() == [[0, 0], [0, 3.5]]


def test_texts_are_loaded_in_parts_of_so_many_tokens() -> None:
    assert multipart._groups([3, 0, 5, 4, 9, 1, 7], 8) == [[0, 2], [3], [4], [5, 6]]
    assert multipart._groups([0, 0], 8) == []


def test_how_much_a_search_by_multi_vectors_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    def text(words: int, vectors: int) -> Any:
        weights = np.ones(words, np.float32)
        return pack(Parts(np.ones(2, np.float32), np.arange(words), weights, np.ones((vectors, 3), np.float32)))

    monkeypatch.setattr(multipart, "CHUNK", 2)
    weights: dict[Any, float] = {"multi-vector": 1.0}
    queries = MultiPart(PackedArrays([text(1, 3), text(5, 1)]), weights)
    corpus = MultiPart(PackedArrays([text(0, 2), text(2, 5), text(1, 0), text(4, 4), text(1, 1)]), weights)
    assert multipart.products(queries, corpus) == (3 + 1) * (2 + 5 + 0 + 4 + 1) * 3
    assert multipart.products(queries.rows(slice(0, 0)), corpus) == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "spares"}, "unknown mode 'spares': did you mean sparse"),
        ({"mode": "dense+dense"}, "names a kind twice"),
        ({"mode": "dense+sparse", "mode_weights": (1.0,)}, "the mode dense.sparse needs 2 weights.*; got 1"),
        ({"mode": "sparse", "mode_weights": (1.0,)}, "several modes counts, and sparse is one; leave them out"),
        ({"mode": "dense+sparse", "mode_weights": (0.0, 0.0)}, "not all 0; got 0, 0"),
        ({"mode": "dense+sparse", "mode_weights": (-1.0, 2.0)}, "none below 0"),
    ],
)
def test_wrong_modes_are_usage_errors(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_model(str(folder), ModelOptions(like="BAAI/bge-m3", max_length=64, **options))


def test_other_models_have_no_modes_and_heads_must_be_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="bert: the transformers backend has no use for --mode, for it makes one dense vector"
    ):
        resolve_model(str(save_bert(tmp_path / "bert")), ModelOptions(pooling="cls", mode="sparse"))
    with pytest.raises(ModelError, match=r"its weights are pickles \(sparse_linear\.pt\)"):
        resolve_model(
            str(folder), ModelOptions(like="BAAI/bge-m3", max_length=64, mode="sparse", safetensors_only=True)
        )
    headless = save_m3(tmp_path / "headless")
    (headless / "colbert_linear.pt").unlink()
    with pytest.raises(ModelError, match=r"has no colbert_linear\.pt, which makes its multi-vector vectors"):
        opened(headless, "multi-vector")
    torch.save({"other": torch.ones(1)}, headless / "sparse_linear.pt")
    with pytest.raises(ModelError, match=r"sparse_linear\.pt holds other; expected weight and bias"):
        opened(headless, "sparse")
    (headless / "sparse_linear.pt").write_bytes(b"no pickle")
    with pytest.raises(ModelError, match=r"sparse_linear\.pt cannot be loaded"):
        opened(headless, "sparse")


def test_a_mode_names_its_results_and_changes_the_key(folder: Path) -> None:
    options = ModelOptions(like="BAAI/bge-m3", max_length=64, mode="dense+sparse", mode_weights=(0.2, 0.8))
    spec = resolve_model(str(folder), options).spec
    assert (spec.overrides["mode"], spec.overrides["mode_weights"]) == ("dense+sparse", "0.2,0.8")
    assert (spec.outputs, spec.output_weights) == (("dense", "sparse"), {"dense": 0.2, "sparse": 0.8})
    with pytest.raises(UsageError, match="sparse and multi-vectors can rank documents, but they are no single vectors"):
        opened(folder, "sparse").encode(["a"])
