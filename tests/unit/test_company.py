"""Which texts may share a batch: tried when a model is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from numpy.typing import NDArray
from support.tiny import DIMENSIONS, config, save_bert, tokenizer

from evalharness.errors import ModelError
from evalharness.models.forward.batches import BatchRunner, Company
from evalharness.models.forward.company import Trial, company_facts, find_company
from evalharness.models.loading import ModelOptions, resolve_model
from evalharness.models.opening import open_backend
from evalharness.models.options import Execution
from evalharness.models.rankers import Pair, PairModel
from evalharness.models.registry import ResolvedModel
from evalharness.types import ignore_event

# exports are kept in it
pytestmark = pytest.mark.usefixtures("own_cache")

Rows = Callable[[Sequence[str]], Sequence[NDArray[np.float32]]]
ONES = np.ones(4, dtype=np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    return resolve_model(str(save_bert(tmp_path_factory.mktemp("models") / "m")), ModelOptions(pooling="cls"))


def characters(texts: Sequence[str]) -> dict[str, list[list[str]]]:
    return {"input_ids": [list(text) for text in texts]}


def by_width(texts: Sequence[str]) -> list[NDArray[np.float32]]:
    return [ONES * (1 + 0.01 * max(map(len, texts)))] * len(texts)


def by_count(texts: Sequence[str]) -> list[NDArray[np.float32]]:
    return [ONES * len(texts)] * len(texts)


def without_numbers(texts: Sequence[str]) -> list[NDArray[np.float32]]:
    return [ONES * (np.nan if len(texts) > 1 else 1)] * len(texts)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (lambda texts: [ONES] * len(texts), "any lengths"),
        (by_width, "equal lengths"),
        (by_count, "alone"),
        (without_numbers, "alone"),
    ],
)
def test_the_least_restriction_that_is_enough(model: ResolvedModel, rows: Rows, expected: Company) -> None:
    found = find_company(model, Trial(rows, characters, is_exact=True))
    assert found == expected
    assert company_facts(found) == ({} if expected == "any lengths" else {"batches": expected})


def test_rounding_is_no_company(model: ResolvedModel) -> None:
    def rounded(texts: Sequence[str]) -> list[NDArray[np.float32]]:
        return [ONES * (1.01 if len(texts) > 1 else 1)] * len(texts)

    assert find_company(model, Trial(rounded, characters, is_exact=False)) == "any lengths"
    assert find_company(model, Trial(rounded, characters, is_exact=True)) == "alone"


def test_texts_whose_lengths_cannot_be_made_equal_go_alone(model: ResolvedModel) -> None:
    def tokens(texts: Sequence[str]) -> dict[str, list[range]]:
        return {"input_ids": [range(ord(text[0])) for text in texts]}

    assert find_company(model, Trial(by_width, tokens, is_exact=True)) == "alone"


def test_a_model_that_draws_lots_is_refused(model: ResolvedModel) -> None:
    lots = np.random.default_rng(0)

    def random(texts: Sequence[str]) -> list[NDArray[np.float32]]:
        return [lots.normal(size=4).astype(np.float32) for _ in texts]

    with pytest.raises(ModelError, match="gives another vector each time for the same text"):
        find_company(model, Trial(random, characters, is_exact=True))


@pytest.mark.parametrize(
    ("company", "expected"),
    [
        ("any lengths", [[5, 5, 3], [3, 3, 2, 0, 0]]),
        ("equal lengths", [[5, 5], [3, 3, 3], [2], [0, 0]]),
        ("alone", [[5], [5], [3], [3], [3], [2], [0], [0]]),
    ],
)
def test_batches_hold_texts_that_may_share_them(company: Company, expected: list[list[int]]) -> None:
    lengths = [3, 5, 0, 2, 3, 5, 0, 3]
    asked: list[list[int]] = []

    def forward(tokens: dict[str, list[Any]]) -> NDArray[np.float32]:
        asked.append([len(ids) for ids in tokens["input_ids"]])
        return np.array([sum(ids) for ids in tokens["input_ids"]], dtype=np.float32)

    tokens = {"input_ids": [[place] * length for place, length in enumerate(lengths)]}
    runner = BatchRunner("m", "cpu", 15, company)
    found = {p: row for b in runner.run(tokens, forward, ignore_event) for p, row in zip(b.places, b.rows, strict=True)}
    assert asked == expected
    assert found == {place: place * length for place, length in enumerate(lengths)}


def test_a_batch_of_equal_lengths_is_halved_where_it_does_not_fit() -> None:
    asked: list[int] = []

    def forward(tokens: dict[str, list[Any]]) -> NDArray[np.float32]:
        asked.append(len(tokens["input_ids"]))
        if len(tokens["input_ids"]) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return np.array([ids[0] for ids in tokens["input_ids"]], dtype=np.float32)

    runner = BatchRunner("m", "cpu", 100, "equal lengths")
    batches = list(runner.run({"input_ids": [[n] * 2 for n in range(4)] + [[9]]}, forward, ignore_event))
    assert asked == [4, 2, 2, 1]
    assert [row for batch in batches for row in batch.rows] == [0, 1, 2, 3, 9]


def test_so_it_is_of_an_exported_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {key: value for key, value in config(128).to_dict().items() if key not in ("architectures", "model_type")}
    hf.NystromformerModel(hf.NystromformerConfig(**sizes)).save_pretrained(tmp_path)
    tokenizer(128).save_pretrained(tmp_path)
    resolved = resolve_model(str(tmp_path), ModelOptions(pooling="mean", backend="onnx", onnx_file="export"))
    assert open_backend(resolved, Execution()).identity["batches"] == "equal lengths"


def test_pairs_share_a_batch_with_equally_long_ones_where_padding_counts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {**config(128, num_labels=1).to_dict(), "embedding_size": DIMENSIONS, "model_type": "convbert"}
    changed = hf.ConvBertConfig(**{key: value for key, value in sizes.items() if key != "architectures"})
    hf.ConvBertForSequenceClassification(changed).save_pretrained(tmp_path)
    tokenizer(128).save_pretrained(tmp_path)
    resolved = resolve_model(str(tmp_path))
    backend = open_backend(resolved, Execution(device="cpu", batch_tokens=10_000))
    assert backend.identity["batches"] == "equal lengths"
    scorer = PairModel(resolved.spec, backend, device="cpu")
    pairs = [Pair("a", "b"), Pair("How do ferns grow?", "in shade. " * 4), Pair("stone", "a river"), Pair("b", "a")]
    alone = np.concatenate([scorer.score_pairs([pair], None, ignore_event) for pair in pairs])
    assert len(np.unique(alone.round(4))) == len(pairs)
    np.testing.assert_allclose(scorer.score_pairs(pairs, None, ignore_event), alone, atol=1e-5)
