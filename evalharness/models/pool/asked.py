"""Whether texts go to actors of Ray: if that is asked for, or if there are several GPUs and the extra is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from evalharness.errors import PrerequisiteError
from evalharness.models.options import RAY_LOCAL, Execution
from evalharness.models.registry import ResolvedModel, find_backend

_INSTALL = "pip install 'evalharness[ray]'"
# where Linux has them
_GPUS = (Path("/dev"), "nvidia[0-9]*")


def asked_pool(model: ResolvedModel, execution: Execution) -> Execution | None:
    """How a model runs in actors of Ray; None where it runs in this process.

    Args:
        model: what is to be opened.
        execution: as the user wants it.

    Raises:
        PrerequisiteError: Ray is asked for and not installed.
    """
    if "ray" not in find_backend(model.spec.backend).runs_by:
        return None
    if execution.ray is not None:
        if not _is_installed():
            raise PrerequisiteError(f"--ray {execution.ray} needs ray, not installed here: {_INSTALL}")
        return execution
    if uses_gpu(model, execution) and _is_installed() and gpu_count() > 1:
        return execution.changed({"ray": RAY_LOCAL})
    return None


def may_be_pool(model: ResolvedModel, execution: Execution) -> bool:
    """Whether `asked_pool` may say so, as far as can be told at once."""
    if "ray" not in find_backend(model.spec.backend).runs_by:
        return False
    return execution.ray is not None or (uses_gpu(model, execution) and _is_installed() and _has_several())


def idle_gpus(model: ResolvedModel, execution: Execution) -> str | None:
    """What to tell whose run leaves GPUs idle that Ray would use; None where none is."""
    heeds = "ray" in find_backend(model.spec.backend).runs_by
    if not heeds or execution.ray is not None or not uses_gpu(model, execution) or _is_installed():
        return None
    if (count := gpu_count()) < 2:  # noqa: PLR2004 -- one is in use
        return None
    idle = "cuda:1 is" if count == 2 else f"cuda:1 to cuda:{count - 1} are"  # noqa: PLR2004 -- as above
    return f"{idle} idle: with {_INSTALL} all {count} GPUs work on a run"


def gpu_count() -> int:
    """GPUs that torch can use here; torch is asked only where there may be several."""
    if not _has_several():
        return 0
    import torch

    return torch.cuda.device_count()


def _has_several() -> bool:
    folder, pattern = _GPUS
    return len(list(folder.glob(pattern))) > 1


def uses_gpu(model: ResolvedModel, execution: Execution) -> bool:
    """Whether a model runs on any GPU that is there; engines that are not torch take the CPU unless told otherwise."""
    by_torch = execution.engine in ("auto", "torch") and find_backend(model.spec.backend).engine in (None, "torch")
    return execution.device == "cuda" or (execution.device is None and by_torch and model.spec.dtype != "int8")


def _is_installed() -> bool:
    # not a mere folder of that name
    return (found := find_spec("ray")) is not None and found.origin is not None
