"""A model's tokenizer, held against what it has to fit: its files, the token vectors, the length of an input."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Any

from transformers import AutoTokenizer

from evalharness.errors import ModelError, clip
from evalharness.models.forward.weights import library_errors, silent
from evalharness.models.layout import TOKENIZER_FILES, inner_path
from evalharness.models.registry import ResolvedModel
from evalharness.reading import checked, read_object

# rows of a matrix without a token, which round its size up or are kept for later
_PADDING_ROWS, _PADDING_SHARE = 1024, 100
# entries that transformers takes no notice of; old versions of it wrote them
_UNREAD_FILES = ("special_tokens_map_file", "tokenizer_config_file", "added_tokens_file")


def load_tokenizer(model: ResolvedModel) -> Any:  # noqa: ANN401 -- transformers has no common type
    """The model's fast tokenizer; see also `check_vocabulary`.

    Raises:
        ModelError: its files are missing or damaged, or it is a slow one.
    """
    spec, folder = model.spec, model.facts.transformer
    check_tokenizer_files(model)
    with library_errors(model, "the tokenizer cannot be loaded"), silent():
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=spec.remote_code)
    if not tokenizer.is_fast:
        raise ModelError(f"{spec.name}: needs a fast tokenizer (tokenizer.json), found {type(tokenizer).__name__}")
    checked(
        tokenizer.model_max_length, (int, float), f"{folder / 'tokenizer_config.json'}, model_max_length", ModelError
    )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def padding_facts(tokenizer: Any) -> dict[str, str]:  # noqa: ANN401 -- transformers has no common type
    """What a backend's identity says of padding: nothing where our side, the right one, is the tokenizer's own, too.

    Vectors of before there was one side for all must not be found again: those of learned positions depended on the
    other texts of a batch.
    """
    return {} if tokenizer.padding_side == "right" else {"padding": "right"}


def check_tokenizer_files(model: ResolvedModel) -> None:
    """See that there are files to make a tokenizer from: without them, transformers makes up one that knows no word.

    Raises:
        ModelError: there are none, or they name files elsewhere.
    """
    folder = model.facts.transformer
    names = [path.name for path in folder.iterdir()]
    whole = any(fnmatch(name, pattern) for name in names for pattern in TOKENIZER_FILES)
    if not whole and not {"vocab.json", "merges.txt"} <= set(names):
        raise ModelError(
            f"{model.spec.name}: has no tokenizer in {folder}; expected tokenizer.json, or the files that one can be "
            "made from (vocab.txt, vocab.json with merges.txt, or a SentencePiece or tiktoken model). Fetch all files "
            "of the model, or save its tokenizer beside it"
        )
    path = folder / "tokenizer_config.json"
    for key, value in (read_object(path, ModelError) if path.is_file() else {}).items():
        if key.endswith("_file") and key not in _UNREAD_FILES and value is not None:
            where = f"{path}, {key}"
            if not inner_path(value, where) or "/" in value:
                raise ModelError(f"{where}: {clip(value)} is no plain name of a file; take the entry out")


def check_vocabulary(name: str, tokenizer: Any, rows: int | None) -> None:  # noqa: ANN401
    """Hold a tokenizer against the matrix of token vectors that its ids point into.

    Args:
        name: the model's, for errors.
        tokenizer: one of transformers'.
        rows: how many vectors there are; None where nobody knows.

    Raises:
        ModelError: they are not of the same model, or one of them was cut.
    """
    if rows is None:
        return
    tokens = tokenizer.get_vocab()
    # some models have marks for pictures, without vectors; a text that holds one is an error then (`BatchRunner`)
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    ids = [number for token, number in tokens.items() if token not in special]
    last = max(ids, default=-1)
    advice = "Give the folder with the tokenizer that belongs to the weights, whole"
    if last >= rows:
        raise ModelError(
            f"{name}: the tokenizer has a token with the number {last}, but the weights have vectors for the numbers "
            f"0 to {rows - 1} only. {advice}"
        )
    if not ids or rows - len(tokens) > max(_PADDING_ROWS, rows // _PADDING_SHARE):
        raise ModelError(
            f"{name}: the tokenizer knows {len(tokens)} tokens, but the weights have vectors for {rows}; most words "
            f"would be unknown. {advice}"
        )


def check_room(name: str, max_length: int | None, special: int, texts: int = 1) -> None:
    """See that the longest input has room for text.

    Args:
        name: the model's, for errors.
        max_length: tokens of the longest input.
        special: how many of them the tokenizer puts around the texts.
        texts: how many texts there are in an input.

    Raises:
        ModelError: there is no room for a token of each.
    """
    if max_length is not None and max_length < special + texts:
        raise ModelError(
            f"{name}: a maximum length of {max_length} tokens leaves no room for text, for {special} go "
            f"around it; give --max-length {special + texts} or more"
        )
