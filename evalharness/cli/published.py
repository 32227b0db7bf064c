"""The flags of `evalharness report` that show what others published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evalharness.errors import UsageError, unknown_names

if TYPE_CHECKING:
    from evalharness.reports.board import Board
    from evalharness.reports.building.choosing import Choice
    from evalharness.results.stored import StoredRun


@dataclass(frozen=True, slots=True)
class Public:
    """What is shown of published scores.

    Attributes:
        with_scores: whether public models stand beside results.
        nearest: how many, of those nearest to each row of results; None for all that are complete.
        clone: a clone of the public results repository; None for what comes with evalharness.
        names: of printed tables.
    """

    with_scores: bool
    nearest: int | None
    clone: Path | None
    names: Sequence[str]

    @property
    def has_rows(self) -> bool:
        """Whether public models stand beside results."""
        return self.with_scores or self.nearest is not None or self.clone is not None

    @property
    def is_asked(self) -> bool:
        """Whether there is something to show without any results."""
        return self.has_rows or bool(self.names)

    def check(self) -> None:
        """Raises UsageError where there is no such table, or no such folder."""
        from evalharness.reports.printed import table_names

        wrong = [name for name in self.names if name not in table_names()]
        problems = [unknown_names("published table", wrong, table_names())] if wrong else []
        if self.clone is not None and not self.clone.is_dir():
            problems.append(
                f"--published: no such folder: {self.clone.absolute()}; "
                "give your clone of github.com/embeddings-benchmark/results"
            )
        if problems:
            raise UsageError("\n".join(problems))

    def is_alone(self, *, named: bool, choice: Choice) -> bool:
        """Whether printed tables are all that was asked for.

        Args:
            named: whether folders of results were.
            choice: what else.
        """
        return bool(self.names) and not (named or self.has_rows or choice.lists or choice.tasks)

    def runs(self, own: Sequence[StoredRun], choice: Choice) -> list[StoredRun]:
        """The public rows: see `public_runs`."""
        from evalharness.reports.building.public import public_runs

        is_boxed = self.with_scores or (self.has_rows and self.clone is None)
        return public_runs(own, choice, self.clone, is_boxed=is_boxed)

    def tables(self) -> list[Board]:
        """The printed tables."""
        from evalharness.reports.printed import table_boards

        return [board for name in self.names for board in table_boards(name)]
