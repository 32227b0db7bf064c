"""Work ahead of its turn: the same results in the same order, errors at their turn, no more at once than allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Lock
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny import save_sentence_model

from evalharness.models.forward import pipeline
from evalharness.models.forward.at_once import worked_ahead
from evalharness.models.forward.batches import BatchRunner
from evalharness.models.loading import load_model
from evalharness.models.options import Execution
from evalharness.store.journal import Arrays
from evalharness.types import EncodeNote


@pytest.mark.parametrize("at_once", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_results_come_in_the_order_of_the_items(at_once: int, count: int) -> None:
    found = list(worked_ahead(range(count), lambda item: item * item, at_once))
    assert [(done.item, done.result) for done in found] == [(item, item * item) for item in range(count)]


def test_several_are_in_work_at_once_and_no_more_are_taken() -> None:
    together, taken = Barrier(2, timeout=30), 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(6):
            taken += 1
            yield item

    def work(item: int) -> int:
        together.wait()
        return item

    for number, done in enumerate(worked_ahead(items(), work, 2), start=1):
        assert done.result == number - 1
        assert taken <= number + 1


def test_an_error_is_raised_at_its_turn() -> None:
    def work(item: int) -> int:
        if item == 1:
            raise ValueError("second")
        return item

    found = worked_ahead(range(4), work, 2)
    assert next(found).result == 0
    with pytest.raises(ValueError, match="second"):
        next(found)


class Kept:
    """A journal in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, Arrays] = {}

    def find(self, tokens: Any) -> Arrays | None:
        return self.rows.get(repr(tokens["input_ids"]))

    def add(self, tokens: Any, arrays: Arrays) -> None:
        self.rows[repr(tokens["input_ids"])] = arrays


@pytest.mark.parametrize("at_once", [1, 2])
def test_batches_in_work_at_once_are_halved_and_kept_as_others_are(at_once: int) -> None:
    tokens = {"input_ids": [[number] * (number % 7 + 1) for number in range(40)]}
    lock, most = Lock(), 4
    run: list[int] = []

    def forward(part: dict[str, list[Any]]) -> np.ndarray[Any, Any]:
        if len(part["input_ids"]) > most:
            raise torch.OutOfMemoryError
        with lock:
            run.extend(ids[0] for ids in part["input_ids"])
        return np.array([[ids[0], len(ids)] for ids in part["input_ids"]], dtype=np.float32)

    notes: list[Any] = []
    journal: Any = Kept()

    def rows() -> dict[int, list[float]]:
        runner = BatchRunner("m", "cuda", 30, at_once=at_once)
        found: dict[int, list[float]] = {}
        for batch in runner.run(tokens, forward, notes.append, journal):
            found |= {place: row.tolist() for place, row in zip(batch.places, batch.rows, strict=True)}
        return found

    wanted = {number: [number, number % 7 + 1] for number in range(40)}
    assert rows() == wanted
    assert sorted(run) == list(range(40))
    assert any(isinstance(note, EncodeNote) for note in notes)
    run.clear()
    assert rows() == wanted
    # batches that were kept as halves are tried whole again
    assert not run


def test_vectors_are_the_same_with_two_batches_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_sentence_model(tmp_path / "m")
    texts = [f"{'fern ' * (number % 11)}{number}" for number in range(50)]
    model = load_model(str(folder), execution=Execution(device="cpu", batch_tokens=100))
    wanted = model.encode(texts)
    started: list[int] = []

    class Two(BatchRunner):
        def __init__(self, *given: Any) -> None:
            name, device, tokens, company, _ = given
            super().__init__(name, device, tokens, company, 2)
            started.append(1)

    monkeypatch.setattr(pipeline, "BatchRunner", Two)
    model = load_model(str(folder), execution=Execution(device="cpu", batch_tokens=100))
    assert np.array_equal(model.encode(texts), wanted)
    assert started
