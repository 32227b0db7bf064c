"""bge-m3 on torch: dense, sparse and multi-vectors of a text from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evalharness.errors import ModelError
from evalharness.journal import NO_JOURNAL, Journal
from evalharness.models.backends import M3_HEADS, ResolvedModel
from evalharness.models.batches import BatchRunner, blocks, choose_device, precision, same_tokens
from evalharness.models.company import company_facts, computes_exactly, find_company
from evalharness.models.loading import check_runs, check_settings, embedding_rows, load_encoder, load_pickle
from evalharness.models.tokens import PromptTokenizer
from evalharness.models.transformers import TransformersBackend, pool
from evalharness.models.vocabulary import load_tokenizer
from evalharness.multipart import PackedArrays, Parts, pack
from evalharness.types import Embeddings, Emit, Encoding, Execution, MultiPart, Output, TextsEncoded

# their weights say nothing of the text
_SPECIAL = ("cls_token", "eos_token", "pad_token", "unk_token")


class M3Backend:
    """A `TextEncoder` around bge-m3's encoder and its two heads.

    Attributes:
        device: torch device name.
        identity: what of the backend can change a vector, apart from the model and the encoding.
    """

    def __init__(self, model: ResolvedModel, execution: Execution) -> None:
        self.device = choose_device(execution.device)
        self._name = model.spec.name
        check_settings(model)
        self._tokens = PromptTokenizer(model)
        self.identity = {"backend": "m3", **precision(model.spec.dtype, self.device), **self._tokens.identity}
        self._model = load_encoder(model).to(self.device).eval()
        self._tokens.check_vocabulary(embedding_rows(self._model))
        tokenizer = load_tokenizer(model)
        named = (getattr(tokenizer, name, None) for name in _SPECIAL)
        self._special = {tokenizer.convert_tokens_to_ids(token) for token in named if token is not None}
        wanted = [output for output in model.spec.outputs if output in M3_HEADS]
        self._heads = {output: _load_head(model, output).to(self.device) for output in wanted}
        check_runs(model, self._run_once)
        trial = self._tokens.trial(
            lambda inputs: self._model(**inputs).last_hidden_state, self.device, is_exact=computes_exactly(model)
        )
        company = find_company(model, trial)
        self.identity |= company_facts(company)
        self._runner = BatchRunner(self._name, self.device, execution.batch_tokens, company)

    def _run_once(self) -> torch.Tensor:
        hidden = self._tokens.run(self._model, self.device)
        return torch.cat([hidden, *(head(hidden) for head in self._heads.values())], dim=2)

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        """Encode texts; row i belongs to text i.

        Raises:
            ModelError: a text needs more memory than there is, or the encoding does not fit the model.
        """
        if encoding.pooling != "cls" or encoding.dimensions is not None or encoding.layer_norm:
            raise ModelError(
                f"{self._name}: the sparse and multi-vector modes are made for pooling cls and all dimensions; leave "
                "--pooling and --dimensions out, or use --mode dense"
            )
        found: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(texts)
        truncated, unknown = (np.zeros(len(texts), dtype=bool) for _ in range(2))
        for places in blocks(texts):
            tokenized = self._tokens.tokenize([texts[place] for place in places], encoding)
            tokens, truncated[places] = tokenized.tokens, tokenized.cut
            unknown[places] = tokenized.unknown or False
            same = same_tokens(tokens["input_ids"])
            firsts = {key: [values[group[0]] for group in same] for key, values in tokens.items()}
            for batch in self._runner.run(firsts, lambda part: self._packed(part, encoding), emit, journal):
                for number, row in zip(batch.places, batch.rows, strict=True):
                    for place in same[number]:
                        found[places[place]] = row
                emit(TextsEncoded(sum(len(same[number]) for number in batch.places), batch.tokens))
        return MultiPart(PackedArrays(found), truncated=truncated, unknown=unknown)

    def _packed(self, tokens: dict[str, list[Any]], encoding: Encoding) -> list[NDArray[np.float32]]:
        padded = self._tokens.padded(tokens, self.device)
        mask = padded.inputs["attention_mask"]
        with torch.inference_mode():
            hidden = self._model(**padded.inputs).last_hidden_state.float()
            dense = _scaled(pool(hidden, mask, "cls"), encoding) if "dense" in encoding.outputs else None
            weights = torch.relu(self._heads["sparse"](hidden))[:, :, 0] if "sparse" in encoding.outputs else None
            # the first token has no vector
            vectors = None
            if "multi-vector" in encoding.outputs:
                vectors = _scaled(self._heads["multi-vector"](hidden[:, 1:]), encoding)
        rows = []
        for number, length in enumerate(mask.sum(dim=1).tolist()):
            words = _weights(tokens["input_ids"][number], _array(weights, number), self._special)
            rows.append(
                pack(
                    Parts(
                        dense=_array(dense, number),
                        tokens=np.array(list(words), dtype=np.int64),
                        weights=np.array(list(words.values()), dtype=np.float32),
                        vectors=_array(vectors, number)[: length - 1],
                    )
                )
            )
        return rows


def _array(values: torch.Tensor | None, number: int) -> NDArray[np.float32]:
    return np.empty(0, dtype=np.float32) if values is None else values[number].cpu().numpy()


def _scaled(vectors: torch.Tensor, encoding: Encoding) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors, p=2, dim=-1) if encoding.normalize else vectors


def _weights(ids: Sequence[int], weights: NDArray[np.float32], special: set[int]) -> dict[int, float]:
    """Token -> its largest weight, without special tokens and weights of 0."""
    found: dict[int, float] = {}
    for token, weight in zip(ids, weights.tolist(), strict=False):
        if weight > 0 and token not in special:
            found[token] = max(weight, found.get(token, 0.0))
    return found


def _load_head(model: ResolvedModel, output: Output) -> torch.nn.Linear:
    path = Path(model.facts.folder) / M3_HEADS[output]
    if not path.is_file():
        raise ModelError(
            f"{model.spec.name} has no {path.name}, which makes its {output} vectors; --mode dense works without it"
        )
    weights = load_pickle(model.spec.name, path)
    if set(weights) != {"weight", "bias"}:
        raise ModelError(f"{model.spec.name}: {path.name} holds {', '.join(weights)}; expected weight and bias")
    if weights["weight"].ndim != len("oi") or weights["bias"].shape != weights["weight"].shape[:1]:
        shapes = ", ".join(f"{key} {tuple(value.shape)}" for key, value in weights.items())
        raise ModelError(f"{model.spec.name}: {path.name} holds {shapes}; expected a matrix and a bias for its rows")
    size_out, size_in = weights["weight"].shape
    head = torch.nn.Linear(size_in, size_out)
    head.load_state_dict({key: value.float() for key, value in weights.items()})
    return head.eval()


def open_backend(model: ResolvedModel, execution: Execution) -> TransformersBackend | M3Backend:
    """The dense vectors alone are those of any other model."""
    kind = TransformersBackend if model.spec.outputs == ("dense",) else M3Backend
    return kind(model, execution)
