"""Models of mteb's registry by mteb's own code: `mteb:NAME`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalharness.downloads import hub_only
from evalharness.errors import ModelError, UsageError, unknown_names
from evalharness.models.config import FileFacts
from evalharness.models.folding import NO_REVISION, Identity, Stated, spec_without_files
from evalharness.models.named import Named
from evalharness.models.options import Execution, check_remote_code
from evalharness.models.registry import ResolvedModel
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.types import Dense, Emit, Encoding, Facts, Similarity, TextsEncoded

_PREFIX = "mteb:"
_BATCH = 32
_PART_TEXTS, _PART_CHARACTERS = 32 * _BATCH, 2048 * _BATCH
_SIMILARITIES: dict[str, Similarity] = {"cosine": "cosine", "dot": "dot"}


class MtebBackend:
    """A `TextEncoder` around a model of mteb's, which chooses its prompts by the encoding's task and side.

    Attributes:
        device: for the record.
        identity: what of the backend can change a vector, apart from the model and the encoding.
    """

    def __init__(self, model: ResolvedModel, execution: Execution) -> None:
        import mteb

        from evalharness.models.forward.batches import choose_device

        self._name = model.given.removeprefix(_PREFIX)
        self.device = execution.device or "mteb's own choice"
        # mteb's code decides on the precision, below float32 mostly
        kind = choose_device(execution.device).partition(":")[0]
        self.identity = {"backend": "mteb", "mteb": mteb.__version__, "device": kind}
        self._similarity = model.spec.similarity
        device: Any = {} if execution.device is None else {"device": execution.device}
        try:
            with hub_only():
                self._model: Any = mteb.get_model(self._name, **device)
        except ImportError as error:
            raise ModelError(f"{self._name}: mteb needs more packages for it: {error}") from None
        if not callable(getattr(self._model, "encode", None)):
            raise ModelError(
                f"{self._name}: mteb's {type(self._model).__name__} has no encode, so it makes no vectors; expected a "
                "model that does. For rerankers and BM25 there are backends here: cross-encoder, bm25"
            )

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Dense:
        """Encode texts; row i belongs to text i.

        Raises:
            ModelError: the task is not one of mteb's, by which the model chooses its prompt.
        """
        import mteb
        from datasets import Dataset
        from mteb.types import PromptType
        from torch.utils.data import DataLoader

        task, side = encoding.task, encoding.side
        try:
            metadata = mteb.get_task(task).metadata
        except KeyError:
            raise ModelError(
                f"mteb:{self._name} chooses its prompts by mteb's own tasks, and {task or 'no task'} is none of them; "
                "run local tasks with another backend"
            ) from None

        def encoded(part: Sequence[str]) -> NDArray[np.float32]:
            loader: Any = DataLoader(Dataset.from_dict({"text": list(part)}), batch_size=_BATCH)
            rows = self._model.encode(
                loader,
                task_metadata=metadata,
                hf_split=metadata.eval_splits[0],
                hf_subset=metadata.hf_subsets[0],
                prompt_type=PromptType(side) if side else None,
                batch_size=_BATCH,
            )
            return np.asarray(rows.detach().float().cpu() if hasattr(rows, "detach") else rows, dtype=np.float32)

        found: list[NDArray[np.float32]] = []
        for part in _parts(texts):
            batch = {"texts": part, "task": [task, side or ""]}
            kept = journal.find(batch)
            found.append(encoded(part) if kept is None else kept["rows"])
            if kept is None:
                journal.add(batch, {"rows": found[-1]})
            emit(TextsEncoded(len(part), 0 if kept else sum(len(text.split()) or 1 for text in part)))
        return Dense(np.concatenate(found) if found else np.empty((0, 0), dtype=np.float32), self._similarity)


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Texts that are handed over at a time: as much work as may be lost, and a batch at least."""
    first = characters = 0
    for place, text in enumerate(texts):
        if place > first and (characters + len(text) > _PART_CHARACTERS or place - first == _PART_TEXTS):
            yield texts[first:place]
            first, characters = place, 0
        characters += len(text)
    if texts:
        yield texts[first:]


def resolve(named: Named) -> ResolvedModel:
    """A model of mteb's registry.

    Raises:
        UsageError: mteb has none of this name.
        ModelError: it needs permissions that it does not have, or compares vectors in a way that is not known here.
    """
    import mteb

    name, options = named.name, named.options
    wanted = name.removeprefix(_PREFIX)
    known = {meta.name: meta for meta in mteb.get_model_metas() if meta.name}
    if wanted not in known:
        raise UsageError(unknown_names("model of mteb", [wanted], known))
    meta = known[wanted]
    if (meta.loader_kwargs or {}).get("trust_remote_code"):
        check_remote_code(wanted, options)
    similarity = str(getattr(meta.similarity_fn_name, "value", meta.similarity_fn_name) or "cosine")
    if similarity not in _SIMILARITIES:
        raise ModelError(f"{name}: compares its vectors by {similarity}; expected cosine or dot")
    content = f"mteb {mteb.__version__} {wanted} {meta.revision}"
    # its prompts and the rest are its own, whatever a card of ours says
    own = Facts(
        prompts={},
        adapters={},
        default_prompt="",
        instruction_template="",
        layer_norm=False,
        normalize=False,
        max_length=None,
        similarity=_SIMILARITIES[similarity],
        languages=tuple(meta.languages or ()),
    )
    identity = Identity(wanted, meta.revision or NO_REVISION, content)
    spec = spec_without_files(named.renamed(wanted), "mteb", identity, Stated(f"mteb {mteb.__version__}", own))
    spec = spec.changed({"encodes_by": ("side", "task"), "overrides": {**spec.overrides, "backend": "mteb"}})
    return ResolvedModel(spec, FileFacts(), options, given=name)


open_backend = MtebBackend
