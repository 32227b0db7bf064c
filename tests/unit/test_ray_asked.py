"""Whether a run goes to Ray, and what is said where it cannot."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.lookup import spec

from evalharness import Execution, ModelOptions
from evalharness.errors import PrerequisiteError, UsageError
from evalharness.models.config import FileFacts
from evalharness.models.options import parse_options, with_engine
from evalharness.models.pool import asked
from evalharness.models.pool.asked import asked_pool, idle_gpus
from evalharness.models.registry import BACKENDS, ResolvedModel, check_execution

MODEL = ResolvedModel(spec(), FileFacts(), ModelOptions())


def of(backend: str) -> ResolvedModel:
    return ResolvedModel(spec(backend=backend), FileFacts(), ModelOptions())


def gpus(monkeypatch: pytest.MonkeyPatch, count: int, *, ray: bool) -> None:
    monkeypatch.setattr(asked, "gpu_count", lambda: count)
    monkeypatch.setattr(asked, "_is_installed", lambda: ray)


@pytest.mark.parametrize("address", ["local", "auto", "10.0.0.1:6379", "head.example:6379", "[::1]:6379"])
def test_addresses_that_can_be_asked_for(address: str) -> None:
    check_execution([MODEL.spec], Execution(ray=address))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://head:10001", "not behind Ray Client; start it there with --ray auto"),
        ("everywhere", "--ray must be local, auto or HOST:PORT of a cluster that runs, got 'everywhere'"),
        ("head", "HOST:PORT"),
        ("", "HOST:PORT"),
    ],
)
def test_addresses_that_cannot_be_are_told_with_what_else_is_wrong(address: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_execution([MODEL.spec], Execution(ray=address))
    typed = dict.fromkeys(ModelOptions.model_fields) | {
        "protocol": "mteb", "pooling": "max", "trust_remote_code": False, "safetensors_only": False,
    }  # fmt: skip
    parsed, _ = with_engine(parse_options(typed), Execution(ray=address), "tensorrt")
    assert len(parsed.problems) == 3
    assert said in parsed.problems[2]


def test_each_actor_has_a_device_of_its_own() -> None:
    with pytest.raises(UsageError, match=r"--device cuda:1: with --ray each actor .* give --device cuda, or"):
        check_execution([MODEL.spec], Execution(ray="local", device="cuda:1"))
    with pytest.raises(UsageError, match="--device mps: actors of Ray run on cpu or cuda; leave --ray out"):
        check_execution([MODEL.spec], Execution(ray="local", device="mps:0"))
    check_execution([MODEL.spec], Execution(ray="local", device="cuda"))


@pytest.mark.parametrize("backend", ["http", "static", "bm25", "python", "mteb"])
def test_backends_that_no_actor_can_run_refuse_it_and_threads(backend: str) -> None:
    for option, execution in (("ray", Execution(ray="local")), ("threads", Execution(threads=2))):
        with pytest.raises(UsageError, match=f"--{option} .*: without effect on .*--{option} works with --backend"):
            check_execution([spec(backend=backend)], execution)
        assert asked_pool(of(backend), execution) is None
        # the other stage does
        check_execution([spec(backend=backend), spec()], execution)


def test_backends_that_run_files_of_a_model_can_be_spread() -> None:
    able = {name for name, backend in BACKENDS.items() if "ray" in backend.runs_by}
    assert able == {
        "transformers", "sentence-transformers", "onnx", "m3", "cross-encoder", "llm-reranker",
    }  # fmt: skip
    assert able == {name for name, backend in BACKENDS.items() if "threads" in backend.runs_by}


def test_without_the_extra_one_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 1, ray=False)
    with pytest.raises(PrerequisiteError, match=r"--ray local needs ray.*pip install 'evalharness\[ray\]'"):
        asked_pool(MODEL, Execution(ray="local"))
    assert asked_pool(MODEL, Execution()) is None


def test_several_gpus_work_by_themselves_if_the_extra_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 4, ray=True)
    found = asked_pool(MODEL, Execution(batch_tokens=7))
    assert found is not None
    assert (found.ray, found.batch_tokens) == ("local", 7)
    assert asked_pool(MODEL, Execution(device="cuda")) is not None
    for alone in (Execution(device="cuda:1"), Execution(device="cpu"), Execution(engine="openvino")):
        assert asked_pool(MODEL, alone) is None
    assert asked_pool(of("onnx"), Execution()) is None
    assert idle_gpus(MODEL, Execution()) is None
    gpus(monkeypatch, 1, ray=True)
    assert asked_pool(MODEL, Execution()) is None


def test_without_the_extra_one_line_says_which_gpus_are_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 4, ray=False)
    assert idle_gpus(MODEL, Execution()) == (
        "cuda:1 to cuda:3 are idle: with pip install 'evalharness[ray]' all 4 GPUs work on a run"
    )
    gpus(monkeypatch, 2, ray=False)
    assert (idle_gpus(MODEL, Execution()) or "").startswith("cuda:1 is idle")
    for quiet in (Execution(device="cuda:1"), Execution(device="cpu")):
        assert idle_gpus(MODEL, quiet) is None
    gpus(monkeypatch, 1, ray=False)
    assert idle_gpus(MODEL, Execution()) is None


def test_nothing_of_ray_is_imported_where_it_is_not_asked_for(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "import evalharness.run.evaluate, evalharness.models.opening, evalharness.models.loading\n"
        "assert not [name for name in sys.modules if name.startswith('ray.')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.fixture
def deaf() -> Iterator[str]:
    """Somebody who takes calls and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_where_nobody_answers_it_is_said_soon(deaf: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connecting = pytest.importorskip("evalharness.models.pool.connecting", exc_type=ImportError)
    monkeypatch.setattr(connecting, "_TRIAL_SECONDS", 3)
    assert connecting._TRIAL_SECONDS <= 12
    started = time.monotonic()
    with pytest.raises(PrerequisiteError, match=f"--ray {deaf}: no Ray cluster answers within 3 seconds"):
        connecting.enter(deaf)
    assert time.monotonic() - started < 10


def test_a_machine_without_a_cluster_is_told_how_to_start_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    connecting = pytest.importorskip("evalharness.models.pool.connecting", exc_type=ImportError)
    from ray._private import services

    # a cluster of somebody else may run here
    monkeypatch.setattr(services, "find_gcs_addresses", set)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConnectionError) as raised:
        services.get_ray_address_from_environment("auto", str(tmp_path))
    advice = connecting._advice("auto", f"Traceback\n...\nConnectionError: {raised.value}")
    assert advice == "no Ray cluster runs on this machine; start one with: ray start --head, or give --ray local"


