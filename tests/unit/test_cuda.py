"""On a GPU: vectors and scores are those of the CPU, in every precision, without padding and with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.tiny import save_bert, save_cross_encoder, save_decoder, save_m3, save_sentence_model, save_t5
from support.unpadded import LENGTHS, batch, configs, made

from evalharness.models.engines import torch as torch_engine
from evalharness.models.engines.torch_attention import Seen, Spans, find_kernel, reference
from evalharness.models.engines.torch_unpadded import ARCHITECTURES, Unpadded, tried
from evalharness.models.forward.batches import BatchRunner
from evalharness.models.loading import ModelOptions, ResolvedModel, resolve_model
from evalharness.models.opening import open_backend
from evalharness.models.options import Execution
from evalharness.models.prompts import encoding
from evalharness.models.rankers import Pair, join_pair
from evalharness.ranking.multipart import unpack
from evalharness.types import Dense, EncodeNote, MultiPart, ignore_event

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")

HALF = (torch.bfloat16, torch.float16)
# as far as rounding may take a state, against its text's length
CLOSE = {torch.bfloat16: 3e-2, torch.float16: 4e-3}
M3 = {"like": "BAAI/bge-m3", "max_length": 64}
MODELS: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "cls": (save_sentence_model, {}),
    "mean": (save_bert, {"pooling": "mean"}),
    "lasttoken": (lambda folder: save_decoder(folder, "lasttoken"), {}),
    "t5": (save_t5, {}),
    "m3": (save_m3, {**M3, "mode": "dense+sparse+multi-vector"}),
    "cross-encoder": (save_cross_encoder, {}),
}
TEXTS = ["", "a", "ferns grow in the shade", "7 stones, 3 rivers?", "x " * 60, "in the shade of stones", "b", "a"]


def resolved(folder: Path, **options: Any) -> ResolvedModel:
    return resolve_model(str(folder), ModelOptions(**options))


def rows(model: ResolvedModel, device: str, batch_tokens: int | None = None) -> list[NDArray[np.float32]]:
    """All that comes out that is a number of its own: a row per text, or per pair."""
    texts = [join_pair(Pair(text, TEXTS[2])) for text in TEXTS] if model.spec.kind == "reranker" else TEXTS
    backend = open_backend(model, Execution(device=device, batch_tokens=batch_tokens))
    found = backend.encode(texts, encoding(model.spec, None, None), ignore_event)
    if isinstance(found, Dense):
        return list(found.vectors)
    assert isinstance(found, MultiPart)
    parts = [unpack(row) for row in found.source.load()]
    return [np.concatenate([part.dense, part.vectors.ravel()]) for part in parts]


def difference(found: list[NDArray[np.float32]], wanted: list[NDArray[np.float32]]) -> float:
    assert [len(row) for row in found] == [len(row) for row in wanted]
    assert all(np.isfinite(row).all() for row in found)
    lengths = [max(float(np.linalg.norm(row)), 1.0 if len(row) == 1 else 1e-9) for row in wanted]
    return max(float(np.linalg.norm(a - b)) / n for a, b, n in zip(found, wanted, lengths, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_float32_is_that_of_the_cpu(tmp_path: Path, name: str) -> None:
    save, options = MODELS[name]
    model = resolved(save(tmp_path / "m"), **options)
    assert difference(rows(model, "cuda"), rows(model, "cpu")) < 1e-5
    # no short cut of the hardware's
    assert not torch.backends.cuda.matmul.allow_tf32
    # the same model, so the same stored vectors are found
    identities = [open_backend(model, Execution(device=device, engine="torch")).identity for device in ("cuda", "cpu")]
    assert identities[0] == identities[1]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", MODELS)
def test_half_precision_is_near_float32_of_the_cpu(tmp_path: Path, name: str, precision: Any) -> None:
    save, options = MODELS[name]
    folder = save(tmp_path / "m")
    half = resolved(folder, dtype=precision, **options)
    wanted = rows(resolved(folder, **options), "cpu")
    bound = 4 * CLOSE[getattr(torch, precision)]
    assert difference(rows(half, "cuda"), wanted) < bound
    # many small batches, two of them at once
    assert difference(rows(half, "cuda", 40), wanted) < bound
    attention = open_backend(half, Execution(device="cuda")).identity.get("attention")
    has_kernel = find_kernel("cuda", getattr(torch, precision)) is not None
    assert attention == ("unpadded" if has_kernel and name != "t5" else None)


def test_half_precision_without_a_kernel_is_padded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_sentence_model(tmp_path / "m")
    wanted = rows(resolved(folder), "cpu")
    monkeypatch.setattr(torch_engine, "find_kernel", lambda *_: None)
    half = resolved(folder, dtype="bfloat16")
    assert "attention" not in open_backend(half, Execution(device="cuda")).identity
    assert difference(rows(half, "cuda"), wanted) < 4 * CLOSE[torch.bfloat16]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_runs_without_padding(name: str, dtype: torch.dtype) -> None:
    kernel = find_kernel("cuda", dtype)
    if kernel is None:
        pytest.skip("this torch has no kernel for texts without padding, and flash-attn is not installed")
    config = configs()[name]
    exact, inputs = made(config), batch(config.pad_token_id)
    with torch.inference_mode():
        wanted = exact(**inputs).last_hidden_state
        half = exact.to("cuda", dtype)
        unpadded = Unpadded(half, kernel)
        found = unpadded.run(inputs, unpadded.packed(inputs)).last_hidden_state.float().cpu()
        unpadded.take_off()
        assert tried(half, kernel, inputs, "last_hidden_state") is not None
    assert found.isfinite().all()
    for row, length in enumerate(LENGTHS):
        part, whole = found[row, :length], wanted[row, :length]
        # a wrong neighbour changes more than half of a text's states
        assert float((part - whole).norm() / whole.norm()) < 4 * CLOSE[dtype]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("size", [8, 32, 64, 128])
@pytest.mark.parametrize("kv", [1, 2, 4])
@pytest.mark.parametrize("seen", [Seen(0.2, None, None), Seen(0.2, None, 0), Seen(0.2, 2, 2), Seen(0.2, 3, 0)])
def test_the_kernel_is_the_plain_one(dtype: torch.dtype, size: int, kv: int, seen: Seen) -> None:
    kernel = find_kernel("cuda", dtype)
    if kernel is None:
        pytest.skip("as above")
    torch.manual_seed(0)
    spans = Spans(torch.tensor([0, 5, 6, 6, 40, 140], dtype=torch.int32, device="cuda"), 100)
    query, key, value = (torch.randn(140, heads, size, device="cuda", dtype=dtype) for heads in (4, kv, kv))
    found = kernel(query, key, value, spans, seen).float()
    wanted = reference(query.float(), key.float(), value.float(), spans, seen)
    assert float((found - wanted).norm() / wanted.norm()) < CLOSE[dtype]


def test_a_batch_that_is_too_large_goes_in_halves() -> None:
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    # of float32, so that eight texts fit and sixteen do not
    each = free // 4 // 12

    def forward(part: dict[str, list[Any]]) -> NDArray[np.float32]:
        texts = len(part["input_ids"])
        room = torch.empty(texts, each, device="cuda")
        return room[:, :1].zero_().cpu().numpy() + np.array([[ids[0]] for ids in part["input_ids"]], dtype=np.float32)

    notes: list[Any] = []
    tokens = {"input_ids": [[number] for number in range(32)]}
    found: dict[int, float] = {}
    for done in BatchRunner("m", "cuda", 16).run(tokens, forward, notes.append):
        found |= {place: float(row[0]) for place, row in zip(done.places, done.rows, strict=True)}
    torch.cuda.empty_cache()
    assert found == {number: float(number) for number in range(32)}
    assert any(isinstance(note, EncodeNote) and note.kind == "batch_shrunk" for note in notes)
