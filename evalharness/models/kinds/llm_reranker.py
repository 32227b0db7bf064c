"""Rerankers that are causal language models: a score is what the model expects to come after a pair.

Three templates, named by `ModelSpec.pair_template`. Sources: FlagEmbedding's FlagLLMReranker (`yes-logit`) and
LayerWiseFlagLLMReranker (`layerwise`); mteb's Qwen3RerankerWrapper (`qwen3`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM

from evalharness.errors import ModelError, shorten
from evalharness.models.cards import cards
from evalharness.models.forward.pipeline import Engine, GraphOutput, Rows
from evalharness.models.forward.tokens import Reader, Tokenized
from evalharness.models.forward.vocabulary import load_tokenizer
from evalharness.models.forward.weights import check_complete, load_config, load_weights
from evalharness.models.options import check_remote_code
from evalharness.models.rankers import split_pair
from evalharness.models.registry import ResolvedModel
from evalharness.types import Dense, Encoding, PairTemplate

_HEAD = "ForCausalLM"
# what a layer-wise model's code and nobody else's takes
_LAYERS = "cutoff_layers"
_POSITIONS = "position_ids"

# FlagEmbedding: what a query may take of the room
_QUERY_SHARE = (3, 4)
_FLAG_QUESTION = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a "
    "prediction of either 'Yes' or 'No'."
)
_QWEN_BEFORE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
_QWEN_AFTER = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
_QWEN_INSTRUCTION = "Given the user query, retrieval the relevant passages"


class LLMRerankerKind:
    """A `Kind`: joined pairs to what follows them; a score is a vector of length 1.

    Attributes:
        wants, reader, layers: see `Kind`.
    """

    wants: GraphOutput = "logits"
    layers = ()

    def __init__(self, model: ResolvedModel, home: str) -> None:
        self._model = model
        self._home = home
        self._name = model.spec.name
        self._template = _template(model)
        is_layerwise = self._template == "layerwise"
        if is_layerwise and not model.spec.remote_code:
            check_remote_code(self._name, model.options)
        self._config = load_config(model)
        _check_head(self._name, self._config)
        self._layer = _layer(model, self._config, self._template)
        tokenizer = load_tokenizer(model)
        self.reader: _Asked = (
            _ChatPrompt(tokenizer, self._name)
            if self._template == "qwen3"
            else _PassagePrompt(tokenizer, self._name, layerwise=is_layerwise)
        )

    def load(self) -> Any:  # noqa: ANN401 -- see `Kind`
        """See `Kind`; the head must be in the weight file or be tied to the token vectors."""
        loaded, report = load_weights(self._model, AutoModelForCausalLM, self._config)
        check_complete(self._name, list(report["missing_keys"]))
        return loaded

    def identity(self, engine: Engine) -> dict[str, Any]:
        """See `Kind`."""
        return {
            "backend": "llm-reranker",
            "pair_template": self._template,
            "cutoff_layer": self._layer,
            **({} if _POSITIONS in engine.takes else {"padding": "right"}),
        }

    def try_out(self, engine: Engine) -> torch.Tensor:
        """See `Kind`."""
        if self._layer is not None and _LAYERS not in engine.takes:
            raise ModelError(
                f"{self._name}: {engine.graph} takes no {_LAYERS}, so it is no layer-wise reranker; "
                "give --like the card of a model of its own kind"
            )
        return torch.as_tensor(self._scores(engine, {"input_ids": [[0, 0]]}))

    def trial(self, engine: Engine) -> None:
        """See `Kind`; the mask keeps causal models from seeing padding."""

    def check(self, encoding: Encoding) -> None:
        """See `Kind`; nothing of an encoding is of no use."""

    def rows(self, engine: Engine, tokens: dict[str, list[Any]], encoding: Encoding) -> NDArray[Any]:
        """See `Kind`."""
        del encoding
        return self._scores(engine, tokens)

    def gather(self, encoded: Rows, engine: Engine) -> Dense:
        """See `Kind`."""
        del engine
        return Dense(encoded.matrix(1), self._model.spec.similarity, encoded.truncated, encoded.unknown)

    def _scores(self, engine: Engine, tokens: dict[str, list[Any]]) -> NDArray[Any]:
        """One score per row.

        Padding is on the left, so that the last position is the answer's in every row, and positions go by the mask.
        A model that is not told positions would count them from the padding on, so for it padding is on the right.
        """
        is_left = _POSITIONS in engine.takes
        side = "left" if is_left else "right"
        rows = [torch.tensor(ids) for ids in tokens["input_ids"]]
        ids = pad_sequence(rows, batch_first=True, padding_side=side).to(self._home)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True, padding_side=side)
        mask = mask.to(self._home)
        options: dict[str, Any] = {
            _POSITIONS: (mask.cumsum(dim=1) - 1).clamp(min=0),
            "use_cache": False,
            **({"logits_to_keep": 1} if is_left else {}),
        }
        options = {name: value for name, value in options.items() if name in engine.takes}
        if self._layer is not None:
            options |= {_LAYERS: [self._layer], "output_hidden_states": True}
        logits = engine.run({"input_ids": ids, "attention_mask": mask, **options}, "logits")
        if self._layer is not None:
            logits = self._of_layer(engine, logits, ids.shape)
        last = -1 if is_left else mask.sum(dim=1) - 1
        scores = self.reader.scores(logits[torch.arange(len(rows)), last].float())
        found: NDArray[Any] = scores[:, None].cpu().numpy()
        return found

    def _of_layer(self, engine: Engine, logits: Any, shape: torch.Size) -> torch.Tensor:  # noqa: ANN401 -- own code
        """The chosen layer's score of every position."""
        found = list(logits) if isinstance(logits, list | tuple) else [logits]
        if len(found) != 1 or found[0].shape != shape:
            got = shorten([str(tuple(layer.shape)) for layer in found])
            raise ModelError(
                f"{self._name}: {engine.graph} gave logits of shape {got or 'nothing'} for layer "
                f"{self._layer}; expected one score per token, {tuple(shape)}"
            )
        layer: torch.Tensor = found[0]
        return layer


