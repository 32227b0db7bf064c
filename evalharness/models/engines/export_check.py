"""Whether an exported model gives what the model gives that it was made of, on fixed texts of all lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evalharness.models.engines.exports import DiffersError
from evalharness.models.forward.batches import BatchRunner
from evalharness.models.forward.pipeline import Exportable, Graph, GraphOutput
from evalharness.models.prompts import encoding
from evalharness.models.registry import ResolvedModel
from evalharness.ranking.multipart import unpack
from evalharness.types import Encoding, ignore_event

CHECK_TEXTS = 32
# of a vector, 1 - its cosine; of a score, the difference
TOLERANCES: Mapping[GraphOutput, float] = {"hidden": 1e-6, "logits": 1e-4}
EXAMPLES = ("How do ferns grow?", "In the shade")
OUTPUTS: Mapping[GraphOutput, str] = {"hidden": "last_hidden_state", "logits": "logits"}
# most texts go up to here, and one up to there: a model that takes 8192 tokens would be compared for minutes
_MOST, _LONGEST = 512, 2048
_WORDS = (
    "How",
    "do",
    "ferns",
    "grow",
    "in",
    "the",
    "shade",
    "?",
    "7",
    "stones",
    "and",
    "rivers,",
    "中",
    "façade",
    "x-ray",
    "!",
)


class LoadedGraph:
    """A `Graph` of a torch model that is in memory."""

    def __init__(self, loaded: torch.nn.Module) -> None:
        self._loaded = loaded

    def run(self, inputs: Mapping[str, Any], output: GraphOutput) -> torch.Tensor:
        """See `Graph`."""
        found: torch.Tensor = getattr(self._loaded(**inputs), OUTPUTS[output])
        return found


def compared_length(model: ResolvedModel) -> int:
    """Tokens of the longest text on which an export of a model is compared with it."""
    return min(model.spec.max_length or _LONGEST, _LONGEST)


def largest_difference(model: ResolvedModel, kind: Exportable, loaded: Any, exported: Graph) -> float:  # noqa: ANN401
    """How far an export is from its model, at most, in what is made of a text: of a vector, 1 - the cosine of both.

    Args:
        model: what was exported.
        kind: makes vectors or scores of both.
        loaded: the model.
        exported: the export, running.

    Raises:
        DiffersError: too far.
    """
    tokens = kind.reader.plain_tokens(check_texts(compared_length(model)))
    # of a text without a token there is nothing to compare
    there = [place for place, ids in enumerate(tokens["input_ids"]) if ids]
    tokens = {key: [values[place] for place in there] for key, values in tokens.items()}
    wanted, found = (rows_of(model, kind, graph, tokens) for graph in (LoadedGraph(loaded), exported))
    largest = float(np.nan_to_num(differences(kind.wants, wanted, found), nan=np.inf).max())
    allowed = TOLERANCES[kind.wants]
    if largest > allowed:
        measure = "1 - cosine" if kind.wants == "hidden" else "of a score"
        raise DiffersError(
            f"the exported model differs from the torch model by {largest:.2g} ({measure}) on {CHECK_TEXTS} texts, at "
            f"most {allowed} is allowed; run it with torch"
        )
    return largest


def rows_of(
    model: ResolvedModel, kind: Exportable, graph: Graph, tokens: Mapping[str, Sequence[Any]]
) -> NDArray[np.float64]:
    """What a kind makes of texts, a row each: of several vectors of a text, the dense one."""
    how: Encoding = encoding(model.spec, None, None).changed({"outputs": ("dense",)})

    def forward(part: dict[str, list[Any]]) -> list[NDArray[np.float32]]:
        rows = kind.rows(graph, part, how)
        return (
            [unpack(row).dense for row in rows] if isinstance(rows, list) else list(np.reshape(rows, (len(rows), -1)))
        )

    found: list[Any] = [None] * len(tokens["input_ids"])
    # layers after the graph are torch's on every engine
    with torch.inference_mode():
        for batch in BatchRunner(model.spec.name, "cpu", None).run(tokens, forward, ignore_event):
            for place, row in zip(batch.places, batch.rows, strict=True):
                found[place] = row
    return np.array(found, dtype=np.float64)


def differences(output: GraphOutput, wanted: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Per text: 1 - the cosine of two vectors; of two scores, their difference."""
    if output == "logits":
        return np.asarray(np.abs(wanted - found).max(axis=1))
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
    return np.asarray(1 - (wanted * found).sum(axis=1) / lengths)


def check_texts(max_length: int) -> list[str]:
    """Fixed texts of no word to about as many as the model takes, few of them long."""
    steps = CHECK_TEXTS - 2
    most = min(max_length, _MOST)
    counts = [0, *(round(most ** (step / steps)) for step in range(steps)), max_length]
    return [" ".join(_WORDS[(number + place) % len(_WORDS)] for place in range(n)) for number, n in enumerate(counts)]
