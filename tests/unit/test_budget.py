"""Padded tokens of a batch: asked for, kept, measured once, or the default; never a matter of chance in two runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Cli
from support.tiny import save_bert, save_cross_encoder

from evalharness.errors import UsageError
from evalharness.models.engines.torch import TorchEngine
from evalharness.models.forward import budget
from evalharness.models.forward.budget import default_tokens, fastest, fitted_tokens
from evalharness.models.forward.pipeline import PipelineBackend
from evalharness.models.loading import ModelOptions, resolve_model
from evalharness.models.opening import open_backend
from evalharness.models.options import BATCH_TOKENS_VARIABLE, Execution
from evalharness.run.estimating import calibrating

FACTS = {"fingerprint": "f", "engine": "torch"}
CANDIDATES = (1024, 2048, 4096, 8192)


@pytest.fixture(autouse=True)
def nothing_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BATCH_TOKENS_VARIABLE)


class Clock:
    """An engine that takes so many seconds per token, and a clock that shows it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, costs: Mapping[int, float]) -> None:
        self.now, self.costs, self.seen = 0.0, costs, [0]
        self.seen.clear()
        monkeypatch.setattr("time.perf_counter", lambda: self.now)

    def measure(self, tokens: int) -> float:
        self.seen.append(tokens)
        taken = tokens * self.costs.get(tokens, 1e-6)
        # one measurement in five is disturbed
        taken *= 10 if len(self.seen) % 5 == 0 else 1
        self.now += taken
        return taken


@pytest.mark.parametrize(
    ("costs", "found"),
    [
        ({}, 2048),
        ({4096: 0.5e-6}, 4096),
        ({4096: 0.95e-6}, 2048),
        ({1024: 0.8e-6, 8192: 0.7e-6}, 8192),
        ({8192: float("inf"), 1024: 0.9e-6}, 1024),
    ],
)
def test_another_is_taken_if_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, costs: dict[int, float], found: int
) -> None:
    clock = Clock(monkeypatch, costs)
    assert fastest(2048, CANDIDATES, clock.measure) == found


@pytest.mark.parametrize(("cost", "largest"), [(1e-6, 8192), (3e-5, 4096), (9e-5, 2048), (2e-4, 256), (1e-2, 256)])
def test_slow_models_are_not_measured_for_long(monkeypatch: pytest.MonkeyPatch, cost: float, largest: int) -> None:
    clock = Clock(monkeypatch, dict.fromkeys((256, *CANDIDATES), cost))
    assert fastest(2048, CANDIDATES, clock.measure) == 2048
    assert max(clock.seen) == largest
    if largest > 256:
        assert sum(clock.seen) * cost < 1.2


def test_what_was_measured_is_kept(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, {4096: 0.5e-6})
    assert fitted_tokens(FACTS, "cpu", clock.measure) == 4096
    clock.costs, count = {1024: 0.1e-6}, len(clock.seen)
    assert fitted_tokens(FACTS, "cpu", clock.measure) == 4096
    assert len(clock.seen) == count
    assert fitted_tokens({**FACTS, "fingerprint": "g"}, "cpu", clock.measure) == 1024
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    assert fitted_tokens(FACTS, "cpu", clock.measure) == 1024
    assert len(list((own_cache / "budgets").iterdir())) == 3


