"""Batches without padding give what padded ones give; a plain kernel stands for those that need a GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.contract import PAIRS, PROMPT, TEXTS
from support.tiny import save_bert, save_cross_encoder, save_decoder, save_m3, save_sentence_model, save_t5
from support.unpadded import LENGTHS, batch, configs, made

from evalharness.models.engines import torch as torch_engine
from evalharness.models.engines import torch_attention, torch_unpadded
from evalharness.models.engines.torch_attention import Seen, Spans, find_kernel, flash_attn, reference, torch_kernel
from evalharness.models.engines.torch_unpadded import ARCHITECTURES, Unpadded, tried
from evalharness.models.loading import ModelOptions, ResolvedModel, resolve_model
from evalharness.models.opening import open_backend
from evalharness.models.options import Execution
from evalharness.models.prompts import encoding
from evalharness.models.rankers import Pair, join_pair
from evalharness.ranking.multipart import unpack
from evalharness.types import POOLINGS, Dense, MultiPart, ignore_event

HEADS = [name for name in ARCHITECTURES if name != "electra"]


def outputs(config: Any, *, head: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a padded batch, with padding and without."""
    model, inputs = made(config, head=head), batch(config.pad_token_id)
    output = "logits" if head else "last_hidden_state"
    with torch.inference_mode():
        padded = getattr(model(**inputs), output)
        unpadded = Unpadded(model, reference)
        found = getattr(unpadded.run(inputs, unpadded.packed(inputs)), output)
        unpadded.take_off()
        assert torch.equal(getattr(model(**inputs), output), padded)
    return padded, found


def test_every_architecture_is_tried_here() -> None:
    assert set(configs()) == set(ARCHITECTURES)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_states_are_those_of_padded_batches(name: str) -> None:
    padded, found = outputs(configs()[name], head=False)
    for row, length in enumerate(LENGTHS):
        assert torch.allclose(found[row, :length], padded[row, :length], atol=1e-5, rtol=0)
        assert not found[row, length:].any()
    # texts do differ
    assert (padded[1, :4] - padded[2, :4]).abs().max() > 0.1


@pytest.mark.parametrize("name", HEADS)
def test_scores_are_those_of_padded_batches(name: str) -> None:
    padded, found = outputs(configs()[name], head=True)
    assert torch.allclose(found, padded, atol=1e-5, rtol=1e-5)
    assert padded.std() > 0.01


def test_a_pooler_sees_the_first_token_of_each_text() -> None:
    model, inputs = made(configs()["bert"]), batch(0)
    with torch.inference_mode():
        wanted = model(**inputs).pooler_output
        unpadded = Unpadded(model, reference)
        found = unpadded.run(inputs, unpadded.packed(inputs)).pooler_output
    assert torch.allclose(found, wanted, atol=1e-5)


def test_padding_inside_a_text_and_token_types_keep_their_positions() -> None:
    config = configs()["xlm-roberta"]
    model, inputs = made(config), dict(batch(config.pad_token_id))
    inputs["input_ids"][2, 3] = config.pad_token_id
    bert = configs()["bert"]
    types = torch.zeros_like(inputs["input_ids"])
    types[:, 5:] = 1
    for tried_model, given in ((model, inputs), (made(bert), {**batch(0), "token_type_ids": types})):
        with torch.inference_mode():
            wanted = tried_model(**given).last_hidden_state
            unpadded = Unpadded(tried_model, reference)
            found = unpadded.run(given, unpadded.packed(given)).last_hidden_state
        mask = given["attention_mask"][:, :, None]
        assert torch.allclose(found * mask, wanted * mask, atol=1e-5)


