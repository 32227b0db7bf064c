"""Rerankers against FlagEmbedding and sentence-transformers, on random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from FlagEmbedding import FlagReranker
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder
from support.contract import PAIRS, check_pair_contract
from support.tiny import DIMENSIONS, save_bert, save_cross_encoder, save_real_words_cross_encoder
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from evalharness.errors import ModelError
from evalharness.models.loading import ModelOptions, resolve_model
from evalharness.models.opening import open_backend
from evalharness.models.options import Execution
from evalharness.models.prompts import encoding
from evalharness.models.rankers import Pair, PairModel, join_pair
from evalharness.types import EncodeEvent, EncodeNote, TextsEncoded, ignore_event


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_real_words_cross_encoder(tmp_path_factory.mktemp("models") / "reranker")


def scores(folder: Path, pairs: list[tuple[str, str]], like: str | None = None, **options: Any) -> NDArray[np.float32]:
    model = resolve_model(str(folder), ModelOptions(like=like, max_length=64))
    backend = open_backend(model, Execution(device="cpu", **options))
    return PairModel(model.spec, backend, device="cpu").score_pairs([Pair(*pair) for pair in pairs], None, ignore_event)


def test_bge_rerankers_equal_flag_embedding(reranker: Path) -> None:
    reference = FlagReranker(str(reranker), use_fp16=False, devices="cpu", max_length=64)
    # it forgets that a pair with an empty document is one
    pairs = [(query, document) for query, document in PAIRS if document]
    wanted = reference.compute_score(pairs)
    np.testing.assert_allclose(scores(reranker, pairs, "BAAI/bge-reranker-base"), wanted, atol=1e-5)


def test_pairs_of_equal_tokens_go_through_the_model_one_by_one(reranker: Path) -> None:
    events: list[EncodeEvent] = []
    model = resolve_model(str(reranker), ModelOptions(max_length=64))
    pairs = PairModel(model.spec, open_backend(model, Execution(device="cpu")), device="cpu")
    pairs.score_pairs([Pair("how", "fern"), Pair("how", " fern"), Pair("how ", "fern ")], None, events.append)
    all_of_them = sum(event.tokens for event in events if isinstance(event, TextsEncoded))
    events.clear()
    pairs.score_pairs([Pair("how", "fern")], None, events.append)
    assert all_of_them == 3 * sum(event.tokens for event in events if isinstance(event, TextsEncoded)) > 0


def save_marks(folder: Path) -> Path:
    """A reranker whose tokenizer has the mark of a word's start as a token of its own (SentencePiece)."""
    letters = [*"abcdefghijklmnopqrstuvwxyzHW?.,;0123456789"]
    core = Tokenizer(
        models.Unigram([(word, -1.0) for word in ["<unk>", "<s>", "</s>", "<pad>", "\u2581", *letters]], 0)
    )
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    marks = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    words = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers has no annotation
        tokenizer_object=core, model_max_length=64, cls_token="<s>", sep_token="</s>", **marks
    )
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": len(words), "hidden_size": DIMENSIONS, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "intermediate_size": 64, "initializer_range": 0.3, "pad_token_id": 3}
    sizes |= {"num_labels": 1, "max_position_embeddings": 70}
    XLMRobertaForSequenceClassification(XLMRobertaConfig(**sizes)).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("length", range(9, 25))
def test_a_query_is_cut_in_tokens_wherever_that_is_in_a_word(tmp_path: Path, length: int) -> None:
    """As FlagEmbedding does where transformers has prepare_for_model; its stand-in for the newest goes by text."""
    folder = save_marks(tmp_path / "marks")
    words: Any = AutoTokenizer.from_pretrained(folder)
    reference = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    pairs = [("a b c d e f g h i j k l", "stone and river " * 3), ("what  is it?", "a"), ("How do ferns grow", "b c")]
    wanted, ends = [], set()
    for query, document in pairs:
        first, second = words([query, document], add_special_tokens=False)["input_ids"]
        # a place for one token of the document is kept
        first = first[: min(length * 3 // 4, length - 5)]
        ends.add(words.convert_ids_to_tokens(first)[-1])
        ids = torch.tensor([[1, *first, 2, 2, *second[: length - 4 - len(first)], 2]])
        with torch.no_grad():
            wanted.append(float(reference(ids).logits))
    assert len(ends) > 1
    model = resolve_model(str(folder), ModelOptions(like="BAAI/bge-reranker-base", max_length=length))
    found = PairModel(model.spec, open_backend(model, Execution(device="cpu")), device="cpu").score_pairs(
        [Pair(*pair) for pair in pairs], None, ignore_event
    )
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_other_rerankers_equal_sentence_transformers_without_its_sigmoid(reranker: Path) -> None:
    reference = CrossEncoder(str(reranker), device="cpu", max_length=64)
    wanted = reference.predict(PAIRS, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(scores(reranker, PAIRS), wanted, atol=1e-5)
    # the two ways of cutting differ on long queries
    assert np.abs(scores(reranker, PAIRS) - scores(reranker, PAIRS, "BAAI/bge-reranker-base")).max() > 0.01


def test_the_contract_of_rerankers(reranker: Path) -> None:
    model = resolve_model(str(reranker), ModelOptions(max_length=64))
    check_pair_contract(lambda run: PairModel(model.spec, open_backend(model, run), device="cpu"))


@pytest.mark.parametrize("length", [5, 8, 12])
def test_a_very_short_length_cuts_and_counts(tmp_path: Path, length: int) -> None:
    model = resolve_model(
        str(save_cross_encoder(tmp_path / "m")), ModelOptions(like="BAAI/bge-reranker-base", max_length=length)
    )
    backend = open_backend(model, Execution(device="cpu"))
    events: list[EncodeEvent] = []
    pairs = PairModel(model.spec, backend, device="cpu")
    found = pairs.score_pairs([Pair("abcdefghijkl", "mnopqrstuvw"), Pair("a", "")], None, events.append)
    assert np.isfinite(found).all()
    notes = [event for event in events if isinstance(event, EncodeNote)]
    assert notes == [EncodeNote("truncated", f"texts cut to {length} tokens", 1)]


def test_what_is_no_reranker_is_refused(tmp_path: Path) -> None:
    model = resolve_model(str(save_bert(tmp_path / "bert")), ModelOptions(backend="cross-encoder"))
    with pytest.raises(ModelError, match=r"bert is no cross-encoder \(it is BertModel; expected .*scores no pairs"):
        open_backend(model, Execution(device="cpu"))
    classifier = resolve_model(str(save_real_words_cross_encoder(tmp_path / "three", labels=3)))
    with pytest.raises(ModelError, match="local/three gives 3 scores per pair, so it classifies; a reranker gives one"):
        open_backend(classifier, Execution(device="cpu"))


def test_a_head_that_is_not_in_the_weight_file_is_an_error(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_cross_encoder(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if not k.startswith("classifier")}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"lacks layers that take part in the result: classifier\.bias, classifier\.w"):
        open_backend(resolve_model(str(folder)), Execution(device="cpu"))


def test_the_way_of_cutting_is_part_of_what_identifies_scores(reranker: Path) -> None:
    keys = []
    for like in (None, "BAAI/bge-reranker-base"):
        model = resolve_model(str(reranker), ModelOptions(like=like, max_length=64))
        backend = open_backend(model, Execution(device="cpu"))
        keys.append(backend.identity)
        row = backend.encode([join_pair(Pair("a", "b"))], encoding(model.spec, None, None), ignore_event)
        assert row.vectors.shape == (1, 1)
    assert keys[0] != keys[1]
