"""The way to Ray: one that is started here and ends with us, or a cluster that runs and is left as it was."""

from __future__ import annotations

import logging
import platform
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from evalharness.errors import PrerequisiteError, one_line
from evalharness.models.cpus import usable_cpus
from evalharness.models.options import RAY_AUTO, RAY_LOCAL
from evalharness.models.pool.heart import deafen, listen_to
from evalharness.models.pool.ray_library import ray

_log = logging.getLogger(__name__)
# connecting cannot be interrupted, and takes minutes where nobody answers: so a process of its own tries it first
_TRIAL = "import logging, ray, sys; ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)"
# what Ray logs, again and again, where a token is missing or another's
_UNAUTHORIZED = "InvalidAuthToken"
_TRIAL_SECONDS = 12
_VERSIONS = re.compile(r"Ray: (\S+)\s+Python: (\S+)")
# what Ray says on a machine without a node of its own
_NO_NODE = ("no node info found", "can not find the matched raylet", "this node has an ip address", "no matching node")
_NO_CLUSTER = "Could not find any running Ray instance"


@dataclass(slots=True)
class _Ours:
    """How many have Ray through us; with the last it is left."""

    users: int = 0
    is_ours: bool = False
    left: threading.Event = field(default_factory=threading.Event)


_lock = threading.Lock()
_ours = _Ours()


def enter(address: str) -> None:
    """Have this process use Ray; if it does already, by whomever, that is used.

    Args:
        address: see `Execution.ray`.

    Raises:
        PrerequisiteError: nobody answers there, or it cannot be used from here.
    """
    with _lock:
        if not ray.is_initialized():
            if address != RAY_LOCAL:
                _try_out(address)
            _ours.left = threading.Event()
            with _own_signals():
                _stay(partial(_connect, address), _ours.left)
            _ours.is_ours = True
            listen_to(ray.get_runtime_context().gcs_address)
        _ours.users += 1


def leave() -> None:
    """Need Ray no more: one that was started by `enter` ends with the last user."""
    with _lock:
        _ours.users -= 1
        if not _ours.users and _ours.is_ours:
            _ours.is_ours = False
            _ours.left.set()
            deafen()
            with suppress(Exception):
                ray.shutdown()


def _stay(enter: Callable[[], None], left: threading.Event) -> None:
    """Enter Ray in a thread that is there until it is left: if it ended before, a thread of Ray's would spin."""
    if threading.current_thread() is threading.main_thread():
        enter()
        return
    entered: Future[None] = Future()

    def stay() -> None:
        try:
            enter()
        except BaseException as error:  # noqa: BLE001 -- raised where somebody waits
            entered.set_exception(error)
        else:
            entered.set_result(None)
            left.wait()

    threading.Thread(target=stay, name="evalharness-ray", daemon=True).start()
    entered.result()


def _connect(address: str) -> None:
    try:
        ray.init(
            address=address,
            num_cpus=usable_cpus() if address == RAY_LOCAL else None,
            include_dashboard=False if address == RAY_LOCAL else None,
            # what matters is told as events
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
        _hush()
    except Exception as error:
        raise PrerequisiteError(f"Ray cannot be used here ({_said(str(error))}); leave --ray out") from error


def _hush() -> None:
    """Have Ray not print to stdout, among results, what becomes of its processes, which log_to_driver does not end."""
    worker: Any = sys.modules.get("ray._private.worker")
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = _log_it


def _log_it(data: Mapping[str, Any], *others: object, **settings: object) -> None:
    del others, settings
    _log.debug("%s", data.get("lines"))


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this process does on signals; Ray has ideas of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _try_out(address: str) -> None:
    """See that a cluster can be used from here.

    Raises:
        PrerequisiteError: it cannot.
    """
    command = [sys.executable, "-P", "-c", _TRIAL, address]
    asked = f"--ray {address}"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TRIAL_SECONDS, check=False)  # noqa: S603 -- ours
    except subprocess.TimeoutExpired as waited:
        if _UNAUTHORIZED in _text(waited.stderr):
            raise PrerequisiteError(_token_advice(asked)) from None
        raise PrerequisiteError(
            f"{asked}: no Ray cluster answers within {_TRIAL_SECONDS} seconds; see that it runs (ray status on its "
            "head node) and that address and port are those that ray start named, or take this machine alone: "
            f"--ray {RAY_LOCAL}"
        ) from None
    if done.returncode and _UNAUTHORIZED in done.stderr:
        raise PrerequisiteError(_token_advice(asked))
    if done.returncode:
        raise PrerequisiteError(f"{asked}: {_advice(address, done.stderr)}")


def _text(written: bytes | str | None) -> str:
    """What a process wrote that was ended: bytes, whatever was asked for."""
    return written.decode(errors="replace") if isinstance(written, bytes) else written or ""


def _token_advice(asked: str) -> str:
    return (
        f"{asked}: the cluster runs, and asks for a token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN where the token "
        "of ~/.ray/auth_token here is not that of its head node"
    )


def _advice(address: str, said: str) -> str:
    """What to do about a connection that failed."""
    if "Version mismatch" in said and (found := _VERSIONS.findall(said)):
        (their_ray, their_python), here = found[0], f"Ray {ray.__version__} and Python {platform.python_version()}"
        return (
            f"the cluster runs Ray {their_ray} and Python {their_python}, here are {here}, and they have to be the "
            f"same: pip install 'ray=={their_ray}' in a Python {their_python}, or start the cluster from this "
            "environment"
        )
    if _NO_CLUSTER in said:
        return f"no Ray cluster runs on this machine; start one with: ray start --head, or give --ray {RAY_LOCAL}"
    if any(sign in said.lower() for sign in _NO_NODE):
        joined = "" if address == RAY_AUTO else f" --address={address}"
        return f"this machine is no node of that cluster; join it: ray start{joined}, or start the run on a node"
    return f"cannot be used ({_said(said)}); see: ray status"


def _said(text: str) -> str:
    """The last line of what Ray says, which is the error itself."""
    lines = [line for line in text.splitlines() if line.strip()]
    return one_line(lines[-1] if lines else "it does not say why", 200)
