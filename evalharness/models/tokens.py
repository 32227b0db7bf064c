"""Texts to tokens with everything around them: prompts, suffixes, and which tokens count in the pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from evalharness.errors import ModelError
from evalharness.journal import NO_JOURNAL, Journal
from evalharness.models.backends import ResolvedModel
from evalharness.models.batches import BatchRunner, Forward, blocks, same_tokens
from evalharness.models.company import Trial
from evalharness.models.loading import library_errors
from evalharness.models.vocabulary import check_room, check_vocabulary, load_tokenizer, padding_facts
from evalharness.types import Dense, Emit, Encoding, Similarity, TextsEncoded

# beside the tokenizer's own names, how many of a text's first tokens are the prompt's
_PROMPT_TOKENS = "prompt_tokens"

_SHORT = "a"


@dataclass(frozen=True, slots=True)
class Tokenized:
    """Texts as tokens.

    Attributes:
        tokens: an entry per text for each of the tokenizer's names.
        cut: per text, whether it was cut.
        unknown: per text, whether most of its tokens are the one for unknown words; None where nobody looked.
    """

    tokens: dict[str, Any]
    cut: list[bool]
    unknown: list[bool] | None = None


Tokenize: TypeAlias = Callable[[Sequence[str]], Tokenized]


@dataclass(frozen=True, slots=True)
class Padded:
    """A batch as a model takes it.

    Attributes:
        inputs: tensors of shape (texts, tokens), by the tokenizer's names.
        attended: shape (texts, tokens), 1 for a text's tokens and 0 for padding.
        counted: the same, 0 also for tokens that do not count in the pooling.
    """

    inputs: Any
    attended: torch.Tensor
    counted: torch.Tensor


class PromptTokenizer:
    """A model's tokenizer that applies all that an encoding says of the text."""

    def __init__(self, model: ResolvedModel) -> None:
        self._name = model.spec.name
        self._tokenizer = load_tokenizer(model)
        self._max_length = model.spec.max_length
        self._lowercase = model.facts.lowercase
        with library_errors(model, "the tokenizer cannot be used"):
            self._unknown = _unknown_token(self._tokenizer)
        check_room(self._name, model.spec.max_length, self._tokenizer.num_special_tokens_to_add())

    @property
    def identity(self) -> dict[str, str]:
        """What of the tokenizer's use can change a vector: padding that is not on the side that its files say."""
        return padding_facts(self._tokenizer)

    def adopt(self, tokenizer: Any) -> None:  # noqa: ANN401 -- transformers has no common type
        """Use a library's tokenizer from now on, where it loads another one from the same files.

        Raises:
            ModelError: it is a slow one.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(f"{self._name}: needs a fast tokenizer, found {type(tokenizer).__name__}")
        self._tokenizer, self._unknown = tokenizer, _unknown_token(tokenizer)

    def check_vocabulary(self, rows: int | None) -> None:
        """See that a model has a vector for each token, and hardly more.

        Args:
            rows: how many vectors it has; None where nobody knows.

        Raises:
            ModelError: it has not.
        """
        check_vocabulary(self._name, self._tokenizer, rows)

    def tokenize(self, texts: Sequence[str], encoding: Encoding) -> Tokenized:
        """Tokens of the prompted texts.

        Raises:
            ModelError: a prompt and suffix of tokens of their own leave no room for text.
        """
        if encoding.prompt_as_tokens:
            return self._wrapped(texts, encoding)
        prompts = self._prompts(texts, encoding)
        prompted = [f"{prompt}{text}{encoding.suffix}" for prompt, text in zip(prompts, texts, strict=True)]
        found = self._tokenizer(self._cased(prompted), truncation=True, max_length=encoding.max_length)
        tokens = dict(found)
        if encoding.prompt and not encoding.pool_prompt:
            count = self._prompt_tokens(encoding)
            tokens[_PROMPT_TOKENS] = [count if prompt else 0 for prompt in prompts]
        return Tokenized(tokens, [bool(item.overflowing) for item in found.encodings], self._unknowns(tokens, encoding))

    def _unknowns(self, tokens: dict[str, Any], encoding: Encoding) -> list[bool]:
        """Per text, whether most of its own tokens, without the prompt's and special ones, are unknown."""
        texts = tokens["input_ids"]
        if not any(self._unknown in ids for ids in texts):
            return [False] * len(texts)
        prompt = self._plain([encoding.prompt])[0] if encoding.prompt else []
        special = self._tokenizer.num_special_tokens_to_add()
        return [self._is_unknown(ids, prompt, special) for ids in texts]

    def _is_unknown(self, ids: Sequence[int], prompt: Sequence[int], special: int) -> bool:
        unknown = ids.count(self._unknown) - prompt.count(self._unknown)
        return self._unknown is not None and 2 * unknown > max(len(ids) - len(prompt) - special, 0)

    def padded(self, tokens: dict[str, list[Any]], device: str) -> Padded:
        """Tokens as tensors of one width.

        Padding is on the right whatever the tokenizer's side: then a text's first token has the first position in
        every batch, whatever kind of positions the model has. The pooling goes by the mask.
        """
        prompt_tokens = tokens.get(_PROMPT_TOKENS)
        own = {key: values for key, values in tokens.items() if key != _PROMPT_TOKENS}
        inputs = self._tokenizer.pad(own, padding_side="right", return_tensors="pt").to(device)
        mask = inputs["attention_mask"]
        if prompt_tokens is None:
            return Padded(inputs, mask, mask)
        counted = mask * (mask.cumsum(dim=1) > torch.tensor(prompt_tokens, device=device)[:, None])
        return Padded(inputs, mask, counted)

    def run(self, loaded: Any, device: str) -> torch.Tensor:  # noqa: ANN401 -- transformers has no common type
        """Token vectors of a short text, to see that a model runs; float32, shape (1, tokens, dimensions)."""
        batch = self.padded(dict(self._tokenizer([_SHORT])), device)
        hidden: torch.Tensor = loaded(**batch.inputs).last_hidden_state
        return hidden.float()

    def trial(self, forward: Callable[[Any], torch.Tensor], device: str, *, is_exact: bool) -> Trial:
        """How to try whether texts depend on each other.

        Args:
            forward: from the inputs of a batch to vectors: of its tokens, or of its texts.
            device: torch device name.
            is_exact: see `Trial`.
        """

        def rows(texts: Sequence[str]) -> list[NDArray[np.float32]]:
            tokens = self._plain_tokens(texts)
            found = forward(self.padded(tokens, device).inputs).float().cpu().numpy()
            # the padding is on the right
            return [
                row if row.ndim == 1 else row[: len(ids)] for row, ids in zip(found, tokens["input_ids"], strict=True)
            ]

        return Trial(rows, self.length, is_exact)

    def length(self, text: str) -> int:
        """Tokens of a text without a prompt."""
        return len(self._plain_tokens([text])["input_ids"][0])

    def _plain_tokens(self, texts: Sequence[str]) -> dict[str, Any]:
        return dict(self._tokenizer(self._cased(texts), truncation=True, max_length=self._max_length))

    def _prompts(self, texts: Sequence[str], encoding: Encoding) -> list[str]:
        """The prompt of each text; none for those that are too long with it."""
        prompt, limit = encoding.prompt, encoding.prompt_within
        if not prompt or limit is None:
            return [prompt] * len(texts)
        whole = self._tokenizer(self._cased([prompt + text for text in texts]), truncation=False, verbose=False)
        return [prompt if len(ids) <= limit else "" for ids in whole["input_ids"]]

    def _cased(self, texts: Sequence[str]) -> list[str]:
        return [text.lower() for text in texts] if self._lowercase else list(texts)

    def _prompt_tokens(self, encoding: Encoding) -> int:
        """Tokens at the start of every text that are the prompt's or come before it; the one at the end is not."""
        ids = self._tokenizer(self._cased([encoding.prompt]), truncation=True, max_length=encoding.max_length)
        found: list[int] = ids["input_ids"][0]
        return len(found) - 1 if found and found[-1] in self._tokenizer.all_special_ids else len(found)

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
        found = self._tokenizer(self._cased(texts), add_special_tokens=False, truncation=False, verbose=False)
        return list(found["input_ids"])


