"""Texts to tokens with everything around them: prompts, suffixes, and which tokens count in the pooling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from evalharness.errors import ModelError
from evalharness.models.forward.arrays import IDS, Limits, Read, attended, count_of, padding_of, read, rows_of
from evalharness.models.forward.cutting import can_cut, read_beginnings
from evalharness.models.forward.devices import moved
from evalharness.models.forward.vocabulary import check_room, load_tokenizer
from evalharness.models.forward.weights import library_errors
from evalharness.models.prompts import prompted
from evalharness.models.registry import ResolvedModel
from evalharness.types import Encoding

# beside the tokenizer's own names, how many of a text's first tokens are the prompt's
PROMPT_TOKENS = "prompt_tokens"

_SHORT = "a"


@dataclass(frozen=True, slots=True)
class Tokenized:
    """Texts as tokens.

    Attributes:
        tokens: an entry per text for each of the tokenizer's names.
        cut: per text, whether it was cut.
        unknown: per text, whether most of its tokens are the one for unknown words; None where nobody looked.
        apart: whether texts of equal tokens go through the model each by itself.
    """

    tokens: dict[str, Any]
    cut: Sequence[bool] | NDArray[np.bool_]
    unknown: Sequence[bool] | NDArray[np.bool_] | None = None
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Padded:
    """A batch as a model takes it.

    Attributes:
        inputs: tensors of shape (texts, tokens), by the tokenizer's names; on the CPU, an engine knows where it runs.
        attended: shape (texts, tokens), 1 for a text's tokens and 0 for padding; where hidden states are.
        counted: the same, 0 also for tokens that do not count in the pooling.
    """

    inputs: Mapping[str, torch.Tensor]
    attended: torch.Tensor
    counted: torch.Tensor


class Reader(Protocol):
    """What makes tokens of texts, or of joined pairs.

    Attributes:
        tokenizer: the model's own, of transformers.
    """

    tokenizer: Any

    def tokenize(self, texts: Sequence[str], encoding: Encoding) -> Tokenized:
        """All that an encoding says of the text is applied."""
        ...


@runtime_checkable
class BatchReader(Reader, Protocol):
    """One whose padded tokens are all that a graph takes, so that a model can be tried and exported with any texts."""

    def plain_tokens(self, texts: Sequence[str]) -> dict[str, Any]:
        """Tokens of texts without a prompt, or of pairs of each with itself."""
        ...

    def inputs(self, tokens: dict[str, list[Any]]) -> Mapping[str, torch.Tensor]:
        """Tokens as tensors of one width on the CPU, padded on the right."""
        ...


def short_inputs(reader: BatchReader) -> Mapping[str, torch.Tensor]:
    """A short text, or pair, as a batch, to see that a model runs."""
    return reader.inputs(reader.plain_tokens([_SHORT]))


class PromptTokenizer:
    """A `BatchReader` of texts.

    Attributes:
        tokenizer: see `Reader`.
    """

    def __init__(self, model: ResolvedModel, home: str) -> None:
        """See the class.

        Args:
            model: its tokenizer is loaded.
            home: torch device of hidden states.
        """
        self._name = model.spec.name
        self._home = home
        self.tokenizer = load_tokenizer(model)
        self._max_length = model.spec.max_length
        self._lowercase = model.facts.lowercase
        with library_errors(model, "the tokenizer cannot be used"):
            self._unknown = _unknown_token(self.tokenizer)
        self._padding, self._can_cut = padding_of(self.tokenizer), can_cut(self.tokenizer)
        check_room(self._name, model.spec.max_length, self.tokenizer.num_special_tokens_to_add())

    def adopt(self, tokenizer: Any) -> None:  # noqa: ANN401 -- transformers has no common type
        """Use a library's tokenizer from now on, where it loads another one from the same files.

        Raises:
            ModelError: it is a slow one.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(f"{self._name}: needs a fast tokenizer, found {type(tokenizer).__name__}")
        self.tokenizer, self._unknown = tokenizer, _unknown_token(tokenizer)
        self._padding, self._can_cut = padding_of(tokenizer), can_cut(tokenizer)

    def tokenize(self, texts: Sequence[str], encoding: Encoding) -> Tokenized:
        """Tokens of the prompted texts.

        Raises:
            ModelError: a prompt and suffix of tokens of their own leave no room for text.
        """
        if encoding.prompt_as_tokens:
            return self._wrapped(texts, encoding)
        bare = self._bare(texts, encoding)
        whole = [prompted(text, encoding, bare=left_out) for text, left_out in zip(texts, bare, strict=True)]
        found = self._read(self._cased(whole), Limits(truncation=True, max_length=encoding.max_length))
        tokens: dict[str, Any] = dict(found.columns)
        if encoding.prompt and not encoding.pool_prompt:
            count = self._prompt_tokens(encoding)
            tokens[PROMPT_TOKENS] = [0 if left_out else count for left_out in bare]
        prompt = self._plain([encoding.prompt])[0].tolist() if encoding.prompt else []
        special = self.tokenizer.num_special_tokens_to_add()
        return Tokenized(tokens, found.cut, self._unknowns(found.columns[IDS], prompt, special))

    def _read(self, texts: Sequence[str], limits: Limits) -> Read:
        return read_beginnings(self.tokenizer, texts, limits) if self._can_cut else read(self.tokenizer, texts, limits)

    def _unknowns(self, rows: Sequence[NDArray[np.int64]], prompt: Sequence[int], special: int) -> NDArray[np.bool_]:
        """Per text, whether most of its own tokens, without the prompt's and special ones, are unknown."""
        if self._unknown is None:
            return np.zeros(len(rows), dtype=bool)
        unknown = count_of(self._unknown, rows) - list(prompt).count(self._unknown)
        own = np.array([len(ids) for ids in rows], dtype=np.int64) - len(prompt) - special
        mostly: NDArray[np.bool_] = 2 * unknown > np.maximum(own, 0)
        return mostly

    def padded(self, tokens: dict[str, list[Any]]) -> Padded:
        """Tokens as tensors of one width, padded on the right; the pooling goes by the mask."""
        own = {key: values for key, values in tokens.items() if key != PROMPT_TOKENS}
        inputs = self._padding.inputs(own)
        mask = torch.from_numpy(attended(map(len, tokens[IDS])).astype(np.int64))
        whole = moved(mask, self._home)
        if PROMPT_TOKENS not in tokens:
            return Padded(inputs, whole, whole)
        counted = mask * (mask.cumsum(dim=1) > torch.tensor(tokens[PROMPT_TOKENS])[:, None])
        return Padded(inputs, whole, moved(counted, self._home))

    def inputs(self, tokens: dict[str, list[Any]]) -> Mapping[str, torch.Tensor]:
        """See `BatchReader`."""
        return self.padded(tokens).inputs

    def plain_tokens(self, texts: Sequence[str]) -> dict[str, Any]:
        """See `BatchReader`."""
        return dict(self.tokenizer(self._cased(texts), truncation=True, max_length=self._max_length))

    def _bare(self, texts: Sequence[str], encoding: Encoding) -> list[bool]:
        """Per text, whether its prompt is left out: those that are too long with it have none."""
        prompt, limit = encoding.prompt, encoding.prompt_within
        if not prompt or limit is None:
            return [False] * len(texts)
        whole = read(self.tokenizer, self._cased([prompt + text for text in texts]), Limits(truncation=False))
        return [len(ids) > limit for ids in whole.columns[IDS]]

    def _cased(self, texts: Sequence[str]) -> list[str]:
        return [text.lower() for text in texts] if self._lowercase else list(texts)

    def _prompt_tokens(self, encoding: Encoding) -> int:
        """Tokens at the start of every text that are the prompt's or come before it; the one at the end is not."""
        ids = self.tokenizer(self._cased([encoding.prompt]), truncation=True, max_length=encoding.max_length)
        found: list[int] = ids["input_ids"][0]
        return len(found) - 1 if found and found[-1] in self.tokenizer.all_special_ids else len(found)

    def _wrapped(self, texts: Sequence[str], encoding: Encoding) -> Tokenized:
        """Prompt and suffix as tokens of their own around the text, which is cut to leave room for them."""
        before = self._plain([encoding.prompt])[0].tolist() if encoding.prompt else []
        after = self._plain([encoding.suffix])[0].tolist() if encoding.suffix else []
        check_room(self._name, encoding.max_length, len(before) + len(after))
        room = None if encoding.max_length is None else encoding.max_length - len(before) - len(after)
        inner = self._plain(texts)
        kept = [ids[:room] for ids in inner]
        wrapped = rows_of([[*before, *ids.tolist(), *after] for ids in kept])
        cut = [room is not None and len(ids) > room for ids in inner]
        return Tokenized({IDS: wrapped}, cut, self._unknowns(kept, [], 0))

    def _plain(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        limits = Limits(truncation=False, special=False)
        return read(self.tokenizer, self._cased(texts), limits).columns[IDS]


def _unknown_token(tokenizer: Any) -> int | None:  # noqa: ANN401 -- transformers has no common type
    """The token for unknown words, if the tokenizer has one that means nothing else."""
    roles = ("bos_token", "eos_token", "sep_token", "cls_token", "pad_token", "mask_token")
    token = getattr(tokenizer, "unk_token", None)
    if token is None or token in [getattr(tokenizer, role, None) for role in roles]:
        return None
    found: int | None = tokenizer.unk_token_id
    return found
