"""`evalharness store`: what is in the embedding store, whether it is whole, what can go."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from evalharness.cli.shell import ExitCode, say
from evalharness.errors import UsageError

_BYTES = {unit + b: 1000**power for power, unit in enumerate(("", "k", "m", "g", "t")) for b in ("", "b")}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

store_app = typer.Typer(help="Look after the embedding store.", no_args_is_help=True, rich_markup_mode=None)
StoreOption = Annotated[Path | None, typer.Option("--store", help="The store; default: in the user's cache folder.")]


def _amount(text: str, units: Mapping[str, int], kind: str, example: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if found is None or found[2] not in units:
        raise UsageError(f"{text!r} is no {kind}; expected something like {example}")
    return float(found[1]) * units[found[2]]


def size(text: str) -> int:
    """Bytes of a size as people write it.

    Raises:
        UsageError: it is none.

    >>> size("50GB"), size("1.5 M")
    (50000000000, 1500000)
    """
    return int(_amount(text, _BYTES, "size", "500MB or 50GB"))


def duration(text: str) -> float:
    """Seconds of a duration as people write it.

    Raises:
        UsageError: it is none.

    >>> duration("2h"), duration("90s")
    (7200.0, 90.0)
    """
    return _amount(text, _SECONDS, "duration", "90s, 30m or 2h")


def human(count: float) -> str:
    """Bytes as people read them.

    >>> human(999), human(1_500_000)
    ('999 B', '1.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004 -- the step of the units
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _root(store: Path | None) -> Path:
    """The store to look after.

    Raises:
        UsageError: there is no such folder.
    """
    from evalharness.store.storing import default_store

    if store is None and not os.path.lexists(default_store()):
        return default_store()  # it was never used
    root = store or default_store()
    if not root.is_dir():
        raise UsageError(f"no such store: {root.absolute()}")
    return root


@store_app.command("info")
def info(store: StoreOption = None) -> None:
    """Sizes by model, encoding and task."""
    from evalharness.store.keeping import describe_store

    root = _root(store)
    uses = describe_store(root)
    say(f"{root}: {human(sum(use.bytes for use in uses))}")
    for use in uses:
        precision = f", {use.dtype}" if use.dtype not in ("", "float32") else ""
        encoding = f"{use.max_length} tokens{precision}" + (f", prompt {use.prompt!r}" if use.prompt else "")
        amount = f"{human(use.bytes)}, {use.texts:,} texts in {use.shards} shards"
        say(f"{', '.join(use.models)} ({encoding}): {amount}")
        for task, count in sorted(use.tasks.items()):
            say(f"    {task or '(from Python)'}: {human(count)}")


@store_app.command("verify")
def verify(store: StoreOption = None) -> None:
    """Read every file and compare its checksums; exit code 3 if one is damaged."""
    from evalharness.store.keeping import verify_store

    whole, damaged = verify_store(_root(store))
    for path, reason in damaged.items():
        say(f"{path}: {reason}")
    say(f"{whole} shards are whole, {len(damaged)} are damaged")
    if damaged:
        say("the next run that needs them sets them aside and encodes their texts again")
        raise typer.Exit(ExitCode.INCOMPLETE)


@store_app.command("gc")
def gc(
    store: StoreOption = None,
    keep_days: Annotated[float | None, typer.Option(min=0, help="Remove what was not used for longer.")] = None,
    max_size: Annotated[
        str | None, typer.Option(help="Remove what was not used for longest until it fits: 50GB.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only this model's; without another limit, all of it.")] = None,
) -> None:
    """Remove left-over and damaged files, and what the limits name; never what a running process uses."""
    from evalharness.store.keeping import collect

    limit = None if max_size is None else size(max_size)
    done = collect(_root(store), keep_days=keep_days, max_bytes=limit, model=model)
    say(f"removed {done.shards} shards ({human(done.bytes)}) and {done.temporaries} left-over files")
    for folder in done.in_use:
        say(f"{folder} is in use by a running process and was left alone")