@pytest.mark.parametrize("content", ["", "{", "[]", '{"batch_tokens": "4096"}', '{"batch_tokens": 5}', "\0"])
def test_a_damaged_file_is_measured_again(own_cache: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    clock = Clock(monkeypatch, {4096: 0.5e-6})
    fitted_tokens(FACTS, "cpu", clock.measure)
    (path,) = (own_cache / "budgets").iterdir()
    path.write_text(content)
    assert fitted_tokens(FACTS, "cpu", clock.measure) == 4096
    assert json.loads(path.read_text())["batch_tokens"] == 4096


def test_where_nothing_can_be_kept_nothing_is_measured(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_cache.parent.mkdir()
    own_cache.write_text("a file")
    clock = Clock(monkeypatch, {4096: 0.5e-6})
    assert fitted_tokens(FACTS, "cpu", clock.measure) == 2048
    assert clock.seen == []


def test_a_disk_that_fills_up_meanwhile(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(budget, "write_json", full)
    clock = Clock(monkeypatch, {4096: 0.5e-6})
    assert fitted_tokens(FACTS, "cpu", clock.measure) == 2048
    assert clock.seen != []


def test_the_quicker_process_decides(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, {4096: 0.5e-6})
    fitted_tokens(FACTS, "cpu", clock.measure)
    (path,) = (own_cache / "budgets").iterdir()
    path.unlink()

    def meanwhile(tokens: int) -> float:
        path.write_text('{"batch_tokens": 8192}')
        return clock.measure(tokens)

    assert fitted_tokens(FACTS, "cpu", meanwhile) == 8192


def opened(folder: Path, execution: Execution, **options: Any) -> PipelineBackend:
    backend: PipelineBackend = open_backend(resolve_model(str(folder), ModelOptions(**options)), execution)
    return backend


def test_who_asks_gets_it(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_bert(tmp_path / "model")
    monkeypatch.setenv(BATCH_TOKENS_VARIABLE, "77")
    assert opened(folder, Execution(device="cpu", batch_tokens=33), pooling="cls").computing.batch_tokens == 33
    assert opened(folder, Execution(device="cpu"), pooling="cls").computing.batch_tokens == 77
    assert not own_cache.exists()
    for wrong in ("0", "-1", "many", "1.5", "\u0663"):
        monkeypatch.setenv(BATCH_TOKENS_VARIABLE, wrong)
        with pytest.raises(UsageError, match=f"{BATCH_TOKENS_VARIABLE} is .*; expected a number of tokens, 1 or more"):
            opened(folder, Execution(device="cpu"), pooling="cls")


@pytest.mark.parametrize("said", ["0", "many"])
def test_a_wrong_number_is_told_at_once_with_all_else(here: Cli, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv(BATCH_TOKENS_VARIABLE, said)
    wrong = f"{BATCH_TOKENS_VARIABLE} is '{said}'; expected a number of tokens, 1 or more"
    done = here("run", "--model", "all-MiniLM-L6-v2", "--tasks", "StarterSTSEng", "--dry-run")
    assert (done.returncode, done.stdout) == (2, "")
    assert wrong in done.stderr
    done = here("run", "--model", "bge-base-en-v1.5", "--tasks", "STS1")
    assert done.returncode == 2
    assert all(told in done.stderr for told in (wrong, "unknown model", "unknown task 'STS1'"))
    # what is given counts; the model is opened, and measured only a little
    monkeypatch.setattr(calibrating, "measure", partial(calibrating.measure, seconds=0.1))
    done = here("run", "--model", "all-MiniLM-L6-v2", "--tasks", "StarterSTSEng", "--batch-tokens", "9", "--dry-run")
    assert done.returncode == 0


@pytest.mark.parametrize("kind", ["dense", "cross-encoder"])
def test_engines_are_measured_with_whole_batches(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = tmp_path / "model"
    options = {"pooling": "cls"} if kind == "dense" else {"backend": "cross-encoder"}
    (save_bert if kind == "dense" else save_cross_encoder)(folder)
    shapes: list[tuple[int, ...]] = []
    real = TorchEngine.run

    def run(self: TorchEngine, inputs: Mapping[str, Any], output: Any) -> torch.Tensor:
        shapes.append(tuple(inputs["input_ids"].shape))
        return real(self, inputs, output)

    monkeypatch.setattr(TorchEngine, "run", run)
    first = opened(folder, Execution(device="cpu"), **options)
    assert first.computing.batch_tokens in CANDIDATES
    sizes = {rows * length for rows, length in shapes if rows > 2}
    assert {tokens for tokens in CANDIDATES if tokens in sizes} <= set(CANDIDATES)
    assert all(length <= 64 for _, length in shapes)
    assert any(rows * length > 200 for rows, length in shapes)
    shapes.clear()
    assert opened(folder, Execution(device="cpu"), **options).computing.batch_tokens == first.computing.batch_tokens
    assert all(rows <= 2 for rows, _ in shapes)


def test_defaults() -> None:
    assert [default_tokens(device) for device in ("cpu", "cuda:1", "mps")] == [2048, 32768, 32768]