class _Asked(Reader, Protocol):
    """How a model is asked about a pair, and where its answer stands."""

    def scores(self, last: torch.Tensor) -> torch.Tensor:
        """Scores from the float32 logits of the last position, one per row."""
        ...


class _PassagePrompt:
    """FlagEmbedding's way: the query, the document and then the question, each in a line of its own."""

    def __init__(self, tokenizer: Any, name: str, *, layerwise: bool) -> None:  # noqa: ANN401
        self.tokenizer = tokenizer
        self._line, question = self._plain(["\n", _FLAG_QUESTION])
        self._after = [*self._line, *question]
        begin = tokenizer.bos_token_id
        if layerwise:
            if begin is None:
                raise ModelError(f"{name}: its tokenizer has no token for the beginning of a text (bos_token)")
            self._before, self._yes = [begin], None
        else:
            self._before = [] if begin is None or begin == tokenizer.pad_token_id else [begin]
            self._yes = self._yes_token(name)

    def tokenize(self, texts: Sequence[str], encoding: Encoding) -> Tokenized:
        """See `Reader`.

        As in FlagEmbedding, the limit is one for query and document and what stands between them; it grows by as many
        tokens as the question has, and the question itself is not counted.
        """
        pairs, max_length = [split_pair(text) for text in texts], encoding.max_length
        queries = self._plain([f"A: {pair.query}" for pair in pairs])
        documents = self._plain([f"B: {pair.document}" for pair in pairs])
        tokens, cut = [], []
        for query, document in zip(queries, documents, strict=True):
            first = [*self._before, *query[: _query_room(max_length)]]
            second = [*self._line, *document[:max_length]]
            room = None if max_length is None else max_length + len(self._after) - len(first)
            joined = [*first, *second[:room]]
            tokens.append([*joined, *self._after])
            whole = len(self._before) + len(query) + len(self._line) + len(document)
            cut.append(len(joined) < whole)
        return Tokenized({"input_ids": tokens}, cut)

    def scores(self, last: torch.Tensor) -> torch.Tensor:
        """The logit of "Yes"; a layer-wise model gives its score as it is."""
        return last if self._yes is None else last[:, self._yes]

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        found = self.tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)
        return list(found["input_ids"])

    def _yes_token(self, name: str) -> int:
        (ids,) = self._plain(["Yes"])
        if len(ids) != 1 or ids[0] == self.tokenizer.unk_token_id:
            raise ModelError(_no_token(name, ["Yes"]))
        return ids[0]


