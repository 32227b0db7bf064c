"""Every kind on every engine that holds its graph gives what it gives on torch; exports are made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from support.contract import PAIRS, PROMPT, TEXTS, check_contract, check_pair_contract
from support.engines import SECOND, add_second_engine
from support.tiny import save_cross_encoder, save_m3, save_real_words_cross_encoder, save_sentence_model, save_t5

from evalharness.errors import ModelError
from evalharness.models.engines import exports
from evalharness.models.loading import ModelOptions, ResolvedModel, System, open_embedder, open_model, resolve_model
from evalharness.models.opening import open_backend
from evalharness.models.options import Execution
from evalharness.models.prompts import encoding
from evalharness.models.rankers import Pair, PairModel, RankingModel, join_pair
from evalharness.models.registry import BACKENDS, KINDS, M3_HEADS
from evalharness.ranking.multipart import unpack
from evalharness.types import Dense, MultiPart, ignore_event

pytestmark = pytest.mark.usefixtures("own_cache")

CPU = Execution(device="cpu")
M3: dict[str, Any] = {"like": "BAAI/bge-m3", "max_length": 64}
ALL = "dense+sparse+multi-vector"
BGE: dict[str, Any] = {"like": "BAAI/bge-reranker-base", "max_length": 64}
# kind -> models, with what the user says of each
MODELS: dict[str, list[tuple[Callable[[Path], Path], dict[str, Any]]]] = {
    "dense": [(save_sentence_model, {}), (save_t5, {"query_prompt": PROMPT}), (save_m3, M3)],
    "m3": [(save_m3, {**M3, "mode": mode}) for mode in ("sparse", "multi-vector", ALL)],
    "cross_encoder": [(save_cross_encoder, {}), (save_real_words_cross_encoder, BGE)],
}
# what an engine is asked for beside its name
ASKED: dict[str, dict[str, Any]] = {"onnx": {"onnx_file": "export"}}
PLACES = [
    (engine, kind, number)
    for engine, backend in BACKENDS.items()
    for kind in backend.holds
    for number in range(len(MODELS.get(kind, ())))
]


def resolved(folder: Path, **options: Any) -> ResolvedModel:
    return resolve_model(str(folder), ModelOptions(**options))


def exported(folder: Path, engine: str = "onnx", **options: Any) -> ResolvedModel:
    return resolved(folder, backend=engine, **ASKED.get(engine, {}), **options)


def numbers(model: ResolvedModel) -> list[NDArray[np.float32]]:
    """All that comes out: a row per text, or per pair."""
    texts = [join_pair(Pair(*pair)) for pair in PAIRS] if model.spec.kind == "reranker" else TEXTS
    found = open_backend(model, CPU).encode(texts, encoding(model.spec, None, None), ignore_event)
    if isinstance(found, Dense):
        return list(found.vectors)
    assert isinstance(found, MultiPart)
    rows = [unpack(row) for row in found.source.load()]
    return [
        np.concatenate([row.dense, row.tokens, row.weights, row.vectors.ravel()]).astype(np.float32) for row in rows
    ]


def largest_difference(left: list[NDArray[np.float32]], right: list[NDArray[np.float32]]) -> float:
    assert [len(row) for row in left] == [len(row) for row in right]
    return max(float(np.abs(a - b).max(initial=0)) for a, b in zip(left, right, strict=True))


def test_all_kinds_that_an_engine_holds_are_tried_here() -> None:
    held = {(engine, kind) for engine, backend in BACKENDS.items() for kind in backend.holds}
    assert {(engine, kind) for engine, kind, _ in PLACES} == held
    assert "onnx" in dict(held)


@pytest.mark.parametrize(("engine", "kind", "number"), PLACES)
def test_a_kind_gives_the_same_on_every_engine(tmp_path: Path, engine: str, kind: str, number: int) -> None:
    save, options = MODELS[kind][number]
    folder = save(tmp_path / "m")
    own, other = resolved(folder, **options), exported(folder, engine, **options)
    assert (other.spec.kind, other.spec.outputs) == (own.spec.kind, own.spec.outputs)
    assert other.spec.overrides["backend"] == engine
    found, wanted = numbers(other), numbers(own)
    assert largest_difference(found, wanted) <= 1e-5
    assert largest_difference(found[:1], found[2:3] if len(found[2]) == len(found[0]) else [found[0] + 1]) > 1e-3


@pytest.mark.parametrize(("engine", "kind"), sorted({(engine, kind) for engine, kind, _ in PLACES}))
def test_identities_name_the_engine_and_what_the_kind_adds(tmp_path: Path, engine: str, kind: str) -> None:
    save, options = MODELS[kind][-1]
    folder = save(tmp_path / "m")
    of_torch, of_engine = (
        open_backend(model, CPU).identity
        for model in (resolved(folder, **options), exported(folder, engine, **options))
    )
    both = {"pair_truncation": "only_second"} if kind == "cross_encoder" else {}
    assert of_torch == {"backend": KINDS[kind], "matmul_precision": "highest", **both}
    assert of_engine.items() >= {"backend": engine, **both}.items()
    if engine == "onnx":
        version = of_engine["version"]
        assert onnxruntime.__version__.startswith(f"{version}.")
        facts = {"file": "export", "exported": True, "provider": "CPUExecutionProvider", "version": version}
        assert of_engine == {"backend": engine, **facts, **both}


@pytest.mark.parametrize("kind", MODELS)
def test_an_engine_that_says_nothing_of_itself_shares_no_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    add_second_engine(monkeypatch)
    save, options = MODELS[kind][-1]
    folder = save(tmp_path / "m")
    own, other = resolved(folder, **options), resolved(folder, backend=SECOND, **options)
    of_torch, of_second = (open_backend(model, CPU).identity for model in (own, other))
    assert {**of_second, "matmul_precision": "highest"} == {**of_torch, "backend": SECOND}
    assert largest_difference(numbers(other), numbers(own)) == 0


def test_a_reranker_on_onnx_keeps_the_contract_and_ranks(tmp_path: Path) -> None:
    model = exported(save_real_words_cross_encoder(tmp_path / "m"), max_length=64)
    check_pair_contract(lambda run: PairModel(model.spec, open_backend(model, run), device="cpu"))
    assert isinstance(open_model(System(model), CPU), RankingModel)


def test_m3_s_dense_vectors_on_onnx_keep_the_contract(tmp_path: Path) -> None:
    model = exported(save_m3(tmp_path / "m"), **M3, query_prompt=PROMPT)
    check_contract(lambda execution: open_embedder(model, execution))


def as_file(folder: Path, **options: Any) -> Path:
    """A model's export as the file of its own that others would have put there."""
    open_backend(exported(folder, **options), CPU)
    (made,) = exports.exports_folder().glob("*/model.onnx")
    (folder / "onnx").mkdir()
    return Path(shutil.copy(made, folder / "onnx" / "model.onnx"))


