"""The transformers backend against sentence-transformers and plain transformers, on random weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from support.tiny import DIMENSIONS, save_bert, save_cross_encoder, save_sentence_model, tokenizer
from transformers import AutoModel

from evalharness import load_model
from evalharness.errors import ModelError, PrerequisiteError, UsageError
from evalharness.models.cards import cards
from evalharness.models.encoder import DedupingEncoder, EmbeddingModel
from evalharness.models.forward.pipeline import PipelineBackend
from evalharness.models.kinds.dense import pool
from evalharness.models.loading import ModelOptions, open_embedder, resolve_model
from evalharness.models.opening import open_backend
from evalharness.models.options import Execution
from evalharness.types import EncodeEvent, EncodeNote, Encoding, TextColumn, TextsEncoded

TEXTS = ["How do ferns grow?", "", "a", "in shade. " * 40, "In SHADE, of course", "中 文", " padded "]
INSTRUCTION = cards()["BAAI/bge-base-en-v1.5"].prompts["query"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("models") / "bert")


def plain_cls(folder: Path, texts: list[str]) -> NDArray[np.float32]:
    """One text at a time through plain transformers: the [CLS] vector, normalised."""
    model, tokens = AutoModel.from_pretrained(folder, dtype=torch.float32).eval(), tokenizer()
    rows = []
    with torch.no_grad():
        for text in texts:
            hidden = model(**tokens(text, truncation=True, max_length=64, return_tensors="pt")).last_hidden_state
            rows.append(torch.nn.functional.normalize(hidden[:, 0], dim=1)[0].numpy())
    return np.stack(rows)


def test_bge_queries_equal_plain_transformers_and_sentence_transformers(bert: Path, tmp_path: Path) -> None:
    options = ModelOptions(like="BAAI/bge-base-en-v1.5", max_length=64)
    ours = load_model(str(bert), options).encode_queries(TEXTS)
    assert ours.dtype == np.float32
    assert ours.shape == (len(TEXTS), DIMENSIONS)
    np.testing.assert_allclose(ours, plain_cls(bert, [INSTRUCTION + text for text in TEXTS]), atol=1e-6)
    reference = SentenceTransformer(str(save_sentence_model(tmp_path / "st")), device="cpu")
    np.testing.assert_allclose(ours, reference.encode(TEXTS, prompt=INSTRUCTION), atol=1e-6)


def test_bge_documents_and_symmetric_texts_get_no_instruction(bert: Path) -> None:
    model = load_model(str(bert), ModelOptions(like="BAAI/bge-base-en-v1.5", max_length=64))
    wanted = plain_cls(bert, TEXTS)
    np.testing.assert_allclose(model.encode_corpus(TEXTS), wanted, atol=1e-6)
    np.testing.assert_allclose(model.encode(TEXTS, task="STS12"), wanted, atol=1e-6)
    titled = model.encode_corpus([{"title": "Ferns", "text": "like shade"}, {"text": "like shade"}])
    np.testing.assert_allclose(titled, plain_cls(bert, ["Ferns like shade", "like shade"]), atol=1e-6)


@pytest.mark.parametrize(
    ("pooling", "normalize"),
    [
        ({"pooling_mode_cls_token": True}, True),
        ({"pooling_mode_mean_tokens": True}, False),
        ({"pooling_mode": "lasttoken"}, True),
        ({"pooling_mode": "mean"}, True),
    ],
)
def test_models_read_from_their_files_equal_sentence_transformers(
    tmp_path: Path, pooling: Mapping[str, Any], normalize: bool
) -> None:
    prompts = {"prompts": {"query": "q: ", "document": "d: ", "x": "x: "}, "default_prompt_name": "x"}
    folder = save_sentence_model(
        tmp_path / "m", pooling=pooling, normalize=normalize, sentence={"max_seq_length": 40}, settings=prompts
    )
    model, reference = load_model(str(folder)), SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(model.encode_queries(TEXTS), reference.encode_query(TEXTS), atol=1e-6)
    np.testing.assert_allclose(model.encode_corpus(TEXTS[:3]), reference.encode_document(TEXTS[:3]), atol=1e-6)
    np.testing.assert_allclose(model.encode(TEXTS), reference.encode(TEXTS), atol=1e-6)


def test_a_model_without_document_prompt_gets_none_as_in_sentence_transformers(tmp_path: Path) -> None:
    settings = {"prompts": {"query": "q: ", "passage": "p: "}, "default_prompt_name": None}
    folder = save_sentence_model(tmp_path / "m", settings=settings)
    model, reference = load_model(str(folder)), SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(model.encode_corpus(["fern"]), reference.encode_document(["fern"]), atol=1e-6)


@pytest.mark.parametrize("batch_tokens", [1, 50, 100_000])
def test_batches_do_not_matter_and_order_is_kept(bert: Path, batch_tokens: int) -> None:
    texts = [f"{'word ' * (n % 9)}{n}" for n in range(60)]
    options = ModelOptions(pooling="cls", normalize=True)
    model = load_model(str(bert), options, execution=Execution(batch_tokens=batch_tokens))
    whole = load_model(str(bert), options).encode(texts)
    np.testing.assert_allclose(model.encode(texts), whole, atol=1e-6)
    np.testing.assert_allclose(model.encode(texts[::-1])[::-1], whole, atol=1e-6)


def backend(folder: Path) -> PipelineBackend:
    resolved = resolve_model(str(folder), ModelOptions(pooling="cls"))
    opened: PipelineBackend = open_backend(resolved, Execution(device="cpu"))
    return opened


def encoding(**changes: Any) -> Encoding:
    facts: dict[str, Any] = {"pooling": "cls", "normalize": True, "max_length": 64, "dtype": "float32", "prompt": ""}
    return Encoding(**(facts | changes))


def test_cut_texts_are_counted(bert: Path) -> None:
    events: list[EncodeEvent] = []
    subject = DedupingEncoder(backend(bert))
    subject.encode(["short", "a b c d e f g h i j", "a b c d e f g h i j"], encoding(max_length=8), events.append)
    notes = [event for event in events if isinstance(event, EncodeNote)]
    assert notes == [EncodeNote("truncated", "texts cut to 8 tokens", 1)]


def test_no_texts_give_no_vectors(bert: Path) -> None:
    assert backend(bert).encode([], encoding(), lambda _: None).vectors.shape == (0, DIMENSIONS)


def test_a_batch_that_does_not_fit_is_halved_and_noted(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = backend(bert)
    texts = [f"text {number}" for number in range(12)]
    wanted = subject.encode(texts, encoding(), lambda _: None).vectors
    pooled = subject._rows

    def small_memory(tokens: dict[str, list[Any]], how: Encoding) -> NDArray[np.float32]:
        if len(tokens["input_ids"]) > 3:
            raise torch.OutOfMemoryError("out of memory")
        rows: NDArray[np.float32] = pooled(tokens, how)
        return rows

    monkeypatch.setattr(subject, "_rows", small_memory)
    events: list[EncodeEvent] = []
    np.testing.assert_allclose(subject.encode(texts, encoding(), events.append).vectors, wanted, atol=1e-6)
    assert {event.kind for event in events if isinstance(event, EncodeNote)} == {"batch_shrunk"}


def test_a_single_text_that_does_not_fit_is_an_error(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = backend(bert)

    def no_memory(tokens: object, how: object) -> NDArray[np.float32]:
        raise MemoryError

    monkeypatch.setattr(subject, "_rows", no_memory)
    with pytest.raises(ModelError, match=r"a single text of 5 tokens does not fit into the memory of cpu; lower --max"):
        subject.encode(["abc"], encoding(), lambda _: None)


def test_other_errors_surface_at_once(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = backend(bert)

    def broken(tokens: object, how: object) -> NDArray[np.float32]:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(subject, "_rows", broken)
    with pytest.raises(RuntimeError, match="shapes cannot"):
        subject.encode(["abc"], encoding(), lambda _: None)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_lower_precision_is_near_and_comes_back_as_float32(bert: Path, dtype: Any) -> None:
    low = load_model(str(bert), ModelOptions(pooling="cls", dtype=dtype)).encode(TEXTS)
    full = load_model(str(bert), ModelOptions(pooling="cls")).encode(TEXTS)
    assert low.dtype == np.float32
    assert 0 < np.abs(low - full).max() < 0.1


def test_pooling_takes_padding_on_either_side() -> None:
    hidden = torch.arange(24, dtype=torch.float32).reshape(2, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]])
    assert pool(hidden, mask, "cls").tolist() == [[0, 1, 2], [18, 19, 20]]
    assert pool(hidden, mask, "lasttoken").tolist() == [[3, 4, 5], [21, 22, 23]]
    assert pool(hidden, mask, "mean").tolist() == [[1.5, 2.5, 3.5], [19.5, 20.5, 21.5]]


def test_a_reranker_is_never_an_encoder(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "reranker")
    with pytest.raises(UsageError, match=r"local/reranker is of the kind reranker: it ranks documents and has no"):
        load_model(str(folder))
    with pytest.raises(ModelError, match=r"is a cross-encoder \(Bert.*give it as --reranker"):
        load_model(str(folder), ModelOptions(pooling="cls", backend="transformers"))


def test_missing_layers_are_an_error_but_a_missing_pooler_is_not(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_bert(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    whole = load_model(str(folder), ModelOptions(pooling="cls")).encode(["fern"])
    save_file({k: v for k, v in weights.items() if not k.startswith("pooler")}, folder / "model.safetensors")
    np.testing.assert_array_equal(load_model(str(folder), ModelOptions(pooling="cls")).encode(["fern"]), whole)
    save_file({k: v for k, v in weights.items() if "layer.1.output.dense" not in k}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"lacks layers that take part in the result: encoder\.layer\.1\.output"):
        load_model(str(folder), ModelOptions(pooling="cls"))


def test_a_device_that_is_not_there(bert: Path) -> None:
    with pytest.raises(PrerequisiteError, match="the device 'cuda:7' cannot be used here"):
        load_model(str(bert), ModelOptions(pooling="cls"), execution=Execution(device="cuda:7"))
    for device in ("privateuseone", "vulkan", "fpga", "nonsense", "meta", "", "\udcff"):
        with pytest.raises(PrerequisiteError, match="cannot be used here") as caught:
            load_model(str(bert), ModelOptions(pooling="cls"), execution=Execution(device=device))
        assert len(str(caught.value)) < 260


def test_broken_weights_and_configs_are_model_errors(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "m")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(b"\x10" * 100)
    with pytest.raises(ModelError, match=r"model\.safetensors: is cut, damaged or no safetensors file"):
        load_model(str(folder), ModelOptions(pooling="cls"))
    (folder / "model.safetensors").write_bytes(content[:-100])
    with pytest.raises(ModelError, match="the weights cannot be loaded"):
        load_model(str(folder), ModelOptions(pooling="cls"))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        load_model(str(folder), ModelOptions(pooling="cls"))


def test_vectors_that_are_not_finite_name_the_text(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_bert(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    letter = tokenizer().convert_tokens_to_ids("x")
    weights["embeddings.word_embeddings.weight"][letter] = float("nan")
    save_file(weights, folder / "model.safetensors")
    model = load_model(str(folder), ModelOptions(pooling="cls"))
    with pytest.raises(ModelError, match=r"1 of 3 texts got a vector with NaN .* the first is text 1: 'x'"):
        model.encode(["a", "x", "b"])


def test_a_text_in_two_columns_is_encoded_once(bert: Path) -> None:
    resolved = resolve_model(str(bert), ModelOptions(pooling="cls"))
    model: EmbeddingModel = open_embedder(resolved)
    done: list[EncodeEvent] = []
    columns = [TextColumn("a", ["x", "y", "x"], None), TextColumn("b", ["y", "z"], None)]
    found = model.encode_columns(columns, None, done.append)
    assert sum(event.count for event in done if isinstance(event, TextsEncoded)) == 5
    np.testing.assert_array_equal(found["a"].vectors[1], found["b"].vectors[0])
    np.testing.assert_array_equal(found["a"].vectors[0], found["a"].vectors[2])


def test_texts_that_the_tokenizer_does_not_tell_apart_are_equal_to_the_last_bit(bert: Path) -> None:
    vectors = backend(bert).encode(["Fern", "x", "fern", " FERN ", "y" * 50], encoding(), lambda _: None).vectors
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_array_equal(vectors[0], vectors[3])
    assert len({row.tobytes() for row in vectors}) == 3
