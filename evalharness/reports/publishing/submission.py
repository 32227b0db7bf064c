"""The layout of mteb's results repository, whose pull requests take what `mteb` would have written.

    results/<org>__<model>/<revision>/model_meta.json, run_settings.jsonl, <Task>.json

https://github.com/embeddings-benchmark/results; its tests want a model that mteb implements, at a commit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalharness.catalog.tasks import mteb_task, mteb_task_names
from evalharness.errors import DataError, UsageError, shorten
from evalharness.reading import parse_json, read_bytes, read_object
from evalharness.reports.publishing.own import LOCAL, OwnResults, OwnTask, harness_of
from evalharness.reports.publishing.writing import NewFile, Publication, check_any, write_files
from evalharness.results.records import MODEL_META

if TYPE_CHECKING:
    from evalharness.data.mteb_results import Registered

FLAG = "--submit-to"
_TOP = "results"
# of a fingerprint, in the revision of a folder
_DIGITS = 40
_NO_REVISION = ("no_revision_available", "external")
_ADVICE = "put the model on the Hub and evaluate it from there: run --model ORGANISATION/NAME"
_PACKAGES = ("mteb", "torch", "sentence-transformers", "flash-attn", "transformers")


def write_submission(results: Sequence[OwnResults], folder: Path) -> Publication:
    """Write results into a clone of mteb's results repository, or into an empty folder.

    Args:
        results: see `own_results`.
        folder: the clone; `results/` is put there.

    Raises:
        UsageError: there is nothing to submit, or files of others are in the way.
        StorageError: they cannot be written.
    """
    from evalharness.data.mteb_results import registered_model

    files: list[NewFile] = []
    notes: list[str] = []
    kept = []
    for one in map(_of_a_commit, results):
        taken = _taken(one)
        texts, checked = taken.texts, taken.results
        kept.append(checked)
        if not checked.tasks:
            continue
        known = registered_model(one.run.model)
        notes += [*taken.notes, *_notes(one, known)]
        place = folder / _TOP / one.folder
        files += [NewFile(place / f"{name}.json", text) for name, text in texts.items()]
        files += [_meta_file(place, one, known), _settings_file(place, checked, texts)]
    check_any(kept, FLAG)
    if any(harness_of(task.stored.jobs) for one in kept for task in one.tasks):
        notes.append("evalharness computed these scores as mteb does; say so where you submit them")
    return Publication(FLAG, write_files(files, folder, FLAG), kept, notes)


def _of_a_commit(results: OwnResults) -> OwnResults:
    """The same without tasks that another one could not evaluate again: of models that are nowhere but here."""
    run = results.run
    why = ""
    if run.model.startswith(LOCAL):
        why = f"of a folder of this machine; {_ADVICE}"
    elif run.revision in _NO_REVISION or any(_is_of_files(run.revision, task) for task in results.tasks):
        why = f"its revision {run.revision} is no commit of the Hub; {_ADVICE}"
    return OwnResults(run, (), {"": why}) if why else results


def _is_of_files(revision: str, task: OwnTask) -> bool:
    """Whether a revision is made of the model's content."""
    models = [job.record.facts.get("model") for job in task.stored.jobs if job.record is not None]
    return any(isinstance(model, dict) and str(model.get("fingerprint"))[:_DIGITS] == revision for model in models)


@dataclass(frozen=True, slots=True)
class _Taken:
    """What mteb takes of results.

    Attributes:
        texts: files by the names of tasks.
        results: without the other tasks.
        notes: what is not in the files.
    """

    texts: Mapping[str, bytes]
    results: OwnResults
    notes: Sequence[str]


def _taken(results: OwnResults) -> _Taken:
    from evalharness.data.mteb_results import task_result_text

    texts: dict[str, bytes] = {}
    left_out: dict[str, str] = {}
    odd: list[str] = []
    for task in results.tasks:
        if why := _not_mtebs(task):
            left_out[task.name] = why
            continue
        try:
            view = results.view(task)
            numbers, names = _numbers(view)
            text = task_result_text(numbers)
        except DataError as error:
            left_out[task.name] = str(error)
            continue
        if _main_scores(view) != task.stored.scores:
            left_out[task.name] = "its file is of an early mteb, and was read as one of today"
            continue
        texts[task.name] = text
        odd += [f"{shorten(names)} of {task.name}"] if names else []
    notes = [f"left out of files, for JSON has no such numbers: {shorten(odd)}"] if odd else []
    return _Taken(_with_aggregates(texts), results.without(left_out), notes)


def _numbers(view: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[str]]:
    """A result without metrics that are none, which mteb writes and reads as JSON has them not; and their names."""
    odd: dict[str, None] = {}

    def of(value: Any) -> Any:  # noqa: ANN401 -- JSON
        if isinstance(value, list):
            return [of(item) for item in value]
        if not isinstance(value, dict):
            return value
        odd.update(dict.fromkeys(name for name, found in value.items() if _is_odd(found)))
        return {name: of(found) for name, found in value.items() if not _is_odd(found)}

    # of a run, what nobody measured
    facts = {name: None if _is_odd(value) else value for name, value in view.items() if name != "scores"}
    return {**facts, "scores": of(view.get("scores"))}, list(odd)


