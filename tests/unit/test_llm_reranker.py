"""Rerankers that are language models against FlagEmbedding and mteb, on random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from FlagEmbedding import FlagLLMReranker, LayerWiseFlagLLMReranker
from mteb.models.model_implementations.qwen3_reranker import Qwen3RerankerWrapper
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from support.contract import PAIRS as CONTRACT_PAIRS
from support.contract import check_pair_contract
from support.engines import SECOND, add_second_engine
from support.tiny import save_bert, save_cross_encoder, write
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from evalharness.errors import ModelError
from evalharness.models.forward.pipeline import PipelineBackend
from evalharness.models.loading import ModelOptions, resolve_model
from evalharness.models.opening import open_backend
from evalharness.models.options import Execution
from evalharness.models.prompts import encoding
from evalharness.models.rankers import Pair, PairModel, join_pair
from evalharness.types import EncodeEvent, EncodeNote, TextsEncoded, ignore_event

POSITIONS = 1024
PAIRS = [*CONTRACT_PAIRS, ("为什么", "\n\n 因为 \n")]
CODE = """
import torch
from transformers import LlamaConfig, LlamaModel, LlamaPreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class OwnConfig(LlamaConfig):
    model_type = "own-llama"
    start_layer: int = 2


class OwnForCausalLM(LlamaPreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        heads = config.num_hidden_layers + 1 - config.start_layer
        self.heads = torch.nn.ModuleList(torch.nn.Linear(config.hidden_size, 1, bias=False) for _ in range(heads))
        self.post_init()

    def forward(self, input_ids, attention_mask=None, position_ids=None, cutoff_layers=None, **others):
        out = self.model(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, **others)
        layers = cutoff_layers or [self.config.num_hidden_layers]
        logits = [self.heads[n - self.config.start_layer](self.model.norm(out.hidden_states[n])) for n in layers]
        return CausalLMOutputWithPast(logits=tuple(scores[:, :, 0] for scores in logits))
"""
OWN_NAMES = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
CARDS = "".join(
    f'["test/{name}"]\nkind = "cross-encoder"\nbackend = "llm-reranker"\npair_template = "{template}"\n'
    for name, template in (("yes", "yes-logit"), ("qwen", "qwen3"), ("layers", "layerwise"))
)
# a shape that all families know; weights so large that scores differ clearly
SIZES: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
SIZES |= {"intermediate_size": 64, "max_position_embeddings": POSITIONS, "initializer_range": 0.3}
SIZES |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def save_tokenizer(folder: Path, *, words: str = "Yes yes no", **changes: Any) -> int:
    """A byte-level BPE that knows these words beside bytes and Qwen's marks; returns the size of its vocabulary."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    marks = ["<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=marks, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator([*words.split(), " the", " and", " query", " passage"] * 9, trainer)
    settings = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "padding_side": "right"}
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers has no annotation
        tokenizer_object=core, model_max_length=POSITIONS, extra_special_tokens=marks[3:], **(settings | changes)
    ).save_pretrained(folder)
    return core.get_vocab_size()


def save_gemma(folder: Path, *, sliding_window: int | None = None, **tokenizer: Any) -> Path:
    """Gemma, or the second with its window of attention."""
    torch.manual_seed(0)
    sizes = {**SIZES, "vocab_size": save_tokenizer(folder, **tokenizer), "num_hidden_layers": 2}
    if sliding_window is None:
        GemmaForCausalLM(GemmaConfig(**sizes)).save_pretrained(folder)
    else:
        Gemma2ForCausalLM(Gemma2Config(**sizes, sliding_window=sliding_window)).save_pretrained(folder)
    return folder


def save_qwen(folder: Path, *, words: str = "Yes yes no", tie: bool = False) -> Path:
    torch.manual_seed(0)
    sizes = {**SIZES, "vocab_size": save_tokenizer(folder, words=words), "num_hidden_layers": 2}
    Qwen3ForCausalLM(Qwen3Config(**sizes, tie_word_embeddings=tie)).save_pretrained(folder)
    return folder


