"""The callback inside both trainers: what it logs, that training goes as without it, and what ends a training."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from support.local_tasks import jsonl_task
from support.processes import Pythons, out_of_reach
from support.small_runs import save_small_tasks
from support.tiny import save_sentence_model
from support.trainings import Damage, Reporter, plain_trainer, save_own_task, sentence_trainer, weights_of
from transformers import TrainerCallback

import evalharness
from evalharness import CallbackOptions, EvalHarnessCallback, ModelOptions, RunOptions
from evalharness.compare.comparison import Verdict
from evalharness.errors import EvalHarnessError, UsageError
from evalharness.models.resolving import resolve_model

PROGRAM = Path(__file__).parents[1] / "support" / "one_of_two.py"
POOLED = ModelOptions(pooling="mean")
MakeTrainer = Callable[..., Any]
TRAINERS = {"transformers": plain_trainer, "sentence-transformers": sentence_trainer}


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return save_small_tasks(tmp_path / "tasks")[0]


def made(
    tasks: Any, options: ModelOptions | None = None, *, how: dict[str, Any] | None = None, **when: Any
) -> EvalHarnessCallback:
    changes = {"options": options or ModelOptions(), "run": RunOptions(store=None), **(how or {})}
    return EvalHarnessCallback(tasks, how=CallbackOptions(**changes), **when)


@pytest.mark.parametrize("kind", TRAINERS)
def test_scores_reach_the_reporters_and_training_goes_as_without(kind: str, pairs: str, tmp_path: Path) -> None:
    reporter = Reporter()
    trainer = TRAINERS[kind](tmp_path / "out", [reporter])
    options = POOLED if kind == "transformers" else ModelOptions()
    callback = made(pairs, options, every=2, at=("begin", "end")).attach(trainer)
    trainer.train()
    assert [logs["step"] for logs in reporter.logs if "eval_evalharness_mean" in logs] == [0, 2, 4]
    assert reporter.named("eval_evalharness_SmallPairs") == [step.score for step in callback.series.steps]
    ends = [f"eval_evalharness_mean_vs_{other}{end}" for other in ("best", "first") for end in ("", "_low", "_high")]
    assert all(len(reporter.named(name)) == 2 for name in ends)
    low, difference, high = (reporter.named(ends[place])[0] for place in (1, 0, 2))
    assert low <= difference <= high
    # what the trainer logs by itself at these steps is logged, too
    assert [logs["step"] for logs in reporter.logs if "loss" in logs] == [1, 2, 3, 4]
    assert {"eval_evalharness_mean", "step"} <= set(trainer.state.log_history[0])
    alone = TRAINERS[kind](tmp_path / "out")
    alone.train()
    trained = weights_of(trainer)
    for name, value in weights_of(alone).items():
        assert torch.equal(value, trained[name]), name
    assert not list((tmp_path / "out").glob(".evalharness-*"))


class _Modes(TrainerCallback):
    """Whether each module is in training mode when a step ends, and the random numbers that would come."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        modes = [module.training for module in given["model"].modules()]
        self.found.append((modes, torch.random.get_rng_state().tolist()))


def test_modes_and_random_numbers_are_put_back(pairs: str, tmp_path: Path) -> None:
    found = []
    for is_evaluated in (True, False):
        modes = _Modes()
        trainer = sentence_trainer(tmp_path / "out", [modes])
        # what is frozen stays so
        trainer.model[1].eval()
        if is_evaluated:
            made(pairs, every=1, at=()).attach(trainer)
        trainer.train()
        found.append(modes.found)
    assert found[0] == found[1]
    assert any(found[0][0][0])


def test_a_checkpoint_that_is_saved_is_what_was_evaluated(pairs: str, tmp_path: Path) -> None:
    trainer = sentence_trainer(tmp_path / "out", save_strategy="steps", save_steps=2)
    callback = made(pairs, at=("save",)).attach(trainer)
    trainer.train()
    sides = [step.side for step in callback.series.steps]
    assert [side.model for side in sides] == ["out/checkpoint-2", "out/checkpoint-4"]
    for side, step in zip(sides, (2, 4), strict=True):
        saved = resolve_model(str(tmp_path / "out" / f"checkpoint-{step}"), ModelOptions())
        assert side.revision == saved.spec.revision


