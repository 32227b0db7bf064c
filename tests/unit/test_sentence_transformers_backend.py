"""The sentence-transformers backend against the library itself and the transformers backend, on random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense as DenseLayer
from support.contract import PROMPT, check_contract
from support.tiny import DIMENSIONS, save_bert, save_cross_encoder, save_sentence_model

from evalharness.errors import ModelError
from evalharness.models.backends.sentence_transformers import SentenceTransformersBackend
from evalharness.models.encoder import EmbeddingModel
from evalharness.models.loading import ModelOptions, open_embedder, resolve_model
from evalharness.models.options import Execution
from evalharness.types import EncodeEvent, EncodeNote, Encoding, TextsEncoded, ignore_event

TEXTS = ["How do ferns grow?", "", "a", "in shade. " * 40, "In SHADE, of course", "中 文", " padded ", "🌿\n\ttab"]
MEAN = {"pooling_mode_mean_tokens": True}
CPU = Execution(device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prompts = {"prompts": {"query": "q: ", "loud": "LOUD, LOUD! "}, "default_prompt_name": "loud", "truncate_dim": 8}
    return save_sentence_model(tmp_path_factory.mktemp("models") / "st", pooling=MEAN, settings=prompts)


def opened(folder: Path, **changes: Any) -> EmbeddingModel:
    return open_embedder(resolve_model(str(folder), ModelOptions(backend="sentence-transformers", **changes)), CPU)


def backend(folder: Path, **changes: Any) -> SentenceTransformersBackend:
    options = ModelOptions(backend="sentence-transformers", **changes)
    return SentenceTransformersBackend(resolve_model(str(folder), options), CPU)


def encoding(**changes: Any) -> Encoding:
    facts: dict[str, Any] = {"pooling": "mean", "normalize": True, "max_length": 64, "dtype": "float32", "prompt": ""}
    return Encoding(**(facts | changes))


def vectors(subject: SentenceTransformersBackend, how: Encoding) -> NDArray[np.float32]:
    return subject.encode(TEXTS, how, ignore_event).vectors


def reference(folder: Path) -> Any:
    """The library as it is, but for what the files of the fixture say by themselves."""
    model = SentenceTransformer(str(folder), device="cpu")
    model.truncate_dim = None
    return model


def test_it_keeps_the_contract_of_a_backend(tmp_path: Path) -> None:
    resolved = resolve_model(
        str(save_sentence_model(tmp_path / "st")),
        ModelOptions(backend="sentence-transformers", query_prompt=PROMPT),
    )
    check_contract(lambda execution: open_embedder(resolved, execution))


@pytest.mark.parametrize(
    "pooling", [{"pooling_mode_cls_token": True}, MEAN, {"pooling_mode": "lasttoken"}, {"pooling_mode": "weightedmean"}]
)
def test_vectors_equal_those_of_the_library(tmp_path: Path, pooling: dict[str, Any]) -> None:
    settings = {"prompts": {"query": "q: ", "document": "d: "}}
    made = save_sentence_model(tmp_path / "st", pooling=pooling, settings=settings, sentence={"max_seq_length": 40})
    model, library = opened(made), reference(made)
    np.testing.assert_allclose(model.encode(TEXTS), library.encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(model.encode_queries(TEXTS), library.encode_query(TEXTS), atol=1e-6)
    np.testing.assert_allclose(model.encode_corpus(TEXTS[:3]), library.encode_document(TEXTS[:3]), atol=1e-6)


def test_no_prompt_means_no_prompt_whatever_the_files_have_as_default(folder: Path) -> None:
    library = reference(folder)
    plain = vectors(backend(folder), encoding())
    np.testing.assert_allclose(plain, library.encode(TEXTS, prompt=""), atol=1e-6)
    assert np.abs(plain - library.encode(TEXTS)).max() > 0.01
    np.testing.assert_allclose(
        vectors(backend(folder), encoding(prompt="p: ")), library.encode(TEXTS, prompt="p: "), atol=1e-6
    )


def test_the_encoding_alone_says_whether_vectors_are_normalised(folder: Path, tmp_path: Path) -> None:
    bare = save_sentence_model(tmp_path / "bare", pooling=MEAN, normalize=False)
    for made in (folder, bare):
        long = vectors(backend(made), encoding(normalize=False))
        assert np.abs(np.linalg.norm(long, axis=1) - 1).min() > 0.1
        np.testing.assert_allclose(long, reference(bare).encode(TEXTS), atol=1e-5)
        np.testing.assert_allclose(
            vectors(backend(made), encoding()), reference(folder).encode(TEXTS, prompt=""), atol=1e-6
        )


def test_a_normalisation_before_a_dense_layer_stays(tmp_path: Path) -> None:
    made = save_sentence_model(tmp_path / "st", pooling=MEAN)
    torch.manual_seed(1)
    (made / "3_Dense").mkdir()
    DenseLayer(DIMENSIONS, 12).save(str(made / "3_Dense"))
    modules = json.loads((made / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (made / "modules.json").write_text(json.dumps(modules))
    found = vectors(backend(made), encoding(normalize=False))
    np.testing.assert_allclose(found, reference(made).encode(TEXTS), atol=1e-6)
    low = vectors(backend(made, dtype="bfloat16"), encoding(normalize=False, dtype="bfloat16"))
    assert 0 < np.abs(low - found).max() < 0.1


def test_layer_norm_dimensions_and_length_one_come_in_this_order(folder: Path) -> None:
    raw = torch.from_numpy(vectors(backend(folder), encoding(normalize=False)))
    wanted = torch.nn.functional.normalize(torch.nn.functional.layer_norm(raw, (DIMENSIONS,))[:, :5], dim=1)
    found = vectors(backend(folder), encoding(layer_norm=True, dimensions=5))
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)
    with pytest.raises(ModelError, match="has vectors of 32 dimensions, 33 are to be kept"):
        vectors(backend(folder), encoding(dimensions=33))


def test_the_suffix_comes_after_the_text_and_cut_texts_are_known(folder: Path) -> None:
    subject, events = backend(folder), list[EncodeEvent]()
    library = reference(folder)
    found = subject.encode(["a", "a b c d e f g h"], encoding(max_length=8, suffix=" end"), events.append)
    library.max_seq_length = 8
    np.testing.assert_allclose(found.vectors, library.encode(["a end", "a b c d e f g h end"], prompt=""), atol=1e-6)
    assert found.truncated is not None
    assert found.truncated.tolist() == [False, True]
    done = [event for event in events if isinstance(event, TextsEncoded)]
    assert sum(event.count for event in done) == 2
    assert sum(event.tokens for event in done) == 6 + 8
    unlimited = subject.encode(["a b c d e f g h"], encoding(max_length=None), ignore_event)
    assert unlimited.truncated is not None
    assert not unlimited.truncated.any()


@pytest.mark.parametrize("in_files", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_whether_the_prompt_is_pooled_is_up_to_the_encoding(tmp_path: Path, in_files: bool, wanted: bool) -> None:
    made = save_sentence_model(tmp_path / "st", pooling=MEAN | {"include_prompt": in_files})
    library = reference(made)
    library.set_pooling_include_prompt(wanted)
    found = vectors(backend(made), encoding(prompt="find: ", pool_prompt=wanted))
    np.testing.assert_allclose(found, library.encode(TEXTS, prompt="find: "), atol=1e-6)


def test_the_transformers_backend_gives_the_same(folder: Path) -> None:
    options = ModelOptions(backend="transformers", query_prompt="find: ", max_length=30)
    plain = open_embedder(resolve_model(str(folder), options), CPU)
    other = opened(folder, query_prompt="find: ", max_length=30)
    np.testing.assert_allclose(other.encode_queries(TEXTS), plain.encode_queries(TEXTS), atol=1e-6)


def test_a_pooling_that_the_files_do_not_have_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"pools as the model's files say \(mean\), cls is wanted; leave --pooling out"
    ):
        opened(folder, pooling="cls").encode(TEXTS)
    np.testing.assert_array_equal(
        vectors(backend(folder), encoding(pooling="own")), vectors(backend(folder), encoding())
    )
    # the library would take the mean by itself
    bare = save_bert(tmp_path / "bare")
    np.testing.assert_allclose(
        opened(bare, pooling="mean").encode(TEXTS), reference(bare).encode(TEXTS, normalize_embeddings=False), atol=1e-6
    )
    with pytest.raises(ModelError, match=r"say \(mean\), own is wanted"):
        opened(bare, pooling="own").encode(TEXTS)


def test_prompts_as_tokens_are_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="cannot tokenize prompts by themselves; use --backend transformers"):
        vectors(backend(folder), encoding(prompt="[", prompt_as_tokens=True))


def test_prompts_for_short_texts_only_are_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="cannot leave prompts out of long texts; use --backend transformers"):
        vectors(backend(folder), encoding(prompt="find: ", prompt_within=9))
    np.testing.assert_array_equal(
        vectors(backend(folder), encoding(prompt_within=9)), vectors(backend(folder), encoding())
    )


class Tasked:
    """Stands for a model whose first module takes a task."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.asked: list[dict[str, Any]] = []

    def __iter__(self) -> Any:
        return iter(self.model)

    def get_model_kwargs(self) -> list[str]:
        return ["task"]

    def set_pooling_include_prompt(self, included: bool) -> None:
        self.model.set_pooling_include_prompt(included)

    def encode(self, texts: list[str], **asked: Any) -> Any:
        self.asked.append({key: asked.get(key, "absent") for key in ("task", "prompt")})
        return self.model.encode(texts, **{key: value for key, value in asked.items() if key != "task"})