def _unknown_token(tokenizer: Any) -> int | None:  # noqa: ANN401 -- transformers has no common type
    """The token for unknown words, if the tokenizer has one that means nothing else."""
    roles = ("bos_token", "eos_token", "sep_token", "cls_token", "pad_token", "mask_token")
    token = getattr(tokenizer, "unk_token", None)
    if token is None or token in [getattr(tokenizer, role, None) for role in roles]:
        return None
    found: int | None = tokenizer.unk_token_id
    return found


class TokenPipeline:
    """The way of texts through a model: tokens, then batches of similar length, then rows in the order of the texts."""

    def __init__(self, runner: BatchRunner, similarity: Similarity) -> None:
        """See the class.

        Args:
            runner: makes the batches.
            similarity: the model's own.
        """
        self._runner = runner
        self._similarity = similarity

    def run(
        self,
        texts: Sequence[str],
        emit: Emit,
        *,
        tokenize: Tokenize,
        forward: Forward,
        width: int,
        journal: Journal = NO_JOURNAL,
    ) -> Dense:
        """Encode texts; texts with equal tokens go through the model once.

        Args:
            texts: any number.
            emit: is told of progress and of batches that were halved.
            tokenize: from texts to tokens.
            forward: from a part of the tokens to a row per text.
            width: dimensions to claim where there are no texts.
            journal: see `BatchRunner.run`.

        Raises:
            ModelError: a text needs more memory than there is.
        """
        vectors: NDArray[np.float32] | None = None
        truncated, unknown = (np.zeros(len(texts), dtype=bool) for _ in range(2))
        for places in blocks(texts):
            tokenized = tokenize([texts[place] for place in places])
            tokens = tokenized.tokens
            truncated[places] = tokenized.cut
            unknown[places] = tokenized.unknown or False
            # the same tokens may be a prompt's in one text and not in another
            marks = tokens.get(_PROMPT_TOKENS)
            ids = tokens["input_ids"]
            same = same_tokens(ids if marks is None else [[mark, *row] for mark, row in zip(marks, ids, strict=True)])
            firsts = {key: [values[group[0]] for group in same] for key, values in tokens.items()}
            for batch in self._runner.run(firsts, forward, emit, journal):
                if vectors is None:
                    vectors = np.empty((len(texts), len(batch.rows[0])), dtype=np.float32)
                for number, row in zip(batch.places, batch.rows, strict=True):
                    vectors[[places[i] for i in same[number]]] = row
                emit(TextsEncoded(sum(len(same[number]) for number in batch.places), batch.tokens))
        if vectors is None:
            vectors = np.empty((0, width), dtype=np.float32)
        return Dense(vectors, self._similarity, truncated, unknown)
