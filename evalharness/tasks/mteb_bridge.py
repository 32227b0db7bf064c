"""Tasks that no type here scores: mteb's own code does, with our encoder (prompts, dedupe) underneath."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.data.mteb import abstract_class
from evalharness.downloads import hub_only, standing_in
from evalharness.errors import UsageError
from evalharness.tasks import side_of
from evalharness.types import Embeddings, ItemScores, ModelSpec, Scores, TextColumn

NOTE = "scored by mteb's own code; no per-item scores"
# mteb's default; it only names the size of the chunks in which texts are handed over
_BATCH = 32

Encode = Callable[[TextColumn], Embeddings]


def score_with_mteb(task: Any, split: str, subset: str, model: ModelSpec, encode: Encode) -> Scores:  # noqa: ANN401
    """Let mteb score one subset.

    Args:
        task: a fresh mteb task object with its data loaded.
        split: as in mteb.
        subset: as in mteb.
        model: what mteb shall know of the model.
        encode: gives the vectors of texts.

    Raises:
        UsageError: the task wants more than vectors of texts.
    """
    if "text" not in task.metadata.modalities or len(task.metadata.modalities) > 1:
        raise UsageError(f"{task.metadata.name} is not about texts alone ({', '.join(task.metadata.modalities)})")
    encoder = _MtebEncoder(model, encode, Path.cwd())
    with hub_only():  # some tasks load more while they are evaluated
        found = task.evaluate(encoder, split, subsets_to_run=[subset], encode_kwargs={"batch_size": _BATCH})
    metrics = {name: _plain(value) for name, value in found[subset].items() if name != "main_score"}
    return Scores(metrics, ItemScores([], {}), (f"{NOTE} ({abstract_class(task).__name__})",))


def _plain(value: Any) -> Any:  # noqa: ANN401 -- JSON
    """NumPy's numbers as Python's."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    return value.item() if isinstance(value, np.generic) else value


class _MtebEncoder:
    """Our encoder behind mteb's EncoderProtocol."""

    def __init__(self, model: ModelSpec, encode: Encode, home: Path) -> None:
        from mteb.models.model_meta import ModelMeta

        # the model and the store may be named relative to the folder in which the run was started
        self._home = home
        self._encode = encode
        self._similarity = model.similarity
        self.mteb_model_meta = ModelMeta.create_empty(overwrites={"name": model.name, "revision": model.revision})

    def encode(
        self,
        inputs: Any,  # noqa: ANN401 -- a DataLoader of batches
        *,
        task_metadata: Any,  # noqa: ANN401
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,  # noqa: ANN401
        batch_size: int = _BATCH,
    ) -> NDArray[np.float32]:
        """Vectors of all texts of a loader, in order."""
        del task_metadata, hf_split, hf_subset, batch_size
        texts = [text for batch in inputs for text in batch["text"]]
        with standing_in(self._home):
            return self._encode(TextColumn("texts", texts, side_of(prompt_type))).vectors

    def similarity(self, first: Any, second: Any) -> Any:  # noqa: ANN401 -- torch tensors or arrays
        """The model's similarity of all rows with all rows."""
        from mteb.similarity_functions import cos_sim, dot_score

        return (cos_sim if self._similarity == "cosine" else dot_score)(first, second)

    def similarity_pairwise(self, first: Any, second: Any) -> Any:  # noqa: ANN401
        """The model's similarity of rows with equal numbers."""
        from mteb.similarity_functions import pairwise_cos_sim, pairwise_dot_score

        return (pairwise_cos_sim if self._similarity == "cosine" else pairwise_dot_score)(first, second)