def test_a_cluster_of_another_ray_or_python_is_told_with_both_versions() -> None:
    connecting = pytest.importorskip("evalharness.models.pool.connecting", exc_type=ImportError)
    from ray._private.utils import check_version_info

    try:
        check_version_info({"ray_version": "2.49.0", "python_version": "3.12.1"}, "node 10.0.0.1")
    except RuntimeError as error:
        said = (
            f"Traceback\n...\nRuntimeError: {error}\n\nConnectionError: Failed to connect to Ray cluster at 10.0.0.1:1"
        )
    advice = connecting._advice("10.0.0.1:1", said)
    assert "the cluster runs Ray 2.49.0 and Python 3.12.1, here are Ray" in advice
    assert "pip install 'ray==2.49.0' in a Python 3.12.1" in advice
    assert "join it: ray start --address=10.0.0.1:1" in connecting._advice(
        "10.0.0.1:1", "ValueError: No node info found"
    )
    assert "(OSError: so)" in connecting._advice("auto", "x\nOSError: so\n")


def test_what_became_of_an_actor_is_told_in_a_few_words() -> None:
    ray_actors = pytest.importorskip("evalharness.models.pool.ray_actors", exc_type=ImportError)
    from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError

    told = {
        "its process or machine does not answer": ActorUnavailableError("GRPC 14, rpc error", None),
        "its process died": ActorDiedError(),
        "its process was ended, for the machine was low on memory": RayError("Task was killed: low on memory"),
    }
    assert {what: ray_actors._reason(error) for what, error in told.items()} == {what: what for what in told}


_ENDED = """
import os, signal, threading, time
before = dict(os.environ)
from evalharness.models.pool import connecting, ray_actors
assert dict(os.environ) == before
# as from a job
entering = threading.Thread(target=connecting.enter, args=("local",))
entering.start()
entering.join()
# nothing of Ray spins, though that thread has ended
used = time.process_time()
time.sleep(2)
assert time.process_time() - used < 1
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_ray_leaves_signals_and_the_environment_alone() -> None:
    pytest.importorskip("ray")
    done = subprocess.run([sys.executable, "-c", _ENDED], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert "SIGTERM" not in done.stderr
