"""examples/training.md does what it says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from conftest import Cli
from support.tiny import save_sentence_model

PAGE = (Path(__file__).parents[2] / "examples" / "training.md").read_text(encoding="utf-8")


def test_the_trainer_and_the_watch(here: Cli, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (command,) = re.findall(r"```sh\nevalharness (.*?)\n```", PAGE, re.DOTALL)
    save_sentence_model(tmp_path / "my-model")
    rows = [{"sentence1": f"text {n}", "sentence2": f"other {n % 5}", "score": n % 2} for n in range(200)]
    (tmp_path / "my-pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    exec(compile(code, "training.md", "exec"), {})  # noqa: S102 -- our own page
    printed = [line for line in capfd.readouterr().out.splitlines() if line.startswith("my-training/")]
    assert [line.split(":")[0] for line in printed] == [f"my-training/checkpoint-{step}" for step in (0, 10, 20)]
    logged = json.loads((tmp_path / "my-training" / "checkpoint-20" / "trainer_state.json").read_text())["log_history"]
    names = {name for entry in logged for name in entry if name.startswith("eval_evalharness_")}
    parts = ("StarterSTSEng", "StarterRetrievalEng", "mean")
    ends = ("", *(f"_vs_{other}{end}" for other in ("best", "first") for end in ("", "_low", "_high")))
    assert names == {f"eval_evalharness_{part}{end}" for part in parts for end in ends}
    done = here(*shlex.split(command), "--settled", "0.1s")
    assert done.returncode == 0, done.stderr
    # what the callback has evaluated is there
    assert len(list((tmp_path / "results").glob("my-training__checkpoint-*/*"))) == 3
    watched = [line.split(":")[0] for line in done.stdout.splitlines()]
    assert watched == ["my-training/checkpoint-10", "my-training/checkpoint-20"]
