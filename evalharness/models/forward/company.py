"""Whether a text's vector depends on the texts that share its batch: tried when a model is opened.

Some architectures do not leave padding out: convolutions over the text, landmarks, Fourier transforms. Nothing in their
files tells; what comes out does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evalharness.errors import ModelError
from evalharness.models.forward.batches import ANY_LENGTHS, Company
from evalharness.models.forward.tokens import BatchReader
from evalharness.models.forward.weights import library_errors
from evalharness.models.registry import ResolvedModel

_SHORT, _SWAPPED = "a b", "b a"
_LONG = "How do ferns grow in the shade of stones and rivers?"
# what the order of sums changes is a thousandth of these; what padding changes was above 0.01
_EXACT, _ROUNDED = 1e-3, 5e-2


@dataclass(frozen=True, slots=True)
class Trial:
    """How a backend runs texts to see whether they depend on each other.

    Attributes:
        rows: what comes out for each of some texts that go through the model as one batch; nothing of padding.
        tokens: of such texts, by the tokenizer's names.
        is_exact: whether the model computes as exactly as float32 can.
    """

    rows: Callable[[Sequence[str]], Sequence[NDArray[np.float32]]]
    tokens: Callable[[Sequence[str]], Mapping[str, Any]]
    is_exact: bool


def trial_of(reader: BatchReader, forward: Callable[[Any], torch.Tensor], *, is_exact: bool) -> Trial:
    """How to try what takes padded tokens.

    Args:
        reader: makes them.
        forward: from the inputs of a batch to vectors: of its tokens, or of its texts.
        is_exact: see `Trial`.
    """

    def rows(texts: Sequence[str]) -> list[NDArray[np.float32]]:
        tokens = reader.plain_tokens(texts)
        found = forward(reader.inputs(tokens)).float().cpu().numpy()
        # the padding is on the right
        return [row if row.ndim == 1 else row[: len(ids)] for row, ids in zip(found, tokens["input_ids"], strict=True)]

    return Trial(rows, reader.plain_tokens, is_exact)


def computes_exactly(model: ResolvedModel) -> bool:
    """Whether a model on torch computes in whole float32."""
    return model.spec.dtype == "float32" and torch.get_float32_matmul_precision() == "highest"


def company_facts(company: Company) -> dict[str, str]:
    """What a backend's identity says of batches: nothing where any texts may share one."""
    return {} if company == ANY_LENGTHS else {"batches": company}


def find_company(model: ResolvedModel, trial: Trial) -> Company:
    """Which texts may share a batch.

    Args:
        model: whose they are.
        trial: see `Trial`.

    Returns:
        Those of any lengths; if padding changes a text's vector, those of equal length; if that does, too, none.

    Raises:
        ModelError: the model does not run on two texts, or gives another vector each time.
    """
    bound = _EXACT if trial.is_exact else _ROUNDED
    with library_errors(model, "the model does not run on two texts at once"), torch.inference_mode():
        alone = trial.rows([_SHORT])[0]

        def is_same_in(batch: Sequence[str]) -> bool:
            return bool(np.linalg.norm(trial.rows(batch)[0] - alone) <= bound * np.linalg.norm(alone))

        if is_same_in([_SHORT, _LONG]):
            return ANY_LENGTHS
        if not is_same_in([_SHORT]):
            raise ModelError(
                f"{model.spec.name}: gives another vector each time for the same text, so its results mean nothing; "
                "something in it is random (dropout, sampled attention)"
            )
        return "equal lengths" if _are_equal(trial) and is_same_in([_SHORT, _SWAPPED]) else "alone"


def _are_equal(trial: Trial) -> bool:
    short, swapped = trial.tokens([_SHORT, _SWAPPED])["input_ids"]
    return len(short) == len(swapped)
