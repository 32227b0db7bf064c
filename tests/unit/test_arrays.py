"""Tokens as arrays are those that calling the tokenizer gives, and batches those of its own padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.tiny import save_bert, save_m3
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from evalharness.models.forward.arrays import IDS, MASK, Limits, count_of, padding_of, read, rows_of

TEXTS = ["a b", "", "how do ferns grow in the shade of stones", "\u0e2a \u0e27 a", "x" * 300, "a b"]
LIMITS = [
    Limits(truncation=True, max_length=6), Limits(truncation=True), Limits(truncation=False),
    Limits(truncation=False, special=False), Limits(truncation="longest_first", max_length=9),
]  # fmt: skip


@pytest.fixture(scope="module", params=["bert", "m3"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    save = save_bert if request.param == "bert" else save_m3
    return AutoTokenizer.from_pretrained(save(tmp_path_factory.mktemp("model") / "model"))


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("seconds", [None, TEXTS[::-1]])
def test_tokens_are_those_of_a_call(tokenizer: Any, limits: Limits, seconds: list[str] | None) -> None:
    how = {"add_special_tokens": limits.special, "truncation": limits.truncation, "max_length": limits.max_length}
    wanted = tokenizer(TEXTS, seconds, **how)
    found = read(tokenizer, TEXTS, limits, seconds)
    for name, rows in wanted.items():
        if name != MASK:
            assert [row.tolist() for row in found.columns[name]] == rows
    assert found.cut.tolist() == [bool(item.overflowing) for item in wanted.encodings]


def test_a_tokenizer_with_a_call_of_its_own_is_called(tokenizer: Any) -> None:
    class Own(PreTrainedTokenizerFast):
        def _encode_plus(self, *given: Any, **options: Any) -> Any:
            found = super()._encode_plus(*given, **options)
            found["input_ids"] = [[7, *ids] for ids in found["input_ids"]]
            return found

    make: Any = Own
    own = make(tokenizer_object=tokenizer.backend_tokenizer)
    own.model_input_names = [IDS]
    found = read(own, TEXTS, LIMITS[0])
    assert [row.tolist() for row in found.columns[IDS]] == [
        [7, *row.tolist()] for row in read(tokenizer, TEXTS, LIMITS[0]).columns[IDS]
    ]


def test_batches_are_those_of_the_tokenizer(tokenizer: Any) -> None:
    columns = read(tokenizer, TEXTS, LIMITS[0]).columns
    called = tokenizer(TEXTS, truncation=True, max_length=6)
    wanted = tokenizer.pad(called, padding_side="right", return_tensors="pt")
    found = padding_of(tokenizer).inputs(columns)
    assert set(found) == set(wanted)
    for name, matrix in wanted.items():
        assert torch.equal(found[name], matrix), name


def test_numbers_are_counted_in_rows_of_any_length() -> None:
    rng = np.random.default_rng(3)
    values = [rng.integers(0, 3, size=size).tolist() for size in (0, 5, 0, 0, 9, 1, 0)]
    for number in range(4):
        assert count_of(number, rows_of(values)).tolist() == [row.count(number) for row in values]
    assert count_of(1, []).tolist() == []
    assert rows_of([]) == []
