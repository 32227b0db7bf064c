"""Models that are opened when something is to be encoded: a run whose vectors are all stored opens none.

Opening a model takes seconds, and a run with a store wants to know only what the store's key and the records say of it.
So what an opening found is kept in the user's cache folder, a file for each key, which is made of all that it depends
on. What is found there is whole and as it was written, or it is not found. The folder may be removed at any time.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from evalharness.catalog.models import NOTHING_KNOWN, ModelFacts
from evalharness.downloads import stand_apart
from evalharness.errors import StorageError
from evalharness.files import cache_folder
from evalharness.models.code import code_digest
from evalharness.models.computing import NOTHING_SAID, Computed, Computing, Counted
from evalharness.models.kept import Kept, find_kept, forget, keep
from evalharness.models.opening import import_code, open_backend
from evalharness.models.options import Execution
from evalharness.models.pool.asked import asked_pool, may_be_pool
from evalharness.models.registry import OpenBackend, ResolvedModel, find_backend
from evalharness.models.source import Seen, check_unchanged, look
from evalharness.models.workers import workers_of
from evalharness.results.records import installed_version
from evalharness.store.journal import NO_JOURNAL, Journal
from evalharness.store.shards import PlannedShard
from evalharness.store.text_encoder import Preparing, Result, ShardWork, one_by_one
from evalharness.types import Embeddings, Emit, Encoding

# whatever a model is opened with; that of some may be absent
_PACKAGES = (
    "torch", "transformers", "tokenizers", "safetensors", "numpy", "sentence-transformers", "peft", "model2vec",
    "openvino", "nncf", "onnxruntime", "onnxruntime-gpu", "onnx", "flash-attn",
)  # fmt: skip
# where code that is compiled goes, which libraries set as they are imported
_PLACES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
# settings of libraries: which devices there are, and in which precision they multiply
_SETTINGS = (
    "CUDA_", "HIP_", "ROCR_", "NVIDIA_", "TORCH", "PYTORCH_", "ONEDNN_", "DNNL_", "MKL_", "OV_", "EVALHARNESS_",
)  # fmt: skip
# where Linux has them
_ACCELERATORS = ("nvidia[0-9]*", "kfd", "dri/render*")
_PROCESSORS = Path("/proc/cpuinfo")


class OpenedOtherwiseError(StorageError):
    """A model that had to be opened after all is not what was kept of it, which is gone now; nothing was mixed."""


class Opening(Kept):
    """What an opening found.

    Attributes:
        device, identity: see `OpenBackend`.
        parameters, embedding_parameters: see `Counted`.
        computing: see `Computed`.
    """

    device: str
    identity: dict[str, Any]
    parameters: int | None
    embedding_parameters: int | None
    computing: Computing


def openings_folder() -> Path:
    """Where openings are kept."""
    return cache_folder() / "openings"


class LazyBackend:
    """An `OpenBackend` that is opened for the first texts, and knows before what an earlier opening found.

    Attributes:
        device, identity: see `OpenBackend`.
        size: see `Counted`.
        computing: see `Computed`.
    """

    def __init__(self, model: ResolvedModel, execution: Execution, known: Opening) -> None:
        self.device = known.device
        self.identity: Mapping[str, Any] = known.identity
        self.size = ModelFacts(parameters=known.parameters, embedding_parameters=known.embedding_parameters)
        self.computing = known.computing
        self._model, self._execution, self._known = model, execution, known
        self._files = look(model.facts.folder, model.facts.files)
        self._lock = threading.Lock()
        self._loading: threading.Thread | None = None
        self._opened: OpenBackend | None = None
        self._error: Exception | None = None

    @property
    def is_open(self) -> bool:
        """Whether the model is in memory."""
        return self._opened is not None

    @property
    def workers(self) -> Self | None:
        """See `Pooled`."""
        return self if may_be_pool(self._model, self._execution) else None

    @property
    def engines(self) -> int:
        """See `Workers`; a model that turned out to be no pool is one."""
        if self._opened is None:
            return 0
        workers = workers_of(self._opened)
        return 1 if workers is None else workers.engines

    @property
    def at_once(self) -> int:
        """See `Workers`."""
        workers = workers_of(self._opened)
        return 1 if workers is None else workers.at_once

    @property
    def share_store(self) -> bool:
        """See `Workers`."""
        workers = workers_of(self._opened)
        return workers is not None and workers.share_store

    def begin(self) -> None:
        """Have it opened meanwhile, if it is a kind on an engine here: whoever wants vectors later waits for less.

        The code is imported at once: imports do not run side by side, and two threads that import the same libraries
        can meet halfway.
        """
        backend = find_backend(self._model.spec.backend)
        if backend.engine is None or asked_pool(self._model, self._execution) is not None:
            return
        import_code(self._model, self.computing.engine)
        self._loading = threading.Thread(target=self._open_apart, name="evalharness-loading")
        self._loading.start()

    def encode(self, texts: Sequence[str], encoding: Encoding, emit: Emit, journal: Journal = NO_JOURNAL) -> Embeddings:
        """See `TextEncoder`.

        Raises:
            OpenedOtherwiseError: the model is another than was known.
            PrerequisiteError, ModelError: as `open_backend`.
        """
        return self._backend().encode(texts, encoding, emit, journal)

    def spread(self, work: ShardWork[Result], shards: Sequence[PlannedShard], emit: Emit) -> Iterator[Result]:
        """See `Spreading`; for one encoder it is a loop."""
        if shards:
            yield from one_by_one(work, shards, self._backend(), emit)

    def prepare(self, texts: Sequence[str], encoding: Encoding) -> None:
        """See `Preparing`; whoever prepares texts is about to encode them."""
        opened = self._backend()
        if isinstance(opened, Preparing):
            opened.prepare(texts, encoding)

    def forget(self) -> None:
        """See `Preparing`."""
        if isinstance(self._opened, Preparing):
            self._opened.forget()

    def _backend(self) -> OpenBackend:
        self._open()
        if self._opened is None or self._error is not None:
            raise self._error or AssertionError("a model that is not open has an error")
        return self._opened

    def _open_apart(self) -> None:
        """Open it where the working directory of others does not matter: data of the Hub are loaded in an empty one."""
        if stand_apart():
            self._open()

    def _open(self) -> None:
        """Open it, once; what goes wrong is told to whoever wants vectors."""
        with self._lock:
            if self._opened is not None or self._error is not None:
                return
            try:
                opened: OpenBackend = open_backend(self._model, self._execution)
                _check_unchanged(self._model, self._files)
                found = _opening(self._known.made_of, opened)
                if found != self._known:
                    forget(openings_folder(), self._known.made_of)
                    if found is not None:
                        keep(openings_folder(), found)
                if found is None or found.identity != self._known.identity:
                    raise OpenedOtherwiseError(  # noqa: TRY301 -- kept like what opening raises
                        f"{self._model.spec.name} was opened before with other settings or on another machine, so its "
                        "vectors are looked up anew; run the command again"
                    )
                self._opened = opened
            except Exception as error:  # noqa: BLE001 -- raised where vectors are wanted, maybe in another thread
                self._error = error


def _check_unchanged(model: ResolvedModel, seen: Seen) -> None:
    facts, spec = model.facts, model.spec
    check_unchanged(spec.name, facts.folder, facts.files, content=spec.fingerprint, seen=seen)


def known_opening(model: ResolvedModel, execution: Execution) -> LazyBackend | None:
    """A model that is opened for the first texts; None if it has never been opened so."""
    if (
        not is_known_by_files(model)
        or (known := find_kept(Opening, openings_folder(), opening_key(model, execution))) is None
    ):
        return None
    return LazyBackend(model, execution, known)


def open_and_keep(model: ResolvedModel, execution: Execution) -> Any:  # noqa: ANN401 -- as `open_backend`
    """A model as `open_backend` gives it; what was found is kept.

    Raises:
        PrerequisiteError, ModelError: as `open_backend`.
    """
    seen = look(model.facts.folder, model.facts.files)
    opened = open_backend(model, execution)
    if model.facts.files:
        _check_unchanged(model, seen)
    if is_known_by_files(model):
        made_of = opening_key(model, execution)
        if (found := _opening(made_of, opened)) is not None:
            keep(openings_folder(), found)
    return opened


def is_known_by_files(model: ResolvedModel) -> bool:
    """Whether the key tells everything; a repository's code may read other files, and import what it likes."""
    backend, spec = find_backend(model.spec.backend), model.spec
    return backend.is_files and backend.keeps_vectors and not spec.remote_code and not model.facts.foreign_code


