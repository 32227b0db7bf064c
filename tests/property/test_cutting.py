"""Texts that are cut before they are tokenized keep the tokens, and the flag, that whole texts have."""

from __future__ import annotations

import io
import re
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from evalharness.models.forward import cutting
from evalharness.models.forward.arrays import IDS, TYPES, Limits, read
from evalharness.models.forward.cutting import can_cut, read_beginnings

WORDS = "the of river stones fern's shade grow don't 12345 x. (a) caf\u00e9 na\u00efve \u0645\u0631\u062d \u4e2d\u6587"
CORPUS = [WORDS, WORDS.upper(), "a b c d e f g h i j k l m n o p q r s t u v w x y z 0 1 2 3 4 5 6 7 8 9 ! ? , ."] * 20
LLAMA = cutting._PATTERNS[1]


def wordpiece() -> Tokenizer:
    found = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=12))
    found.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", "[CLS]", "[SEP]"])
    )
    found.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return found


def unigram(normalizer: Any = None) -> Tokenizer:
    found = Tokenizer(models.Unigram())
    steps = [normalizer or normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    found.normalizer = normalizers.Sequence(steps)
    found.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>")
    found.train_from_iterator(CORPUS, trainer)
    found.post_processor = processors.RobertaProcessing(
        ("</s>", 1), ("<s>", 0), trim_offsets=False, add_prefix_space=False
    )
    return found


def sentence_piece() -> Tokenizer:
    """With XLM-R's own map of characters, which goes by graphemes."""
    written = io.BytesIO()
    import_module("sentencepiece").SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=written, vocab_size=100, hard_vocab_limit=False, minloglevel=2
    )
    proto = import_module("sentencepiece.sentencepiece_model_pb2").ModelProto()
    proto.ParseFromString(written.getvalue())
    return unigram(normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap))


def metaspace() -> Tokenizer:
    found = sentence_piece()
    found.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    return found


def byte_level() -> Tokenizer:
    found = Tokenizer(models.BPE())
    found.normalizer = normalizers.NFC()
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    found.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "  ", "   "]
    found.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=special)
    )
    return found


def llama() -> Tokenizer:
    found = byte_level()
    split = pre_tokenizers.Split(Regex(LLAMA), "isolated")
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    found.pre_tokenizer = pre_tokenizers.Sequence([split, last])
    return found


def plain_bpe() -> Tokenizer:
    """As Gemma's: a space is a letter like others, and no piece ends at it."""
    found = byte_level()
    found.normalizer = normalizers.Replace(" ", "\u2581")
    found.pre_tokenizer = None
    return found


def wrapped(found: Tokenizer, **options: Any) -> Any:
    names = {"unk_token": "[UNK]"} if found.token_to_id("[UNK]") is not None else {}
    make: Any = PreTrainedTokenizerFast
    tokenizer = make(tokenizer_object=found, **names, **options)
    tokenizer.add_tokens([AddedToken("<here>", lstrip=True, rstrip=True), AddedToken("ern", single_word=True)])
    return tokenizer


TOKENIZERS = {
    make.__name__: wrapped(make()) for make in (wordpiece, unigram, sentence_piece, metaspace, byte_level, llama)
}

ODD = [
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\r\n",
    "\u00a0",
    "\u3000",
    "\u200b",
    "\u200d",
    "\ufeff",
    "\x00",
    "\x07",
    "\x85",
    "\ufffd",
    "\u0301",
    "\u0308",
    "\u0600",
    "\u0345",
    "\u00a8",
    "\ufb01",
    "\u0130",
    "\u03a3",
    "\u1100\u1161",
    "\u0e33",
    "\u4e2d",
    "\u2581",
    "\U0001f468\u200d\U0001f469",
    "<here>",
    "[CLS]",
    "</s>",
    "<s>",
    " <here> ",
    "fern",
    "ern",
    "don't",
    "'s",
    "!",
    "...",
    "x",
    "river",
    "12345",
]
PARTS = st.one_of(
    st.sampled_from(ODD),
    st.sampled_from(WORDS.split()).map(lambda word: f"{word} "),
    st.tuples(st.sampled_from(ODD), st.integers(1, 60)).map(lambda item: item[0] * item[1]),
    st.text(max_size=6),
)
TEXTS = st.lists(st.lists(PARTS, max_size=40).map("".join), min_size=1, max_size=4)