def save_layers(folder: Path, code: str = CODE, **tokenizer: Any) -> Path:
    """A model with a head of its own after each of the last three of four layers, by its repository's code."""
    own: dict[str, Any] = {}
    exec(CODE, own)  # noqa: S102 -- what transformers does with the file
    torch.manual_seed(0)
    sizes = {**SIZES, "vocab_size": save_tokenizer(folder, **tokenizer), "num_hidden_layers": 4}
    own["OwnForCausalLM"](own["OwnConfig"](**sizes)).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write(folder / "config.json", {**config, "auto_map": OWN_NAMES})
    (folder / "own.py").write_text(code, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cards, and a model for each of them in a folder of its name."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "cards.toml").write_text(CARDS, encoding="utf-8")
    save_gemma(folder / "yes")
    save_qwen(folder / "qwen")
    save_layers(folder / "layers")
    return folder


def options(home: Path, template: str, **changes: Any) -> ModelOptions:
    usual = {"like": f"test/{template}", "cards": home / "cards.toml", "trust_remote_code": template == "layers"}
    return ModelOptions(**{**usual, "max_length": 400 if template == "qwen" else 64, **changes})


def opened(folder: Path, options: ModelOptions, **execution: Any) -> PipelineBackend:
    backend: PipelineBackend = open_backend(resolve_model(str(folder), options), Execution(device="cpu", **execution))
    return backend


def scores(folder: Path, options: ModelOptions, pairs: Any = PAIRS, **execution: Any) -> NDArray[np.float32]:
    spec = resolve_model(str(folder), options).spec
    pair_model = PairModel(spec, opened(folder, options, **execution), device="cpu")
    return pair_model.score_pairs([Pair(*pair) for pair in pairs], None, ignore_event)


def mteb_scores(folder: Path, max_length: int) -> list[float]:
    reference = Qwen3RerankerWrapper(str(folder), device="cpu", max_length=max_length)
    texts = [reference.format_instruction(None, query, document) for query, document in PAIRS]
    return reference.compute_logits(reference.process_inputs(texts))


@pytest.mark.parametrize(("side", "window"), [("left", None), ("right", 16)])
def test_yes_logits_equal_flag_embedding(tmp_path: Path, home: Path, side: str, window: int | None) -> None:
    folder = save_gemma(tmp_path / "m", padding_side=side, sliding_window=window)
    reference = FlagLLMReranker(str(folder), use_fp16=False, devices="cpu")
    for length in (1, 2, 5, 8, 64, 600):
        wanted = reference.compute_score(PAIRS, batch_size=4, max_length=length)
        found = scores(folder, options(home, "yes", max_length=length))
        np.testing.assert_allclose(found, wanted, atol=1e-5, err_msg=f"{length} tokens")
        # shorter than that, nothing of a pair is left
        assert np.std(wanted) > 0.01 or length < 5


@pytest.mark.parametrize("begin", [None, "<pad>"])
def test_without_a_token_of_its_own_for_the_beginning_none_is_put_before(
    tmp_path: Path, home: Path, begin: str | None
) -> None:
    folder = save_gemma(tmp_path / "m", bos_token=begin)
    wanted = FlagLLMReranker(str(folder), use_fp16=False, devices="cpu", max_length=64).compute_score(PAIRS)
    found = scores(folder, options(home, "yes"))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(found - scores(home / "yes", options(home, "yes"))).max() > 0.01


@pytest.mark.parametrize(("length", "tie"), [(400, False), (1024, True)])
def test_qwen3_scores_equal_mteb(tmp_path: Path, home: Path, length: int, tie: bool) -> None:
    folder = save_qwen(tmp_path / "m", tie=tie)
    wanted = mteb_scores(folder, length)
    found = scores(folder, options(home, "qwen", max_length=length))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.std(wanted) > 0.01
    assert 0 < found.min() < found.max() < 1


def test_qwen3_reads_the_instruction_in_its_place(home: Path) -> None:
    model = resolve_model(str(home / "qwen"), options(home, "qwen", max_length=1024))
    pairs = [Pair(*pair, instruction) for pair in PAIRS for instruction in ("find ferns", "", None)]
    found = PairModel(model.spec, open_backend(model, Execution()), device="cpu").score_pairs(pairs, None, ignore_event)
    reference = Qwen3RerankerWrapper(str(home / "qwen"), device="cpu", max_length=1024)
    texts = [reference.format_instruction(pair.instruction, pair.query, pair.document) for pair in pairs]
    wanted = reference.compute_logits(reference.process_inputs(texts))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert len(set(np.round(found[:3], 6))) == 3


def test_qwen3_needs_room_for_a_pair(home: Path) -> None:
    tokenizer = Qwen3RerankerWrapper(str(home / "qwen"), device="cpu")
    least = len(tokenizer.prefix_tokens) + len(tokenizer.suffix_tokens)
    with pytest.raises(
        ModelError, match=f"length of {least} tokens leaves no room for a pair, .* take {least}; give a gr"
    ):
        scores(home / "qwen", options(home, "qwen", max_length=least))
    found = scores(home / "qwen", options(home, "qwen", max_length=least + 1))
    np.testing.assert_allclose(found, mteb_scores(home / "qwen", least + 1), atol=1e-5)


@pytest.mark.parametrize(("side", "layer"), [("left", None), ("right", 2), ("left", 3), ("right", 4)])
def test_scores_of_layers_equal_flag_embedding(tmp_path: Path, home: Path, side: str, layer: int | None) -> None:
    folder = save_layers(tmp_path / "m", padding_side=side)
    reference = LayerWiseFlagLLMReranker(
        str(folder), use_fp16=False, devices="cpu", max_length=64, trust_remote_code=True, cutoff_layers=[layer or 4]
    )
    assert type(reference.model).__name__ == "OwnForCausalLM"
    wanted = reference.compute_score(PAIRS, batch_size=4)
    found = scores(folder, options(home, "layers", cutoff_layer=layer))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.std(wanted) > 0.1


def test_the_layer_changes_scores_and_is_part_of_what_identifies_them(home: Path) -> None:
    found = [scores(home / "layers", options(home, "layers", cutoff_layer=layer)) for layer in (2, 3, None)]
    assert np.abs(found[0] - found[1]).max() > 0.01
    assert np.abs(found[1] - found[2]).max() > 0.01
    identities = [opened(home / "layers", options(home, "layers", cutoff_layer=n)).identity for n in (2, None, 4)]
    assert [identity["cutoff_layer"] for identity in identities] == [2, 4, 4]
    assert identities[1] == identities[2]


def test_the_template_is_part_of_what_identifies_scores(home: Path) -> None:
    identities = [opened(home / "qwen", options(home, template)).identity for template in ("yes", "qwen")]
    assert [identity["pair_template"] for identity in identities] == ["yes-logit", "qwen3"]
    assert {identity["backend"] for identity in identities} == {"llm-reranker"}


@pytest.mark.parametrize("template", ["yes", "qwen", "layers"])
def test_the_contract_of_rerankers(home: Path, template: str) -> None:
    model = resolve_model(str(home / template), options(home, template))
    check_pair_contract(lambda run: PairModel(model.spec, open_backend(model, run), device="cpu"))


def test_padding_moves_no_text_of_a_model_with_learned_positions(tmp_path: Path, home: Path) -> None:
    torch.manual_seed(0)
    folder = tmp_path / "neo"
    words = save_tokenizer(folder)
    sizes: dict[str, Any] = {"attention_types": [[["global"], 2]], "num_layers": 2, "num_heads": 4, "hidden_size": 32}
    config = GPTNeoConfig(vocab_size=words, initializer_range=0.3, max_position_embeddings=POSITIONS, **sizes)
    GPTNeoForCausalLM(config).save_pretrained(folder)
    alone = scores(folder, options(home, "yes"), batch_tokens=1)
    np.testing.assert_allclose(scores(folder, options(home, "yes"), batch_tokens=100_000), alone, atol=1e-5)


@pytest.mark.parametrize(
    ("template", "length", "cut"), [("yes", 13, 2), ("yes", 64, 1), ("qwen", 400, 1), ("qwen", 1024, 0)]
)
def test_pairs_that_were_cut_are_counted(home: Path, template: str, length: int, cut: int) -> None:
    chosen = options(home, template, max_length=length)
    spec = resolve_model(str(home / "qwen"), chosen).spec
    events: list[EncodeEvent] = []
    pairs = [Pair("abcdefghijkl", "mnopqrstuvw"), Pair("a", ""), Pair("a", "b " * 200)]
    PairModel(spec, opened(home / "qwen", chosen), device="cpu").score_pairs(pairs, None, events.append)
    notes = [event for event in events if isinstance(event, EncodeNote)]
    assert notes == ([EncodeNote("truncated", f"texts cut to {length} tokens", cut)] if cut else [])
    done = [event for event in events if isinstance(event, TextsEncoded)]
    assert sum(event.count for event in done) == len(pairs)
    assert all(event.tokens >= event.count for event in done)


def test_without_a_limit_nothing_is_cut(home: Path) -> None:
    text = join_pair(Pair(*PAIRS[1]))
    for template in ("yes", "qwen"):
        chosen = options(home, template, max_length=POSITIONS)
        usual = encoding(resolve_model(str(home / "qwen"), chosen).spec, None, None)
        backend = opened(home / "qwen", chosen)
        unlimited = backend.encode([text], usual.model_copy(update={"max_length": None}), ignore_event)
        np.testing.assert_array_equal(unlimited.vectors, backend.encode([text], usual, ignore_event).vectors)
        assert unlimited.truncated is not None
        assert not unlimited.truncated.any()


def test_only_the_last_position_gets_logits(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plain = torch.nn.Linear.forward

    def watch(self: torch.nn.Linear, inputs: torch.Tensor) -> torch.Tensor:
        if self.out_features > 200:
            seen.append(inputs.shape[1])
        return plain(self, inputs)

    monkeypatch.setattr(torch.nn.Linear, "forward", watch)
    scores(home / "qwen", options(home, "yes"))
    assert set(seen) == {1}


def test_half_precision_is_near(home: Path) -> None:
    found = scores(home / "qwen", options(home, "qwen", dtype="bfloat16"))
    difference = np.abs(found - scores(home / "qwen", options(home, "qwen"))).max()
    assert 0 < difference < 0.3


def test_a_model_without_a_template_names_the_cards_that_have_one(home: Path) -> None:
    bare = ModelOptions(backend="llm-reranker", cards=home / "cards.toml", max_length=64)
    with pytest.raises(
        ModelError,
        match=r"local/qwen: nothing tells how .* give --like the model .* test/layers, .*Qwen/Qwen3-Reranker",
    ):
        opened(home / "qwen", bare)


def test_what_is_no_language_model_is_refused(tmp_path: Path, home: Path) -> None:
    with pytest.raises(ModelError, match=r"bert is no causal .* \(it is BertModel; expected \.\.\.ForCausalLM\).* no$"):
        opened(save_bert(tmp_path / "bert"), options(home, "yes"))
    with pytest.raises(ModelError, match=r"BertForSequenceClassification; .*has a classification head: .* cross-enc"):
        opened(save_cross_encoder(tmp_path / "head"), options(home, "yes"))


def test_words_that_the_tokenizer_lacks_are_named(tmp_path: Path, home: Path) -> None:
    with pytest.raises(ModelError, match='local/a: its tokenizer has no single token for "Yes", which its scores'):
        opened(save_qwen(tmp_path / "a", words="yes no"), options(home, "yes"))
    with pytest.raises(ModelError, match='local/b: its tokenizer has no single token for "no" and "yes", which'):
        opened(save_qwen(tmp_path / "b", words="Yes"), options(home, "qwen"))


def test_a_head_that_is_not_in_the_weight_file_is_an_error(tmp_path: Path, home: Path) -> None:
    folder = save_qwen(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if k != "lm_head.weight"}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"lacks layers that take part in the result: lm_head\.weight"):
        opened(folder, options(home, "yes"))


def test_layers_that_do_not_exist_are_refused(home: Path) -> None:
    for layer in (0, 1, 5):
        with pytest.raises(ModelError, match=f"local/layers: there is no score of layer {layer}; expected 2 to 4"):
            opened(home / "layers", options(home, "layers", cutoff_layer=layer))
    with pytest.raises(ModelError, match=r"local/yes: only layer-wise rerankers have .* leave --cutoff-layer out"):
        opened(home / "yes", options(home, "yes", cutoff_layer=2))


def test_layerwise_models_need_their_own_code(home: Path) -> None:
    with pytest.raises(ModelError, match=r"local/layers runs Python code of its own .* --trust-remote-code"):
        opened(home / "layers", options(home, "layers", trust_remote_code=False))
    with pytest.raises(ModelError, match=r"local/yes runs Python code of its own .* --trust-remote-code"):
        opened(home / "yes", options(home, "layers", trust_remote_code=False))
    with pytest.raises(ModelError, match="GemmaForCausalLM takes no cutoff_layers, so it is no layer-wise reranker"):
        opened(home / "yes", options(home, "layers"))


def test_layerwise_models_need_a_token_for_the_beginning(tmp_path: Path, home: Path) -> None:
    with pytest.raises(ModelError, match=r"local/m: its tokenizer has no token for the beginning .*\(bos_token\)"):
        opened(save_layers(tmp_path / "m", bos_token=None), options(home, "layers"))


@pytest.mark.parametrize("place", ["class OwnForCausalLM", "        super().__init__"])
def test_own_code_that_does_not_run_is_an_error(tmp_path: Path, home: Path, place: str) -> None:
    indent = " " * (len(place) - len(place.lstrip()))
    gone = CODE.replace(place, f"{indent}from transformers.utils import gone_since\n{place}")
    with pytest.raises(ModelError, match=r"local/old: the Python code of .* run with transformers 5\..*gone_since"):
        opened(save_layers(tmp_path / "old", gone), options(home, "layers"))


def test_own_code_that_gives_something_else_is_an_error(tmp_path: Path, home: Path) -> None:
    folder = save_layers(tmp_path / "m", CODE.replace("scores[:, :, 0] for", "scores for"))
    with pytest.raises(ModelError, match=r"gave logits of shape \(1, \d+, 1\) for layer 4; .* per token, \(1, \d+\)"):
        scores(folder, options(home, "layers"), PAIRS[:1])


@pytest.mark.parametrize("template", ["yes", "qwen", "layers"])
def test_another_engine_that_holds_it_runs_it(home: Path, monkeypatch: pytest.MonkeyPatch, template: str) -> None:
    add_second_engine(monkeypatch)
    other = options(home, template, backend=SECOND)
    identity = opened(home / template, options(home, template)).identity
    found = opened(home / template, other).identity
    assert {**found, "matmul_precision": "highest"} == {**identity, "backend": SECOND}
    np.testing.assert_array_equal(scores(home / template, other), scores(home / template, options(home, template)))
