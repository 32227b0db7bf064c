"""Models through the sentence-transformers library: its modules run as the model's files name them.

Prompts, pooling, lengths and normalisation still come from the encoding alone: what the files say by themselves (a
default prompt, a Normalize module, a truncate_dim) is switched off, or has to agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer, __version__
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

from evalharness.errors import ModelError, shorten
from evalharness.models.forward.batches import BatchRunner, choose_device, precision
from evalharness.models.forward.company import Trial, company_facts, computes_exactly, find_company
from evalharness.models.forward.pipeline import run_texts
from evalharness.models.forward.tokens import PromptTokenizer, Tokenized
from evalharness.models.forward.vocabulary import check_vocabulary, padding_facts
from evalharness.models.forward.weights import (
    check_runs,
    embedding_rows,
    library_errors,
    load_dense,
    load_encoder,
    silent,
    size_of,
    torch_dtype,
)
from evalharness.models.kinds.dense import finish
from evalharness.models.options import Execution, asked_tokens
from evalharness.models.registry import OF_TOKENS, ResolvedModel, beyond_texts
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import Dense, Emit, Encoding

# beside the tokens, the text itself: the library tokenizes once more
_TEXT = "text"
# above this, transformers takes a tokenizer's limit for none
_NO_LIMIT = int(1e30)
_TASK = "task"


class SentenceTransformersBackend:
    """A `TextEncoder` around `sentence_transformers.SentenceTransformer`.

    Attributes:
        device: torch device name.
        identity: what of the backend can change a vector, apart from the model and the encoding.
        size: how many parameters all modules have, and how many of them are token embeddings.
    """

    def __init__(self, model: ResolvedModel, execution: Execution) -> None:
        self.device = choose_device(execution.device)
        self._tokens = PromptTokenizer(model, self.device)
        self.identity = {
            "backend": "sentence-transformers",
            **precision(model.spec.dtype, self.device),
            "version": ".".join(__version__.split(".")[:2]),
            **padding_facts(self._tokens.tokenizer),
        }
        self._name = model.spec.name
        self._file_pooling = model.facts.said.stated().get("pooling")
        self._is_table = model.facts.is_table
        self._width = _checked_width(model, self._tokens)
        self._model = _load(model, self.device)
        self.size = replace(size_of(self._model), embedding_parameters=_token_vectors(self._model))
        if model.facts.unheeded:
            self._tokens.adopt(self._model.tokenizer)
        check_runs(model, lambda: self._tried(["a"])[0])
        company = find_company(model, Trial(self._tried, self._tokens.plain_tokens, computes_exactly(model)))
        self.identity |= company_facts(company)
        self._runner = BatchRunner(self._name, self.device, asked_tokens(execution), company)
        self._similarity = model.spec.similarity

    def _tried(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        how = Encoding(pooling="own", normalize=False, max_length=None, dtype="float32", prompt="")
        ways = [task for task in ("", *self._routes()) if self._is_routed(task)]
        return list(self._vectors(texts, how.changed({"adapter": ways[0] if ways else ""})))

    def _routes(self) -> list[str]:
        """Names of the ways that texts can take through the model; none where there is one for all."""
        return list(dict.fromkeys(name for router in self._routers() for name in router.sub_modules))

    def _routers(self) -> list[Router]:
        return [module for module in self._model if isinstance(module, Router)]

    def _is_routed(self, task: str) -> bool:
        try:
            for router in self._routers():
                router._resolve_route(task=task or None, modality="text")  # noqa: SLF001 -- nothing public tells
        except ValueError:
            return False
        return True

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        """Encode texts; row i belongs to text i.

        Raises:
            ModelError: a text needs more memory than there is, or the encoding does not fit the model.
        """
        self._check(encoding)
        if not self._is_table:
            self._model.max_seq_length = _NO_LIMIT if encoding.max_length is None else encoding.max_length
        self._model.set_pooling_include_prompt(encoding.pool_prompt)
        encoded = run_texts(
            texts,
            self._runner,
            emit,
            tokenize=lambda part: self._tokenize(part, encoding),
            forward=lambda tokens: self._vectors(tokens[_TEXT], encoding),
            journal=journal,
        )
        return Dense(encoded.matrix(self._width), self._similarity, encoded.truncated, encoded.unknown)

    def _check(self, encoding: Encoding) -> None:
        pooling = next((module.pooling_mode for module in self._model if isinstance(module, Pooling)), None)
        # without a file that says how to pool, the library takes one way for granted
        own = pooling is None or self._file_pooling is not None
        if encoding.pooling != pooling and not (encoding.pooling == "own" and own):
            raise ModelError(
                f"{self._name}: the sentence-transformers backend pools as the model's files say ({pooling or 'own'}), "
                f"{encoding.pooling} is wanted; leave --pooling out, or use --backend transformers"
            )
        if pooling is None and encoding.prompt and not encoding.pool_prompt:
            raise ModelError(
                f"{self._name}: the prompt's tokens are not to be pooled, but the model has no Pooling module; "
                "use --backend transformers"
            )
        if encoding.prompt_as_tokens or (encoding.prompt and encoding.prompt_within is not None):
            what = "tokenize prompts by themselves" if encoding.prompt_as_tokens else "leave prompts out of long texts"
            raise ModelError(
                f"{self._name}: the sentence-transformers backend cannot {what}; use --backend transformers"
            )
        if self._is_table and encoding.max_length is not None:
            raise ModelError(
                f"{self._name}: sentence-transformers does not cut texts for a table of token vectors; leave "
                "--max-length out"
            )
        if not self._is_routed(_way(encoding)):
            what = _way(encoding) or "texts that are no query or document"
            raise ModelError(
                f"{self._name}: the model has no route for {what}; its Router module has routes for "
                f"{shorten(self._routes())}"
            )
        wanted = beyond_texts(encoding, OF_TOKENS)
        if wanted and _TASK not in self._model.get_model_kwargs():
            raise ModelError(f"{self._name}: {' and '.join(wanted)} is wanted, but no module of the model takes a task")

    def _tokenize(self, texts: Sequence[str], encoding: Encoding) -> Tokenized:
        found = self._tokens.tokenize(texts, encoding)
        return replace(found, tokens={"input_ids": found.tokens["input_ids"], _TEXT: list(texts)})

    def _vectors(self, texts: Sequence[str], encoding: Encoding) -> NDArray[np.float32]:
        found = self._model.encode(
            [text + encoding.suffix for text in texts],
            prompt=encoding.prompt or None,
            batch_size=len(texts),
            show_progress_bar=False,
            convert_to_tensor=True,
            **({_TASK: _way(encoding)} if _way(encoding) else {}),
        )
        with torch.inference_mode():
            vectors = finish(found.float(), encoding, self._name)
        rows: NDArray[np.float32] = vectors.cpu().numpy()
        return rows


def _token_vectors(loaded: Any) -> int | None:  # noqa: ANN401 -- as in `_load`
    """How many parameters the first module's token vectors are; None where there is no one way to them."""
    first = loaded[0]
    table = getattr(first, "embedding", None)
    if isinstance(table, torch.nn.EmbeddingBag):
        return int(table.weight.numel())
    inner = getattr(first, "auto_model", None)
    return None if inner is None else size_of(inner).embedding_parameters