def _is_odd(value: object) -> bool:
    """Whether it is a number that JSON does not have, or a list with one."""
    if isinstance(value, list):
        return any(map(_is_odd, value))
    return isinstance(value, float) and not isfinite(value)


def _main_scores(view: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """As a report has them; mteb's reader took the view before."""
    return {
        split: {entry["hf_subset"]: entry["main_score"] for entry in entries}
        for split, entries in view["scores"].items()
    }


def _with_aggregates(texts: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same, and the tasks that mteb makes of them."""
    from evalharness.data.mteb_results import combined_text

    whole = {spec.name: spec.parts for spec in map(mteb_task, mteb_task_names()) if spec is not None and spec.parts}
    made = {
        name: combined_text(name, [texts[part] for part in parts])
        for name, parts in whole.items()
        if texts.keys() >= set(parts)
    }
    return {**texts, **made}


def _not_mtebs(task: OwnTask) -> str:
    if task.spec is None or task.spec.data is not None:
        return "no task of mteb"
    if task.revision != task.spec.revision:
        return f"data revision {task.revision or 'unknown'}, mteb has {task.spec.revision}"
    return ""


def _notes(results: OwnResults, known: Registered | None) -> list[str]:
    """What the results repository will ask for."""
    run = results.run
    if known is None:
        return [
            (
                f"mteb does not implement {run.model}; its results repository takes no results before it does: "
                "https://docs.mteb.org/contributing/adding_a_model/"
            )
        ]
    if known.revision != run.revision:
        return [f"mteb runs {run.model} at revision {known.revision}; these results are of {run.revision}"]
    return []


def _meta_file(place: Path, results: OwnResults, known: Registered | None) -> NewFile:
    """What mteb says of the model, or what the run knew of it; one that is there stays if it is of this model."""
    from evalharness.data.mteb_results import check_model_meta

    path, run = place / MODEL_META, results.run
    try:
        content = read_bytes(path)
        found = read_object(path)
    except DataError:
        content, found = b"", {}
    if found.get("name") == run.model and found.get("revision") == run.revision:
        return NewFile(path, content)
    facts: Mapping[str, Any] = {**known.meta, "revision": run.revision} if known else _own_meta(results)
    try:
        check_model_meta(facts)
    except DataError as error:
        raise UsageError(f"{FLAG}: {run.model}: {error}") from None
    return NewFile(path, f"{json.dumps(facts, indent=4, ensure_ascii=False)}\n".encode())


def _own_meta(results: OwnResults) -> dict[str, Any]:
    facts = read_object(results.run.folder / MODEL_META, UsageError)
    return {**facts, "name": results.run.model, "revision": results.run.revision}


def _settings_file(place: Path, results: OwnResults, texts: Mapping[str, bytes]) -> NewFile:
    """Which versions made the scores; what is there of other tasks stays."""
    from evalharness.data.mteb_results import RUN_SETTINGS, merged_run_settings

    path = place / RUN_SETTINGS
    try:
        existing = read_bytes(path)
    except DataError:
        existing = b""
    versions = {task.name: _versions(task) for task in results.tasks}
    entries: list[dict[str, Any]] = []
    for name, text in texts.items():
        spec, view = mteb_task(name), json.loads(text)
        made_by = versions[spec.parts[0] if spec is not None and spec.parts else name]
        entries += _settings(view, {**made_by, "mteb": view["mteb_version"]})
    return NewFile(path, merged_run_settings(existing, entries), _holds_settings)


def _holds_settings(content: bytes) -> bool:
    """Whether a file is what mteb writes, so that all lines of it were kept."""
    try:
        return all(isinstance(parse_json(line), dict) for line in content.splitlines() if line.strip())
    except ValueError:
        return False


def _versions(task: OwnTask) -> dict[str, str | None]:
    """Of what made the scores, where their records say it; beside what mteb names, of ourselves."""
    versions: dict[str, str | None] = dict.fromkeys(_PACKAGES)
    jobs = [job.record for job in task.stored.jobs if job.record is not None and not job.problem]
    for record in sorted(jobs, key=lambda record: record.written):
        packages = record.facts.get("packages")
        found = packages if isinstance(packages, dict) else {}
        versions |= {name: str(found[name]) for name in _PACKAGES if name in found}
    return versions | ({"evalharness": harness} if (harness := harness_of(task.stored.jobs)) else {})


def _settings(view: Mapping[str, Any], versions: Mapping[str, str | None]) -> list[dict[str, Any]]:
    return [
        {
            "task": view["task_name"],
            "splits": [split],
            "version": dict(versions),
            "encode_kwargs": {},
            "subsets": sorted(entry["hf_subset"] for entry in entries),
        }
        for split, entries in view["scores"].items()
    ]
