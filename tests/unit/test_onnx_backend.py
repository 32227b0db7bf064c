"""The onnx backend against the transformers backend, on files made here from random weights."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from onnxruntime.quantization import quantize_dynamic
from safetensors.torch import save_file
from support.contract import PROMPT, check_contract
from support.tiny import DIMENSIONS, save_cross_encoder, save_sentence_model, write
from transformers import AutoModel

from evalharness.errors import ModelError, PrerequisiteError, UsageError
from evalharness.models.engines import onnx_session
from evalharness.models.engines.onnx import OnnxEngine
from evalharness.models.forward.pipeline import PipelineBackend
from evalharness.models.loading import ModelOptions, open_embedder, resolve_model
from evalharness.models.opening import open_backend
from evalharness.models.options import Execution
from evalharness.types import EncodeEvent, EncodeNote, Encoding, TextsEncoded, ignore_event

# exports are kept in it
pytestmark = pytest.mark.usefixtures("own_cache")

TEXTS = ["How do ferns grow?", "", "a", "in shade. " * 40, "In SHADE, of course", "中 文", " padded ", "🌿\n\ttab"]
CPU = Execution(device="cpu")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
MEAN = {"pooling_mode_mean_tokens": True}


def save_onnx(
    folder: Path, path: Path, *, outputs: Mapping[str, Callable[[Any], Any]] | None = None, types: Any = torch.int64
) -> Path:
    """A torch model's outputs as an ONNX file, written as others do."""
    outputs = outputs or {"last_hidden_state": lambda found: found.last_hidden_state}
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    module = torch.nn.Module().eval()
    module.encoder = model

    def forward(ids: Any, mask: Any, kinds: Any) -> Any:
        found = model(ids.long(), mask.long(), kinds.long())
        return tuple(make(found) for make in outputs.values())

    module.forward = forward
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.ones((2, 5), dtype=types)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example, example, example * 0),
            str(path),
            dynamo=False,
            input_names=list(INPUTS),
            output_names=list(outputs),
            dynamic_axes={name: {0: "texts", 1: "tokens"} for name in INPUTS},
            opset_version=17,
        )
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_sentence_model(tmp_path_factory.mktemp("models") / "made", pooling=MEAN)
    save_onnx(folder, folder / "onnx" / "model.onnx")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / "model"))


def backend(folder: Path, execution: Execution = CPU, **changes: Any) -> PipelineBackend:
    opened: PipelineBackend = open_backend(
        resolve_model(str(folder), ModelOptions(backend="onnx", **changes)), execution
    )
    return opened


def _session(opened: PipelineBackend) -> onnx_session.OnnxSession:
    assert isinstance(opened._engine, OnnxEngine)
    return opened._engine._session


@pytest.fixture(scope="module")
def plain_and_exported(made: Path) -> Sequence[PipelineBackend]:
    """The backend on a file of others, and on one that it exports itself."""
    return [backend(made), backend(made, onnx_file="export")]


def encoding(**changes: Any) -> Encoding:
    facts: dict[str, Any] = {"pooling": "mean", "normalize": True, "max_length": 64, "dtype": "float32", "prompt": ""}
    return Encoding(**(facts | changes))


def vectors(opened: PipelineBackend, how: Encoding | None = None) -> NDArray[np.float32]:
    return opened.encode(TEXTS, how or encoding(), ignore_event).vectors


def torch_vectors(folder: Path, how: Encoding | None = None) -> NDArray[np.float32]:
    return vectors(open_backend(resolve_model(str(folder)), CPU), how)


def relabel(path: Path, rename: Mapping[str, str]) -> None:
    """Give inputs and outputs of an ONNX file other names."""
    model = onnx.load(path)
    for item in [*model.graph.input, *model.graph.output]:
        item.name = rename.get(item.name, item.name)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = rename.get(name, name)
    onnx.save(model, path)


