"""The folders of the embedding store: names, notes beside the shards, and what is odd there moved out of the way."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from evalharness.errors import DataError
from evalharness.files import storage_errors, write_json
from evalharness.reading import read_object

SHARDS, USES, INFO, DAMAGED = "shards", "uses", "info.json", "damaged"
SHARD, CLAIM, PARTIAL = ".shard", ".claim", ".partial"
_KEY = re.compile(r"[0-9a-f]{32}")


def key_folders(root: Path) -> list[Path]:
    """Folders of the store, one for each model and encoding; whatever else is there is none of ours.

    Raises:
        StorageError: the store is there and cannot be read.
    """
    with storage_errors_of(root):
        found = list(root.iterdir()) if root.exists() else []
        return sorted(path for path in found if _KEY.fullmatch(path.name) and path.is_dir())


def shard_paths(folder: Path) -> list[Path]:
    """What is named like a shard of this key, in order.

    Raises:
        OSError: the folder is there and cannot be read.
    """
    try:
        with os.scandir(folder / SHARDS) as entries:
            return sorted(folder / SHARDS / entry.name for entry in entries if entry.name.endswith(SHARD))
    except (FileNotFoundError, NotADirectoryError):
        return []


def read_note(path: Path) -> dict[str, Any]:
    """A JSON object that the store wrote beside its shards; empty where it is gone, odd or cannot be read."""
    try:
        return read_object(path)
    except DataError:
        return {}


def models_of(info: Mapping[str, Any]) -> list[str]:
    """Names under which a key was used, as its info has them; what is no name is left out."""
    names = info.get("models")
    return sorted({name for name in names if isinstance(name, str)}) if isinstance(names, list) else []


def add_model(path: Path, model: str, facts: Mapping[str, Any]) -> None:
    """Note a model's name beside what its vectors depend on; a note that says anything else is written anew."""
    known = read_note(path)
    wanted = json.loads(json.dumps({**facts, "models": sorted({*models_of(known), model})}))
    if known != wanted:
        if path.is_dir():
            moved_aside(path, path.parent)
        write_json(path, wanted)


def moved_aside(path: Path, folder: Path) -> Path | None:
    """Move something that is not what it should be out of the way; where to, or None if it is gone."""
    target = folder / DAMAGED / f"{path.name}.{time.time_ns()}"
    target.parent.mkdir(exist_ok=True)
    try:
        path.rename(target)
    except FileNotFoundError:
        return None
    return target


def storage_errors_of(root: Path) -> AbstractContextManager[None]:
    """Turn what the operating system says of the store into a StorageError."""
    advice = "name another with --store, or do without with --no-store"
    return storage_errors(root, f"the embedding store {root} cannot be used", advice)