def test_an_adapter_goes_to_the_model_as_its_task(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = backend(folder)
    with pytest.raises(ModelError, match=r"the adapter 'retrieval\.query' is wanted, but no module of the model takes"):
        vectors(subject, encoding(adapter="retrieval.query"))
    stub = Tasked(subject._model)
    monkeypatch.setattr(subject, "_model", stub)
    vectors(subject, encoding(adapter="retrieval.query", prompt="q: "))
    assert stub.asked == [{"task": "retrieval.query", "prompt": "q: "}]
    vectors(subject, encoding())
    assert stub.asked[1] == {"task": "absent", "prompt": None}


def test_a_batch_that_does_not_fit_is_halved_and_noted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = backend(folder)
    wanted, whole = vectors(subject, encoding()), subject._model.encode

    def small_memory(texts: list[str], **asked: Any) -> Any:
        if len(texts) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return whole(texts, **asked)

    monkeypatch.setattr(subject._model, "encode", small_memory)
    events: list[EncodeEvent] = []
    np.testing.assert_allclose(subject.encode(TEXTS, encoding(), events.append).vectors, wanted, atol=1e-6)
    assert {event.kind for event in events if isinstance(event, EncodeNote)} == {"batch_shrunk"}


def test_a_reranker_is_never_an_encoder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a cross-encoder"):
        opened(save_cross_encoder(tmp_path / "reranker"), pooling="mean")


def test_missing_layers_are_an_error(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    made = save_sentence_model(tmp_path / "st")
    weights = load_file(made / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "layer.1.output.dense" not in k}, made / "model.safetensors")
    with pytest.raises(ModelError, match=r"lacks layers that take part in the result: encoder\.layer\.1\.output"):
        opened(made)


def test_what_the_library_cannot_load_is_a_model_error(tmp_path: Path) -> None:
    made = save_sentence_model(tmp_path / "st")
    modules = json.loads((made / "modules.json").read_text())
    modules[2]["type"] = "own_code.Normalize"
    (made / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(
        ModelError, match=r"modules\.json: names 'own_code\.Normalize'.*--trust-remote-code runs others"
    ):
        opened(made)
    with pytest.raises(ModelError, match=r"the Python code of its repository does not run .*own_code"):
        opened(made, trust_remote_code=True)


def test_no_texts_give_no_vectors(folder: Path) -> None:
    assert backend(folder).encode([], encoding(), ignore_event).vectors.shape == (0, DIMENSIONS)


def test_the_identity_names_the_library_and_its_version(folder: Path) -> None:
    import sentence_transformers

    identity = backend(folder).identity
    assert identity["backend"] == "sentence-transformers"
    assert sentence_transformers.__version__.startswith(identity["version"] + ".")
