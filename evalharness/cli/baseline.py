"""`evalharness baseline`: scores and items of a model, kept where later ones are compared with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evalharness.cli.lists import split_lists
from evalharness.cli.shell import say, tell
from evalharness.cli.store import human

if TYPE_CHECKING:
    from evalharness.compare.baseline import Manifest
    from evalharness.compare.saving import Change, Saved
    from evalharness.compare.sources import Sources
    from evalharness.results.records import JobRecord

# what a repository takes without a thought, in bytes
_LARGE = 20_000_000
_POINTS = 100

baseline_app = typer.Typer(
    help="Keep the scores and items of a model, to compare others with.", no_args_is_help=True, rich_markup_mode=None
)
ResultsArgument = Annotated[list[str], typer.Argument(help="Folders with results; FOLDER:MODEL is one of several.")]
FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The baseline's folder.")]
TasksOption = Annotated[list[str] | None, typer.Option(help="Only these tasks (names or task files).")]
SuiteOption = Annotated[list[str] | None, typer.Option(help="Only the tasks of these suites, all of them.")]
BenchmarkOption = Annotated[list[str] | None, typer.Option(help="Only the tasks of this benchmark, all of them.")]


@baseline_app.command("save")
def save(
    results: ResultsArgument,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="New, empty, or the baseline to replace.")],
    tasks: TasksOption = None,
    suite: SuiteOption = None,
    benchmark: BenchmarkOption = None,
) -> None:
    """Save the scores and items of a model: a folder for git, without vectors and rankings."""
    from evalharness.compare import saving

    saved = saving.save(_chosen(results, tasks, suite, benchmark), to)
    _tell_saved(saved, to)


@baseline_app.command("update")
def update(
    folder: FolderArgument,
    results: ResultsArgument,
    tasks: TasksOption = None,
    suite: SuiteOption = None,
    benchmark: BenchmarkOption = None,
) -> None:
    """Replace the scores of these tasks; the others stay, if they are of the same model, settings and protocol."""
    from evalharness.compare import saving

    saved = saving.update(_chosen(results, tasks, suite, benchmark), folder)
    if saved is None:
        say(f"nothing has changed: {folder} has these very results")
    else:
        _tell_saved(saved, folder)


@baseline_app.command("show")
def show(folder: FolderArgument) -> None:
    """Check that a baseline is whole, and print what is in it."""
    from evalharness.compare.baseline import check_baseline, run_of_baseline

    manifest = check_baseline(folder)
    run = run_of_baseline(folder)
    say(_title(folder, manifest, len(run.tasks)))
    jobs = {name: [job.record for job in task.jobs if job.record is not None] for name, task in run.tasks.items()}
    say(f"computed by {_versions([record for records in jobs.values() for record in records])}")
    for name, task in sorted(run.tasks.items()):
        for split, subsets in task.scores.items():
            found = [record for record in jobs[name] if record.job.split == split]
            _show_split(folder, manifest, f"{name} [{split}]: ", found or [*subsets.values()])


def _chosen(
    results: Sequence[str], tasks: list[str] | None, suite: list[str] | None, benchmark: list[str] | None
) -> Sources:
    from evalharness.catalog.lists import task_lists
    from evalharness.catalog.tasks import name_of
    from evalharness.compare.sources import choose, members, named_runs

    lists = split_lists({"--tasks": tasks, "--suite": suite, "--benchmark": benchmark})
    named = [*task_lists(lists["--suite"], lists["--benchmark"])]
    names = [name_of(name) for name in lists["--tasks"]]
    wanted = members(named, names) if named or names else None
    return choose(named_runs(results), wanted)


def _tell_saved(saved: Saved, folder: Path) -> None:
    from evalharness.compare.sources import described

    if saved.before is not None and described(saved.before) != described(saved.after):
        say(f"was of {described(saved.before)}")
    if saved.before is not None:
        _say_changes(saved.changes)
    say(_title(folder, saved.after, saved.tasks))
    if saved.after.bytes > _LARGE:
        tell(
            f"{folder} has {human(saved.after.bytes)}, more than a repository should hold; name the tasks that decide "
            "with --tasks or --suite, or keep it elsewhere (git lfs, a cache, an artifact)"
        )


def _say_changes(changes: Sequence[Change]) -> None:
    same = [change for change in changes if change.before == change.after]
    for change in changes:
        if change not in same:
            before, after = ("none" if score is None else f"{score:.4f}" for score in (change.before, change.after))
            moved = ""
            if change.before is not None and change.after is not None:
                moved = f" ({_POINTS * (change.after - change.before):+.2f} points)"
            say(f"{change.task} [{change.split}]: {before} -> {after}{moved}")
    if same:
        say(f"unchanged: {len(same)} {_noun(len(same), 'score')}")


def _noun(count: int, name: str) -> str:
    return name if count == 1 else f"{name}s"


def _title(folder: Path, manifest: Manifest, tasks: int) -> str:
    from evalharness.compare.sources import described

    return (
        f"{folder}: {described(manifest)}, protocol {manifest.protocol}, {tasks} {_noun(tasks, 'task')}, "
        f"{human(manifest.bytes)}, saved {manifest.day} by evalharness {manifest.evalharness}"
    )


def _versions(records: Sequence[JobRecord]) -> str:
    """The versions that computed scores, all of them where several did."""
    ours = sorted({str(record.facts.get("evalharness", "unknown")) for record in records})
    mteb = sorted({str(record.key.get("mteb", "unknown")) for record in records})
    return f"evalharness {' and '.join(ours) or 'unknown'} with mteb {' and '.join(mteb) or 'unknown'}"


def _show_split(folder: Path, manifest: Manifest, where: str, found: Sequence[JobRecord] | Sequence[float]) -> None:
    """A line of a split: of its records, or of its scores where those of mteb are all there is."""
    from statistics import fmean

    from evalharness.results.items import read_items
    from evalharness.results.records import JobRecord, items_path, record_path

    records = [record for record in found if isinstance(record, JobRecord)]
    scores = [record.metrics[record.main_score] if isinstance(record, JobRecord) else record for record in found]
    with_items = [items_path(folder, record.job) for record in records if record.items is not None]
    items = sum(len(read_items(path).ids) for path in with_items)
    paths = [*with_items, *(record_path(folder, record.job) for record in records)]
    size = sum(manifest.files[path.relative_to(folder).as_posix()].bytes for path in paths)
    metric = f"{records[0].main_score} " if records else ""
    said = [f"{items:,} items" if items else "no items"]
    said += [f"{len(found)} subsets"] if len(found) > 1 else []
    said += [human(size)] if records else []
    say(f"{where}{metric}{fmean(scores):.4f}, {', '.join(said)}")