def _way(encoding: Encoding) -> str:
    """What the library calls a text's task: which adapter its modules take, or which route."""
    return encoding.adapter or encoding.side or ""


def _checked_width(model: ResolvedModel, tokens: PromptTokenizer) -> int:
    """The transformer's width, once it is sure that no layer is missing: the library would only warn of that.

    A table of token vectors has no layers.
    """
    load_dense(model)
    if model.facts.is_table:
        return 0
    encoder = load_encoder(model)
    check_vocabulary(model.spec.name, tokens.tokenizer, embedding_rows(encoder))
    return int(encoder.config.hidden_size)


def _load(model: ResolvedModel, device: str) -> Any:  # noqa: ANN401 -- the library is not typed here
    spec = model.spec
    with library_errors(model, "sentence-transformers cannot load the model"), silent():
        loaded = SentenceTransformer(
            str(model.facts.folder),
            device=device,
            trust_remote_code=spec.remote_code,
            # code of another repository may have to be fetched
            local_files_only=not spec.remote_code,
            model_kwargs={"dtype": torch_dtype(model)},
        )
    loaded.prompts, loaded.default_prompt_name, loaded.truncate_dim = {}, None, None
    # the encoding alone says whether vectors are normalised
    for place in reversed(range(len(loaded))):
        if not isinstance(loaded[place], Normalize):
            break
        loaded[place] = torch.nn.Identity()
    # on the left, padding would move a text's positions, by as much as its neighbours are longer
    for module in loaded:
        for name in ("processor", "tokenizer"):
            if hasattr(getattr(module, name, None), "padding_side"):
                getattr(module, name).padding_side = "right"
    # the library loads the dense layers in float32 whatever comes before them
    return loaded.to(torch_dtype(model)).eval()


open_backend = SentenceTransformersBackend
