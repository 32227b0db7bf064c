"""Pickles are read without running code from them, wherever they are and whatever they hold."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.tiny import save_bert, save_m3, save_t5, write

from evalharness.errors import ModelError
from evalharness.models.loading import ModelOptions, open_embedder, resolve_model
from evalharness.models.options import Execution


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


def payloads(mark: Path) -> dict[str, Payload]:
    return {
        "os.system": Payload(os.system, f"touch {mark}"),
        "eval": Payload(builtins.eval, f"open({str(mark)!r}, 'w')"),
        "exec": Payload(builtins.exec, f"open({str(mark)!r}, 'w')"),
        "open": Payload(builtins.open, str(mark), "w"),
        "subprocess": Payload(subprocess.call, ["touch", str(mark)]),
    }


def in_tar(content: bytes) -> bytes:
    """torch's oldest form."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


FORMS: dict[str, Callable[[Any, Path], object]] = {
    "zip": torch.save,
    "legacy": lambda value, path: torch.save(value, path, _use_new_zipfile_serialization=False),
    "bare": lambda value, path: path.write_bytes(pickle.dumps(value)),
    "tar": lambda value, path: path.write_bytes(in_tar(pickle.dumps(value))),
}
PLACES: dict[str, tuple[dict[str, Any], str]] = {
    "root": ({"pooling": "cls"}, "pytorch_model.bin"),
    "dense": ({}, "2_Dense/pytorch_model.bin"),
    "dense-st": ({"backend": "sentence-transformers"}, "2_Dense/pytorch_model.bin"),
    "shard": ({"pooling": "cls"}, "pytorch_model-00001-of-00001.bin"),
    "head": ({"like": "BAAI/bge-m3", "max_length": 64, "mode": "multi-vector"}, "colbert_linear.pt"),
}


def made(folder: Path, place: str) -> Path:
    """A model whose weights in this place are to be a pickle; gives the pickle's path."""
    path = folder / PLACES[place][1]
    if place == "head":
        save_m3(folder)
        return path
    if place.startswith("dense"):
        save_t5(folder)
        (path.parent / "model.safetensors").unlink()
        return path
    save_bert(folder)
    names = list(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    if place == "shard":
        index = {"metadata": {}, "weight_map": dict.fromkeys(names, path.name)}
        write(folder / "pytorch_model.bin.index.json", index)
    return path


@pytest.mark.parametrize("kind", payloads(Path()))
def test_the_pickles_would_run_where_they_are_loaded(tmp_path: Path, kind: str) -> None:
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(payloads(mark)[kind]))  # noqa: S301 -- it is ours
    assert mark.exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", PLACES)
def test_malicious_pickles_run_nothing(tmp_path: Path, place: str, form: str) -> None:
    mark = tmp_path / "mark"
    folder = tmp_path / "m"
    path = made(folder, place)
    for kind, payload in payloads(mark).items():
        for value in (payload, {"weight": payload, "bias": torch.zeros(1)}):
            FORMS[form](value, path)
            options = ModelOptions(**PLACES[place][0])
            with pytest.raises(ModelError) as caught:
                open_embedder(resolve_model(str(folder), options), Execution(device="cpu"))
            assert not mark.exists(), kind
            # transformers names the folder, we the file
            assert path.name in str(caught.value) or str(folder) in str(caught.value)


@pytest.mark.parametrize("value", [[1], {"weight": 1}, {1: torch.zeros(1)}, torch.zeros(2)], ids=str)
def test_pickles_of_other_things_are_errors(tmp_path: Path, value: object) -> None:
    path = made(tmp_path / "m", "dense")
    torch.save(value, path)
    with pytest.raises(ModelError, match=r"pytorch_model\.bin holds|lacks layers"):
        open_embedder(resolve_model(str(tmp_path / "m")), Execution(device="cpu"))
