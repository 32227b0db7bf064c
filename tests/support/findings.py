"""Findings and comparisons by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evalharness.compare.comparison import Comparison, Finding, Range, Settings, Side, Verdict

BASE = Side("me/base", "1" * 40, {}, "results/base", "mteb")
CANDIDATE = Side("me/candidate", "2" * 40, {}, "results/candidate", "mteb")


def finding(name: str, verdict: Verdict, /, **facts: Any) -> Finding:
    """A finding with this verdict, and otherwise with facts that are possible."""
    found = Finding(
        name=name, level="task", type="STS", metric="cosine_spearman", base=0.8, candidate=0.79, verdict=verdict
    )
    if verdict is Verdict.NOT_COMPARED:
        found = replace(found, candidate=None, why="the candidate has no result (not run)")
    elif verdict is Verdict.BY_SCORE:
        found = replace(found, why="the base has scores only, without items")
    else:
        found = replace(
            found,
            interval=Range(-0.015, -0.005),
            p_value=0.001,
            adjusted=0.004,
            p_beyond=0.02,
            smallest=0.006,
            items=1379,
            clusters=1300,
            method="sign-flip permutation, 10,000 draws; interval: studentised",
        )
    return replace(found, **facts)


def comparison(*tasks: Finding, means: Sequence[Finding] = ()) -> Comparison:
    """A comparison with these findings."""
    return Comparison(BASE, CANDIDATE, tasks, (), means, Settings())