def opening_key(model: ResolvedModel, execution: Execution) -> dict[str, Any]:
    """All that can change what an opening finds, as JSON has it."""
    facts, torch = model.facts, sys.modules.get("torch")
    return {
        "model": model.spec.model_dump(mode="json"),
        "usual": model.usual,
        "options": model.options.model_dump(mode="json"),
        "files": sorted(facts.files),
        "onnx_files": sorted(facts.onnx_files),
        "execution": execution.model_dump(mode="json", exclude={"ends"}),
        "evalharness": code_digest(),
        "python": platform.python_version(),
        "packages": {name: installed_version(name) for name in _PACKAGES},
        "machine": [platform.platform(), _processor(), os.cpu_count()],
        "accelerators": sorted(str(path) for pattern in _ACCELERATORS for path in Path("/dev").glob(pattern)),
        "environment": {
            name: os.environ[name] for name in sorted(os.environ) if name.startswith(_SETTINGS) and name not in _PLACES
        },
        # where nobody has imported it, nobody has set it
        "matmul_precision": "highest" if torch is None else torch.get_float32_matmul_precision(),
    }


def _processor() -> str:
    with suppress(OSError):
        lines = _PROCESSORS.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line for line in lines if line.startswith("model name")), "")
    return platform.processor()


def _opening(made_of: Mapping[str, Any], opened: OpenBackend) -> Opening | None:
    """What there is to keep of an opened model; None if JSON cannot hold it."""
    size = opened.size if isinstance(opened, Counted) else NOTHING_KNOWN
    try:
        found = Opening(
            made_of=dict(made_of),
            device=opened.device,
            identity=dict(opened.identity),
            parameters=size.parameters,
            embedding_parameters=size.embedding_parameters,
            computing=opened.computing if isinstance(opened, Computed) else NOTHING_SAID,
        )
        whole = found.sealed()
        return whole if Opening.model_validate_json(whole.model_dump_json()) == whole else None
    except (TypeError, ValueError):
        return None
