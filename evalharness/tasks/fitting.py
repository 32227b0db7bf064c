"""Fits of classifiers and clusters: one after the other, or in processes beside this one where that is sooner.

Every fit has one thread wherever it runs, so that its numbers depend neither on the number of processors nor on that
of processes. Processes are loky's, as scikit-learn has them: they read no main module, they end with this process, and
inside one of them, or in a process that may start none, fits run one after the other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from multiprocessing import current_process
from pickle import PicklingError
from threading import Thread
from typing import Any, TypeVar

Result = TypeVar("Result")

# of a processor, until a new process can fit: it imports scikit-learn
_START_SECONDS = 1.5
# between two looks at whether the parent is there
_WATCH_SECONDS = 0.5


def fit_all(fit: Callable[..., Result], arguments: Sequence[tuple[Any, ...]], seconds: float) -> list[Result]:
    """Call a function with each of these arguments, and give what it returns in their order.

    Args:
        fit: of a module, pure.
        arguments: of each call; arrays that several share are passed on once.
        seconds: about how long all calls take one after the other, by which it is decided whether processes pay.
    """
    processes = _processes(len(arguments), seconds)
    if processes > 1:
        try:
            return _in_processes(fit, arguments, processes)
        except (OSError, BrokenProcessPool, PicklingError):
            # a machine that has no room for processes still fits, only later
            pass
    with _one_thread():
        return [fit(*each) for each in arguments]


def _processes(count: int, seconds: float) -> int:
    """As many as there are processors for, if they save twice the time that they take to start."""
    import joblib

    if current_process().daemon:
        return 1
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    # who limits threads wants other processors left alone
    most = min(joblib.cpu_count(), int(allowed) if allowed.isdecimal() and int(allowed) else count, count)
    return most if most > 1 and seconds - seconds / most > 2 * _START_SECONDS else 1


def _in_processes(fit: Callable[..., Result], arguments: Sequence[tuple[Any, ...]], processes: int) -> list[Result]:
    import joblib

    with joblib.parallel_config("loky", n_jobs=processes, inner_max_num_threads=1):
        found: list[Result] = joblib.Parallel()(joblib.delayed(_beside)(os.getpid(), fit, each) for each in arguments)
    return found


def _beside(parent: int, fit: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    _end_with(parent)
    with _one_thread():
        return fit(*arguments)


@cache
def _end_with(parent: int) -> None:
    """End this process soon after its parent, which may be killed while this one is in the middle of a fit."""
    import psutil

    def watch() -> None:
        # where a parent's number stays, the parent itself is looked for
        while os.getppid() == parent and psutil.pid_exists(parent):
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Of OpenBLAS, which is NumPy's and SciPy's, and of this thread's OpenMP.

    Other libraries are left alone: a model may encode beside this.
    """
    from threadpoolctl import ThreadpoolController

    libraries = ThreadpoolController()
    with (
        libraries.select(internal_api="openblas").limit(limits=1),
        libraries.select(user_api="openmp").limit(limits=1),
    ):
        yield
