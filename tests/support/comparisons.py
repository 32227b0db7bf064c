"""Comparisons made by hand, and any that hypothesis likes, for what they look like."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import strategies as st

from evalharness.compare.comparison import (
    OVER_TASKS,
    OVER_TYPES,
    Comparison,
    Finding,
    Level,
    Range,
    Settings,
    Side,
    Verdict,
)
from evalharness.compare.gate import Failure, GateOutcome, GateRules, Reason, judge
from evalharness.compare.judged import Judged

NASTY = [
    "|", "\\", "\\|", "`", "``", "*", "_", "__", "[", "]", "](x)", "![", "<", ">", "<script>", "</td>", "<!--", "&lt;",
    "</details>", "]]>", "#", "\n", "\r\n", "\n\n", "\u2028", "\t", "\x1b[31m", "\0", "\u202e", "\u2066", "~~", "- ",
    "1. ", "---", "===", "https://a.b", "www.a.b", "[1]: x", "a", "b c", "é", "中文", " ", "$", "{", "\ud800", "\u200f",
    "+", "!", ":", ",", "::", "%", "%0A", "@someone", "#12", "GH-7", "\uffff", "\ufffe", "\x85",
    "👍🏽", "ｗｉｄｅ", "e\u0301",
]  # fmt: skip
TEXTS = st.one_of(st.lists(st.sampled_from(NASTY), max_size=12).map("".join), st.text(max_size=30))
ODD_NUMBERS = st.one_of(
    st.none(),
    st.floats(-1, 1),
    st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, -math.inf, 1e307, -1e308, 5e-324]),
)
BASE = Side("org/base", "b" * 40, {}, "results/base", "mteb")
# shown to be worse, to be better, and so on: a difference that fits
_DIFFERENCES = {Verdict.REGRESSED: -0.021, Verdict.IMPROVED: 0.012, Verdict.NO_WORSE: 0.0, Verdict.TOO_NOISY: -0.004}


def finding(
    name: str, verdict: Verdict, difference: float | None = None, *, level: Level = "task", needed: int | None = None
) -> Finding:
    """With numbers that fit its verdict."""
    if verdict in (Verdict.NOT_COMPARED, Verdict.BY_SCORE):
        candidate = None if verdict is Verdict.NOT_COMPARED else 0.6 + (difference or 0.0)
        return Finding(name, level, "", "", 0.6, candidate, verdict, why=f"{name} has other data")
    lost = _DIFFERENCES[verdict] if difference is None else difference
    return Finding(
        name=name,
        level=level,
        type="STS" if level == "task" else "",
        metric="cosine_spearman" if level == "task" else "",
        base=0.6,
        candidate=0.6 + lost,
        verdict=verdict,
        interval=Range(lost - 0.004, lost + 0.004),
        like_these=None if level == "task" else Range(lost - 0.02, lost + 0.02),
        p_value=0.04,
        adjusted=0.0004 if verdict is Verdict.REGRESSED else 0.2,
        p_beyond=0.5,
        smallest=0.0055,
        items=1500,
        clusters=1200,
        needed=needed,
        method="sign-flip permutation",
    )


def comparison(*tasks: Finding, model: str = "org/candidate", means: bool = True) -> Comparison:
    """Of these tasks, one type and the means."""
    over = [finding(name, Verdict.NO_WORSE, level="mean") for name in (OVER_TASKS, OVER_TYPES)] if means else []
    types = [finding("STS", Verdict.NO_WORSE, level="type")] if means else []
    return Comparison(BASE, Side(model, "c" * 40, {}, f"results/{model}", "mteb"), tasks, types, over, Settings())


def gated(found: Comparison, rules: GateRules | None = None) -> Judged:
    """With the outcome of a gate against regressions."""
    return Judged(found, judge(found, rules or GateRules(), "regression"))


def each_verdict() -> Comparison:
    """A task of each verdict, the worst last."""
    tasks = [finding(f"T-{verdict.name}", verdict) for verdict in reversed(Verdict)]
    return comparison(*[replace(one, needed=12_000) if one.verdict is Verdict.TOO_NOISY else one for one in tasks])


def many(count: int, model: str = "org/candidate") -> Judged:
    """Tasks of all verdicts, with a gate."""
    verdicts = list(Verdict)
    return gated(
        comparison(
            *[finding(f"Task{number}", verdicts[number % len(verdicts)]) for number in range(count)], model=model
        )
    )


RANGES = st.one_of(
    st.none(), st.builds(Range, ODD_NUMBERS.map(lambda x: x or 0.0), ODD_NUMBERS.map(lambda x: x or 0.0))
)


@st.composite
def findings(draw: st.DrawFn, level: Level) -> Finding:
    return Finding(
        name=draw(TEXTS),
        level=level,
        type=draw(TEXTS),
        metric=draw(TEXTS),
        base=draw(ODD_NUMBERS),
        candidate=draw(ODD_NUMBERS),
        verdict=draw(st.sampled_from(Verdict)),
        interval=draw(RANGES),
        like_these=draw(RANGES),
        p_value=draw(ODD_NUMBERS),
        adjusted=draw(ODD_NUMBERS),
        p_beyond=draw(ODD_NUMBERS),
        smallest=draw(ODD_NUMBERS),
        items=draw(st.integers(0, 10**6)),
        clusters=draw(st.integers(0, 10**6)),
        needed=draw(st.one_of(st.none(), st.integers(0, 10**12))),
        method=draw(TEXTS),
        why=draw(TEXTS),
        notes=draw(st.lists(TEXTS, max_size=2).map(tuple)),
    )


SIDES = st.builds(
    Side,
    TEXTS,
    TEXTS,
    st.dictionaries(TEXTS, st.one_of(TEXTS, ODD_NUMBERS, st.lists(ODD_NUMBERS, max_size=2)), max_size=2),
    TEXTS,
    TEXTS,
)


@st.composite
def judgements(draw: st.DrawFn) -> Judged:
    """Anything that the types allow."""
    tasks, types, means = (draw(st.lists(findings(level), max_size=2)) for level in ("task", "type", "mean"))
    settings = Settings(tolerances={"task": draw(st.dictionaries(TEXTS, st.floats(0, 1), max_size=2))})
    made = Comparison(draw(SIDES), draw(SIDES), tasks, types, means, settings, draw(st.lists(TEXTS, max_size=2)))
    if draw(st.booleans()):
        return Judged(made)
    names = st.one_of(TEXTS, st.sampled_from([one.name for one in made] or ["x"]))
    levels: st.SearchStrategy[Level | None] = st.sampled_from(["task", "type", "mean", None])
    failures = draw(st.lists(st.builds(Failure, names, st.sampled_from(Reason), TEXTS, levels), max_size=4))
    return Judged(made, GateOutcome("regression", failures))


SERIES = st.lists(judgements(), max_size=2)
