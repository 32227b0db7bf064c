"""`.eval_results/*.yaml`, the form in which the Hub reads scores from a model's repository.

A file per task, with an entry for each split and subset and one for the whole, under the ids that mteb gives them in
the `eval.yaml` of its data sets, in percent as mteb writes them. The form: https://huggingface.co/docs/hub/eval-results
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from evalharness.errors import DataError, one_line
from evalharness.files import file_name
from evalharness.reports.board import Span
from evalharness.reports.publishing.own import OwnResults, OwnTask, harness_of, newest, said
from evalharness.reports.publishing.writing import NewFile, Publication, check_any, place_of, write_files

if TYPE_CHECKING:
    from huggingface_hub import EvalResultEntry

FLAG = "--eval-results"
_FOLDER = ".eval_results"
# in percent; mteb's
_DECIMALS = 5
# in the notes of each entry of ours
_MARK = "evalharness"


def write_eval_results(results: Sequence[OwnResults], folder: Path, source_url: str | None = None) -> Publication:
    """Write the scores of models into a folder that becomes, or is, a model's repository.

    Args:
        results: see `own_results`; of several runs, each has a folder of its own.
        folder: where `.eval_results` is put.
        source_url: where more can be read; None for nowhere.

    Raises:
        UsageError: there is nothing to publish, or files of others are in the way.
        StorageError: they cannot be written.
    """
    results = [on_the_hub(one) for one in results]
    check_any(results, FLAG)
    files = [
        NewFile(
            place_of(results, one, folder) / _FOLDER / f"{file_name(task.name)}.yaml",
            _yaml(_entries(one, task, source_url)),
            _is_ours,
        )
        for one in results
        for task in one.tasks
    ]
    return Publication(FLAG, write_files(files, folder, FLAG), results)


def on_the_hub(results: OwnResults) -> OwnResults:
    """The same without tasks whose data set mteb does not name on the Hub."""
    return results.without(
        {task.name: "mteb names no data set of it on the Hub" for task in results.tasks if not task.hub_id}
    )


def _entries(results: OwnResults, task: OwnTask, source_url: str | None) -> list[EvalResultEntry]:
    from huggingface_hub import EvalResultEntry

    try:
        view = results.view(task)
    except DataError:  # of an early mteb, under another name
        view = {"mteb_version": task.stored.mteb}
    written = view.get("date")
    made_by = _made_by(task, view.get("mteb_version"))

    def entry(task_id: str, score: float, interval: Span | None, seconds: object) -> EvalResultEntry:
        return EvalResultEntry(
            dataset_id=task.hub_id,
            task_id=task_id,
            value=round(score * 100, _DECIMALS),
            dataset_revision=task.revision,
            date=_date(seconds or written),
            source_url=source_url,
            notes="; ".join([*made_by, *_shown(interval)]),
        )

    parts = [
        entry(task.part_name(part), part.score, part.interval, newest([part.job] if part.job is not None else []))
        for part in task.cell.parts
    ]
    # of one part, the whole is the part
    interval = task.cell.parts[0].interval if len(task.cell.parts) == 1 else task.cell.interval
    score = task.cell.score
    whole = [] if score is None else [entry(task.name, score, interval, newest(task.stored.jobs))]
    return [*parts, *whole]


def _made_by(task: OwnTask, mteb_version: object) -> list[str]:
    harness = harness_of(task.stored.jobs)
    # whoever wrote a file of mteb's form does not say who computed it
    maker = f"{_MARK} {harness}, mteb" if harness else f"published by {_MARK} from a file of mteb"
    version = mteb_version if mteb_version and isinstance(mteb_version, str) else "of an unknown version"
    notes = [f"{maker} {one_line(version)}", "protocol mteb"]
    return [*notes, said(task.stored.notes)] if task.stored.notes else notes


def _shown(interval: Span | None) -> list[str]:
    if interval is None or not (isfinite(interval.low) and isfinite(interval.high)):
        return []
    low, high = (round(end * 100, 2) for end in (interval.low, interval.high))
    doubt = "" if interval.is_trusted else ", of too few items to rely on it"
    return [f"95% interval {low:.2f} to {high:.2f}{f' ({interval.method})' if interval.method else ''}{doubt}"]


def _date(seconds: object) -> str | None:
    """The day, as mteb writes it; None where nobody says."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return None


def _yaml(entries: Sequence[EvalResultEntry]) -> bytes:
    import yaml
    from huggingface_hub import eval_result_entries_to_yaml

    text: str = yaml.safe_dump(eval_result_entries_to_yaml(list(entries)), sort_keys=False)
    return text.encode()


def _is_ours(content: bytes) -> bool:
    """Whether all entries of a file were published by us."""
    import yaml

    try:
        entries = yaml.safe_load(content)
    except (yaml.YAMLError, RecursionError, ValueError):  # a day that no month has
        return False
    return (
        isinstance(entries, list)
        and len(entries) > 0
        and all(isinstance(entry, dict) and _MARK in str(entry.get("notes")) for entry in entries)
    )
