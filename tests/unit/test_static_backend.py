"""The static backend against model2vec and sentence-transformers, on random vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model2vec import StaticModel
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, StaticEmbedding
from support.contract import PROMPT, check_contract, heeded
from support.tiny import save_bert, tokenizer
from tokenizers import Tokenizer

from evalharness import load_model
from evalharness.errors import ModelError, UsageError
from evalharness.models.backends.static import StaticBackend
from evalharness.models.config import FileFacts
from evalharness.models.layout import lay_out_folder
from evalharness.models.loading import ModelOptions, ResolvedModel, open_embedder, resolve_model
from evalharness.models.options import Execution
from evalharness.models.source import fingerprint
from evalharness.types import EncodeEvent, Encoding, ModelSpec, TextsEncoded, ignore_event

TEXTS = ["How do ferns grow?", "", "a", "in shade. " * 400, "中 文", " padded ", "a 🌿 b", "🌿 🌿", "\n\ttab"]
UNKNOWN = "🌿 🌿"
WIDTH = 24


def words() -> Tokenizer:
    core = tokenizer()._tokenizer
    assert isinstance(core, Tokenizer)
    return core


def save_static(folder: Path, *, quantised: bool = False, dtype: str = "float32", normalize: bool = True) -> Path:
    """A model as model2vec saves it, without the files for sentence-transformers."""
    random = np.random.default_rng(0)
    size = words().get_vocab_size()
    rows = random.normal(size=(20 if quantised else size, WIDTH)).astype(np.float32)
    vectors = (rows * 40).clip(-127, 127).astype(np.int8) if dtype == "int8" else rows.astype(dtype)
    model = StaticModel(
        vectors,
        words(),
        config={"model_type": "model2vec"},
        normalize=normalize,
        weights=random.uniform(0.5, 2, size).astype(np.float32) if quantised else None,
        token_mapping=random.integers(0, 20, size) if quantised else None,
    )
    model.save_pretrained(folder)
    (folder / "modules.json").unlink()
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_static(tmp_path_factory.mktemp("models") / "static")


def encoding(**changes: Any) -> Encoding:
    facts: dict[str, Any] = {"pooling": "own", "normalize": True, "max_length": None, "dtype": "float32", "prompt": ""}
    return Encoding(**(facts | changes))


def backend(folder: Path, **changes: Any) -> StaticBackend:
    spec = ModelSpec(
        name="a/b", revision="0", fingerprint="0", backend="static", pooling="own", normalize=True, max_length=None
    )
    return StaticBackend(ResolvedModel(spec, FileFacts(folder=folder), ModelOptions()), Execution(**changes))


def vectors(folder: Path, how: Encoding) -> NDArray[np.float32]:
    return backend(folder).encode(TEXTS, how, ignore_event).vectors


def test_it_keeps_the_contract_of_a_backend(folder: Path) -> None:
    resolved = resolve_model(str(folder), ModelOptions(query_prompt=PROMPT, normalize=True))
    assert resolved.spec.backend == "static"
    assert resolved.spec.max_length is None
    check_contract(lambda execution: open_embedder(resolved, heeded(execution, "static")))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("quantised", [True, False])
def test_vectors_equal_those_of_model2vec(tmp_path: Path, dtype: str, quantised: bool, normalize: bool) -> None:
    made = save_static(tmp_path / "m", dtype=dtype, quantised=quantised)
    library = StaticModel.from_pretrained(made)
    wanted = library.encode(TEXTS, max_length=None, normalize=False).astype(np.float32)
    if normalize:
        wanted /= np.linalg.norm(wanted, axis=1, keepdims=True) + 1e-32
    np.testing.assert_allclose(vectors(made, encoding(normalize=normalize)), wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("place", ["", "0_StaticEmbedding"])
def test_modules_after_the_table_are_not_left_out(tmp_path: Path, place: str) -> None:
    library = SentenceTransformer(
        modules=[StaticEmbedding(words(), embedding_dim=WIDTH), Dense(WIDTH, 8), Normalize()], device="cpu"
    )
    library.save_pretrained(str(tmp_path / "m"))
    (tmp_path / "m" / place).mkdir(exist_ok=True)
    for name in ("tokenizer.json", "model.safetensors"):
        (tmp_path / "m" / name).rename(tmp_path / "m" / place / name)
    modules = json.loads((tmp_path / "m" / "modules.json").read_text())
    modules[0]["path"] = place
    (tmp_path / "m" / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match=r"modules\.json has Dense, which the static backend does not run"):
        load_model(str(tmp_path / "m"))
    options = ModelOptions(backend="sentence-transformers")
    model = load_model(str(tmp_path / "m"), options)
    assert model.spec.pooling == "own"
    found = model.encode(TEXTS)
    np.testing.assert_allclose(found, library.encode(TEXTS), atol=1e-6)
    with pytest.raises(ModelError, match="does not cut texts for a table of token vectors; leave --max-length out"):
        load_model(str(tmp_path / "m"), options.model_copy(update={"max_length": 9})).encode(TEXTS)


def test_the_end_of_a_long_text_counts(folder: Path) -> None:
    subject = backend(folder)
    long = ["in shade, " * 300, "in shade, " * 300 + "z " * 2000]
    found = subject.encode(long, encoding(), ignore_event)
    assert found.truncated is not None
    assert not found.truncated.any()
    assert np.abs(found.vectors[0] - found.vectors[1]).max() > 0.1


def test_a_maximum_length_cuts_tokens_as_in_model2vec(folder: Path) -> None:
    texts = ["a b", "a b c d e f", "a b 🌿 🌿 c"]
    found = backend(folder).encode(texts, encoding(max_length=4, normalize=False), ignore_event)
    assert found.truncated is not None
    assert found.truncated.tolist() == [False, True, True]
    library = StaticModel.from_pretrained(folder)
    np.testing.assert_allclose(found.vectors, library.encode(["a b", "a b c d", "a b"], normalize=False), atol=1e-6)
    library.median_token_length = 100  # else it cuts characters before it cuts tokens
    np.testing.assert_allclose(found.vectors, library.encode(texts, max_length=4, normalize=False), atol=1e-6)


def test_a_text_without_a_known_token_is_zero_and_stays_finite(folder: Path) -> None:
    for how in (encoding(), encoding(normalize=False), encoding(layer_norm=True)):
        found = backend(folder).encode([UNKNOWN, "", "a"], how, ignore_event).vectors
        np.testing.assert_array_equal(found[:2], np.zeros((2, WIDTH)))
        assert np.abs(found[2]).max() > 0


def test_prompt_and_suffix_are_text_around_the_text(folder: Path) -> None:
    found = backend(folder).encode(["ferns"], encoding(prompt="q: ", suffix=" end"), ignore_event).vectors
    wanted = backend(folder).encode(["q: ferns end"], encoding(), ignore_event).vectors
    np.testing.assert_array_equal(found, wanted)


def test_dimensions_are_cut_before_the_length_becomes_one(folder: Path) -> None:
    raw = vectors(folder, encoding(normalize=False))[:, :5]
    found = vectors(folder, encoding(dimensions=5))
    np.testing.assert_allclose(found * np.linalg.norm(raw, axis=1, keepdims=True), raw, atol=1e-6)
    with pytest.raises(ModelError, match="has vectors of 24 dimensions, 25 are to be kept"):
        vectors(folder, encoding(dimensions=25))


def test_progress_counts_every_text_and_at_least_a_token_each(folder: Path) -> None:
    events: list[EncodeEvent] = []
    backend(folder).encode(["a b c", "", UNKNOWN], encoding(), events.append)
    assert events == [TextsEncoded(3, 5)]


@pytest.mark.parametrize("inside", ["", "0_StaticEmbedding"])
def test_folders_of_sentence_transformers_are_read(tmp_path: Path, inside: str) -> None:
    library = SentenceTransformer(modules=[StaticEmbedding(words(), embedding_dim=WIDTH)], device="cpu")
    library.save_pretrained(str(tmp_path))
    if inside:
        (tmp_path / inside).mkdir()
        for name in ("model.safetensors", "tokenizer.json"):
            (tmp_path / name).rename(tmp_path / inside / name)
    known = [text for text in TEXTS if "🌿" not in text]
    found = backend(tmp_path).encode(known, encoding(normalize=False), ignore_event).vectors
    np.testing.assert_allclose(found, library.encode(known), atol=1e-6)
    # the one known difference between the two libraries
    assert np.abs(library.encode([UNKNOWN])).max() > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "bfloat16"}, "a/b: the static backend cannot do dtype bfloat16"),
        ({"pooling": "mean"}, "cannot do mean pooling"),
        ({"adapter": "sts"}, "cannot do the adapter 'sts'"),
        ({"prompt_as_tokens": True}, "cannot do prompts as tokens of their own"),
        ({"prompt": "q", "pool_prompt": False}, "cannot do prompts left out of the pooling"),
        ({"prompt": "q", "prompt_within": 9}, "cannot do prompts left out of long texts"),
        ({"dtype": "float16", "pooling": "cls"}, "cannot do cls pooling and dtype float16"),
    ],
)
def test_what_it_cannot_do_is_an_error(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        vectors(folder, encoding(**changes))


def test_other_devices_are_an_error(folder: Path) -> None:
    for device in ("cpu", "cuda"):
        with pytest.raises(UsageError, match=f"--device {device}: without effect on .* .the static backend"):
            load_model(str(folder), execution=Execution(device=device))


def test_folders_of_other_models_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a/b: model2vec cannot load the model .*embeddings"):
        backend(save_bert(tmp_path / "bert"))
    with pytest.raises(ModelError, match=r"a/b: has no tokenizer in .*; expected tokenizer\.json"):
        backend(tmp_path)


def test_a_tokenizer_of_another_model_is_an_error(tmp_path: Path) -> None:
    made = save_static(tmp_path / "m", quantised=True)
    settings = json.loads((made / "tokenizer.json").read_text())
    settings["model"]["vocab"]["new"] = len(settings["model"]["vocab"])
    (made / "tokenizer.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match=r"has \d+ tokens, but the weight file has vectors or weights for fewer"):
        backend(made)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_the_fingerprint_tells_each_file(tmp_path: Path, name: str) -> None:
    made = save_static(tmp_path / "m")
    before = fingerprint(made, lay_out_folder(made).files)
    with (made / name).open("ab") as handle:
        handle.write(b" ")
    assert fingerprint(made, lay_out_folder(made).files) != before
    (made / "README.md").write_text("other")
    after = fingerprint(made, lay_out_folder(made).files)
    (made / "README.md").write_text("another")
    assert fingerprint(made, lay_out_folder(made).files) == after


def test_no_texts_give_no_vectors(folder: Path) -> None:
    assert backend(folder).encode([], encoding(), ignore_event).vectors.shape == (0, WIDTH)
