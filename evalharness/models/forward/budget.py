"""How many padded tokens go through a model at once: what was asked for, or what was found to be fastest here, once.

    <cache folder>/budgets/<digest>.json    tokens, and the model, engine and machine that they are for

The number decides the last bits of vectors. So what was measured is used for ever, and where nothing can be kept,
nothing is measured: two runs on a machine do the same.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from typing import Any

import torch

from evalharness.files import cache_folder, write_json
from evalharness.types import content_digest

# small batches stay in a CPU's cache; accelerators want many rows at once
CPU_TOKENS, ACCELERATOR_TOKENS = 2048, 32768
_CANDIDATES = {CPU_TOKENS: (1024, 2048, 4096, 8192), ACCELERATOR_TOKENS: (16384, 32768, 65536, 131072)}
# raised when what is measured changes
_VERSION = 1
# all measurements together may take so long; fewer rounds than the least show nothing
_SECONDS, _LEAST_ROUNDS, _MOST_ROUNDS = 1.0, 3, 9
# a first look, to know how long the others take
_LOOK = 256
# what is chosen instead of the default takes so much less time
_SHARE = 0.92

# from a number of tokens to the seconds of a batch of them; infinite if they do not fit into memory
Measure = Callable[[int], float]


def default_tokens(device: str) -> int:
    """What suits most models on a torch device."""
    return CPU_TOKENS if device == "cpu" else ACCELERATOR_TOKENS


def fitted_tokens(facts: Mapping[str, Any], device: str, measure: Measure) -> int:
    """What is fastest for a model on an engine on this machine; measured the first time.

    Args:
        facts: what tells model and engine from others.
        device: torch device name.
        measure: see `Measure`.
    """
    default = default_tokens(device)
    known = {"version": _VERSION, **facts, "device": device, "machine": machine(device)}
    path = cache_folder() / "budgets" / f"{content_digest(known)[:32]}.json"
    if (kept := _kept(path)) is not None:
        return kept
    if not _takes_files(path.parent):
        return default
    found = fastest(default, _CANDIDATES[default], measure)
    # another process may have been quicker
    if (kept := _kept(path)) is not None:
        return kept
    with suppress(OSError):
        write_json(path, {"batch_tokens": found, "of": known})
        return found
    return default


def fastest(default: int, candidates: Sequence[int], measure: Measure) -> int:
    """The candidate that takes least time per token, if it is clearly less than the default takes.

    The candidates are measured in turns. Those that there is no time for are left out, the largest first.
    """
    started = time.perf_counter()
    # the first call pays for what comes with it
    measure(_LOOK)
    per_token = measure(_LOOK) / _LOOK
    left = sorted(candidates)
    while len(left) > 1 and _LEAST_ROUNDS * sum(left) * per_token > _SECONDS:
        left.pop()
    if default not in left or len(left) == 1:
        return default
    seen: dict[int, list[float]] = {tokens: [] for tokens in left}
    for number in range(_MOST_ROUNDS):
        if number >= _LEAST_ROUNDS and time.perf_counter() - started > _SECONDS / 2:
            break
        for tokens in left if number % 2 else reversed(left):
            seen[tokens].append(measure(tokens) / tokens)
    costs = {tokens: median(values) for tokens, values in seen.items()}
    best = min(left, key=costs.__getitem__)
    return best if costs[best] < _SHARE * costs[default] else default


def machine(device: str) -> dict[str, Any]:
    """What of this machine decides how fast a model is on a torch device."""
    if device.startswith("cuda"):
        return {"accelerator": torch.cuda.get_device_name(device)}
    return {"processor": _processor(), "threads": torch.get_num_threads()}


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _kept(path: Path) -> int | None:
    """What was measured before; None where there is nothing that can be read."""
    try:
        found = json.loads(path.read_bytes() if path.is_file() else b"")
    except (OSError, ValueError):
        return None
    tokens = found.get("batch_tokens") if isinstance(found, dict) else None
    return tokens if isinstance(tokens, int) and tokens in (set().union(*_CANDIDATES.values())) else None


def _takes_files(folder: Path) -> bool:
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return True
    return False
