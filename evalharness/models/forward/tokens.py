"""Texts to tokens with everything around them: prompts, suffixes, and which tokens count in the pooling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from evalharness.errors import ModelError
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
    cut: list[bool]
    unknown: list[bool] | None = None
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
        check_room(self._name, model.spec.max_length, self.tokenizer.num_special_tokens_to_add())

    def adopt(self, tokenizer: Any) -> None:  # noqa: ANN401 -- transformers has no common type
        """Use a library's tokenizer from now on, where it loads another one from the same files.

        Raises:
            ModelError: it is a slow one.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(f"{self._name}: needs a fast tokenizer, found {type(tokenizer).__name__}")
        self.tokenizer, self._unknown = tokenizer, _unknown_token(tokenizer)

    def tokenize(self, texts: Sequence[str], encoding: Encoding) -> Tokenized:
        """Tokens of the prompted texts.

        Raises:
            ModelError: a prompt and suffix of tokens of their own leave no room for text.
        """
        if encoding.prompt_as_tokens:
            return self._wrapped(texts, encoding)
        bare = self._bare(texts, encoding)
        whole = [prompted(text, encoding, bare=left_out) for text, left_out in zip(texts, bare, strict=True)]
        found = self.tokenizer(self._cased(whole), truncation=True, max_length=encoding.max_length)
        tokens = dict(found)
        if encoding.prompt and not encoding.pool_prompt:
            count = self._prompt_tokens(encoding)
            tokens[PROMPT_TOKENS] = [0 if left_out else count for left_out in bare]
        return Tokenized(tokens, [bool(item.overflowing) for item in found.encodings], self._unknowns(tokens, encoding))

    def _unknowns(self, tokens: dict[str, Any], encoding: Encoding) -> list[bool]:
        """Per text, whether most of its own tokens, without the prompt's and special ones, are unknown."""
        texts = tokens["input_ids"]
        if not any(self._unknown in ids for ids in texts):
            return [False] * len(texts)
        prompt = self._plain([encoding.prompt])[0] if encoding.prompt else []
        special = self.tokenizer.num_special_tokens_to_add()
        return [self._is_unknown(ids, prompt, special) for ids in texts]

    def _is_unknown(self, ids: Sequence[int], prompt: Sequence[int], special: int) -> bool:
        unknown = ids.count(self._unknown) - prompt.count(self._unknown)
        return self._unknown is not None and 2 * unknown > max(len(ids) - len(prompt) - special, 0)

    def padded(self, tokens: dict[str, list[Any]]) -> Padded:
        """Tokens as tensors of one width.

        Padding is on the right whatever the tokenizer's side: then a text's first token has the first position in
        every batch, whatever kind of positions the model has. The pooling goes by the mask.
        """
        prompt_tokens = tokens.get(PROMPT_TOKENS)
        own = {key: values for key, values in tokens.items() if key != PROMPT_TOKENS}
        inputs = self.tokenizer.pad(own, padding_side="right", return_tensors="pt")
        mask = inputs["attention_mask"]
        attended = moved(mask, self._home)
        if prompt_tokens is None:
            return Padded(inputs, attended, attended)
        counted = mask * (mask.cumsum(dim=1) > torch.tensor(prompt_tokens)[:, None])
        return Padded(inputs, attended, moved(counted, self._home))

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
        whole = self.tokenizer(self._cased([prompt + text for text in texts]), truncation=False, verbose=False)
        return [len(ids) > limit for ids in whole["input_ids"]]

    def _cased(self, texts: Sequence[str]) -> list[str]:
        return [text.lower() for text in texts] if self._lowercase else list(texts)

    def _prompt_tokens(self, encoding: Encoding) -> int:
        """Tokens at the start of every text that are the prompt's or come before it; the one at the end is not."""
        ids = self.tokenizer(self._cased([encoding.prompt]), truncation=True, max_length=encoding.max_length)
        found: list[int] = ids["input_ids"][0]
        return len(found) - 1 if found and found[-1] in self.tokenizer.all_special_ids else len(found)

    def _wrapped(self, texts: Sequence[str], encoding: Encoding) -> Tokenized:
        """Prompt and suffix as tokens of their own around the text, which is cut to leave room for them."""
        before = self._plain([encoding.prompt])[0] if encoding.prompt else []
        after = self._plain([encoding.suffix])[0] if encoding.suffix else []
        check_room(self._name, encoding.max_length, len(before) + len(after))
        room = None if encoding.max_length is None else encoding.max_length - len(before) - len(after)
        inner = self._plain(texts)
        wrapped = [[*before, *ids[:room], *after] for ids in inner]
        cut = [room is not None and len(ids) > room for ids in inner]
        tokens = {"input_ids": wrapped, "attention_mask": [[1] * len(item) for item in wrapped]}
        return Tokenized(tokens, cut, [self._is_unknown(ids[:room], [], 0) for ids in inner])

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        found = self.tokenizer(self._cased(texts), add_special_tokens=False, truncation=False, verbose=False)
        return list(found["input_ids"])


def _unknown_token(tokenizer: Any) -> int | None:  # noqa: ANN401 -- transformers has no common type
    """The token for unknown words, if the tokenizer has one that means nothing else."""
    roles = ("bos_token", "eos_token", "sep_token", "cls_token", "pad_token", "mask_token")
    token = getattr(tokenizer, "unk_token", None)
    if token is None or token in [getattr(tokenizer, role, None) for role in roles]:
        return None
    found: int | None = tokenizer.unk_token_id
    return found
