"""Which files are opened while models are loaded and run: `opened.py CASES TMP`.

A program of its own, for an audit hook stays for ever. CASES is a file; TMP a folder for temporary files.

Libraries in Rust and C++ open files without telling Python: what they open in a model's folder, the kernel tells.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

IN_OPEN, NONBLOCK, ISDIR = 0x20, 0o4000, 0x40000000
EVENT = struct.Struct("iIII")


class Watch:
    """Names of files below a folder that are opened, by whomever."""

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handle = self._libc.inotify_init1(NONBLOCK)
        self._folders: dict[int, Path] = {}
        for place, _, _ in os.walk(folder):
            number = self._libc.inotify_add_watch(self._handle, os.fsencode(place), IN_OPEN)
            assert number >= 0
            self._folders[number] = Path(place).relative_to(folder)

    def opened(self) -> set[str]:
        found: set[str] = set()
        while True:
            try:
                content = os.read(self._handle, 65536)
            except BlockingIOError:
                os.close(self._handle)
                return found
            place = 0
            while place < len(content):
                number, mask, _, length = EVENT.unpack_from(content, place)
                place += EVENT.size
                name = content[place : place + length].rstrip(b"\0").decode()
                place += length
                if name and not mask & ISDIR:
                    found.add((self._folders[number] / name).as_posix())


def run(case: dict[str, Any], opened: list[str], load: Callable[..., Any]) -> dict[str, Any]:
    """One model: the files that are counted, those opened in its folder, and all that Python opened."""
    folder = Path(case["folder"])
    watch = Watch(folder)
    opened.clear()
    files = load(case)
    return {
        "listed": files,
        "inside": sorted(watch.opened()),
        "all": sorted({os.path.realpath(path) for path in opened}),
    }


def main() -> None:
    given, temporary = sys.argv[1:]
    # no matter whether the libraries were imported before it began
    os.environ["TMPDIR"] = tempfile.tempdir = temporary
    # all imports first: theirs are not what is asked for
    import sentence_transformers  # noqa: F401
    from huggingface_hub import constants

    from evalharness.models.loading import ModelOptions, System, open_model, resolve_model
    from evalharness.models.opening import file_of, imported
    from evalharness.models.options import Execution
    from evalharness.models.rankers import Pair, RankingModel
    from evalharness.models.registry import BACKENDS, KINDS
    from evalharness.types import ignore_event

    for name, backend in BACKENDS.items():
        if backend.is_files:
            imported("forward.pipeline" if backend.engine is not None else file_of(name))
    engines = {backend.engine for backend in BACKENDS.values()} - {None}
    for file in (*(f"kinds.{kind}" for kind in KINDS), *(f"engines.{engine}" for engine in engines)):
        imported(file)

    def load(case: dict[str, Any]) -> list[str]:
        resolved = resolve_model(case["folder"], ModelOptions(**case["options"]))
        model = open_model(
            System(resolved), Execution(device="cpu" if "device" in BACKENDS[resolved.spec.backend].runs_by else None)
        )
        if isinstance(model, RankingModel):
            assert model._reranker is not None
            model._reranker.model.score_pairs([Pair("a", "b")], None, ignore_event)
        elif resolved.spec.outputs == ("dense",):
            model.encode(["a", "b c"])
        return list(resolved.facts.files)

    constants.HF_HUB_OFFLINE = True
    cases = json.loads(Path(given).read_text(encoding="utf-8"))
    opened: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            opened.append(os.path.realpath(os.fsdecode(arguments[0])))

    sys.addaudithook(hook)
    sys.stdout.write(json.dumps({name: run(case, opened, load) for name, case in cases.items()}))


if __name__ == "__main__":
    main()
