"""Evaluation inside a training: a callback for the Trainer of transformers and that of sentence-transformers.

The model is saved to a folder for the time of its evaluation, as the trainer saves a checkpoint, and evaluated from
there: the numbers are those that `run` gives for the checkpoint, the model in training is not touched, and no two
models share results, for what is evaluated is known by its content. That takes the disk space of a checkpoint without
optimizer, and memory for a second copy of the model.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from pydantic import Field
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from evalharness.compare.comparison import Settings, Verdict
from evalharness.compare.series import Against, Series, Step
from evalharness.errors import EvalHarnessError, UsageError, unknown_names
from evalharness.models.options import Execution, ModelOptions
from evalharness.run.evaluate import RunOptions, Tasks
from evalharness.run.following import Checkpoint, How, Training, failures
from evalharness.types import Frozen

Moment: TypeAlias = Literal["begin", "evaluate", "save", "end"]

_log = logging.getLogger(__name__)
# reporters group what begins with eval_
_PREFIX = "eval_evalharness_"
_MEAN = "mean"


class CallbackOptions(Frozen):
    """How a callback judges, and what it does then.

    Attributes:
        baseline: results that the first evaluation is compared with, as `compare` takes them; None if it is the base.
        settings: how evaluations are judged; `alpha` is how often a series in which nothing gets worse may be said to
            have regressed.
        stop_on_regression: whether the training ends once the series is shown to have regressed.
        stop_on_error: whether an evaluation that fails ends the training with its error; otherwise it is logged.
        options: what to change against the model's files; of a bare transformers model its pooling, at least.
        execution: how the evaluation runs; by default on the device of the training.
        run: everything else of a run, its store for one.
    """

    baseline: str | Path | None = None
    settings: Settings = Field(default_factory=Settings)
    stop_on_regression: bool = False
    stop_on_error: bool = False
    options: ModelOptions = Field(default_factory=ModelOptions)
    execution: Execution | None = None
    run: RunOptions = Field(default_factory=RunOptions)


@dataclass(frozen=True, slots=True)
class _Decision:
    """What the main process decides for all.

    Attributes:
        stop: whether the training ends.
        error: why the evaluation failed; empty if it did not.
    """

    stop: bool = False
    error: str = ""


def _event(act: Callable[[EvalHarnessCallback, Any, Any, Any], None]) -> Any:  # noqa: ANN401 -- as transformers has it
    """A method as transformers calls it: with much that nobody here asks for."""

    def hear(
        self: EvalHarnessCallback,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,  # noqa: ANN401
    ) -> None:
        act(self, args, state, control)

    return hear


class EvalHarnessCallback(TrainerCallback):
    """Evaluates the model on tasks while it is trained, and judges the evaluations as a series.

    A callback cannot log what reaches the reporters of a trainer (W&B, TensorBoard and others), so it has to be
    attached to the trainer, whose `log` it uses:

        callback = EvalHarnessCallback(["STSBenchmark"], every=500)
        trainer = SentenceTransformerTrainer(...)
        callback.attach(trainer)
        trainer.train()

    What is logged, from 0 to 1: `eval_evalharness_TASK` and `eval_evalharness_mean`; each with `_vs_best` and
    `_vs_first`, the difference to the best evaluation so far and to the first (or the baseline), and `_low` and `_high`
    behind that, the ends of its 95% interval.

    Training goes as it would without: the state of random numbers and the modes of modules are put back. With several
    processes the first one evaluates and the others wait, for at most the `ddp_timeout` of the arguments, which has to
    be longer than an evaluation. Where the model itself is spread over processes (FSDP, DeepSpeed ZeRO-3), rather have
    `evalharness watch` evaluate the checkpoints.

    Attributes:
        series: what is known so far; in the main process only.
    """

    def __init__(
        self,
        tasks: Tasks | None = None,
        *,
        every: int | None = None,
        at: Sequence[Moment] = ("end",),
        output: str | PathLike[str] = "results",
        how: CallbackOptions | None = None,
    ) -> None:
        """See that what is asked for can be had.

        Args:
            tasks: as `evaluate` takes them.
            every: steps from one evaluation to the next; None for none by steps.
            at: also then: when the training begins, after each evaluation of the trainer's own, after each checkpoint,
                when it ends. No step is evaluated twice.
            output: folder for results.
            how: everything else.

        Raises:
            UsageError: it cannot, or the tasks do not exist.
            DataError: a task file, or the baseline, is wrong.
        """
        if every is not None and every < 1:
            raise UsageError(f"a callback evaluates every 1 step at most, got {every}")
        if wrong := [str(moment) for moment in at if moment not in get_args(Moment)]:
            raise UsageError(unknown_names("moment", wrong, get_args(Moment)))
        self._how = how or CallbackOptions()
        self._every, self._moments = every, frozenset(at)
        self._tasks, self._output = tasks, Path(output)
        self._trainer: Any = None
        self._training: Training | None = None
        self._last: int | None = None
        self._is_training = False
        # wrong names are said before the training begins
        self._follow(Path(), None)

    @property
    def series(self) -> Series:
        """See the class."""
        return Series() if self._training is None else self._training.series

    def attach(self, trainer: Any) -> EvalHarnessCallback:  # noqa: ANN401 -- of two libraries
        """Become a callback of this trainer, and log through it.

        Before the trainer's reporters, which end theirs when the training ends.

        Args:
            trainer: of transformers or sentence-transformers.

        Returns:
            The callback itself.
        """
        self._trainer = trainer
        others = [callback for callback in trainer.callback_handler.callbacks if callback is not self]
        trainer.callback_handler.callbacks = [self, *others]
        return self

    def _follow(self, folder: Path, device: str | None) -> Training:
        how = self._how
        return Training(
            folder,
            How(
                tasks=self._tasks,
                output=self._output,
                options=how.options,
                execution=how.execution or Execution(device=device),
                run=how.run,
                baseline=None if how.baseline is None else fspath(how.baseline),
                settings=how.settings,
            ),
        )

    def _begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        if self._trainer is None:
            raise UsageError(
                "EvalHarnessCallback logs through the trainer, and does not know it: after the trainer is made, call "
                "callback.attach(trainer)"
            )
        self._last, self._is_training = None, True
        if state.is_world_process_zero:
            self._training = self._follow(Path(str(args.output_dir)), str(args.device))
            if state.global_step:
                self._training.go_on(state.global_step)
        if not state.global_step:
            self._at("begin", args, state, control)

    def _step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        if self._every is not None and state.global_step % self._every == 0:
            self._evaluate(args, state, control)

    def _at(self, moment: Moment, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        if self._is_training and moment in self._moments:
            self._evaluate(args, state, control)

    def _end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        self._at("end", args, state, control)
        self._is_training = False

    on_train_begin = _event(lambda self, *given: self._begin(*given))
    on_step_end = _event(lambda self, *given: self._step(*given))
    on_evaluate = _event(lambda self, *given: self._at("evaluate", *given))
    on_save = _event(lambda self, *given: self._at("save", *given))
    on_train_end = _event(lambda self, *given: self._end(*given))

    def _evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        """Evaluate this step in the main process, while the others wait for what it decides."""
        if state.global_step == self._last:
            return
        self._last = state.global_step
        with _undisturbed(self._trainer.model):
            decision = self._decided(args, state)
        if args.world_size > 1:
            told: list[Any] = [decision]
            torch.distributed.broadcast_object_list(told, src=0, device=args.device)
            decision = told[0]
        if decision.error and self._how.stop_on_error:
            raise EvalHarnessError(decision.error)
        if state.is_world_process_zero and not decision.error:
            self._report(control)
        if decision.stop:
            control.should_training_stop = True

    def _decided(self, args: TrainingArguments, state: TrainerState) -> _Decision:
        trainer, place = self._trainer, Path(str(args.output_dir))
        try:
            place.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=place, prefix=".evalharness-") as folder:
                saved = Path(folder) / f"checkpoint-{state.global_step}"
                # a model that is spread over processes is gathered by all of them
                if args.should_save or trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
                    trainer.save_model(str(saved), _internal_call=True)
                if self._training is None:
                    return _Decision()
                found = self._training.add(Checkpoint(state.global_step, saved))
        # whatever it is, the training is worth more than its evaluation
        except Exception as error:  # noqa: BLE001
            _log.warning("step %d is not evaluated, and training goes on", state.global_step, exc_info=True)
            return _Decision(error=f"step {state.global_step} is not evaluated: {error}")
        if failed := failures(found):
            _log.warning("step %d: %s", state.global_step, "; ".join(failed))
        if self.series.steps[-1].verdict is Verdict.REGRESSED:
            _log.warning("the series has regressed: %s", self.series.line(len(self.series.steps) - 1))
        stop = self.series.regressed is not None and self._how.stop_on_regression
        return _Decision(stop, "; ".join(failed) if self._how.stop_on_error else "")

    def _report(self, control: TrainerControl) -> None:
        """Have the trainer log the last step, and its own losses all the same, which it would take for logged then."""
        training = self._training
        if training is None:
            return
        _log.info("%s", training.series.line(len(training.series.steps) - 1))
        should_log = control.should_log
        self._trainer.log(logged(training.series.steps[-1]))
        control.should_log = should_log


def logged(step: Step) -> dict[str, float]:
    """What is logged of a step, by name, from 0 to 1; see `EvalHarnessCallback`."""
    found = {f"{_PREFIX}{name}": score for name, score in step.scores.items()}
    found |= {} if step.score is None else {f"{_PREFIX}{_MEAN}": step.score}
    for name, against in (("best", step.best), ("first", step.first)):
        if against is not None:
            found |= _differences(against, name)
    return found


def _differences(against: Against, other: str) -> dict[str, float]:
    found: dict[str, float] = {}
    mean = {} if against.mean is None else {_MEAN: against.mean}
    for name, difference in {**against.tasks, **mean}.items():
        start = f"{_PREFIX}{name}_vs_{other}"
        found[start] = difference.difference
        found |= {f"{start}_low": difference.interval.low, f"{start}_high": difference.interval.high}
    # no interval of a single item
    return {name: value for name, value in found.items() if not math.isnan(value)}


@contextmanager
def _undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Put back the state of random numbers and the modes of modules, so that a training goes as it would without."""
    modes = {module: module.training for module in model.modules()}
    python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 -- what trainings draw from
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(of_numpy)  # noqa: NPY002
        for module, mode in modes.items():
            module.training = mode
