"""A training of two processes, as one of them: `python one_of_two.py FOLDER STEP PORT RANK`.

The model is damaged at STEP. The two meet at PORT. Prints what this process knows in the end.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from evalharness import CallbackOptions, EvalHarnessCallback, RunOptions
from support.tiny import save_sentence_model
from support.trainings import Damage, Reporter, save_own_task, sentence_trainer


def main(folder: Path, step: int) -> None:
    # of its own, for both write it
    task = save_own_task(folder / "Own.toml", save_sentence_model(folder / "model"))
    reporter = Reporter()
    trainer = sentence_trainer(
        folder / "out", [Damage(step), reporter], learning_rate=0.0, use_cpu=True, ddp_backend="gloo", ddp_timeout=60
    )
    how = CallbackOptions(stop_on_regression=True, run=RunOptions(store=None))
    callback = EvalHarnessCallback(task, every=1, at=("begin",), output=folder / "results", how=how).attach(trainer)
    trainer.train()
    found = {
        "processes": trainer.args.world_size,
        "step": trainer.state.global_step,
        "evaluated": len(callback.series.steps),
        "logged": len(reporter.named("eval_evalharness_mean")),
    }
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    # as torchrun says it
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[3], "WORLD_SIZE": "2"}
    os.environ |= {"RANK": sys.argv[4], "LOCAL_RANK": sys.argv[4]}
    main(Path(sys.argv[1]), int(sys.argv[2]))
