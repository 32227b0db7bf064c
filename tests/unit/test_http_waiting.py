"""Servers that answer slowly, without end, or never: one deadline a request, and a budget that is watched meanwhile."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Cli
from support.fake_server import MODEL, FakeServer, Fault, running, vector

from evalharness.errors import ModelError, StoppedError
from evalharness.models.backends.http import HttpBackend
from evalharness.models.backends.http_client import Patience
from evalharness.models.loading import ModelOptions, resolve_model
from evalharness.models.options import Execution
from evalharness.types import EncodeEvent, Encoding, Waiting, ignore_event

OWN = Encoding(pooling="own", normalize=False, max_length=None, dtype="float32", prompt="")
DRIP, ENDLESS, SILENT = Fault(drip=0.2), Fault(endless=True), Fault(delay=30)
QUICK = Patience(timeout=0.5, deadline=1.0, tries=2, largest=2**20, sleep=lambda _: None)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with running(FakeServer()) as fake:
        yield fake


def backend(url: str, patience: Patience = QUICK, ends: float | None = None) -> HttpBackend:
    resolved = resolve_model(MODEL, ModelOptions(backend="http", url=url))
    return HttpBackend(resolved, Execution(ends=ends), patience=patience)


def until(seconds: float) -> Callable[[EncodeEvent], None]:
    ends = time.monotonic() + seconds

    def emit(event: EncodeEvent) -> None:
        if time.monotonic() >= ends:
            raise StoppedError("time")

    return emit


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (DRIP, "failed 2 times, .*no whole answer within 1 s"),
        (ENDLESS, "sent more than 1,048,576 bytes for one request, which no right answer has"),
        (SILENT, "failed 2 times, .*ReadTimeout"),
        (replace(DRIP, status=500, body="x" * 100), "no whole answer within 1 s"),
        (replace(ENDLESS, status=500, body="x" * 1000), "failed 2 times, .*status 500"),
    ],
)
def test_one_deadline_for_a_whole_request(server: FakeServer, fault: Fault, said: str) -> None:
    subject = backend(server.url)
    server.always = fault
    started = time.monotonic()
    with pytest.raises(ModelError, match=said):
        subject.encode(["b"], OWN, ignore_event)
    assert time.monotonic() - started < 5
    server.always = Fault()
    np.testing.assert_allclose(subject.encode(["b"], OWN, ignore_event).vectors, [vector("b")], rtol=1e-6)


def test_a_server_that_drips_its_headers() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def drip() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                    for byte in b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100:
                        connection.sendall(bytes([byte]))
                        time.sleep(0.1)
                except OSError:
                    return

        threading.Thread(target=drip, daemon=True).start()
        started = time.monotonic()
        with pytest.raises(ModelError, match="no whole answer within 1 s"):
            backend(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", replace(QUICK, tries=1))
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("fault", [DRIP, SILENT, replace(ENDLESS, drip=0.1), Fault(503, {"retry-after": "60"}, "busy")])
def test_a_budget_is_watched_while_waiting(server: FakeServer, fault: Fault) -> None:
    subject = backend(server.url, Patience())
    server.always = fault
    started = time.monotonic()
    with pytest.raises(StoppedError):
        subject.encode([str(number) for number in range(500)], OWN, until(0.5))
    assert time.monotonic() - started < 2
    # and what it waited for is in nobody's way
    server.always = Fault()
    np.testing.assert_allclose(subject.encode(["b"], OWN, ignore_event).vectors, [vector("b")], rtol=1e-6)


def test_why_requests_failed_is_told_when_the_budget_ends(server: FakeServer) -> None:
    subject = backend(server.url, Patience())
    server.always = Fault(503, {"retry-after": "60"}, "the card is too hot")
    with pytest.raises(StoppedError, match=r"^time; .*the last request failed with: status 503: 'the card is too hot'"):
        subject.encode(["a", "b"], OWN, until(0.7))
    server.always = Fault(delay=5)
    with pytest.raises(StoppedError, match=r"^time"):
        subject.encode(["c"], OWN, until(0.5))


def test_waiting_is_told(server: FakeServer) -> None:
    subject = backend(server.url, Patience())
    server.always = Fault(delay=0.7)
    events: list[EncodeEvent] = []
    subject.encode(["b"], OWN, events.append)
    assert sum(isinstance(event, Waiting) for event in events) in (2, 3)


@pytest.mark.parametrize("fault", [DRIP, SILENT, Fault(503, {"retry-after": "60"}, "busy"), Fault(keep=-1)])
def test_opening_a_model_ends_with_the_budget(server: FakeServer, fault: Fault) -> None:
    server.always = fault
    started = time.monotonic()
    with pytest.raises(StoppedError, match=r"the time budget is used up, and the server at .* has not answered"):
        backend(server.url, Patience(), started + 1)
    assert time.monotonic() - started < 3
    server.always = Fault()
    subject = backend(server.url, Patience(), time.monotonic() + 1)
    time.sleep(1)
    subject.encode(["b"], OWN, ignore_event)


def write_task(folder: Path) -> str:
    (folder / "a.csv").write_text("sentence1,sentence2,score\n" + "".join(f"a{n},b{n},{n % 5}\n" for n in range(40)))
    (folder / "a.toml").write_text(
        'name = "Own"\ntype = "STS"\nmain_score = "cosine_spearman"\nlanguages = ["eng-Latn"]\n'
        '[data]\nformat = "csv"\nfiles = { test = "a.csv" }\n'
    )
    return str(folder / "a.toml")


@pytest.mark.parametrize(
    ("fault", "from_the_start"), [(replace(DRIP, drip=5), True), (SILENT, False)], ids=["drip", "silent"]
)
def test_a_run_with_a_budget_ends(tmp_path: Path, server: FakeServer, fault: Fault, from_the_start: bool) -> None:
    task = write_task(tmp_path)
    if not from_the_start:
        # the address is settled by the first request
        server.faults.append(Fault())
    server.always = fault
    command = ["run", "--model", MODEL, "--backend", "http", "--url", server.url, "--tasks", task]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "evalharness", *command, "--time-budget", "3s"],
        cwd=tmp_path, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert time.monotonic() - started < 25
    assert done.returncode == 3, done.stderr
    assert "time budget" in done.stderr
    assert "1 jobs are not done; the same command goes on with them" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_budget_nothing_is_cut_short(here: Cli, tmp_path: Path, server: FakeServer) -> None:
    server.faults.extend([Fault(), Fault(503, {"retry-after": "0.1"}, "busy"), Fault(delay=0.5)])
    task = write_task(tmp_path)
    done = here("run", "--model", MODEL, "--backend", "http", "--url", server.url, "--tasks", task)
    assert done.returncode == 0, done.stderr
