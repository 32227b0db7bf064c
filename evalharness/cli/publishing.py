"""The flags of `evalharness report` that write results in the forms that others read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evalharness.cli.shell import tell

if TYPE_CHECKING:
    from evalharness.reports.board import Board
    from evalharness.reports.publishing.own import OwnResults
    from evalharness.reports.publishing.writing import Publication
    from evalharness.results.stored import StoredRun


@dataclass(frozen=True, slots=True)
class Publishing:
    """Where each form goes; None for one that is not asked for.

    Attributes:
        eval_results, submit_to, every_eval_ever: folders.
        model_index: a file.
        source_url: where more can be read of the results.
        space: folder of a Space that shows the report.
    """

    eval_results: Path | None = None
    model_index: Path | None = None
    submit_to: Path | None = None
    every_eval_ever: Path | None = None
    source_url: str | None = None
    space: Path | None = None

    @property
    def places(self) -> list[Path]:
        """All that is asked for."""
        named = (self.eval_results, self.model_index, self.submit_to, self.every_eval_ever, self.space)
        return [place for place in named if place is not None]


def publish(wanted: Publishing, runs: Sequence[StoredRun], boards: Sequence[Board]) -> None:
    """Write what is asked for, and say what was left out.

    Args:
        wanted: what goes where.
        runs: as they were read.
        boards: which of them, and which of their tasks.

    Raises:
        UsageError: there is nothing to publish, or files of others are in the way.
        StorageError: files cannot be written.
    """
    if not wanted.places:
        return
    from evalharness.reports.publishing import eval_results, every_eval_ever, model_index, submission
    from evalharness.reports.publishing.own import own_results
    from evalharness.reports.publishing.space import FLAG, write_space

    own, url = own_results(runs, boards), wanted.source_url
    forms: list[tuple[Path | None, Callable[[Sequence[OwnResults], Path], Publication]]] = [
        (wanted.eval_results, lambda results, place: eval_results.write_eval_results(results, place, url)),
        (wanted.model_index, lambda results, place: model_index.write_model_index(results, place, url)),
        (wanted.submit_to, submission.write_submission),
        (wanted.every_eval_ever, lambda results, place: every_eval_ever.write_records(results, place, url)),
    ]
    done: list[Publication] = []
    for place, write in forms:
        if place is not None:
            done.append(write(own, place))
            _tell(done[-1])
    for line in _left_out(done):
        tell(line)
    if wanted.space is not None:
        made = write_space(boards, wanted.space)
        tell(f"{FLAG}: {made.page}{' (its README.md stays as it was)' if made.is_readme_kept else ' and README.md'}")


def _tell(publication: Publication) -> None:
    """On standard error, for a report may be on standard output."""
    files = publication.files
    tell(f"{publication.form}: {files[0]}{f' and {len(files) - 1} more' if len(files) > 1 else ''}")
    for note in publication.notes:
        tell(f"  note: {note}")


def _left_out(done: Sequence[Publication]) -> list[str]:
    """What was left out, each task of each model once: with the forms that lack it, where others have it."""
    forms: dict[tuple[str, str, str], list[str]] = {}
    for publication in done:
        for one in publication.results:
            for task, why in one.left_out.items():
                forms.setdefault((one.run.model, task, why), []).append(publication.form)
    tasks: dict[tuple[str, str, str], list[str]] = {}
    for (model, task, why), lacking in forms.items():
        named = dict.fromkeys(lacking)
        of = "" if len(named) == len(done) else f" of {', '.join(named)}"
        tasks.setdefault((model, why, of), []).append(task)
    models: dict[tuple[str, str], list[str]] = {}
    for (model, why, of), names in tasks.items():
        models.setdefault((of, f"{', '.join(names)}: {why}" if any(names) else why), []).append(model)
    return [f"{', '.join(names)} left out{of}: {what}" for (of, what), names in models.items()]