def test_a_training_that_goes_on_goes_on_with_its_series(pairs: str, tmp_path: Path) -> None:
    def callback() -> EvalHarnessCallback:
        return made(pairs, POOLED, every=2, at=())

    trainer = plain_trainer(tmp_path / "out", save_strategy="steps", save_steps=2)
    first = callback().attach(trainer)
    trainer.train()
    again = plain_trainer(tmp_path / "out", max_steps=6)
    second = callback().attach(again)
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    assert [step.side.model.rpartition("-")[2] for step in second.series.steps] == ["2", "4", "6"]
    assert second.series.steps[0] == first.series.steps[0]
    anew = plain_trainer(tmp_path / "out", max_steps=2)
    third = callback().attach(anew)
    anew.train()
    assert len(third.series.steps) == 1


def test_evaluations_of_the_trainer_and_no_step_twice(pairs: str, tmp_path: Path) -> None:
    trainer = plain_trainer(tmp_path / "out", eval_strategy="steps", eval_steps=2)
    callback = made(pairs, POOLED, every=2, at=("evaluate", "end")).attach(trainer)
    trainer.train()
    assert len(callback.series.steps) == 2
    # not in training any more
    trainer.evaluate()
    assert len(callback.series.steps) == 2


def test_a_failed_evaluation_is_logged_and_training_goes_on(
    pairs: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = plain_trainer(tmp_path / "out")
    # nothing says how to pool, so the model is not loaded
    made(pairs, every=2, at=()).attach(trainer)
    with caplog.at_level(logging.WARNING, "evalharness"):
        trainer.train()
    assert trainer.state.global_step == 4
    assert "step 2 is not evaluated, and training goes on" in caplog.text
    trainer = plain_trainer(tmp_path / "out")
    made(pairs, every=2, at=(), how={"stop_on_error": True}).attach(trainer)
    with pytest.raises(EvalHarnessError, match=r"step 2 is not evaluated: .*pool"):
        trainer.train()


def test_a_failed_job_is_in_the_results(pairs: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = jsonl_task(tmp_path / "Broken.toml", "STS", [{"sentence1": "a", "sentence2": "b", "score": "high"}])
    trainer = plain_trainer(tmp_path / "out")
    callback = made([pairs, str(broken)], POOLED, at=("begin", "end")).attach(trainer)
    with caplog.at_level(logging.WARNING, "evalharness"):
        trainer.train()
    assert "Broken [test, default] failed" in caplog.text
    records = [json.loads(path.read_text()) for path in Path("results").rglob("jobs/Broken/*.json")]
    assert len(records) == 2
    assert all("high" in record["error"] for record in records)
    assert callback.series.steps[-1].verdict is Verdict.NOT_COMPARED


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_regression_ends_the_training_if_it_is_to(*, is_stopped: bool, pairs: str, tmp_path: Path) -> None:
    task = save_own_task(tmp_path / "Own.toml", save_sentence_model(tmp_path / "model"))
    trainer = sentence_trainer(tmp_path / "out", [Damage(2)], learning_rate=0.0)
    how = {"stop_on_regression": is_stopped}
    callback = made(task, every=1, at=("begin",), how=how).attach(trainer)
    trainer.train()
    verdicts = [step.verdict for step in callback.series.steps]
    expected = [None, Verdict.NO_WORSE, *[Verdict.REGRESSED] * 3]
    assert verdicts == (expected[:3] if is_stopped else expected)
    assert trainer.state.global_step == (2 if is_stopped else 4)


def test_what_cannot_be_asked_for_is_said_before_the_training(pairs: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown task 'SmalPairs'"):
        made("SmalPairs")
    with pytest.raises(UsageError, match="unknown moment 'ends': did you mean end"):
        made(pairs, at=("ends",))
    with pytest.raises(UsageError, match="every 1 step at most, got 0"):
        made(pairs, every=0)
    with pytest.raises(UsageError, match="no such folder"):
        made(pairs, how={"baseline": "nowhere"})
    trainer = plain_trainer(tmp_path / "out", [made(pairs)])
    with pytest.raises(UsageError, match=r"call callback.attach\(trainer\)"):
        trainer.train()


def test_it_is_at_the_door() -> None:
    assert evalharness.EvalHarnessCallback is EvalHarnessCallback
    assert issubclass(EvalHarnessCallback, TrainerCallback)


def test_of_two_processes_one_evaluates_and_both_end_together(tmp_path: Path, pythons: Pythons) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in ("0", "1"):
        own = tmp_path / rank
        own.mkdir()
        started.append(pythons.start([str(PROGRAM), str(own), "2", port, rank], own, out_of_reach(own)))
    found = []
    for process in started:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        found.append(json.loads(output.splitlines()[-1]))
    assert found == [
        {"processes": 2, "step": 2, "evaluated": 3, "logged": 3},
        {"processes": 2, "step": 2, "evaluated": 0, "logged": 0},
    ]
