"""mteb's own results and model registry: what its results repository reads is written and checked by mteb itself."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from evalharness.errors import DataError, clip, shorten

# of mteb, whose results are taken
_LEAST_VERSION = 2
_MAJOR = re.compile(r"\d{1,9}")
# what mteb tells of a run beside its scores, one line per task, splits and subsets
RUN_SETTINGS = "run_settings.jsonl"


@dataclass(frozen=True, slots=True)
class Registered:
    """A model that mteb implements.

    Attributes:
        revision: the one that mteb runs.
        meta: what mteb writes of it into `model_meta.json`.
    """

    revision: str | None
    meta: Mapping[str, Any]


def registered_model(name: str) -> Registered | None:
    """What mteb knows of a model; None if it does not implement it. A name of before is not followed."""
    from mteb.models.model_implementations import MODEL_REGISTRY

    meta = MODEL_REGISTRY.get(name)
    if meta is None:
        return None
    # sets have no order, and the file has to be the same each time
    facts = {
        name: sorted(value) if isinstance(value, set | frozenset) else value for name, value in meta.to_dict().items()
    }
    if facts["training_datasets"] is not None:
        facts["training_datasets"] = sorted(facts["training_datasets"])
    return Registered(meta.revision, json.loads(json.dumps(facts, default=str)))


def check_model_meta(facts: Mapping[str, Any]) -> None:
    """See that mteb takes what is said of a model.

    Raises:
        DataError: it does not.
    """
    from mteb.models import ModelMeta

    try:
        ModelMeta.model_validate_json_resolved(json.dumps(facts))
    except ValueError as error:
        raise DataError(f"mteb does not take its model_meta.json ({clip(' '.join(str(error).split()), 200)})") from None


def task_result_text(view: Mapping[str, Any]) -> bytes:
    """A task's result as mteb's own code writes it, read and checked by mteb's reader.

    Args:
        view: mteb's TaskResult as JSON values.

    Raises:
        DataError: mteb does not take it, or finds splits or subsets missing.
    """
    from mteb import TaskResult

    with TemporaryDirectory() as folder, warnings.catch_warnings():
        # mteb warns of what is missing, which is told below
        warnings.simplefilter("ignore")
        path = Path(folder, "result.json")
        try:
            TaskResult.from_dict(dict(view)).to_disk(path)
            found = TaskResult.from_disk(path).validate_and_filter_scores()
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"mteb does not take it ({clip(' '.join(str(error).split()), 200)})") from None
        missing = [
            f"[{split}, {entry['hf_subset']}]"
            for split, entries in found.scores.items()
            for entry in entries
            if entry["main_score"] is None or isnan(entry["main_score"])
        ]
        if missing:
            raise DataError(f"mteb finds no score for {shorten(missing)}")
        version = _MAJOR.match(found.mteb_version or "")
        if version is None or int(version[0]) < _LEAST_VERSION:
            raise DataError(f"made by mteb {found.mteb_version or 'of an unknown version'}, not by 2 or later")
        return path.read_bytes()


def combined_text(name: str, parts: Sequence[bytes]) -> bytes:
    """The result of an aggregate task as mteb makes it of those of its parts.

    Args:
        name: of the aggregate.
        parts: results of all of its parts, see `task_result_text`.

    Raises:
        DataError: mteb makes none of them.
    """
    import mteb

    results = [mteb.TaskResult.from_dict(json.loads(part)) for part in parts]
    task: Any = mteb.get_task(name)
    with warnings.catch_warnings():
        # that parts are of several versions stands in them
        warnings.simplefilter("ignore")
        view = task.combine_task_results(results).model_dump(mode="json")
    # mteb takes the time of combining, and writes what is unknown as no number
    view["date"] = max((result.date.timestamp() for result in results if result.date is not None), default=None)
    for unknown in ("evaluation_time", "kg_co2_emissions"):
        view[unknown] = view[unknown] if view[unknown] is not None and not isnan(view[unknown]) else None
    return task_result_text(view)


def merged_run_settings(existing: bytes, entries: Sequence[Mapping[str, Any]]) -> bytes:
    """The lines of `run_settings.jsonl` with these among them, as mteb puts them together.

    Args:
        existing: the file's content; empty where there is none.
        entries: what was run, each with `task`, `splits`, `subsets`, `version` and `encode_kwargs`.
    """
    from mteb.results.task_result import _write_and_merge_keyed_json

    with TemporaryDirectory() as folder:
        path = Path(folder, RUN_SETTINGS)
        path.write_bytes(existing)
        _write_and_merge_keyed_json(path, [dict(entry) for entry in entries])
        return path.read_bytes()
