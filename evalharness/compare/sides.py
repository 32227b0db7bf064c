"""What is compared: a folder of results, one model of several in it, a baseline, or a file of published scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from evalharness.compare.baseline import check_baseline, read_baseline
from evalharness.compare.comparison import Side
from evalharness.errors import DataError, UsageError, as_utf8, clip, shorten, unknown_names
from evalharness.reading import checked, read_object
from evalharness.results.evaluation import Evaluation
from evalharness.results.records import check_score, experiment_name
from evalharness.results.stored import StoredRun, StoredTask, read_runs
from evalharness.types import PROTOCOLS

# the place of a published score, which is the mean over a split's subsets
ALL_SUBSETS = "*"
_ABOUT = "_about"


@dataclass(frozen=True, slots=True)
class Results:
    """A side with its results.

    Attributes:
        side: who.
        tasks: by name.
        folder: where its items are; None where there are scores only.
        absent: what is said of a task that is not among them.
    """

    side: Side
    tasks: Mapping[str, StoredTask]
    folder: Path | None
    absent: str = "not run"


Named: TypeAlias = str | Path | Evaluation | Results


def read_side(named: Named) -> Results:
    """The results that an argument of the command names.

    Args:
        named: a folder, `FOLDER:model` where it holds several models, or a JSON file of published scores; from Python
            also what `evaluate` gave, and results that were read before.

    Raises:
        UsageError: there is no such folder, or it holds results of several models or settings.
        DataError: it holds no results, or a baseline that is not what was saved.
    """
    if isinstance(named, Results):
        return named
    named = str(named.folder if isinstance(named, Evaluation) else named)
    path, model = split_name(named)
    if path.is_file():
        return _published(path, named)
    runs = runs_in(path, model)
    if len(runs) > 1:
        choices = [f"{run.folder} ({_described(run)})" for run in runs]
        raise UsageError(
            f"{clip(named)} holds {len(runs)} results: {shorten(choices)}. Name one of these folders, or FOLDER:model"
        )
    return results_of(runs[0], named)


def results_of(run: StoredRun, place: str) -> Results:
    """What is stored of a model, as a side.

    Args:
        run: as it was read.
        place: how it was named.
    """
    side = Side(
        run.model, run.revision, run.overrides, as_utf8(place), str(run.overrides.get("protocol", PROTOCOLS[0]))
    )
    return Results(side, run.tasks, run.folder, run.absent)


def read_all(named: Sequence[str]) -> list[Results]:
    """All results that arguments name: of every model in a folder, of one (`FOLDER:model`), or of a file; each once.

    Raises:
        UsageError, DataError: as of `read_side`; all folders that are not there at once.
    """
    found: dict[Path, Results] = {}
    problems = []
    for name in named:
        try:
            path, model = split_name(name)
        except UsageError as error:
            problems.append(str(error))
            continue
        if path.is_dir():
            runs = runs_in(path, model)
            found |= {run.folder.resolve(): results_of(run, str(run.folder)) for run in runs}
        else:
            found[path.resolve()] = read_side(name)
    if problems:
        raise UsageError("\n".join(problems))
    return list(found.values())


def runs_in(folder: Path, model: str | None) -> list[StoredRun]:
    """The results in a folder, those of one model if it is named.

    Raises:
        UsageError: there is no such model.
        DataError: there are no results, or the folder is a baseline that is not what was saved.
    """
    if read_baseline(folder) is not None:
        check_baseline(folder)
    runs = read_runs([folder])
    return runs if model is None else _of_model(runs, model, folder)


def split_name(named: str) -> tuple[Path, str | None]:
    """A path, and the model's name behind it.

    Raises:
        UsageError: there is nothing at the path.
    """
    whole = Path(named)
    if whole.exists():
        return whole, None
    folder, colon, model = named.rpartition(":")
    if colon and model and Path(folder).is_dir():
        return Path(folder), model
    raise UsageError(
        f"no such folder: {whole.absolute()}; expected a folder that a run has written (run --output), FOLDER:model, a "
        "saved baseline, or a JSON file of published scores"
    )


def _of_model(runs: Sequence[StoredRun], model: str, path: Path) -> list[StoredRun]:
    found = [run for run in runs if model in (run.model, run.model.rpartition("/")[2], f"{run.model}@{run.revision}")]
    if not found:
        raise UsageError(f"{path}: {unknown_names('model', [model], sorted({run.model for run in runs}))}")
    # a model is what nobody changed, if there is one
    plain = [run for run in found if not run.overrides]
    return plain if len(plain) == 1 else found


def _described(run: StoredRun) -> str:
    changed = experiment_name(run.overrides)
    return f"{run.model}@{run.revision[:8]}{f', {changed}' if changed else ''}"


def _published(path: Path, named: str) -> Results:
    value = read_object(path)
    about = checked(value.get(_ABOUT), dict, f"{path}: {_ABOUT}")
    model = checked(about.get("model"), str, f"{path}: {_ABOUT}.model")
    revision = checked(about.get("revision", "unknown"), str, f"{path}: {_ABOUT}.revision")
    protocol = checked(about.get("protocol", PROTOCOLS[0]), str, f"{path}: {_ABOUT}.protocol")
    if protocol not in PROTOCOLS:
        raise DataError(f"{path}: {_ABOUT}.protocol: {unknown_names('protocol', [protocol], PROTOCOLS)}")
    tasks = {}
    for task, splits in checked(value.get("scores"), dict, f"{path}: scores").items():
        where = f"{path}: scores.{clip(task)}"
        scores = {
            split: {ALL_SUBSETS: check_score(score, f"{where}.{clip(split)}")}
            for split, score in checked(splits, dict, where).items()
        }
        tasks[task] = StoredTask(task, scores)
    return Results(Side(model, revision, {}, named, protocol), tasks, None, "not among the published scores")
