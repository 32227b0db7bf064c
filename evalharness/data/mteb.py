"""mteb's task objects and their rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from evalharness.catalog.selection import TaskChoice
from evalharness.catalog.tasks import TaskSpec
from evalharness.downloads import HubData, load_data
from evalharness.errors import DataError, PrerequisiteError, clip, shorten
from evalharness.hub import hub_errors, ignore_message, reason, with_retries

_COMMIT = re.compile(r"[0-9a-f]{40}")


def load_mteb_task(choice: TaskChoice, say: Callable[[str], None] = ignore_message) -> Any:  # noqa: ANN401 -- mteb has no public type
    """A fresh mteb task object with its data loaded.

    Fresh, because the objects keep random state between evaluations; and only with the wanted subsets, so that no
    other is downloaded.

    Args:
        choice: the task, with the splits and subsets that are wanted.
        say: is told if the Hub has to be asked again.

    Raises:
        PrerequisiteError: the data cannot be had from the Hub.
        DataError: they are there, but not as mteb expects them.
    """
    import mteb
    from datasets.utils import disable_progress_bars

    # it imports numpy, which lists and reports do without
    from evalharness.data.mteb_judged import load_lean

    disable_progress_bars()
    spec = choice.spec
    metadata = mteb.get_task(spec.name).metadata
    if metadata.revision != spec.revision:
        raise PrerequisiteError(
            f"{spec.name}: the installed mteb {mteb.__version__} loads revision {metadata.revision} of its data; "
            f"expected {spec.revision}. Install the version of mteb that evalharness asks for"
        )

    def load() -> Any:  # noqa: ANN401
        fresh = mteb.get_task(spec.name, eval_splits=list(choice.splits), hf_subsets=list(choice.subsets))
        load_lean(fresh)
        if hasattr(fresh, "convert_v1_dataset_format_to_v2"):
            fresh.convert_v1_dataset_format_to_v2(num_proc=None)
        return fresh

    path = metadata.dataset["path"]
    where = f"{spec.name}: the data set {path} at revision {spec.revision}"
    return load_data(HubData(path, spec.revision, where), load, say)


def pin_revision(spec: TaskSpec) -> TaskSpec:
    """A local task whose Hub data set is named by a branch, with the commit that the branch is at.

    Raises:
        PrerequisiteError: the Hub cannot be asked.
    """
    data = spec.data
    if data is None or data.format != "hub" or _COMMIT.fullmatch(spec.revision):
        return spec
    from huggingface_hub import HfApi

    try:
        commit = with_retries(
            lambda: HfApi().dataset_info(str(data.dataset), revision=data.revision).sha,
            f"asking for {data.dataset}",
            ignore_message,
        )
    except hub_errors() as error:
        raise PrerequisiteError(
            f"{spec.name}: the Hub does not tell the commit of {data.dataset} at {data.revision!r} ({reason(error)}). "
            f"Check the network and HF_ENDPOINT, or write the commit into {spec.origin} as revision"
        ) from None
    return spec.changed({"revision": commit, "data": data.changed({"revision": commit})})


def mteb_rows(task: Any, split: str, subset: str) -> Any:  # noqa: ANN401
    """The data of one split and subset of a loaded mteb task, wherever it keeps them.

    Raises:
        DataError: the loaded data have no such split.
    """
    data = task.dataset
    if subset in data:
        data = data[subset]
    if split not in data:
        raise DataError(f"{task.metadata.name}: no split {split!r} in the loaded data (found {shorten(list(data))})")
    return data[split]


def abstract_class(task: Any) -> Any:  # noqa: ANN401
    """mteb's class of a task's type, below the task's own class."""
    return next(cls for cls in type(task).__mro__ if cls.__module__.startswith("mteb.abstasks"))


def column(rows: Any, name: str, where: str) -> list[Any]:  # noqa: ANN401
    """A column of a `datasets.Dataset` or of a mapping of lists, as a plain list (a lazy column is slow to index).

    Raises:
        DataError: there is no such column.
    """
    names = list(getattr(rows, "column_names", rows))
    if name not in names:
        raise DataError(f"{where}: no column {name!r} (found {shorten(names)})")
    return list(rows[name][:])


def text_column(rows: Any, name: str, where: str) -> list[str]:  # noqa: ANN401
    """As `column`, for texts.

    Raises:
        DataError: there is no such column, or a value is not a text.
    """
    values = column(rows, name, where)
    for number, value in enumerate(values):
        if not isinstance(value, str):
            raise DataError(f"{where}, row {number + 1}, column {name!r}: expected a text, got {clip(str(value))}")
    return values