@pytest.mark.parametrize("file", [None, "onnx/model.onnx", "export"])
def test_it_keeps_the_contract_of_a_backend(made: Path, file: str | None) -> None:
    resolved = resolve_model(str(made), ModelOptions(backend="onnx", onnx_file=file, query_prompt=PROMPT))
    check_contract(lambda execution: open_embedder(resolved, execution))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pooling": "cls", "normalize": False},
        {"pooling": "lasttoken", "max_length": 9},
        {"pooling": "weightedmean", "prompt": "find: ", "suffix": " end"},
        {"prompt": "find: ", "pool_prompt": False},
        {"prompt": "find: ", "pool_prompt": False, "prompt_within": 20},
        {"prompt": "[", "suffix": "]", "prompt_as_tokens": True, "max_length": 12},
        {"layer_norm": True, "dimensions": 7},
    ],
)
def test_vectors_equal_those_of_the_transformers_backend(
    made: Path, plain_and_exported: Sequence[PipelineBackend], changes: dict[str, Any]
) -> None:
    for found in plain_and_exported:
        np.testing.assert_allclose(
            vectors(found, encoding(**changes)), torch_vectors(made, encoding(**changes)), atol=1e-5
        )


def test_dense_layers_follow_the_pooling(folder: Path) -> None:
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")])
    ]
    write(folder / "modules.json", modules)
    write(folder / "2_Dense" / "config.json", {"in_features": DIMENSIONS, "out_features": 6, "bias": False})
    weights = torch.randn(6, DIMENSIONS, generator=torch.Generator().manual_seed(0))
    save_file({"linear.weight": weights}, folder / "2_Dense" / "model.safetensors")
    found = vectors(backend(folder))
    assert found.shape == (len(TEXTS), 6)
    np.testing.assert_allclose(found, torch_vectors(folder), atol=1e-5)


def test_files_with_fewer_or_smaller_inputs_get_what_they_declare(folder: Path) -> None:
    model = onnx.load(folder / "onnx" / "model.onnx")
    kinds = next(item for item in model.graph.input if item.name == "token_type_ids")
    model.graph.input.remove(kinds)
    shape = onnx.helper.make_node("Shape", ["input_ids"], ["shape_of_ids"])
    zero = onnx.helper.make_node(
        "ConstantOfShape", ["shape_of_ids"], ["token_type_ids"],
        value=onnx.helper.make_tensor("zero", onnx.TensorProto.INT64, [1], [0]),
    )  # fmt: skip
    model.graph.node.insert(0, zero)
    model.graph.node.insert(0, shape)
    onnx.save(model, folder / "onnx" / "model.onnx")
    np.testing.assert_allclose(vectors(backend(folder)), torch_vectors(folder), atol=1e-5)
    save_onnx(folder, folder / "onnx" / "small.onnx", types=torch.int32)
    np.testing.assert_allclose(vectors(backend(folder, onnx_file="onnx/small.onnx")), torch_vectors(folder), atol=1e-5)


