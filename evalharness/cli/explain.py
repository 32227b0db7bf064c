"""`evalharness compare --explain`: which task, and what goes to standard output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from evalharness.cli.shell import tell
from evalharness.errors import UsageError, shorten

_ITEMS = 10


def print_explanation(base: str, candidates: Sequence[str], task: str, items: int | None, store: Path | None) -> None:
    """Print why a task changed, as markdown.

    Args:
        base: results, as the command names them.
        candidates: the same; only one can be explained.
        task: name of the task, or path of its task file.
        items: how many losses, and as many gains; None for the usual number.
        store: folder of the embedding store; None for the usual one.

    Raises:
        UsageError: there are several candidates, or the task cannot be explained.
    """
    from evalharness.compare.explanation_markdown import render
    from evalharness.compare.sides import read_side
    from evalharness.run.explaining import ExplainRequest, explain

    if len(candidates) > 1:
        raise UsageError(f"--explain is about one candidate, got {len(candidates)}: {shorten(candidates)}")
    sides = [read_side(name) for name in (base, *candidates)]
    request = ExplainRequest(task, _ITEMS if items is None else items, store, say=tell)
    typer.echo(render(explain(sides[0], sides[1], request)), nl=False)


def check_alone(task: str | None, others: Mapping[str, object], own: Mapping[str, object]) -> None:
    """See that no flag is given that would do nothing.

    Args:
        task: of --explain, if it is given.
        others: flags of a comparison, with their values.
        own: flags of an explanation.

    Raises:
        UsageError: one is.
    """
    useless = others if task is not None else own
    if given := [flag for flag, value in useless.items() if value not in (None, [])]:
        why = "explains one task and compares nothing else" if task is not None else "is not given"
        raise UsageError(f"--explain {why}; leave {' and '.join(given)} out")