def check(tokenizer: Any, texts: list[str], length: int, *, special: bool) -> None:
    limits = Limits(truncation=True, max_length=length, special=special)
    wanted, found = read(tokenizer, texts, limits), read_beginnings(tokenizer, texts, limits)
    for name in (IDS, TYPES):
        if name in wanted.columns:
            got, whole = found.columns[name], wanted.columns[name]
            assert [row.tolist() for row in got] == [row.tolist() for row in whole]
    assert found.cut.tolist() == wanted.cut.tolist()


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=150, deadline=None)
@given(texts=TEXTS, length=st.integers(4, 24), characters=st.integers(1, 6), special=st.booleans())
def test_tokens_are_those_of_whole_texts(
    name: str, texts: list[str], length: int, characters: int, special: bool
) -> None:
    tokenizer = TOKENIZERS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "CHARACTERS", characters)
        check(tokenizer, texts, length, special=special)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.one_of(PARTS, st.just(" "), st.just("a b")), max_size=30))
def test_at_every_place_the_tokens_before_it_stay(name: str, parts: list[str]) -> None:
    text = "".join(parts)
    places = [match.start() + cutting._BEFORE for match in re.finditer(f"(?={cutting._PLACE.pattern})", text)]
    whole, *starts = read(
        TOKENIZERS[name], [text, *(text[:place] for place in places)], Limits(truncation=False, special=False)
    ).columns[IDS]
    for start in starts:
        assert start.tolist() == whole[: len(start)].tolist()


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize(
    "text",
    [
        "x" * 5000,
        "\u0301" * 5000,
        "\u4e2d" * 5000,
        "\x07" * 5000,
        " " * 5000,
        "a" + " " * 5000 + "b c d " * 3,
        ("y" * 400 + " ") * 20,
        "\u0600x y " * 900,
        "<here> a b " * 500,
        "a\u0301 \u0301b " * 900,
        "a b" + "\x00" * 4000 + " c d" * 900,
    ],
)
def test_hostile_texts(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    assert can_cut(tokenizer)
    check(tokenizer, [text, "short", f"river of stones {text}", f"{text} river of stones"], 16, special=True)


def test_little_is_read_of_long_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counted(tokenizer: Any, texts: list[str], limits: Limits) -> Any:
        seen.extend(map(len, texts))
        return read(tokenizer, texts, limits)

    monkeypatch.setattr(cutting, "read", counted)
    for tokenizer in TOKENIZERS.values():
        check(tokenizer, ["the river of stones " * 5000, "a b"], 32, special=True)
    assert sum(seen) < 2000 * len(TOKENIZERS)


def test_tokenizers_without_a_proof_get_whole_texts() -> None:
    assert not can_cut(wrapped(plain_bpe()))
    assert not can_cut(wrapped(wordpiece(), truncation_side="left"))
    spaced = wrapped(wordpiece())
    spaced.add_tokens([AddedToken("New York")])
    assert not can_cut(spaced)
    chance = byte_level()
    chance.model.dropout = 0.5
    assert not can_cut(wrapped(chance))
    for normalizer in (normalizers.Replace(Regex("a b"), "c"), normalizers.Replace(" ", "x")):
        assert not can_cut(wrapped(unigram(normalizer)))
    for splitter in (
        pre_tokenizers.Split(Regex("a b"), "isolated"),
        pre_tokenizers.ByteLevel(use_regex=False),
        pre_tokenizers.Metaspace(split=False),
        pre_tokenizers.Digits(),
        pre_tokenizers.UnicodeScripts(),
        pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(use_regex=False), pre_tokenizers.WhitespaceSplit()]),
    ):
        odd = byte_level()
        odd.pre_tokenizer = splitter
        assert not can_cut(wrapped(odd))
