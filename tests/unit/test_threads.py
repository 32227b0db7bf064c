"""`--threads` without Ray: every engine computes with so many, whichever thread opened the model."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from pydantic import ValidationError
from support.tiny import save_sentence_model

from evalharness import Execution, ModelOptions
from evalharness.cli.main import execute
from evalharness.models.engines import openvino_session
from evalharness.models.loading import resolve_model
from evalharness.models.opening import open_backend
from evalharness.models.options import MOST_THREADS
from evalharness.models.prompts import encoding
from evalharness.types import TextsEncoded

TEXTS = ["ferns grow", "in the shade"]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_torch_computes_with_so_many_in_any_thread(tmp_path: Path) -> None:
    model = resolve_model(str(save_sentence_model(tmp_path / "m")))
    torch.set_num_threads(3)
    with ThreadPoolExecutor(1) as other:
        opened = other.submit(open_backend, model, Execution(device="cpu", engine="torch", threads=1)).result()
    seen: set[int] = set()

    def see(event: Any) -> None:
        if isinstance(event, TextsEncoded):
            seen.add(torch.get_num_threads())

    opened.encode(TEXTS, encoding(model.spec, None, None), see)
    assert seen == {1}
    assert opened.computing.facts()["threads"] == 1


def test_nothing_is_changed_or_said_where_nobody_asks(tmp_path: Path) -> None:
    model = resolve_model(str(save_sentence_model(tmp_path / "m")))
    torch.set_num_threads(3)
    opened = open_backend(model, Execution(device="cpu", engine="torch"))
    assert torch.get_num_threads() == 3
    assert "threads" not in opened.computing.facts()


def test_openvino_and_onnxruntime_get_the_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    folder = save_sentence_model(tmp_path / "m")
    counted: list[int] = []
    count = openvino_session.thread_count

    def noted_count() -> int:
        counted.append(count())
        return counted[-1]

    monkeypatch.setattr(openvino_session, "thread_count", noted_count)
    torch.set_num_threads(3)
    model = resolve_model(str(folder))
    open_backend(model, Execution(device="cpu", engine="openvino", threads=1))
    assert set(counted) == {1}
    asked: list[int] = []
    session = onnxruntime.InferenceSession

    def noted(path: str, options: Any, providers: Any) -> Any:
        asked.append(options.intra_op_num_threads)
        return session(path, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", noted)
    exported = resolve_model(str(folder), ModelOptions(backend="onnx", onnx_file="export"))
    open_backend(exported, Execution(device="cpu", threads=1))
    open_backend(exported, Execution(device="cpu"))
    assert asked[0] == 1
    # as before: as many as it likes
    assert asked[-1] == 0


def test_more_threads_than_a_machine_has_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["run", "--model", "all-MiniLM-L6-v2", "--threads", str(MOST_THREADS + 1)]) == 2
    assert "--threads" in capsys.readouterr().err
    with pytest.raises(ValidationError):
        Execution(threads=MOST_THREADS + 1)
