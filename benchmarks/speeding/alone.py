"""Parts alone, each with its peers in turn: scoring, search, start-up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ranking_speed
import scoring_speed
import search_speed

_DOCUMENTS = (100_000, 1_000_000)
_HERE = Path(__file__).resolve().parents[1]
_SIZES = (1_000, 20_000)
# mteb takes minutes for so many rows of these, so they are measured once, or not at all
_SLOW = {
    "classification, 2 labels": 1,
    "classification, 20 labels": 0,
    "classification, 77 labels": 0,
    "multilabel classification": 0,
}


def scoring(rounds: int) -> str:
    """The section: every type but those that rank."""
    found = []
    for kind in scoring_speed.KINDS:
        for size in _SIZES:
            times = _SLOW.get(kind, rounds) if size == _SIZES[-1] else rounds
            for line in scoring_speed.lines([kind], [size] if times else [], times):
                found.append(line.markdown())
                print(found[-1], flush=True)
    text = "\n".join([scoring_speed.HEADER, scoring_speed.RULE, *found])
    return (
        "## Scoring alone\n\nEqual vectors, no model; metrics are equal to six decimals. mteb: `task.evaluate` without "
        f"the seconds inside `encode`. Medians of {rounds}.\n\n{text}\n"
    )


def rankings(rounds: int) -> str:
    """The section: retrieval, reranking, and reranking of MindSmall's shape."""
    found = []
    for line in ranking_speed.lines(rounds=rounds):
        found.append(line.markdown())
        print(found[-1], flush=True)
    text = "\n".join([ranking_speed.HEADER, ranking_speed.RULE, *found])
    return (
        "## Scoring of rankings alone\n\nEqual rankings (retrieval) or vectors (reranking); metrics are equal to 1e-6. "
        f"Medians of {rounds}. The last row is MindSmall's shape.\n\n{text}\n"
    )


def search() -> str:
    """The section: exact search of the 1,000 best documents for 1,000 queries."""
    command = [sys.executable, str(_HERE / "search_speed.py"), *map(str, _DOCUMENTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    print(done.stdout, flush=True)
    queries, width, depth = search_speed.QUERIES, search_speed.DIMENSIONS, search_speed.K
    return (
        f"## Search alone\n\n{queries:,} queries, vectors of {width} float32 numbers, the {depth:,} best documents; "
        f"scores of all are equal to {search_speed.FAR_APART:g}.\n\n{done.stdout}"
    )


def starts() -> str:
    """The section: short commands."""
    done = subprocess.run([sys.executable, str(_HERE / "starts.py")], capture_output=True, text=True, check=False)
    print(done.stdout, flush=True)
    lines = "\n".join(f"- {line}" for line in done.stdout.splitlines())
    return f"## Start-up\n\nSeconds of a processor from start to end, the least of five.\n\n{lines}\n"
