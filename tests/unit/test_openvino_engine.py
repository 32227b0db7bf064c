"""Every kind on OpenVINO gives what it gives on torch; precisions, devices, threads and memory."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from support.contract import PAIRS, PROMPT, TEXTS, check_contract, check_pair_contract
from support.openvino_models import CPU, on_openvino, resolved, vectors
from support.tiny import (
    DIMENSIONS,
    config,
    save_bert,
    save_cross_encoder,
    save_decoder,
    save_m3,
    save_real_words_cross_encoder,
    save_sentence_model,
    save_t5,
    tokenizer,
)

from evalharness.errors import EngineError, ModelError, PrerequisiteError, UsageError
from evalharness.models import cpus
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.engines import openvino_session
from evalharness.models.engines.openvino_session import OpenVinoSession, thread_count
from evalharness.models.forward.weights import load_encoder, size_of
from evalharness.models.opening import open_backend
from evalharness.models.options import Execution
from evalharness.models.prompts import encoding
from evalharness.models.rankers import Pair, PairModel, join_pair
from evalharness.models.registry import ResolvedModel
from evalharness.ranking.multipart import unpack
from evalharness.types import Dense, MultiPart, Side, ignore_event

pytestmark = pytest.mark.usefixtures("own_cache")

M3: dict[str, Any] = {"like": "BAAI/bge-m3", "max_length": 64}


def save_as(folder: Path, name: str, sizes: Mapping[str, int] = {}) -> Path:
    """A model of transformers by the name of its class, with random weights."""
    torch.manual_seed(0)
    settings = {key: value for key, value in config().to_dict().items() if key in _SIZES} | dict(sizes)
    kind = getattr(transformers, f"{name}Model")
    kind(getattr(transformers, f"{name}Config")(**settings)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "pad_token_id")
_SPECIAL = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
MODELS: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "bert, cls": (save_sentence_model, {"query_prompt": PROMPT}),
    "bert, mean": (save_bert, {"pooling": "mean", "max_length": 9}),
    "bert, weightedmean": (save_bert, {"pooling": "weightedmean"}),
    "t5 with a dense layer": (save_t5, {"query_prompt": PROMPT}),
    "decoder": (partial(save_decoder, pooling="lasttoken"), {}),
    "xlm-roberta": (save_m3, M3),
    "m3, all": (save_m3, {**M3, "mode": "dense+sparse+multi-vector"}),
    "mpnet": (partial(save_as, name="MPNet"), {"pooling": "mean", "max_length": 64}),
    "distilbert": (
        partial(save_as, name="DistilBert", sizes={"dim": DIMENSIONS, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}),
        {"pooling": "mean", "max_length": 64},
    ),
    # windows far shorter than the texts
    "modernbert": (
        partial(save_as, name="ModernBert", sizes=_SPECIAL | {"local_attention": 8}),
        {"pooling": "cls", "max_length": 64},
    ),
    "cross-encoder": (save_cross_encoder, {}),
    "bge reranker": (save_real_words_cross_encoder, {"like": "BAAI/bge-reranker-base", "max_length": 64}),
}


def rows(backend: Any, model: ResolvedModel) -> list[NDArray[np.float32]]:
    texts = [join_pair(Pair(*pair)) for pair in PAIRS] if model.spec.kind == "reranker" else TEXTS
    side: Side = None if model.spec.kind == "reranker" else "query"
    found = backend.encode(texts, encoding(model.spec, side, None), ignore_event)
    if isinstance(found, Dense):
        return list(found.vectors)
    assert isinstance(found, MultiPart)
    parts = [unpack(row) for row in found.source.load()]
    return [
        np.concatenate([part.dense, part.tokens, part.weights, part.vectors.ravel()]).astype(np.float32)
        for part in parts
    ]


@pytest.mark.parametrize("name", MODELS)
def test_a_kind_gives_what_it_gives_on_torch(tmp_path: Path, name: str) -> None:
    save, options = MODELS[name]
    model = resolved(save(tmp_path / "m"), **options)
    backend = on_openvino(model)
    on_torch = open_backend(model, CPU)
    wanted, found = rows(on_torch, model), rows(backend, model)
    assert [len(row) for row in found] == [len(row) for row in wanted]
    assert max(float(np.abs(a - b).max()) for a, b in zip(wanted, found, strict=True)) <= 1e-5
    assert float(np.abs(found[0][:1] - found[6][:1]).max()) > 1e-4
    assert backend.size == on_torch.size
    assert backend.identity.items() >= {"engine": "openvino", "precision": "float32"}.items()
    assert "matmul_precision" not in backend.identity


def test_the_contracts_of_vectors_and_of_pairs_are_kept(tmp_path: Path) -> None:
    model = resolved(save_sentence_model(tmp_path / "m"), query_prompt=PROMPT)
    check_contract(lambda run: EmbeddingModel(model.spec, on_openvino(model, run), device="cpu"))
    pairs = resolved(save_real_words_cross_encoder(tmp_path / "pairs"), max_length=64)
    check_pair_contract(lambda run: PairModel(pairs.spec, on_openvino(pairs, run), device="cpu"))


def test_two_runs_give_the_same_bytes_on_any_number_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = resolved(save_sentence_model(tmp_path / "m"))
    texts = [f"{word} and {number} stones " * (number % 5 + 1) for number in range(60) for word in ("ferns", "rivers")]
    found = {}
    for count in (1, 2):
        monkeypatch.setattr(openvino_session, "thread_count", lambda count=count: count)
        first, second = (vectors(on_openvino(model), model, texts) for _ in range(2))
        assert first.tobytes() == second.tobytes()
        found[count] = first
    np.testing.assert_allclose(found[1], found[2], atol=1e-6)


def test_threads_are_what_this_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cpus, "_CGROUP", tmp_path / "cpu.max")
    assert thread_count() == 8
    for said, count in (("max 100000\n", 8), ("250000 100000\n", 3), ("1000 100000\n", 1)):
        (tmp_path / "cpu.max").write_text(said)
        assert thread_count() == count
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert thread_count() == 1
    (tmp_path / "cpu.max").unlink()
    assert thread_count() == 2


def test_a_text_without_a_token_has_the_vector_it_has_on_torch(tmp_path: Path) -> None:
    model = resolved(save_decoder(tmp_path / "m", "mean", end_token=False))
    texts = ["How do ferns grow?", ""]
    found = vectors(on_openvino(model), model, texts)
    np.testing.assert_allclose(found, vectors(open_backend(model, CPU), model, texts), atol=1e-6)
    assert not found[1].any()


@pytest.mark.skipif("BF16" not in openvino_session.core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"), reason="")
def test_bfloat16_is_computed_from_the_float32_weights(tmp_path: Path, own_cache: Path) -> None:
    folder = save_sentence_model(tmp_path / "m")
    exact, low = resolved(folder), resolved(folder, dtype="bfloat16")
    wanted = vectors(on_openvino(exact), exact, TEXTS)
    backend = on_openvino(low)
    found = vectors(backend, low, TEXTS)
    cosines = (wanted * found).sum(axis=1)
    assert cosines.min() > 0.999
    assert np.abs(wanted - found).max() > 1e-4
    assert backend.identity["precision"] == "bfloat16"
    # one graph for both, and one that is made from bfloat16 weights would be another
    assert len(list(own_cache.glob("exports/*/model.xml"))) == 1


def test_a_precision_that_the_cpu_has_not_is_never_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    folder = save_sentence_model(tmp_path / "m")
    monkeypatch.setattr(openvino_session, "core", Plain)
    for dtype in ("bfloat16", "float16"):
        with pytest.raises(ModelError, match=f"no instructions for {dtype}, so openvino computes in float32 here"):
            on_openvino(resolved(folder, dtype=dtype))


def test_other_devices_are_refused(tmp_path: Path) -> None:
    model = resolved(save_sentence_model(tmp_path / "m"))
    with pytest.raises(PrerequisiteError, match="the device 'cuda' cannot be used by openvino"):
        on_openvino(model, Execution(device="cuda"))


def test_a_reranker_is_no_embedder_and_torch_has_no_int8(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a cross-encoder"):
        on_openvino(resolved(save_cross_encoder(tmp_path / "m"), backend="transformers", pooling="cls"))
    with pytest.raises(UsageError, match="torch does not compute in int8; openvino does, on CPUs"):
        open_backend(resolved(save_sentence_model(tmp_path / "e"), dtype="int8"), CPU.changed({"engine": "torch"}))


def test_a_batch_that_does_not_fit_is_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = resolved(save_sentence_model(tmp_path / "m"))
    backend = on_openvino(model)
    wanted = vectors(backend, model, TEXTS)
    real = OpenVinoSession._run_parts

    def full(self: Any, inputs: list[list[Any]]) -> Any:
        if sum(map(len, inputs[0])) > 2:
            raise RuntimeError("Exception from src/plugins/intel_cpu: std::bad_alloc")
        return real(self, inputs)

    monkeypatch.setattr(OpenVinoSession, "_run_parts", full)
    np.testing.assert_allclose(vectors(backend, model, TEXTS), wanted, atol=1e-6)

    def broken(self: Any, inputs: list[list[Any]]) -> Any:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(OpenVinoSession, "_run_parts", broken)
    with pytest.raises(ModelError, match="openvino failed: shapes do not fit"):
        vectors(backend, model, TEXTS)


def test_the_size_is_that_of_the_torch_model(tmp_path: Path) -> None:
    model = resolved(save_sentence_model(tmp_path / "m"))
    assert on_openvino(model).size == on_openvino(model).size == size_of(load_encoder(model))


def test_a_shortage_for_a_moment_is_no_reason_for_another_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Short:
        def read_model(self, path: Path) -> object:
            raise RuntimeError(f"{path}: {os.strerror(errno.EAGAIN)}")

    monkeypatch.setattr(openvino_session, "core", Short)
    monkeypatch.setattr(openvino_session, "check_precision", lambda *_: None)
    with pytest.raises(ModelError, match="short of threads or memory; run the command again") as found:
        OpenVinoSession("a/b", tmp_path, "float32")
    assert not isinstance(found.value, EngineError)
