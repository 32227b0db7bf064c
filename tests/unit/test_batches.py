"""Which texts share a batch, and what comes to which text: held against the plain loops that say it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from evalharness.models.forward.batches import BatchRunner, Company, _batches
from evalharness.models.forward.pipeline import run_texts
from evalharness.models.forward.tokens import Tokenized
from evalharness.types import TextsEncoded


def plain_batches(lengths: Sequence[int], budget: int, company: Company) -> list[list[int]]:
    found: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        batch = found[-1] if found else []
        width = max(lengths[batch[0]], 1) if batch else 0
        welcome = company == "any lengths" or (
            company == "equal lengths" and bool(batch) and lengths[place] == lengths[batch[0]]
        )
        if batch and (len(batch) + 1) * width <= budget and welcome:
            batch.append(place)
        else:
            found.append([place])
    return found


@pytest.mark.parametrize("company", ["any lengths", "equal lengths", "alone"])
def test_batches_are_those_of_a_loop(company: Company) -> None:
    rng = random.Random(11)
    for _ in range(200):
        lengths = [rng.choice([0, 1, 2, 3, 7, rng.randint(0, 40)]) for _ in range(rng.randint(0, 50))]
        budget = rng.choice([1, 7, 40, 100, 10_000])
        found = list(_batches(np.array(lengths, dtype=np.int64), budget, company))
        assert found == plain_batches(lengths, budget, company)


@pytest.mark.parametrize("as_arrays", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_every_text_gets_the_row_of_its_tokens(as_arrays: bool, packed: bool, apart: bool) -> None:
    rng = random.Random(13)
    texts = ["".join(rng.choices("ab", k=rng.randint(0, 4))) for _ in range(300)]
    seen: list[int] = []

    def tokenize(part: Sequence[str]) -> Tokenized:
        ids: list[Any] = [[ord(mark) for mark in text] for text in part]
        if as_arrays:
            ids = [np.array(row, dtype=np.int64) for row in ids]
        return Tokenized({"input_ids": ids}, [len(text) == 4 for text in part], apart=apart)

    def forward(tokens: dict[str, list[Any]]) -> Any:
        seen.append(len(tokens["input_ids"]))
        rows = [np.array([len(ids), sum(ids)], dtype=np.float32) for ids in tokens["input_ids"]]
        return rows if packed else np.stack(rows)

    events: list[TextsEncoded] = []
    runner = BatchRunner("a/b", "cpu", 16)
    found = run_texts(texts, runner, events.append, tokenize=tokenize, forward=forward)  # type: ignore[arg-type]
    assert found.rows is not None
    wanted: NDArray[np.float32] = np.array([[len(text), sum(map(ord, text))] for text in texts], dtype=np.float32)
    np.testing.assert_array_equal(np.stack(list(found.rows)), wanted)
    assert found.truncated.tolist() == [len(text) == 4 for text in texts]
    assert sum(seen) == (len(texts) if apart else len(set(texts)))
    assert sum(event.count for event in events) == len(texts)
