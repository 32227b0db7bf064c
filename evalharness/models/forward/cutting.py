"""Where a long text may be cut before it is tokenized, so that the tokens of its beginning stay what they are.

Proof. A text is cut before a space that has an ASCII mark (! to ~) on both sides, and another or a space before them:
`wx y`.

1. Added tokens are found in the raw text, and in the normalised one. None holds a space after an ASCII mark (checked,
   raw and normalised), so none reaches over the cut; those that strip whitespace on their sides take the space at the
   most, which is not in the beginning; whether a word ends is the same before a space and at the end of a text.
2. Normalisers on the list work on a character, a grapheme, or a run of marks behind a letter. Of `wx y`, x and the
   space are graphemes by themselves, whatever stands before w, and what stands behind y can only join y. That the
   space stays the one space between ASCII marks is checked for every mark.
3. Pre-tokenizers on the list split at such a space, whatever else they do, and look ahead over whitespace alone.
4. Models give tokens to each piece by itself, without chance (checked).

So the tokens of the beginning are the first tokens of the whole text. If they are more than a model keeps, nothing else
of the text matters; if not, a longer beginning is tried, and at last the whole text. Other tokenizers get whole texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from evalharness.models.forward.arrays import Limits, Read, is_common, read

# of a beginning: characters per token that is kept, the first time; texts of any script have fewer, most of them
CHARACTERS = 6
# a beginning that was too short grows by this; a text that is not this many times as long is read whole
GROWTH, WORTH = 3, 2
# how many spaces are looked at before the text is given up for one without a place to cut
_LOOKS = 200
_PLACE = re.compile(r"[ -~][!-~] [!-~]")
_BEFORE = len("wx")
_MARKS = [chr(code) for code in range(ord("!"), ord("~") + 1)]

_NORMALIZERS = (
    "BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents", "Precompiled", "Strip", "Prepend",
)  # fmt: skip
_SPACES_TO_ONE = {"Regex": " {2,}"}
_SPLITTING = ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")
# they split, and change nothing
_NEUTRAL = ("Digits", "Punctuation")
_MODELS = ("WordPiece", "BPE", "Unigram", "WordLevel")
# of a model, what makes its tokens a matter of chance
_CHANCES = ("dropout", "alpha", "nbest_size")
# GPT-4's, and as Llama 3 and Qwen have it: a piece with a space inside begins with it
_PATTERNS = [
    rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
    for digits in (r"\p{N}", r"\p{N}{1,3}")
]


def can_cut(tokenizer: Any) -> bool:  # noqa: ANN401 -- transformers has no common type
    """Whether the proof holds for a fast tokenizer of transformers."""
    if not is_common(tokenizer) or tokenizer.truncation_side != "right":
        return False
    inside = tokenizer.backend_tokenizer
    if type(inside.model).__name__ not in _MODELS:
        return False
    if any(getattr(inside.model, chance, None) is not None for chance in _CHANCES):
        return False
    normalizer, splitter = _said(inside.normalizer), _said(inside.pre_tokenizer)
    if not all(map(_is_local, _steps(normalizer, "normalizers"))) or not _splits(_steps(splitter, "pretokenizers")):
        return False

    def normal(text: str) -> str:
        return text if inside.normalizer is None else str(inside.normalizer.normalize_str(text))

    if not all(_PLACE.search(found := normal(f"a{mark} {mark}a")) and found.count(" ") == 1 for mark in _MARKS):
        return False
    added = [str(token.content) for token in tokenizer.added_tokens_decoder.values()]
    return not any(re.search(r"[!-~] ", text) for content in added for text in (content, normal(content)))


def _said(part: Any) -> dict[str, Any] | None:  # noqa: ANN401 -- a part of a tokenizer
    """What a normaliser or pre-tokenizer is, as tokenizer.json says it."""
    found: dict[str, Any] | None = None if part is None else json.loads(part.__getstate__())
    return found


def _steps(part: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    return [step for item in part[inner] for step in _steps(item, inner)] if part["type"] == "Sequence" else [part]


def _is_local(step: dict[str, Any]) -> bool:
    if step["type"] == "Replace":
        pattern, content = step["pattern"], step["content"]
        if pattern == _SPACES_TO_ONE:
            return bool(content == " ")
        return "String" in pattern and " " not in pattern["String"] and all("!" <= mark <= "~" for mark in content)
    return step["type"] in _NORMALIZERS


def _splits(steps: Sequence[dict[str, Any]]) -> bool:
    """Whether one of the steps splits at a space, before any other changes the text."""
    known = [*_SPLITTING, *_NEUTRAL, "Metaspace", "ByteLevel"]
    for place, step in enumerate(steps):
        if _is_splitting(step):
            return all(other["type"] in known or _is_splitting(other) for other in steps[place:])
        if step["type"] not in _NEUTRAL:
            return False
    return False


def _is_splitting(step: dict[str, Any]) -> bool:
    kind = step["type"]
    if kind == "Metaspace":
        return bool(step.get("split", True))
    if kind == "ByteLevel":
        return bool(step.get("use_regex", True))
    if kind == "Split":
        is_known = step["pattern"].get("Regex") in _PATTERNS
        return is_known and step["behavior"] == "Isolated" and not step["invert"]
    return kind in _SPLITTING


def read_beginnings(tokenizer: Any, texts: Sequence[str], limits: Limits) -> Read:  # noqa: ANN401
    """What `read` gives for whole texts, of as little of them as shows it.

    Args:
        tokenizer: one that can be cut for, see `can_cut`.
        texts: at least one.
        limits: with a number of tokens that are kept; where there is none, texts are read whole.
    """
    if limits.max_length is None:
        return read(tokenizer, texts, limits)
    characters = max(limits.max_length, 1) * CHARACTERS
    given = [_beginning(text, characters) for text in texts]
    found = read(tokenizer, given, limits)
    while waiting := [
        place for place, text in enumerate(given) if not found.cut[place] and len(text) < len(texts[place])
    ]:
        characters *= GROWTH
        again = [_beginning(texts[place], characters) for place in waiting]
        _replace(found, waiting, read(tokenizer, again, limits))
        for place, text in zip(waiting, again, strict=True):
            given[place] = text
    return found


def _replace(found: Read, places: Sequence[int], others: Read) -> None:
    for name, rows in found.columns.items():
        for place, row in zip(places, others.columns[name], strict=True):
            rows[place] = row
    found.cut[places] = others.cut


def _beginning(text: str, characters: int) -> str:
    """No more than so many characters, or the whole text where that saves little or there is no place to cut."""
    if len(text) < WORTH * characters:
        return text
    end = characters
    for _ in range(_LOOKS):
        end = text.rfind(" ", _BEFORE, end)
        if end < 0:
            return text
        if _PLACE.match(text, end - _BEFORE):
            return text[:end]
    return text
