"""`evalharness compare`: whose results, by which rules, and where it goes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from evalharness.cli.explain import check_alone, print_explanation
from evalharness.cli.lists import split_lists
from evalharness.cli.shell import ExitCode, tell
from evalharness.errors import UsageError, unknown_names

if TYPE_CHECKING:
    from evalharness.catalog.tasks import TaskList
    from evalharness.compare.comparison import Settings
    from evalharness.compare.formats import Judged
    from evalharness.compare.gate import GateKind, GateRules

_POINTS = 100
_ADJUSTMENTS = {"holm": "holm", "bh": "benjamini-hochberg"}
_TERMINAL = "terminal"


def compare(  # noqa: PLR0913, PLR0917 -- a command has a parameter per flag
    base: Annotated[str, typer.Argument(help="Results, FOLDER:model, a baseline, or published scores (JSON).")],
    candidates: Annotated[list[str], typer.Argument(help="The same, one or several; several are a series.")],
    tasks: Annotated[list[str] | None, typer.Option(help="Task names or task files; default: all of the base.")] = None,
    suite: Annotated[list[str] | None, typer.Option(help="The tasks of this suite.")] = None,
    benchmark: Annotated[list[str] | None, typer.Option(help="The tasks of this benchmark.")] = None,
    gate: Annotated[str | None, typer.Option(help="regression, or non-inferiority: exit 1 if it fails.")] = None,
    rules: Annotated[Path | None, typer.Option(help="gate.toml: tolerances, minimum scores, required tasks.")] = None,
    tolerance: Annotated[
        float | None, typer.Option(min=0, max=_POINTS, help="Points nobody minds; default 0.3.")
    ] = None,
    adjust: Annotated[str | None, typer.Option(help="holm (default of a gate) or bh (default without one).")] = None,
    draws: Annotated[int, typer.Option(min=1_000, max=1_000_000, help="Resamples.")] = 10_000,
    seed: Annotated[int | None, typer.Option(help="Of the resamples.")] = None,
    format: Annotated[str, typer.Option(help="Of what is printed: terminal, md, json, junit, github.")] = _TERMINAL,  # noqa: A002 -- the flag's name
    write: Annotated[
        list[str] | None, typer.Option(help="FORMAT=FILE: also write this (or summary); may be given again.")
    ] = None,
    explain: Annotated[str | None, typer.Option(help="Instead: why this task (or task file) changed.")] = None,
    explain_items: Annotated[
        int | None, typer.Option(min=1, help="Losses shown, and as many gains; default 10.")
    ] = None,
    store: Annotated[Path | None, typer.Option(help="Embedding store, for rankings that nobody kept.")] = None,
) -> None:
    """Compare results: differences, intervals, p-values, verdicts.

    With --gate the exit code is 0 if the candidate passes, 1 if not, 3 if nothing is worse but something could not be
    judged; 2 is wrong usage, a damaged baseline, or nothing to compare.
    """
    from evalharness.compare.formats import Judged, formats, render
    from evalharness.compare.gate import GateRules, judge, read_rules
    from evalharness.compare.judging import compare_results
    from evalharness.compare.sides import read_side

    lists = {"--tasks": tasks, "--suite": suite, "--benchmark": benchmark}
    others = {**lists, "--gate": gate, "--rules": rules, "--tolerance": tolerance, "--adjust": adjust, "--write": write}
    others["--format"] = None if format in (_TERMINAL, "md", "markdown") else format
    check_alone(explain, others, {"--explain-items": explain_items, "--store": store})
    if explain is not None:
        print_explanation(base, candidates, explain, explain_items, store)
        return
    kind = _kind(gate)
    files = _files(write or ())
    if format not in formats():
        raise UsageError(unknown_names("format", [format], formats()))
    asked = read_rules(rules) if rules is not None else GateRules()
    asked = asked if tolerance is None else asked.model_copy(update={"tolerance": tolerance})
    settings = _settings(asked, kind, adjust, draws, seed)
    if kind is not None and len(candidates) > 1:
        # every candidate is another chance for a false alarm
        settings = replace(settings, alpha=settings.alpha / len(candidates))
    wanted = _wanted(lists)
    results = [read_side(name) for name in (base, *candidates)]
    judged = []
    for candidate in results[1:]:
        comparison = compare_results(results[0], candidate, wanted, settings)
        judged.append(Judged(comparison, None if kind is None else judge(comparison, asked, kind)))
    for name, path in files:
        _write(path, render(judged, name))
    typer.echo(render(judged, format), nl=False)
    if code := exit_code(judged):
        raise typer.Exit(code)


def exit_code(judged: Sequence[Judged]) -> int:
    """0 if all pass, or nobody asked; 1 if something is worse; 3 if something could only not be judged."""
    outcomes = [item.outcome for item in judged if item.outcome is not None and not item.outcome.passes]
    if not outcomes:
        return 0
    return ExitCode.INCOMPLETE if all(outcome.is_only_unjudged for outcome in outcomes) else ExitCode.REGRESSION


def _kind(gate: str | None) -> GateKind | None:
    from evalharness.compare.gate import GateKind

    if gate is not None and gate not in get_args(GateKind):
        raise UsageError(unknown_names("gate", [gate], get_args(GateKind)))
    return cast("GateKind | None", gate)


def _settings(rules: GateRules, kind: GateKind | None, adjust: str | None, draws: int, seed: int | None) -> Settings:
    from evalharness.compare.comparison import Adjustment, Settings

    name = adjust or ("bh" if kind is None else "holm")
    if name not in _ADJUSTMENTS:
        raise UsageError(unknown_names("adjustment", [name], _ADJUSTMENTS))
    made = Settings(
        tolerance=rules.tolerance / _POINTS,
        tolerances=rules.tolerances(),
        alpha=rules.alpha,
        adjustment=cast("Adjustment", _ADJUSTMENTS[name]),
        draws=draws,
        optional=rules.optional(),
    )
    return made if seed is None else replace(made, seed=seed)


def _wanted(named_lists: Mapping[str, Sequence[str] | None]) -> TaskList | None:
    """All tasks that are named, as one list; None if none are."""
    from evalharness.catalog.lists import task_lists
    from evalharness.catalog.tasks import Member, TaskList, name_of

    lists = split_lists(named_lists)
    found = task_lists(lists["--suite"], lists["--benchmark"])
    named = [Member(task=name_of(name)) for name in lists["--tasks"]]
    members = {member.task: member for member in [*named, *(member for item in found for member in item.tasks)]}
    if not members:
        return None
    names = [*lists["--tasks"], *(item.name for item in found)]
    return TaskList(name=", ".join(names), tasks=tuple(members.values()))


def _files(named: Sequence[str]) -> list[tuple[str, Path]]:
    """What is to be written where.

    Raises:
        UsageError: one is not FORMAT=FILE, or has an unknown format, or is of something else than a file.
    """
    from evalharness.compare.formats import formats

    found = []
    for text in named:
        name, equals, path = text.partition("=")
        if not (equals and path):
            raise UsageError(f"--write {text}: expected FORMAT=FILE, for example md=comparison.md")
        if name not in formats():
            raise UsageError(f"--write {text}: {unknown_names('format', [name], formats())}")
        if Path(path).exists() and not (Path(path).is_file() or Path(path).is_dir()):
            # a file would take its place
            raise UsageError(f"--write {text}: {path} is a device or a pipe; name a file")
        found.append((name, Path(path)))
    return found


def _write(path: Path, text: str) -> None:
    from evalharness.files import atomic_path, check_writable, storage_errors

    check_writable(path.parent)
    advice = "name another file with --write"
    with (
        storage_errors(path.parent, f"the comparison cannot be written to {path}", advice),
        # what a link leads to is replaced, not the link
        atomic_path(Path(os.path.realpath(path))) as temporary,
    ):
        temporary.write_text(text, encoding="utf-8")
    tell(f"written: {path}")
