"""The default backend: plain transformers on torch, texts sorted by length, batches by a token budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from evalharness.errors import ModelError, PrerequisiteError, shorten
from evalharness.models.files import FileFacts
from evalharness.types import Dense, Emit, EncodeNote, Encoding, Execution, ModelSpec, Pooling, TextsEncoded

# texts tokenized at a time: enough to sort well, little memory
_BLOCK = 8192
# small batches stay in a CPU's cache; accelerators want many rows at once
_CPU_BATCH_TOKENS = 2048
_ACCELERATOR_BATCH_TOKENS = 32768
_TORCH_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(wanted: str | None) -> str:
    """The wanted torch device, or the best one present.

    Raises:
        PrerequisiteError: the wanted device is not there.
    """
    if wanted is None:
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise PrerequisiteError(f"the device {wanted!r} cannot be used here ({reason}); leave --device out") from None
    return wanted


class TransformersBackend:
    """A `TextEncoder` around `transformers.AutoModel`.

    Attributes:
        device: torch device name.
        identity: what of the backend can change a vector, apart from the model and the encoding.
    """

    def __init__(self, spec: ModelSpec, facts: FileFacts, execution: Execution) -> None:
        self.device = choose_device(execution.device)
        self.identity = {"backend": "transformers", "matmul_precision": torch.get_float32_matmul_precision()}
        self._name = spec.name
        self._similarity = spec.similarity
        self._lowercase = facts.lowercase
        suitable = _CPU_BATCH_TOKENS if self.device == "cpu" else _ACCELERATOR_BATCH_TOKENS
        self._batch_tokens = execution.batch_tokens or suitable
        self._tokenizer = _load_tokenizer(spec, facts)
        self._model = _load_weights(spec, facts).to(self.device).eval()

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit) -> Dense:
        """Encode texts; row i belongs to text i.

        Raises:
            ModelError: a text needs more memory than there is.
        """
        vectors: NDArray[np.float32] | None = None
        truncated = np.zeros(len(texts), dtype=bool)
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]), reverse=True)
        for first in range(0, len(order), _BLOCK):
            places = order[first : first + _BLOCK]
            prepared = self._prepare([texts[place] for place in places], encoding)
            tokens = self._tokenizer(prepared, truncation=True, max_length=encoding.max_length)
            truncated[places] = [bool(item.overflowing) for item in tokens.encodings]
            same = _same_tokens(tokens["input_ids"])
            for batch in _batches([len(tokens["input_ids"][group[0]]) for group in same], self._batch_tokens):
                firsts = [same[number][0] for number in batch]
                rows = self._forward({key: [tokens[key][i] for i in firsts] for key in tokens}, encoding, emit)
                if vectors is None:
                    vectors = np.empty((len(texts), rows.shape[1]), dtype=np.float32)
                for number, row in zip(batch, rows, strict=True):
                    vectors[[places[i] for i in same[number]]] = row
                emit(
                    TextsEncoded(
                        sum(len(same[number]) for number in batch), sum(len(tokens["input_ids"][i]) for i in firsts)
                    )
                )
        if vectors is None:
            vectors = np.empty((0, int(self._model.config.hidden_size)), dtype=np.float32)
        return Dense(vectors, self._similarity, truncated)

    def _prepare(self, texts: Sequence[str], encoding: Encoding) -> list[str]:
        prompted = [encoding.prompt + text for text in texts]
        return [text.lower() for text in prompted] if self._lowercase else prompted

    def _forward(self, tokens: dict[str, list[Any]], encoding: Encoding, emit: Emit) -> NDArray[np.float32]:
        """One batch through the model; a batch that does not fit into memory goes in halves."""
        try:
            return self._pooled(tokens, encoding)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            count = len(tokens["input_ids"])
            length = max(len(ids) for ids in tokens["input_ids"])
            if count == 1:
                raise ModelError(
                    f"{self._name}: a single text of {length} tokens does not fit into the memory of {self.device}; "
                    "lower --max-length or choose another --device"
                ) from None
        # outside the handler, so that the failed batch's tensors are free
        half = (count + 1) // 2
        self._batch_tokens = min(self._batch_tokens, half * length)
        emit(EncodeNote("batch_shrunk", f"out of memory, batch halved to {half} texts of {length} tokens", count))
        parts = [{key: values[part] for key, values in tokens.items()} for part in (slice(half), slice(half, None))]
        return np.concatenate([self._forward(part, encoding, emit) for part in parts])

    def _pooled(self, tokens: dict[str, list[Any]], encoding: Encoding) -> NDArray[np.float32]:
        padded = self._tokenizer.pad(tokens, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            hidden = self._model(**padded).last_hidden_state.float()
            vectors = pool(hidden, padded["attention_mask"], encoding.pooling)
            if encoding.normalize:
                vectors = torch.nn.functional.normalize(vectors, p=2, dim=1)
        rows: NDArray[np.float32] = vectors.cpu().numpy()
        return rows


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """One vector per text from token vectors, whichever side the padding is on.

    Args:
        hidden: float32, shape (texts, tokens, dimensions).
        mask: shape (texts, tokens), 1 for tokens and 0 for padding.
        pooling: `cls` (first token), `mean` (of all tokens) or `lasttoken`.

    Returns:
        Shape (texts, dimensions).
    """
    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)
    first = mask.int().argmax(dim=1)
    at = first if pooling == "cls" else first + mask.sum(dim=1) - 1
    return hidden[torch.arange(len(hidden), device=hidden.device), at]


def _same_tokens(sequences: Sequence[Sequence[int]]) -> list[list[int]]:
    """Groups of positions with equal tokens: texts that differ only in what the tokenizer does not see."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, tokens in enumerate(sequences):
        groups.setdefault(tuple(tokens), []).append(place)
    return list(groups.values())


