"""Look after the embedding store: what is in it, whether it is whole, and what can go."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from evalharness.errors import StorageError, UsageError, unknown_names
from evalharness.files import remove_stale_temporaries
from evalharness.store.folders import (
    CLAIM,
    DAMAGED,
    INFO,
    PARTIAL,
    SHARDS,
    USES,
    key_folders,
    models_of,
    read_note,
    shard_paths,
    storage_errors_of,
)
from evalharness.store.index import check_name
from evalharness.store.marks import used_folders
from evalharness.store.shard_files import DamagedShardError, open_shard

_DAY = 86_400


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What the store holds of one model under one encoding.

    Attributes:
        folder: where it is.
        models: names under which the model was used.
        prompt, max_length, dtype: of the encoding, to tell it from others.
        shards, texts, bytes: how much there is.
        tasks: task -> bytes of the shards that it read last; a shard may serve several.
    """

    folder: Path
    models: Sequence[str]
    prompt: str
    max_length: int
    dtype: str
    shards: int
    texts: int
    bytes: int
    tasks: dict[str, int]


@dataclass(frozen=True, slots=True)
class Collected:
    """What `collect` removed, and the folders that it left alone because a process was using them."""

    shards: int
    bytes: int
    temporaries: int
    in_use: Sequence[Path]


def describe_store(root: Path) -> list[KeyUse]:
    """What is in the store, largest first."""
    found = [_describe(folder) for folder in key_folders(root)]
    return sorted(found, key=lambda use: use.bytes, reverse=True)


def _describe(folder: Path) -> KeyUse:
    info = read_note(folder / INFO)
    encoding = said if isinstance(said := info.get("encoding"), dict) else {}
    prompt, length, dtype = (encoding.get(name) for name in ("prompt", "max_length", "dtype"))
    sizes = {path.name: status for path, status in _files(folder).items()}
    return KeyUse(
        folder=folder,
        models=models_of(info),
        prompt=prompt if isinstance(prompt, str) else "",
        max_length=length if isinstance(length, int) else 0,
        dtype=dtype if isinstance(dtype, str) else "",
        shards=len(sizes),
        texts=sum(_texts(folder / SHARDS / name) for name in sizes),
        bytes=sum(status.st_size for status in sizes.values()),
        tasks=_tasks(folder, {name: status.st_size for name, status in sizes.items()}),
    )


def _tasks(folder: Path, sizes: Mapping[str, int]) -> dict[str, int]:
    """Task -> bytes of the shards that it read last."""
    tasks: dict[str, int] = {}
    for path in sorted((folder / USES).glob("*.json")):
        use = read_note(path)
        task, names = use.get("task"), use.get("shards")
        if isinstance(task, str) and isinstance(names, list):
            tasks[task] = sum(sizes.get(name, 0) for name in names if isinstance(name, str))
    return tasks


def _files(folder: Path) -> dict[Path, os.stat_result]:
    """The files that are named like shards; what else is named so is none of ours.

    Raises:
        StorageError: the folder cannot be read.
    """
    found: dict[Path, os.stat_result] = {}
    with storage_errors_of(folder.parent):
        for path in shard_paths(folder):
            # another process may have removed it
            with suppress(FileNotFoundError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    found[path] = status
    return found


def _texts(path: Path) -> int:
    try:
        digests = open_shard(path).arrays.get("digests")
    except (DamagedShardError, StorageError):
        return 0
    return digests.shape[0] if digests is not None and digests.shape else 0


def verify_store(root: Path) -> tuple[int, dict[Path, str]]:
    """Read every file of the store.

    Returns:
        Number of whole shards, and file -> what is wrong with it. Nothing is changed: the next run that needs a
        damaged file sets it aside and encodes its texts again.

    Raises:
        StorageError: a folder cannot be read.
    """
    whole, damaged = 0, {}
    for folder in key_folders(root):
        with storage_errors_of(root):
            paths = shard_paths(folder)
        for path in paths:
            try:
                shard = open_shard(path)
                for name in shard.arrays:
                    shard.check(name)
                check_name(path, shard.read("digests"))
                whole += 1
            except (DamagedShardError, StorageError) as error:
                damaged[path] = str(error)
    return whole, damaged


def collect(
    root: Path, *, keep_days: float | None = None, max_bytes: int | None = None, model: str | None = None
) -> Collected:
    """Remove what can go: what dead processes left, damaged files, and shards that the limits name.

    Args:
        root: the store.
        keep_days: shards that were not used for longer go.
        max_bytes: the shards that were not used for longest go until no more is left.
        model: only this model's; without another limit, all of it.

    Raises:
        UsageError: the store has nothing of this model.
        StorageError: a file cannot be removed.
    """
    folders = key_folders(root)
    if model is not None:
        models = {folder: models_of(read_note(folder / INFO)) for folder in folders}
        known = {name for names in models.values() for name in names}
        if model not in known:
            raise UsageError(unknown_names("model in the store", [model], known))
        folders = [folder for folder in folders if model in models[folder]]
    if not folders:
        return Collected(0, 0, 0, [])
    everything = model is not None and keep_days is None and max_bytes is None
    shards = removed = temporaries = 0
    with storage_errors_of(root), used_folders(root) as used:
        there = {path: status for folder in folders for path, status in _files(folder).items()}
        going = set(there) if everything else set(_going(there, keep_days, max_bytes))
        for folder in folders:
            if folder.name in used:
                continue
            temporaries += _remove_left_over(folder)
            for path in sorted(path for path in going if path.parent.parent == folder):
                path.unlink(missing_ok=True)
                removed += there[path].st_size
                shards += 1
    return Collected(shards, removed, temporaries, [folder for folder in folders if folder.name in used])


def _remove_left_over(folder: Path) -> int:
    """Remove what dead processes left in a folder that nobody uses; returns how many half written files."""
    for path in [*(folder / SHARDS).glob(f"*{CLAIM}"), *(folder / SHARDS).glob(f"*{PARTIAL}")]:
        # something else than a file is none of ours
        with suppress(OSError):
            path.unlink()
    # it would wait for the other end of a pipe
    if (folder / DAMAGED).is_dir():
        shutil.rmtree(folder / DAMAGED, ignore_errors=True)
    return remove_stale_temporaries(folder, older_than=0)


def _going(there: Mapping[Path, os.stat_result], keep_days: float | None, max_bytes: int | None) -> Iterator[Path]:
    """Shards that a limit names: the first that does not fit, and all that were last used before it."""
    total = 0
    # of some that were used at the same time, the names decide
    for path in sorted(there, key=lambda path: (-there[path].st_mtime_ns, path.name)):
        total += there[path].st_size
        too_old = keep_days is not None and time.time() - there[path].st_mtime > keep_days * _DAY
        if too_old or (max_bytes is not None and total > max_bytes):
            yield path
