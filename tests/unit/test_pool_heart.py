"""Whether a cluster's head answers is found out in time, and said once it does not."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from evalharness.errors import StoppedError
from evalharness.models.pool import heart
from evalharness.models.pool.crew import Crew


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setattr(heart, "LOST_SECONDS", 0.3)
    monkeypatch.setattr(heart, "_BEAT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server
    heart.deafen()


def within(seconds: float, wanted: bool) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if heart.is_lost() is wanted:
            return True
        time.sleep(0.02)
    return False


def test_a_head_that_answers_no_more_is_lost(head: socket.socket) -> None:
    host, port = head.getsockname()
    heart.listen_to(f"{host}:{port}")
    time.sleep(0.5)
    assert not heart.is_lost()
    head.close()
    assert within(10, wanted=True)
    heart.deafen()
    assert not heart.is_lost()


def test_whoever_waits_for_actors_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalharness.models.pool.crew.is_lost", lambda: True)
    crew = Crew.__new__(Crew)
    crew._broken = None
    with pytest.raises(StoppedError, match="the same command goes on"):
        crew.check()