def renamed(path: Path, old: str, new: str) -> None:
    model = onnx.load(path)
    for item in model.graph.output:
        item.name = new if item.name == old else item.name
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            node.output[place] = new if name == old else name
    onnx.save(model, path)


def test_files_of_a_reranker_and_of_m3_run_without_torch_s_weights(tmp_path: Path) -> None:
    for save, options in ((save_cross_encoder, BGE), (save_m3, {**M3, "mode": ALL})):
        folder = save(tmp_path / save.__name__)
        wanted = numbers(resolved(folder, **options))
        as_file(folder, **options)
        shutil.rmtree(exports.exports_folder())
        (folder / "model.safetensors").unlink()
        model = resolved(folder, backend="onnx", **options)
        heads = set(M3_HEADS.values()) if save is save_m3 else set()
        assert set(model.facts.files) >= {"onnx/model.onnx", *heads}
        assert largest_difference(numbers(model), wanted) <= 1e-5


def test_scores_are_found_by_name_or_by_shape_and_nothing_else_is_taken_for_them(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "m")
    file = as_file(folder)
    wanted = numbers(resolved(folder, backend="onnx"))
    renamed(file, "logits", "score")
    assert largest_difference(numbers(resolved(folder, backend="onnx")), wanted) == 0
    shutil.rmtree(exports.exports_folder())
    vectors = as_file(save_sentence_model(tmp_path / "vectors"))
    shutil.copy(vectors, file)
    with pytest.raises(ModelError, match=r"model\.onnx has no output with scores; expected logits \(pairs, 1\), found"):
        numbers(resolved(folder, backend="onnx"))


def test_m3_s_other_vectors_need_token_vectors(tmp_path: Path) -> None:
    folder = save_m3(tmp_path / "m")
    open_backend(exported(save_cross_encoder(tmp_path / "pairs")), CPU)
    (whole,) = exports.exports_folder().glob("*/model.onnx")
    (folder / "onnx").mkdir()
    shutil.copy(whole, folder / "onnx" / "model.onnx")
    with pytest.raises(ModelError, match=r"the file gives no token vectors .*, or --mode dense"):
        numbers(resolved(folder, backend="onnx", **M3, mode="sparse"))


def test_a_classifier_is_no_reranker_on_any_engine(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gives 3 scores per pair, so it classifies"):
        numbers(exported(save_real_words_cross_encoder(tmp_path / "m", labels=3), max_length=64))