def _batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Positions of texts that go together, longest first, padded tokens within the budget (at least one text)."""
    batch: list[int] = []
    width = 0
    for place in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if batch and (len(batch) + 1) * width > budget:
            yield batch
            batch = []
        if not batch:
            width = max(lengths[place], 1)
        batch.append(place)
    if batch:
        yield batch


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch's CPU allocator has no class of its own
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)


def _load_tokenizer(spec: ModelSpec, facts: FileFacts) -> Any:  # noqa: ANN401 -- transformers has no common type
    try:
        tokenizer = AutoTokenizer.from_pretrained(facts.transformer, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{spec.name}: the tokenizer cannot be loaded: {error}") from None
    if not tokenizer.is_fast:
        raise ModelError(f"{spec.name}: needs a fast tokenizer (tokenizer.json), found {type(tokenizer).__name__}")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _load_weights(spec: ModelSpec, facts: FileFacts) -> Any:  # noqa: ANN401
    """Load and check the weights: all layers that take part must be in the file, and it must be no reranker."""
    try:
        config = AutoConfig.from_pretrained(facts.transformer, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{spec.name}: config.json cannot be used: {error}") from None
    if any(name.endswith("ForSequenceClassification") for name in config.architectures or ()):
        raise ModelError(
            f"{spec.name} is a cross-encoder ({shorten(config.architectures)}): it scores pairs and has no embeddings"
        )
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{spec.name}: encoder-decoder models ({config.model_type}) are not supported by this backend")
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # transformers has no annotation
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # nor has this
    try:
        model, report = AutoModel.from_pretrained(
            facts.transformer,
            config=config,
            dtype=_TORCH_DTYPES[spec.dtype],
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{spec.name}: the weights cannot be loaded: {error}") from None
    finally:
        transformers_logging.set_verbosity(verbosity)
    # an unused pooler does no harm; any other missing layer would run on random numbers
    if missing := sorted(key for key in report["missing_keys"] if not key.startswith("pooler.")):
        raise ModelError(f"{spec.name}: the weight file lacks layers that take part in the result: {shorten(missing)}")
    return model