class _ChatPrompt:
    """Qwen3's way: a chat in which the model is to say yes or no."""

    def __init__(self, tokenizer: Any, name: str) -> None:  # noqa: ANN401
        self._name = name
        self.tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        if missing := [word for word in ("no", "yes") if word not in vocabulary]:
            raise ModelError(_no_token(name, missing))
        self._answers = [vocabulary["no"], vocabulary["yes"]]
        self._before = tokenizer.encode(_QWEN_BEFORE, add_special_tokens=False)
        self._after = tokenizer.encode(_QWEN_AFTER, add_special_tokens=False)

    def tokenize(self, texts: Sequence[str], encoding: Encoding) -> Tokenized:
        """See `Reader`; the document stands last and is cut first.

        Raises:
            ModelError: the maximum length leaves no room for a pair.
        """
        around, max_length = len(self._before) + len(self._after), encoding.max_length
        if max_length is not None and max_length <= around + self.tokenizer.num_special_tokens_to_add():
            raise ModelError(
                f"{self._name}: a maximum length of {max_length} tokens leaves no room for a pair, for the words "
                f"around it take {around}; give a greater --max-length"
            )
        prompted = [
            f"<Instruct>: {_QWEN_INSTRUCTION if pair.instruction is None else pair.instruction}\n"
            f"<Query>: {pair.query}\n<Document>: {pair.document}"
            for pair in map(split_pair, texts)
        ]
        room = None if max_length is None else max_length - around
        found = self.tokenizer(prompted, truncation=room is not None, max_length=room, verbose=False)
        tokens = [[*self._before, *ids, *self._after] for ids in found["input_ids"]]
        return Tokenized({"input_ids": tokens}, [bool(item.overflowing) for item in found.encodings])

    def scores(self, last: torch.Tensor) -> torch.Tensor:
        """How likely yes is, if it is yes or no."""
        return torch.log_softmax(last[:, self._answers], dim=1)[:, 1].exp()


def _query_room(max_length: int | None) -> int | None:
    return None if max_length is None else max_length * _QUERY_SHARE[0] // _QUERY_SHARE[1]


def _no_token(name: str, words: Sequence[str]) -> str:
    quoted = " and ".join(f'"{word}"' for word in words)
    return (
        f"{name}: its tokenizer has no single token for {quoted}, which its scores are read from; see that the folder "
        "has the tokenizer of the model, and that --like names a card of a model of its own kind"
    )


def _template(model: ResolvedModel) -> PairTemplate:
    if model.spec.pair_template is None:
        own = model.options.cards
        known = [card.name for card in cards(own).values() if card.pair_template is not None]
        raise ModelError(
            f"{model.spec.name}: nothing tells how this language model is to be asked about a pair; give --like the "
            f"model that it was fine-tuned from, one of {shorten(known, len(known))}"
        )
    return model.spec.pair_template


def _check_head(name: str, config: Any) -> None:  # noqa: ANN401
    heads = list(config.architectures or ())
    if not any(head.endswith(_HEAD) for head in heads):
        hint = ""
        if any(head.endswith("ForSequenceClassification") for head in heads):
            hint = ". It has a classification head: give it without --like, or with --backend cross-encoder"
        raise ModelError(
            f"{name} is no causal language model (it is {shorten(heads) or 'of unknown architecture'}; expected "
            f"...{_HEAD}), so it cannot say yes or no{hint}"
        )


def _layer(model: ResolvedModel, config: Any, template: PairTemplate) -> int | None:  # noqa: ANN401
    """The layer whose score counts; None for models that have a score after the last layer only."""
    chosen = model.options.cutoff_layer
    if template != "layerwise":
        if chosen is not None:
            raise ModelError(
                f"{model.spec.name}: only layer-wise rerankers have scores of several layers; leave --cutoff-layer out"
            )
        return None
    first, last = int(getattr(config, "start_layer", 1)), int(config.num_hidden_layers)
    layer = last if chosen is None else chosen
    if not first <= layer <= last:
        raise ModelError(f"{model.spec.name}: there is no score of layer {layer}; expected {first} to {last}")
    return layer


open_kind = LLMRerankerKind