def test_a_text_of_no_token_has_finite_states() -> None:
    model, inputs = made(configs()["bert"]), batch(0, (7, 0))
    unpadded = Unpadded(model, reference)
    with torch.inference_mode():
        assert unpadded.run(inputs, unpadded.packed(inputs)).last_hidden_state.isfinite().all()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The plain kernel wherever models are opened; counts its calls."""
    calls: list[int] = []

    def counted(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, seen: Seen) -> torch.Tensor:
        calls.append(len(spans.ends) - 1)
        return reference(query, key, value, spans, seen)

    monkeypatch.setattr(torch_engine, "find_kernel", lambda *_: counted)
    return calls


def resolved(folder: Path, **options: Any) -> ResolvedModel:
    return resolve_model(str(folder), ModelOptions(**options))


def numbers(model: ResolvedModel) -> list[NDArray[np.float32]]:
    """All that comes out: a row per text, or per pair."""
    texts = [join_pair(Pair(*pair)) for pair in PAIRS] if model.spec.kind == "reranker" else TEXTS
    found = open_backend(model, Execution(device="cpu")).encode(texts, encoding(model.spec, None, None), ignore_event)
    if isinstance(found, Dense):
        return list(found.vectors)
    assert isinstance(found, MultiPart)
    rows = [unpack(row) for row in found.source.load()]
    assert all(len(row.tokens) for row in rows[:1])
    return [np.concatenate([row.dense, row.weights, row.vectors.ravel()]) for row in rows]


def largest_difference(left: list[NDArray[np.float32]], right: list[NDArray[np.float32]]) -> float:
    assert [len(row) for row in left] == [len(row) for row in right]
    return max(float(np.abs(a - b).max(initial=0)) for a, b in zip(left, right, strict=True))


M3 = {"like": "BAAI/bge-m3", "max_length": 64}
MODELS: list[tuple[Callable[[Path], Path], dict[str, Any]]] = [
    *((save_bert, {"pooling": pooling}) for pooling in POOLINGS if pooling != "own"),
    (save_sentence_model, {"query_prompt": PROMPT}),
    (lambda folder: save_decoder(folder, "lasttoken"), {}),
    (lambda folder: save_decoder(folder, "weightedmean"), {}),
    (save_m3, M3),
    (save_m3, {**M3, "mode": "dense+sparse+multi-vector"}),
    (save_cross_encoder, {}),
]


@pytest.mark.parametrize("number", range(len(MODELS)))
def test_every_kind_gives_the_same_without_padding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: list[int], number: int
) -> None:
    save, options = MODELS[number]
    model = resolved(save(tmp_path / "m"), **options)
    found = numbers(model)
    assert max(kernel) >= min(len(TEXTS), len(PAIRS)) - 1
    identity = open_backend(model, Execution(device="cpu")).identity
    assert identity["attention"] == "unpadded"
    kernel.clear()
    monkeypatch.setattr(torch_engine, "find_kernel", find_kernel)
    wanted = numbers(model)
    assert not kernel
    assert largest_difference(found, wanted) <= 2e-6
    without = {key: value for key, value in identity.items() if key != "attention"}
    assert open_backend(model, Execution(device="cpu")).identity == without


def test_an_architecture_that_nobody_tried_stays_padded(tmp_path: Path, kernel: list[int]) -> None:
    model = resolved(save_t5(tmp_path / "m"))
    assert "attention" not in open_backend(model, Execution(device="cpu")).identity
    assert not kernel


def wrong(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, seen: Seen) -> torch.Tensor:
    """As if all texts were one."""
    whole = torch.tensor([0, len(query)], dtype=torch.int32)
    return reference(query, key, value, Spans(whole, len(query)), seen)


def failing(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, spans: Spans, seen: Seen) -> torch.Tensor:
    raise RuntimeError("head size 20 is not supported")


@pytest.mark.parametrize("other", [wrong, failing])
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("name", ["bert", "qwen3"])
def test_a_model_that_gives_other_numbers_or_fails_is_left_as_it_was(name: str, head: bool, other: Any) -> None:
    config = configs()[name]
    model, inputs = made(config, head=head), batch(config.pad_token_id)
    output = "logits" if head else "last_hidden_state"
    with torch.inference_mode():
        wanted = getattr(model(**inputs), output)
        assert tried(model, other, inputs, output) is None
        assert torch.equal(getattr(model(**inputs), output), wanted)
        assert tried(model, reference, inputs, output) is not None


def test_what_no_kernel_can_do_is_refused() -> None:
    attend = torch_attention.Attention(reference).attend
    query = torch.zeros(1, 2, 3, 8)
    spans = {"cu_seq_lens_q": torch.tensor([0, 3]), "max_length_q": 3}
    with pytest.raises(NotImplementedError, match="softcap"):
        attend(torch.nn.Identity(), query, query, query, None, softcap=1.0, **spans)
    with pytest.raises(NotImplementedError, match="mask"):
        attend(torch.nn.Identity(), query, query, query, torch.zeros(1), **spans)


def test_no_kernel_is_chosen_where_none_runs() -> None:
    assert find_kernel("cpu", torch.float32) is None
    assert find_kernel("cpu", torch.bfloat16) is None
    assert find_kernel("cuda", torch.float32) is None


def heads(kv: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Spans]:
    torch.manual_seed(0)
    spans = Spans(torch.tensor([0, 5, 6, 16], dtype=torch.int32), 10)
    return torch.randn(16, 4, 8), torch.randn(16, kv, 8), torch.randn(16, kv, 8), spans


def plain(query: Any, key: Any, value: Any, ends: Any, window: tuple[int, int], scale: float) -> torch.Tensor:
    """As flash attention defines it, by a loop over tokens."""
    found = torch.empty_like(query)
    key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], dim=1) for part in (key, value))
    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        for place in range(start, end):
            first = start if window[0] < 0 else max(start, place - window[0])
            last = end if window[1] < 0 else min(end, place + window[1] + 1)
            weights = torch.einsum("hd,khd->hk", query[place], key[first:last]) * scale
            found[place] = torch.einsum("hk,khd->hd", weights.softmax(dim=1), value[first:last])
    return found


VARLEN = "torch.nn.attention.varlen"
SEENS = [Seen(0.5, None, None), Seen(0.5, None, 0), Seen(0.5, 2, 2), Seen(0.3, 3, 0)]


@pytest.mark.parametrize("seen", SEENS)
def test_the_plain_kernel_attends_to_what_is_seen(seen: Seen) -> None:
    query, key, value, spans = heads()
    window = (-1 if seen.before is None else seen.before, -1 if seen.after is None else seen.after)
    found = reference(query, key, value, spans, seen)
    assert torch.allclose(found, plain(query, key, value, spans.ends, window, seen.scale), atol=1e-6)


# in the forms of torch 2.13, 2.11 and 2.10
def newest(  # noqa: PLR0917 -- as torch has them
    query: Any,
    key: Any,
    value: Any,
    cu_seq_q: Any,
    cu_seq_k: Any,
    max_q: int,
    max_k: int,
    *,
    scale: Any = None,
    window_size: Any = (-1, -1),
    enable_gqa: bool = False,
) -> Any:
    assert enable_gqa or query.shape[1] == key.shape[1]
    assert (max_q, max_k) == (10, 10)
    assert cu_seq_q is cu_seq_k
    return plain(query, key, value, cu_seq_q, window_size, scale)


def middle(  # noqa: PLR0917 -- as torch has them
    query: Any,
    key: Any,
    value: Any,
    cu_seq_q: Any,
    cu_seq_k: Any,
    max_q: int,
    max_k: int,
    *,
    scale: Any = None,
    window_size: Any = (-1, -1),
) -> Any:
    assert query.shape[1] == key.shape[1]
    return newest(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, scale=scale, window_size=window_size)


def oldest(  # noqa: PLR0917 -- as torch has them
    query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int, is_causal: Any = None
) -> Any:
    window = (-1, 0) if is_causal else (-1, -1)
    return middle(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, scale=8**-0.5, window_size=window)


@pytest.mark.parametrize("function", [newest, middle, oldest])
@pytest.mark.parametrize("seen", SEENS)
def test_every_form_of_torch_s_varlen_gets_what_it_takes(
    monkeypatch: pytest.MonkeyPatch, function: Any, seen: Seen
) -> None:
    module: Any = ModuleType(VARLEN)
    module.varlen_attn = function
    monkeypatch.setitem(sys.modules, VARLEN, module)
    given = heads()
    if function is oldest and seen.before is not None:
        with pytest.raises(NotImplementedError):
            torch_kernel()(*given, seen)
        return
    assert torch.allclose(torch_kernel()(*given, seen), reference(*given, seen), atol=1e-6)


@pytest.mark.parametrize("seen", SEENS)
def test_the_flash_attn_package_gets_what_it_takes(monkeypatch: pytest.MonkeyPatch, seen: Seen) -> None:
    def function(  # noqa: PLR0917 -- as torch has them
        query: Any,
        key: Any,
        value: Any,
        cu_seqlens_q: Any,
        cu_seqlens_k: Any,
        max_seqlen_q: int,
        max_seqlen_k: int,
        *,
        softmax_scale: float,
        causal: bool,
        window_size: tuple[int, int],
    ) -> Any:
        assert causal == (window_size[1] == 0)
        assert (max_seqlen_q, max_seqlen_k) == (10, 10)
        assert cu_seqlens_q is cu_seqlens_k
        return plain(query, key, value, cu_seqlens_q, window_size, softmax_scale)

    module: Any = ModuleType("flash_attn")
    module.flash_attn_varlen_func = function
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    given = heads()
    assert torch.allclose(flash_attn(*given, seen), reference(*given, seen), atol=1e-6)


def test_the_installed_torch_has_options_that_are_known() -> None:
    module = pytest.importorskip(VARLEN, reason="this torch has no varlen_attn")
    takes = set(signature(module.varlen_attn).parameters)
    assert takes >= {"query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"}
    assert "window_size" in takes or "is_causal" in takes


def test_trial_texts_are_of_many_lengths() -> None:
    counts = [len(text.split()) for text in torch_unpadded.TRIAL_TEXTS]
    assert counts == sorted(set(counts))
    assert counts[0] == 0
    # ModernBERT's windows
    assert counts[-1] > 128
    assert np.diff(counts).min() > 0