def test_numbers_in_a_file_of_their_own_are_read_and_fingerprinted(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    wanted = vectors(backend(folder))
    other = onnx.load(path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    np.testing.assert_array_equal(vectors(backend(folder)), wanted)
    before = resolve_model(str(folder), ModelOptions(backend="onnx")).spec.fingerprint
    numbers = folder / "onnx" / "model.onnx_data"
    numbers.write_bytes(b"\x01" + numbers.read_bytes()[1:])
    assert resolve_model(str(folder), ModelOptions(backend="onnx")).spec.fingerprint != before
    numbers.rename(folder / "onnx" / "elsewhere")
    with pytest.raises(ModelError, match=r"model\.onnx keeps its numbers in model\.onnx_data, which is missing"):
        backend(folder)
    numbers = folder / "onnx" / "numbers.bin"
    onnx.save(other, path, save_as_external_data=True, location=numbers.name, size_threshold=0)
    with pytest.raises(ModelError, match=r"keeps its numbers in numbers\.bin, which is not known to belong to it"):
        backend(folder)


def test_numbers_that_are_overwritten_change_no_vector_of_an_open_model(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    opened = backend(folder)
    wanted = vectors(opened)
    numbers = folder / "onnx" / "model.onnx_data"
    with numbers.open("r+b") as file:
        file.write(bytes(numbers.stat().st_size))
    np.testing.assert_array_equal(vectors(opened), wanted)
    # it would have done so
    assert not np.array_equal(vectors(backend(folder)), wanted)


def test_only_a_plain_file_is_taken_without_being_named(folder: Path) -> None:
    plain = folder / "onnx" / "model.onnx"
    shutil.copy(plain, folder / "model.onnx")
    with pytest.raises(ModelError, match=r"more than one plain ONNX file .* are: model\.onnx, onnx/model\.onnx\. Name"):
        backend(folder)
    (folder / "model.onnx").unlink()
    for name in ("model_int8.onnx", "model_fp16.onnx", "model_O3.onnx"):
        shutil.copy(plain, plain.with_name(name))
    assert backend(folder).identity["file"] == "onnx/model.onnx"
    plain.unlink()
    with pytest.raises(
        ModelError, match=r"no plain ONNX file .* are: onnx/model_O3\.onnx, onnx/model_fp16\.onnx, onnx/"
    ):
        backend(folder)
    assert backend(folder, onnx_file="onnx/model_O3.onnx").identity["file"] == "onnx/model_O3.onnx"
    with pytest.raises(ModelError, match=r"has no file onnx/model\.onnx; its ONNX files are: onnx/model_O3\.onnx"):
        backend(folder, onnx_file="onnx/model.onnx")


@pytest.mark.parametrize("name", ["../model.onnx", "a/b/model.onnx", "/model.onnx", "model.bin", "..\\model.onnx"])
def test_a_name_that_cannot_be_one_is_a_usage_error(made: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"has to be the path of an \.onnx file in the model's repository"):
        resolve_model(str(made), ModelOptions(backend="onnx", onnx_file=name))


def test_a_quantised_file_has_to_be_named_and_its_vectors_do_not_depend_on_the_batch(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    quantize_dynamic(path, folder / "onnx" / "model_quantized.onnx")
    name = "onnx/model_quantized.onnx"
    found = vectors(backend(folder, onnx_file=name))
    assert 1e-4 < np.abs(found - torch_vectors(folder)).max() < 0.5
    wide = vectors(backend(folder, Execution(batch_tokens=10_000), onnx_file=name))
    np.testing.assert_array_equal(wide, found)
    alone = backend(folder, onnx_file=name).encode(TEXTS[:1], encoding(), ignore_event).vectors
    np.testing.assert_array_equal(alone[0], found[0])
    (folder / name).replace(path)
    with pytest.raises(ModelError, match=r"onnx/model\.onnx is quantised, so its vectors are not the model's"):
        backend(folder)
    np.testing.assert_array_equal(vectors(backend(folder, onnx_file="onnx/model.onnx")), found)


def test_the_fingerprint_is_of_the_files_that_are_read(folder: Path) -> None:
    def content(**changes: Any) -> str:
        return resolve_model(str(folder), ModelOptions(backend="onnx", **changes)).spec.fingerprint

    shutil.copy(folder / "onnx" / "model.onnx", folder / "onnx" / "other.onnx")
    plain, other, torch_weights = content(), content(onnx_file="onnx/other.onnx"), content(onnx_file="export")
    assert len({plain, other, torch_weights}) == 3
    with (folder / "onnx" / "other.onnx").open("ab") as handle:
        handle.write(b"\0")
    assert content() == plain
    assert content(onnx_file="onnx/other.onnx") != other
    with (folder / "model.safetensors").open("ab") as handle:
        handle.write(b"\0")
    assert content() == plain
    assert content(onnx_file="export") != torch_weights


def test_a_files_own_vectors_are_taken_only_if_that_is_asked(folder: Path) -> None:
    save_onnx(
        folder, folder / "onnx" / "model.onnx",
        outputs={"sentence_embedding": lambda found: found.last_hidden_state[:, 0]},
    )  # fmt: skip
    with pytest.raises(ModelError, match=r"gives whole vectors only \(sentence_embedding\), mean pooling is wanted"):
        vectors(backend(folder))
    found = vectors(backend(folder), encoding(pooling="own", dimensions=5))
    np.testing.assert_allclose(found, torch_vectors(folder, encoding(pooling="cls", dimensions=5)), atol=1e-5)
    with pytest.raises(ModelError, match="the ONNX file gives token vectors only"):
        vectors(backend(folder, onnx_file="export"), encoding(pooling="own"))


def test_token_vectors_are_preferred_and_a_pooler_is_no_sentence_vector(folder: Path) -> None:
    outputs: dict[str, Callable[[Any], Any]] = {
        "pooler_output": lambda found: found.pooler_output,
        "last_hidden_state": lambda found: found.last_hidden_state,
    }
    save_onnx(folder, folder / "onnx" / "model.onnx", outputs=outputs)
    np.testing.assert_allclose(vectors(backend(folder)), torch_vectors(folder), atol=1e-5)
    with pytest.raises(ModelError, match="gives token vectors only"):
        vectors(backend(folder), encoding(pooling="own"))
    outputs = {"a": lambda found: found.pooler_output, "b": lambda found: found.pooler_output + 1}
    save_onnx(folder, folder / "onnx" / "model.onnx", outputs=outputs)
    with pytest.raises(ModelError, match=r"has no output with vectors; .* found a \["):
        backend(folder)


def test_inputs_that_nobody_gives_are_an_error(folder: Path) -> None:
    relabel(folder / "onnx" / "model.onnx", {"token_type_ids": "position_ids"})
    with pytest.raises(ModelError, match=r"model\.onnx wants the inputs position_ids, which are not supported"):
        backend(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float16"}, "the precision of an ONNX model is that of its file, float16 is wanted"),
        ({"adapter": "sts"}, "the onnx backend cannot do the adapter 'sts'"),
        ({"side": "query"}, "the onnx backend cannot do a way of its own for the side 'query'"),
        ({"dimensions": 33}, "has vectors of 32 dimensions, 33 are to be kept"),
    ],
)
def test_what_it_cannot_do_is_an_error(made: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        vectors(backend(made), encoding(**changes))


def test_a_device_that_is_not_there(made: Path) -> None:
    for device in ("cuda", "mps"):
        with pytest.raises(PrerequisiteError, match=f"the device '{device}' cannot be used by the onnx backend here"):
            backend(made, Execution(device=device))
    assert backend(made, Execution()).device == "cpu"


def test_cuda_gets_its_number_and_must_start(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    provider = onnx_session.find_provider("cuda:1")
    assert (provider.name, provider.device) == ("CUDAExecutionProvider", "cuda:1")
    assert provider.options == {"device_id": "1", "use_tf32": "0"}
    # this onnxruntime has none, and goes on with the CPU
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(PrerequisiteError, match="but it does not start here"),
    ):
        backend(made, Execution(device="cuda"))


def test_a_reranker_is_never_an_encoder(tmp_path: Path) -> None:
    reranker = str(save_cross_encoder(tmp_path / "reranker"))
    with pytest.raises(UsageError, match="the onnx backend has no use for --pooling, for it scores pairs"):
        resolve_model(reranker, ModelOptions(backend="onnx", onnx_file="export", pooling="mean"))
    lent = resolve_model(
        reranker, ModelOptions(backend="onnx", onnx_file="export", like="intfloat/e5-base-v2", max_length=64)
    )
    with pytest.raises(ModelError, match="is a cross-encoder"):
        open_backend(lent, CPU)


@pytest.mark.parametrize("content", [b"", b"not a protobuf\n"])
def test_a_file_that_is_no_onnx_is_a_model_error(folder: Path, content: bytes) -> None:
    (folder / "onnx" / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"onnxruntime cannot load model\.onnx"):
        backend(folder)


def test_a_batch_that_does_not_fit_is_halved_and_other_failures_surface(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = backend(made)
    wanted, session = vectors(opened), _session(opened)._session

    class Small:
        def __init__(self, message: str) -> None:
            self.message = message

        def run(self, outputs: Any, feed: Any) -> Any:
            if len(feed["input_ids"]) > 2:
                raise ort_errors.RuntimeException(self.message)
            return session.run(outputs, feed)

    monkeypatch.setattr(_session(opened), "_session", Small("Failed to allocate memory for requested buffer of size 9"))
    events: list[EncodeEvent] = []
    np.testing.assert_allclose(opened.encode(TEXTS, encoding(), events.append).vectors, wanted, atol=1e-6)
    assert {event.kind for event in events if isinstance(event, EncodeNote)} == {"batch_shrunk"}
    assert sum(event.count for event in events if isinstance(event, TextsEncoded)) == len(TEXTS)
    opened = backend(made)
    monkeypatch.setattr(_session(opened), "_session", Small("shapes do not fit"))
    with pytest.raises(ModelError, match="onnxruntime failed: shapes do not fit"):
        vectors(opened)


def test_no_texts_give_no_vectors(made: Path) -> None:
    assert backend(made).encode([], encoding(), ignore_event).vectors.shape == (0, DIMENSIONS)
