"""Look after the embedding store: what is in it, whether it is whole, and what can go."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalharness.embeddings import DAMAGED, IN_USE, INFO, SHARDS, USES, storage_errors_of
from evalharness.errors import UsageError, unknown_names
from evalharness.shards import DamagedShardError, open_shard
from evalharness.storage import lock, remove_stale_temporaries

_DAY = 86_400


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What the store holds of one model under one encoding.

    Attributes:
        folder: where it is.
        models: names under which the model was used.
        prompt, max_length: of the encoding, to tell it from others.
        shards, texts, bytes: how much there is.
        last_used: seconds since 1970.
        tasks: task -> bytes of the shards that it read last; a shard may serve several.
    """

    folder: Path
    models: Sequence[str]
    prompt: str
    max_length: int
    shards: int
    texts: int
    bytes: int
    last_used: float
    tasks: dict[str, int]


@dataclass(frozen=True, slots=True)
class Collected:
    """What `collect` removed, and the folders that it left alone because a process was using them."""

    shards: int
    bytes: int
    temporaries: int
    in_use: Sequence[Path]


def key_folders(root: Path) -> list[Path]:
    """Folders of the store, one for each model and encoding."""
    return sorted(path.parent for path in root.glob(f"*/{INFO}"))


def describe_store(root: Path) -> list[KeyUse]:
    """What is in the store, largest first."""
    found = [_describe(folder) for folder in key_folders(root)]
    return sorted(found, key=lambda use: use.bytes, reverse=True)


def _describe(folder: Path) -> KeyUse:
    info = _json(folder / INFO)
    encoding = info.get("encoding", {})
    sizes = {path.name: path.stat() for path in (folder / SHARDS).glob("*.shard")}
    tasks: dict[str, int] = {}
    for path in sorted((folder / USES).glob("*.json")):
        use = _json(path)
        tasks[str(use.get("task"))] = sum(sizes[name].st_size for name in use.get("shards", []) if name in sizes)
    return KeyUse(
        folder=folder,
        models=info.get("models", []),
        prompt=encoding.get("prompt", ""),
        max_length=encoding.get("max_length", 0),
        shards=len(sizes),
        texts=sum(_texts(folder / SHARDS / name) for name in sizes),
        bytes=sum(stat.st_size for stat in sizes.values()),
        last_used=max((stat.st_mtime for stat in sizes.values()), default=0.0),
        tasks=tasks,
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _texts(path: Path) -> int:
    try:
        return open_shard(path).arrays["digests"].shape[0]
    except DamagedShardError:
        return 0


def verify_store(root: Path) -> tuple[int, dict[Path, str]]:
    """Read every file of the store.

    Returns:
        Number of whole shards, and file -> what is wrong with it. Nothing is changed: the next run that needs a
        damaged file sets it aside and encodes its texts again.
    """
    whole, damaged = 0, {}
    for folder in key_folders(root):
        for path in sorted((folder / SHARDS).glob("*.shard")):
            try:
                shard = open_shard(path)
                for name in shard.arrays:
                    shard.check(name)
                whole += 1
            except DamagedShardError as error:
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
        names = {name for folder in folders for name in _json(folder / INFO).get("models", [])}
        if model not in names:
            raise UsageError(unknown_names("model in the store", [model], names))
        folders = [folder for folder in folders if model in _json(folder / INFO).get("models", [])]
    everything = model is not None and keep_days is None and max_bytes is None
    shards = removed = temporaries = 0
    in_use = []
    left = sorted(((p.stat().st_mtime, p) for f in folders for p in (f / SHARDS).glob("*.shard")), reverse=True)
    going = set(_going(left, keep_days, max_bytes)) if not everything else {path for _, path in left}
    for folder in folders:
        with _alone(folder) as alone, storage_errors_of(root):
            if not alone:
                in_use.append(folder)
                continue
            temporaries += remove_stale_temporaries(folder)
            for path in (folder / SHARDS).glob("*.claim"):
                path.unlink(missing_ok=True)
            shutil.rmtree(folder / DAMAGED, ignore_errors=True)
            for path in [path for path in going if path.parent.parent == folder]:
                removed += path.stat().st_size
                path.unlink()
                shards += 1
    return Collected(shards, removed, temporaries, in_use)


def _going(
    newest_first: Sequence[tuple[float, Path]], keep_days: float | None, max_bytes: int | None
) -> Iterator[Path]:
    total = 0
    for used, path in newest_first:
        size = path.stat().st_size
        too_old = keep_days is not None and time.time() - used > keep_days * _DAY
        if too_old or (max_bytes is not None and total + size > max_bytes):
            yield path
        else:
            total += size


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether no running process uses a folder; while the block runs, none begins to."""
    with (folder / IN_USE).open("a") as handle:
        yield lock(handle, wait=False)
