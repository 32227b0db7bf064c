"""Whatever stands in the texts of a task, an explanation has its tables and headings and nothing else."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from support.comparisons import TEXTS

from evalharness.compare.comparison import Range, Side
from evalharness.compare.explanation import Change, Explanation, Fact, Hit, Passage, Rankings, Relevant, Slice
from evalharness.compare.explanation_markdown import render

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
BASE = Side("org/base", "b" * 40, {}, "base", "mteb")
NASTY = ["- a\n- b", "1. a", "> a", "```\na\n```", "| a | b |\n|---|---|\n| c | d |", "\u202eabc", "שלום עולם", "", " "]
ANY_TEXT = st.one_of(TEXTS, st.sampled_from(NASTY), TEXTS.map(lambda text: text * 60))


def explanation(text: str, other: str, *, rankings: bool = True) -> Explanation:
    hits = [Hit(other, text, 1), Hit(text, other, None), Hit("d", None, 0)]
    found = Rankings(hits, hits[:1], [Relevant(other, text, 2, 1, None)], more=3)
    change = Change(
        id=text,
        task=other,
        split=other,
        subset=text,
        adds=-0.01,
        facts=[Fact("label", text, other), Fact("correct", 0.5, float("nan"))],
        texts=[Passage("text", text), Passage("found by the base", other)],
        rankings=found if rankings else None,
    )
    slices = [
        Slice("subset", text, 12, 0.5, 0.4, Range(-0.2, -0.05), 0.001, 0.002, differs=True),
        Slice("label", other, 3, 0.5, 0.4),
    ]
    return Explanation(
        task=other,
        type=text,
        metric=other,
        base=BASE,
        candidate=Side(text, other, {"prompt": text}, text, "mteb"),
        base_score=0.5,
        candidate_score=0.4,
        items=100,
        lost=50,
        gained=20,
        losses=[change],
        gains=[],
        slices=slices,
        measure=other,
        notes=[f"No texts are shown: {text}"],
    )


def opened(tokens: list[Token]) -> list[str]:
    return [token.type for token in tokens if token.type.endswith("_open") or token.type.endswith("block")]


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT, ANY_TEXT)
def test_texts_stay_texts(text: str, other: str) -> None:
    shown = render(explanation(text, other))
    tokens = PARSER.parse(shown)
    assert opened(tokens) == opened(PARSER.parse(render(explanation("a", "b"))))
    inline = {child.type for token in tokens for child in token.children or ()}
    assert inline <= {"text", "strong_open", "strong_close", "em_open", "em_close", "softbreak", "text_special"}
    assert re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown) is None
    # nobody is told, and no issue is linked to
    assert re.search(r"(?<!&)[@#]\w", re.sub(r"^#+ ", "", shown, flags=re.MULTILINE)) is None


def test_long_texts_keep_their_ends_and_say_how_long_they_are() -> None:
    text = f"begins {'x' * 5_000} ends"
    shown = render(explanation(text, "b", rankings=False))
    assert f"({len(text):,} characters): begins xxx" in shown
    assert "xxx ends" in shown
    assert len(shown) < 5_000


def test_empty_texts_are_told() -> None:
    assert "**text**: *empty*" in render(explanation("", "b"))


def test_where_an_item_is_stands_beside_it_only_if_there_are_several_places() -> None:
    found = explanation("q", "T")
    assert "### q (T: T, q): -1 points" in render(found)


def test_of_many_labels_those_are_shown_that_differ_or_changed_most() -> None:
    labels = [Slice("label", f"label {n}", 20, 0.5, 0.5 + n / 1_000, differs=n == 3) for n in range(100)]
    found = explanation("a", "b")
    shown = render(Explanation(**{name: getattr(found, name) for name in found.__slots__} | {"slices": labels}))
    rows = [line for line in shown.splitlines() if line.startswith("| label ") and "|  |" not in line[:9]]
    names = [line.split("|")[1].strip() for line in rows if "label " in line and "20 |" in line]
    assert names == ["label 3", *(f"label {n}" for n in range(81, 100))]
    assert "80 slices with smaller differences are left out." in shown
