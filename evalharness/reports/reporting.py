"""`evalharness.report(...)`: what the command of that name does, as a value."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from evalharness.catalog.lists import task_lists
from evalharness.errors import UsageError, shorten
from evalharness.files import atomic_path, check_writable, storage_errors
from evalharness.reports import frames, notebook
from evalharness.reports.board import Board
from evalharness.reports.building.boards import Choice, make_boards
from evalharness.reports.building.choosing import wanted_tasks
from evalharness.reports.building.public import public_runs
from evalharness.reports.formats import format_of, render, uncoloured
from evalharness.reports.plots import Plotted, save_plots
from evalharness.results.evaluation import Evaluation
from evalharness.results.stored import StoredRun, read_runs

if TYPE_CHECKING:
    import pandas as pd

Results: TypeAlias = str | PathLike[str] | Evaluation | StoredRun
Names: TypeAlias = str | Sequence[str]


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """Leaderboards, which a notebook shows as tables.

    Attributes:
        boards: one for each list and protocol.
    """

    boards: Sequence[Board]

    @property
    def summary(self) -> pd.DataFrame:
        """A line per model: means, ranks, facts; columns as `evalharness.reports.frames.SUMMARY` says."""
        return frames.summary(self.boards)

    @property
    def types(self) -> pd.DataFrame:
        """A line per model and task type; columns as `evalharness.reports.frames.TYPES` says."""
        return frames.types(self.boards)

    @property
    def tasks(self) -> pd.DataFrame:
        """A line per model and task; columns as `evalharness.reports.frames.TASKS` says."""
        return frames.tasks(self.boards)

    @property
    def subsets(self) -> pd.DataFrame:
        """A line per model, task, split and subset; columns as `evalharness.reports.frames.SUBSETS` says."""
        return frames.subsets(self.boards)

    def render(self, format: str) -> str:  # noqa: A002 -- as the command calls it
        """All boards in a format that `evalharness report --format` knows.

        Raises:
            UsageError: there is no such format.
        """
        return render(self.boards, format)

    def markdown(self) -> str:
        """All boards as markdown."""
        return self.render("markdown")

    def save(self, path: str | PathLike[str], format: str | None = None) -> None:  # noqa: A002 -- as above
        """Write all boards to a file, whole or not at all, in the format that its ending says if none is named.

        Raises:
            UsageError: there is no such format, or the path is a folder.
            StorageError: the file cannot be written.
        """
        file = Path(path)
        text = self.render(format_of(format, file, flag="", advice="Name the format: save(path, format='md')"))
        check_writable(file.parent)
        if file.is_dir():
            raise UsageError(f"{file} is a folder; name a file, for example {file / 'report.md'}")
        how = "choose another file"
        with (
            storage_errors(file.parent, f"the report cannot be written to {file}", how),
            # what a link leads to is replaced, not the link
            atomic_path(Path(os.path.realpath(file))) as temporary,
        ):
            temporary.write_text(uncoloured(text), encoding="utf-8")

    def plot(self, names: Names, folder: str | PathLike[str]) -> Plotted:
        """Draw all boards, as SVG and PNG: `curve`, `types`, `pareto`.

        Returns:
            The files, and which boards lack what a plot shows.

        Raises:
            UsageError: there is no such plot, or no board has what it shows.
            PrerequisiteError: matplotlib is not installed.
            StorageError: a file cannot be written.
        """
        place = Path(folder)
        with storage_errors(place, f"the plots cannot be written to {place}", "choose another folder"):
            return save_plots(self.boards, _listed(names), place)

    def _repr_html_(self) -> str:
        return notebook.to_html(self.boards)

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def __repr__(self) -> str:
        return self.render("terminal").rstrip("\n")


def report(
    results: Results | Sequence[Results] = "results",
    *,
    suite: Names = (),
    benchmark: Names = (),
    tasks: Names = (),
    choice: Choice | None = None,
    published: bool | str | PathLike[str] = False,
) -> Report:
    """Make leaderboards from results: what `python -m evalharness report` does, as a value.

    Args:
        results: folders with results, what `evaluate` gave (all that its folder holds), or runs that were read before;
            one or several.
        suite: a board for each of these suites, or for each list of a TOML file.
        benchmark: a board for each of these.
        tasks: without a list these tasks are the board; else what is kept of each.
        choice: everything else: task types, languages, models, order; see `Choice`.
        published: whether public models stand beside yours: those that come with evalharness, or those of your clone
            of the public results repository.

    Raises:
        UsageError: something that was named does not exist.
        DataError: there are no results.
    """
    choice = choice or Choice()
    lists = [*choice.lists, *task_lists(_listed(suite), _listed(benchmark))]
    chosen = replace(choice, lists=lists, tasks=[*choice.tasks, *_listed(tasks)])
    clone = Path(published) if isinstance(published, (str, PathLike)) else None
    if clone is not None and not clone.is_dir():
        raise UsageError(
            f"no such folder: {clone.absolute()}; name your clone of github.com/embeddings-benchmark/results"
        )
    runs = _runs(results, wanted_tasks(chosen))
    if clone is not None:
        runs += public_runs(runs, chosen, clone, is_boxed=False)
    elif published or chosen.nearest is not None:
        runs += public_runs(runs, chosen)
    return Report(make_boards(runs, chosen))


def _listed(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _runs(results: Results | Sequence[Results], wanted: Collection[str] | None) -> list[StoredRun]:
    """All runs, those of folders before those that were read before; of folders the wanted tasks, None for all."""
    named = [results] if isinstance(results, (str, PathLike, Evaluation, StoredRun)) else list(results)
    runs = [one for one in named if isinstance(one, StoredRun)]
    places = [
        Path(one.folder if isinstance(one, Evaluation) else one) for one in named if not isinstance(one, StoredRun)
    ]
    if missing := [str(place.absolute()) for place in places if not place.is_dir()]:
        raise UsageError(f"no such folder: {shorten(missing)}; name one that a run has written")
    if not named:
        raise UsageError("there are no results to report; name a folder, or what evaluate gave")
    return [*(read_runs(places, wanted) if places else []), *runs]
